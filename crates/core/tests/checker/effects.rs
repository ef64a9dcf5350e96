//! What an accepted command does, row by row of CONTRACT §3's table, and what nothing else may do.

use std::time::Duration;

use operond_core::{Claim, Command, Complete, Heartbeat, Operation, Phase, Timestamp};

use crate::invariants::{Invariant, Step, Violation, ensure};
use crate::oracle::{self, Fate, shown};
use crate::world::{BACKOFF, LEASE};

/// `settled` is what the command met, `after` what it left.
pub(crate) fn check(step: &Step<'_>, settled: &Operation, after: &Operation) -> Result<(), Violation> {
    cancel_kept(step, settled, after)?;
    if step.accepted_anew() {
        match step.command {
            Command::Cancel(_) => cancel_in_order(step, settled, after)?,
            Command::Claim(claim) => effect(step, after, claim_leases(step, claim, settled, after))?,
            Command::Heartbeat(heartbeat) => heartbeat_keeps_lease(step, heartbeat, settled, after)?,
            Command::ReportFailure(report) => {
                let shows = after.failure.as_ref() == Some(settled.failure.as_ref().unwrap_or(&report.error));
                effect(step, after, shows && same_phase(settled, after))?;
            }
            Command::Retry(_) => effect(step, after, retry_requeues(step.now(), settled, after))?,
            Command::Release(_) => effect(step, after, release_requeues(settled, after))?,
            Command::Complete(_) => effect(step, after, shown(after).done)?,
            Command::Settle | Command::Delete => {}
        }
    }
    who_wins(step, settled, after)?;
    deadlines_stand(step, settled, after)?;
    grace_stands(step, settled, after)?;
    place_kept(step, settled, after)
}

fn effect(step: &Step<'_>, after: &Operation, holds: bool) -> Result<(), Violation> {
    ensure(holds, Invariant::CommandTakesEffect, || format!("{:?} left {after:?}", step.command))
}

fn cancel_kept(step: &Step<'_>, settled: &Operation, after: &Operation) -> Result<(), Violation> {
    let before = step.before();
    let kept = before.cancel.is_none() || (before.cancel == settled.cancel && before.cancel == after.cancel);
    let asked_for = after.cancel == settled.cancel || matches!(step.command, Command::Cancel(_));
    ensure(kept && asked_for, Invariant::CancelKept, || format!("{:?} became {:?}", before.cancel, after.cancel))
}

/// CONTRACT §3 "cancel", in its order.
fn cancel_in_order(step: &Step<'_>, settled: &Operation, after: &Operation) -> Result<(), Violation> {
    let Command::Cancel(cancel) = step.command else { return Ok(()) };
    let recorded = after.cancel.as_ref().is_some_and(|request| request.at == step.now() && request.by == cancel.by);
    let leased_once = settled.lease.is_some();
    let queued = matches!(settled.phase, Phase::Queued { .. });
    let rollback_goes_on = recorded && same_phase(settled, after) && after.grace_deadline.is_none();
    let ended = recorded && shown(after).error.is_some_and(|error| error.code == oracle::CANCELLED);
    let waits = recorded
        && same_phase(settled, after)
        && after.grace_deadline == Some(step.now().after(settled.spec.cancel_grace));
    let holds = if shown(settled).done || settled.cancel.is_some() {
        settled == after
    } else if settled.failure.is_some() {
        rollback_goes_on
    } else if queued && !(leased_once && settled.spec.clean_up_on_cancel) {
        shown(after).done && ended
    } else {
        waits
    };
    ensure(holds, Invariant::CancelInOrder, || format!("{settled:?} became {after:?}"))
}

fn claim_leases(step: &Step<'_>, claim: &Claim, settled: &Operation, after: &Operation) -> bool {
    let lease = after.lease.as_ref();
    after.phase == Phase::Leased { expires_at: step.now().after(LEASE) }
        && lease.is_some_and(|lease| lease.worker == claim.worker && lease.secret == claim.secret)
        && lease.is_some_and(|lease| lease.duration == LEASE && !lease.given_up && lease.answered.is_none())
        && after.attempt == settled.attempt + 1
        && after.started_at == Some(settled.started_at.unwrap_or(step.now()))
        && after.failure == settled.failure
}

fn heartbeat_keeps_lease(
    step: &Step<'_>,
    heartbeat: &Heartbeat,
    settled: &Operation,
    after: &Operation,
) -> Result<(), Violation> {
    let previous = match settled.phase {
        Phase::Leased { expires_at } => expires_at,
        _ => step.now(),
    };
    let asked = step.now().after(heartbeat.duration.unwrap_or(oracle::lease_length(settled)));
    let kept = after.phase == Phase::Leased { expires_at: previous.max(asked) };
    let metadata = if heartbeat.metadata.is_some() { &heartbeat.metadata } else { &settled.metadata };
    let holds = kept && after.attempt == settled.attempt && after.metadata == *metadata;
    ensure(holds, Invariant::HeartbeatKeepsLease, || format!("{:?} became {:?}", settled.phase, after.phase))
}

fn retry_requeues(now: Timestamp, settled: &Operation, after: &Operation) -> bool {
    if cancelling(settled) {
        return judged_as_lapse(settled, after);
    }
    if !oracle::queued_again(settled) {
        return shown(after).done;
    }
    let Phase::Queued { backoff, .. } = after.phase else { return false };
    backoff <= BACKOFF
        && after.available_at == now.after(backoff)
        && after.attempt == settled.attempt
        && after.failure == settled.failure
        && void(after)
}

fn release_requeues(settled: &Operation, after: &Operation) -> bool {
    if cancelling(settled) {
        return judged_as_lapse(settled, after);
    }
    let at_once = matches!(after.phase, Phase::Queued { backoff: Duration::ZERO, .. });
    at_once && after.attempt + 1 == settled.attempt && after.failure == settled.failure && void(after)
}

/// While cancel is requested and nothing detected: claimable for clean-up, else done.
fn judged_as_lapse(settled: &Operation, after: &Operation) -> bool {
    let queued = matches!(after.phase, Phase::Queued { backoff: Duration::ZERO, .. });
    after.attempt == settled.attempt && queued == oracle::queued_again(settled) && queued != shown(after).done
}

fn who_wins(step: &Step<'_>, settled: &Operation, after: &Operation) -> Result<(), Violation> {
    let before = step.before();
    let Phase::Done { outcome, finished_at, expires_at } = &after.phase else { return Ok(()) };
    if shown(before).done {
        return Ok(());
    }
    let expected = match (oracle::fate(before, step.world.told()), step.command) {
        (Fate::EndedBy(code), _) => oracle::who_wins(before, None, code),
        (Fate::GoesOn, Command::Complete(Complete { result, .. })) => oracle::who_wins(settled, Some(result), 0),
        (Fate::GoesOn, Command::Retry(retry)) => {
            let (code, status) = oracle::who_wins(settled, None, retry.error.code);
            (code, status.or((code == retry.error.code).then(|| retry.error.clone())))
        }
        (Fate::GoesOn, Command::Release(_) | Command::Cancel(_)) => oracle::who_wins(after, None, -1),
        (Fate::GoesOn, command) => {
            return ensure(false, Invariant::WhoWins, || format!("{command:?} ended it: {outcome:?}"));
        }
    };
    ensure(oracle::is_result(outcome, &expected), Invariant::WhoWins, || {
        format!("{outcome:?}, expected {expected:?}")
    })?;
    let kept = before.spec.retention.succeeded;
    let holds = *finished_at == step.now() && *expires_at == kept.map(|length| step.now().after(length));
    effect(step, after, holds)
}

fn deadlines_stand(step: &Step<'_>, settled: &Operation, after: &Operation) -> Result<(), Violation> {
    let run = after.started_at.and_then(|at| Some(at.after(after.spec.run_timeout?)));
    let once = settled.started_at.is_none() || settled.started_at == after.started_at;
    ensure(once && after.run_deadline == run, Invariant::DeadlinesStand, || {
        format!("run deadline {:?}, expected {run:?}", after.run_deadline)
    })?;
    for (from, to) in [(step.before(), settled), (settled, after)] {
        let Phase::Queued { backoff, deadline } = to.phase else { continue };
        let waited_already = match from.phase {
            Phase::Queued { deadline, .. } if backoff.is_zero() && to.available_at <= from.available_at => {
                Some(deadline)
            }
            _ => None,
        };
        let claimable = step.now().max(to.available_at);
        let anew = to.spec.queue_timeout.map(|timeout| claimable.after(timeout));
        let holds = waited_already.map_or(deadline == anew || same_phase(from, to), |waited| waited == deadline);
        // A clock that went back cuts a backoff short without another wait.
        ensure(holds || step.world.seen.stepped_back, Invariant::DeadlinesStand, || {
            format!("queue deadline of {:?} became {:?}", from.phase, to.phase)
        })?;
    }
    Ok(())
}

fn grace_stands(step: &Step<'_>, settled: &Operation, after: &Operation) -> Result<(), Violation> {
    for op in [settled, after] {
        let runs = cancelling(op) && !shown(op).done;
        ensure(op.grace_deadline.is_some() == runs, Invariant::GraceStands, || {
            format!("grace {:?} in {:?}", op.grace_deadline, op.phase)
        })?;
    }
    for (from, to) in [(step.before(), settled), (settled, after)] {
        let (Some(was), Some(is)) = (from.grace_deadline, to.grace_deadline) else { continue };
        let leased = |op: &Operation| matches!(op.phase, Phase::Leased { .. });
        let claimed = from.lease.as_ref().map(|lease| lease.token) != to.lease.as_ref().map(|lease| lease.token);
        let anew = claimed || (leased(from) && !leased(to)) || oracle::missed(was, step.world.told());
        let expected = if anew { step.now().after(to.spec.cancel_grace) } else { was };
        ensure(is == expected || step.world.seen.stepped_back, Invariant::GraceStands, || {
            format!("grace {was} became {is}, expected {expected}")
        })?;
    }
    Ok(())
}

fn place_kept(step: &Step<'_>, settled: &Operation, after: &Operation) -> Result<(), Violation> {
    let retried = step.accepted_anew() && matches!(step.command, Command::Retry(_)) && !cancelling(settled);
    let before = step.before();
    let kept = before.available_at == settled.available_at && settled.available_at == after.available_at;
    ensure(retried || kept || step.world.seen.stepped_back, Invariant::PlaceKept, || {
        format!("{} became {}", before.available_at, after.available_at)
    })
}

fn cancelling(op: &Operation) -> bool {
    op.cancel.is_some() && op.failure.is_none()
}

fn void(op: &Operation) -> bool {
    op.lease.as_ref().is_some_and(|lease| lease.given_up)
}

fn same_phase(settled: &Operation, after: &Operation) -> bool {
    settled.phase == after.phase
}
