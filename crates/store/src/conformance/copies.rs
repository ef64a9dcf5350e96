//! A whole store is copied into another one, row by row.

use std::sync::Arc;

use operond_core::limits::INPUT_BYTES_MAX;
use operond_core::{Any, Gone, Operation, Retention, Spec, State};

use super::Archived;
use super::block_on::block_on;
use super::documents::new;
use super::fields::everything_set;
use super::make::{DAY, HOUR, SECOND, complete, fingerprint, heartbeat, key, kind, retry, tenant};
use super::rig::{Rig, created, ids};
use crate::{Archive, Bookmark, Collection, CopyOf, DocumentWrite, Lookup, Most, Row, Walk};

pub fn what_is_copied_reads_back_the_same(subject: &mut dyn Archived) {
    filled(subject);
    let from = subject.archive();
    let to = subject.move_house();
    copy(&*from, &*to, FEW);
    let (before, after) = (rows(&*from, Bookmark::START, FEW), rows(&*to, Bookmark::START, MANY));
    assert_eq!(before, after);
    let canonical = |rows: &[Row]| rows.iter().map(Row::canonical).collect::<Vec<_>>();
    assert_eq!(canonical(&before), canonical(&after));
    let counts = block_on(to.counts()).expect("a store that is well counts");
    assert_eq!((counts.tombstones, counts.keys, counts.documents), (2, 2, 2));
    assert_eq!(counts, block_on(from.counts()).expect("a store that is well counts"));
    assert_eq!(counts.rows(), after.len() as u64);
    let standing = |archive: &dyn Archive| block_on(archive.standing()).expect("a store that is well tells of itself");
    assert_eq!(standing(&*to).identity, standing(&*from).identity);
    assert_eq!(standing(&*to).copy, Some(CopyOf { source: SOURCE.into(), place: None }));
}

pub fn a_copied_store_goes_on_where_it_was(subject: &mut dyn Archived) {
    let kept = filled(subject);
    moved(subject);
    let rig = Rig::new(subject);
    assert_eq!(rig.store.properties().seal_key, kept.seal_key, "page tokens outlive a copy");
    for operation in &kept.operations {
        assert_eq!(rig.read(&operation.id), *operation, "{}", operation.state().as_str());
    }
    assert_eq!(rig.lookup(&kept.deleted.id), Lookup::Gone(tenant("t"), Gone::Deleted));
    assert_eq!(rig.lookup(&kept.expired.id), Lookup::Gone(tenant("t"), Gone::Expired));
    assert_eq!(created(rig.create_keyed(Spec::new(kind("keyed")), &key("k"), fingerprint(1))), kept.keyed);
    assert_eq!(rig.documents(Collection::Types).len(), 1);
    assert_eq!(rig.documents(Collection::Kinds)[0].version, 2);
    assert_eq!(ids(&rig.claim(&["waiting"], 10)), ids([&kept.waiting]), "what waits for its backoff does not come");
    rig.accept(&kept.leased.id, heartbeat(&kept.leased));
    let done = rig.accept(&kept.leased.id, complete(&kept.leased));
    assert_eq!(done.state(), State::Succeeded);
    assert_eq!(rig.accept(&done.id, complete(&kept.leased)), done, "a repeat is known by its digest");
}

pub fn f08_the_clock_does_not_go_back_behind_a_copied_store(subject: &mut dyn Archived) {
    let rig = Rig::new(subject);
    rig.advance(DAY);
    let last = rig.create("work");
    close(rig);
    moved(subject);
    // Its calendar is a day behind.
    let rig = Rig::new(subject);
    let _used_up = rig.entropy();
    let next = rig.create("work");
    assert!(next.created_at >= last.created_at, "{} before {}", next.created_at, last.created_at);
}

pub fn rows_are_read_in_their_order_and_no_more_than_are_wanted(subject: &mut dyn Archived) {
    let rig = Rig::new(subject);
    for name in ["b", "a", "ä", "B"] {
        created(rig.create_keyed(Spec::new(kind("work")), &key(name), fingerprint(1)));
    }
    let input = Any::new("type.googleapis.com/x.Large", vec![7; INPUT_BYTES_MAX / 2]);
    rig.create_as("work", |spec| spec.input = Some(input));
    close(rig);
    let archive = subject.archive();
    let read = |behind: Bookmark, most| block_on(archive.read(&behind, most)).expect("a store that is well is read");
    assert_eq!(read(Bookmark::START, FEW).len(), FEW.rows);
    let keys: Vec<String> = read(Bookmark::Keys(None), MANY).iter().map(|row| match row {
        Row::Key(_, key, _) => key.as_str().to_owned(),
        other => panic!("a key was wanted: {other:?}"),
    }).collect();
    assert_eq!(keys, ["B", "a", "b", "ä"], "in the order of their bytes");
    let little = Most { bytes: 1, ..MANY };
    assert_eq!(read(Bookmark::START, little).len(), 1);
    let operations = rows(&*archive, Bookmark::START, little);
    assert_eq!(operations, rows(&*archive, Bookmark::START, MANY), "one at a time, and all of them");
    assert_eq!(read(Bookmark::Documents(None), MANY), [], "there are none");
}

pub fn a_copy_that_was_let_go_of_goes_on_behind_its_mark(subject: &mut dyn Archived) {
    let kept = filled(subject);
    let from = subject.archive();
    let to = subject.move_house();
    begin(&*from, &*to);
    let mut walk = Walk::from(&*from, Bookmark::START, FEW);
    let first = block_on(walk.next()).expect("a store that is well is read");
    let place = first.last().map(Row::bookmark);
    block_on(to.write(first)).expect("a copy was begun");
    block_on(to.close()).expect("an idle archive closes");
    drop(to);
    let to = subject.archive();
    let standing = block_on(to.standing()).expect("a store that is well tells of itself");
    let (source, mark) = standing.unfinished().expect("it is not finished");
    assert_eq!((source, Some(mark)), (SOURCE, place.as_ref()));
    write(&*from, &*to, mark.clone(), MANY);
    assert_eq!(rows(&*from, Bookmark::START, MANY), rows(&*to, Bookmark::START, MANY));
    block_on(to.close()).expect("an idle archive closes");
    drop(to);
    assert_eq!(Rig::new(subject).read(&kept.leased.id), kept.leased);
}

pub fn nothing_is_written_without_a_mark(subject: &mut dyn Archived) {
    filled(subject);
    let from = subject.archive();
    let to = subject.move_house();
    let some = block_on(from.read(&Bookmark::START, FEW)).expect("a store that is well is read");
    block_on(to.write(some)).expect_err("no copy was begun");
    block_on(to.finish()).expect_err("no copy was begun");
    assert_eq!(rows(&*to, Bookmark::START, MANY), []);
}

pub fn a_copy_is_begun_once(subject: &mut dyn Archived) {
    filled(subject);
    let from = subject.archive();
    let to = subject.move_house();
    begin(&*from, &*to);
    let identity = block_on(from.standing()).expect("a store that is well tells of itself").identity;
    block_on(to.begin(SOURCE.into(), identity)).expect_err("it was begun");
}

/// What is to be found again.
struct Kept {
    seal_key: [u8; 32],
    operations: Vec<Arc<Operation>>,
    leased: Arc<Operation>,
    waiting: Arc<Operation>,
    keyed: Arc<Operation>,
    deleted: Arc<Operation>,
    expired: Arc<Operation>,
}

/// A store with something of everything, closed.
fn filled(subject: &mut dyn Archived) -> Kept {
    let rig = Rig::new(subject);
    let mut operations = everything_set(&rig);
    let deleted = rig.finished("work", |spec| spec.tenant = tenant("t"));
    rig.delete(&deleted.id);
    let brief = |spec: &mut Spec| (spec.tenant, spec.retention) = (tenant("t"), Retention::same(Some(SECOND)));
    let expired = rig.finished("work", brief);
    rig.advance(SECOND);
    assert_eq!(rig.settle(10), 1);
    let keyed = created(rig.create_keyed(Spec::new(kind("keyed")), &key("k"), fingerprint(1)));
    created(rig.create_keyed(Spec { tenant: tenant("t"), ..Spec::new(kind("keyed")) }, &key("k"), fingerprint(2)));
    let put_off = rig.start("waiting");
    operations.push(rig.accept(&put_off.id, retry(&put_off, HOUR)));
    let waiting = rig.create("waiting");
    let leased = rig.start_as("leased", |spec| spec.tenant = tenant("u"));
    operations.extend([&keyed, &waiting, &leased].map(Arc::clone));
    let kinds = |replaces| DocumentWrite { collection: Collection::Kinds, replaces, ..new("k", b"\0\xff") };
    rig.put(&[new("a", b""), kinds(0), kinds(1)]).expect("each replaces what there is");
    let seal_key = rig.store.properties().seal_key;
    close(rig);
    Kept { seal_key, operations, leased, waiting, keyed, deleted, expired }
}

fn close(rig: Rig<'_>) {
    block_on(rig.store.close()).expect("an idle store closes");
    // A store may allow one handle only.
    drop(rig);
}

/// The store of `subject` is another one from now on, with all that was in it.
fn moved(subject: &mut dyn Archived) {
    let from = subject.archive();
    let to = subject.move_house();
    copy(&*from, &*to, FEW);
    block_on(to.close()).expect("an idle archive closes");
}

fn copy(from: &dyn Archive, to: &dyn Archive, most: Most) {
    begin(from, to);
    write(from, to, Bookmark::START, most);
}

fn begin(from: &dyn Archive, to: &dyn Archive) {
    let identity = block_on(from.standing()).expect("a store that is well tells of itself").identity;
    block_on(to.begin(SOURCE.into(), identity)).expect("it is new");
}

/// Copies what is behind `place`, and finishes.
fn write(from: &dyn Archive, to: &dyn Archive, place: Bookmark, most: Most) {
    let mut walk = Walk::from(from, place, most);
    loop {
        let rows = block_on(walk.next()).expect("a store that is well is read");
        if rows.is_empty() {
            break;
        }
        block_on(to.write(rows)).expect("a copy was begun");
    }
    block_on(to.finish()).expect("a copy was begun");
}

fn rows(archive: &dyn Archive, behind: Bookmark, most: Most) -> Vec<Row> {
    let mut walk = Walk::from(archive, behind, most);
    let mut all = Vec::new();
    loop {
        let rows = block_on(walk.next()).expect("a store that is well is read");
        if rows.is_empty() {
            return all;
        }
        assert!(rows.len() <= most.rows, "{} rows", rows.len());
        all.extend(rows);
    }
}

const SOURCE: &str = "the other one";
const FEW: Most = Most { rows: 3, bytes: usize::MAX };
const MANY: Most = Most { rows: 1_000, bytes: usize::MAX };
