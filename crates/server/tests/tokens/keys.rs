//! Keys: which are believed, where they are fetched, and how they come and go.

use std::path::PathBuf;
use std::time::Duration;

use futures::future::{join_all, poll_immediate};
use operond_server::auth::Role;
use operond_server::auth::token::{
    Algorithm, Issuer, IssuerProblem, JwksSource, KEYS_AGE_MAX, REFRESH_INTERVAL, REFRESH_INTERVAL_MIN, Refused,
    TenantFrom, Tokens, Verdict,
};
use operond_server::tls::DevIdentity;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::issuer::{DISCOVERY, Page, Site, claims, clock, tokens};
use crate::signer::{ED25519, OTHER_RSA, P256, P384, RSA, Signer, base64, jwks, set};

const ISSUER: &str = "https://issuer.example";

/// A file of keys in a directory of its own.
struct File {
    dir: TempDir,
}

impl File {
    fn of(keys: &str) -> Self {
        let file = Self { dir: tempfile::tempdir().unwrap() };
        file.write(keys);
        file
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("keys.json")
    }

    /// At once: nobody reads half of it.
    fn write(&self, keys: &str) {
        let new = self.dir.path().join("new.json");
        std::fs::write(&new, keys).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    fn issuer(&self) -> Issuer {
        let mut issuer = Issuer::new(ISSUER, vec!["operond".into()], TenantFrom::All);
        issuer.algorithms = Algorithm::ALL.to_vec();
        issuer.jwks = Some(JwksSource::File(self.path()));
        issuer
    }
}

/// What is said of a token when these keys are published.
async fn judged(keys: &str, token: &str) -> Result<(), Refused> {
    let file = File::of(keys);
    tokens(vec![file.issuer()], &clock()).await.verify_patiently(token).await.map(|_| ())
}

fn changed(signer: &Signer, member: &str, value: Value) -> Value {
    let mut jwk = signer.jwk();
    jwk[member] = value;
    jwk
}

fn without(signer: &Signer, member: &str) -> Value {
    let mut jwk = signer.jwk();
    jwk.as_object_mut().unwrap().remove(member);
    jwk
}

#[tokio::test]
async fn keys_that_are_not_for_signatures_or_of_no_use_are_left_out() {
    let n = RSA.jwk()["n"].as_str().unwrap().to_owned();
    let (x, y) = (P256.jwk()["x"].clone(), P256.jwk()["y"].clone());
    for (name, signer, jwk) in [
        ("use enc", &*RSA, changed(&RSA, "use", json!("enc"))),
        ("use unknown", &*RSA, changed(&RSA, "use", json!("SIG"))),
        ("use not a string", &*RSA, changed(&RSA, "use", json!(1))),
        ("key_ops without verify", &*RSA, changed(&RSA, "key_ops", json!(["encrypt"]))),
        ("alg for encryption", &*RSA, changed(&RSA, "alg", json!("RSA-OAEP"))),
        ("alg of HMAC", &*RSA, changed(&RSA, "alg", json!("HS256"))),
        ("alg of another type", &*RSA, changed(&RSA, "alg", json!("ES256"))),
        ("kty oct", &*RSA, changed(&RSA, "kty", json!("oct"))),
        ("kty unknown", &*RSA, changed(&RSA, "kty", json!("rsa"))),
        ("no kty", &*RSA, without(&RSA, "kty")),
        ("the private part too", &*RSA, changed(&RSA, "d", json!("AQAB"))),
        ("exponent 1", &*RSA, changed(&RSA, "e", json!("AQ"))),
        ("exponent even", &*RSA, changed(&RSA, "e", json!("AQAA"))),
        ("exponent long", &*RSA, changed(&RSA, "e", json!("AQAAAAAB"))),
        ("no exponent", &*RSA, changed(&RSA, "e", json!(""))),
        ("no modulus", &*RSA, changed(&RSA, "n", json!("AAAA"))),
        ("modulus short", &*RSA, changed(&RSA, "n", json!(&n[..n.len() / 2]))),
        ("modulus padded with zeros", &*RSA, changed(&RSA, "n", json!("AAAA".repeat(80) + &n[..n.len() / 2]))),
        ("modulus long", &*RSA, changed(&RSA, "n", json!(n.repeat(5)))),
        ("modulus not base64url", &*RSA, changed(&RSA, "n", json!(n.clone() + "="))),
        ("curve unknown", &*P256, changed(&P256, "crv", json!("secp256k1"))),
        ("curve of another size", &*P256, changed(&P256, "crv", json!("P-384"))),
        ("curve of another type", &*ED25519, changed(&ED25519, "crv", json!("X25519"))),
        ("coordinate short", &*P256, changed(&P256, "x", json!(base64([1; 31])))),
        ("coordinate long", &*P256, changed(&P256, "y", json!(base64([1; 33])))),
        ("no coordinate", &*P256, without(&P256, "y")),
        ("key of Ed25519 short", &*ED25519, changed(&ED25519, "x", json!(base64([1; 31])))),
        ("kid long", &*P256, changed(&P256, "kid", json!("k".repeat(129)))),
        ("kid not a string", &*P256, changed(&P256, "kid", json!(1))),
        ("no kid", &*P256, without(&P256, "kid")),
        ("not an object", &*P256, json!([x, y])),
    ] {
        let token = signer.token(&claims(ISSUER));
        // Beside one that is of use, so that the set is not empty.
        let keys = set(&[jwk, P384.jwk()]);
        assert_eq!(judged(&keys, &token).await, Err(Refused::UnknownKey), "{name}");
        assert_eq!(judged(&keys, &P384.token(&claims(ISSUER))).await, Ok(()), "the key beside: {name}");
        assert_eq!(judged(&jwks(&[signer, &P384]), &token).await, Ok(()), "the key unchanged: {name}");
    }
}

#[tokio::test]
async fn a_point_beside_the_curve_verifies_nothing() {
    let jwk = P256.jwk();
    let off = set(&[changed(&P256, "x", jwk["y"].clone()), P384.jwk()]);
    let token = P256.token(&claims(ISSUER));
    assert_eq!(judged(&off, &token).await, Err(Refused::Signature));
    let infinity =
        set(&[json!({"kty": "EC", "crv": "P-256", "kid": "p256", "x": base64([0; 32]), "y": base64([0; 32])})]);
    assert_eq!(judged(&infinity, &token).await, Err(Refused::Signature));
}

/// The key is a fixed test key of 1024 bits, made for this test and thrown away.
#[tokio::test]
async fn an_rsa_key_of_1024_bits_is_too_short() {
    let (modulus, token) = (include_str!("rsa1024.modulus").trim(), include_str!("rsa1024.token").trim());
    let keys = set(&[json!({"kty": "RSA", "kid": "small", "n": modulus, "e": "AQAB"})]);
    assert_eq!(judged(&keys, token).await, Err(Refused::UnknownKey));
}

#[tokio::test]
async fn a_key_that_says_what_it_is_for_is_for_nothing_else() {
    let keys = set(&[changed(&RSA, "alg", json!("RS256"))]);
    let claims = claims(ISSUER);
    assert_eq!(judged(&keys, &RSA.token(&claims)).await, Ok(()));
    for alg in ["RS384", "PS256"] {
        assert_eq!(judged(&keys, &RSA.token_with(alg, &claims)).await, Err(Refused::Algorithm), "{alg}");
        assert_eq!(judged(&jwks(&[&RSA]), &RSA.token_with(alg, &claims)).await, Ok(()), "{alg}");
    }
}

#[tokio::test]
async fn a_token_that_names_no_key_is_of_the_only_one_that_it_could_be() {
    let token = RSA.token_of(r#"{"alg":"RS256"}"#, claims(ISSUER).to_string());
    assert_eq!(judged(&jwks(&[&RSA]), &token).await, Ok(()));
    assert_eq!(judged(&jwks(&[&P256, &RSA]), &token).await, Ok(()));
    assert_eq!(judged(&set(&[without(&RSA, "kid")]), &token).await, Ok(()));
    assert_eq!(judged(&jwks(&[&OTHER_RSA]), &token).await, Err(Refused::Signature));
    assert_eq!(judged(&jwks(&[&RSA, &OTHER_RSA]), &token).await, Err(Refused::NoKeyNamed));
    assert_eq!(judged(&jwks(&[&OTHER_RSA, &RSA]), &token).await, Err(Refused::NoKeyNamed));
    assert_eq!(judged(&jwks(&[&P256]), &token).await, Err(Refused::Algorithm));
    assert_eq!(judged(&jwks(&[]), &token).await, Err(Refused::UnknownKey));
}

#[tokio::test]
async fn a_document_that_is_no_set_of_keys_is_like_none() {
    let token = P256.token(&claims(ISSUER));
    let many = |count: usize| set(&(1..count).map(|_| P384.jwk()).chain([P256.jwk()]).collect::<Vec<_>>());
    let one = jwks(&[&P256]);
    let padded = |bytes: usize| format!("{one}{}", " ".repeat(bytes - one.len()));
    for (name, keys) in [
        ("nothing", String::new()),
        ("no JSON", "<html>".into()),
        ("no object", "[]".into()),
        ("no keys", "{}".into()),
        ("keys are an object", r#"{"keys":{}}"#.into()),
        ("two sets", one.replacen('{', r#"{"keys":[],"#, 1)),
        ("101 keys", many(101)),
        ("256 KiB and a byte", padded(256 * 1024 + 1)),
    ] {
        assert_eq!(judged(&keys, &token).await, Err(Refused::IssuerUnavailable), "{name}");
    }
    assert_eq!(judged(&many(100), &token).await, Ok(()));
    assert_eq!(judged(&padded(256 * 1024), &token).await, Ok(()));
}

#[tokio::test]
async fn only_what_the_issuer_itself_says_in_so_many_bytes_is_believed() {
    let attacker = Site::publishing(jwks(&[&P256])).await;
    let site = Site::publishing(jwks(&[&P256])).await;
    let elsewhere = |uri: &str| Page::Text(json!({"issuer": site.url, "jwks_uri": uri}).to_string());
    let keys = jwks(&[&P256]);
    let padded = |bytes: usize| Page::Text(format!("{keys}{}", " ".repeat(bytes - keys.len())));
    for (name, path, page) in [
        ("keys elsewhere", "/keys", Page::Redirect(format!("{}/keys", attacker.url), keys.clone())),
        ("keys on another page", "/keys", Page::Redirect("/more".into(), keys.clone())),
        ("broken", "/keys", Page::Broken),
        ("huge", "/keys", padded(256 * 1024 + 1)),
        ("a discovery elsewhere", DISCOVERY, Page::Redirect(format!("{}{DISCOVERY}", attacker.url), site.discovery())),
        ("a discovery of another issuer", DISCOVERY, Page::Text(attacker.discovery())),
        ("a discovery without issuer", DISCOVERY, Page::Text(json!({"jwks_uri": "http://127.0.0.1/"}).to_string())),
        ("a discovery without keys", DISCOVERY, Page::Text(json!({"issuer": site.url}).to_string())),
        ("keys without encryption", DISCOVERY, elsewhere("http://keys.example/")),
        ("keys in a file", DISCOVERY, elsewhere("file:///etc/passwd")),
        ("keys at no place", DISCOVERY, elsewhere("keys")),
        ("keys across TLS", DISCOVERY, elsewhere("https://127.0.0.1:1/")),
    ] {
        site.publish(keys.clone());
        site.say("/more", Page::Text(keys.clone()));
        site.say(path, page);
        let token = P256.token(&site.claims());
        let found = tokens(vec![site.issuer()], &clock()).await.verify_patiently(&token).await;
        assert_eq!(found, Err(Refused::IssuerUnavailable), "{name}");
        site.publish(keys.clone());
        let found = tokens(vec![site.issuer()], &clock()).await.verify_patiently(&token).await;
        assert!(found.is_ok(), "the issuer as it should be: {name}: {found:?}");
    }
    site.say("/keys", padded(256 * 1024));
    assert!(tokens(vec![site.issuer()], &clock()).await.verify_patiently(&P256.token(&site.claims())).await.is_ok());
    assert_eq!(["/keys", DISCOVERY, "/more"].map(|path| attacker.fetched(path)), [0; 3]);
    assert_eq!(site.fetched("/more"), 0);
}

#[tokio::test]
async fn keys_behind_an_own_url_need_no_discovery() {
    let site = Site::start().await;
    site.say("/own?a=b", Page::Broken);
    site.say("/own", Page::Text(jwks(&[&P256])));
    let mut issuer = Issuer::new(ISSUER, vec!["operond".into()], TenantFrom::All);
    issuer.jwks = Some(JwksSource::Url(format!("{}/own?a=b", site.url)));
    let tokens = tokens(vec![issuer], &clock()).await;
    assert!(tokens.verify_patiently(&P256.token(&claims(ISSUER))).await.is_ok());
    assert_eq!((site.fetched("/own"), site.fetched(DISCOVERY)), (1, 0));
}

#[tokio::test]
async fn an_issuer_behind_tls_proves_who_it_is() {
    #[expect(clippy::disallowed_methods, reason = "TLS clients compare certificates with the real clock")]
    let now = std::time::SystemTime::now();
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [own, foreign] = dirs.each_ref().map(|dir| DevIdentity::open_or_create(dir.path(), &[], now).unwrap());
    let site = Site::start_encrypted(own.server_config()).await;
    site.publish(jwks(&[&P256]));
    let token = P256.token(&site.claims());
    for (ca, believed) in [(own.ca_path(), true), (foreign.ca_path(), false)] {
        let mut issuer = site.issuer();
        issuer.ca = Some(ca.to_owned());
        let found = tokens(vec![issuer], &clock()).await.verify_patiently(&token).await;
        assert_eq!(found.is_ok(), believed, "{found:?}");
        assert!(believed || found == Err(Refused::IssuerUnavailable), "{found:?}");
    }
    // Its discovery document came through TLS; its keys would not.
    let plain = Site::publishing(jwks(&[&P256])).await;
    let document = json!({"issuer": site.url, "jwks_uri": format!("{}/keys", plain.url)});
    site.say(DISCOVERY, Page::Text(document.to_string()));
    let mut issuer = site.issuer();
    issuer.ca = Some(own.ca_path().to_owned());
    let found = tokens(vec![issuer], &clock()).await.verify_patiently(&token).await;
    assert_eq!((found, plain.fetched("/keys")), (Err(Refused::IssuerUnavailable), 0));
}

#[tokio::test]
async fn a_trusted_certificate_of_another_name_proves_nothing() {
    for (name, believed) in [("127.0.0.1", true), ("other.example", false)] {
        let dir = tempfile::tempdir().unwrap();
        let [certificate, key] = ["cert.pem", "key.pem"].map(|file| dir.path().join(file));
        let pair = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(&certificate, pair.cert.pem()).unwrap();
        std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        let identity = operond_server::tls::load(&certificate, &key).unwrap();
        let site = Site::start_encrypted(identity.server_config(&operond_server::tls::ClientAuth::None)).await;
        site.publish(jwks(&[&P256]));
        let mut issuer = site.issuer();
        issuer.ca = Some(certificate);
        let found = tokens(vec![issuer], &clock()).await.verify_patiently(&P256.token(&site.claims())).await;
        assert_eq!(found.map(|_| ()), if believed { Ok(()) } else { Err(Refused::IssuerUnavailable) }, "{name}");
    }
}

#[tokio::test]
async fn a_ca_file_without_certificates_is_an_error_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    for text in [None, Some("")] {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let mut issuer = Issuer::new(ISSUER, vec!["operond".into()], TenantFrom::All);
        issuer.ca = Some(path.clone());
        let error = Tokens::start_with_clock(vec![issuer], clock()).await.unwrap_err();
        let IssuerProblem::Roots(problem) = error.problem else { panic!("{error}") };
        assert!(problem.starts_with(path.to_str().unwrap()), "{problem}");
    }
}

#[tokio::test]
async fn a_new_key_is_fetched_once_when_it_is_first_seen() {
    let site = Site::publishing(jwks(&[&RSA])).await;
    let clock = clock();
    let tokens = tokens(vec![site.issuer()], &clock).await;
    let (old, new) = (RSA.token(&site.claims()), P256.token(&site.claims()));
    assert_eq!(tokens.verify(&old), Verdict::Unsure, "nothing was fetched yet");
    assert!(tokens.verify_patiently(&old).await.is_ok());
    assert!(matches!(tokens.verify(&old), Verdict::Identity(_)));

    site.publish(jwks(&[&P256]));
    assert_eq!(tokens.verify(&new), Verdict::Unsure);
    assert_eq!(tokens.verify_patiently(&new).await, Err(Refused::UnknownKey), "too soon to ask again");
    clock.advance(REFRESH_INTERVAL_MIN);
    assert!(matches!(tokens.verify(&old), Verdict::Identity(_)), "nobody has heard that it is gone");
    assert!(tokens.verify_patiently(&new).await.is_ok());
    assert!(matches!(tokens.verify(&new), Verdict::Identity(_)));
    assert_eq!(tokens.verify_patiently(&old).await, Err(Refused::UnknownKey), "it was taken back");
    assert_eq!(site.fetched("/keys"), 2);
}

#[tokio::test]
async fn made_up_keys_do_not_make_the_server_hammer_the_issuer() {
    let site = Site::publishing(jwks(&[&P256])).await;
    let clock = clock();
    let tokens = tokens(vec![site.issuer()], &clock).await;
    let good = P256.token(&site.claims());
    assert!(tokens.verify_patiently(&good).await.is_ok());
    let claims = site.claims().to_string();
    let forged: Vec<_> = (0..1_000)
        .map(|n| P256.token_of(json!({"alg": "ES256", "kid": format!("{n}")}).to_string(), &claims))
        .collect();
    for round in 1..3 {
        clock.advance(REFRESH_INTERVAL_MIN);
        let found = join_all(forged.iter().map(|token| tokens.verify_patiently(token))).await;
        assert!(found.iter().all(|found| *found == Err(Refused::UnknownKey)));
        for token in &forged {
            assert_eq!(tokens.verify_patiently(token).await, Err(Refused::UnknownKey));
        }
        assert_eq!((site.fetched("/keys"), site.fetched(DISCOVERY)), (1 + round, 1 + round));
    }
    assert!(matches!(tokens.verify(&good), Verdict::Identity(_)));
}

#[tokio::test]
async fn a_caller_who_goes_away_does_not_take_the_keys_along() {
    let site = Site::publishing(jwks(&[&P256])).await;
    site.say("/keys", Page::Held(jwks(&[&P256])));
    let tokens = tokens(vec![site.issuer()], &clock()).await;
    let token = P256.token(&site.claims());
    {
        let caller = tokens.verify_patiently(&token);
        assert!(poll_immediate(caller).await.is_none());
    }
    site.release();
    assert!(tokens.verify_patiently(&token).await.is_ok());
    assert_eq!(site.fetched("/keys"), 1);
}

#[tokio::test]
async fn an_issuer_that_is_away_and_comes_back() {
    let site = Site::start().await;
    let clock = clock();
    let tokens = tokens(vec![site.issuer()], &clock).await;
    let (token, forged) = (P256.token(&site.claims()), RSA.token(&site.claims()));
    assert_eq!(tokens.verify(&token), Verdict::Unsure);
    assert_eq!(tokens.verify_patiently(&token).await, Err(Refused::IssuerUnavailable));

    site.publish(jwks(&[&P256]));
    assert_eq!(tokens.verify_patiently(&token).await, Err(Refused::IssuerUnavailable), "too soon to ask again");
    clock.advance(REFRESH_INTERVAL_MIN);
    assert!(tokens.verify_patiently(&token).await.is_ok());
    assert_eq!(tokens.verify_patiently(&forged).await, Err(Refused::UnknownKey));

    site.say(DISCOVERY, Page::Broken);
    clock.advance(REFRESH_INTERVAL_MIN);
    // It may be a new key: who is to say?
    assert_eq!(tokens.verify_patiently(&forged).await, Err(Refused::IssuerUnavailable));
    assert!(matches!(tokens.verify(&token), Verdict::Identity(_)), "known keys stay good");
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_again_are_believed_for_a_day() {
    let site = Site::publishing(jwks(&[&P256])).await;
    let clock = clock();
    let tokens = tokens(vec![site.issuer()], &clock).await;
    let mut claims = site.claims();
    claims["exp"] = json!(253_402_300_799_u64);
    let token = P256.token(&claims);
    assert!(tokens.verify_patiently(&token).await.is_ok());

    site.say("/keys", Page::Broken);
    clock.advance(KEYS_AGE_MAX);
    assert!(matches!(tokens.verify(&token), Verdict::Identity(_)));
    clock.advance(Duration::from_micros(1));
    assert_eq!(tokens.verify(&token), Verdict::Unsure);
    assert_eq!(tokens.verify_patiently(&token).await, Err(Refused::IssuerUnavailable));

    site.publish(jwks(&[&P256]));
    clock.advance(REFRESH_INTERVAL_MIN);
    assert!(tokens.verify_patiently(&token).await.is_ok());
}

/// Time is virtual here: it passes whenever everybody waits for it, and so before the issuer says anything.
#[tokio::test(start_paused = true)]
async fn an_issuer_that_says_nothing_is_away() {
    let site = Site::publishing(jwks(&[&P256])).await;
    site.say("/keys", Page::Held(jwks(&[&P256])));
    let tokens = tokens(vec![site.issuer()], &clock()).await;
    let begun = tokio::time::Instant::now();
    let found = tokens.verify_patiently(&P256.token(&site.claims())).await;
    assert_eq!(found, Err(Refused::IssuerUnavailable));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

/// Only files: they are read while virtual time stands still.
#[tokio::test(start_paused = true)]
async fn keys_are_fetched_again_though_nobody_misses_any() {
    let file = File::of(&jwks(&[&RSA]));
    let tokens = tokens(vec![file.issuer()], &clock()).await;
    let old = RSA.token(&claims(ISSUER));
    assert!(tokens.verify_patiently(&old).await.is_ok());
    file.write(&jwks(&[&P256]));
    let begun = tokio::time::Instant::now();
    while tokens.verify(&old) != Verdict::Unsure {
        assert!(begun.elapsed() < REFRESH_INTERVAL * 2, "the old key is still believed");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(begun.elapsed() >= REFRESH_INTERVAL - Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(matches!(tokens.verify(&P256.token(&claims(ISSUER))), Verdict::Identity(_)));
}

#[tokio::test]
async fn issuers_do_not_speak_for_each_other() {
    let sites = [Site::publishing(jwks(&[&P256])).await, Site::publishing(jwks(&[&RSA])).await];
    let issuers = sites.each_ref().map(|site| {
        let mut issuer = site.issuer();
        issuer.roles.fixed = operond_server::auth::Roles::of(&[Role::Viewer]);
        issuer
    });
    let tokens = tokens(issuers.to_vec(), &clock()).await;
    for (site, own, foreign) in [(&sites[0], &*P256, &*RSA), (&sites[1], &*RSA, &*P256)] {
        assert!(tokens.verify_patiently(&own.token(&site.claims())).await.is_ok());
        assert_eq!(tokens.verify_patiently(&foreign.token(&site.claims())).await, Err(Refused::UnknownKey));
    }
}

#[tokio::test]
async fn the_tasks_end_with_the_last_handle() {
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let file = File::of(&jwks(&[&P256]));
    let tokens = tokens(vec![file.issuer()], &clock()).await;
    let clone = tokens.clone();
    drop(tokens);
    assert!(clone.verify_patiently(&P256.token(&claims(ISSUER))).await.is_ok());
    drop(clone);
    let ended = async {
        while tokio::runtime::Handle::current().metrics().num_alive_tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the task ends");
}
