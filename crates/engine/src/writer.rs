//! The one way commands reach the store: queue → batch → commit → acknowledge → wake.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{Command, Kind, LeaseKey, Phase, Release, Stored, Timestamp};
use operond_store::{Accepted, Batch, Changed, Request};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, error};

use crate::claims::{HeldClaims, PendingClaim, Turn};
use crate::commit::commit;
use crate::error::{Error, error_chain};
use crate::{Shared, digest};

/// What the writer is asked.
pub(crate) enum Message {
    /// Carry this out and say how it went.
    Do(Request, oneshot::Sender<Outcome>),
    /// Find work; hold the call until there is some.
    Claim(PendingClaim),
    /// Others stored operations of these kinds that can be claimed.
    Claimable(Vec<Kind>),
    /// Others may have stored anything.
    AnythingClaimable,
}

/// How a request went, and at which instant it was judged.
pub(crate) type Outcome = Result<(Accepted, Timestamp), Error>;

/// Owns the queue's end and the held claims: nothing of it is shared, nothing is locked.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Message>,
    returned: mpsc::UnboundedReceiver<LeaseKey>,
    giving_back: Vec<LeaseKey>,
    claims: HeldClaims,
    next_tick: Instant,
    ticks: u32,
    more_due: bool,
    more_to_purge: bool,
}

/// Who is told how a request of a batch went.
enum Asker {
    Caller(oneshot::Sender<Outcome>),
    Claim(Turn),
    Timers,
    Nobody,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Message>,
        returned: mpsc::UnboundedReceiver<LeaseKey>,
    ) -> Self {
        Self {
            shared,
            queue,
            returned,
            giving_back: Vec::new(),
            claims: HeldClaims::default(),
            next_tick: Instant::now(),
            ticks: 0,
            more_due: false,
            more_to_purge: false,
        }
    }

    /// Serves until the engine closes and everything queued is committed.
    pub(crate) async fn serve(mut self) {
        let mut messages = Vec::with_capacity(BATCH_MAX);
        while self.gather(&mut messages).await {
            self.round(&mut messages).await;
        }
        self.claims.answer_all_empty();
        // Who waited reads the present state once more, and may give back what it was handed.
        let _impatient = timeout(LEAVE_MAX, self.shared.waiters.emptied()).await;
        self.round(&mut messages).await;
        if let Err(error) = self.shared.store.close().await {
            error!(error = %error_chain(&error), "the store did not close cleanly");
        }
    }

    /// Waits for something to do; false when nothing more will come.
    async fn gather(&mut self, messages: &mut Vec<Message>) -> bool {
        if self.shared.closing.is_cancelled() && !self.queue.is_closed() {
            self.queue.close();
            self.claims.answer_all_empty();
        }
        let open = !self.queue.is_closed();
        if open && (self.claims.waiting_for_a_turn() || self.more_due) {
            while messages.len() < BATCH_MAX {
                let Ok(message) = self.queue.try_recv() else { break };
                messages.push(message);
            }
            return true;
        }
        let closing = self.shared.closing.clone();
        tokio::select! {
            biased;
            () = closing.cancelled(), if open => true,
            count = self.queue.recv_many(messages, BATCH_MAX) => count > 0,
            _count = self.returned.recv_many(&mut self.giving_back, BATCH_MAX), if open => true,
            () = sleep_until(self.next_tick), if open => true,
        }
    }

    /// One batch, from the queue to the answers.
    async fn round(&mut self, messages: &mut Vec<Message>) {
        let mut batch = Batch::default();
        let mut askers = Vec::with_capacity(messages.len());
        for message in messages.drain(..) {
            match message {
                Message::Do(request, caller) => {
                    batch.requests.push(request);
                    askers.push(Asker::Caller(caller));
                }
                // No work is given out any more when the engine is about to stop.
                Message::Claim(claim) if self.queue.is_closed() => claim.answer_empty(),
                Message::Claim(claim) => self.claims.hold(claim),
                Message::Claimable(kinds) => kinds.iter().for_each(|kind| self.claims.heat(kind)),
                Message::AnythingClaimable => self.claims.heat_all(),
            }
        }
        for lease in self.given_back() {
            let release = Command::Release(Release { lease: lease.clone(), digest: digest::of_release() });
            batch.requests.push(Request::Command(lease.operation, Box::new(release)));
            askers.push(Asker::Nobody);
        }
        if self.timers_turn().await {
            batch.requests.push(Request::Settle(SETTLE_MAX));
            askers.push(Asker::Timers);
        }
        for (turn, request) in self.claims.turns(CLAIMED_MAX) {
            batch.requests.push(Request::Claim(request));
            askers.push(Asker::Claim(turn));
        }
        if batch.requests.is_empty() {
            return;
        }
        let committed = commit(&self.shared, Arc::new(batch)).await;
        self.keep(&committed.changed);
        for (asker, outcome) in askers.into_iter().zip(committed.outcomes) {
            self.answer(asker, outcome);
        }
        self.wake(&committed.changed, committed.at);
    }

    /// Leases whose workers never heard of them.
    fn given_back(&mut self) -> Vec<LeaseKey> {
        let mut leases = std::mem::take(&mut self.giving_back);
        while leases.len() < BATCH_MAX
            && let Ok(lease) = self.returned.try_recv()
        {
            leases.push(lease);
        }
        leases
    }

    /// Whether timers are to be settled in this batch.
    async fn timers_turn(&mut self) -> bool {
        let now = Instant::now();
        if self.queue.is_closed() {
            return false;
        }
        if now < self.next_tick {
            return std::mem::take(&mut self.more_due);
        }
        self.next_tick = now + TICK;
        self.more_due = false;
        // Whatever became claimable without a commit of ours (a backoff that ended) is found here.
        self.claims.heat_all();
        self.ticks = (self.ticks + 1) % PURGE_TICKS;
        if self.ticks == 0 || self.more_to_purge {
            self.purge().await;
        }
        true
    }

    async fn purge(&mut self) {
        let purged = self.shared.store.purge(PURGE_MAX).await;
        self.more_to_purge = matches!(purged, Ok(PURGE_MAX..));
        if let Err(error) = purged {
            debug!(error = %error_chain(&error), "old keys and tombstones were not removed");
        }
    }

    /// Makes what was committed readable from memory, before anybody is told of it.
    fn keep(&self, changed: &[Changed]) {
        let Some(recent) = &self.shared.recent else { return };
        for change in changed {
            match &change.stored {
                Stored::Live(operation) => recent.put(operation),
                Stored::Gone(_) => recent.remove(&change.operation.id),
            }
        }
    }

    fn answer(&mut self, asker: Asker, outcome: Outcome) {
        match asker {
            // The caller may have hung up; the command holds all the same.
            Asker::Caller(caller) => drop(caller.send(outcome)),
            Asker::Claim(turn) => self.claims.answer(turn, outcome),
            Asker::Nobody => {}
            Asker::Timers => self.more_due = matches!(outcome, Ok((Accepted::Settled(SETTLE_MAX..), _))),
        }
    }

    /// Wakes who waits for a changed operation, and offers those that can be claimed now.
    fn wake(&mut self, changed: &[Changed], at: Timestamp) {
        for change in changed {
            if !change.bare {
                self.shared.waiters.publish(change);
            }
            if let Stored::Live(operation) = &change.stored
                && matches!(operation.phase, Phase::Queued { .. })
                && operation.available_at <= at
            {
                self.claims.heat(&operation.spec.kind);
            }
        }
    }
}

/// Most commands in one transaction.
const BATCH_MAX: usize = 1024;
/// So many operations wanted by claims, and no further claim is tried in the same transaction.
const CLAIMED_MAX: usize = 256;
/// Most operations whose timers are settled in one transaction.
const SETTLE_MAX: usize = 256;
/// How often due timers are looked for; CONTRACT §3 allows 1 s.
const TICK: Duration = Duration::from_millis(250);
/// Old keys and tombstones are removed once in so many ticks …
const PURGE_TICKS: u32 = 40;
/// … so many at a time; when there were as many, again at the next tick.
const PURGE_MAX: usize = 1000;
/// How long the store stays open for those who waited when the engine stopped.
const LEAVE_MAX: Duration = Duration::from_millis(500);
