//! What a store keeps when it is closed and opened again.

use std::sync::Arc;

use operond_core::limits::{CLOCK_STEP, RETENTION_HOLD, TOMBSTONE_LIFE};
use operond_core::{EventKind, Gone, Operation, Retention, Spec, State};

use super::Subject;
use super::documents::new;
use super::fields::everything_set;
use super::make::{
    self, DAY, HOUR, LEASE, SECOND, TICK, cancel, complete, fingerprint, heartbeat, kind, retry, tenant,
};
use super::rig::{Rig, created, ids};
use crate::request::Refusal;
use crate::{Collection, DocumentWrite, Lookup};

pub fn a_reopened_store_has_every_operation_as_it_was(subject: &mut dyn Subject) {
    let mut rig = Rig::new(subject);
    let before = everything_set(&rig);
    rig.reopen();
    for operation in before {
        assert_eq!(rig.read(&operation.id), operation, "{}", operation.state().as_str());
    }
}

pub fn a_reopened_store_has_its_tombstones(subject: &mut dyn Subject) {
    let mut rig = Rig::new(subject);
    let deleted = rig.finished("work", |spec| spec.tenant = tenant("t"));
    rig.delete(&deleted.id);
    rig.reopen();
    assert_eq!(rig.lookup(&deleted.id), Lookup::Gone(tenant("t"), Gone::Deleted));
    rig.advance(TOMBSTONE_LIFE);
    assert_eq!(rig.purge(10), 1);
}

pub fn a_reopened_store_has_its_keys(subject: &mut dyn Subject) {
    let mut rig = Rig::new(subject);
    let spec = || Spec::new(kind("work"));
    let first = created(rig.create_keyed(spec(), &make::key("k"), fingerprint(1)));
    rig.reopen();
    assert_eq!(created(rig.create_keyed(spec(), &make::key("k"), fingerprint(1))), first);
    assert_eq!(rig.create_keyed(spec(), &make::key("k"), fingerprint(2)), Err(Refusal::KeyReused("kind")));
}

pub fn a_reopened_store_goes_on_with_its_queue(subject: &mut dyn Subject) {
    let mut rig = Rig::new(subject);
    let made: Vec<Arc<Operation>> = ["a", "b", "a", "b"]
        .map(|name| {
            rig.advance(SECOND);
            rig.create_as("work", |spec| spec.tenant = tenant(name))
        })
        .into();
    let first = rig.claim_one("work");
    rig.accept(&first.id, retry(&first, HOUR));
    rig.reopen();
    assert_eq!(ids(&rig.claim_after("a", 10)), ids([&made[1], &made[2], &made[3]]));
    rig.advance(HOUR);
    assert_eq!(ids(&rig.claim(&["work"], 10)), ids([&first]));
}

pub fn a_reopened_store_goes_on_with_its_timers(subject: &mut dyn Subject) {
    let mut rig = Rig::new(subject);
    let started = rig.start_as("work", |spec| spec.max_attempts = 1);
    let expiring = rig.finished("work", |spec| spec.retention = Retention::same(Some(LEASE)));
    rig.advance(LEASE - TICK);
    rig.reopen();
    assert_eq!(rig.settle(10), 0);
    rig.advance(TICK);
    assert_eq!(rig.settle(10), 2);
    assert_eq!(rig.read(&started.id).state(), State::Failed);
    assert!(matches!(rig.lookup(&expiring.id), Lookup::Gone(..)));
}

pub fn a_worker_goes_on_with_its_lease_after_a_restart(subject: &mut dyn Subject) {
    let mut rig = Rig::new(subject);
    let started = rig.start("work");
    rig.reopen();
    rig.accept(&started.id, heartbeat(&started));
    assert_eq!(rig.accept(&started.id, complete(&started)).state(), State::Succeeded);
}

pub fn a_lease_that_ended_while_nobody_served_is_started_anew(subject: &mut dyn Subject) {
    let mut rig = Rig::new(subject);
    let started = rig.start("work");
    rig.advance(LEASE + 6 * SECOND);
    rig.reopen();
    assert_eq!(rig.settle(10), 1);
    let anew = rig.read(&started.id);
    assert_eq!(anew.events.last().map(|event| event.what), Some(EventKind::Restarted));
    assert_eq!(anew.state(), State::Running);
}

pub fn a_reopened_store_has_its_seal_key(subject: &mut dyn Subject) {
    let mut rig = Rig::new(subject);
    let seal_key = rig.store.properties().seal_key;
    rig.reopen();
    assert_eq!(rig.store.properties().seal_key, seal_key, "page tokens outlive a restart");
}

pub fn a_reopened_store_has_its_documents(subject: &mut dyn Subject) {
    let mut rig = Rig::new(subject);
    let first = rig.put(&[new("a", b"one"), new("b", b"")]).expect("both are new");
    let again = DocumentWrite { replaces: 1, ..new("a", b"two") };
    let second = rig.put(&[again]).expect("its version is 1");
    rig.reopen();
    assert_eq!(rig.documents(Collection::Types), [second[0].clone(), first[1].clone()]);
}

pub fn f08_the_clock_does_not_go_back_behind_a_document(subject: &mut dyn Subject) {
    let mut rig = Rig::new(subject);
    rig.advance(DAY);
    let stored = rig.put(&[new("a", b"")]).expect("it is new").remove(0);
    rig.clock.set_wall(stored.modified_at.before(HOUR));
    rig.reopen();
    assert!(rig.create("work").created_at >= stored.modified_at, "{}", stored.modified_at);
}

pub fn f08_the_clock_does_not_go_back_when_the_calendar_did(subject: &mut dyn Subject) {
    let mut rig = Rig::new(subject);
    rig.advance(DAY);
    let last = rig.create("work");
    rig.clock.set_wall(last.created_at.before(DAY));
    rig.reopen();
    let next = rig.create("work");
    assert!(next.created_at >= last.created_at, "{} before {}", next.created_at, last.created_at);
    rig.advance(SECOND);
    let later = rig.create("work");
    assert_eq!(later.created_at.since(next.created_at), SECOND, "it goes on from there");
}

pub fn f08_the_clock_does_not_go_back_behind_a_bare_heartbeat(subject: &mut dyn Subject) {
    let mut rig = Rig::new(subject);
    let started = rig.start("work");
    rig.advance(SECOND);
    rig.accept(&started.id, heartbeat(&started));
    let beaten_at = rig.now();
    rig.clock.set_wall(beaten_at.before(HOUR));
    rig.reopen();
    assert!(rig.create("work").created_at >= beaten_at, "the heartbeat was stored at {beaten_at}");
}

pub fn f08_retention_is_held_for_an_hour_after_a_great_step_forwards(subject: &mut dyn Subject) {
    let mut rig = Rig::new(subject);
    let kept = rig.finished("work", |spec| spec.retention = Retention::same(Some(SECOND)));
    let queued = rig.create_as("work", |spec| spec.queue_timeout = Some(SECOND));
    rig.advance(CLOCK_STEP + HOUR);
    rig.reopen();
    assert_eq!(rig.settle(10), 1, "the queue timeout is not held");
    assert!(rig.read(&queued.id).done());
    assert_eq!(rig.accept(&kept.id, cancel()), kept, "nor does a command remove it");
    rig.advance(RETENTION_HOLD - TICK);
    assert_eq!(rig.settle(10), 0);
    rig.advance(TICK);
    assert_eq!(rig.settle(10), 1);
    assert!(matches!(rig.lookup(&kept.id), Lookup::Gone(..)));
}

pub fn retention_is_not_held_after_a_short_absence(subject: &mut dyn Subject) {
    let mut rig = Rig::new(subject);
    let done = rig.finished("work", |spec| spec.retention = Retention::same(Some(SECOND)));
    rig.advance(CLOCK_STEP / 2);
    rig.reopen();
    assert_eq!(rig.settle(10), 1);
    assert!(matches!(rig.lookup(&done.id), Lookup::Gone(..)));
}
