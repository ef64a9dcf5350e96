//! What verified claims mean here.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use operond_core::{Invalid, Kind, Principal, Scope, Tenant, Timestamp};
use serde_json::{Map, Value};

use super::issuer::{Issuer, KindsFrom, TenantFrom};
use super::refused::Refused;
use crate::auth::{Credential, Identity, Roles};

/// How far the clocks of an issuer and of this server may be apart, in seconds.
pub const CLOCK_SKEW_SECONDS: u64 = 60;

/// Where a claim stands: `sub`, or `realm_access.roles` for one inside another. A dot that belongs to a name is
/// written `\.`, as in `kubernetes\.io.namespace`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath {
    text: String,
    names: Vec<String>,
}

/// A text that cannot be the path of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no path of a claim: names with dots between them, and `\\.` for a dot in a name")]
pub struct NoClaimPath;

impl FromStr for ClaimPath {
    type Err = NoClaimPath;

    fn from_str(text: &str) -> Result<Self, NoClaimPath> {
        let (mut names, mut name) = (Vec::new(), String::new());
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '.' => names.push(std::mem::take(&mut name)),
                '\\' => match characters.next() {
                    Some(escaped @ ('.' | '\\')) => name.push(escaped),
                    _ => return Err(NoClaimPath),
                },
                other => name.push(other),
            }
        }
        names.push(name);
        if names.iter().any(String::is_empty) {
            return Err(NoClaimPath);
        }
        Ok(Self { text: text.to_owned(), names })
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl ClaimPath {
    /// The claim that says who it is about, unless told otherwise.
    pub(super) fn subject() -> Self {
        Self { text: "sub".into(), names: vec!["sub".into()] }
    }

    /// Nothing where something on the way there is missing; refused where it is not an object.
    fn find<'c>(&self, claims: &'c Map<String, Value>) -> Result<Option<&'c Value>, Refused> {
        let (last, outer) = self.names.split_last().expect("a path has a name");
        let mut members = claims;
        for name in outer {
            members = match members.get(name) {
                None => return Ok(None),
                Some(Value::Object(inner)) => inner,
                Some(_) => return Err(self.refused("is not inside an object")),
            };
        }
        Ok(members.get(last))
    }

    fn needed<'c>(&self, claims: &'c Map<String, Value>) -> Result<&'c Value, Refused> {
        self.find(claims)?.ok_or_else(|| self.refused("is missing"))
    }

    /// A claim that is a list. A string is one value, except in the two claims that are lists with spaces (RFC 8693
    /// §4.2, and what others call it): elsewhere "not admin" would be an admin.
    fn list<'c>(&self, value: &'c Value) -> Result<Vec<&'c str>, Refused> {
        let spaced = self.names.last().is_some_and(|name| name == "scope" || name == "scp");
        match value {
            Value::String(text) if spaced => Ok(text.split(' ').filter(|word| !word.is_empty()).collect()),
            value => texts(value).ok_or_else(|| self.refused(NO_TEXTS)),
        }
    }

    fn text<'c>(&self, claims: &'c Map<String, Value>) -> Result<&'c str, Refused> {
        self.needed(claims)?.as_str().ok_or_else(|| self.refused("is not a string"))
    }

    fn refused(&self, problem: &'static str) -> Refused {
        Refused::claim(&self.text, problem)
    }

    /// Texts of strangers are not repeated, and so neither is what the domain says of them.
    fn parsed<T>(&self, parsed: Result<T, Invalid>) -> Result<T, Refused> {
        parsed.map_err(|_| self.refused("is empty, longer than 128 characters, or has a NUL in it"))
    }
}

/// Whom verified claims name, at `now` (seconds since the Unix epoch).
pub(super) fn identity(claims: &Map<String, Value>, issuer: &Issuer, now: u64) -> Result<Identity, Refused> {
    let expires_at = Some(check_times(claims, now)?);
    check_audience(claims, &issuer.audiences)?;
    let principal = issuer.principal.parsed(Principal::parse("principal", issuer.principal.text(claims)?))?;
    let scope = Scope { tenant: tenant(claims, &issuer.tenant)?, kinds: kinds(claims, issuer.kinds.as_ref())? };
    let roles = roles(claims, issuer)?;
    Ok(Identity { principal, scope, roles, credential: Credential::Token(issuer.issuer.clone()), expires_at })
}

/// Until when the claims are good, which they are.
fn check_times(claims: &Map<String, Value>, now: u64) -> Result<Timestamp, Refused> {
    let expires = seconds(claims, "exp")?.ok_or_else(|| Refused::claim("exp", "is missing"))?;
    let end = expires + CLOCK_SKEW_SECONDS;
    if now >= end {
        return Err(Refused::Expired(now - expires));
    }
    for name in ["nbf", "iat"] {
        let begins = seconds(claims, name)?.unwrap_or(0);
        if begins > now + CLOCK_SKEW_SECONDS {
            return Err(Refused::NotYet(begins - now));
        }
    }
    Ok(Timestamp::default().after(Duration::from_secs(end)))
}

fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Refused> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_u64() {
            Some(seconds) if seconds <= TIME_SECONDS_MAX => Ok(Some(seconds)),
            _ => Err(Refused::claim(name, "is not a whole number of seconds before the year 10000")),
        },
    }
}

fn check_audience(claims: &Map<String, Value>, ours: &[String]) -> Result<(), Refused> {
    let audience = claims.get("aud").ok_or_else(|| Refused::claim("aud", "is missing"))?;
    let named = texts(audience).ok_or_else(|| Refused::claim("aud", NO_TEXTS))?;
    if named.iter().any(|name| ours.iter().any(|own| own == name)) { Ok(()) } else { Err(Refused::Audience) }
}

/// One string or several.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(values) => values.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn tenant(claims: &Map<String, Value>, from: &TenantFrom) -> Result<Option<Tenant>, Refused> {
    match from {
        TenantFrom::All => Ok(None),
        TenantFrom::Fixed(tenant) => Ok(Some(tenant.clone())),
        TenantFrom::Claim(path) => path.parsed(Tenant::parse("tenant", path.text(claims)?)).map(Some),
    }
}

/// Without the claim nobody can say what was meant, and "every kind" would be the wrong guess.
fn kinds(claims: &Map<String, Value>, from: Option<&KindsFrom>) -> Result<Option<std::sync::Arc<[Kind]>>, Refused> {
    match from {
        None => Ok(None),
        Some(KindsFrom::Fixed(kinds)) => Ok(Some(std::sync::Arc::clone(kinds))),
        Some(KindsFrom::Claim(path)) => {
            let names = path.list(path.needed(claims)?)?;
            names.into_iter().map(|name| path.parsed(Kind::new(name))).collect::<Result<_, _>>().map(Some)
        }
    }
}

/// Somebody without roles is somebody all the same: what they may do is asked elsewhere.
fn roles(claims: &Map<String, Value>, issuer: &Issuer) -> Result<Roles, Refused> {
    let from = &issuer.roles;
    let Some((path, value)) = from.claim.as_ref().map(|path| Ok((path, path.find(claims)?))).transpose()? else {
        return Ok(from.fixed);
    };
    let named = value.map_or_else(|| Ok(Vec::new()), |value| path.list(value))?;
    Ok(from.fixed.iter().chain(named.into_iter().filter_map(|name| from.map.get(name).copied())).collect())
}

const NO_TEXTS: &str = "is neither a string nor a list of strings";
/// The last second of the year 9999.
const TIME_SECONDS_MAX: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_claims_have_dots_between_names() {
        for (text, names) in [
            ("sub", &["sub"][..]),
            ("realm_access.roles", &["realm_access", "roles"]),
            (r"kubernetes\.io.namespace", &["kubernetes.io", "namespace"]),
            (r"https://acme\.example/tenant", &["https://acme.example/tenant"]),
            (r"a\\.b", &["a\\", "b"]),
        ] {
            let path: ClaimPath = text.parse().unwrap();
            assert_eq!(path.names, names);
            assert_eq!(path.to_string(), text);
        }
        for text in ["", ".", "a.", ".a", "a..b", r"a\b", "a\\"] {
            assert_eq!(text.parse::<ClaimPath>(), Err(NoClaimPath), "{text:?}");
        }
    }
}
