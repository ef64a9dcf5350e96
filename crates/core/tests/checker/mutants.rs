//! Broken rules: each a wrapper that spoils what the real ones decide, and the invariant that must
//! catch it. A checker that lets one of them pass checks nothing.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{
    Change, Command, Complete, Completion, Decision, EventKind, Gone, LeaseKey, Now, Operation, Outcome, Phase,
    Rejection, Status, Stored, decide,
};

use crate::explore::Rules;
use crate::invariants::Invariant;
use crate::oracle::{self, ABSENCE};
use crate::world::{LEASE_SHORT, Setup};

/// Rules that break one rule.
pub(crate) struct Mutant {
    pub(crate) name: &'static str,
    /// What must notice.
    pub(crate) breaks: Invariant,
    /// Where it shows.
    pub(crate) setup: Setup,
    decide: fn(&Operation, &Command, Now) -> Decision,
}

impl Rules for Mutant {
    fn decide(&self, op: &Operation, command: &Command, now: Now) -> Decision {
        (self.decide)(op, command, now)
    }
}

/// Every mutant.
pub(crate) fn all() -> Vec<Mutant> {
    let mut all = vec![
        mutant("unfenced completion", Invariant::StaleChangesNothing, unfenced_completion),
        mutant("void lease accepted", Invariant::StaleChangesNothing, void_lease_accepted),
        mutant("cancel over a result", Invariant::DoneAbsorbs, cancel_over_a_result),
        mutant("shown error replaced by a response", Invariant::ShownErrorStands, response_over_failure),
        mutant("shown error replaced by CANCELLED", Invariant::ShownErrorStands, cancelled_over_failure),
        mutant("shown error replaced by a deadline", Invariant::ShownErrorStands, deadline_over_failure)
            .with(|setup| setup.run_timeout = true),
        mutant("error with code 0", Invariant::OneResultIffDone, error_with_code_0),
        mutant("lapse before a live heartbeat", Invariant::NothingEarly, lapse_before_live_heartbeat),
        mutant("absence judged", Invariant::NothingEarly, absence_judged).with(|setup| setup.one_attempt = true),
        mutant("outage judged", Invariant::NothingEarly, outage_judged)
            .with(|setup| (setup.one_attempt, setup.outage) = (true, true)),
        mutant("outage excuses what ran out after it", Invariant::LateSettlerSameRecord, outage_excuses_more)
            .with(|setup| setup.outage = true),
        mutant("token reused after release", Invariant::TokenSteps, token_reused_after_release),
        mutant("retry beyond maxAttempts", Invariant::AttemptsBounded, retry_beyond_max_attempts)
            .with(|setup| setup.one_attempt = true),
        mutant("release counted as an attempt", Invariant::AttemptsBounded, release_counted),
        mutant("refusal loses a settled timer", Invariant::RefusalStoresSettled, refusal_loses_settled_timer),
        mutant("refusal with another reason", Invariant::RefusalIsTrue, refusal_with_another_reason),
        mutant("lapsed lease refused", Invariant::GoodLeaseCounts, lapsed_lease_refused),
        mutant("repeat refused", Invariant::RepeatSucceeds, repeat_refused),
        mutant("heartbeat before a due lapse", Invariant::TimersFirst, heartbeat_before_due_lapse),
        mutant("absence after one second", Invariant::LateSettlerSameRecord, absence_after_one_second),
        mutant("lapse keeps the old queue deadline", Invariant::NoTimerLeftDue, lapse_keeps_queue_deadline)
            .with(|setup| setup.queue_timeout = true),
        mutant("lapse only starts the lease anew", Invariant::Ends, lapse_restarts),
    ];
    all.extend(of_bookkeeping());
    all
}

fn of_bookkeeping() -> Vec<Mutant> {
    vec![
        mutant("backoff longer than its length", Invariant::NothingOutlastsItsLength, longer_backoff),
        mutant("modified_at going back", Invariant::TimesGoForwards, modified_at_goes_back),
        mutant("bare heartbeat moves modified_at", Invariant::TimesGoForwards, bare_heartbeat_shows),
        mutant("heartbeat without a revision", Invariant::RevisionCountsChanges, heartbeat_without_revision),
        mutant("cancel ends what is leased", Invariant::CancelInOrder, cancel_ends_leased),
        mutant("second cancel replaces the first", Invariant::CancelInOrder, second_cancel_replaces),
        mutant("claim forgets the cancel", Invariant::CancelKept, claim_forgets_cancel)
            .with(|setup| setup.clean_up = true),
        mutant("deadline over a requested cancel", Invariant::WhoWins, deadline_over_cancel)
            .with(|setup| setup.run_timeout = true),
        mutant("run timeout restarted by each claim", Invariant::DeadlinesStand, run_timeout_restarted)
            .with(|setup| setup.run_timeout = true),
        mutant("queue timeout restarted by a late release", Invariant::DeadlinesStand, queue_timeout_restarted)
            .with(|setup| setup.queue_timeout = true),
        mutant("grace runs on beside a rollback", Invariant::GraceStands, grace_beside_rollback),
        mutant("heartbeat starts the grace anew", Invariant::GraceStands, heartbeat_restarts_grace),
        mutant("heartbeat shortens the lease", Invariant::HeartbeatKeepsLease, heartbeat_shortens),
        mutant("release loses its place", Invariant::PlaceKept, release_loses_place),
        mutant("retry leaves its lease good", Invariant::CommandTakesEffect, retry_leaves_lease_good),
        mutant("delete of what is not done", Invariant::GoneOnlyWhenDone, delete_unfinished),
    ]
}

fn mutant(name: &'static str, breaks: Invariant, decide: fn(&Operation, &Command, Now) -> Decision) -> Mutant {
    Mutant { name, breaks, setup: Setup::default(), decide }
}

impl Mutant {
    fn with(mut self, change: fn(&mut Setup)) -> Self {
        change(&mut self.setup);
        self
    }
}

/// The real decision with its operation spoilt.
fn spoil(mut decision: Decision, how: impl FnOnce(&mut Operation)) -> Decision {
    if let Stored::Live(op) = &mut decision.stored {
        how(Arc::make_mut(op));
    }
    decision
}

/// The real decision on a spoilt operation.
fn on_spoilt(op: &Operation, command: &Command, now: Now, how: impl FnOnce(&mut Operation)) -> Decision {
    let mut spoilt = op.clone();
    how(&mut spoilt);
    decide(&spoilt, command, now)
}

fn unfenced_completion(op: &Operation, command: &Command, now: Now) -> Decision {
    let (Command::Complete(complete), Some(lease)) = (command, &op.lease) else { return decide(op, command, now) };
    let lease = LeaseKey { operation: op.id.clone(), token: lease.token, secret: lease.secret };
    decide(op, &Command::Complete(Complete { lease, ..complete.clone() }), now)
}

fn void_lease_accepted(op: &Operation, command: &Command, now: Now) -> Decision {
    if !matches!(command, Command::Complete(_)) || op.done() {
        return decide(op, command, now);
    }
    on_spoilt(op, command, now, |op| {
        if let Some(lease) = &mut op.lease {
            lease.given_up = false;
        }
    })
}

fn cancel_over_a_result(op: &Operation, command: &Command, now: Now) -> Decision {
    let mut decision = decide(op, command, now);
    if matches!(command, Command::Cancel(_)) && matches!(op.outcome(), Some(Outcome::Response(_))) {
        decision.changes.push(Change::Event(EventKind::Cancelled));
        return spoil(decision, |op| {
            op.revision += 1;
            set_error(op, Status::new(oracle::CANCELLED, "operation cancelled"));
        });
    }
    decision
}

fn response_over_failure(op: &Operation, command: &Command, now: Now) -> Decision {
    let response = matches!(command, Command::Complete(Complete { result: Completion::Response(_), .. }));
    let spoilt = on_spoilt(op, command, now, |op| op.failure = None);
    if response && spoilt.answer.is_ok() { spoilt } else { decide(op, command, now) }
}

fn cancelled_over_failure(op: &Operation, command: &Command, now: Now) -> Decision {
    let cancelled = matches!(command, Command::Complete(Complete { result: Completion::Cancelled(_), .. }));
    let decision = decide(op, command, now);
    if !cancelled || op.done() || decision.answer.is_err() {
        return decision;
    }
    spoil(decision, |op| set_error(op, Status::new(oracle::CANCELLED, "operation cancelled")))
}

fn deadline_over_failure(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if op.done() || op.failure.is_none() || op.run_deadline.is_none_or(|at| at > now.at) {
        return decision;
    }
    spoil(decision, |op| set_error(op, Status::new(oracle::DEADLINE_EXCEEDED, "run timeout passed")))
}

fn deadline_over_cancel(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if op.done() || op.cancel.is_none() || op.run_deadline.is_none_or(|at| at > now.at) {
        return decision;
    }
    spoil(decision, |op| set_error(op, Status::new(oracle::DEADLINE_EXCEEDED, "run timeout passed")))
}

fn error_with_code_0(op: &Operation, command: &Command, now: Now) -> Decision {
    let error = matches!(command, Command::Complete(Complete { result: Completion::Error(_), .. }));
    let decision = decide(op, command, now);
    if !error || op.done() || decision.answer.is_err() {
        return decision;
    }
    spoil(decision, |op| set_error(op, Status::new(0, "")))
}

fn lapse_before_live_heartbeat(op: &Operation, command: &Command, now: Now) -> Decision {
    if !matches!(command, Command::Heartbeat(_)) {
        return decide(op, command, now);
    }
    on_spoilt(op, command, now, |op| {
        if let Phase::Leased { expires_at } = &mut op.phase {
            *expires_at = now.at;
        }
    })
}

fn absence_judged(op: &Operation, command: &Command, now: Now) -> Decision {
    on_spoilt(op, command, now, |op| {
        if let Phase::Leased { expires_at } = &mut op.phase
            && *expires_at <= now.at
        {
            *expires_at = now.at;
        }
    })
}

fn outage_judged(op: &Operation, command: &Command, now: Now) -> Decision {
    decide(op, command, Now { away_until: None, ..now })
}

fn outage_excuses_more(op: &Operation, command: &Command, now: Now) -> Decision {
    decide(op, command, Now { away_until: now.away_until.map(|_| now.at), ..now })
}

fn absence_after_one_second(op: &Operation, command: &Command, now: Now) -> Decision {
    overdue_lease_missed(op, command, now, Duration::from_secs(1))
}

fn lapse_restarts(op: &Operation, command: &Command, now: Now) -> Decision {
    overdue_lease_missed(op, command, now, Duration::ZERO)
}

/// A lease overdue by `length` is treated as if nobody had served.
fn overdue_lease_missed(op: &Operation, command: &Command, now: Now, length: Duration) -> Decision {
    on_spoilt(op, command, now, |op| {
        if let Phase::Leased { expires_at } = &mut op.phase
            && *expires_at <= now.at.before(length)
        {
            *expires_at = now.at.before(2 * ABSENCE);
        }
    })
}

fn token_reused_after_release(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    let released = op.lease.as_ref().filter(|lease| lease.given_up).map(|lease| lease.token);
    let (Some(token), Command::Claim(_), Ok(())) = (released, command, &decision.answer) else { return decision };
    spoil(decision, |op| {
        if let Some(lease) = &mut op.lease {
            lease.token = token;
        }
    })
}

fn retry_beyond_max_attempts(op: &Operation, command: &Command, now: Now) -> Decision {
    if !matches!(command, Command::Retry(_)) {
        return decide(op, command, now);
    }
    let decision = on_spoilt(op, command, now, |op| Arc::make_mut(&mut op.spec).max_attempts += 1);
    spoil(decision, |after| after.spec = Arc::clone(&op.spec))
}

fn release_counted(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if matches!(command, Command::Release(_)) { spoil(decision, |after| after.attempt = op.attempt) } else { decision }
}

fn refusal_loses_settled_timer(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if decision.answer.is_ok() {
        return decision;
    }
    Decision { stored: Stored::Live(Arc::new(op.clone())), changes: Vec::new(), ..decision }
}

fn refusal_with_another_reason(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    match decision.answer {
        Err(Rejection::AlreadyDone(_)) => Decision { answer: Err(Rejection::LeaseLost), ..decision },
        _ => decision,
    }
}

fn lapsed_lease_refused(op: &Operation, command: &Command, now: Now) -> Decision {
    let Command::Heartbeat(heartbeat) = command else { return decide(op, command, now) };
    let good = op.lease.as_ref().is_some_and(|lease| lease.secret == heartbeat.lease.secret && !lease.given_up);
    let settled = decide(op, &Command::Settle, now);
    let lapsed = matches!(&settled.stored, Stored::Live(op) if matches!(op.phase, Phase::Queued { .. }));
    if good && lapsed {
        return Decision { answer: Err(Rejection::LeaseLost), ..settled };
    }
    decide(op, command, now)
}

fn repeat_refused(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if op.done() && matches!(command, Command::Complete(_)) && decision.answer.is_ok() {
        return Decision { answer: Err(Rejection::AlreadyDone(op.state())), ..decision };
    }
    decision
}

fn heartbeat_before_due_lapse(op: &Operation, command: &Command, now: Now) -> Decision {
    let Command::Heartbeat(heartbeat) = command else { return decide(op, command, now) };
    let newest = op.lease.as_ref().is_some_and(|lease| lease.secret == heartbeat.lease.secret);
    on_spoilt(op, command, now, |op| {
        if let Phase::Leased { expires_at } = &mut op.phase
            && newest
        {
            *expires_at = (*expires_at).max(now.at.after(Duration::from_micros(1)));
        }
    })
}

fn lapse_keeps_queue_deadline(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if !decision.changes.contains(&Change::Event(EventKind::Lapsed)) {
        return decision;
    }
    spoil(decision, |op| {
        if let Phase::Queued { deadline, .. } = &mut op.phase {
            *deadline = op.spec.queue_timeout.map(|timeout| op.available_at.after(timeout));
        }
    })
}

fn longer_backoff(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if !matches!(command, Command::Retry(_)) || decision.answer.is_err() || op.available_at > now.at {
        return decision;
    }
    spoil(decision, |op| op.available_at = op.available_at.after(Duration::from_secs(1)))
}

fn modified_at_goes_back(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    let visible = decision.changes.iter().any(|change| *change != Change::Bare);
    if visible { spoil(decision, |op| op.modified_at = now.at) } else { decision }
}

fn bare_heartbeat_shows(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    let bare = decision.changes == [Change::Bare];
    if bare { spoil(decision, |op| op.modified_at = op.modified_at.max(now.at)) } else { decision }
}

fn heartbeat_without_revision(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if decision.changes != [Change::Bare] {
        return decision;
    }
    spoil(Decision { changes: Vec::new(), ..decision }, |after| after.revision = op.revision)
}

fn cancel_ends_leased(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if !matches!(command, Command::Cancel(_)) || op.done() {
        return decision;
    }
    spoil(decision, |op| {
        let outcome = Outcome::Error(Status::new(oracle::CANCELLED, "operation cancelled"));
        let expires_at = op.spec.retention.after(&outcome).map(|length| now.at.after(length));
        op.grace_deadline = None;
        op.phase = Phase::Done { outcome, finished_at: now.at, expires_at };
    })
}

fn second_cancel_replaces(op: &Operation, command: &Command, now: Now) -> Decision {
    let mut decision = decide(op, command, now);
    let Command::Cancel(cancel) = command else { return decision };
    if op.cancel.is_none() || op.done() || !decision.changes.is_empty() {
        return decision;
    }
    decision.changes.push(Change::Event(EventKind::CancelRequested));
    spoil(decision, |after| {
        if let Some(request) = &mut after.cancel {
            request.by = cancel.by.clone();
        }
        after.revision = op.revision + 1;
        after.modified_at = now.at.max(op.modified_at.after(Duration::from_micros(1)));
        let event = operond_core::Event { at: now.at, what: EventKind::CancelRequested, by: "caller".into() };
        after.events.push(event);
    })
}

fn claim_forgets_cancel(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if !matches!(command, Command::Claim(_)) || decision.answer.is_err() {
        return decision;
    }
    spoil(decision, |op| op.cancel = None)
}

fn run_timeout_restarted(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if !matches!(command, Command::Claim(_)) || decision.answer.is_err() {
        return decision;
    }
    spoil(decision, |op| op.run_deadline = op.spec.run_timeout.map(|timeout| now.at.after(timeout)))
}

fn queue_timeout_restarted(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if !matches!(command, Command::Release(_)) || decision.answer.is_err() || decision.changes.is_empty() {
        return decision;
    }
    spoil(decision, |op| {
        if let Phase::Queued { deadline, .. } = &mut op.phase {
            *deadline = op.spec.queue_timeout.map(|timeout| now.at.after(timeout));
        }
    })
}

fn grace_beside_rollback(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if !matches!(command, Command::ReportFailure(_)) || decision.answer.is_err() {
        return decision;
    }
    let live = op.grace_deadline.filter(|at| *at > now.at);
    spoil(decision, |after| after.grace_deadline = live)
}

fn heartbeat_restarts_grace(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if !matches!(command, Command::Heartbeat(_)) || decision.answer.is_err() {
        return decision;
    }
    spoil(decision, |op| {
        let anew = now.at.after(op.spec.cancel_grace);
        op.grace_deadline = op.grace_deadline.map(|_| anew);
    })
}

fn heartbeat_shortens(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    let Command::Heartbeat(heartbeat) = command else { return decision };
    if decision.answer.is_err() || heartbeat.duration.is_none() {
        return decision;
    }
    spoil(decision, |op| op.phase = Phase::Leased { expires_at: now.at.after(LEASE_SHORT) })
}

fn release_loses_place(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if !matches!(command, Command::Release(_)) || decision.answer.is_err() || op.done() {
        return decision;
    }
    spoil(decision, |op| op.available_at = now.at)
}

fn retry_leaves_lease_good(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if !matches!(command, Command::Retry(_)) || decision.answer.is_err() {
        return decision;
    }
    spoil(decision, |op| {
        if let Some(lease) = &mut op.lease {
            lease.given_up = false;
        }
    })
}

fn delete_unfinished(op: &Operation, command: &Command, now: Now) -> Decision {
    let decision = decide(op, command, now);
    if !matches!(command, Command::Delete) {
        return decision;
    }
    Decision { stored: Stored::Gone(Gone::Deleted), answer: Ok(()), ..decision }
}

/// Ends `op` with another error.
fn set_error(op: &mut Operation, error: Status) {
    if let Phase::Done { outcome, .. } = &mut op.phase {
        *outcome = Outcome::Error(error);
    }
}
