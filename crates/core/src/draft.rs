//! A working copy of an operation: every change to one goes through here and is counted.

use std::time::Duration;

use crate::limits::EVENTS_MAX;
use crate::operation::{Event, EventKind, Operation, Outcome, Phase};
use crate::payload::{Any, Progress, Status, code};
use crate::time::Timestamp;

/// One change to an operation: one step of its revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only the revision and a timer moved; nobody is woken.
    Bare,
    /// Metadata or progress moved.
    Updated,
    /// Something happened that is worth an event.
    Event(EventKind),
}

/// An operation while it is being changed, at one instant.
pub(crate) struct Draft {
    pub(crate) op: Operation,
    pub(crate) now: Timestamp,
    pub(crate) changes: Vec<Change>,
}

impl Draft {
    pub(crate) fn new(op: &Operation, now: Timestamp) -> Self {
        Self { op: op.clone(), now, changes: Vec::new() }
    }

    /// Counts a change that moves the revision only (CONTRACT §3 "heartbeat").
    pub(crate) fn bare(&mut self) {
        self.op.revision += 1;
        self.changes.push(Change::Bare);
    }

    /// Counts a change that callers see.
    pub(crate) fn updated(&mut self) {
        self.visible(Change::Updated);
    }

    /// Counts a change that callers see and keeps an event of it.
    pub(crate) fn event(&mut self, what: EventKind, by: &str) {
        self.visible(Change::Event(what));
        push_event(&mut self.op.events, Event { at: self.now, what, by: by.into() });
    }

    fn visible(&mut self, change: Change) {
        self.op.revision += 1;
        self.op.modified_at = self.now.max(self.op.modified_at.after(Duration::from_micros(1)));
        self.changes.push(change);
    }

    /// Takes over metadata and progress that a worker sent; says whether they differ.
    pub(crate) fn take_report(&mut self, metadata: Option<&Any>, progress: Option<&Progress>) -> bool {
        let mut moved = false;
        if metadata.is_some() && metadata != self.op.metadata.as_ref() {
            self.op.metadata = metadata.cloned();
            moved = true;
        }
        if progress.is_some() && progress != self.op.progress.as_ref() {
            self.op.progress = progress.cloned();
            moved = true;
        }
        moved
    }

    /// Puts it into the queue, claimable at once, keeping its place. After a clock that went back
    /// that place would lie ahead, where no worker could claim it.
    pub(crate) fn queue(&mut self) {
        self.op.available_at = self.op.available_at.min(self.now);
        self.wait_from(self.now, Duration::ZERO);
    }

    /// Puts it into the queue behind a backoff, from whose end its place and its queue timeout count.
    pub(crate) fn queue_behind(&mut self, backoff: Duration) {
        self.op.available_at = self.now.after(backoff);
        self.wait_from(self.op.available_at, backoff);
    }

    fn wait_from(&mut self, claimable: Timestamp, backoff: Duration) {
        let deadline = self.op.spec.queue_timeout.map(|timeout| claimable.after(timeout));
        self.op.phase = Phase::Queued { backoff, deadline };
    }

    /// Starts the cancel grace (anew).
    pub(crate) fn arm_grace(&mut self) {
        self.op.grace_deadline = Some(self.now.after(self.op.spec.cancel_grace));
    }

    /// Ends it. A detected failure wins over whatever was said (CONTRACT §3 "Who wins").
    pub(crate) fn finish(&mut self, said: Outcome, what: EventKind, by: &str) {
        let outcome = match &self.op.failure {
            Some(failure) => Outcome::Error(failure.clone()),
            None => said,
        };
        let expires_at = self.op.spec.retention.after(&outcome).map(|length| self.now.after(length));
        self.op.grace_deadline = None;
        self.op.phase = Phase::Done { outcome, finished_at: self.now, expires_at };
        self.event(what, by);
    }

    /// Ends it because the server says so: the failure, else CANCELLED if asked for, else `timer`.
    pub(crate) fn finish_by_server(&mut self, timer: Status, what: EventKind) {
        if self.op.failure.is_some() {
            self.finish(Outcome::Error(timer), EventKind::RollbackUnfinished, SERVER);
        } else if self.op.cancel.is_some() {
            self.finish(Outcome::Error(cancelled("")), EventKind::Cancelled, SERVER);
        } else {
            self.finish(Outcome::Error(timer), what, SERVER);
        }
    }
}

/// What cancelled work ends with; an empty message becomes the usual one.
pub(crate) fn cancelled(message: &str) -> Status {
    Status::new(code::CANCELLED, if message.is_empty() { "operation cancelled" } else { message })
}

/// Appends an event; drops the oldest one that is not `created` when there are too many.
pub(crate) fn push_event(events: &mut Vec<Event>, event: Event) {
    if events.len() >= EVENTS_MAX {
        let oldest = usize::from(events[0].what == EventKind::Created);
        events.remove(oldest);
    }
    events.push(event);
}

/// Who did what no caller or worker did.
pub(crate) const SERVER: &str = "server";
