//! Operations that somebody else keeps locked, a person's transaction for example: nobody waits for them twice.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use operond_core::{OperationId, Scope};
use operond_store::{Applied, Batch, Refusal, Request};
use tokio::time::Instant;

/// Operations that somebody else had locked a moment ago, each with the scope of who heard of it: a batch does not wait
/// for them again. In another scope they may not be there, and nothing is to be different for that.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<HashMap<(Scope, OperationId), Instant>>);

impl Held {
    /// Whether it asks for one of them.
    pub(crate) fn concerns(&self, batch: &Batch) -> bool {
        let mut held = self.held();
        if held.is_empty() {
            return false;
        }
        held.retain(|_, since| since.elapsed() < HELD_LIFE);
        batch.requests.iter().any(|request| match request {
            Request::Command(scope, id, _) => held.contains_key(&(scope.clone(), id.clone())),
            _ => false,
        })
    }

    /// Takes in which ones were not to be had.
    pub(crate) fn note(&self, batch: &Batch, applied: &Applied) {
        let mut held = self.held();
        for (request, reply) in batch.requests.iter().zip(&applied.replies) {
            if let (Request::Command(scope, id, _), Err(Refusal::Held)) = (request, reply)
                && held.len() < HELD_MAX
            {
                held.insert((scope.clone(), id.clone()), Instant::now());
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<(Scope, OperationId), Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long it is remembered that somebody has an operation locked …
const HELD_LIFE: Duration = Duration::from_secs(2);
/// … of so many operations at most.
const HELD_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use operond_core::{Command, Tenant};

    use super::*;

    #[test]
    fn what_one_heard_of_makes_no_difference_to_those_who_do_not_reach_it() {
        let id = OperationId::generate(1, [1; 13]);
        let [own, foreign] = ["t", "u"].map(|name| {
            let scope = Scope::of_tenant(Tenant::parse("tenant", name).unwrap());
            Batch { requests: vec![Request::Command(scope, id.clone(), Command::Settle.into())] }
        });
        let held = Held::default();
        held.note(&own, &Applied { replies: vec![Err(Refusal::Held)], ..Applied::default() });
        assert!(held.concerns(&own) && !held.concerns(&foreign));
    }
}
