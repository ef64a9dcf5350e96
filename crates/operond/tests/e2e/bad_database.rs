//! A database that `serve` cannot or must not serve: it says so at once, names the remedy, and ends.

use std::net::TcpListener;

use operond_store_postgres::cluster::{Cluster, Kind, Settings};

use crate::support::served::{ended, migrated, serve};
use crate::support::{Psql, Served, claimed, command, complete, create, http, operations, work};

/// What `serve` says when it refuses this store, in bounded time.
#[track_caller]
fn refused(store: &str, arguments: &[&str]) -> String {
    let output = ended(serve(store, "127.0.0.1:0").args(arguments));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "it did not refuse: {said}");
    assert!(said.contains("error:") && !said.contains("panicked"), "{said}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("is ready"), "{said}");
    said
}

#[track_caller]
fn refused_with(store: &str, arguments: &[&str], words: &[&str]) {
    let said = refused(store, arguments);
    assert!(words.iter().all(|word| said.contains(word)), "{words:?} are not all in: {said}");
}

#[test]
fn a_password_in_a_url_that_is_wrong_is_not_repeated() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for scheme in ["postgress", "postgres"] {
        for password in ["secret", "pa?secret"] {
            let url = format!("{scheme}://u:{password}@h:port/db");
            std::fs::write(file.path(), format!("store = {url:?}")).unwrap();
            let config = ["serve", "--config", file.path().to_str().unwrap()];
            let lines: [(&[&str], &str); 6] = [
                (&["serve"], &url),
                (&["migrate", "status"], &url),
                (&["serve", "--store", &url], ""),
                (&["migrate", "up", "--store", &url], ""),
                (&["copy", "--from", &url, "--to", &url], ""),
                (&config, ""),
            ];
            for (line, variable) in lines {
                let mut command = command();
                command.args(line).env_remove("OPEROND_STORE");
                if !variable.is_empty() {
                    command.env("OPEROND_STORE", variable);
                }
                let output = ended(&mut command);
                let said = format!("{output:?}");
                assert!(!output.status.success() && said.contains(scheme), "{line:?}: {said}");
                assert!(!said.contains("secret") && !said.contains("pa?"), "{line:?} {variable}: {said}");
            }
        }
    }
}

#[test]
fn a_wrong_password_is_refused_and_not_repeated() {
    let hba = vec!["host all guarded 127.0.0.1/32 scram-sha-256".to_owned()];
    let cluster = Cluster::start(&Settings { hba, ..Settings::of(Kind::Fast) });
    cluster.psql("create role guarded login password 'right'");
    let store = |password: &str| format!("postgres://guarded{password}@127.0.0.1:{}/postgres", cluster.port());
    let said = refused(&store(":not-this"), &[]);
    let words = ["guarded@127.0.0.1", "password authentication failed", "check the user, the password"];
    assert!(words.iter().all(|word| said.contains(word)) && !said.contains("not-this"), "{said}");
    refused_with(&store(""), &[], &["guarded@127.0.0.1", "password"]);
    refused_with(&store(":right"), &[], &["schema version 0", "operond migrate up"]);
}

#[test]
fn a_database_that_is_not_there_is_refused_by_its_name() {
    let cluster = Cluster::shared(Kind::Fast);
    let store = cluster.url().replace("/postgres", "/nowhere");
    refused_with(
        &store,
        &[],
        &[r#"database "nowhere" does not exist"#, "check the user, the password and the database"],
    );
}

#[test]
fn where_nobody_listens_is_said() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let store = format!("postgres://operond@127.0.0.1:{port}/postgres");
    refused_with(&store, &[], &["cannot reach", &port.to_string(), "check that PostgreSQL listens there"]);
}

/// It takes the connection and is silent: a firewall, or another program.
#[test]
fn a_host_that_never_answers_is_not_waited_for_forever() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let store = format!("postgres://operond@127.0.0.1:{}/postgres", silent.local_addr().unwrap().port());
    refused_with(&store, &[], &["cannot reach", "check that PostgreSQL listens there"]);
}

#[test]
fn a_schema_that_is_not_there_is_refused_with_the_command_that_makes_it() {
    let store = Cluster::shared(Kind::Fast).fresh_schema();
    refused_with(&store, &[], &["schema version 0", "operond migrate up --store"]);
    let status = ended(command().args(["migrate", "status", "--store", &store]));
    assert!(!status.status.success(), "{status:?}");
}

#[test]
fn f53_a_schema_of_a_release_after_the_next_is_refused_and_is_left_as_it_is() {
    let store = migrated(Cluster::shared(Kind::Fast));
    let mut psql = Psql::open(&store).unwrap();
    psql.run("UPDATE operond_meta SET version = 99, serves = 99");
    refused_with(&store, &[], &["schema version 99", "use the newer release"]);
    let status = ended(command().args(["migrate", "status", "--store", &store]));
    assert!(!status.status.success(), "{status:?}");
    let up = ended(command().args(["migrate", "up", "--store", &store]));
    assert_eq!(psql.run("SELECT version, serves FROM operond_meta"), "99|99", "{up:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f53_a_schema_of_the_next_release_is_served_beside_it() {
    let store = migrated(Cluster::shared(Kind::Fast));
    let mut psql = Psql::open(&store).unwrap();
    // What this release brings a schema to is what it knows.
    psql.run("UPDATE operond_meta SET version = version + 1, serves = version");
    // A step of the next release adds what this one knows nothing of.
    psql.run("ALTER TABLE operations ADD COLUMN later bigint; ALTER TABLE specs ADD COLUMN later text");
    lives(&Served::start(&store, &[])).await;
    let status = ended(command().args(["migrate", "status", "--store", &store]));
    assert!(status.status.success(), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f23_a_database_that_can_lose_what_it_acknowledged_is_refused_where_durability_is_required() {
    const REQUIRED: &[&str] = &["--require-durable"];
    let fast = migrated(Cluster::shared(Kind::Fast));
    refused_with(
        &fast,
        REQUIRED,
        &["--require-durable", "fsync is off", "set fsync = on", "synchronous_standby_names"],
    );
    let served = Served::start(&fast, &[]);
    assert!(served.log().contains("fsync is off"), "without the flag it is a warning: {}", served.log());
    for path in ["/readyz", "/metrics"] {
        let told = http::call(&served.http, "GET", path, &[], "");
        assert!(told.status == 200 && told.body.contains("fsync is off"), "{path}: {}", told.body);
    }

    let primary = Cluster::start(&Settings::of(Kind::Durable));
    let store = migrated(&primary);
    let said = refused(&store, REQUIRED);
    assert!(said.contains("there is no synchronous standby") && !said.contains("fsync is off"), "{said}");
    let standby = Cluster::standby_of(&primary);
    let copy = store.replace(&primary.port().to_string(), &standby.port().to_string());
    refused_with(&copy, &[], &[&standby.port().to_string(), "read-only", "name the primary"]);
    primary.configure("synchronous_standby_names", "*");
    let served = Served::start(&store, REQUIRED);
    assert_eq!(served.log(), "");
    let told = http::call(&served.http, "GET", "/metrics", &[], "").body;
    assert!(told.contains("operond_store_up 1") && !told.contains("operond_store_warning{"), "{told}");
    lives(&served).await;

    // What holds for all of the cluster does not for one database.
    primary.psql("ALTER DATABASE postgres SET synchronous_commit = off");
    let said = refused(&store, REQUIRED);
    let others = ["fsync is off", "full_page_writes is off", "no synchronous standby"];
    assert!(said.contains("synchronous_commit is below on"), "{said}");
    assert!(!others.iter().any(|other| said.contains(other)), "{said}");
    let log = Served::start(&store, &[]).log();
    assert!(log.contains("synchronous_commit is below on"), "without the flag it is a warning: {log}");
    primary.psql("ALTER ROLE operond SET synchronous_commit = on");
    assert_eq!(Served::start(&store, REQUIRED).log(), "", "what its role says comes first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_a_free_connection_is_refused_and_served_when_there_are_some() {
    let cluster = Cluster::start(&Settings { max_connections: 20, ..Settings::of(Kind::Fast) });
    let store = migrated(&cluster);
    let mut others: Vec<Psql> = std::iter::from_fn(|| Psql::open(&store)).collect();
    refused_with(&store, &[], &["has no connection left", "raise max_connections"]);
    let up = ended(command().args(["migrate", "up", "--store", &store]));
    assert!(!up.status.success() && String::from_utf8_lossy(&up.stderr).contains("max_connections"), "{up:?}");
    others.truncate(5);
    lives(&Served::start(&store, &[])).await;
}

/// FAILURES 8: the database's clock alone decides.
#[tokio::test(flavor = "multi_thread")]
async fn f08_a_machine_whose_clock_is_an_hour_off_serves_by_the_databases_clock_and_says_so() {
    let store = migrated(Cluster::shared(Kind::Fast));
    let right = Served::start(&store, &[]);
    for offset in ["-1h", "+1h"] {
        let wrong = Served::start_at(&store, offset);
        assert!(wrong.log().contains("this machine's clock is far from the database's"), "{offset}: {}", wrong.log());
        for (creator, worker) in [(&wrong, &right), (&right, &wrong)] {
            let created = operations(&creator.http).create(create("clock")).await.unwrap().into_inner();
            let claim = claimed(&worker.http, "clock").await;
            let (created_at, started_at) = (created.created_at.unwrap(), claim.operation.unwrap().started_at.unwrap());
            let waited = started_at.seconds - created_at.seconds;
            assert!((0..60).contains(&waited), "{offset}: claimed {waited} s after the creation");
            let left = claim.lease_expires_at.unwrap().seconds - started_at.seconds;
            assert!((29..=30).contains(&left), "{offset}: a lease of {left} s");
            work(&creator.http).complete(complete(&claim.lease)).await.unwrap();
        }
    }
}

/// One operation through its whole life.
async fn lives(server: &Served) {
    operations(&server.http).create(create("life")).await.unwrap();
    let claim = claimed(&server.http, "life").await;
    let done = work(&server.http).complete(complete(&claim.lease)).await.unwrap().into_inner();
    assert!(done.done, "{done:?}");
}
