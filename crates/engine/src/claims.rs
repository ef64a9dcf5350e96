//! Claims that wait for work, served in order of arrival.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use operond_core::{Kind, LeaseKey, Operation, Tenant, Timestamp};
use operond_store::{Accepted, ClaimRequest};
use tokio::sync::{mpsc, oneshot};

use crate::audit::Origin;
use crate::entropy;
use crate::error::{Error, Unavailable};
use crate::writer::Outcome;

/// A claim that is to be served.
pub(crate) struct PendingClaim {
    /// What is wanted; its secrets are made when it is tried.
    pub(crate) request: ClaimRequest,
    /// How many are wanted.
    pub(crate) max: usize,
    /// Whether it waits when there is nothing.
    pub(crate) held: bool,
    /// Who asks, for the audit.
    pub(crate) origin: Option<Origin>,
    /// Who waits for it.
    pub(crate) reply: oneshot::Sender<Result<Handover, Error>>,
    /// Takes back what could not be handed over.
    pub(crate) returns: mpsc::UnboundedSender<LeaseKey>,
}

/// Claimed operations on their way to a worker. Dropped before they are taken, they are given back:
/// their worker has hung up and will never know of them.
pub(crate) struct Handover {
    operations: Vec<Arc<Operation>>,
    at: Timestamp,
    returns: mpsc::UnboundedSender<LeaseKey>,
}

/// Claims in order of arrival, and what makes it worth trying them.
#[derive(Default)]
pub(crate) struct HeldClaims {
    pending: BTreeMap<u64, PendingClaim>,
    /// In lines, by whose operations they can take: one for each tenant that is asked for, and one of those who take any.
    lines: ByKind<BTreeSet<u64>>,
    /// Operations to claim, as far as we know, and how many; by whose they are, where that is known.
    hot: ByKind<usize>,
    /// How many claims of each line are being tried. They are not among those that are pending: none is tried twice at once.
    tried: ByKind<usize>,
    /// Claims that are to be tried whether or not there is work.
    fresh: BTreeSet<u64>,
    /// The tenant served last, by set of kinds.
    served: HashMap<Arc<[Kind]>, Tenant>,
    arrived: u64,
    /// With so many pending, those whose callers hung up are swept out.
    sweep_at: usize,
    /// No work is given out any more.
    closed: bool,
}

/// Something by kind, and by tenant or for none in particular.
type ByKind<T> = HashMap<Kind, BTreeMap<Option<Tenant>, T>>;

/// A claim being tried, and its place in the order of arrival.
pub(crate) struct Turn {
    place: u64,
    claim: PendingClaim,
}

impl Turn {
    /// Who asks, for the audit.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.claim.origin.as_ref()
    }
}

impl Handover {
    /// The operations, which are the worker's from here on, and when they were claimed.
    pub(crate) fn take(mut self) -> (Vec<Arc<Operation>>, Timestamp) {
        (std::mem::take(&mut self.operations), self.at)
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        for operation in &self.operations {
            let lease = operation.lease.as_ref().expect("a claimed operation has a lease");
            let lease = LeaseKey { operation: operation.id.clone(), token: lease.token, secret: lease.secret };
            // Without a writer it lapses instead.
            let _ended = self.returns.send(lease);
        }
    }
}

impl PendingClaim {
    /// Nothing found.
    pub(crate) fn answer_empty(self) {
        let nothing = Handover { operations: Vec::new(), at: Timestamp::default(), returns: self.returns };
        drop(self.reply.send(Ok(nothing)));
    }
}

impl HeldClaims {
    /// Takes a claim in, behind those that are there.
    pub(crate) fn hold(&mut self, claim: PendingClaim) {
        if self.pending.len() >= self.sweep_at {
            self.sweep();
        }
        let place = self.arrived;
        self.arrived += 1;
        let (kinds, tenant) = (Arc::clone(&claim.request.kinds), claim.request.tenant.clone());
        if !claim.held {
            self.fresh.insert(place);
        }
        self.put(place, claim);
        // Work may be there that nobody has found yet (a backoff that ended): it belongs to those
        // who have waited longest, so they are tried first. This one is among them where it is the oldest.
        kinds.iter().for_each(|kind| self.heat(kind, tenant.as_ref()));
    }

    fn put(&mut self, place: u64, claim: PendingClaim) {
        for kind in claim.request.kinds.iter() {
            let lines = self.lines.entry(kind.clone()).or_default();
            lines.entry(claim.request.tenant.clone()).or_default().insert(place);
        }
        self.pending.insert(place, claim);
    }

    /// Forgets claims whose callers hung up, so often that there are never more of them than of the others.
    fn sweep(&mut self) {
        let gone: Vec<u64> =
            self.pending.iter().filter(|(_, claim)| claim.reply.is_closed()).map(|(place, _)| *place).collect();
        for place in gone {
            self.remove(place);
        }
        self.sweep_at = SWEEP_AT_LEAST.max(2 * self.pending.len());
    }

    /// An operation of `kind` can be claimed; whose it is, if that is known.
    pub(crate) fn heat(&mut self, kind: &Kind, tenant: Option<&Tenant>) {
        if self.lines.contains_key(kind) || self.tried.contains_key(kind) {
            *self.hot.entry(kind.clone()).or_default().entry(tenant.cloned()).or_default() += 1;
        }
    }

    /// There may be operations of any kind.
    pub(crate) fn heat_all(&mut self) {
        for kind in self.lines.keys().chain(self.tried.keys()) {
            self.hot.entry(kind.clone()).or_default().entry(None).or_insert(1);
        }
    }

    /// Whether some claim is worth trying now.
    pub(crate) fn waiting_for_a_turn(&self) -> bool {
        let wanted = |(kind, works): (&Kind, &BTreeMap<Option<Tenant>, usize>)| {
            works.keys().any(|tenant| lines_for(&self.lines, kind, tenant.as_ref()).next().is_some())
        };
        !self.fresh.is_empty() || self.hot.iter().any(wanted)
    }

    /// Claims to try now, in order of arrival: those that cannot wait, and the oldest of each kind
    /// that has work. When together they want `max` operations, the others have to wait.
    pub(crate) fn turns(&mut self, max: usize) -> Vec<(Turn, ClaimRequest)> {
        let mut places = std::mem::take(&mut self.fresh);
        for (kind, works) in std::mem::take(&mut self.hot) {
            for (tenant, count) in works {
                let oldest = self.oldest(&kind, tenant.as_ref(), count);
                // Those that are being tried may have looked too early to find the rest.
                let tried = lines_for(&self.tried, &kind, tenant.as_ref()).sum();
                let rest = count.saturating_sub(oldest.len()).min(tried);
                places.extend(oldest);
                if rest > 0 {
                    self.hot.entry(kind.clone()).or_default().insert(tenant, rest);
                }
            }
        }
        let (mut turns, mut wanted) = (Vec::new(), 0);
        for place in places {
            if wanted >= max {
                self.fresh.insert(place);
            } else if let Some((turn, request)) = self.turn(place) {
                wanted += request.secrets.len();
                turns.push((turn, request));
            }
        }
        for (turn, _) in &turns {
            let ClaimRequest { kinds, tenant, .. } = &turn.claim.request;
            for kind in kinds.iter() {
                *self.tried.entry(kind.clone()).or_default().entry(tenant.clone()).or_default() += 1;
            }
        }
        turns
    }

    /// The first `count` claims that can take an operation of `kind` and `tenant`. Where it is not known whose it is, so
    /// many of each line: else those that find nothing would be tried again and again before others that might. Those
    /// whose callers hung up take nobody's turn.
    fn oldest(&mut self, kind: &Kind, tenant: Option<&Tenant>, count: usize) -> Vec<u64> {
        let (mut oldest, mut gone) = (Vec::new(), Vec::new());
        for line in lines_for(&self.lines, kind, tenant) {
            let before = oldest.len();
            for place in line {
                if oldest.len() - before == count {
                    break;
                }
                let here = self.pending.get(place).is_some_and(|claim| !claim.reply.is_closed());
                if here { oldest.push(*place) } else { gone.push(*place) }
            }
        }
        for place in gone {
            self.remove(place);
        }
        if tenant.is_some() {
            oldest.sort_unstable();
            oldest.truncate(count);
        }
        oldest
    }

    fn turn(&mut self, place: u64) -> Option<(Turn, ClaimRequest)> {
        let claim = self.remove(place).filter(|claim| !claim.reply.is_closed())?;
        let mut request = claim.request.clone();
        request.secrets = entropy::secrets(claim.max);
        request.after = self.served.get(&request.kinds).cloned();
        Some((Turn { place, claim }, request))
    }

    /// Takes in how a try went: hands over what was claimed, or goes on holding the claim.
    pub(crate) fn answer(&mut self, turn: Turn, outcome: Outcome) {
        self.no_longer_tried(&turn.claim);
        let (operations, at) = match outcome {
            Ok((Accepted::Claimed(operations), at)) => (operations, at),
            Ok(_) => unreachable!("a claim is answered with what was claimed"),
            // It waits anyhow, for a store that is away, too.
            Err(Error::Unavailable(Unavailable::Store)) if turn.claim.held => return self.found_nothing(turn),
            Err(error) => return drop(turn.claim.reply.send(Err(error))),
        };
        let Some(last) = operations.last() else { return self.found_nothing(turn) };
        let claim = turn.claim;
        if claim.request.tenant.is_none() {
            self.note_served(&claim.request.kinds, last.spec.tenant.clone());
        }
        // Where there was one there may be more.
        claim.request.kinds.iter().for_each(|kind| self.heat(kind, claim.request.tenant.as_ref()));
        // A caller that hung up drops the handover, which releases what it holds.
        drop(claim.reply.send(Ok(Handover { operations, at, returns: claim.returns })));
    }

    fn found_nothing(&mut self, Turn { place, claim }: Turn) {
        // What it was offered went to an older claim for other kinds; there may be more.
        let tenant = claim.request.tenant.as_ref();
        let again = claim.request.kinds.iter().any(|kind| works_for(&self.hot, kind, tenant));
        if self.closed || !(claim.held || again) {
            return claim.answer_empty();
        }
        if !claim.held {
            self.fresh.insert(place);
        }
        self.put(place, claim);
    }

    fn no_longer_tried(&mut self, claim: &PendingClaim) {
        let ClaimRequest { kinds, tenant, .. } = &claim.request;
        for kind in kinds.iter() {
            let lines = self.tried.get_mut(kind).expect("it is being tried");
            let tried = lines.get_mut(tenant).expect("it is being tried");
            *tried -= 1;
            if *tried == 0 {
                lines.remove(tenant);
            }
            if lines.is_empty() {
                self.tried.remove(kind);
            }
        }
    }

    /// Answers every claim: nothing found. Those that are being tried are answered when it is known how that went.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.lines.clear();
        self.fresh.clear();
        std::mem::take(&mut self.pending).into_values().for_each(PendingClaim::answer_empty);
    }

    fn note_served(&mut self, kinds: &Arc<[Kind]>, tenant: Tenant) {
        if self.served.len() >= KIND_SETS_MAX {
            self.served.clear();
        }
        self.served.insert(Arc::clone(kinds), tenant);
    }

    fn remove(&mut self, place: u64) -> Option<PendingClaim> {
        let claim = self.pending.remove(&place)?;
        let ClaimRequest { kinds, tenant, .. } = &claim.request;
        for kind in kinds.iter() {
            let Some(lines) = self.lines.get_mut(kind) else { continue };
            let Some(line) = lines.get_mut(tenant) else { continue };
            line.remove(&place);
            if line.is_empty() {
                lines.remove(tenant);
            }
            if lines.is_empty() {
                self.lines.remove(kind);
            }
        }
        Some(claim)
    }
}

/// The lines that an operation of `kind` and `tenant` can be given to: its own, and that of who takes any; all of them
/// where it is not known whose it is.
fn lines_for<'a, T>(by_kind: &'a ByKind<T>, kind: &Kind, tenant: Option<&'a Tenant>) -> impl Iterator<Item = &'a T> {
    let lines = by_kind.get(kind).into_iter().flatten();
    lines.filter(move |(line, _)| line.is_none() || tenant.is_none() || line.as_ref() == tenant).map(|(_, line)| line)
}

/// Whether there is work of `kind` that a claim for `tenant`, or for any, may find.
fn works_for(hot: &ByKind<usize>, kind: &Kind, tenant: Option<&Tenant>) -> bool {
    let mut works = hot.get(kind).into_iter().flatten();
    works.any(|(work, _)| work.is_none() || tenant.is_none() || work.as_ref() == tenant)
}

/// Sets of kinds whose last served tenant is remembered.
const KIND_SETS_MAX: usize = 1024;
/// Fewer claims than this are not swept.
const SWEEP_AT_LEAST: usize = 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use operond_core::Worker;

    use super::*;

    type Caller = oneshot::Receiver<Result<Handover, Error>>;

    fn claim(returns: &mpsc::UnboundedSender<LeaseKey>) -> (PendingClaim, Caller) {
        let request = ClaimRequest {
            kinds: [Kind::new("render").unwrap()].into(),
            tenant: None,
            after: None,
            worker: Worker::new("w").unwrap(),
            duration: Duration::from_secs(30),
            secrets: Vec::new(),
        };
        let (reply, caller) = oneshot::channel();
        (PendingClaim { request, max: 1, held: true, origin: None, reply, returns: returns.clone() }, caller)
    }

    #[test]
    fn claims_whose_callers_hung_up_do_not_pile_up_behind_one_that_stays() {
        #[expect(clippy::disallowed_methods, reason = "as the engine does")]
        let (returns, _returned) = mpsc::unbounded_channel();
        let mut claims = HeldClaims::default();
        let (stays, _caller) = claim(&returns);
        claims.hold(stays);
        for _ in 0..10 * SWEEP_AT_LEAST {
            claims.hold(claim(&returns).0);
        }
        assert!(claims.pending.len() <= SWEEP_AT_LEAST + 1, "{} are kept", claims.pending.len());
        assert_eq!(claims.turns(10).len(), 1);
        assert_eq!(claims.pending.len(), 0);
    }
}
