//! What a crash leaves. A copy of the files, taken at any moment while nothing is moved out of the
//! log, is what a power cut at that moment leaves: the database as it was, and the log up to a point.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use operond_core::{Operation, OperationId, Scope};
use operond_store::{Lookup, ManualClock, Store};
use operond_store_sqlite::{Options, SqliteStore};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::fixture::{Fixture, START, path_in, spec, wait};

/// By another process: to close the database file in this one would drop SQLite's own locks on it.
fn copy(file: &str, from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from.join(file)).arg(to).status().unwrap();
    assert!(copied.success(), "cp {file}");
}

fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(path_in(directory), Options::default(), Arc::new(ManualClock::new(START))).unwrap()
}

fn holds(store: &SqliteStore, operation: &Operation) -> bool {
    matches!(wait(store.get(&Scope::default(), &operation.id)).unwrap(), Lookup::Found(found) if *found == *operation)
}

/// Copies of the files, each with what had been acknowledged before it was taken.
fn images_of_a_load(fixture: &mut Fixture) -> Vec<(TempDir, Vec<Arc<Operation>>)> {
    let source = fixture.directory.path().to_owned();
    let (acknowledge, acknowledged) = std::sync::mpsc::sync_channel(1);
    let mut images = Vec::new();
    thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..150 {
                acknowledge.send(fixture.create(10, &spec("k")).unwrap()).unwrap();
            }
        });
        let mut before = Vec::new();
        // At each copy the next batch is under way.
        for (round, created) in acknowledged.into_iter().enumerate() {
            before.extend(created);
            if round % 10 == 0 {
                let image = tempfile::tempdir().unwrap();
                copy("operond.db", &source, image.path());
                copy("operond.db-wal", &source, image.path());
                images.push((image, before.clone()));
            }
        }
    });
    images
}

#[test]
fn f32_whatever_was_acknowledged_is_in_what_a_crash_leaves() {
    let mut fixture = Fixture::new(Options { log_bytes_max: u64::MAX, ..Options::default() });
    let images = images_of_a_load(&mut fixture);
    assert_eq!(images.len(), 15);
    for (image, before) in images {
        let store = open(image.path());
        for operation in &before {
            assert!(holds(&store, operation), "{} of {} is lost", operation.id, before.len());
        }
        drop(store);
        let file = Connection::open(path_in(image.path())).unwrap();
        let check: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
}

/// The control of the test above: it would notice what is lost.
#[test]
fn an_image_without_the_log_lacks_what_was_acknowledged() {
    let mut fixture = Fixture::new(Options { log_bytes_max: u64::MAX, ..Options::default() });
    let created = fixture.create(20, &spec("k")).unwrap();
    let image = tempfile::tempdir().unwrap();
    copy("operond.db", fixture.directory.path(), image.path());
    let store = open(image.path());
    assert!(created.iter().all(|operation| !holds(&store, operation)));
}

#[test]
fn a_batch_that_a_crash_cuts_leaves_nothing_of_itself() {
    let mut fixture = Fixture::new(Options { log_bytes_max: u64::MAX, ..Options::default() });
    let kept = fixture.create(5, &spec("k")).unwrap();
    let log = fixture.directory.path().join("operond.db-wal");
    let before = log.metadata().unwrap().len();
    let cut = fixture.create(50, &spec("k")).unwrap();
    let after = log.metadata().unwrap().len();
    for share in 1..8 {
        let image = tempfile::tempdir().unwrap();
        copy("operond.db", fixture.directory.path(), image.path());
        copy("operond.db-wal", fixture.directory.path(), image.path());
        let file = std::fs::OpenOptions::new().write(true).open(image.path().join("operond.db-wal")).unwrap();
        file.set_len(before + (after - before) * share / 8).unwrap();
        let store = open(image.path());
        assert!(kept.iter().all(|operation| holds(&store, operation)));
        let ids: Vec<&OperationId> = cut.iter().map(|operation| &operation.id).collect();
        let there = ids.iter().filter(|id| wait(store.get(&Scope::default(), id)).unwrap() != Lookup::Never).count();
        assert_eq!(there, 0, "the log was cut to {share}/8 of the batch");
    }
}
