//! Client certificates: which names stand for whom.
//!
//! An authority says that a certificate was given to somebody; only the rules here say that this somebody may do
//! anything. A name is compared as it stands in the certificate: nothing is folded, decoded or resolved, so that what
//! a rule says is all that it means.

use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use operond_core::{Kind, Principal, Scope, Tenant};

use super::clock::stamp;
use super::{Credential, Identity, Roles};
use crate::tls::{ClientCertificate, SanName};

/// Whom a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRule {
    /// The names it is about.
    pub name: NamePattern,
    /// Who they are; the name itself if absent.
    pub principal: Option<Principal>,
    /// The tenant they belong to; all tenants if absent.
    pub tenant: Option<Tenant>,
    /// What they may do.
    pub roles: Roles,
    /// The kinds they may do it with; every kind if absent.
    pub kinds: Option<Arc<[Kind]>>,
}

/// A name, or many that differ in one place: `spiffe://example.org/ns/*/sa/worker`, `worker-*.example.org`.
///
/// What it names is told by its form: a URI has a colon, an email address an `@`, anything else is a host name. A `*`
/// stands for one or more characters of one segment of a URI's path, or of a host name's first label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    sort: Sort,
    /// All of it, or what comes before the `*`.
    before: String,
    /// What comes after the `*`, if there is one.
    after: Option<String>,
}

/// The rules, of which the first that fits counts.
#[derive(Debug, Clone, Default)]
pub struct Certificates {
    rules: Arc<[CertificateRule]>,
}

/// Why a certificate makes nobody of a caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefused {
    /// It was valid when the connection was made, and is not any more.
    #[error("the client's certificate has expired: connect again with a new one")]
    Expired,
    /// It was signed by an authority that is trusted, for somebody who is not known here.
    #[error("no rule is for a name in the client's certificate")]
    Unknown,
    /// The name would have to be cut to be somebody's, and then it could be somebody else's, too.
    #[error("the name in the client's certificate is too long for a principal: its rule must name one")]
    NameTooLong,
}

/// A text that is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// There are characters that no name has, or none at all.
    #[error("must be a name in visible ASCII")]
    NotAName,
    /// A host name with an empty label.
    #[error("must be a host name without empty labels and without a dot at its end")]
    EmptyLabel,
    /// The `*` would match too much.
    #[error("may have one `*`, within the path of a URI or the first label of a host name")]
    Wildcard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Dns,
    Uri,
    Email,
}

impl Certificates {
    /// Rules, the most special ones first.
    #[must_use]
    pub fn new(rules: Vec<CertificateRule>) -> Self {
        Self { rules: rules.into() }
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none: then nobody is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Who has this certificate, which a handshake has verified.
    ///
    /// # Errors
    /// Nobody who may call, at `now`.
    pub fn identify(&self, certificate: &ClientCertificate, now: SystemTime) -> Result<Identity, CertificateRefused> {
        if now > certificate.expires {
            return Err(CertificateRefused::Expired);
        }
        let fitting = self.rules.iter().find_map(|rule| {
            let name = certificate.names.iter().find(|name| rule.name.matches(name))?;
            Some((rule, name))
        });
        let (rule, name) = fitting.ok_or(CertificateRefused::Unknown)?;
        let principal = match &rule.principal {
            Some(principal) => principal.clone(),
            None => Principal::parse("name", name.as_str()).map_err(|_| CertificateRefused::NameTooLong)?,
        };
        Ok(Identity {
            principal,
            scope: Scope { tenant: rule.tenant.clone(), kinds: rule.kinds.clone() },
            roles: rule.roles,
            credential: Credential::Certificate(name.as_str().to_owned()),
            expires_at: Some(stamp(certificate.expires)),
        })
    }
}

impl NamePattern {
    /// Whether it is about this name.
    #[must_use]
    pub fn matches(&self, name: &SanName) -> bool {
        let (sort, text) = match name {
            SanName::Dns(text) => (Sort::Dns, text),
            SanName::Uri(text) => (Sort::Uri, text),
            SanName::Email(text) => (Sort::Email, text),
        };
        sort == self.sort
            && match &self.after {
                None => *text == self.before,
                Some(after) => self.matches_around(after, text),
            }
    }

    fn matches_around(&self, after: &str, text: &str) -> bool {
        let between = text.strip_prefix(self.before.as_str()).and_then(|rest| rest.strip_suffix(after));
        between.is_some_and(|between| {
            let plain = |byte: u8| match self.sort {
                Sort::Dns => byte.is_ascii_alphanumeric() || b"-_".contains(&byte),
                // What a URI need not escape; a `%` could hide a slash.
                Sort::Uri => byte.is_ascii_alphanumeric() || b"-._~".contains(&byte),
                Sort::Email => false,
            };
            !between.is_empty() && between.bytes().all(plain) && !self.is_dots(between, after)
        })
    }

    /// Whether the segment of the path is one that readers of a URI may take away, and another one with it.
    fn is_dots(&self, between: &str, after: &str) -> bool {
        let head = self.before.rsplit('/').next().unwrap_or_default();
        let tail = after.split(['/', '?', '#']).next().unwrap_or_default();
        self.sort == Sort::Uri && [".", ".."].contains(&format!("{head}{between}{tail}").as_str())
    }

    /// Whether its `*` stands where names below the same owner differ.
    fn wildcard_is_bounded(&self) -> bool {
        let Some(after) = &self.after else { return true };
        match self.sort {
            Sort::Email => false,
            // Of a host name something has to be said.
            Sort::Dns => !self.before.contains('.') && after.contains('.'),
            Sort::Uri => {
                let path = self.before.split_once("://").and_then(|(_scheme, rest)| rest.split_once('/'));
                path.is_some_and(|(host, path)| !host.is_empty() && ![host, path].concat().contains(['?', '#']))
            }
        }
    }
}

impl FromStr for NamePattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidPattern::NotAName);
        }
        let sort = match text {
            _ if text.contains(':') => Sort::Uri,
            _ if text.contains('@') => Sort::Email,
            _ => Sort::Dns,
        };
        if sort == Sort::Dns && text.split('.').any(str::is_empty) {
            return Err(InvalidPattern::EmptyLabel);
        }
        let (before, after) = match text.split_once('*') {
            None => (text, None),
            Some((_, after)) if after.contains('*') => return Err(InvalidPattern::Wildcard),
            Some((before, after)) => (before, Some(after.to_owned())),
        };
        let pattern = Self { sort, before: before.to_owned(), after };
        if pattern.wildcard_is_bounded() { Ok(pattern) } else { Err(InvalidPattern::Wildcard) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::auth::Role;

    fn expires() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn certificate(names: &[SanName]) -> ClientCertificate {
        ClientCertificate { names: names.to_vec(), expires: expires() }
    }

    fn uri(text: &str) -> SanName {
        SanName::Uri(text.into())
    }

    fn dns(text: &str) -> SanName {
        SanName::Dns(text.into())
    }

    fn email(text: &str) -> SanName {
        SanName::Email(text.into())
    }

    fn rule(name: &str) -> CertificateRule {
        let name = name.parse().unwrap();
        CertificateRule { name, principal: None, tenant: None, roles: Roles::of(&[Role::Worker]), kinds: None }
    }

    fn identify(rules: &[CertificateRule], names: &[SanName]) -> Result<Identity, CertificateRefused> {
        Certificates::new(rules.to_vec()).identify(&certificate(names), expires())
    }

    #[track_caller]
    fn check(pattern: &str, yes: &[SanName], no: &[SanName]) {
        let parsed: NamePattern = pattern.parse().unwrap();
        yes.iter().for_each(|name| assert!(parsed.matches(name), "{pattern} is about {name:?}"));
        no.iter().for_each(|name| assert!(!parsed.matches(name), "{pattern} is not about {name:?}"));
    }

    #[test]
    fn a_name_is_compared_as_it_stands_there() {
        check(
            "spiffe://a/ns/x/y",
            &[uri("spiffe://a/ns/x/y")],
            &[
                uri("spiffe://A/ns/x/y"),
                uri("SPIFFE://a/ns/x/y"),
                uri("spiffe://a/ns/x/Y"),
                uri("spiffe://a/ns/x/../x/y"),
                uri("spiffe://a/ns/x/./y"),
                uri("spiffe://a/ns/x//y"),
                uri("spiffe://a/ns/x/y/"),
                uri("spiffe://a/ns/x/%79"),
                uri("spiffe://a/ns/x/y?"),
                uri("spiffe://a.evil/ns/x/y"),
                dns("spiffe://a/ns/x/y"),
                email("spiffe://a/ns/x/y"),
            ],
        );
        check(
            "worker.example",
            &[dns("worker.example")],
            &[
                dns("Worker.example"),
                dns("worker.example."),
                dns("worker.example.evil"),
                dns("evil-worker.example"),
                dns("*.example"),
                dns("workerXexample"),
                uri("worker.example"),
                email("worker.example"),
            ],
        );
        check(
            "a@b.example",
            &[email("a@b.example")],
            &[email("A@b.example"), email("a@B.example"), email("x.a@b.example"), dns("a@b.example")],
        );
    }

    #[test]
    fn a_wildcard_stays_within_its_segment() {
        check(
            "spiffe://a/ns/x/*/y",
            &[uri("spiffe://a/ns/x/1/y"), uri("spiffe://a/ns/x/a-B_c.d~/y"), uri("spiffe://a/ns/x/.../y")],
            &[
                uri("spiffe://a/ns/x/../y"),
                uri("spiffe://a/ns/x/./y"),
                uri("spiffe://a/ns/x//y"),
                uri("spiffe://a/ns/x/y"),
                uri("spiffe://a/ns/x/1/2/y"),
                uri("spiffe://a/ns/x/1%2F2/y"),
                uri("spiffe://a/ns/x/%2e%2e/y"),
                uri("spiffe://a/ns/x/1?/y"),
                uri("spiffe://a/ns/x/1#/y"),
                uri("spiffe://a/ns/x/*/y"),
                uri("spiffe://a/ns/x/1/Y"),
                uri("spiffe://a/ns/x/1/y/z"),
            ],
        );
        check("spiffe://a/.*", &[uri("spiffe://a/.x")], &[uri("spiffe://a/.."), uri("spiffe://a/.")]);
        check("spiffe://a/*./b", &[uri("spiffe://a/x./b")], &[uri("spiffe://a/../b")]);
        check(
            "spiffe://a/w-*?v=1",
            &[uri("spiffe://a/w-2?v=1")],
            &[uri("spiffe://a/w-?v=1"), uri("spiffe://a/w-2?v=2")],
        );
        // What stands before and after must not be the same characters.
        check("spiffe://a/aa*aa", &[uri("spiffe://a/aaaaa")], &[uri("spiffe://a/aaa"), uri("spiffe://a/aaaa")]);
    }

    #[test]
    fn a_wildcard_stays_within_the_first_label() {
        check(
            "worker-*.example.org",
            &[dns("worker-1.example.org"), dns("worker-a_B.example.org")],
            &[
                dns("worker-.example.org"),
                dns("worker-1.2.example.org"),
                dns("worker-*.example.org"),
                dns("worker-1.example.org."),
                dns("WORKER-1.example.org"),
                dns("worker-1.example.orgx"),
                dns("worker-1/x.example.org"),
                dns("worker-1@x.example.org"),
                uri("worker-1.example.org"),
            ],
        );
        check(
            "*.example",
            &[dns("a.example")],
            &[dns(".example"), dns("example"), dns("a.b.example"), dns("*.example")],
        );
    }

    #[test]
    fn a_pattern_that_would_match_more_than_it_says_is_refused() {
        let check = |text: &str, problem| assert_eq!(text.parse::<NamePattern>(), Err(problem), "{text:?}");
        for text in ["", " ", "a b", "a\0", "ä.example"] {
            check(text, InvalidPattern::NotAName);
        }
        for text in ["a.example.", ".example", "a..example"] {
            check(text, InvalidPattern::EmptyLabel);
        }
        let wild = [
            "*",
            "a*",
            "a.*.example",
            "a.*",
            "**.example",
            "*-*.example",
            "*@b.example",
            "a@*.example",
            "*://a/b",
            "spiffe://*/b",
            "spiffe://a*/b",
            "spiffe:///*",
            "spiffe://a*",
            "spiffe://a?/*",
            "spiffe://a/b?*",
            "spiffe://a/b#*",
            "spiffe://a/*/*",
            "urn:uuid:*",
        ];
        for text in wild {
            check(text, InvalidPattern::Wildcard);
        }
    }

    #[test]
    fn the_first_rule_that_fits_a_name_counts() {
        let [one, two, all] = ["spiffe://a/one", "b.example", "spiffe://a/*"].map(rule);
        let rules = [one, CertificateRule { roles: Roles::of(&[Role::Admin]), ..two }, all];
        let found = |names: &[SanName]| {
            identify(&rules, names).map(|identity| (identity.principal.to_string(), identity.credential))
        };
        let expected = |name: &str| Ok((name.to_owned(), Credential::Certificate(name.to_owned())));
        assert_eq!(found(&[uri("spiffe://a/two")]), expected("spiffe://a/two"));
        assert_eq!(found(&[uri("spiffe://a/two"), dns("b.example")]), expected("b.example"));
        assert_eq!(found(&[dns("b.example"), uri("spiffe://a/one")]), expected("spiffe://a/one"));
        assert_eq!(found(&[uri("spiffe://a/x"), uri("spiffe://a/y")]), expected("spiffe://a/x"));
        for names in [&[][..], &[uri("spiffe://b/one")], &[email("b.example")]] {
            assert_eq!(found(names), Err(CertificateRefused::Unknown), "{names:?}");
        }
        assert_eq!(identify(&[], &[uri("spiffe://a/one")]), Err(CertificateRefused::Unknown));
    }

    #[test]
    fn an_identity_is_what_its_rule_says() {
        let tenant = Tenant::parse("tenant", "acme").unwrap();
        let kinds: Arc<[Kind]> = [Kind::new("render").unwrap()].into();
        let named = CertificateRule {
            principal: Some(Principal::parse("principal", "renderer").unwrap()),
            tenant: Some(tenant.clone()),
            kinds: Some(Arc::clone(&kinds)),
            ..rule("spiffe://a/*")
        };
        let expected = Identity {
            principal: Principal::parse("principal", "renderer").unwrap(),
            scope: Scope { tenant: Some(tenant), kinds: Some(kinds) },
            roles: Roles::of(&[Role::Worker]),
            credential: Credential::Certificate("spiffe://a/x".into()),
            expires_at: Some(stamp(expires())),
        };
        assert_eq!(identify(&[named], &[uri("spiffe://a/x")]), Ok(expected));
        assert_eq!(identify(&[rule("a.example")], &[dns("a.example")]).unwrap().scope, Scope::default());
    }

    #[test]
    fn a_name_too_long_for_a_principal_is_not_cut() {
        let rules = [rule("spiffe://a/*")];
        let long = |length: usize| uri(&format!("spiffe://a/{}", "x".repeat(length - "spiffe://a/".len())));
        assert_eq!(identify(&rules, &[long(128)]).unwrap().principal.as_str(), long(128).as_str());
        assert_eq!(identify(&rules, &[long(129)]), Err(CertificateRefused::NameTooLong));
        let named = CertificateRule { principal: Some(Principal::default()), ..rule("spiffe://a/*") };
        assert!(identify(&[named], &[long(129)]).is_ok());
    }

    #[test]
    fn a_certificate_is_somebodys_up_to_its_last_moment() {
        let rules = Certificates::new(vec![rule("a.example")]);
        let at = |now| rules.identify(&certificate(&[dns("a.example")]), now);
        assert!(at(expires()).is_ok());
        assert_eq!(at(expires() + Duration::from_nanos(1)), Err(CertificateRefused::Expired));
    }
}
