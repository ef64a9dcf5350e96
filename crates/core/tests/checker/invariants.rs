//! What must hold of every single step: nothing here knows how the rules come to a decision.

use std::time::Duration;

use operond_core::{Change, Command, Decision, Gone, Operation, Phase, Stored, Timestamp};

use crate::effects;
use crate::oracle::{self, Fate, shown};
use crate::world::{Standing, World, next};

macro_rules! invariants {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a violated rule is called.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Invariant { $($(#[$doc])* $name,)* }

        impl Invariant {
            /// Every invariant.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

invariants! {
    /// Exactly one result iff done, and no response before.
    OneResultIffDone,
    /// The state shown is the one of CONTRACT's table.
    ShownState,
    /// What is done stays as it is until it is deleted or expires.
    DoneAbsorbs,
    /// An error once shown is never withdrawn or changed, and is the result.
    ShownErrorStands,
    /// One revision for each change, and no change without one.
    RevisionCountsChanges,
    /// `modified_at` = max(previous + 1 µs, now) for all but bare changes; `created_at` is fixed.
    TimesGoForwards,
    /// Every lease given has a token one step on; nothing else touches it.
    TokenSteps,
    /// Nothing is given up, ended or started anew before its time.
    NothingEarly,
    /// A stale, void or forged lease changes nothing beyond settling.
    StaleChangesNothing,
    /// The newest lease counts until it is given up, lapsed or not.
    GoodLeaseCounts,
    /// The same record whether due timers are settled before a command or with it.
    TimersFirst,
    /// The same record however late within 5 s the timers are settled.
    LateSettlerSameRecord,
    /// A refusal gives a true reason, and what has one is refused.
    RefusalIsTrue,
    /// A refusal stores what settling changed, and that alone.
    RefusalStoresSettled,
    /// A repeat after a lost reply succeeds and changes nothing.
    RepeatSucceeds,
    /// No command leaves a timer due.
    NoTimerLeftDue,
    /// No lease, grace or backoff ends later than now + its length.
    NothingOutlastsItsLength,
    /// Attempts are leases given and not released, at most the most; in the queue one is left.
    AttemptsBounded,
    /// The first cancel request is kept.
    CancelKept,
    /// A cancel is judged in the order of CONTRACT.
    CancelInOrder,
    /// The result is that of the one who wins.
    WhoWins,
    /// The run timeout is never restarted, the queue timeout only for another wait.
    DeadlinesStand,
    /// The grace runs while a cancel waits for its worker, and is started anew only for clean-up.
    GraceStands,
    /// A heartbeat keeps a lease and never shortens it.
    HeartbeatKeepsLease,
    /// Only retry changes the place in the queue.
    PlaceKept,
    /// An accepted command does what CONTRACT says of it.
    CommandTakesEffect,
    /// Only what is done can be gone.
    GoneOnlyWhenDone,
    /// With finite timeouts every operation ends.
    Ends,
}

/// A violated invariant and what was seen.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) detail: String,
}

/// One command on one state.
pub(crate) struct Step<'a> {
    pub(crate) world: &'a World,
    pub(crate) command: &'a Command,
    /// What settling alone makes of the state.
    pub(crate) settled: &'a Decision,
    /// What was decided.
    pub(crate) decision: &'a Decision,
}

/// Checks one step against every invariant; the first that fails is reported.
pub(crate) fn check(step: &Step<'_>) -> Result<(), Violation> {
    refusal_stores_settled(step)?;
    stale_changes_nothing(step)?;
    repeat_succeeds(step)?;
    let (Some(settled), Some(after)) = (live(step.settled), live(step.decision)) else {
        return gone_only_when_done(step);
    };
    done_absorbs(step, after)?;
    shown_error_stands(step, after)?;
    bookkeeping(step, after)?;
    token_steps(step, after)?;
    attempts_bounded(step, after)?;
    nothing_early(step, settled, after)?;
    refusal_is_true(step, settled)?;
    timers(step, after)?;
    effects::check(step, settled, after)?;
    ensure(oracle::state(after) == after.state(), Invariant::ShownState, || format!("shows {:?}", after.state()))
}

/// The operation that a decision leaves.
pub(crate) fn live(decision: &Decision) -> Option<&Operation> {
    match &decision.stored {
        Stored::Live(op) => Some(op),
        Stored::Gone(_) => None,
    }
}

/// `Err` with `invariant` unless `holds`.
pub(crate) fn ensure(holds: bool, invariant: Invariant, detail: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { invariant, detail: detail() }) }
}

impl Step<'_> {
    /// The operation that the command met.
    pub(crate) fn before(&self) -> &Operation {
        &self.world.op
    }

    /// When.
    pub(crate) fn now(&self) -> Timestamp {
        self.world.now
    }

    /// Accepted for the first time.
    pub(crate) fn accepted_anew(&self) -> bool {
        self.decision.answer.is_ok() && !self.world.seen.repeats(self.command)
    }

    /// What the observer knows of the lease shown, if one is.
    pub(crate) fn standing(&self) -> Option<Standing> {
        oracle::lease(self.command).map(|lease| self.world.seen.standing(lease))
    }

    /// It changed nothing beyond settling.
    fn only_settled(&self) -> bool {
        self.decision.stored == self.settled.stored && self.decision.changes == self.settled.changes
    }
}

fn refusal_stores_settled(step: &Step<'_>) -> Result<(), Violation> {
    ensure(step.decision.answer.is_ok() || step.only_settled(), Invariant::RefusalStoresSettled, || {
        format!("{:?} stored {:?} instead of {:?}", step.decision.answer, step.decision.changes, step.settled.changes)
    })
}

fn stale_changes_nothing(step: &Step<'_>) -> Result<(), Violation> {
    let stale = !matches!(step.standing(), None | Some(Standing::Good)) && !step.world.seen.repeats(step.command);
    ensure(!stale || step.only_settled(), Invariant::StaleChangesNothing, || {
        format!("a {:?} lease made {:?}", step.standing(), step.decision.changes)
    })
}

fn repeat_succeeds(step: &Step<'_>) -> Result<(), Violation> {
    if !step.world.seen.repeats(step.command) || live(step.settled).is_none() {
        return Ok(());
    }
    let holds = step.decision.answer.is_ok() && step.only_settled();
    ensure(holds, Invariant::RepeatSucceeds, || format!("{:?}, {:?}", step.decision.answer, step.decision.changes))
}

fn gone_only_when_done(step: &Step<'_>) -> Result<(), Violation> {
    let retention = match step.before().phase {
        Phase::Done { expires_at, .. } => expires_at,
        Phase::Queued { .. } | Phase::Leased { .. } => None,
    };
    let expired = retention.is_some_and(|at| at <= step.now());
    let holds = match step.decision.stored {
        Stored::Live(_) => !expired,
        Stored::Gone(Gone::Expired) => expired,
        Stored::Gone(Gone::Deleted) => {
            matches!(step.command, Command::Delete) && live(step.settled).is_some_and(Operation::done)
        }
    };
    ensure(holds, Invariant::GoneOnlyWhenDone, || format!("{:?}", step.decision.stored))
}

fn done_absorbs(step: &Step<'_>, after: &Operation) -> Result<(), Violation> {
    let before = step.before();
    if matches!(before.phase, Phase::Done { .. }) {
        let same = before == after && step.decision.changes.is_empty();
        ensure(same, Invariant::DoneAbsorbs, || format!("{:?} became {:?}", before.phase, after.phase))?;
    }
    let seen = shown(after);
    let holds = if seen.done { seen.error.is_some() != seen.response.is_some() } else { seen.response.is_none() };
    ensure(holds, Invariant::OneResultIffDone, || format!("{seen:?}"))?;
    let code_0 = seen.error.is_some_and(|error| error.code == 0);
    ensure(!code_0, Invariant::OneResultIffDone, || "an error with code 0".into())
}

fn shown_error_stands(step: &Step<'_>, after: &Operation) -> Result<(), Violation> {
    let (before, after) = (shown(step.before()), shown(after));
    ensure(before.error.is_none() || before.error == after.error, Invariant::ShownErrorStands, || {
        format!("{:?} became {after:?}", before.error)
    })
}

fn bookkeeping(step: &Step<'_>, after: &Operation) -> Result<(), Violation> {
    let (before, changes) = (step.before(), &step.decision.changes);
    let counted = after.revision == before.revision + changes.len() as u64;
    ensure(counted && (!changes.is_empty() || before == after), Invariant::RevisionCountsChanges, || {
        format!("revision {} became {} by {changes:?}", before.revision, after.revision)
    })?;
    let events = changes.iter().filter(|change| matches!(change, Change::Event(_))).count();
    ensure(after.events.len() == before.events.len() + events, Invariant::RevisionCountsChanges, || {
        format!("{changes:?} left the events {:?}", after.events)
    })?;
    let visible = changes.iter().filter(|change| **change != Change::Bare).count() as u64;
    let modified_at = match visible {
        0 => before.modified_at,
        _ => step.now().max(micros_after(before, 1)).after(Duration::from_micros(visible - 1)),
    };
    let holds = after.modified_at == modified_at && after.created_at == before.created_at;
    ensure(holds, Invariant::TimesGoForwards, || {
        format!("created {}, modified {}, expected {modified_at}", after.created_at, after.modified_at)
    })
}

fn token_steps(step: &Step<'_>, after: &Operation) -> Result<(), Violation> {
    let (before, given) = (step.before(), step.world.seen.given);
    let identity = |op: &Operation| op.lease.as_ref().map(|lease| (lease.token, lease.secret, lease.worker.clone()));
    let holds = if step.accepted_anew() && matches!(step.command, Command::Claim(_)) {
        let previous = step.world.seen.newest.as_ref().map_or(operond_core::Token(0), |newest| newest.token);
        after.lease.as_ref().is_some_and(|lease| lease.token == next(previous) && lease.token.0 == given + 1)
    } else {
        identity(before) == identity(after)
    };
    ensure(holds, Invariant::TokenSteps, || format!("{:?} after {given} given", after.lease))
}

fn attempts_bounded(step: &Step<'_>, after: &Operation) -> Result<(), Violation> {
    let mut seen = step.world.seen.clone();
    if step.accepted_anew() {
        match (step.command, live(step.settled)) {
            (Command::Claim(_), _) => seen.given += 1,
            (command, Some(settled)) => seen.note_accepted(command, settled),
            (_, None) => {}
        }
    }
    let queued = matches!(after.phase, Phase::Queued { .. });
    let most = after.spec.max_attempts - u32::from(queued);
    let counted = u64::from(after.attempt) == seen.given - seen.released;
    let leased = matches!(after.phase, Phase::Leased { .. });
    let holds = counted && after.attempt <= most && (!leased || after.attempt > 0);
    ensure(holds, Invariant::AttemptsBounded, || {
        format!("{} of {}, {} given, {} released", after.attempt, after.spec.max_attempts, seen.given, seen.released)
    })
}

fn nothing_early(step: &Step<'_>, settled: &Operation, after: &Operation) -> Result<(), Violation> {
    let (before, now) = (step.before(), step.now());
    let due = oracle::first_timer(before).is_some_and(|at| at <= now);
    let too_long = outlasts(before, now);
    ensure(due || too_long || before == settled, Invariant::NothingEarly, || {
        format!("settling without a due timer made {:?}", step.settled.changes)
    })?;
    let ended = shown(settled).done && !shown(before).done;
    let fate = if shown(before).done { Fate::GoesOn } else { oracle::fate(before, step.world.told()) };
    ensure(ended == (fate != Fate::GoesOn), Invariant::NothingEarly, || format!("{fate:?}, but {:?}", settled.phase))?;
    // A live lease is the worker's: of heartbeats it can only become longer.
    let live_before = matches!(before.phase, Phase::Leased { .. }) && !due;
    let heartbeat = matches!(step.command, Command::Heartbeat(_)) && step.standing() == Some(Standing::Good);
    let kept = matches!(after.phase, Phase::Leased { .. })
        && step.decision.changes.iter().all(|change| !matches!(change, Change::Event(_)));
    ensure(!(live_before && heartbeat) || kept, Invariant::NothingEarly, || {
        format!("a heartbeat on a live lease made {:?}", step.decision.changes)
    })
}

fn refusal_is_true(step: &Step<'_>, settled: &Operation) -> Result<(), Violation> {
    let reasons = oracle::refusals(settled, step.command, &step.world.seen, step.now());
    let detail = || format!("{:?}, true is {reasons:?} of {:?}", step.decision.answer, settled.phase);
    match &step.decision.answer {
        Ok(()) => ensure(reasons.is_empty(), Invariant::RefusalIsTrue, detail),
        Err(reason) if reasons.is_empty() && step.standing() == Some(Standing::Good) => {
            ensure(false, Invariant::GoodLeaseCounts, || format!("refused: {reason:?}"))
        }
        Err(reason) => ensure(reasons.contains(reason), Invariant::RefusalIsTrue, detail),
    }
}

fn timers(step: &Step<'_>, after: &Operation) -> Result<(), Violation> {
    let now = step.now();
    let left = oracle::first_timer(after).filter(|at| *at <= now);
    ensure(left.is_none(), Invariant::NoTimerLeftDue, || format!("at {now} {left:?} is due"))?;
    ensure(!outlasts(after, now), Invariant::NothingOutlastsItsLength, || {
        format!("at {now}: {:?}, available {}, grace {:?}", after.phase, after.available_at, after.grace_deadline)
    })
}

/// Whether a lease, grace or backoff ends later than now + its length.
fn outlasts(op: &Operation, now: Timestamp) -> bool {
    let longer = |at: Timestamp, length: Duration| at > now.after(length);
    let phase = match op.phase {
        Phase::Leased { expires_at } => longer(expires_at, oracle::lease_length(op)),
        Phase::Queued { backoff, .. } => longer(op.available_at, backoff),
        Phase::Done { .. } => false,
    };
    phase || op.grace_deadline.is_some_and(|at| longer(at, op.spec.cancel_grace))
}

fn micros_after(op: &Operation, micros: u64) -> Timestamp {
    op.modified_at.after(Duration::from_micros(micros))
}
