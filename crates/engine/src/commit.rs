//! A batch on its way into the store: whole, or in parts where the store refuses it whole.

use std::sync::Arc;

use operond_core::Timestamp;
use operond_store::{Batch, Changed, Error as StoreError, Request, Transition};
use tracing::error;

use crate::Shared;
use crate::error::{Error, Unavailable, error_chain};
use crate::recent::Recent;
use crate::writer::Outcome;

/// A batch after its commit: an outcome for each request, and what was written.
#[derive(Default)]
pub(crate) struct Committed {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) changed: Vec<Changed>,
    pub(crate) transitions: Vec<Transition>,
    pub(crate) at: Timestamp,
}

/// Commits a batch, or what can be committed of it.
pub(crate) async fn commit(shared: &Shared, batch: Arc<Batch>) -> Committed {
    let count = batch.requests.len();
    match shared.store.update(Arc::clone(&batch)).await {
        Ok(applied) => {
            shared.outage.end();
            let outcomes = applied.replies.into_iter().map(|reply| Ok((reply?, applied.at))).collect();
            Committed { outcomes, changed: applied.changed, transitions: applied.transitions, at: applied.at }
        }
        // Creates need room; completions and deletes hardly do, and delete makes some.
        Err(StoreError::Full(_)) if batch.requests.iter().any(is_create) => {
            let rest = (0..count).filter(|&i| !is_create(&batch.requests[i])).collect();
            commit_parts(shared, &batch, [rest], &Error::Unavailable(Unavailable::DiskFull)).await
        }
        // One damaged row must not fail its neighbours: halves, until it is alone.
        Err(StoreError::Corrupt(_)) if count > 1 => {
            let halves = [(0..count / 2).collect(), (count / 2..count).collect()];
            commit_parts(shared, &batch, halves, &Error::DataLoss).await
        }
        Err(failure) => not_committed(shared, failure, count),
    }
}

/// Commits the named parts of a batch, each in its own transaction; what is in none gets `left_out`.
async fn commit_parts(
    shared: &Shared,
    batch: &Batch,
    parts: impl IntoIterator<Item = Vec<usize>>,
    left_out: &Error,
) -> Committed {
    let outcomes = vec![Err(left_out.clone()); batch.requests.len()];
    let mut whole = Committed { outcomes, ..Committed::default() };
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        let requests = part.iter().map(|&index| batch.requests[index].clone()).collect();
        let committed = Box::pin(commit(shared, Arc::new(Batch { requests }))).await;
        let in_whole = |transition: Transition| Transition { request: part[transition.request], ..transition };
        whole.transitions.extend(committed.transitions.into_iter().map(in_whole));
        for (index, outcome) in part.into_iter().zip(committed.outcomes) {
            whole.outcomes[index] = outcome;
        }
        whole.changed.extend(committed.changed);
        whole.at = whole.at.max(committed.at);
    }
    whole
}

fn not_committed(shared: &Shared, failure: StoreError, requests: usize) -> Committed {
    if let StoreError::Unavailable(_) | StoreError::Unknown(_) = &failure {
        shared.outage.notice(&failure, requests);
    } else {
        error!(error = %error_chain(&failure), requests, "a batch was not stored");
    }
    match &failure {
        StoreError::Fatal(_) => shared.fatal.cancel(),
        // It may be stored after all: nothing in memory can be trusted, and whoever waits has to look.
        StoreError::Unknown(_) => {
            shared.recent.iter().for_each(Recent::clear);
            shared.waiters.doubt_all();
        }
        StoreError::Full(_) | StoreError::Unavailable(_) | StoreError::Corrupt(_) => {}
    }
    Committed { outcomes: vec![Err(Error::from(failure)); requests], ..Committed::default() }
}

fn is_create(request: &Request) -> bool {
    matches!(request, Request::Create(_))
}
