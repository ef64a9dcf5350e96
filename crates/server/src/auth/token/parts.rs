//! A token taken apart, before anything in it is believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::json;
use super::refused::Refused;

/// Longest token.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Longest name of a key.
pub(super) const KEY_ID_BYTES_MAX: usize = 128;

/// What stands in a token. Nothing of it is true as long as the signature is not verified.
#[derive(Debug)]
pub(super) struct Parts<'t> {
    /// What it says it is signed with.
    pub(super) algorithm: Algorithm,
    /// The key that it says it is signed with.
    pub(super) key_id: Option<String>,
    /// What it claims.
    pub(super) claims: Map<String, Value>,
    /// What the signature is of.
    pub(super) signed: &'t [u8],
    /// The signature, in base64url.
    pub(super) signature: &'t str,
}

impl<'t> Parts<'t> {
    /// Takes `token` apart.
    pub(super) fn of(token: &'t str) -> Result<Self, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        let three = || {
            let (signed, signature) = token.rsplit_once('.')?;
            let (header, claims) = signed.split_once('.')?;
            (!claims.contains('.')).then_some((signed, signature, header, claims))
        };
        let (signed, signature, header, claims) =
            three().ok_or(Refused::Malformed("it does not have three parts with dots between them"))?;
        let header = object(header, "its header is not a JSON object, without double names, in base64url")?;
        let (algorithm, key_id) = read_header(&header)?;
        let claims = object(claims, "its claims are not a JSON object, without double names, in base64url")?;
        Ok(Self { algorithm, key_id, claims, signed: signed.as_bytes(), signature })
    }

    /// Who it says issued it.
    pub(super) fn issuer(&self) -> Result<&str, Refused> {
        match self.claims.get("iss") {
            Some(Value::String(issuer)) => Ok(issuer),
            Some(_) => Err(Refused::claim("iss", "is not a string")),
            None => Err(Refused::claim("iss", "is missing")),
        }
    }
}

fn object(part: &str, otherwise: &'static str) -> Result<Map<String, Value>, Refused> {
    let text = URL_SAFE_NO_PAD.decode(part).ok();
    text.and_then(|text| json::object(&text)).ok_or(Refused::Malformed(otherwise))
}

fn read_header(header: &Map<String, Value>) -> Result<(Algorithm, Option<String>), Refused> {
    if let Some((_, problem)) = NEVER.iter().find(|(name, _)| header.contains_key(*name)) {
        return Err(Refused::Malformed(problem));
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(kind)) if is_access_token(kind) => {}
        Some(_) => return Err(Refused::Malformed("`typ` of its header is neither JWT nor at+jwt")),
    }
    let algorithm = match header.get("alg") {
        Some(Value::String(name)) => name.parse().map_err(|_| Refused::Algorithm)?,
        _ => return Err(Refused::Malformed("`alg` of its header is not a string")),
    };
    let key_id = match header.get("kid") {
        None => None,
        Some(Value::String(id)) if id.len() <= KEY_ID_BYTES_MAX => Some(id.clone()),
        Some(_) => return Err(Refused::Malformed("`kid` of its header is not a string of at most 128 bytes")),
    };
    Ok((algorithm, key_id))
}

/// Other types are for something else (a logout, a proof of possession), and are no credentials (RFC 8725 §3.11).
fn is_access_token(kind: &str) -> bool {
    let kind = kind.as_bytes();
    let kind = match kind.split_at_checked("application/".len()) {
        Some((media, subtype)) if media.eq_ignore_ascii_case(b"application/") => subtype,
        _ => kind,
    };
    kind.eq_ignore_ascii_case(b"JWT") || kind.eq_ignore_ascii_case(b"at+jwt")
}

/// What no header may have. The first four would have the sender of a token say what it is verified with; with the
/// others it means something else than the bytes that were signed say.
const NEVER: [(&str, &str); 9] = [
    ("jku", "its header names a place to take keys from (`jku`)"),
    ("jwk", "its header brings a key (`jwk`)"),
    ("x5u", "its header names a place to take certificates from (`x5u`)"),
    ("x5c", "its header brings certificates (`x5c`)"),
    ("crit", "its header demands extensions (`crit`)"),
    ("b64", "its claims are not encoded (`b64`)"),
    ("cty", "it holds another token (`cty`)"),
    ("enc", "it is encrypted (`enc`)"),
    ("zip", "it is compressed (`zip`)"),
];
