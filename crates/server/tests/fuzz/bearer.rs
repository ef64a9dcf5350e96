//! Credentials: what the `authorization` header may hold, and what never lets anybody in.
//!
//! The oracle is a list: a call is let in when its one header is `Bearer` and a credential that is good, to the byte.
//! For another sort of credential add some of it to [`Bearer::new`], good ones and bad ones.

use operond_proto::google::rpc::Code;
use operond_store::{Collection, DocumentWrite};
use prost::Message;

use crate::input::Input;
use crate::issuer::{Signing, claims};
use crate::judge::is_grpc;
use crate::mutate;
use crate::random::Random;
use crate::rig::{Answer, Rig};
use crate::run::{Target, run};

#[test]
fn no_credential_but_a_good_one_lets_anybody_in() {
    let tally = run(Bearer::new());
    let (all, ok) = (tally.values().sum::<usize>(), tally.get("ok").copied().unwrap_or_default());
    assert!(all < 1_000 || (all / 20..all / 20 * 19).contains(&ok), "{ok} of {all} were let in");
}

pub(crate) struct Bearer {
    credentials: Vec<Credential>,
    keys: Vec<DocumentWrite>,
    signing: Signing,
}

/// Something that one could show, and whether it lets in.
struct Credential {
    /// What stands for it in the corpus.
    name: &'static str,
    text: String,
    good: bool,
}

impl Bearer {
    pub(crate) fn new() -> Self {
        let mut credentials = Vec::new();
        let mut keys = Vec::new();
        let mut key = |name, number, good, roles: &[&str], set: fn(&mut StoredKey)| {
            let text = key_text(number);
            keys.push(holder(name, &text, roles, set));
            credentials.push(Credential { name, text, good });
        };
        key("{admin}", 1, true, &["admin"], |_| {});
        key("{viewer}", 2, true, &["viewer"], |key| key.expires_at = Some(IN_2096));
        key("{revoked}", 3, false, &["admin"], |key| key.revoked_at = Some(1));
        key("{expired}", 4, false, &["admin"], |key| key.expires_at = Some(1));
        credentials.push(Credential { name: "{unknown}", text: key_text(5), good: false });
        let (signing, mut expired, mut of_others) = (Signing::new(), claims(), claims());
        expired["exp"] = 1.into();
        of_others["aud"] = "others".into();
        for (name, kid, claims, good) in [
            ("{token}", "k", &claims(), true),
            ("{token_of_no_key}", "l", &claims(), false),
            ("{token_expired}", "k", &expired, false),
            ("{token_for_others}", "k", &of_others, false),
        ] {
            credentials.push(Credential { name, text: signing.token(kid, claims), good });
        }
        Self { credentials, keys, signing }
    }

    /// Whether a call with these headers is to be let in.
    fn is_good(&self, input: &Input) -> bool {
        let mut values = input.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let (Some((_, value)), None) = (values.next(), values.next()) else { return false };
        let Some((scheme, rest)) = value.split_at_checked(7) else { return false };
        let trimmed = |mut text: &[u8]| {
            while let [b' ', inner @ ..] | [inner @ .., b' '] = text {
                text = inner;
            }
            text.to_vec()
        };
        let shown = trimmed(rest);
        let good = self.credentials.iter().any(|credential| credential.good && credential.text.as_bytes() == shown);
        scheme.eq_ignore_ascii_case(b"bearer ") && good
    }
}

impl Target for Bearer {
    const FOLDER: &'static str = "bearer";

    fn begin(&mut self) -> Rig {
        Rig::with_credentials(self.keys.clone(), &self.signing)
    }

    fn kept(&self, _rig: &Rig, text: &str, _number: usize) -> Input {
        Input::parse(&self.credentials.iter().fold(text.to_owned(), |text, one| text.replace(one.name, &one.text)))
    }

    fn fresh(&mut self, random: &mut Random, _rig: &Rig, kept: &[Input]) -> Input {
        let mut input = random.pick(kept).clone();
        if random.one_in(2) {
            input.headers.retain(|(name, _)| name != "authorization");
            let times = *random.pick(&[1, 1, 1, 1, 1, 0, 2, 3]);
            for _ in 0..times {
                let value = self.shown(random);
                input.headers.push(("authorization".into(), value));
            }
        } else if let Some((_, value)) = input.headers.iter_mut().find(|(name, _)| name == "authorization") {
            mutate::bytes(random, value, self.credentials[0].text.as_bytes());
        }
        if random.one_in(4) {
            let value = self.shown(random);
            input.headers.push(((*random.pick(HEADERS)).into(), value));
        }
        // No header ends or begins in the middle of a line.
        input.headers.iter_mut().for_each(|(_, value)| value.retain(|byte| !matches!(byte, 0..=8 | 10..=31 | 127)));
        input.cut = random.below(input.body.len() + 1);
        input
    }

    fn judge(&self, input: &Input, answer: &Answer, verdict: &str) -> Result<(), String> {
        if ["/healthz", "/endpoints"].contains(&&*input.path()) {
            return if verdict == "ok" { Ok(()) } else { Err(format!("{verdict}, though anyone may call it")) };
        }
        match (self.is_good(input), verdict) {
            (true, "UNAUTHENTICATED") => Err("a good credential is refused".into()),
            (true, _) => Ok(()),
            (false, "UNAUTHENTICATED" | "HEAD") if answer.polls > 0 => Err("a stranger's body was read".into()),
            (false, "UNAUTHENTICATED" | "HEAD") if is_unauthenticated(input, answer) => Ok(()),
            // Refused before anybody asked.
            (false, "CROSS_SITE" | "FOREIGN_HOST") if answer.polls == 0 => Ok(()),
            (false, _) => Err(format!("let in: {verdict}")),
        }
    }
}

impl Bearer {
    /// A header's value: most often with a credential somewhere in it.
    fn shown(&self, random: &mut Random) -> Vec<u8> {
        let scheme = *random.pick(&[
            "Bearer ",
            "Bearer ",
            "Bearer ",
            "bearer ",
            "BEARER   ",
            "Basic ",
            "Bearer",
            "",
            "Bearer\t",
        ]);
        let credential = random.pick(&self.credentials);
        let mut text = credential.text.clone().into_bytes();
        let other = random.pick(&self.credentials).text.clone().into_bytes();
        match random.below(14) {
            0 => mutate::bytes(random, &mut text, &other),
            1 => text.make_ascii_uppercase(),
            // One key's id and another one's secret.
            2 => text = [&text[..20], &other[20..]].concat(),
            3 => text.push(b' '),
            4 => text.truncate(random.below(text.len())),
            5 => text = [&*text, b", Bearer ", &other].concat(),
            6 => {
                let at = random.below(text.len());
                text[at] = *random.pick(b"0123456789abcdef");
            }
            _ => {}
        }
        [scheme.as_bytes(), &text].concat()
    }
}

fn is_unauthenticated(input: &Input, answer: &Answer) -> bool {
    if is_grpc(input) {
        let code = (Code::Unauthenticated as i32).to_string();
        return answer.headers.get("grpc-status").is_some_and(|status| *status == *code);
    }
    answer.status == 401 && answer.headers.contains_key("www-authenticate")
}

/// A key as its owner has it, the same each time.
fn key_text(number: u64) -> String {
    format!("opk_{number:016x}_{}", blake3::hash(&number.to_le_bytes()).to_hex())
}

/// Somebody with one key, as it is stored: the bits of a key that the server makes come from the system.
fn holder(name: &str, key: &str, roles: &[&str], set: fn(&mut StoredKey)) -> DocumentWrite {
    let hash = blake3::Hasher::new_derive_key("operond 2026-11 api key").update(key.as_bytes()).finalize();
    let mut stored = StoredKey {
        id: key[4..20].into(),
        hash: hash.as_bytes().to_vec(),
        created_by: "test".into(),
        ..StoredKey::default()
    };
    set(&mut stored);
    let holder = Stored { roles: roles.iter().map(|role| (*role).to_owned()).collect(), keys: vec![stored] };
    let name = name.trim_matches(['{', '}']);
    DocumentWrite { collection: Collection::Keys, name: name.into(), replaces: 0, bytes: holder.encode_to_vec().into() }
}

#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(string, repeated, tag = "2")]
    roles: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    keys: Vec<StoredKey>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredKey {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bytes = "vec", tag = "2")]
    hash: Vec<u8>,
    #[prost(int64, tag = "3")]
    created_at: i64,
    #[prost(string, tag = "4")]
    created_by: String,
    #[prost(int64, optional, tag = "5")]
    expires_at: Option<i64>,
    #[prost(int64, optional, tag = "6")]
    revoked_at: Option<i64>,
}

const HEADERS: &[&str] = &[
    "cookie",
    "proxy-authorization",
    "x-forwarded-for",
    "x-forwarded-user",
    "x-forwarded-client-cert",
    "x-forwarded-host",
    "forwarded",
    "x-real-ip",
    "x-api-key",
    "x-request-id",
    "origin",
    "sec-fetch-site",
];

/// In microseconds since 1970.
const IN_2096: i64 = 4_000_000_000_000_000;
