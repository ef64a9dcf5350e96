//! A set of public keys, as an issuer publishes it (RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::json;
use super::parts::{KEY_ID_BYTES_MAX, Parts};
use super::refused::Refused;

/// Most keys of an issuer.
const KEYS_MAX: usize = 100;
/// Sizes of RSA keys that are believed. More bits only cost more time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Longest exponent: the usual one has three bytes.
const RSA_EXPONENT_BYTES_MAX: usize = 4;

/// The keys of an issuer that are for signatures.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    /// What it can be for: decided by what sort of key it is, never by a token.
    algorithms: Vec<Algorithm>,
    public: DecodingKey,
}

/// A document that is no set of keys.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoKeys {
    #[error("is not a JSON object, without double names, that has `keys`")]
    Malformed,
    #[error("has {0} keys, more than {KEYS_MAX}")]
    TooMany(usize),
}

impl Keys {
    /// Reads a document. Keys that are not for this, or of no use, are left out: an issuer may have some for others.
    pub(super) fn read(document: &[u8]) -> Result<Self, NoKeys> {
        let document = json::object(document).ok_or(NoKeys::Malformed)?;
        let Some(Value::Array(keys)) = document.get("keys") else { return Err(NoKeys::Malformed) };
        if keys.len() > KEYS_MAX {
            return Err(NoKeys::TooMany(keys.len()));
        }
        Ok(Self(keys.iter().filter_map(Value::as_object).filter_map(Key::read).collect()))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether `token` is signed with one of them; `None` if it is not among them.
    pub(super) fn verify(&self, token: &Parts<'_>) -> Option<Result<(), Refused>> {
        let mut named = self.0.iter().filter(|key| token.key_id.is_none() || key.id == token.key_id).peekable();
        named.peek()?;
        let mut fitting = named.filter(|key| key.algorithms.contains(&token.algorithm));
        let Some(key) = fitting.next() else { return Some(Err(Refused::Algorithm)) };
        if token.key_id.is_none() && fitting.next().is_some() {
            return Some(Err(Refused::NoKeyNamed));
        }
        Some(key.verify(token))
    }
}

impl Key {
    fn read(jwk: &Map<String, Value>) -> Option<Self> {
        // A key whose private part is published is not a secret any more.
        if !for_signatures(jwk)? || jwk.contains_key("d") {
            return None;
        }
        let id = match jwk.get("kid") {
            None => None,
            Some(Value::String(id)) if id.len() <= KEY_ID_BYTES_MAX => Some(id.clone()),
            Some(_) => return None,
        };
        let (possible, public) = match (jwk.get("kty")?.as_str()?, jwk.get("crv").and_then(Value::as_str)) {
            ("RSA", _) => (Algorithm::RSA, rsa(jwk)?),
            ("EC", Some("P-256")) => (&[Algorithm::Es256][..], point(jwk, 32)?),
            ("EC", Some("P-384")) => (&[Algorithm::Es384][..], point(jwk, 48)?),
            ("OKP", Some("Ed25519")) => (&[Algorithm::EdDsa][..], ed25519(jwk)?),
            _ => return None,
        };
        let algorithms = match jwk.get("alg") {
            None => possible.to_vec(),
            Some(only) => vec![only.as_str()?.parse().ok().filter(|only| possible.contains(only))?],
        };
        Some(Self { id, algorithms, public })
    }

    fn verify(&self, token: &Parts<'_>) -> Result<(), Refused> {
        let algorithm = token.algorithm.of_library();
        match jsonwebtoken::crypto::verify(token.signature, token.signed, &self.public, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Refused::Signature),
        }
    }
}

/// `None` if it says nonsense.
fn for_signatures(jwk: &Map<String, Value>) -> Option<bool> {
    let used = match jwk.get("use") {
        None => true,
        Some(purpose) => purpose.as_str()? == "sig",
    };
    let operated = match jwk.get("key_ops") {
        None => true,
        Some(operations) => operations.as_array()?.iter().any(|operation| operation == "verify"),
    };
    Some(used && operated)
}

fn rsa(jwk: &Map<String, Value>) -> Option<DecodingKey> {
    let (modulus, exponent) = (number(jwk, "n")?, number(jwk, "e")?);
    let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
    let odd = exponent.last()? % 2 == 1;
    let usable = RSA_BITS.contains(&bits) && odd && exponent != [1] && exponent.len() <= RSA_EXPONENT_BYTES_MAX;
    usable.then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

/// Whether it lies on the curve is asked where it is used: no signature verifies with one that does not.
fn point(jwk: &Map<String, Value>, coordinate_bytes: usize) -> Option<DecodingKey> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != coordinate_bytes || y.len() != coordinate_bytes {
        return None;
    }
    const UNCOMPRESSED: u8 = 4;
    Some(DecodingKey::from_ec_der(&[&[UNCOMPRESSED], &x[..], &y[..]].concat()))
}

fn ed25519(jwk: &Map<String, Value>) -> Option<DecodingKey> {
    let x = bytes(jwk, "x")?;
    (x.len() == 32).then(|| DecodingKey::from_ed_der(&x))
}

/// Without leading zeros, which some issuers write.
fn number(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    let bytes = bytes(jwk, name)?;
    Some(bytes.into_iter().skip_while(|byte| *byte == 0).collect())
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(jwk.get(name)?.as_str()?).ok()
}
