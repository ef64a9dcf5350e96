//! Who gets what: the order of claims, and that nothing is given twice.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use operond_core::{Command, Operation, OperationId, State, Token};

use super::Subject;
use super::block_on::block_on;
use super::make::{HOUR, LEASE, SECOND, TICK, batch, cancel, command, complete, release, retry, tenant};
use super::rig::{Rig, claimed, ids};
use crate::request::Request;

pub fn the_longest_claimable_is_claimed_first(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made: Vec<_> = (0..5).map(|_| create_later(&rig, "work", "default")).collect();
    let first = rig.claim(&["work"], 2);
    assert_eq!(ids(&first), ids(&made[..2]));
    assert!(first.iter().all(|operation| operation.state() == State::Running && rig.read(&operation.id) == *operation));
    assert_eq!(ids(&rig.claim(&["work"], 10)), ids(&made[2..]));
    assert_eq!(rig.claim(&["work"], 10), []);
}

pub fn of_one_instant_the_lesser_id_is_claimed_first(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let mut made = ids(&(0..20).map(|_| rig.create("work")).collect::<Vec<_>>());
    made.sort();
    assert_eq!(ids(&rig.claim(&["work"], 20)), made);
}

pub fn only_the_kinds_asked_for_are_claimed(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let [a, _, c] = ["a", "b", "c"].map(|kind| create_later(&rig, kind, "default"));
    assert_eq!(rig.claim(&["A", "a ", "%", "d"], 10), []);
    let again = create_later(&rig, "a", "default");
    assert_eq!(ids(&rig.claim(&["c", "a", "c"], 10)), ids([&a, &c, &again]), "the kinds' places are compared");
}

pub fn a_lapse_keeps_the_place(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let (first, second) = (create_later(&rig, "work", "default"), create_later(&rig, "work", "default"));
    rig.claim_one("work");
    rig.advance(LEASE);
    assert_eq!(rig.settle(10), 1);
    let claimed = rig.claim(&["work"], 2);
    assert_eq!(ids(&claimed), ids([&first, &second]));
    assert_eq!((claimed[0].attempt, claimed[0].lease.as_ref().map(|lease| lease.token)), (2, Some(Token(2))));
}

pub fn a_release_keeps_the_place(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let (first, second) = (create_later(&rig, "work", "default"), create_later(&rig, "work", "default"));
    let leased = rig.claim_one("work");
    rig.advance(SECOND);
    rig.accept(&leased.id, release(&leased));
    assert_eq!(ids(&rig.claim(&["work"], 2)), ids([&first, &second]));
}

pub fn a_retry_goes_behind_its_backoff(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let (first, second) = (create_later(&rig, "work", "default"), create_later(&rig, "work", "default"));
    let leased = rig.claim_one("work");
    rig.accept(&leased.id, retry(&leased, HOUR));
    rig.advance(HOUR - TICK);
    assert_eq!(ids(&rig.claim(&["work"], 2)), ids([&second]), "not before its backoff is over");
    let third = rig.create("work");
    rig.advance(TICK);
    let fourth = rig.create("work");
    let mut behind = ids([&first, &fourth]);
    behind.sort();
    assert_eq!(ids(&rig.claim(&["work"], 10)), [ids([&third]), behind].concat());
}

pub fn tenants_are_served_in_turn(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let a: Vec<_> = (0..3).map(|_| create_later(&rig, "work", "a")).collect();
    let c = create_later(&rig, "work", "c");
    let b: Vec<_> = (0..2).map(|_| create_later(&rig, "work", "b")).collect();
    let turns = [&a[0], &b[0], &c, &a[1], &b[1], &a[2]];
    assert_eq!(ids(&rig.claim(&["work"], 10)), ids(turns));
}

pub fn the_turn_is_with_the_tenant_behind_the_last_one(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    for (last, expected) in [("a", "b"), ("b", "c"), ("bb", "c"), ("c", "a"), ("z", "a"), ("A", "a"), ("\u{436}", "a")]
    {
        let kind = format!("after {last}");
        for name in ["c", "a", "b"] {
            create_later(&rig, &kind, name);
        }
        let served = claimed(rig.ask(rig.claiming(&[&kind], Some(tenant(last)), 1)));
        assert_eq!(served[0].spec.tenant, tenant(expected), "{kind}");
    }
}

pub fn the_last_tenant_is_served_again_when_it_is_the_only_one(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made: Vec<_> = (0..3).map(|_| create_later(&rig, "work", "b")).collect();
    assert_eq!(ids(&rig.claim_after("b", 2)), ids(&made[..2]));
    assert_eq!(ids(&rig.claim_after("b", 2)), ids(&made[2..]));
}

pub fn turns_go_round_over_several_kinds(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let (b2, a1) = (create_later(&rig, "y", "b"), create_later(&rig, "x", "a"));
    let (a2, b1) = (create_later(&rig, "y", "a"), create_later(&rig, "x", "b"));
    let order = claimed(rig.ask(rig.claiming(&["x", "y"], Some(tenant("a")), 10)));
    assert_eq!(ids(&order), ids([&b2, &a1, &b1, &a2]));
}

pub fn of_many_tenants_each_is_served_once_before_any_is_served_twice(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let name = |n: usize| format!("tenant {n:03}");
    for n in 0..300 {
        create_later(&rig, "work", &name(n * 7 % 150));
    }
    let mut served = Vec::new();
    let mut last = None;
    for _ in 0..30 {
        let claims = claimed(rig.ask(rig.claiming(&["work"], last, 10)));
        last = claims.last().map(|operation| operation.spec.tenant.clone());
        served.extend(claims);
    }
    let names: Vec<String> = served.iter().map(|operation| operation.spec.tenant.to_string()).collect();
    assert_eq!(names, (0..300).map(|n| name(n % 150)).collect::<Vec<_>>());
    assert_eq!(distinct(&served), 300);
}

pub fn turns_go_round_over_kinds_of_different_tenants(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made = [("x", "d"), ("x", "b"), ("y", "c"), ("y", "a")].map(|(kind, name)| create_later(&rig, kind, name));
    let [d, b, c, a] = &made;
    assert_eq!(ids(&rig.claim(&["x", "y"], 3)), ids([a, b, c]));
    assert_eq!(ids(&rig.claim(&["x", "y"], 3)), ids([d]));
}

pub fn a_kind_named_twice_is_asked_for_once(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made = [(); 2].map(|()| create_later(&rig, "work", "default"));
    assert_eq!(ids(&rig.claim(&["work", "work"], 2)), ids(&made));
}

pub fn what_waits_for_its_backoff_takes_no_turn(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let waiting = [(); 2].map(|()| create_later(&rig, "work", "a"));
    for leased in rig.claim(&["work"], 2) {
        rig.accept(&leased.id, retry(&leased, HOUR));
    }
    let ready = ["b", "a", "b"].map(|name| create_later(&rig, "work", name));
    let [b0, a1, b2] = &ready;
    assert_eq!(ids(&rig.claim(&["work"], 3)), ids([a1, b0, b2]));
    let late = create_later(&rig, "work", "c");
    assert_eq!(ids(&rig.claim(&["work"], 1)), ids([&late]), "the first tenant has nothing to be claimed yet");
    rig.advance(HOUR);
    assert_eq!(ids(&rig.claim(&["work"], 10)).len(), waiting.len());
}

pub fn claims_of_one_batch_share_what_there_is(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made: Vec<_> = (0..5).map(|_| create_later(&rig, "work", "default")).collect();
    let batch = (0..3).map(|_| rig.claiming(&["work"], None, 2)).collect();
    let replies: Vec<_> = rig.batch(batch).replies.into_iter().map(claimed).collect();
    assert_eq!(replies.iter().map(ids).collect::<Vec<_>>(), [ids(&made[..2]), ids(&made[2..4]), ids(&made[4..])]);
}

pub fn claims_of_overlapping_kinds_never_share_an_operation(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    for kind in ["a", "b", "a", "b", "c", "a"] {
        create_later(&rig, kind, "default");
    }
    let kinds: [&[&str]; 4] = [&["a", "b"], &["b", "c"], &["a"], &["b", "a"]];
    let mut given = Vec::new();
    while given.len() < 6 {
        let replies = rig.batch(kinds.iter().map(|kinds| rig.claiming(kinds, None, 1)).collect()).replies;
        let before = given.len();
        for (kinds, operations) in kinds.iter().zip(replies.into_iter().map(claimed)) {
            assert!(operations.iter().all(|operation| kinds.contains(&operation.spec.kind.as_str())));
            given.extend(operations);
        }
        assert!(given.len() > before, "a batch of claims gives something while there is something");
    }
    assert_eq!(distinct(&given), 6);
}

pub fn f02_what_was_cancelled_in_the_queue_is_never_claimed(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let (cancelled, left) = (create_later(&rig, "work", "default"), create_later(&rig, "work", "default"));
    let stopped = rig.accept(&cancelled.id, cancel());
    assert_eq!(stopped.state(), State::Cancelled);
    assert_eq!(ids(&rig.claim(&["work"], 10)), ids([&left]));
}

pub fn what_a_batch_ends_is_not_claimed_by_it(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let ended = create_later(&rig, "work", "default");
    let replies = rig
        .batch(vec![
            command(&ended.id, cancel()),
            command(&ended.id, Command::Delete),
            rig.claiming(&["work"], None, 1),
        ])
        .replies;
    assert_eq!(claimed(replies[2].clone()), []);
}

pub fn a_claim_ends_what_waited_too_long_and_takes_the_next(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let late = rig.create_as("work", |spec| spec.queue_timeout = Some(SECOND));
    let next = create_later(&rig, "work", "default");
    rig.advance(SECOND);
    assert_eq!(ids(&rig.claim(&["work"], 2)), ids([&next]));
    assert_eq!(rig.read(&late.id).state(), State::Failed, "settled by the claim");
}

pub fn a_finished_operation_is_never_claimed(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    create_later(&rig, "work", "default");
    let leased = rig.claim_one("work");
    rig.accept(&leased.id, complete(&leased));
    rig.advance(HOUR);
    rig.settle(10);
    assert_eq!(rig.claim(&["work"], 10), []);
}

pub fn an_operation_whose_attempts_are_used_up_is_never_claimed(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    rig.create_as("work", |spec| spec.max_attempts = 2);
    for _ in 0..2 {
        rig.claim_one("work");
        rig.advance(LEASE);
        rig.settle(10);
    }
    assert_eq!(rig.claim(&["work"], 10), []);
    assert_eq!(rig.everything()[0].state(), State::Failed);
}

pub fn f06_sixty_four_claimers_never_get_one_operation_twice(subject: &mut dyn Subject) {
    const ROWS: usize = 640;
    const CLAIMERS: usize = 64;
    let rig = Rig::new(subject);
    for _ in 0..ROWS {
        rig.create("work");
    }
    let claimers: Vec<Vec<Request>> = (0..CLAIMERS)
        .map(|n| (0..ROWS / CLAIMERS).map(|_| rig.claiming(&["work"], None, 1 + n % 3)).collect())
        .collect();
    let store = &rig.store;
    let given: Vec<Arc<Operation>> = thread::scope(|scope| {
        let one = move |request: Request| {
            let applied = block_on(store.update(batch(vec![request]))).expect("a store takes batches");
            applied.replies.into_iter().flat_map(claimed)
        };
        let spawn =
            |requests: Vec<Request>| scope.spawn(move || requests.into_iter().flat_map(one).collect::<Vec<_>>());
        let threads: Vec<_> = claimers.into_iter().map(spawn).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no claim fails")).collect()
    });
    assert_eq!((given.len(), distinct(&given)), (ROWS, ROWS), "claims == rows");
    assert!(given.iter().all(|operation| operation.attempt == 1 && rig.read(&operation.id) == *operation));
}

/// An operation that has been claimable for less long than those before it.
fn create_later(rig: &Rig<'_>, kind: &str, name: &str) -> Arc<Operation> {
    rig.advance(Duration::from_millis(1));
    rig.create_as(kind, |spec| spec.tenant = tenant(name))
}

fn distinct(operations: &[Arc<Operation>]) -> usize {
    operations.iter().map(|operation| &operation.id).collect::<HashSet<&OperationId>>().len()
}
