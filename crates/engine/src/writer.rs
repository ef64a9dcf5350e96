//! The one way commands reach the store: queue → batch → commit → acknowledge → wake.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{Phase, Stored, Timestamp};
use operond_store::{Accepted, Batch, Changed, Error as StoreError, Request};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error};

use crate::Shared;
use crate::claims::{HeldClaims, PendingClaim, Turn};
use crate::error::{Error, Unavailable};

/// What the writer is asked.
pub(crate) enum Message {
    /// Carry this out and say how it went.
    Do(Request, oneshot::Sender<Outcome>),
    /// Find work; hold the call until there is some.
    Claim(PendingClaim),
}

/// How a request went, and at which instant it was judged.
pub(crate) type Outcome = Result<(Accepted, Timestamp), Error>;

/// Owns the queue's end and the held claims: nothing of it is shared, nothing is locked.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Message>,
    claims: HeldClaims,
    next_tick: Instant,
    ticks: u32,
    more_due: bool,
}

/// Who is told how a request of a batch went.
enum Asker {
    Caller(oneshot::Sender<Outcome>),
    Claim(Turn),
    Timers,
}

/// A batch after its commit: an outcome for each request, and what was written.
#[derive(Default)]
struct Committed {
    outcomes: Vec<Outcome>,
    changed: Vec<Changed>,
    at: Timestamp,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, queue: mpsc::Receiver<Message>) -> Self {
        Self { shared, queue, claims: HeldClaims::default(), next_tick: Instant::now(), ticks: 0, more_due: false }
    }

    /// Serves until the engine closes and everything queued is committed.
    pub(crate) async fn serve(mut self) {
        let mut messages = Vec::with_capacity(BATCH_MAX);
        while self.gather(&mut messages).await {
            self.round(&mut messages).await;
        }
        self.claims.answer_all_empty();
        if let Err(error) = self.shared.store.close().await {
            error!(error = %error_chain(&error), "the store did not close cleanly");
        }
        self.shared.closed.cancel();
    }

    /// Waits for something to do; false when nothing more will come.
    async fn gather(&mut self, messages: &mut Vec<Message>) -> bool {
        if self.claims.waiting_for_a_turn() || self.more_due {
            while messages.len() < BATCH_MAX {
                let Ok(message) = self.queue.try_recv() else { break };
                messages.push(message);
            }
            return true;
        }
        let closing = self.shared.closing.clone();
        tokio::select! {
            biased;
            () = closing.cancelled(), if !self.queue.is_closed() => {
                self.queue.close();
                self.claims.answer_all_empty();
                true
            }
            count = self.queue.recv_many(messages, BATCH_MAX) => count > 0,
            () = sleep_until(self.next_tick), if !self.queue.is_closed() => true,
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
                Message::Claim(claim) => self.claims.hold(claim),
            }
        }
        if self.timers_turn().await {
            batch.requests.push(Request::Settle(SETTLE_MAX));
            askers.push(Asker::Timers);
        }
        for (turn, request) in self.claims.turns(CLAIMS_MAX) {
            batch.requests.push(Request::Claim(request));
            askers.push(Asker::Claim(turn));
        }
        if batch.requests.is_empty() {
            return;
        }
        let committed = self.commit(Arc::new(batch)).await;
        self.keep(&committed.changed);
        for (asker, outcome) in askers.into_iter().zip(committed.outcomes) {
            self.answer(asker, outcome);
        }
        self.wake(&committed.changed, committed.at);
    }

    /// Whether timers are to be settled in this batch.
    async fn timers_turn(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next_tick {
            return std::mem::take(&mut self.more_due);
        }
        self.next_tick = now + TICK;
        self.more_due = false;
        // Whatever became claimable without a commit of ours (a backoff that ended) is found here.
        self.claims.heat_all();
        self.ticks = (self.ticks + 1) % PURGE_TICKS;
        if self.ticks == 0
            && let Err(error) = self.shared.store.purge(PURGE_MAX).await
        {
            debug!(error = %error_chain(&error), "old keys and tombstones were not removed");
        }
        true
    }

    /// Commits a batch, or what can be committed of it.
    async fn commit(&self, batch: Arc<Batch>) -> Committed {
        match self.shared.store.update(Arc::clone(&batch)).await {
            Ok(applied) => {
                let outcomes = applied.replies.into_iter().map(|reply| Ok((reply?, applied.at))).collect();
                Committed { outcomes, changed: applied.changed, at: applied.at }
            }
            // Creates need room; completions and deletes hardly do, and delete makes some.
            Err(StoreError::Full(_)) if batch.requests.iter().any(is_create) => {
                let rest = (0..batch.requests.len()).filter(|&i| !is_create(&batch.requests[i])).collect();
                self.commit_parts(&batch, vec![rest], &Error::Unavailable(Unavailable::DiskFull)).await
            }
            // One damaged row must not fail its neighbours.
            Err(StoreError::Corrupt(_)) if batch.requests.len() > 1 => {
                let each = (0..batch.requests.len()).map(|index| vec![index]).collect();
                self.commit_parts(&batch, each, &Error::DataLoss).await
            }
            Err(failure) => {
                error!(error = %error_chain(&failure), requests = batch.requests.len(), "a batch was not stored");
                if matches!(failure, StoreError::Fatal(_)) {
                    self.shared.fatal.cancel();
                }
                let outcome = Err(Error::from(failure));
                Committed { outcomes: vec![outcome; batch.requests.len()], ..Committed::default() }
            }
        }
    }

    /// Commits the named parts of a batch, each in its own transaction; what is in none gets `left_out`.
    async fn commit_parts(&self, batch: &Batch, parts: Vec<Vec<usize>>, left_out: &Error) -> Committed {
        let outcomes = vec![Err(left_out.clone()); batch.requests.len()];
        let mut whole = Committed { outcomes, ..Committed::default() };
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let requests = part.iter().map(|&index| batch.requests[index].clone()).collect();
            match self.shared.store.update(Arc::new(Batch { requests })).await {
                Ok(applied) => {
                    for (index, reply) in part.into_iter().zip(applied.replies) {
                        whole.outcomes[index] = reply.map(|accepted| (accepted, applied.at)).map_err(Error::from);
                    }
                    whole.changed.extend(applied.changed);
                    whole.at = applied.at;
                }
                Err(failure) => {
                    error!(error = %error_chain(&failure), requests = part.len(), "part of a batch was not stored");
                    let error = Error::from(failure);
                    part.into_iter().for_each(|index| whole.outcomes[index] = Err(error.clone()));
                }
            }
        }
        whole
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

fn is_create(request: &Request) -> bool {
    matches!(request, Request::Create(_))
}

/// An error with all its causes, on one line.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Most commands in one transaction.
const BATCH_MAX: usize = 1024;
/// Most claims tried in one transaction.
const CLAIMS_MAX: usize = 256;
/// Most operations whose timers are settled in one transaction.
const SETTLE_MAX: usize = 256;
/// How often due timers are looked for; CONTRACT §3 allows 1 s.
const TICK: Duration = Duration::from_millis(250);
/// Old keys and tombstones are removed once in so many ticks …
const PURGE_TICKS: u32 = 40;
/// … so many at a time.
const PURGE_MAX: usize = 1000;
