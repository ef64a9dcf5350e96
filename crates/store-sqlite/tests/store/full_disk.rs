//! A disk that runs full: creates are refused, what exists is finished, and all is well again when
//! there is room. These tests mount small file systems and so must be allowed to.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use operond_core::{Any, Operation, Spec};
use operond_store::{Error, ListQuery, Lookup, Order, Store};
use operond_store_sqlite::Options;

use crate::fixture::{Fixture, heartbeat, spec, update, wait};

/// A file system in memory of a few megabytes, gone when dropped.
struct SmallDisk {
    directory: Option<tempfile::TempDir>,
}

impl SmallDisk {
    fn new(megabytes: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "operond-test"])
            .arg(directory.path())
            .status()
            .unwrap();
        assert!(mounted.success(), "these tests mount a small file system, which takes root: run them as root");
        Self { directory: Some(directory) }
    }

    fn path(&self) -> &Path {
        self.directory.as_ref().unwrap().path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Takes what is free, but for `left` bytes.
    fn fill(&self, left: usize) {
        let mut ballast = std::fs::File::create(self.ballast()).unwrap();
        while ballast.write_all(&[0; 4096]).is_ok() {}
        let length = ballast.metadata().unwrap().len();
        ballast.set_len(length.saturating_sub(left as u64)).unwrap();
    }

    fn empty(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a test that failed may still hold files.
        let _gone = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn open(disk: &SmallDisk, options: Options) -> Fixture {
    Fixture::within(tempfile::tempdir_in(disk.path()).unwrap(), options)
}

fn large() -> Spec {
    Spec { input: Some(Any::new("type.googleapis.com/t.Input", [7; 20_000].as_slice())), ..spec("k") }
}

/// Creates until the disk is full; says what was acknowledged.
fn create_until_full(fixture: &mut Fixture) -> Vec<Arc<Operation>> {
    let mut acknowledged = Vec::new();
    loop {
        match fixture.create(8, &large()) {
            Ok(created) => acknowledged.extend(created),
            Err(Error::Full(_)) => return acknowledged,
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn count(fixture: &Fixture) -> usize {
    let limit = 1_000_000;
    let query =
        ListQuery { order: Order::OldestFirst, limit, bytes_max: usize::MAX, scan_max: limit, ..ListQuery::default() };
    wait(fixture.store.list(&query)).unwrap().operations.len()
}

#[test]
fn f28_below_the_watermark_only_creates_are_refused_until_there_is_room() {
    let disk = SmallDisk::new(32);
    let options = Options { low_disk_bytes: 8 << 20, log_bytes_max: 1 << 20, ..Options::default() };
    let mut fixture = open(&disk, options);
    fixture.create(100, &spec("k")).unwrap();
    // Twice the log's limit, which it may reach for a moment, and what the file itself grows by.
    disk.fill(4 << 20);
    let error = fixture.create(1, &spec("k")).unwrap_err();
    assert!(matches!(error, Error::Full(_)), "{error:?}");

    let claimed = fixture.claim("k", 100);
    assert_eq!(claimed.len(), 100);
    for operation in &claimed {
        fixture.complete(operation).unwrap().unwrap();
    }
    assert_eq!(count(&fixture), 100, "the refused create left nothing");

    disk.empty();
    fixture.create(1, &spec("k")).unwrap();
}

#[test]
fn f28_with_no_room_at_all_a_create_leaves_nothing_and_reads_go_on() {
    let disk = SmallDisk::new(16);
    let mut fixture = open(&disk, Options { low_disk_bytes: 0, ..Options::default() });
    let created = fixture.create(100, &spec("k")).unwrap();
    disk.fill(0);
    let error = fixture.create(64, &large()).unwrap_err();
    assert!(matches!(error, Error::Full(_)), "{error:?}");
    assert_eq!(count(&fixture), 100);
    assert_eq!(fixture.get(&created[0].id), Lookup::Found(created[0].clone()));
    disk.empty();
    fixture.create(64, &large()).unwrap();
    assert_eq!(fixture.claim("k", 164).len(), 164);
}

#[test]
fn f28_with_no_room_at_all_leases_are_still_extended() {
    let disk = SmallDisk::new(16);
    let mut fixture = open(&disk, Options { low_disk_bytes: 0, log_bytes_max: 1 << 20, ..Options::default() });
    fixture.create(20, &spec("k")).unwrap();
    let claimed = fixture.claim("k", 20);
    let extend = |fixture: &Fixture| update(&fixture.store, claimed.iter().map(|op| heartbeat(op)).collect());
    // All there is has reached the database, and the log has begun anew.
    for _ in 0..20 {
        extend(&fixture).unwrap();
    }
    fixture = fixture.reopen(Options { low_disk_bytes: 0, log_bytes_max: 1 << 20, ..Options::default() });
    for _ in 0..20 {
        extend(&fixture).unwrap();
    }
    disk.fill(0);
    for round in 0..100 {
        let extended = extend(&fixture);
        assert!(extended.is_ok(), "{extended:?} in round {round}");
    }
}

#[test]
fn f28_a_disk_that_operations_filled_has_room_again_when_they_are_deleted() {
    let disk = SmallDisk::new(32);
    let options = Options { low_disk_bytes: 8 << 20, log_bytes_max: 1 << 20, ..Options::default() };
    let mut fixture = open(&disk, options);
    let acknowledged = create_until_full(&mut fixture);
    assert_eq!(count(&fixture), acknowledged.len(), "all that was acknowledged and no more");
    for operation in fixture.claim("k", acknowledged.len()) {
        fixture.complete(&operation).unwrap().unwrap();
        fixture.delete(&operation.id).unwrap();
    }
    assert_eq!(count(&fixture), 0);
    // Each create that is refused makes a little room.
    let tries = (0..10_000).take_while(|_| fixture.create(8, &large()).is_err()).count();
    assert!(tries < 10_000, "there is no room after {tries} tries");
}
