//! Operations that somebody else keeps locked, a person's transaction for example: nobody waits for them twice.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use operond_core::OperationId;
use operond_store::{Applied, Batch, Refusal, Request};
use tokio::time::Instant;

/// Operations that somebody else had locked a moment ago: a batch does not wait for them again.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<HashMap<OperationId, Instant>>);

impl Held {
    /// Whether it asks for one of them.
    pub(crate) fn concerns(&self, batch: &Batch) -> bool {
        let mut held = self.held();
        if held.is_empty() {
            return false;
        }
        held.retain(|_, since| since.elapsed() < HELD_LIFE);
        batch.requests.iter().any(|request| matches!(request, Request::Command(_, id, _) if held.contains_key(id)))
    }

    /// Takes in which ones were not to be had.
    pub(crate) fn note(&self, batch: &Batch, applied: &Applied) {
        let mut held = self.held();
        for (request, reply) in batch.requests.iter().zip(&applied.replies) {
            if let (Request::Command(_, id, _), Err(Refusal::Held)) = (request, reply)
                && held.len() < HELD_MAX
            {
                held.insert(id.clone(), Instant::now());
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<OperationId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long it is remembered that somebody has an operation locked …
const HELD_LIFE: Duration = Duration::from_secs(2);
/// … of so many operations at most.
const HELD_MAX: usize = 10_000;
