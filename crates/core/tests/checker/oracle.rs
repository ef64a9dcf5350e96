//! The contract a second time, as tables, written without a look at how the rules are built:
//! what is shown, who wins, which timers are due, what is refused and why.

use std::time::Duration;

use operond_core::{
    Any, Command, Complete, Completion, LeaseKey, Now, Operation, Outcome, Phase, Rejection, State, Status, Timestamp,
};

use crate::world::{Observer, Standing};

/// What a caller sees: the five members of CONTRACT §2 that matter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shown<'a> {
    pub(crate) done: bool,
    pub(crate) error: Option<&'a Status>,
    pub(crate) response: Option<&'a Any>,
}

/// What due timers make of an operation, as far as "Who wins" needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on.
    GoesOn,
    /// The server ends it; the timer's own error has this code.
    EndedBy(i32),
}

/// `done`, `error` and `response` as a face reads them from the stored facts.
pub(crate) fn shown(op: &Operation) -> Shown<'_> {
    match &op.phase {
        Phase::Done { outcome: Outcome::Response(response), .. } => {
            Shown { done: true, error: None, response: Some(response) }
        }
        Phase::Done { outcome: Outcome::Error(error), .. } => Shown { done: true, error: Some(error), response: None },
        Phase::Queued { .. } | Phase::Leased { .. } => {
            Shown { done: false, error: op.failure.as_ref(), response: None }
        }
    }
}

/// CONTRACT §3 "Shown state": the first row that applies.
pub(crate) fn state(op: &Operation) -> State {
    let shown = shown(op);
    let rows = [
        (shown.done && shown.response.is_some(), State::Succeeded),
        (shown.done && shown.error.is_some_and(|error| error.code == CANCELLED), State::Cancelled),
        (shown.done, State::Failed),
        (op.failure.is_some(), State::Failing),
        (op.cancel.is_some(), State::Cancelling),
        (matches!(op.phase, Phase::Leased { .. }), State::Running),
        (true, State::Queued),
    ];
    rows.into_iter().find_map(|(applies, state)| applies.then_some(state)).expect("the last row always applies")
}

/// CONTRACT §3 "Who wins": what an operation with these facts ends with. `said` is what its worker
/// said, `timer` the code of the error that the server would give.
pub(crate) fn who_wins(before: &Operation, said: Option<&Completion>, timer: i32) -> (i32, Option<Status>) {
    let error = |status: &Status| (status.code, Some(status.clone()));
    match (&before.failure, said, &before.cancel) {
        (Some(failure), _, _) => error(failure),
        (None, Some(Completion::Response(_)), _) => (0, None),
        (None, Some(Completion::Error(said)), _) => error(said),
        (None, Some(Completion::Cancelled(_)), _) | (None, None, Some(_)) => (CANCELLED, None),
        (None, None, None) => (timer, None),
    }
}

/// Whether `outcome` is what [`who_wins`] says.
pub(crate) fn is_result(outcome: &Outcome, (code, status): &(i32, Option<Status>)) -> bool {
    match outcome {
        Outcome::Response(_) => *code == 0,
        Outcome::Error(error) => error.code == *code && status.as_ref().is_none_or(|status| status == error),
    }
}

/// The timers of an operation, in the order of CONTRACT §3 for the same instant.
pub(crate) fn timers(op: &Operation) -> Vec<Timestamp> {
    let (queue, lapse, retention) = match op.phase {
        Phase::Queued { deadline, .. } => (deadline, None, None),
        Phase::Leased { expires_at } => (None, Some(expires_at), None),
        Phase::Done { expires_at, .. } => return expires_at.into_iter().collect(),
    };
    [op.run_deadline, queue, op.grace_deadline, lapse, retention].into_iter().flatten().collect()
}

/// The earliest timer.
pub(crate) fn first_timer(op: &Operation) -> Option<Timestamp> {
    timers(op).into_iter().min()
}

/// The length of the lease that an operation has.
pub(crate) fn lease_length(op: &Operation) -> Duration {
    op.lease.as_ref().map_or(Duration::ZERO, |lease| lease.duration)
}

/// Whether a worker cleans up or works on after this lease, CONTRACT §3 "lapse".
pub(crate) fn queued_again(op: &Operation) -> bool {
    let left = op.attempt < op.spec.max_attempts;
    match (&op.failure, &op.cancel) {
        (Some(_), _) | (None, None) => left,
        (None, Some(_)) => left && op.spec.clean_up_on_cancel,
    }
}

/// Whether a lease or grace that ran out at `at` is started anew: nobody was there to serve.
pub(crate) fn missed(at: Timestamp, now: Now) -> bool {
    now.at.since(at) > ABSENCE || now.away_until.is_some_and(|until| until > at)
}

/// Plays the due timers of an unfinished operation at `now`.
pub(crate) fn fate(op: &Operation, now: Now) -> Fate {
    let mut op = op.clone();
    let restart = |length: Duration| now.at.after(length);
    loop {
        let lapse = match op.phase {
            Phase::Leased { expires_at } => Some(expires_at),
            _ => None,
        };
        let queue = match op.phase {
            Phase::Queued { deadline, .. } => deadline,
            _ => None,
        };
        let Some(first) = first_timer(&op).filter(|at| *at <= now.at) else { return Fate::GoesOn };
        if op.run_deadline == Some(first) || queue == Some(first) {
            return Fate::EndedBy(DEADLINE_EXCEEDED);
        }
        if op.grace_deadline == Some(first) {
            if !missed(first, now) {
                return Fate::EndedBy(CANCELLED);
            }
            op.grace_deadline = Some(restart(op.spec.cancel_grace));
        } else if lapse == Some(first) && missed(first, now) {
            op.phase = Phase::Leased { expires_at: restart(lease_length(&op)) };
        } else if queued_again(&op) {
            let deadline = op.spec.queue_timeout.map(restart);
            op.phase = Phase::Queued { backoff: Duration::ZERO, deadline };
            op.grace_deadline = op.grace_deadline.map(|_| restart(op.spec.cancel_grace));
        } else {
            return Fate::EndedBy(UNAVAILABLE);
        }
    }
}

/// Why `command` must be refused on the settled operation `op`; empty when it must be accepted, and
/// more than one when several reasons are true.
pub(crate) fn refusals(op: &Operation, command: &Command, seen: &Observer, now: Timestamp) -> Vec<Rejection> {
    let done = shown(op).done;
    match command {
        Command::Settle => vec![],
        Command::Claim(_) => {
            let queued = matches!(op.phase, Phase::Queued { .. });
            if queued && op.available_at <= now { vec![] } else { vec![Rejection::NotClaimable] }
        }
        Command::Cancel(_) if !done && !op.spec.cancellable => vec![Rejection::NotCancellable],
        Command::Cancel(_) => vec![],
        Command::Delete if done => vec![],
        Command::Delete => vec![Rejection::NotDone(state(op))],
        Command::Heartbeat(_)
        | Command::ReportFailure(_)
        | Command::Retry(_)
        | Command::Release(_)
        | Command::Complete(_) => worker_refusals(op, command, seen),
    }
}

fn worker_refusals(op: &Operation, command: &Command, seen: &Observer) -> Vec<Rejection> {
    if seen.repeats(command) {
        return vec![];
    }
    let standing = seen.standing(lease(command).expect("it is a worker's command"));
    let done = shown(op).done;
    match (standing, done) {
        (Standing::Forged, _) => vec![Rejection::InvalidLease],
        (Standing::Stale, false) | (Standing::Void, false) => vec![Rejection::LeaseLost],
        (Standing::Stale, true) | (Standing::Void, true) => {
            vec![Rejection::LeaseLost, Rejection::AlreadyDone(state(op))]
        }
        (Standing::Good, true) => vec![Rejection::AlreadyDone(state(op))],
        (Standing::Good, false) if contradicts_failure(op, command) => vec![Rejection::FailureDetected],
        (Standing::Good, false) => vec![],
    }
}

/// After a detected failure only that error, or `cancelled`, may be said.
fn contradicts_failure(op: &Operation, command: &Command) -> bool {
    let Some(failure) = &op.failure else { return false };
    match command {
        Command::ReportFailure(report) => report.error != *failure,
        Command::Complete(Complete { result: Completion::Response(_), .. }) => true,
        Command::Complete(Complete { result: Completion::Error(error), .. }) => error != failure,
        _ => false,
    }
}

/// The lease that a worker's command shows.
pub(crate) fn lease(command: &Command) -> Option<&LeaseKey> {
    match command {
        Command::Heartbeat(heartbeat) => Some(&heartbeat.lease),
        Command::ReportFailure(report) => Some(&report.lease),
        Command::Retry(retry) => Some(&retry.lease),
        Command::Release(release) => Some(&release.lease),
        Command::Complete(complete) => Some(&complete.lease),
        Command::Settle | Command::Claim(_) | Command::Cancel(_) | Command::Delete => None,
    }
}

/// A lease or grace found overdue by more than this is started anew.
pub(crate) const ABSENCE: Duration = Duration::from_secs(5);
pub(crate) const CANCELLED: i32 = 1;
pub(crate) const DEADLINE_EXCEEDED: i32 = 4;
pub(crate) const UNAVAILABLE: i32 = 14;
