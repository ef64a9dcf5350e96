//! PostgreSQL over TLS: what is protected works, and what is not is refused with a word about what is wrong.

use std::path::PathBuf;

use operond_store_postgres::cluster::{Cluster, Kind, Settings};
use tempfile::TempDir;

use crate::support::certificates::{Authority, written};
use crate::support::served::{ended, serve};
use crate::support::{Served, claimed, command, complete, create, operations, work};

/// A cluster that takes TLS alone, and who signed its certificate.
struct Protected {
    cluster: Cluster,
    directory: TempDir,
}

impl Protected {
    /// Its certificate is for 127.0.0.1, and not for `localhost`.
    fn start() -> Self {
        let (authority, other) = (Authority::new("databases"), Authority::new("others"));
        let pair = authority.sign(&["127.0.0.1"]);
        let cluster = Cluster::start(&Settings {
            configuration: vec!["ssl = on".into()],
            hba: vec![
                "hostssl all guarded 127.0.0.1/32 scram-sha-256".into(),
                "hostnossl all guarded 127.0.0.1/32 reject".into(),
            ],
            files: vec![("server.crt".into(), pair.certificate.into()), ("server.key".into(), pair.key.into())],
            ..Settings::of(Kind::Fast)
        });
        cluster.psql("create role guarded login superuser password 'right'");
        let directory = tempfile::tempdir().unwrap();
        written(directory.path(), "ca.pem", &authority.pem());
        written(directory.path(), "other.pem", &other.pem());
        Self { cluster, directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where it is, for somebody whose connection must be protected.
    fn store(&self, host: &str, parameters: &str) -> String {
        format!("postgres://guarded:right@{host}:{}/postgres?{parameters}", self.cluster.port())
    }

    fn trusting(&self, name: &str) -> String {
        format!("sslmode=verify-full&sslrootcert={}", self.file(name).display())
    }
}

/// What both commands that open a database say when they refuse this one, in bounded time.
#[track_caller]
fn refused(store: &str, words: &[&str]) {
    let mut migrate = command();
    migrate.args(["migrate", "up", "--store", store]);
    for mut command in [serve(store, "127.0.0.1:0"), migrate] {
        let output = ended(&mut command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && !said.contains("panicked"), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} are not all in: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_certificate_and_name_are_right_is_served_over_tls() {
    let protected = Protected::start();
    let store = protected.store("127.0.0.1", &protected.trusting("ca.pem"));
    let up = ended(command().args(["migrate", "up", "--store", &store]));
    assert!(up.status.success(), "{up:?}");
    let served = Served::start(&store, &[]);
    operations(&served.http).create(create("life")).await.unwrap();
    let claim = claimed(&served.http, "life").await;
    let done = work(&served.http).complete(complete(&claim.lease)).await.unwrap().into_inner();
    assert!(done.done, "{done:?}");
    let plain = "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) \
                 where usename = 'guarded' and not ssl";
    let encrypted = plain.replace("not ssl", "ssl");
    assert_eq!(protected.cluster.psql(plain), "0");
    assert_ne!(protected.cluster.psql(&encrypted), "0");
}

#[test]
fn a_database_that_cannot_be_trusted_is_refused_with_the_reason() {
    let protected = Protected::start();
    let store = |host, name| protected.store(host, &protected.trusting(name));
    refused(
        &store("127.0.0.1", "other.pem"),
        &["cannot be trusted", "check sslrootcert", "invalid peer certificate", "UnknownIssuer"],
    );
    refused(
        &store("localhost", "ca.pem"),
        &["cannot be trusted", "check sslrootcert", "not valid for name", "localhost"],
    );
    refused(&store("127.0.0.1", "absent.pem"), &["absent.pem", "cannot read"]);
    // Less than everything is no protection: each mode that asks for TLS asks for all of it.
    for mode in ["require", "verify-ca"] {
        let other = protected.trusting("other.pem").replace("verify-full", mode);
        refused(&protected.store("127.0.0.1", &other), &["UnknownIssuer"]);
    }
    refused(&protected.store("127.0.0.1", "sslmode=disable"), &["no encryption"]);
}

#[test]
fn a_database_without_tls_is_refused_where_the_url_asks_for_it() {
    let protected = Protected::start();
    let cluster = Cluster::shared(Kind::Fast);
    for mode in ["require", "verify-full"] {
        let parameters = protected.trusting("ca.pem").replace("verify-full", mode);
        refused(
            &format!("{}?{parameters}", cluster.url()),
            &["cannot be trusted", "check sslrootcert", "server does not support TLS"],
        );
    }
}
