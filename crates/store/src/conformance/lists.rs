//! Lists: order, and pages that neither skip nor repeat.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use operond_core::limits::PAGE_SIZE_MAX;
use operond_core::{Any, Command, Completion, Heartbeat, Kind, NewOperation, Operation, OperationId, Spec, Timestamp};

use super::make::{
    SECOND, any, cancel, complete, complete_with, filter, kind, lease, new_operation, report_failure, status,
};
use super::random::Random;
use super::rig::{Rig, ids, query};
use super::{Differential, Subject};
use crate::list::{Cursor, ListQuery, Order, payload_bytes};

pub fn a_list_of_nothing_is_empty(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let page = rig.list(&query());
    assert_eq!((page.operations.len(), page.next), (0, None));
}

pub fn a_list_is_ordered_by_creation_and_id_both_ways(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made = some(&rig, 30);
    assert_eq!(ids(&rig.list(&oldest_first()).operations), made);
    assert_eq!(ids(&rig.list(&query()).operations), reversed(&made));
}

pub fn a_list_shows_what_is_stored(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let started = rig.start("work");
    assert_eq!(rig.list(&query()).operations, [Arc::clone(&started)]);
    let done = rig.accept(&started.id, complete(&started));
    assert_eq!(rig.list(&query()).operations, [done]);
    rig.delete(&started.id);
    assert_eq!(rig.list(&query()).operations, []);
}

pub fn a_list_leaves_inputs_out_and_nothing_else(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let spec = Arc::new(Spec { input: Some(any("input")), ..Spec::new(kind("work")) });
    let made = rig.create_new(NewOperation { metadata: Some(any("metadata")), ..new_operation((*spec).clone()) });
    let without = Operation { spec: Arc::new(Spec { input: None, ..(*spec).clone() }), ..(*made).clone() };
    assert_eq!(*rig.list(&query()).operations[0], without);
    assert_eq!(rig.read(&made.id).spec.input, spec.input, "it is still there");
}

pub fn f21_pages_hold_everything_once(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made = some(&rig, 30);
    for limit in [1, 2, 7, 29, 30, 31] {
        assert_eq!(read_pages(&rig, &ListQuery { limit, ..oldest_first() }, |_| {}), made, "by {limit}");
        assert_eq!(read_pages(&rig, &ListQuery { limit, ..query() }, |_| {}), reversed(&made), "by {limit}");
    }
}

pub fn f21_pages_neither_skip_nor_repeat_while_others_come_go_and_end(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let seed = Differential::from_env(0).seed;
    let mut random = Random::new(seed);
    for text in ["", "kind:'d 1' OR done = true", "kind = 'kind 1'", "kind:'d 1'"] {
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let stay = some(&rig, 40);
            let mut left = some(&rig, 40);
            // One is created behind each page: pages of more are at the end some time.
            let (limit, scan_max) = (2 + random.below(5), 3 + random.below(20));
            let read = read_pages(&rig, &ListQuery { order, limit, scan_max, ..filtered(text) }, |rig| {
                some(rig, 1);
                for _ in 0..2.min(left.len()) {
                    let id = left.swap_remove(random.below(left.len()));
                    rig.accept(&id, cancel());
                    if random.one_in(2) {
                        rig.delete(&id);
                    }
                }
            });
            let distinct: HashSet<_> = read.iter().collect();
            assert_eq!(distinct.len(), read.len(), "nothing is repeated: {text}, seed {seed}");
            let meant = |id: &&OperationId| text.is_empty() || rig.read(id).spec.kind.as_str() == "kind 1";
            assert!(stay.iter().filter(meant).all(|id| distinct.contains(id)), "skipped: {text}, seed {seed}");
        }
    }
}

pub fn a_page_goes_on_behind_an_operation_that_is_gone(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made = some(&rig, 3);
    let cursor = Cursor::of(&rig.read(&made[1]));
    rig.accept(&made[1], cancel());
    rig.delete(&made[1]);
    let behind = |order| ids(&rig.list(&ListQuery { order, after: Some(cursor.clone()), ..query() }).operations);
    assert_eq!((behind(Order::OldestFirst), behind(Order::NewestFirst)), (ids_of(&made[2]), ids_of(&made[0])));
}

pub fn a_cursor_before_or_behind_everything_is_a_place_too(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made = some(&rig, 3);
    let at = |micros| Some(Cursor { created_at: Timestamp::from_micros(micros), id: super::make::id("x") });
    let list = |order, after| ids(&rig.list(&ListQuery { order, after, ..query() }).operations);
    assert_eq!(list(Order::OldestFirst, at(0)), made);
    assert_eq!(list(Order::OldestFirst, at(i64::MAX)), []);
    assert_eq!(list(Order::NewestFirst, at(i64::MAX)), reversed(&made));
    assert_eq!(list(Order::NewestFirst, at(0)), []);
}

pub fn a_page_ends_before_its_bytes_pass_the_limit(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made: Vec<_> = (0..4).map(|_| heavy(&rig)).collect();
    let each = payload_bytes(&made[0]);
    for (bytes_max, held) in [(0, 1), (each, 1), (2 * each - 1, 1), (2 * each, 2), (4 * each, 4)] {
        let page = rig.list(&ListQuery { bytes_max, ..oldest_first() });
        assert_eq!(ids(&page.operations), ids(&made[..held]), "{bytes_max} bytes");
        assert_eq!(page.next.is_some(), held < made.len(), "{bytes_max} bytes");
    }
    let pages = read_pages(&rig, &ListQuery { bytes_max: each, ..oldest_first() }, |_| {});
    assert_eq!(pages, ids(&made));
}

pub fn a_page_holds_a_thousand_operations_and_says_when_there_are_no_more(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made = some(&rig, PAGE_SIZE_MAX + 1);
    let first = rig.list(&ListQuery { limit: PAGE_SIZE_MAX, ..oldest_first() });
    assert_eq!(ids(&first.operations), made[..PAGE_SIZE_MAX]);
    assert_eq!(first.next, first.operations.last().map(|operation| Cursor::of(operation)));
    let last = rig.list(&ListQuery { limit: PAGE_SIZE_MAX, after: first.next, ..oldest_first() });
    assert_eq!((ids(&last.operations), last.next), (made[PAGE_SIZE_MAX..].to_vec(), None));
}

/// Reads to the end, and lets `between` happen behind each page.
pub(super) fn read_pages(rig: &Rig<'_>, query: &ListQuery, mut between: impl FnMut(&Rig<'_>)) -> Vec<OperationId> {
    let mut query = query.clone();
    let mut read = Vec::new();
    // Newcomers are ahead of a page in one order only; their number is bounded all the same.
    for _ in 0..2_000 {
        let page = rig.list(&query);
        assert!(page.operations.len() <= query.limit);
        read.extend(ids(&page.operations));
        if page.next.is_none() {
            return read;
        }
        query.after = page.next;
        between(rig);
    }
    panic!("the pages never end");
}

/// As many operations as wanted, oldest first: several of each instant, of three kinds.
pub(super) fn some(rig: &Rig<'_>, count: usize) -> Vec<OperationId> {
    let kinds: [Kind; 3] = ["kind 0", "kind 1", "kind 2"].map(kind);
    let made = (0..count).map(|n| {
        if n % 4 == 0 {
            rig.advance(Duration::from_micros(700));
        }
        let operation = rig.create(kinds[n % 3].as_str());
        (operation.created_at, operation.id.clone())
    });
    let mut made: Vec<_> = made.collect();
    made.sort();
    made.into_iter().map(|(_, id)| id).collect()
}

fn heavy(rig: &Rig<'_>) -> Arc<Operation> {
    rig.advance(SECOND);
    let started = rig.start("work");
    let metadata = Some(Any::new("type.googleapis.com/x.Heavy", vec![7; 10_000]));
    let report = Heartbeat { lease: lease(&started), duration: None, metadata, progress: None };
    rig.accept(&started.id, Command::Heartbeat(report))
}

/// In the order of [`State::ALL`].
pub(super) fn one_of_each_state(rig: &Rig<'_>) -> [Arc<Operation>; 7] {
    let end = |result: Completion| {
        let started = rig.start("work");
        rig.accept(&started.id, complete_with(&started, result))
    };
    let cancelling = rig.start("work");
    let failing = rig.start("work");
    [
        rig.create("work"),
        rig.start("work"),
        rig.accept(&cancelling.id, cancel()),
        rig.accept(&failing.id, report_failure(&failing, status(9, "no"))),
        end(Completion::Response(Any::empty())),
        end(Completion::Error(status(9, "no"))),
        end(Completion::Cancelled("".into())),
    ]
}

pub(super) fn oldest_first() -> ListQuery {
    ListQuery { order: Order::OldestFirst, ..query() }
}

pub(super) fn filtered(text: &str) -> ListQuery {
    ListQuery { filter: filter(text), ..query() }
}

pub(super) fn reversed(ids: &[OperationId]) -> Vec<OperationId> {
    ids.iter().rev().cloned().collect()
}

fn ids_of(id: &OperationId) -> Vec<OperationId> {
    vec![id.clone()]
}

pub(super) fn set(ids: impl IntoIterator<Item = OperationId>) -> HashSet<OperationId> {
    ids.into_iter().collect()
}
