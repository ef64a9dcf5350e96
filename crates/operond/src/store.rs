//! Which store a URL means, and opening it: nothing else in the program knows one from another.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Result, bail};
use operond_store::{Archive, Store, SystemClock};
use operond_store_postgres::{Options as PostgresOptions, PostgresArchive, PostgresStore};
use operond_store_sqlite::{Options as SqliteOptions, SqliteArchive, SqliteStore};
use tracing::warn;

/// Where operations are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// One file, one server.
    Sqlite(PathBuf),
    /// A database for as many servers as share it: a URL as libpq has it.
    Postgres(String),
}

/// What is to be done with a store that is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It is there, and stays as it is.
    Read,
    /// It is made where that is a matter of making a file.
    Write,
    /// What [`Access::Write`] would find; but it stays as it is, and nothing is made.
    Look,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        match url.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Ok(Self::Postgres(url.into())),
            // It may be a URL with a password in it: only its scheme is repeated.
            scheme => {
                let scheme = scheme.map_or(url, |(scheme, _)| scheme);
                let known = "sqlite:PATH, such as sqlite:/var/lib/operond/operond.db, or postgres://USER@HOST/DATABASE";
                Err(format!("a store {:?} is not known; use {known}", scheme.chars().take(32).collect::<String>()))
            }
        }
    }
}

/// As it may be shown: without a password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => f.write_str(&operond_store_postgres::without_password(url)),
        }
    }
}

impl Address {
    /// Opens the store, and tells the operator what is to be feared of it; refuses to, where
    /// `require_durable` and a fail-over or a crash could lose what was acknowledged.
    pub(crate) async fn open(&self, require_durable: bool) -> Result<Arc<dyn Store>> {
        match self {
            Self::Sqlite(path) => {
                let store = SqliteStore::open(path, SqliteOptions::default(), SystemClock::new())?;
                warn_of_clock(store.clock_stepped());
                Ok(Arc::new(store))
            }
            Self::Postgres(url) => {
                let store = PostgresStore::open(url, PostgresOptions::default()).await?;
                warn_of_clock(store.clock_stepped());
                let (durability, skew) = (store.durability(), store.clock_skew());
                if require_durable && !durability.holds() {
                    bail!("--require-durable, but this database can lose what it acknowledged:\n{durability}");
                }
                durability.to_string().lines().for_each(|line| warn!("{line}"));
                if skew > SKEW_MAX {
                    let seconds = skew.as_secs();
                    warn!(seconds, "this machine's clock is far from the database's, which alone counts: set it");
                }
                Ok(Arc::new(store))
            }
        }
    }
}

impl Address {
    /// As it may be given again, but for a password.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Postgres(_) => self.to_string(),
        }
    }

    /// Whether both are one file, by whatever names. Two URLs of one database may differ in anything;
    /// there the stores themselves are asked.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sqlite(one), Self::Sqlite(other)) => {
                one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
            }
            _ => self == other,
        }
    }

    /// Opens the store to be copied from or to.
    pub(crate) async fn archive(&self, access: Access) -> Result<Arc<dyn Archive>> {
        Ok(match self {
            Self::Sqlite(path) => Arc::new(match access {
                Access::Read => SqliteArchive::open_untouched(path)?,
                Access::Look if path.exists() => SqliteArchive::open_untouched(path)?,
                Access::Look => SqliteArchive::imagine(path)?,
                Access::Write => SqliteArchive::open(path)?,
            }),
            Self::Postgres(url) => Arc::new(PostgresArchive::open(url).await?),
        })
    }
}

fn warn_of_clock(stepped: bool) {
    if stepped {
        warn!("the clock is over an hour ahead of the newest commit: retention removes nothing for an hour");
    }
}

/// Clocks that differ by more are worth a word: logs and certificates go by this machine's.
const SKEW_MAX: std::time::Duration = std::time::Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_which_store_it_means() {
        assert_eq!("sqlite:/a/b.db".parse(), Ok(Address::Sqlite("/a/b.db".into())));
        for url in ["postgres://u@h/db", "postgresql://h1,h2/db?options=x"] {
            assert_eq!(url.parse(), Ok(Address::Postgres(url.into())));
        }
    }

    #[test]
    fn what_is_not_known_is_refused_without_what_may_be_secret() {
        for url in ["mongodb://u:secret@h", "postgres:secret", "sqlite:", ""] {
            let error = url.parse::<Address>().unwrap_err();
            assert!(error.contains("sqlite:PATH") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let address: Address = "postgres://u:secret@h:5432/db?password=secret".parse().unwrap();
        assert_eq!(address.to_string(), "postgres://u@h:5432/db");
    }
}
