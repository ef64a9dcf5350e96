//! Which issuers are believed, and what is checked of that at start.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use operond_core::{Kind, Tenant};

use super::algorithm::Algorithm;
use super::claims::ClaimPath;
use super::fetch::{Address, without_secrets};
use crate::auth::{Role, Roles};

/// An issuer that is believed, and what its claims mean.
///
/// Who configures two issuers says that `alice` of the one is `alice` of the other, within their tenants.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The claim `iss` of its tokens, letter for letter: an https URL (http for one on this machine).
    pub issuer: String,
    /// What this server is called: one of them must be in the claim `aud`.
    pub audiences: Vec<String>,
    /// What it signs with.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys are; found through its discovery document if absent.
    pub jwks: Option<JwksSource>,
    /// Certificates (PEM) that its server's is verified with; the system's if absent.
    pub ca: Option<PathBuf>,
    /// The claim that says who somebody is.
    pub principal: ClaimPath,
    /// Whose operations they reach.
    pub tenant: TenantFrom,
    /// What they may do.
    pub roles: RolesFrom,
    /// Which kinds they reach; every kind if absent.
    pub kinds: Option<KindsFrom>,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// Behind a URL: https, or http on this machine.
    Url(String),
    /// In a file, which is read again like a URL.
    File(PathBuf),
}

/// Where the tenant of somebody is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantFrom {
    /// From their token.
    Claim(ClaimPath),
    /// It is always this one.
    Fixed(Tenant),
    /// They reach every tenant.
    All,
}

/// Where the roles of somebody are taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolesFrom {
    /// The claim that has them.
    pub claim: Option<ClaimPath>,
    /// What the values of the claim mean. Others mean nothing: an issuer's `admin` need not be ours.
    pub map: BTreeMap<String, Role>,
    /// What they all have.
    pub fixed: Roles,
}

/// Where the kinds that somebody reaches are taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KindsFrom {
    /// From their token.
    Claim(ClaimPath),
    /// They are always these.
    Fixed(Arc<[Kind]>),
}

impl Issuer {
    /// An issuer whose tokens are signed with RS256 or ES256, name people in `sub` and give no roles.
    #[must_use]
    pub fn new(issuer: impl Into<String>, audiences: Vec<String>, tenant: TenantFrom) -> Self {
        Self {
            issuer: issuer.into(),
            audiences,
            algorithms: vec![Algorithm::Rs256, Algorithm::Es256],
            jwks: None,
            ca: None,
            principal: ClaimPath::subject(),
            tenant,
            roles: RolesFrom::default(),
            kinds: None,
        }
    }
}

/// What is wrong with the configuration of an issuer.
#[derive(Debug, thiserror::Error)]
#[error("issuer {:?} {problem}", without_secrets(.issuer))]
pub struct IssuerError {
    /// Which.
    pub issuer: String,
    /// What.
    pub problem: IssuerProblem,
}

/// What can be wrong with the configuration of an issuer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerProblem {
    /// Its name.
    #[error("cannot be believed: {0}")]
    Address(&'static str),
    /// Where its keys are.
    #[error("has keys that cannot be fetched from {:?}: {problem}", without_secrets(.url))]
    Jwks {
        /// The address.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It stands there twice.
    #[error("stands there twice")]
    Twice,
    /// It would be believed whatever its tokens are for.
    #[error("has no audience, or an empty one: name what this server is called in the claim `aud`")]
    NoAudience,
    /// None of its tokens would be believed.
    #[error("has no algorithms")]
    NoAlgorithm,
    /// Its claim cannot mean anything.
    #[error("has a claim for roles, but nothing that says what its values mean")]
    NoMeaning,
    /// Nobody could prove to be its server.
    #[error("cannot be verified: {0}")]
    Roots(String),
}

/// Where to fetch the keys of an issuer from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// The URL is in this document.
    Discovery(Address),
    Url(Address),
    File(PathBuf),
}

impl Source {
    /// Whether it is asked through TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        match self {
            Self::Discovery(address) | Self::Url(address) => address.is_encrypted(),
            Self::File(_) => false,
        }
    }
}

/// Checks all that can be checked without asking anybody.
pub(super) fn check(issuers: &[Issuer]) -> Result<Vec<Source>, IssuerError> {
    let mut names = HashSet::new();
    let sources = issuers.iter().map(|issuer| {
        let source = if names.insert(&issuer.issuer) { check_one(issuer) } else { Err(IssuerProblem::Twice) };
        source.map_err(|problem| IssuerError { issuer: issuer.issuer.clone(), problem })
    });
    sources.collect()
}

fn check_one(issuer: &Issuer) -> Result<Source, IssuerProblem> {
    let discovery = discovery(&issuer.issuer).map_err(IssuerProblem::Address)?;
    if issuer.audiences.is_empty() || issuer.audiences.iter().any(String::is_empty) {
        return Err(IssuerProblem::NoAudience);
    }
    if issuer.algorithms.is_empty() {
        return Err(IssuerProblem::NoAlgorithm);
    }
    if issuer.roles.claim.is_some() && issuer.roles.map.is_empty() {
        return Err(IssuerProblem::NoMeaning);
    }
    match &issuer.jwks {
        None => Ok(Source::Discovery(discovery)),
        Some(JwksSource::File(path)) => Ok(Source::File(path.clone())),
        Some(JwksSource::Url(url)) => match Address::parse(url) {
            Ok(address) => Ok(Source::Url(address)),
            Err(problem) => Err(IssuerProblem::Jwks { url: url.clone(), problem }),
        },
    }
}

/// The address of the discovery document of `issuer` (OpenID Connect Discovery 1.0 §4).
fn discovery(issuer: &str) -> Result<Address, &'static str> {
    if issuer.contains('?') {
        return Err("its URL has a query");
    }
    Address::parse(issuer)?;
    let base = issuer.strip_suffix('/').unwrap_or(issuer);
    Address::parse(&format!("{base}/.well-known/openid-configuration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(name: &str) -> Issuer {
        Issuer::new(name, vec!["operond".into()], TenantFrom::All)
    }

    fn problem(change: impl FnOnce(&mut Issuer)) -> String {
        let mut issuer = issuer("https://issuer.example");
        change(&mut issuer);
        check(&[issuer]).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn issuers_are_https_urls_or_on_this_machine() {
        for (name, found) in [
            ("https://issuer.example", "https://issuer.example:443/.well-known/openid-configuration"),
            ("https://issuer.example/", "https://issuer.example:443/.well-known/openid-configuration"),
            (
                "https://issuer.example:8443/realms/a",
                "https://issuer.example:8443/realms/a/.well-known/openid-configuration",
            ),
            ("http://127.0.0.1:81", "http://127.0.0.1:81/.well-known/openid-configuration"),
            ("http://[::1]:81/a/", "http://[::1]:81/a/.well-known/openid-configuration"),
            ("http://localhost", "http://localhost:80/.well-known/openid-configuration"),
        ] {
            let sources = check(&[issuer(name)]).unwrap();
            let [Source::Discovery(address)] = &sources[..] else { panic!("{sources:?}") };
            assert_eq!(address.to_string(), found);
        }
        for (name, problem) in [
            ("", "it is not a URL"),
            ("issuer.example", "it is not an https URL"),
            ("/a", "it is not an https URL"),
            ("ftp://issuer.example", "it is not an https URL"),
            ("http://issuer.example", "http is only for this machine: use https"),
            ("http://127.0.0.1.example", "http is only for this machine: use https"),
            ("http://10.0.0.1", "http is only for this machine: use https"),
            ("https://user:password@issuer.example", "its URL has a user"),
            ("https://issuer.example#a", "its URL has a fragment"),
            ("https://issuer.example?a=b", "its URL has a query"),
            ("https://issuer.example/\n", "it is not a URL"),
        ] {
            let error = check(&[issuer(name)]).unwrap_err();
            let name = without_secrets(name);
            assert_eq!(error.to_string(), format!("issuer {name:?} cannot be believed: {problem}"));
        }
    }

    #[test]
    fn what_may_be_secret_of_a_url_is_not_shown() {
        for (url, shown) in [
            ("https://a.example/keys", "https://a.example/keys"),
            ("https://ann:hush@a.example/keys?key=hush#hush", "https://…@a.example/keys?…"),
            ("https://ann:h@sh@a.example", "https://…@a.example"),
            ("https://a.example/b@c", "https://a.example/b@c"),
            ("a.example?hush", "a.example?…"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
        let url = "http://ann:hush@keys.example/?key=hush";
        let said = problem(|issuer| issuer.jwks = Some(JwksSource::Url(url.into())));
        assert!(!said.contains("hush"), "{said}");
    }

    #[test]
    fn what_can_never_work_is_refused_at_start() {
        let error = check(&[issuer("https://a.example"), issuer("https://a.example")]).unwrap_err();
        assert_eq!(error.problem, IssuerProblem::Twice);
        let of = |text: &str| format!("issuer \"https://issuer.example\" {text}");
        assert_eq!(
            problem(|issuer| issuer.audiences.clear()),
            of("has no audience, or an empty one: name what this server is called in the claim `aud`")
        );
        // One that is empty is a mistake, and would be in tokens that are for nobody.
        assert!(problem(|issuer| issuer.audiences.push(String::new())).contains("has no audience"));
        assert_eq!(problem(|issuer| issuer.algorithms.clear()), of("has no algorithms"));
        assert_eq!(
            problem(|issuer| issuer.roles.claim = Some("groups".parse().unwrap())),
            of("has a claim for roles, but nothing that says what its values mean")
        );
        let url = "http://keys.example/";
        assert_eq!(
            problem(|issuer| issuer.jwks = Some(JwksSource::Url(url.into()))),
            of(&format!("has keys that cannot be fetched from {url:?}: http is only for this machine: use https"))
        );
    }
}
