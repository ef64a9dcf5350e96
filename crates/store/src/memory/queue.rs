//! Who is served next: queued operations by kind, tenant and the time since when they can be claimed.

use std::collections::{BTreeMap, BTreeSet, btree_set};
use std::iter::{Peekable, successors};
use std::ops::Bound;

use operond_core::{Kind, Operation, OperationId, Tenant, Timestamp};

use crate::rows::ClaimWant;

/// The index behind [`ClaimWant`].
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(BTreeMap<Kind, Lines>);

/// The tenants of one kind, each with its queued operations.
type Lines = BTreeMap<Tenant, Places>;
type Places = BTreeSet<(Timestamp, OperationId)>;

impl Queue {
    pub(super) fn insert(&mut self, operation: &Operation) {
        if queued(operation) {
            let lines = self.0.entry(operation.spec.kind.clone()).or_default();
            lines.entry(operation.spec.tenant.clone()).or_default().insert(place(operation));
        }
    }

    pub(super) fn remove(&mut self, operation: &Operation) {
        let Some(lines) = self.0.get_mut(&operation.spec.kind) else { return };
        let Some(places) = lines.get_mut(&operation.spec.tenant) else { return };
        places.remove(&place(operation));
        if places.is_empty() {
            lines.remove(&operation.spec.tenant);
        }
        if lines.is_empty() {
            self.0.remove(&operation.spec.kind);
        }
    }

    /// The candidates for `want` in its order, at most as many as it wants.
    pub(super) fn candidates(&self, want: &ClaimWant, now: Timestamp) -> Vec<OperationId> {
        let kinds: BTreeSet<&Kind> = want.kinds.iter().collect();
        let lines: Vec<&Lines> = kinds.into_iter().filter_map(|kind| self.0.get(kind)).collect();
        let tenants: Box<dyn Iterator<Item = &Tenant>> = match &want.tenant {
            Some(tenant) => Box::new(std::iter::once(tenant)),
            None => Box::new(tenants_in_turn(&lines, want.after.as_ref())),
        };
        let turns = tenants.map(|tenant| Turn::new(&lines, tenant));
        let mut turns: Vec<Turn<'_>> = turns.filter_map(|turn| turn.ready(now)).take(want.max).collect();
        let mut found = Vec::new();
        while found.len() < want.max && !turns.is_empty() {
            turns.retain_mut(|turn| match turn.next(now) {
                Some(id) => {
                    found.push(id.clone());
                    true
                }
                None => false,
            });
        }
        found.truncate(want.max);
        found
    }
}

/// One tenant's operations of some kinds, the longest claimable first.
struct Turn<'a>(Vec<Peekable<btree_set::Iter<'a, (Timestamp, OperationId)>>>);

impl<'a> Turn<'a> {
    fn new(lines: &[&'a Lines], tenant: &Tenant) -> Self {
        Self(lines.iter().filter_map(|lines| lines.get(tenant)).map(|places| places.iter().peekable()).collect())
    }

    /// Itself, if it has anything to be claimed at `now`.
    fn ready(mut self, now: Timestamp) -> Option<Self> {
        self.0.iter_mut().any(|places| places.peek().is_some_and(|(at, _)| *at <= now)).then_some(self)
    }

    fn next(&mut self, now: Timestamp) -> Option<&'a OperationId> {
        let heads = self.0.iter_mut().filter_map(|places| Some((*places.peek()?, places)));
        let (_, first) = heads.min_by_key(|(head, _)| *head)?;
        first.next_if(|(at, _)| *at <= now).map(|(_, id)| id)
    }
}

/// Every tenant once: those behind `after` by name, then the others.
fn tenants_in_turn<'a>(lines: &[&'a Lines], after: Option<&'a Tenant>) -> impl Iterator<Item = &'a Tenant> {
    let from =
        move |start| successors(next_tenant(lines, start), move |&tenant| next_tenant(lines, Bound::Excluded(tenant)));
    let behind = from(after.map_or(Bound::Unbounded, Bound::Excluded));
    let around = from(Bound::Unbounded).take_while(move |&tenant| after.is_some_and(|after| tenant <= after));
    behind.chain(around)
}

fn next_tenant<'a>(lines: &[&'a Lines], start: Bound<&Tenant>) -> Option<&'a Tenant> {
    let first = |lines: &&'a Lines| lines.range::<Tenant, _>((start, Bound::Unbounded)).next();
    lines.iter().filter_map(first).map(|(tenant, _)| tenant).min()
}

/// Claimable now or later.
fn queued(operation: &Operation) -> bool {
    operation.claimable(operation.available_at)
}

fn place(operation: &Operation) -> (Timestamp, OperationId) {
    (operation.available_at, operation.id.clone())
}
