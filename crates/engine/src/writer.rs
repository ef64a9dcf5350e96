//! The one way commands reach the store: queue → batch → commit → acknowledge → wake.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use operond_core::{Command, Kind, LeaseKey, Release, Scope, Stored, Timestamp};
use operond_store::{Accepted, Batch, Changed, Error as StoreError, Properties, Request};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, error};

use crate::audit::Origin;
use crate::claims::{HeldClaims, PendingClaim, Turn};
use crate::commit::{Committed, commit};
use crate::error::{Error, Unavailable, error_chain};
use crate::under_way::UnderWay;
use crate::{Shared, digest};

/// What the writer is asked.
pub(crate) enum Message {
    /// Carry this out and say how it went.
    Do(Request, Caller),
    /// Find work; hold the call until there is some.
    Claim(PendingClaim),
    /// Others stored operations of these kinds that can be claimed.
    Claimable(Vec<Kind>),
    /// Others may have stored anything.
    AnythingClaimable,
}

/// Who asks, and waits to be told.
pub(crate) struct Caller {
    pub(crate) reply: oneshot::Sender<Outcome>,
    /// For the audit.
    pub(crate) origin: Option<Origin>,
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
    /// What is asked of the next batches, in order.
    waiting: VecDeque<(Request, Asker)>,
    under_way: UnderWay<Landed>,
    batch_max: usize,
    batches_at_once: usize,
    next_tick: Instant,
    ticks: u32,
    timers: Chore,
    purge: Chore,
}

/// Who is told how a request of a batch went.
enum Asker {
    Caller(Caller),
    Claim(Turn),
    Timers,
    /// Nobody: a lease is given back.
    Returns(LeaseKey),
}

/// What the store has done.
enum Landed {
    Batch(Vec<Asker>, Committed),
    Purge(Result<usize, StoreError>),
}

/// Something to be done now and then, and never twice at once.
#[derive(Default)]
struct Chore {
    under_way: bool,
    /// There was more to do than was done.
    more: bool,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Message>,
        returned: mpsc::UnboundedReceiver<LeaseKey>,
    ) -> Self {
        let &Properties { batch_max, batches_at_once, .. } = shared.store.properties();
        Self {
            shared,
            queue,
            returned,
            giving_back: Vec::new(),
            claims: HeldClaims::default(),
            waiting: VecDeque::new(),
            under_way: UnderWay::default(),
            batch_max,
            batches_at_once,
            next_tick: Instant::now(),
            ticks: 0,
            timers: Chore::default(),
            purge: Chore::default(),
        }
    }

    /// Serves until the engine closes and everything queued is committed.
    pub(crate) async fn serve(mut self) {
        let mut messages = Vec::with_capacity(self.batch_max);
        while self.gather(&mut messages).await {
            self.take_in(&mut messages);
            self.begin_batch();
        }
        self.claims.close();
        self.finish().await;
        // Who waited reads the present state once more, and may give back what it was handed.
        let _impatient = timeout(LEAVE_MAX, self.shared.waiters.emptied()).await;
        self.finish().await;
        if let Err(error) = self.shared.store.close().await {
            error!(error = %error_chain(&error), "the store did not close cleanly");
        }
    }

    /// Waits for something to do, and for room to do it; false when nothing more will come.
    async fn gather(&mut self, messages: &mut Vec<Message>) -> bool {
        let closing = self.shared.closing.clone();
        loop {
            if closing.is_cancelled() && !self.queue.is_closed() {
                self.queue.close();
                self.claims.close();
            }
            let open = !self.queue.is_closed();
            let room = self.under_way.count() < self.batches_at_once;
            let more = !self.waiting.is_empty() || open && (self.claims.waiting_for_a_turn() || self.timers.more);
            if room && more {
                while self.waiting.len() + messages.len() < self.batch_max {
                    let Ok(message) = self.queue.try_recv() else { break };
                    messages.push(message);
                }
                return true;
            }
            tokio::select! {
                biased;
                landed = self.under_way.next(), if self.under_way.count() > 0 => self.land(landed),
                () = closing.cancelled(), if open => {}
                count = self.queue.recv_many(messages, self.batch_max), if room => return count > 0,
                _count = self.returned.recv_many(&mut self.giving_back, self.batch_max), if open && room => return true,
                () = sleep_until(self.next_tick), if open && room => return true,
            }
        }
    }

    /// Sorts out what was asked, and what is to be done without.
    fn take_in(&mut self, messages: &mut Vec<Message>) {
        for message in messages.drain(..) {
            match message {
                Message::Do(request, caller) => self.waiting.push_back((request, Asker::Caller(caller))),
                // No work is given out any more when the engine is about to stop.
                Message::Claim(claim) if self.queue.is_closed() => claim.answer_empty(),
                Message::Claim(claim) => self.claims.hold(claim),
                Message::Claimable(kinds) => kinds.iter().for_each(|kind| self.claims.heat(kind, None)),
                Message::AnythingClaimable => self.claims.heat_all(),
            }
        }
        self.give_back();
        if !self.queue.is_closed() {
            self.see_to_chores();
        }
        // Claims are tried anew when those before them are on their way.
        if !self.waiting.iter().any(|(_, asker)| matches!(asker, Asker::Claim(_))) {
            for (turn, request) in self.claims.turns(CLAIMED_MAX) {
                self.waiting.push_back((Request::Claim(request), Asker::Claim(turn)));
            }
        }
    }

    /// Releases the leases whose workers never heard of them.
    fn give_back(&mut self) {
        while self.giving_back.len() < self.batch_max
            && let Ok(lease) = self.returned.try_recv()
        {
            self.giving_back.push(lease);
        }
        for lease in self.giving_back.drain(..) {
            let release = Command::Release(Release { lease: lease.clone(), digest: digest::of_release() });
            let request = Request::Command(Scope::default(), lease.operation.clone(), Box::new(release));
            self.waiting.push_back((request, Asker::Returns(lease)));
        }
    }

    fn see_to_chores(&mut self) {
        let now = Instant::now();
        let tick = now >= self.next_tick;
        if tick {
            self.next_tick = now + TICK;
            // Whatever became claimable without a commit of ours (a backoff that ended) is found here.
            self.claims.heat_all();
            self.ticks = (self.ticks + 1) % PURGE_TICKS;
            if self.purge.begin(self.ticks == 0) {
                let shared = Arc::clone(&self.shared);
                self.under_way.begin(async move { Landed::Purge(shared.store.purge(PURGE_MAX).await) });
            }
        }
        if self.timers.begin(tick) {
            self.waiting.push_back((Request::Settle(SETTLE_MAX), Asker::Timers));
        }
    }

    /// Sends as much of what is asked on its way as goes into one batch.
    fn begin_batch(&mut self) {
        let count = self.waiting.len().min(self.batch_max);
        if count > 0 {
            let (requests, askers) = self.waiting.drain(..count).unzip();
            let shared = Arc::clone(&self.shared);
            self.under_way.begin(async move {
                let committed = commit(&shared, Arc::new(Batch { requests })).await;
                Landed::Batch(askers, committed)
            });
        }
    }

    /// Commits what is asked and given back, to the last.
    async fn finish(&mut self) {
        loop {
            self.give_back();
            if self.under_way.count() < self.batches_at_once {
                self.begin_batch();
            }
            if self.under_way.count() == 0 {
                return;
            }
            let landed = self.under_way.next().await;
            self.land(landed);
        }
    }

    /// Tells everybody what the store has done.
    fn land(&mut self, landed: Landed) {
        match landed {
            Landed::Batch(askers, committed) => {
                self.keep(&committed.changed);
                self.tell_audit(&askers, &committed);
                for (asker, outcome) in askers.into_iter().zip(committed.outcomes) {
                    self.answer(asker, outcome);
                }
                self.wake(&committed.changed, committed.at);
            }
            Landed::Purge(purged) => {
                self.purge.end(matches!(purged, Ok(PURGE_MAX..)));
                if let Err(error) = purged {
                    debug!(error = %error_chain(&error), "old keys and tombstones were not removed");
                }
            }
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

    fn tell_audit(&self, askers: &[Asker], committed: &Committed) {
        let Some(audit) = &self.shared.options.audit else { return };
        for transition in &committed.transitions {
            let origin = match &askers[transition.request] {
                Asker::Caller(caller) => caller.origin.as_ref(),
                Asker::Claim(turn) => turn.origin(),
                Asker::Timers | Asker::Returns(_) => None,
            };
            audit.happened(committed.at, transition, origin);
        }
    }

    fn answer(&mut self, asker: Asker, outcome: Outcome) {
        match asker {
            // The caller may have hung up; the command holds all the same.
            Asker::Caller(caller) => drop(caller.reply.send(outcome)),
            Asker::Claim(turn) => self.claims.answer(turn, outcome),
            // At the next tick once more; a repeat changes nothing. An engine that is about to stop leaves it to lapse.
            Asker::Returns(lease) => {
                if outcome == Err(Error::Unavailable(Unavailable::Store)) && !self.queue.is_closed() {
                    self.giving_back.push(lease);
                }
            }
            Asker::Timers => self.timers.end(matches!(outcome, Ok((Accepted::Settled(SETTLE_MAX..), _)))),
        }
    }

    /// Wakes who waits for a changed operation, and offers those that can be claimed now.
    fn wake(&mut self, changed: &[Changed], at: Timestamp) {
        for change in changed {
            if !change.bare {
                self.shared.waiters.publish(change);
            }
            if let Some(kind) = change.claimable(at) {
                self.claims.heat(kind, Some(&change.operation.spec.tenant));
            }
        }
    }
}

impl Chore {
    /// Whether it is to be done now.
    fn begin(&mut self, due: bool) -> bool {
        let begins = !self.under_way && (due || self.more);
        if begins {
            *self = Self { under_way: true, more: false };
        }
        begins
    }

    fn end(&mut self, more: bool) {
        *self = Self { under_way: false, more };
    }
}

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
