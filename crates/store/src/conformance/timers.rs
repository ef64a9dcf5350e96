//! Timers: what is due is found, the earliest first, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{Command, Completion, Heartbeat, Operation, OperationId, Retention, State};

use super::Subject;
use super::make::{
    HOUR, LEASE, SECOND, TICK, cancel, complete, complete_with, heartbeat, lease, release, report_failure, retry,
    status,
};
use super::rig::{Rig, ids, query};
use crate::Lookup;
use crate::request::{Accepted, Request};

pub fn every_timer_is_due_at_its_instant_and_not_before(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let timeouts: [(&str, Arc<Operation>, Duration); 6] = [
        ("queue timeout", rig.create_as("q", |spec| spec.queue_timeout = Some(2 * SECOND)), 2 * SECOND),
        ("run timeout", rig.start_as("w", |spec| spec.run_timeout = Some(3 * SECOND)), 3 * SECOND),
        ("cancel grace", cancelling(&rig, 4 * SECOND), 4 * SECOND),
        ("retention", rig.finished("w", |spec| spec.retention = Retention::same(Some(5 * SECOND))), 5 * SECOND),
        ("lapse", rig.start("w"), LEASE),
        ("queue timeout of a retry", retried(&rig, 30 * SECOND, 10 * SECOND), 40 * SECOND),
    ];
    let start = rig.now();
    for (timer, operation, length) in timeouts {
        rig.advance(start.after(length - TICK).since(rig.now()));
        assert_eq!(rig.settle(10), 0, "{timer}: not yet");
        assert_eq!(rig.read(&operation.id), operation, "{timer}: not yet");
        rig.advance(TICK);
        assert_eq!(rig.settle(10), 1, "{timer}");
        assert_ne!(rig.lookup(&operation.id), Lookup::Found(operation), "{timer}");
    }
}

pub fn the_earliest_due_are_settled_first(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let after = |seconds: u32| rig.create_as("work", |spec| spec.queue_timeout = Some(seconds * SECOND));
    let [third, first, fourth, second] = [3, 1, 4, 2].map(after);
    rig.advance(4 * SECOND);
    let done = |rig: &Rig<'_>| ids(rig.everything().iter().filter(|operation| operation.done()));
    assert_eq!(rig.settle(2), 2);
    assert_eq!(sorted(done(&rig)), sorted(ids([&first, &second])));
    assert_eq!((rig.settle(0), rig.settle(1)), (0, 1));
    assert_eq!(sorted(done(&rig)), sorted(ids([&first, &second, &third])));
    assert_eq!((rig.settle(10), rig.settle(10)), (1, 0));
    assert!(rig.read(&fourth.id).done());
}

pub fn of_one_instant_the_lesser_id_is_settled_first(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made = (0..10).map(|_| rig.create_as("work", |spec| spec.queue_timeout = Some(SECOND)));
    let made = sorted(ids(&made.collect::<Vec<_>>()));
    rig.advance(SECOND);
    for id in &made {
        assert_eq!(rig.settle(1), 1);
        assert!(rig.read(id).done());
    }
}

pub fn retention_takes_its_turn_among_the_other_timers(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let early = rig.create_as("work", |spec| spec.queue_timeout = Some(SECOND));
    let expiring = rig.finished("work", |spec| spec.retention = Retention::same(Some(2 * SECOND)));
    let late = rig.create_as("work", |spec| spec.queue_timeout = Some(3 * SECOND));
    rig.advance(3 * SECOND);
    assert_eq!(rig.settle(2), 2);
    assert!(rig.read(&early.id).done());
    assert!(matches!(rig.lookup(&expiring.id), Lookup::Gone(..)));
    assert!(!rig.read(&late.id).done());
}

pub fn two_settles_of_one_batch_settle_as_many_as_each_may(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    for _ in 0..5 {
        rig.create_as("work", |spec| spec.queue_timeout = Some(SECOND));
    }
    rig.advance(SECOND);
    let replies = rig.batch(vec![Request::Settle(2), Request::Settle(1), Request::Settle(usize::MAX)]).replies;
    assert_eq!(replies, [2, 1, 2].map(|count| Ok(Accepted::Settled(count))));
}

pub fn a_heartbeat_moves_the_timer(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let started = rig.start("work");
    rig.advance(LEASE - SECOND);
    let beaten = rig.accept(&started.id, heartbeat(&started));
    rig.advance(LEASE - TICK);
    assert_eq!(rig.settle(10), 0);
    assert_eq!(rig.read(&started.id), beaten);
    rig.advance(TICK);
    assert_eq!(rig.settle(10), 1);
}

pub fn f07_a_shorter_heartbeat_does_not_move_the_timer(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let started = rig.start("work");
    let short = Heartbeat { lease: lease(&started), duration: Some(SECOND), metadata: None, progress: None };
    rig.accept(&started.id, Command::Heartbeat(short));
    rig.advance(LEASE - TICK);
    assert_eq!(rig.settle(10), 0);
}

pub fn a_timer_that_was_stopped_is_never_due(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let [ended, released] = [(); 2].map(|()| rig.start_as("work", |spec| spec.max_attempts = 2));
    rig.accept(&ended.id, complete(&ended));
    rig.accept(&released.id, release(&released));
    let queued = rig.create_as("work", |spec| spec.queue_timeout = Some(SECOND));
    rig.accept(&queued.id, cancel());
    let failing = cancelling(&rig, SECOND);
    rig.accept(&failing.id, report_failure(&failing, status(9, "no")));
    rig.accept(&failing.id, complete_with(&failing, Completion::Cancelled("".into())));
    rig.advance(HOUR);
    assert_eq!(rig.settle(10), 0);
}

pub fn reads_never_settle(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let queued = rig.create_as("work", |spec| spec.queue_timeout = Some(SECOND));
    rig.advance(HOUR);
    assert_eq!(rig.read(&queued.id), queued);
    assert_eq!(rig.list(&query()).operations, [queued]);
}

pub fn f05_a_worker_that_lost_its_lease_changes_nothing(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    rig.create("work");
    let first = rig.claim_one("work");
    rig.advance(LEASE);
    rig.settle(10);
    let second = rig.claim_one("work");
    for command in [heartbeat(&first), complete(&first), release(&first), retry(&first, SECOND)] {
        let reply = rig.command(&first.id, command.clone());
        let lost = crate::Refusal::Rejected(operond_core::Rejection::LeaseLost);
        assert_eq!(reply, Err(lost), "{command:?}");
    }
    assert_eq!(rig.read(&first.id), second);
}

pub fn f04_a_lapsed_lease_still_completes_what_nobody_claimed(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let started = rig.start_as("work", |spec| spec.max_attempts = 2);
    rig.advance(LEASE);
    assert_eq!(rig.settle(10), 1);
    assert_eq!(rig.read(&started.id).state(), State::Queued);
    assert_eq!(rig.accept(&started.id, complete(&started)).state(), State::Succeeded);
    assert_eq!(rig.claim(&["work"], 1), []);
}

fn cancelling(rig: &Rig<'_>, grace: Duration) -> Arc<Operation> {
    let started = rig.start_as("work", |spec| spec.cancel_grace = grace);
    rig.accept(&started.id, cancel())
}

fn retried(rig: &Rig<'_>, backoff: Duration, queue_timeout: Duration) -> Arc<Operation> {
    let with = |spec: &mut operond_core::Spec| (spec.max_attempts, spec.queue_timeout) = (2, Some(queue_timeout));
    let started = rig.start_as("work", with);
    rig.accept(&started.id, retry(&started, backoff))
}

fn sorted(mut ids: Vec<OperationId>) -> Vec<OperationId> {
    ids.sort();
    ids
}
