//! Opening: the file, its lock, its rights, its versions.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use operond_core::{Any, EventKind, OperationId, Outcome, Scope, State, Token};
use operond_store::{Lookup, Properties, Request, Store};
use operond_store_sqlite::{OpenError, Options};
use rusqlite::Connection;

use crate::fixture::{Fixture, START, path_in, refused, spec, update, wait};

fn pragma(connection: &Connection, name: &str) -> String {
    connection
        .pragma_query_value(None, name, |row| {
            Ok(match row.get_ref(0)? {
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                value => value.as_str()?.to_owned(),
            })
        })
        .unwrap()
}

#[test]
fn the_file_frees_pages_by_and_by_and_has_a_write_ahead_log() {
    let fixture = Fixture::new(Options::default());
    wait(fixture.store.close()).unwrap();
    let connection = Connection::open(fixture.path()).unwrap();
    assert_eq!(pragma(&connection, "auto_vacuum"), "2", "2 is INCREMENTAL");
    assert_eq!(pragma(&connection, "journal_mode"), "wal");
    assert_eq!(pragma(&connection, "user_version"), "4");
    assert_eq!(pragma(&connection, "integrity_check"), "ok");
}

#[test]
fn only_the_owner_may_read_what_holds_secrets() {
    let mut fixture = Fixture::new(Options::default());
    fixture.create(1, &spec("k")).unwrap();
    for name in ["operond.db", "operond.db-wal"] {
        let rights = fixture.directory.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(rights, 0o600, "{name}");
    }
}

#[test]
fn f54_a_second_open_of_the_same_file_is_refused_by_whatever_name() {
    let mut fixture = Fixture::new(Options::default());
    let link = fixture.directory.path().join("link.db");
    symlink(fixture.path(), &link).unwrap();
    for path in [&fixture.path(), &link] {
        let error = refused(path);
        assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
        assert!(error.to_string().contains("operond.db.lock; stop that server or use another file"), "{error}");
    }
    let created = fixture.create(1, &spec("k")).unwrap();
    assert_eq!(fixture.get(&created[0].id), Lookup::Found(created[0].clone()), "the first one goes on");
    fixture.reopen(Options::default());
}

#[test]
fn a_closed_store_lets_go_of_its_file_and_leaves_no_log() {
    let mut fixture = Fixture::new(Options::default());
    fixture.create(1, &spec("k")).unwrap();
    wait(fixture.store.close()).unwrap();
    let log = fixture.directory.path().join("operond.db-wal");
    assert!(!log.exists() || log.metadata().unwrap().len() == 0);
    let again = operond_store_sqlite::SqliteStore::open(fixture.path(), Options::default(), fixture.clock.clone());
    assert!(again.is_ok());
}

#[test]
fn operations_and_the_seal_key_are_there_again_after_a_restart() {
    let mut fixture = Fixture::new(Options::default());
    let Properties { seal_key, others, .. } = fixture.store.properties().clone();
    assert!(others.is_none());
    let created = fixture.create(3, &spec("k")).unwrap();
    let fixture = fixture.reopen(Options::default());
    assert_eq!(fixture.store.properties().seal_key, seal_key);
    for operation in created {
        assert_eq!(fixture.get(&operation.id), Lookup::Found(operation));
    }
}

#[test]
fn a_directory_that_is_not_there_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let error = refused(&path_in(&directory.path().join("no/such")));
    assert!(matches!(error, OpenError::NoDirectory { .. }), "{error:?}");
    assert!(error.to_string().ends_with("no/such; make it first"), "{error}");
}

#[test]
fn what_is_no_database_of_ours_is_refused_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let refused_as = |path: &Path| {
        let before = std::fs::read(path).unwrap();
        let error = refused(path);
        assert_eq!(std::fs::read(path).unwrap(), before, "{} was touched", path.display());
        error
    };
    let text = directory.path().join("text");
    std::fs::write(&text, "a diary, and no database\n".repeat(100)).unwrap();
    assert!(matches!(refused_as(&text), OpenError::NotADatabase { .. }));

    let foreign = directory.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    assert!(matches!(refused_as(&foreign), OpenError::Foreign { .. }));

    assert!(matches!(refused(directory.path()), OpenError::NotAFile { .. }));
}

#[test]
fn a_file_of_a_newer_release_is_refused_and_stays_as_it_is() {
    let fixture = Fixture::new(Options::default());
    wait(fixture.store.close()).unwrap();
    Connection::open(fixture.path()).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let error = refused(&fixture.path());
    assert!(matches!(error, OpenError::Newer { found: 7, known: 4, .. }), "{error:?}");
    assert!(error.to_string().ends_with("version 7, this release knows 4; use the newer release"), "{error}");
    assert_eq!(pragma(&Connection::open(fixture.path()).unwrap(), "user_version"), "7");
}

/// What version 1 of the schema holds must be read by every later release: these rows are written
/// by hand and never change.
#[test]
fn rows_written_by_schema_version_1_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = Connection::open(path_in(directory.path())).unwrap();
    file.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;").unwrap();
    file.execute_batch(include_str!("../../migrations/0001_operations.sql")).unwrap();
    file.execute_batch(include_str!("version_1.sql")).unwrap();
    drop(file);

    let clock = std::sync::Arc::new(operond_store::ManualClock::new(START));
    let store = operond_store_sqlite::SqliteStore::open(path_in(directory.path()), Options::default(), clock).unwrap();
    assert_eq!(store.properties().seal_key, [0x5a; 32]);
    let get = |id: &str| wait(store.get(&Scope::default(), &OperationId::parse("id", id).unwrap())).unwrap();

    let Lookup::Found(done) = get("op-done") else { panic!("op-done is not there") };
    assert_eq!(done.state(), State::Failed);
    let Some(Outcome::Error(error)) = done.outcome() else { panic!("{done:?}") };
    assert_eq!((error.code, &*error.message), (3, "bad frame"));
    assert_eq!(*error.details, [Any::new("t/D", [1, 2].as_slice())]);
    assert_eq!(done.spec.labels.iter().collect::<Vec<_>>(), [("team", "a")]);
    assert_eq!(done.events.iter().map(|event| event.what).collect::<Vec<_>>(), [EventKind::Created, EventKind::Failed]);
    assert_eq!(done.events[1].at.since(done.events[0].at).as_micros(), 5);
    assert_eq!(done.lease.as_ref().map(|lease| lease.token), Some(Token(2)));
    assert_eq!(done.spec.input, Some(Any::new("t/I", [9].as_slice())));

    assert!(matches!(get("op-gone"), Lookup::Gone(tenant, operond_core::Gone::Expired) if tenant.as_str() == "acme"));
    assert!(matches!(get("op-queued"), Lookup::Found(queued) if queued.state() == State::Queued));
}

#[test]
fn a_store_that_was_only_asked_for_timers_does_not_look_as_if_its_clock_had_stepped() {
    let mut fixture = Fixture::new(Options::default());
    fixture.create(1, &spec("k")).unwrap();
    for _ in 0..12 {
        fixture.clock.advance(Duration::from_secs(10 * 60));
        update(&fixture.store, vec![Request::Settle(10)]).unwrap();
    }
    assert!(!fixture.reopen(Options::default()).store.clock_stepped());
}

#[test]
fn a_store_opened_hours_after_its_last_commit_says_that_its_clock_may_have_stepped() {
    let mut fixture = Fixture::new(Options::default());
    fixture.create(1, &spec("k")).unwrap();
    wait(fixture.store.close()).unwrap();
    fixture.clock.advance(Duration::from_secs(2 * 60 * 60));
    assert!(fixture.reopen(Options::default()).store.clock_stepped());
}
