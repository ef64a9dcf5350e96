//! What does not fit on a command line: which issuers of tokens are believed, whom client certificates stand for, and what
//! single tenants may do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use operond_core::{Kind, Principal, Tenant};
use operond_server::auth::token::{Issuer, JwksSource, KindsFrom, RolesFrom, TenantFrom};
use operond_server::auth::{CertificateRule, Certificates, Rate, Role, Roles, TenantLimits};
use serde::Deserialize;
use toml::{Table, Value};

/// All of it; nothing where there is no file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) issuers: Vec<Issuer>,
    /// None where there are no rules.
    pub(crate) certificates: Option<Certificates>,
    pub(crate) tenants: BTreeMap<Tenant, TenantLimits>,
}

/// Names of the tables.
const TABLES: [&str; 3] = ["issuers", "certificates", "tenants"];

impl Rules {
    /// Takes its tables out of a file; what is left are settings.
    pub(super) fn take(file: &mut Table) -> Result<Self, String> {
        let mut own = Table::new();
        for name in TABLES {
            own.extend(file.remove_entry(name));
        }
        let tables: Tables = own.try_into().map_err(|error: toml::de::Error| error.message().to_owned())?;
        let issuers = tables.issuers.into_iter().map(|table| {
            let name = table.issuer.clone();
            table.issuer().map_err(|problem| format!("issuer {name:?}: {problem}"))
        });
        let certificates = tables.certificates.into_iter().map(|table| {
            let name = table.name.clone();
            table.rule().map_err(|problem| format!("certificate {name:?}: {problem}"))
        });
        let tenants = tables.tenants.into_iter().map(|(name, table)| {
            let limits = table.limits().map_err(|problem| format!("tenant {name:?}: {problem}"))?;
            Ok((parse_tenant(&name)?, limits))
        });
        let issuers = issuers.collect::<Result<_, String>>()?;
        let certificates: Vec<_> = certificates.collect::<Result<_, String>>()?;
        Ok(Self {
            issuers,
            certificates: (!certificates.is_empty()).then(|| Certificates::new(certificates)),
            tenants: tenants.collect::<Result<_, String>>()?,
        })
    }

    /// Whether anybody is recognised by them.
    pub(crate) fn recognise(&self) -> bool {
        !self.issuers.is_empty() || self.certificates.is_some()
    }
}

/// What is in the tables of a file: where each value stands, and the value.
pub(super) fn said(file: &Table) -> Vec<(String, String)> {
    let mut values = Vec::new();
    for (name, table) in TABLES.iter().filter_map(|name| file.get_key_value(*name)) {
        collect(name.clone(), table, &mut values);
    }
    values
}

fn collect(place: String, value: &Value, values: &mut Vec<(String, String)>) {
    match value {
        Value::Table(members) if !members.is_empty() => {
            for (name, value) in members {
                collect(format!("{place}.{name}"), value, values);
            }
        }
        Value::Array(tables) if tables.iter().any(Value::is_table) => {
            for (index, table) in tables.iter().enumerate() {
                collect(format!("{place}[{index}]"), table, values);
            }
        }
        value => values.push((place, shown(value))),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(instant) => instant.to_string(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Table(_) => "{}".into(),
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tables {
    issuers: Vec<IssuerTable>,
    certificates: Vec<CertificateTable>,
    tenants: BTreeMap<String, TenantTable>,
}

/// An issuer of tokens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct IssuerTable {
    issuer: String,
    audiences: Vec<String>,
    algorithms: Option<Vec<String>>,
    jwks_url: Option<String>,
    jwks_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    principal_claim: Option<String>,
    tenant: Option<String>,
    tenant_claim: Option<String>,
    roles: Option<Vec<String>>,
    roles_claim: Option<String>,
    #[serde(default)]
    roles_of: BTreeMap<String, String>,
    kinds: Option<Vec<String>>,
    kinds_claim: Option<String>,
}

/// Whom the names in client certificates stand for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CertificateTable {
    name: String,
    principal: Option<String>,
    tenant: String,
    roles: Vec<String>,
    kinds: Option<Vec<String>>,
}

/// What a tenant may do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TenantTable {
    creates_per_second: Option<u64>,
    active_operations: Option<u64>,
}

impl IssuerTable {
    fn issuer(self) -> Result<Issuer, String> {
        let tenant = match (&self.tenant, &self.tenant_claim) {
            (Some(name), None) => whose(name)?.map_or(TenantFrom::All, TenantFrom::Fixed),
            (None, Some(claim)) => TenantFrom::Claim(parse("tenant-claim", claim)?),
            _ => return Err("it needs either tenant or tenant-claim".into()),
        };
        let jwks = match (self.jwks_url, self.jwks_file) {
            (Some(url), None) => Some(JwksSource::Url(url)),
            (None, Some(path)) => Some(JwksSource::File(path)),
            (None, None) => None,
            _ => return Err("it has both jwks-url and jwks-file".into()),
        };
        let kinds = match (&self.kinds, &self.kinds_claim) {
            (Some(kinds), None) => Some(KindsFrom::Fixed(parse_kinds(kinds)?)),
            (None, Some(claim)) => Some(KindsFrom::Claim(parse("kinds-claim", claim)?)),
            (None, None) => None,
            _ => return Err("it has both kinds and kinds-claim".into()),
        };
        let named = |(value, role): (String, String)| Ok((value, parse::<Role>("roles-of", &role)?));
        let roles = RolesFrom {
            claim: self.roles_claim.map(|claim| parse("roles-claim", &claim)).transpose()?,
            map: self.roles_of.into_iter().map(named).collect::<Result<_, String>>()?,
            fixed: self.roles.map(|roles| parse_roles(&roles)).transpose()?.unwrap_or_default(),
        };
        let mut issuer = Issuer { jwks, kinds, roles, ca: self.ca, ..Issuer::new(self.issuer, self.audiences, tenant) };
        if let Some(claim) = &self.principal_claim {
            issuer.principal = parse("principal-claim", claim)?;
        }
        if let Some(names) = &self.algorithms {
            issuer.algorithms = names.iter().map(|name| parse("algorithms", name)).collect::<Result<_, _>>()?;
        }
        Ok(issuer)
    }
}

impl CertificateTable {
    fn rule(self) -> Result<CertificateRule, String> {
        Ok(CertificateRule {
            name: parse("name", &self.name)?,
            principal: self
                .principal
                .map(|name| Principal::parse("principal", &name).map_err(|invalid| invalid.to_string()))
                .transpose()?,
            tenant: whose(&self.tenant)?,
            roles: parse_roles(&self.roles)?,
            kinds: self.kinds.map(|kinds| parse_kinds(&kinds)).transpose()?,
        })
    }
}

impl TenantTable {
    fn limits(self) -> Result<TenantLimits, String> {
        let rate = self.creates_per_second.map(|count| parse::<Rate>("creates-per-second", &count.to_string()));
        if self.active_operations == Some(0) {
            return Err("active-operations 0: it must be 1 or more; leave it out for what all tenants may".into());
        }
        Ok(TenantLimits { creates_per_second: rate.transpose()?, active_operations: self.active_operations })
    }
}

/// A tenant, or `*` for all of them.
fn whose(name: &str) -> Result<Option<Tenant>, String> {
    if name == "*" { Ok(None) } else { parse_tenant(name).map(Some) }
}

fn parse_tenant(name: &str) -> Result<Tenant, String> {
    Tenant::parse("tenant", name).map_err(|invalid| invalid.to_string())
}

fn parse_kinds(kinds: &[String]) -> Result<Arc<[Kind]>, String> {
    if kinds.is_empty() {
        return Err("kinds [] reach nothing: name some, or leave kinds out for all of them".into());
    }
    kinds.iter().map(|kind| Kind::new(kind).map_err(|invalid| invalid.to_string())).collect()
}

fn parse_roles(roles: &[String]) -> Result<Roles, String> {
    if roles.is_empty() {
        return Err("roles [] may do nothing: name some of viewer, operator, producer, worker, admin".into());
    }
    roles.iter().map(|role| parse::<Role>("roles", role)).collect()
}

fn parse<T>(key: &str, text: &str) -> Result<T, String>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|problem| format!("{key} {text:?}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Rules, String> {
        let mut table: Table = text.parse().unwrap();
        let rules = Rules::take(&mut table)?;
        assert!(table.is_empty(), "{table:?}");
        Ok(rules)
    }

    const ISSUER: &str = "[[issuers]]\nissuer = \"https://id.example\"\naudiences = [\"operond\"]\n";

    #[test]
    fn an_issuer_says_what_its_claims_mean() {
        let text = format!(
            "{ISSUER}algorithms = [\"EdDSA\"]\njwks-url = \"https://id.example/keys\"\nprincipal-claim = \"email\"\n\
             tenant-claim = \"org.name\"\nroles = [\"viewer\"]\nroles-claim = \"groups\"\n\
             roles-of = {{ ops = \"operator\" }}\nkinds = [\"render\"]\n"
        );
        let rules = read(&text).unwrap();
        let issuer = &rules.issuers[0];
        assert!(rules.recognise());
        assert_eq!(
            (issuer.issuer.as_str(), &issuer.audiences[..]),
            ("https://id.example", &["operond".to_owned()][..])
        );
        assert_eq!(issuer.jwks, Some(JwksSource::Url("https://id.example/keys".into())));
        assert!(matches!(issuer.tenant, TenantFrom::Claim(_)));
        assert_eq!(issuer.roles.map["ops"], Role::Operator);
        assert_eq!(issuer.roles.fixed, Roles::of(&[Role::Viewer]));
        assert!(matches!(&issuer.kinds, Some(KindsFrom::Fixed(kinds)) if kinds.len() == 1));
    }

    #[test]
    fn certificates_and_tenants_have_rules() {
        let text = "[[certificates]]\nname = \"spiffe://a.example/worker/*\"\ntenant = \"*\"\nroles = [\"worker\"]\n\
                    [tenants.acme]\ncreates-per-second = 5\nactive-operations = 10\n[tenants.\"b c\"]\n";
        let rules = read(text).unwrap();
        assert!(rules.certificates.is_some() && rules.tenants.len() == 2);
        let acme = rules.tenants[&parse_tenant("acme").unwrap()];
        assert_eq!((acme.creates_per_second, acme.active_operations), (Some("5".parse().unwrap()), Some(10)));
        assert!(!read("").unwrap().recognise());
    }

    #[test]
    fn what_is_wrong_is_said_by_its_name() {
        let issuer = |more: &str| format!("{ISSUER}{more}");
        let rule = |more: &str| format!("[[certificates]]\nname = \"a.example\"\nroles = [\"worker\"]\n{more}");
        let cases = [
            ("issuers = 3".to_owned(), "sequence"),
            ("[[issuers]]\naudiences = []\ntenant = \"t\"".to_owned(), "issuer"),
            (issuer(""), "tenant or tenant-claim"),
            (issuer("tenant = \"t\"\ntenant-claim = \"c\""), "tenant or tenant-claim"),
            (issuer("tenant = \"\""), "tenant is required"),
            (issuer("tenant = \"t\"\nalgorithms = [\"HS256\"]"), "HS256"),
            (issuer("tenant = \"t\"\nalgorithms = [\"none\"]"), "none"),
            (issuer("tenant = \"t\"\nroles = [\"root\"]"), "root"),
            (issuer("tenant = \"t\"\nrole = [\"viewer\"]"), "role"),
            (issuer("tenant = \"t\"\njwks-url = \"https://a\"\njwks-file = \"b\""), "jwks"),
            (rule(""), "tenant"),
            (rule("tenant = \"t\"\nkinds = [\"\"]"), "kind is required"),
            (rule("tenant = \"t\"\nname = \"*\"").replacen("name = \"a.example\"\n", "", 1), "name"),
            ("[tenants.a]\ncreates-per-second = 0".to_owned(), "creates-per-second"),
            ("[tenants.a]\ncreates = 1".to_owned(), "creates"),
            ("[tenants.a]\nactive-operations = 0".to_owned(), "tenant \"a\": active-operations 0: it must be"),
            (issuer("tenant = \"t\"\nroles = []"), "roles [] may do nothing"),
            (issuer("tenant = \"t\"\nkinds = []"), "issuer \"https://id.example\": kinds [] reach nothing"),
            (rule("tenant = \"t\"\nkinds = []"), "certificate \"a.example\": kinds [] reach nothing"),
            (rule("tenant = \"t\"\nroles = []").replacen("roles = [\"worker\"]\n", "", 1), "roles [] may do nothing"),
        ];
        for (text, expected) in cases {
            let said = read(&text).unwrap_err();
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}
