//! What callers read: get, list, wait, watch.

use std::sync::Arc;
use std::time::Duration;

use operond_core::limits::WAIT_MAX;
use operond_core::{Operation, OperationId};
use operond_store::{ListQuery, Lookup, Missing, Page};
use tokio::time::{Instant, timeout_at};

use crate::Engine;
use crate::error::Error;
use crate::waiters::{News, Subscription};

/// Every change of one operation, coalesced: what [`Engine::watch`] gives.
pub struct Watch {
    engine: Engine,
    subscription: Option<Subscription>,
    first: Option<Arc<Operation>>,
    ended: bool,
}

impl Engine {
    /// The operation as last committed.
    pub async fn get(&self, id: &OperationId) -> Result<Arc<Operation>, Error> {
        if let Some(operation) = self.shared.recent.as_ref().and_then(|recent| recent.get(id)) {
            return Ok(operation);
        }
        match self.shared.store.get(id).await? {
            Lookup::Found(operation) => Ok(operation),
            Lookup::Gone(_tenant, gone) => Err(Error::NotFound(Missing::Gone(gone))),
            Lookup::Never => Err(Error::NotFound(Missing::Never)),
        }
    }

    /// One page of operations, without inputs.
    pub async fn list(&self, query: &ListQuery) -> Result<Page, Error> {
        Ok(self.shared.store.list(query).await?)
    }

    /// The operation once it is done, or as it is after `wait` (at most a minute), at shutdown, or
    /// when there are too many waiters. Running out of time is no error.
    pub async fn wait(&self, id: &OperationId, wait: Duration) -> Result<Arc<Operation>, Error> {
        self.wait_until(id, wait, |_, now| now.done()).await
    }

    /// The operation after its next change that callers see; at once when it is done. Otherwise
    /// like [`Engine::wait`].
    pub async fn get_held(&self, id: &OperationId, wait: Duration) -> Result<Arc<Operation>, Error> {
        self.wait_until(id, wait, |first, now| now.done() || first.modified_at != now.modified_at).await
    }

    /// Follows an operation: as it is now (unless that is revision `after`), then after each
    /// change, several in quick succession as one, until it is done or gone.
    pub async fn watch(&self, id: &OperationId, after: Option<u64>) -> Result<Watch, Error> {
        let subscription = self.shared.waiters.subscribe(id);
        let operation = self.get(id).await?;
        let ended = operation.done() || subscription.is_none();
        let first = Some(operation).filter(|operation| Some(operation.revision) != after);
        Ok(Watch { engine: self.clone(), subscription, first, ended })
    }

    async fn wait_until(
        &self,
        id: &OperationId,
        wait: Duration,
        enough: impl Fn(&Operation, &Operation) -> bool,
    ) -> Result<Arc<Operation>, Error> {
        if wait.is_zero() {
            return self.get(id).await;
        }
        let until = Instant::now() + wait.min(WAIT_MAX);
        let subscription = self.shared.waiters.subscribe(id);
        let first = self.get(id).await?;
        let Some(mut subscription) = subscription.filter(|_| !enough(&first, &first)) else { return Ok(first) };
        let mut last = Arc::clone(&first);
        while let Some(news) = self.next_news(&mut subscription, until).await {
            last = news.operation;
            if news.gone.is_some() || enough(&first, &last) {
                break;
            }
        }
        Ok(last)
    }

    /// The next change; `None` when time is up or the engine is about to stop.
    async fn next_news(&self, subscription: &mut Subscription, until: Instant) -> Option<News> {
        tokio::select! {
            news = timeout_at(until, subscription.next()) => news.ok(),
            () = self.shared.closing.cancelled() => None,
        }
    }
}

impl Watch {
    /// The next state; `None` at the end. A stream that ends before the operation is done was cut
    /// by a shutdown or by too many waiters: watch again from the last revision.
    pub async fn next(&mut self) -> Option<Arc<Operation>> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let subscription = self.subscription.as_mut().filter(|_| !self.ended)?;
        let news = tokio::select! {
            news = subscription.next() => news,
            () = self.engine.shared.closing.cancelled() => {
                self.ended = true;
                return None;
            }
        };
        self.ended = news.gone.is_some() || news.operation.done();
        Some(news.operation)
    }
}
