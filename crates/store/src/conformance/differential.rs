//! Two stores, the same commands made up at random, and no difference allowed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::thread;

use operond_core::{Operation, OperationId, Scope, Stored, Token};

use super::block_on::block_on;
use super::invariants::{check_step, check_version};
use super::make::batch;
use super::rig::query;
use super::script::Script;
use crate::clock::ManualClock;
use crate::list::{CountQuery, Cursor, ListQuery, Order, Page};
use crate::request::{Accepted, Applied, Changed};
use crate::{Lookup, Store};

/// How much of what is made up.
#[derive(Clone, Copy, Debug)]
pub struct Differential {
    /// The same seed makes the same commands up.
    pub seed: u64,
    /// So many at least; they come in batches of random size.
    pub commands: usize,
}

/// What a comparison has seen: enough to compare once more, for example when a store was reopened.
#[derive(Debug, Default)]
pub struct History {
    ids: BTreeSet<OperationId>,
    newest: HashMap<OperationId, Arc<Operation>>,
    leases: HashSet<(OperationId, Token)>,
}

impl Differential {
    /// `commands` commands from a seed of chance, unless the environment variables `OPEROND_SEED`
    /// and `OPEROND_COMMANDS` say otherwise.
    #[must_use]
    pub fn from_env(commands: usize) -> Self {
        let read = |name| Some(std::env::var(name).ok()?.parse::<u64>().expect("a number in OPEROND_…"));
        let chance = || getrandom::u64().expect("the system has randomness");
        Self {
            seed: read("OPEROND_SEED").unwrap_or_else(chance),
            commands: read("OPEROND_COMMANDS").map_or(commands, |n| usize::try_from(n).expect("a usize")),
        }
    }

    /// Gives both stores the same commands at the same times and compares every answer, what is
    /// stored, lists, and what was purged; checks each version against the rules' invariants.
    ///
    /// Both stores must be empty, go by `clock`, and have been opened at the same instant. The
    /// first difference panics; the seed is printed then.
    pub fn run(self, clock: &ManualClock, left: &dyn Store, right: &dyn Store) -> History {
        let _announce = Announce(self);
        let mut script = Script::new(self.seed);
        let mut history = History::default();
        let mut asked = 0;
        while asked < self.commands {
            clock.advance(script.pause());
            asked += step(&mut script, &mut history, left, right);
            if script.random.one_in(3) {
                compare_list(&script.query(), left, right);
            }
            if script.random.one_in(20) {
                let purged = [left, right].map(|store| block_on(store.purge(usize::MAX >> 8)).expect("it purges"));
                assert_eq!(purged[0], purged[1], "purged");
            }
        }
        history.compare(left, right);
        history
    }
}

impl Differential {
    /// Compares `queries` lists that are made up at random, each for a few pages, and as many counts.
    /// Says how many operations were on those pages.
    ///
    /// The first difference panics; the seed is printed then.
    pub fn lists(self, queries: usize, left: &dyn Store, right: &dyn Store) -> usize {
        let _announce = Announce(self);
        let mut script = Script::new(self.seed);
        let mut listed = 0;
        for _ in 0..queries {
            let mut query = script.short_query();
            for _ in 0..PAGES_MAX {
                let page = compare_page(&query, left, right);
                listed += page.operations.len();
                query.after = page.next;
                if query.after.is_none() {
                    break;
                }
            }
            let ListQuery { scope, filter, payloads, scan_max, .. } = query;
            let counted = CountQuery { scope, filter, payloads, scan_max, count_max: scan_max };
            let [a, b] =
                [left, right].map(|store| block_on(store.count(&counted)).expect("a store that is well counts"));
            assert_eq!(a, b, "the count of {counted:?}");
        }
        listed
    }
}

impl History {
    /// Compares everything: each operation ever seen, and the lists in both orders.
    pub fn compare(&self, left: &dyn Store, right: &dyn Store) {
        for id in &self.ids {
            compare_lookup(id, left, right);
        }
        for order in [Order::NewestFirst, Order::OldestFirst] {
            let mut query = ListQuery { order, ..query() };
            while let Some(after) = compare_list(&query, left, right) {
                query.after = Some(after);
            }
        }
    }

    /// So many operations were created.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.ids.len()
    }

    /// Checks what a batch wrote and answered against all that was before.
    fn check(&mut self, applied: &Applied) {
        for changed in &applied.changed {
            self.check_changed(changed, applied);
        }
        for reply in &applied.replies {
            let Ok(Accepted::Claimed(operations)) = reply else { continue };
            for operation in operations {
                let token = operation.lease.as_ref().expect("what is claimed has a lease").token;
                let new = self.leases.insert((operation.id.clone(), token));
                assert!(new, "{token:?} of {} was given twice", operation.id);
            }
        }
    }

    fn check_changed(&mut self, changed: &Changed, applied: &Applied) {
        let id = &changed.operation.id;
        self.ids.insert(id.clone());
        if let Stored::Live(operation) = &changed.stored {
            check_version(operation, applied.at);
            if let Some(before) = self.newest.get(id) {
                check_step(before, changed);
            }
        }
        self.newest.insert(id.clone(), Arc::clone(&changed.operation));
    }
}

/// One batch; says how many requests it had.
fn step(script: &mut Script, history: &mut History, left: &dyn Store, right: &dyn Store) -> usize {
    let most = script.random.pick(&[1, 5, 40, 150]);
    let requests: Vec<_> = (0..=script.random.below(most)).map(|_| script.request()).collect();
    let asked = requests.len();
    let batch = batch(requests);
    let [a, b] = [left, right].map(|store| {
        let mut applied = block_on(store.update(Arc::clone(&batch))).expect("a store that is well takes a batch");
        applied.changed.sort_by(|a, b| a.operation.id.cmp(&b.operation.id));
        applied
    });
    assert_eq!((a.at, a.replies.len()), (b.at, b.replies.len()), "times, and numbers of replies");
    for (request, (a, b)) in batch.requests.iter().zip(a.replies.iter().zip(&b.replies)) {
        assert_eq!(a, b, "replies to {request:?}");
    }
    compare_changed(&a.changed, &b.changed);
    history.check(&a);
    for changed in &a.changed {
        let read = compare_lookup(&changed.operation.id, left, right);
        assert_eq!(matches!(read, Lookup::Found(_)), matches!(changed.stored, Stored::Live(_)), "{changed:?}");
        script.remember(&changed.operation);
    }
    if let Some(known) = script.known() {
        compare_lookup(&known.id, left, right);
    }
    asked
}

fn compare_changed(left: &[Changed], right: &[Changed]) {
    for (a, b) in left.iter().zip(right) {
        assert_eq!((&a.operation, &a.stored, a.bare), (&b.operation, &b.stored, b.bare), "what was written");
    }
    assert_eq!(left.len(), right.len(), "how many were written");
}

fn compare_lookup(id: &OperationId, left: &dyn Store, right: &dyn Store) -> Lookup {
    let [a, b] =
        [left, right].map(|store| block_on(store.get(&Scope::default(), id)).expect("a store that is well looks up"));
    assert_eq!(a, b, "what is stored of {id}");
    a
}

/// The place where the next page begins, if there is one.
fn compare_list(query: &ListQuery, left: &dyn Store, right: &dyn Store) -> Option<Cursor> {
    compare_page(query, left, right).next
}

fn compare_page(query: &ListQuery, left: &dyn Store, right: &dyn Store) -> Page {
    let [a, b] = [left, right].map(|store| block_on(store.list(query)).expect("a store that is well lists"));
    assert_eq!(a, b, "the page of {query:?}");
    a
}

/// Of one list.
const PAGES_MAX: usize = 3;

/// Says how to do it again when a difference unwinds.
struct Announce(Differential);

impl Drop for Announce {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("to see it again: OPEROND_SEED={} OPEROND_COMMANDS={}", self.0.seed, self.0.commands);
        }
    }
}

#[cfg(test)]
mod tests {
    use operond_core::{EventKind, Rejection, Timestamp};

    use super::*;
    use crate::MemoryStore;
    use crate::request::{Missing, Refusal};

    #[test]
    fn what_is_made_up_makes_everything_happen() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_750_000_000_000_000)));
        let store = MemoryStore::new(Arc::clone(&clock));
        let mut script = Script::new(1);
        let (mut happened, mut refused) = (HashSet::new(), HashSet::new());
        for _ in 0..1_000 {
            clock.advance(script.pause());
            let requests = (0..script.random.below(40)).map(|_| script.request()).collect();
            let applied = block_on(store.update(batch(requests))).unwrap();
            for changed in &applied.changed {
                happened.extend(changed.operation.events.iter().map(|event| event.what));
                script.remember(&changed.operation);
            }
            refused.extend(applied.replies.into_iter().filter_map(Result::err).map(|refusal| name(&refusal)));
        }
        let missing: Vec<_> = EventKind::ALL.iter().filter(|kind| !happened.contains(kind)).collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
        assert_eq!(refused.len(), 13, "refused: {refused:?}");
    }

    fn name(refusal: &Refusal) -> &'static str {
        match refusal {
            Refusal::NotFound(Missing::Never) => "never",
            Refusal::NotFound(Missing::Gone(operond_core::Gone::Deleted)) => "deleted",
            Refusal::NotFound(Missing::Gone(operond_core::Gone::Expired)) => "expired",
            Refusal::KeyReused(_) => "key reused",
            Refusal::OperationGone => "operation gone",
            Refusal::Held => unreachable!("nobody else has it"),
            Refusal::Rejected(rejection) => match rejection {
                Rejection::Gone(_) => unreachable!("told as not found"),
                Rejection::InvalidLease => "invalid lease",
                Rejection::LeaseLost => "lease lost",
                Rejection::AlreadyDone(_) => "already done",
                Rejection::FailureDetected => "failure detected",
                Rejection::NotCancellable => "not cancellable",
                Rejection::NotDone(_) => "not done",
                Rejection::NotClaimable => "not claimable",
                Rejection::Invalid(_) => "invalid",
            },
        }
    }
}
