//! What is not there, and what is there no more.

use std::time::Duration;

use operond_core::limits::TOMBSTONE_LIFE;
use operond_core::{Command, Gone, OperationId, Rejection, Retention, Spec, State};

use super::Subject;
use super::make::{DAY, HOUR, SECOND, TICK, cancel, complete, fingerprint, heartbeat, id, key, kind, tenant};
use super::rig::{Rig, created};
use crate::Lookup;
use crate::request::{Accepted, Missing, Refusal, Reply};

pub fn an_id_never_heard_of_is_never(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let created = rig.create("work");
    let own = created.id.as_str();
    let fifty = "\u{1F680}".repeat(50);
    for other in [&own.to_uppercase(), &own[..own.len() - 1], "%", "*", "' OR 1=1 --", &format!("{own} "), &fifty] {
        assert_eq!(rig.lookup(&id(other)), Lookup::Never, "{other}");
        assert_eq!(rig.command(&id(other), cancel()), not_found(Missing::Never), "{other}");
    }
    assert_eq!(rig.read(&created.id), created);
}

pub fn a_deleted_operation_is_remembered_with_its_tenant(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let done = rig.finished("work", |spec| spec.tenant = tenant("ж's"));
    rig.delete(&done.id);
    assert_eq!(rig.lookup(&done.id), Lookup::Gone(tenant("ж's"), Gone::Deleted));
}

pub fn f18_nothing_brings_a_deleted_operation_back(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let started = rig.start("work");
    rig.accept(&started.id, complete(&started));
    rig.delete(&started.id);
    for command in [complete(&started), heartbeat(&started), cancel(), Command::Settle, Command::Delete] {
        assert_eq!(rig.command(&started.id, command.clone()), not_found(DELETED), "{command:?}");
    }
    assert_eq!(rig.claim(&["work"], 1), []);
    assert_eq!(rig.lookup(&started.id), Lookup::Gone(started.spec.tenant.clone(), Gone::Deleted));
    assert_eq!(rig.everything(), []);
}

pub fn an_unfinished_operation_is_not_deleted(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let queued = rig.create("work");
    let refused = Err(Refusal::Rejected(Rejection::NotDone(State::Queued)));
    assert_eq!(rig.command(&queued.id, Command::Delete), refused);
    assert_eq!(rig.read(&queued.id), queued);
}

pub fn a_delete_tells_how_an_operation_ended_that_ends_only_now(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let queued = rig.create_as("work", |spec| spec.queue_timeout = Some(SECOND));
    rig.advance(SECOND);
    let applied = rig.batch(vec![super::make::command(&queued.id, Command::Delete)]);
    assert_eq!(applied.replies, [Ok(Accepted::Deleted)]);
    assert_eq!(applied.changed[0].operation.state(), State::Failed, "the queue timeout had passed");
}

pub fn retention_removes_at_its_instant_and_not_before(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let done = rig.finished("work", |spec| spec.retention = Retention::same(Some(HOUR)));
    rig.advance(HOUR - TICK);
    assert_eq!(rig.settle(10), 0);
    assert_eq!(rig.read(&done.id), done);
    rig.advance(TICK);
    assert_eq!(rig.settle(10), 1);
    assert_eq!(rig.lookup(&done.id), Lookup::Gone(done.spec.tenant.clone(), Gone::Expired));
    assert_eq!(rig.command(&done.id, cancel()), not_found(EXPIRED));
}

pub fn a_command_meets_an_expired_operation_before_anyone_settles_it(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let done = rig.finished("work", |spec| spec.retention = Retention::same(Some(HOUR)));
    rig.advance(HOUR);
    assert_eq!(rig.read(&done.id), done, "reads never settle");
    assert_eq!(rig.command(&done.id, cancel()), not_found(EXPIRED));
    assert_eq!(rig.lookup(&done.id), Lookup::Gone(done.spec.tenant.clone(), Gone::Expired), "the refusal is stored");
}

pub fn f19_retention_never_removes_the_unfinished_nor_what_is_kept(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let queued = rig.create_as("work", |spec| spec.retention = Retention::same(Some(SECOND)));
    let kept = rig.finished("work", |spec| spec.retention = Retention::same(None));
    rig.advance(400 * DAY);
    assert_eq!(rig.settle(10), 0);
    assert_eq!((rig.read(&queued.id), rig.read(&kept.id)), (queued, kept));
}

pub fn each_outcome_has_its_own_retention(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let retention = Retention { succeeded: Some(HOUR), failed: None, cancelled: Some(2 * HOUR) };
    let succeeded = rig.finished("work", |spec| spec.retention = retention);
    let queued = rig.create_as("work", |spec| spec.retention = retention);
    rig.accept(&queued.id, cancel());
    rig.advance(HOUR);
    assert_eq!(rig.settle(10), 1);
    assert_ne!(rig.lookup(&queued.id), gone(&succeeded.spec.tenant, Gone::Expired));
    assert_eq!(rig.lookup(&succeeded.id), gone(&succeeded.spec.tenant, Gone::Expired));
    rig.advance(HOUR);
    assert_eq!(rig.settle(10), 1);
    assert_eq!(rig.lookup(&queued.id), gone(&queued.spec.tenant, Gone::Expired));
}

pub fn tombstones_are_forgotten_after_thirty_days(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let done = rig.finished("work", |_| {});
    rig.advance(DAY);
    rig.delete(&done.id);
    rig.advance(TOMBSTONE_LIFE - TICK);
    assert_eq!(rig.purge(10), 0);
    assert_eq!(rig.lookup(&done.id), gone(&done.spec.tenant, Gone::Deleted));
    rig.advance(TICK);
    assert_eq!(rig.purge(10), 1);
    assert_eq!(rig.lookup(&done.id), Lookup::Never);
    assert_eq!(rig.command(&done.id, cancel()), not_found(Missing::Never));
}

pub fn purge_removes_at_most_its_limit(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let deleted = many_deleted(&rig, 5);
    rig.advance(TOMBSTONE_LIFE);
    assert_eq!([rig.purge(2), rig.purge(0), rig.purge(2), rig.purge(2), rig.purge(2)], [2, 0, 2, 1, 0]);
    assert!(deleted.iter().all(|id| rig.lookup(id) == Lookup::Never));
}

pub fn purge_counts_tombstones_and_keys_together(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    for text in ["a", "b", "c"] {
        let keyed = created(rig.create_keyed(Spec::new(kind("work")), &key(text), fingerprint(1)));
        rig.accept(&keyed.id, cancel());
        rig.delete(&keyed.id);
    }
    rig.advance(TOMBSTONE_LIFE);
    assert_eq!([rig.purge(4), rig.purge(4), rig.purge(4)], [4, 2, 0]);
}

fn many_deleted(rig: &Rig<'_>, count: usize) -> Vec<OperationId> {
    let delete = |_| {
        rig.advance(Duration::from_millis(1));
        let done = rig.finished("work", |_| {});
        rig.delete(&done.id);
        done.id.clone()
    };
    (0..count).map(delete).collect()
}

fn gone(tenant: &operond_core::Tenant, how: Gone) -> Lookup {
    Lookup::Gone(tenant.clone(), how)
}

fn not_found(missing: Missing) -> Reply {
    Err(Refusal::NotFound(missing))
}

const DELETED: Missing = Missing::Gone(Gone::Deleted);
const EXPIRED: Missing = Missing::Gone(Gone::Expired);
