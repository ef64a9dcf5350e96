//! What holds of every stored operation, and of every step from one version to the next (CONTRACT §3).

use operond_core::limits::EVENTS_MAX;
use operond_core::{EventKind, Operation, Outcome, Phase, State, Timestamp};

use crate::request::Changed;

/// Panics when `operation`, as a batch at `now` wrote it, cannot be.
pub(crate) fn check_version(operation: &Operation, now: Timestamp) {
    check_lease(operation, now);
    check_result(operation);
    let facts = [
        ("modified_at is not before created_at", operation.created_at <= operation.modified_at),
        ("a revision counts from 1", operation.revision >= 1),
        ("attempts stay within their limit", operation.attempt <= operation.spec.max_attempts),
        ("it started with its first lease", operation.started_at.is_some() == operation.lease.is_some()),
        ("only so many events are kept", operation.events.len() <= EVENTS_MAX),
        ("the first event stays", operation.events.first().is_some_and(|event| event.what == EventKind::Created)),
        ("a failing operation has no cancel grace", operation.failure.is_none() || operation.grace_deadline.is_none()),
    ];
    for (fact, holds) in facts {
        assert!(holds, "{fact}: {operation:#?}");
    }
    if let Some((at, timer)) = operation.next_timer() {
        assert!(at > now, "no command leaves a due timer, {timer:?} was due at {at}, now is {now}: {operation:#?}");
    }
}

/// Panics when `changed` cannot follow `before`.
pub(crate) fn check_step(before: &Operation, changed: &Changed) {
    let after = &*changed.operation;
    let token = |operation: &Operation| operation.lease.as_ref().map(|lease| lease.token);
    let facts = [
        ("done absorbs", !before.done()),
        ("the revision grows", before.revision < after.revision),
        ("modified_at moves when callers see a change", changed.bare == (before.modified_at == after.modified_at)),
        ("modified_at never goes back", before.modified_at <= after.modified_at),
        ("created_at never moves", before.created_at == after.created_at),
        ("a spec never changes", before.spec == after.spec),
        ("the token never goes back", token(before) <= token(after)),
        ("a shown failure is never withdrawn", before.failure.is_none() || before.failure == after.failure),
        ("the first cancel request stays", before.cancel.is_none() || before.cancel == after.cancel),
        ("the start stays", before.started_at.is_none() || before.started_at == after.started_at),
        ("the run deadline stays", before.run_deadline.is_none() || before.run_deadline == after.run_deadline),
        ("a bare change shows nothing", !changed.bare || shown(before) == shown(after)),
    ];
    for (fact, holds) in facts {
        assert!(holds, "{fact}: {before:#?} became {changed:#?}");
    }
}

fn check_lease(operation: &Operation, now: Timestamp) {
    let Phase::Leased { expires_at } = operation.phase else { return };
    let lease = operation.lease.as_ref();
    assert!(
        lease.is_some_and(|lease| !lease.given_up && expires_at <= now.after(lease.duration)),
        "a leased operation has a lease that ends within its length: {operation:#?}"
    );
    assert!(operation.attempt >= 1, "a lease counts as an attempt: {operation:#?}");
}

fn check_result(operation: &Operation) {
    let Some(outcome) = operation.outcome() else { return };
    if let Some(failure) = &operation.failure {
        assert_eq!(*outcome, Outcome::Error(failure.clone()), "a shown failure is the result");
    }
    if let Outcome::Error(error) = outcome {
        assert_ne!(error.code, 0, "an error has a code: {operation:#?}");
    }
    assert_eq!(operation.grace_deadline, None, "what is done waits for nothing: {operation:#?}");
}

/// What callers see of it.
fn shown(operation: &Operation) -> (State, u32, usize, Option<&operond_core::Any>) {
    (operation.state(), operation.attempt, operation.events.len(), operation.metadata.as_ref())
}
