//! Timers: folding what is due into an operation before anything else is judged.

use crate::draft::{Draft, SERVER};
use crate::operation::{EventKind, Operation, Phase};
use crate::payload::{Status, code};
use crate::time::{Now, Timestamp};

/// What can run out, in the order in which timers of the same instant are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The run timeout.
    Run,
    /// The queue timeout.
    Queue,
    /// The cancel grace.
    Grace,
    /// The lease.
    Lapse,
    /// The retention.
    Retention,
}

impl Operation {
    /// Its earliest timer; of those of one instant the first in [`Timer`]'s order.
    #[must_use]
    pub fn next_timer(&self) -> Option<(Timestamp, Timer)> {
        let (lapse, queue, retention) = match self.phase {
            Phase::Leased { expires_at } => (Some(expires_at), None, None),
            Phase::Queued { deadline, .. } => (None, deadline, None),
            Phase::Done { expires_at, .. } => return expires_at.map(|at| (at, Timer::Retention)),
        };
        [
            (self.run_deadline, Timer::Run),
            (queue, Timer::Queue),
            (self.grace_deadline, Timer::Grace),
            (lapse, Timer::Lapse),
            (retention, Timer::Retention),
        ]
        .into_iter()
        .filter_map(|(at, timer)| Some((at?, timer)))
        .min()
    }
}

/// Settles every due timer, earliest first, each one change of its own.
///
/// True when retention removed the operation: what is left is a tombstone.
pub(crate) fn settle(draft: &mut Draft, now: Now) -> bool {
    clamp(draft);
    while let Some((at, timer)) = draft.op.next_timer().filter(|(at, _)| *at <= now.at) {
        let missed = now.missed(at);
        match timer {
            Timer::Run => {
                let error = Status::new(code::DEADLINE_EXCEEDED, "run timeout passed");
                draft.finish_by_server(error, EventKind::DeadlineExceeded);
            }
            Timer::Queue => {
                let error = Status::new(code::DEADLINE_EXCEEDED, "queue timeout passed before a worker claimed it");
                draft.finish_by_server(error, EventKind::DeadlineExceeded);
            }
            Timer::Grace if missed => {
                draft.arm_grace();
                draft.event(EventKind::Restarted, SERVER);
            }
            Timer::Grace => {
                let error = Status::new(code::CANCELLED, "operation cancelled");
                draft.finish_by_server(error, EventKind::Cancelled);
            }
            Timer::Lapse if missed => {
                restart_lease(draft);
                draft.event(EventKind::Restarted, SERVER);
            }
            Timer::Lapse => lapse(draft, EventKind::Lapsed, SERVER),
            Timer::Retention => return !now.retention_held,
        }
    }
    false
}

/// What becomes of an operation whose worker is gone (CONTRACT §3 "lapse"): also of one that its
/// worker gave up while a cancel was requested and no failure detected.
pub(crate) fn lapse(draft: &mut Draft, requeued: EventKind, by: &str) {
    let op = &draft.op;
    let cancelling = op.cancel.is_some() && op.failure.is_none();
    let another = op.attempts_left() && (!cancelling || op.spec.clean_up_on_cancel);
    if !another {
        let error = Status::new(code::UNAVAILABLE, "worker lost and no attempt left");
        draft.finish_by_server(error, EventKind::WorkerLost);
        return;
    }
    // Given up after it had lapsed, it waits already: neither its wait nor its grace starts anew.
    if matches!(op.phase, Phase::Leased { .. }) {
        draft.queue();
        if cancelling {
            draft.arm_grace();
        }
    }
    draft.event(requeued, by);
}

/// No lease, grace or backoff ends later than now + its length (CONTRACT §3 "Absence"): after a
/// clock that went back they would.
fn clamp(draft: &mut Draft) {
    let (now, op) = (draft.now, &mut draft.op);
    let mut late = false;
    let mut cut = |at: &mut Timestamp, length| {
        late |= *at > now.after(length);
        *at = (*at).min(now.after(length));
    };
    match &mut op.phase {
        Phase::Leased { expires_at } => {
            let length = op.lease.as_ref().expect("a leased operation has a lease").duration;
            cut(expires_at, length);
        }
        Phase::Queued { backoff, .. } => cut(&mut op.available_at, *backoff),
        Phase::Done { .. } => {}
    }
    if let Some(grace) = &mut op.grace_deadline {
        cut(grace, op.spec.cancel_grace);
    }
    if late {
        draft.bare();
    }
}

fn restart_lease(draft: &mut Draft) {
    let length = draft.op.lease.as_ref().expect("a leased operation has a lease").duration;
    draft.op.phase = Phase::Leased { expires_at: draft.now.after(length) };
}
