//! What callers read: get, list, wait, watch.

use std::sync::Arc;
use std::time::Duration;

use operond_core::limits::WAIT_MAX;
use operond_core::{Operation, OperationId, Timestamp};
use operond_store::{Count, CountQuery, ListQuery, Lookup, Missing, Page};
use tokio::time::{Instant, sleep_until};

use crate::Engine;
use crate::error::Error;
use crate::waiters::{News, Subscription};

/// Every change of one operation, coalesced: what [`Engine::watch`] gives.
pub struct Watch {
    engine: Engine,
    subscription: Option<Subscription>,
    id: OperationId,
    first: Option<Arc<Operation>>,
    /// The revision that was shown last.
    shown: Option<u64>,
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

    /// How many operations there are, up to the bounds of the query.
    pub async fn count(&self, query: &CountQuery) -> Result<Count, Error> {
        Ok(self.shared.store.count(query).await?)
    }

    /// The operation once it is done, or as it is after `wait` (at most a minute), at shutdown, or
    /// when there are too many waiters. Running out of time is no error.
    pub async fn wait(&self, id: &OperationId, wait: Duration) -> Result<Arc<Operation>, Error> {
        self.wait_until(id, wait, |_, operation| operation.done()).await
    }

    /// The operation after its next change that callers see; at once when it is done, or when its
    /// revision is another than `seen`. Otherwise like [`Engine::wait`].
    pub async fn get_held(&self, id: &OperationId, seen: Option<u64>, wait: Duration) -> Result<Arc<Operation>, Error> {
        let unseen = |operation: &Operation| seen.is_some_and(|seen| operation.revision != seen);
        let changed = |first, operation: &Operation| operation.modified_at != first;
        self.wait_until(id, wait, |first, operation| operation.done() || unseen(operation) || changed(first, operation))
            .await
    }

    /// Follows an operation: as it is now (unless that is revision `after`), then after each
    /// change, several in quick succession as one, until it is done or gone.
    pub async fn watch(&self, id: &OperationId, after: Option<u64>) -> Result<Watch, Error> {
        let subscription = self.shared.waiters.subscribe(id);
        let operation = self.get(id).await?;
        let ended = operation.done() || subscription.is_none();
        let first = Some(operation).filter(|operation| Some(operation.revision) != after);
        Ok(Watch { engine: self.clone(), subscription, id: id.clone(), first, shown: after, ended })
    }

    /// Waits until the operation is `enough`, also compared with when it was modified at first.
    async fn wait_until(
        &self,
        id: &OperationId,
        wait: Duration,
        enough: impl Fn(Timestamp, &Operation) -> bool,
    ) -> Result<Arc<Operation>, Error> {
        if wait.is_zero() {
            return self.get(id).await;
        }
        let until = Instant::now() + wait.min(WAIT_MAX);
        let subscription = self.shared.waiters.subscribe(id);
        let first = self.get(id).await?;
        let modified_at = first.modified_at;
        let Some(mut subscription) = subscription.filter(|_| !enough(modified_at, &first)) else { return Ok(first) };
        // It can be large: while many wait, only the store keeps theirs.
        drop(first);
        while let Some(news) = self.next_news(&mut subscription, Some(until)).await {
            let operation = match news {
                News::Changed(operation) => operation,
                News::Gone(operation, _) => return Ok(operation),
                News::Unsure => self.get(id).await?,
            };
            if enough(modified_at, &operation) {
                return Ok(operation);
            }
        }
        self.get(id).await
    }

    /// The next change; `None` when time is up or the engine is about to stop.
    pub(crate) async fn next_news(&self, subscription: &mut Subscription, until: Option<Instant>) -> Option<News> {
        // Nobody tells of what other writers store: it is looked for.
        let look_at = self.shared.recent.is_none().then(|| Instant::now() + LOOK);
        let wake_at = [until, look_at].into_iter().flatten().min();
        tokio::select! {
            news = subscription.next() => Some(news),
            Some(()) = alarm(wake_at) => (wake_at != until).then_some(News::Unsure),
            () = self.shared.closing.cancelled() => None,
        }
    }
}

impl Watch {
    /// The next state; `None` at the end. A stream that ends before the operation is done was cut
    /// by a shutdown, by too many waiters or by a store that is away: watch again from the last revision.
    pub async fn next(&mut self) -> Option<Arc<Operation>> {
        let operation = match self.first.take() {
            Some(first) => first,
            None => self.next_change().await?,
        };
        self.shown = Some(operation.revision);
        Some(operation)
    }

    async fn next_change(&mut self) -> Option<Arc<Operation>> {
        loop {
            let subscription = self.subscription.as_mut().filter(|_| !self.ended)?;
            let operation = match self.engine.next_news(subscription, None).await {
                Some(News::Changed(operation)) => Some(operation),
                Some(News::Gone(operation, _)) => {
                    self.ended = true;
                    Some(operation)
                }
                Some(News::Unsure) => self.engine.get(&self.id).await.ok(),
                None => None,
            };
            self.ended |= operation.as_ref().is_none_or(|operation| operation.done());
            let operation = operation?;
            // Read and then told of, it is still one change.
            if Some(operation.revision) != self.shown {
                return Some(operation);
            }
        }
    }
}

/// Ready at `at`; `None` at once when there is no such time.
async fn alarm(at: Option<Instant>) -> Option<()> {
    sleep_until(at?).await;
    Some(())
}

/// How often those who wait look for what other writers stored.
const LOOK: Duration = Duration::from_secs(5);
