//! A file that is copied from stays as it is, and one that is copied to is nobody else's.

use operond_store::{Archive, Bookmark, Most};
use operond_store_sqlite::{OpenError, Options, SqliteArchive};
use rusqlite::Connection;

use crate::fixture::{Fixture, path_in, refused, wait};

#[test]
fn a_file_of_an_older_release_is_read_and_stays_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path());
    let file = Connection::open(&path).unwrap();
    file.execute_batch(include_str!("../../migrations/0001_operations.sql")).unwrap();
    file.execute_batch(include_str!("version_1.sql")).unwrap();
    let schema = || -> String {
        file.query_row("SELECT group_concat(sql ORDER BY name) FROM sqlite_schema", [], |row| row.get(0)).unwrap()
    };
    let before = schema();
    let archive = SqliteArchive::open_untouched(&path).unwrap();
    let counts = wait(archive.counts()).unwrap();
    assert_eq!((counts.operations, counts.tombstones, counts.documents), (2, 1, 0));
    let rows = wait(archive.read(&Bookmark::START, Most { rows: 9, bytes: usize::MAX })).unwrap();
    assert_eq!(rows.len(), 2);
    wait(archive.finish()).expect_err("nothing is written");
    wait(archive.close()).unwrap();
    assert_eq!(schema(), before);
}

#[test]
fn what_is_only_read_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path());
    let error = SqliteArchive::open_untouched(&path).err().unwrap();
    assert!(matches!(error, OpenError::NotThere { .. }), "{error:?}");
    let imagined = SqliteArchive::imagine(&path).unwrap();
    assert_eq!(wait(imagined.counts()).unwrap().rows(), 0);
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "not even a lock");
}

#[test]
fn a_file_that_a_server_has_is_neither_copied_from_nor_to() {
    let fixture = Fixture::new(Options::default());
    for opened in [SqliteArchive::open(fixture.path()), SqliteArchive::open_untouched(fixture.path())] {
        let error = opened.err().unwrap();
        assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    }
}

#[test]
fn a_server_does_not_open_an_unfinished_copy() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path());
    let archive = SqliteArchive::open(&path).unwrap();
    let identity = wait(archive.standing()).unwrap().identity;
    wait(archive.begin("postgres://h/the-source".into(), identity)).unwrap();
    wait(archive.close()).unwrap();
    let error = refused(&path);
    assert!(matches!(error, OpenError::Unfinished { .. }), "{error:?}");
    assert!(error.to_string().contains("unfinished copy of postgres://h/the-source"), "{error}");
}
