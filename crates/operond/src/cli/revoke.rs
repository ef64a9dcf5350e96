//! `keys revoke`: which keys are meant, and that nobody is told more of them than their ids.

use anyhow::{Context, Result};

use super::args::{self, Secret};
use super::exit::{Exit, Usage};
use super::{connect, text};

pub(super) async fn revoke(args: args::RevokeKey) -> Result<Exit> {
    let ids: Vec<String> = args.keys.iter().map(|Secret(said)| meant(said)).collect::<Result<_>>()?;
    let client = connect(&args.server)?;
    for id in &ids {
        let key = client.revoke_key(id).await.with_context(|| format!("cannot revoke {id}"))?;
        eprintln!("revoked key {} of {}", text::escape(&key.id), text::escape(&key.name));
    }
    Ok(Exit::Success)
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
