//! API keys as texts: `opk_`, the key's id, `_`, and 256 random bits.
//!
//! With so many random bits there is nothing to guess, so a fast hash is enough to keep instead of the key; a slow
//! one would only make calls slow.

use std::fmt;

/// A key as its owner has it. Shown once, and never printed by accident.
pub(crate) struct Secret(String);

/// What is kept of a key.
pub(crate) type Hash = blake3::Hash;

impl Secret {
    /// A new key and its id.
    pub(crate) fn generate() -> Result<(String, Self), getrandom::Error> {
        let (mut id, mut bits) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        getrandom::fill(&mut id)?;
        getrandom::fill(&mut bits)?;
        let id = hex(&id);
        let secret = format!("{PREFIX}{id}_{}", hex(&bits));
        Ok((id, Self(secret)))
    }

    /// What is kept of it.
    pub(crate) fn hash(&self) -> Hash {
        hash(&self.0)
    }

    /// The key itself, for its owner.
    pub(crate) fn reveal(self) -> String {
        self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Whether a credential is an API key, or means to be one.
pub(crate) fn is_key(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// The id in a key; none if it is no key.
pub(crate) fn id_in(key: &str) -> Option<&str> {
    let (id, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
    let lower_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (id.len() == 2 * ID_BYTES && secret.len() == 2 * SECRET_BYTES && lower_hex(id) && lower_hex(secret)).then_some(id)
}

/// What may be said of a text that should be an id: somebody may have sent a key, or much of one.
pub(crate) fn without_secret(text: &str) -> &str {
    text.strip_prefix(PREFIX).map_or(text, |key| key.split('_').next().unwrap_or_default())
}

/// The hash of a key. Hashes are compared in constant time by their own `==`.
pub(crate) fn hash(key: &str) -> Hash {
    blake3::Hasher::new_derive_key(CONTEXT).update(key.as_bytes()).finalize()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const PREFIX: &str = "opk_";
/// Enough to tell keys apart; an id is no secret.
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
/// Stored hashes depend on it: never changed.
const CONTEXT: &str = "operond 2026-11 api key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_id_in_it_and_256_bits() {
        let (id, secret) = Secret::generate().unwrap();
        assert_eq!(format!("{secret:?}"), "Secret");
        let (hashed, text) = (secret.hash(), secret.reveal());
        assert_eq!((id_in(&text), text.len()), (Some(&*id), 4 + 16 + 1 + 64));
        assert_eq!(hash(&text), hashed);
        assert_ne!(Secret::generate().unwrap().1.reveal(), text);
    }

    #[test]
    fn what_is_no_key_has_no_id() {
        let (_, secret) = Secret::generate().unwrap();
        let key = secret.reveal();
        for wrong in [
            "",
            "opk_",
            "opk__",
            &key[..key.len() - 1],
            &format!("{key}0"),
            &format!("{key} "),
            &key.to_uppercase(),
            &key.replacen("opk_", "opk-", 1),
            &key.replacen('_', "__", 1),
            &key.replace(|digit: char| digit.is_ascii_digit(), "g"),
            &"opk_".repeat(100_000),
        ] {
            assert_eq!(id_in(wrong), None, "{}", &wrong[..wrong.len().min(100)]);
        }
    }
}
