//! Where the database is: a URL as libpq has it, and how the connection to it is protected.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::open::OpenError;

/// A database, and how to get there.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) config: Config,
    /// The same for each of its hosts alone: the driver would wait for one of them for ever.
    pub(crate) hosts: Vec<Config>,
    /// How long one of them is tried, with all that has to be asked of it first.
    pub(crate) host_max: Duration,
    pub(crate) tls: Option<MakeRustlsConnect>,
    /// Without the password, for people.
    pub(crate) shown: String,
}

impl Address {
    /// Takes `postgres://USER[:PASSWORD]@HOST[:PORT][,HOST[:PORT]…]/DATABASE[?NAME=VALUE&…]`.
    pub(crate) fn parse(url: &str) -> Result<Self, OpenError> {
        let shown = without_password(url);
        let wrong = |why: String| OpenError::Address { url: shown.clone(), why };
        let (address, protection) = Protection::take_out_of(url).map_err(wrong)?;
        let mut config = Config::from_str(&address).map_err(|error| wrong(chain(&error)))?;
        if config.get_hosts().is_empty() {
            return Err(wrong("it names no host".into()));
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(wrong("it names no database".into()));
        }
        let tls = protection.needed(&config).then(|| protection.connector()).transpose().map_err(wrong)?;
        config
            .ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable })
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE)
            .keepalives_retries(2)
            .tcp_user_timeout(UNHEARD_MAX);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_MAX);
        }
        if config.get_application_name().is_none() {
            config.application_name("operond");
        }
        let hosts = each_host(&config).map_err(wrong)?;
        // Where there is no other, nothing is gained by leaving it.
        let host_max = if hosts.len() == 1 { Duration::MAX } else { CONNECT_MAX };
        Ok(Self { config, hosts, host_max, tls, shown })
    }
}

/// The address of each host.
fn each_host(config: &Config) -> Result<Vec<Config>, String> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    if !addresses.is_empty() && addresses.len() != hosts.len() {
        return Err("there are not as many hostaddrs as hosts".into());
    }
    if ports.len() > 1 && ports.len() != hosts.len() {
        return Err("there are not as many ports as hosts".into());
    }
    let one = |(index, host): (usize, &Host)| {
        let mut one = without_hosts(config);
        match host {
            Host::Tcp(name) => one.host(name),
            Host::Unix(path) => one.host_path(path),
        };
        addresses.get(index).map(|address| one.hostaddr(*address));
        ports.get(index).or(ports.first()).map(|port| one.port(*port));
        one
    };
    Ok(hosts.iter().enumerate().map(one).collect())
}

/// Everything else. The driver has no way to take a host out.
fn without_hosts(config: &Config) -> Config {
    let mut rest = Config::new();
    config.get_user().map(|user| rest.user(user));
    config.get_password().map(|password| rest.password(password));
    config.get_dbname().map(|name| rest.dbname(name));
    config.get_options().map(|options| rest.options(options));
    config.get_application_name().map(|name| rest.application_name(name));
    config.get_connect_timeout().map(|timeout| rest.connect_timeout(*timeout));
    config.get_tcp_user_timeout().map(|timeout| rest.tcp_user_timeout(*timeout));
    config.get_keepalives_interval().map(|interval| rest.keepalives_interval(interval));
    config.get_keepalives_retries().map(|retries| rest.keepalives_retries(retries));
    rest.keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts())
        .target_session_attrs(config.get_target_session_attrs());
    rest
}

/// What a URL says about TLS, in the words of libpq.
struct Protection {
    mode: Option<String>,
    roots: Option<PathBuf>,
}

impl Protection {
    /// The URL without what the driver does not know, and that.
    fn take_out_of(url: &str) -> Result<(String, Self), String> {
        let mut protection = Self { mode: None, roots: None };
        let Some((address, query)) = url.split_once('?') else { return Ok((url.into(), protection)) };
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", mode)) => protection.mode = Some(mode.into()),
                Some(("sslrootcert", file)) => protection.roots = Some(decoded(file)?.into()),
                _ => rest.push(pair),
            }
        }
        let mark = if rest.is_empty() { "" } else { "?" };
        match protection.mode.as_deref() {
            None | Some("disable" | "require" | "verify-ca" | "verify-full") => {
                Ok((format!("{address}{mark}{}", rest.join("&")), protection))
            }
            Some(mode) => Err(format!("sslmode={mode} protects nothing; say verify-full, or disable on this machine")),
        }
    }

    /// Unless the URL says it, a connection that leaves this machine is protected.
    fn needed(&self, config: &Config) -> bool {
        let near = |host: &Host| match host {
            Host::Unix(_) => true,
            Host::Tcp(name) => {
                name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        };
        match self.mode.as_deref() {
            Some("disable") => false,
            Some(_) => true,
            None => self.roots.is_some() || !config.get_hosts().iter().all(near),
        }
    }

    /// Verifies the server's certificate and name, whichever mode asks for TLS: less is no protection.
    fn connector(&self) -> Result<MakeRustlsConnect, String> {
        let roots = match &self.roots {
            Some(file) => {
                let read =
                    |error: &dyn std::fmt::Display| format!("cannot read sslrootcert={}: {error}", file.display());
                let certificates = CertificateDer::pem_file_iter(file).map_err(|error| read(&error))?;
                let mut roots = RootCertStore::empty();
                for certificate in certificates {
                    roots.add(certificate.map_err(|error| read(&error))?).map_err(|error| read(&error))?;
                }
                if roots.is_empty() {
                    return Err(read(&"it holds no certificate"));
                }
                roots
            }
            None => system_roots()?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(MakeRustlsConnect::new(config))
    }
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (added, _unusable) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err("this machine has no root certificates; name a file: sslrootcert=FILE".into());
    }
    Ok(roots)
}

fn decoded(text: &str) -> Result<String, String> {
    percent_encoding::percent_decode_str(text).decode_utf8().map(Into::into).map_err(|error| error.to_string())
}

/// The URL of a database without its password, and without its parameters, which may hold one.
#[must_use]
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "postgres://…".into() };
    // The last one first: whatever is before it may be part of a password, a question mark too.
    let (who, place) = rest.rsplit_once('@').map_or((None, rest), |(who, place)| (Some(who), place));
    let (place, _parameters) = place.split_once('?').unwrap_or((place, ""));
    match who {
        Some(who) => format!("{scheme}://{}@{place}", who.split(':').next().unwrap_or_default()),
        None => format!("{scheme}://{place}"),
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// How long one host is tried.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// A silent connection is asked for a sign of life so often.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// What was sent and is not received for so long ends a connection.
const UNHEARD_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, String> {
        Address::parse(url).map_err(|error| error.to_string())
    }

    #[test]
    fn a_connection_that_leaves_this_machine_is_protected_unless_the_url_says_otherwise() {
        let protected = |url: &str| parse(url).unwrap().tls.is_some();
        assert!(!protected("postgres://u@127.0.0.1/db"));
        assert!(!protected("postgres://u@localhost:1,[::1]:2/db"));
        assert!(protected("postgres://u@db.example/db"));
        assert!(protected("postgres://u@127.0.0.1,db.example/db"));
        assert!(!protected("postgres://u@db.example/db?sslmode=disable"));
        assert!(protected("postgres://u@127.0.0.1/db?sslmode=verify-full"));
    }

    #[test]
    fn a_mode_that_protects_nothing_is_refused_by_name() {
        let error = parse("postgres://u@db.example/db?sslmode=prefer").err().unwrap();
        assert!(error.contains("sslmode=prefer") && error.contains("verify-full"), "{error}");
    }

    #[test]
    fn an_error_never_shows_the_password() {
        for url in ["postgres://u:secret@h/db?nonsense=secret", "postgres://u:secret@h:port/db", "secret"] {
            let error = parse(url).err().unwrap();
            assert!(!error.replace("nonsense", "").contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_before_the_last_at_sign_may_be_the_password() {
        for password in ["secret", "pa?ss", "pa@ss", "pa:ss", "pa?ss@pass?", "pa/ss", "pa://ss"] {
            let shown = without_password(&format!("postgres://u:{password}@h:1,i/db?sslmode=disable&password=secret"));
            assert_eq!(shown, "postgres://u@h:1,i/db", "{password}");
        }
        assert_eq!(without_password("postgres://h/db?user=u&password=secret"), "postgres://h/db");
    }

    #[test]
    fn a_url_without_a_host_or_a_database_is_refused() {
        assert!(parse("postgres://u@h").err().unwrap().contains("no database"));
        assert!(parse("postgres:///db").err().unwrap().contains("no host"));
    }

    #[test]
    fn each_host_is_an_address_of_its_own_with_all_that_is_said_of_it() {
        let hosts = |url: &str| parse(url).map(|address| address.hosts);
        let rest = "u:secret@{}/db?options=-c%20search_path%3Dmine&application_name=mine&keepalives_idle=7";
        let with = |host: &str| format!("postgres://{}", rest.replace("{}", host));
        let alone = |host: &str| parse(&with(host)).unwrap().config;
        let expected = [alone("h1:1"), alone("h2:2"), alone("h3:5432")];
        assert!(hosts(&with("h1:1,h2:2,h3")).unwrap() == expected);
        assert!(hosts(&with("h1:1")).unwrap() == [alone("h1:1")]);
        assert!(hosts("postgres:///db?user=u&host=h1,h2&port=1,2,3").err().unwrap().contains("ports"));
    }

    #[test]
    fn other_parameters_are_left_to_the_driver() {
        let address = parse("postgres://u@127.0.0.1/db?options=-c%20search_path%3Dmine&sslmode=disable").unwrap();
        assert_eq!(address.config.get_options(), Some("-c search_path=mine"));
    }

    #[test]
    fn roots_that_cannot_be_read_are_an_error_with_their_file() {
        let error = parse("postgres://u@h/db?sslrootcert=%2Fnowhere%2Fca.pem").err().unwrap();
        assert!(error.contains("/nowhere/ca.pem"), "{error}");
    }
}
