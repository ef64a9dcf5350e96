//! Claims that wait for work, served in order of arrival.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use operond_core::{Command, Kind, LeaseKey, Operation, Release, Tenant, Timestamp};
use operond_store::{Accepted, ClaimRequest, Request};
use tokio::sync::{mpsc, oneshot};

use crate::digest;
use crate::error::Error;
use crate::writer::{Message, Outcome};

/// A claim that is to be served.
pub(crate) struct PendingClaim {
    /// What is wanted.
    pub(crate) request: ClaimRequest,
    /// Whether it waits when there is nothing.
    pub(crate) held: bool,
    /// Who waits for it.
    pub(crate) reply: oneshot::Sender<Result<Handover, Error>>,
    /// Takes back what could not be handed over.
    pub(crate) queue: mpsc::WeakSender<Message>,
}

/// Claimed operations on their way to a worker. Dropped before they are taken, they are released:
/// their worker has hung up and will never know of them.
pub(crate) struct Handover {
    operations: Vec<Arc<Operation>>,
    at: Timestamp,
    queue: mpsc::WeakSender<Message>,
}

/// Claims in order of arrival, and what makes it worth trying them.
#[derive(Default)]
pub(crate) struct HeldClaims {
    pending: BTreeMap<u64, PendingClaim>,
    by_kind: HashMap<Kind, BTreeSet<u64>>,
    /// Kinds with operations to claim, as far as we know, and how many.
    hot: HashMap<Kind, usize>,
    /// Claims that were never tried.
    fresh: BTreeSet<u64>,
    /// The tenant served last, by set of kinds.
    served: HashMap<Arc<[Kind]>, Tenant>,
    arrived: u64,
}

/// A claim being tried: its place in the order of arrival.
pub(crate) struct Turn(u64);

impl Handover {
    /// The operations, which are the worker's from here on, and when they were claimed.
    pub(crate) fn take(mut self) -> (Vec<Arc<Operation>>, Timestamp) {
        (std::mem::take(&mut self.operations), self.at)
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        let Some(queue) = self.queue.upgrade().filter(|_| !self.operations.is_empty()) else { return };
        for operation in &self.operations {
            let lease = operation.lease.as_ref().expect("a claimed operation has a lease");
            let lease = LeaseKey { operation: operation.id.clone(), token: lease.token, secret: lease.secret };
            let release = Command::Release(Release { lease, digest: digest::of_release() });
            let (nobody, _) = oneshot::channel();
            // With a full queue it lapses instead.
            let _full = queue.try_send(Message::Do(Request::Command(operation.id.clone(), Box::new(release)), nobody));
        }
    }
}

impl HeldClaims {
    /// Takes a claim in, behind those that are there.
    pub(crate) fn hold(&mut self, claim: PendingClaim) {
        let place = self.arrived;
        self.arrived += 1;
        for kind in claim.request.kinds.iter() {
            self.by_kind.entry(kind.clone()).or_default().insert(place);
        }
        self.fresh.insert(place);
        self.pending.insert(place, claim);
    }

    /// An operation of `kind` can be claimed.
    pub(crate) fn heat(&mut self, kind: &Kind) {
        if self.by_kind.contains_key(kind) {
            *self.hot.entry(kind.clone()).or_default() += 1;
        }
    }

    /// There may be operations of any kind.
    pub(crate) fn heat_all(&mut self) {
        for kind in self.by_kind.keys() {
            self.hot.entry(kind.clone()).or_insert(1);
        }
    }

    /// Whether some claim is worth trying now.
    pub(crate) fn waiting_for_a_turn(&self) -> bool {
        !self.fresh.is_empty() || !self.hot.is_empty()
    }

    /// At most `max` claims to try now, in order of arrival: the new ones, and the oldest of each
    /// kind that has work.
    pub(crate) fn turns(&mut self, max: usize) -> Vec<(Turn, ClaimRequest)> {
        let mut places = std::mem::take(&mut self.fresh);
        for (kind, count) in std::mem::take(&mut self.hot) {
            if let Some(waiting) = self.by_kind.get(&kind) {
                places.extend(waiting.iter().take(count));
            }
        }
        if let Some(&rest) = places.iter().nth(max) {
            self.fresh = places.split_off(&rest);
        }
        places.into_iter().filter_map(|place| self.turn(place)).collect()
    }

    fn turn(&mut self, place: u64) -> Option<(Turn, ClaimRequest)> {
        let claim = self.pending.get(&place)?;
        if claim.reply.is_closed() {
            self.remove(place);
            return None;
        }
        let mut request = claim.request.clone();
        request.after = self.served.get(&request.kinds).cloned();
        Some((Turn(place), request))
    }

    /// Takes in how a try went: hands over what was claimed, or goes on holding the claim.
    pub(crate) fn answer(&mut self, Turn(place): Turn, outcome: Outcome) {
        let (operations, at) = match outcome {
            Ok((Accepted::Claimed(operations), at)) => (operations, at),
            Ok(_) => unreachable!("a claim is answered with what was claimed"),
            Err(error) => {
                if let Some(claim) = self.remove(place) {
                    drop(claim.reply.send(Err(error)));
                }
                return;
            }
        };
        if operations.is_empty() && self.pending.get(&place).is_some_and(|claim| claim.held) {
            return;
        }
        let Some(claim) = self.remove(place) else { return };
        if let Some(last) = operations.last() {
            self.note_served(&claim.request.kinds, last.spec.tenant.clone());
            // Where there was one there may be more.
            claim.request.kinds.iter().for_each(|kind| self.heat(kind));
        }
        // A caller that hung up drops the handover, which releases what it holds.
        drop(claim.reply.send(Ok(Handover { operations, at, queue: claim.queue })));
    }

    /// Answers every held claim: nothing found.
    pub(crate) fn answer_all_empty(&mut self) {
        let claims = std::mem::take(self);
        for claim in claims.pending.into_values() {
            let nothing = Handover { operations: Vec::new(), at: Timestamp::default(), queue: claim.queue };
            drop(claim.reply.send(Ok(nothing)));
        }
    }

    fn note_served(&mut self, kinds: &Arc<[Kind]>, tenant: Tenant) {
        if self.served.len() >= KIND_SETS_MAX {
            self.served.clear();
        }
        self.served.insert(Arc::clone(kinds), tenant);
    }

    fn remove(&mut self, place: u64) -> Option<PendingClaim> {
        let claim = self.pending.remove(&place)?;
        for kind in claim.request.kinds.iter() {
            if let Some(places) = self.by_kind.get_mut(kind) {
                places.remove(&place);
                if places.is_empty() {
                    self.by_kind.remove(kind);
                }
            }
        }
        Some(claim)
    }
}

/// Sets of kinds whose last served tenant is remembered.
const KIND_SETS_MAX: usize = 1024;
