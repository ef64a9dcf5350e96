//! `keys revoke`: which keys are meant, and that nobody is told more of them than their ids.

use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use operond_client::proto::{Key, Role};

use super::args::{self, Secret};
use super::exit::{Exit, Usage};
use super::keys::{is_good, now};
use super::{connect, text};

pub(super) async fn revoke(args: args::RevokeKey) -> Result<Exit> {
    let ids: Vec<String> = args.keys.iter().map(|Secret(said)| meant(said)).collect::<Result<_>>()?;
    let client = connect(&args.server)?;
    if !args.last {
        let keys: Vec<Key> =
            client.list_all_keys().try_collect().await.context("cannot see whether an admin is left")?;
        if takes_the_last(&keys, &ids, now()) {
            bail!(
                "no key of an admin of all tenants and kinds would be good any more, and nobody could make one: make \
                 another first (operond keys create NAME --tenant '*' --role admin), or say --last; nothing was revoked"
            );
        }
    }
    let ids = match ids.len() {
        1 => ids,
        _ => own_last(ids, &client.who_am_i().await.context("cannot see whose key is used")?.credential_id),
    };
    for id in &ids {
        let key = client.revoke_key(id).await.with_context(|| format!("cannot revoke {id}"))?;
        eprintln!("revoked key {} of {}", text::escape(&key.id), text::escape(&key.name));
    }
    Ok(Exit::Success)
}

/// The key that the others are revoked with is of no use for them once it is revoked.
fn own_last(mut ids: Vec<String>, own: &str) -> Vec<String> {
    ids.sort_by_key(|id| id == own);
    ids
}

/// Whether there are good keys of whole admins, and none are left when these are revoked.
fn takes_the_last(keys: &[Key], ids: &[String], now: SystemTime) -> bool {
    let whole = |key: &&Key| key.roles().any(|role| role == Role::Admin) && key.tenant == "*" && key.kinds.is_empty();
    let mut admins = keys.iter().filter(whole).filter(|key| is_good(key, now)).peekable();
    admins.peek().is_some() && admins.all(|key| ids.contains(&key.id))
}

/// The id that is said, or that is in the key that is said, or in the file with one that is.
fn meant(said: &str) -> Result<String> {
    let (key, from) = match said.strip_prefix('@') {
        None => (said.to_owned(), String::new()),
        Some(path) => {
            let shown = text::escape(path);
            let key = std::fs::read_to_string(path).with_context(|| format!("cannot read the key in {shown}"))?;
            (key, format!("in {shown}, "))
        }
    };
    let key = key.trim();
    if is_hex(key, ID_CHARS) {
        return Ok(key.to_owned());
    }
    let whole = key.strip_prefix("opk_").and_then(|key| key.split_once('_'));
    match whole.filter(|(id, secret)| is_hex(id, ID_CHARS) && is_hex(secret, SECRET_CHARS)) {
        Some((id, _secret)) => Ok(id.to_owned()),
        None => Err(Usage(format!(
            "{from}{} is neither a key nor the id of one: `operond keys list` shows the ids",
            shown(key)
        ))
        .into()),
    }
}

/// A name or an id that was mistyped, but nothing that is as long as a secret.
fn shown(said: &str) -> String {
    match said.chars().count() {
        0 => "an empty text".into(),
        1..=SHOWN_CHARS_MAX => format!("\"{}\"", text::escape(said)),
        length => format!("what has {length} characters"),
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

const ID_CHARS: usize = 16;
const SECRET_CHARS: usize = 64;
const SHOWN_CHARS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef";

    fn key() -> String {
        format!("opk_{ID}_{}", "7a".repeat(32))
    }

    #[test]
    fn a_key_is_meant_by_its_id_itself_or_a_file_with_one_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("viewer.key");
        for said in [ID.to_owned(), key(), format!(" {}\r\n", key())] {
            assert_eq!(meant(&said).unwrap(), ID, "{said}");
            std::fs::write(&path, &said).unwrap();
            assert_eq!(meant(&format!("@{}", path.display())).unwrap(), ID, "{said}");
        }
        assert_eq!(meant("@/nowhere/key").unwrap_err().to_string(), "cannot read the key in /nowhere/key");
    }

    #[test]
    fn the_last_whole_admin_is_the_last_that_is_good_now() {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(60);
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let roles = vec![Role::Admin.into(), Role::Viewer.into()];
        let admin = |id: &str| Key { id: id.into(), tenant: "*".into(), roles: roles.clone(), ..Key::default() };
        let others = [
            Key { revoked_at: at(1), ..admin("revoked") },
            Key { expires_at: at(60), ..admin("expired") },
            Key { tenant: "acme".into(), ..admin("of a tenant") },
            Key { kinds: vec!["k".into()], ..admin("of a kind") },
            Key { roles: vec![Role::Viewer.into()], ..admin("a viewer") },
        ];
        let takes = |admins: &[Key], ids: &[&str]| {
            let ids: Vec<_> = ids.iter().map(|&id| id.to_owned()).collect();
            takes_the_last(&[admins, &others].concat(), &ids, now)
        };
        assert!(takes(&[admin("a")], &["a"]));
        assert!(!takes(&[admin("a")], &["of a tenant", "revoked"]));
        assert!(!takes(&[admin("a"), admin("b")], &["a"]));
        assert!(takes(&[admin("a"), admin("b")], &["a", "b"]));
        assert!(!takes(&[Key { expires_at: at(61), ..admin("a") }, admin("b")], &["b"]));
        assert!(!takes(&[], &["revoked"]), "there is none to lose");
    }

    #[test]
    fn ones_own_key_is_revoked_behind_the_others() {
        let order = |ids: &[&str], own| own_last(ids.iter().map(|&id| id.to_owned()).collect(), own);
        assert_eq!(order(&["a", "b", "c"], "a"), ["b", "c", "a"]);
        assert_eq!(order(&["b", "a"], ""), ["b", "a"]);
    }

    #[test]
    fn what_is_neither_is_refused_without_what_may_be_secret() {
        let secret = "7a".repeat(32);
        let almost = format!("opk_{ID}_{secret}0");
        for said in ["shop", "", &secret, &almost, &key().to_uppercase(), &format!("opk_{ID}"), &ID[1..]] {
            let error = meant(said).unwrap_err();
            assert!(error.is::<Usage>() && !error.to_string().contains("7a7a"), "{error}");
            assert!(error.to_string().contains("`operond keys list` shows the ids"), "{error}");
        }
        assert!(meant("sh\u{7}op").unwrap_err().to_string().starts_with(r#""sh\u{7}op" is neither"#));
    }
}
