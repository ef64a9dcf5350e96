//! What callers read: get, list, wait, watch.

use std::sync::Arc;
use std::time::Duration;

use operond_core::limits::WAIT_MAX;
use operond_core::{Gone, Operation, OperationId};
use operond_store::{Count, CountQuery, ListQuery, Lookup, Missing, Page};
use tokio::time::{Instant, sleep, sleep_until};

use crate::error::{Error, Unavailable};
use crate::waiters::{News, Subscription};
use crate::{Engine, entropy};

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
        let recent = self.shared.recent.as_ref().and_then(|recent| recent.get(id));
        // What is not there for whoever asks takes as long as what is not there at all.
        if let Some(operation) = recent.filter(|operation| self.scope.covers(&operation.spec)) {
            return Ok(operation);
        }
        match self.shared.store.get(&self.scope, id).await? {
            Lookup::Found(operation) => Ok(operation),
            Lookup::Gone(_tenant, gone) => Err(Error::NotFound(Missing::Gone(gone))),
            Lookup::Never => Err(Error::NotFound(Missing::Never)),
        }
    }

    /// One page of operations, without inputs, of what this handle reaches: the scope of the query does not count.
    pub async fn list(&self, query: &ListQuery) -> Result<Page, Error> {
        Ok(self.shared.store.list(&ListQuery { scope: self.scope.clone(), ..query.clone() }).await?)
    }

    /// How many operations there are of what this handle reaches, up to the bounds of the query.
    pub async fn count(&self, query: &CountQuery) -> Result<Count, Error> {
        Ok(self.shared.store.count(&CountQuery { scope: self.scope.clone(), ..query.clone() }).await?)
    }

    /// The operation once it is done, or as it is after `wait` (at most a minute), at shutdown, or
    /// when there are too many waiters. Running out of time is no error, and a store that goes away and
    /// comes back meanwhile is none.
    pub async fn wait(&self, id: &OperationId, wait: Duration) -> Result<Arc<Operation>, Error> {
        self.wait_until(id, wait, Operation::done, Operation::done).await
    }

    /// The operation after its next change that callers see; at once when it is done, or when its
    /// revision is another than `seen`. Otherwise like [`Engine::wait`].
    pub async fn get_held(&self, id: &OperationId, seen: Option<u64>, wait: Duration) -> Result<Arc<Operation>, Error> {
        let unseen = |operation: &Operation| seen.is_some_and(|seen| operation.revision != seen);
        self.wait_until(id, wait, |operation| operation.done() || unseen(operation), |_changed| true).await
    }

    /// Follows an operation: as it is now (unless that is revision `after`), then after each
    /// change, several in quick succession as one, until it is done or gone.
    pub async fn watch(&self, id: &OperationId, after: Option<u64>) -> Result<Watch, Error> {
        let mut subscription = self.shared.waiters.subscribe(id);
        let operation = self.get(id).await?;
        if let Some(subscription) = &mut subscription {
            subscription.saw(&operation);
        }
        let ended = operation.done() || subscription.is_none();
        let first = Some(operation).filter(|operation| Some(operation.revision) != after);
        Ok(Watch { engine: self.clone(), subscription, first, ended })
    }

    /// Waits until the operation is `enough`, or after a change `enough_later`.
    async fn wait_until(
        &self,
        id: &OperationId,
        wait: Duration,
        enough: impl Fn(&Operation) -> bool,
        enough_later: impl Fn(&Operation) -> bool,
    ) -> Result<Arc<Operation>, Error> {
        if wait.is_zero() {
            return self.get(id).await;
        }
        let until = Instant::now() + wait.min(WAIT_MAX);
        let subscription = self.shared.waiters.subscribe(id);
        let first = self.get(id).await?;
        let Some(mut subscription) = subscription.filter(|_| !enough(&first)) else { return Ok(first) };
        subscription.saw(&first);
        // It can be large: while many wait, only the store keeps theirs.
        drop(first);
        while let Some((operation, gone)) = self.next_state(&mut subscription, Some(until)).await? {
            if gone.is_some() || enough_later(&operation) {
                return Ok(operation);
            }
        }
        self.get(id).await
    }

    /// The next state that is new to callers, or the last one and what became of it; `None` when time is up or the
    /// engine is about to stop.
    pub(crate) async fn next_state(
        &self,
        subscription: &mut Subscription,
        until: Option<Instant>,
    ) -> Result<Option<(Arc<Operation>, Option<Gone>)>, Error> {
        loop {
            let operation = match self.next_news(subscription, until).await {
                None => return Ok(None),
                Some(News::Changed(operation)) => operation,
                Some(News::Gone(operation, gone)) => return Ok(Some((operation, Some(gone)))),
                Some(News::Unsure) => match self.look(subscription.id(), until).await? {
                    Some(operation) => operation,
                    None => return Ok(None),
                },
            };
            // What was committed first may be told last, and what was read may be told afterwards.
            if subscription.saw(&operation) {
                return Ok(Some((operation, None)));
            }
        }
    }

    /// The operation as last committed, once the store is there to ask; `None` when time is up or the engine is about
    /// to stop.
    async fn look(&self, id: &OperationId, until: Option<Instant>) -> Result<Option<Arc<Operation>>, Error> {
        tokio::select! {
            operation = self.get_patiently(id) => operation.map(Some),
            Some(()) = alarm(until) => Ok(None),
            () = self.shared.closing.cancelled() => Ok(None),
        }
    }

    async fn get_patiently(&self, id: &OperationId) -> Result<Arc<Operation>, Error> {
        loop {
            match self.get(id).await {
                Err(Error::Unavailable(Unavailable::Store)) => {}
                got => return got,
            }
            // Nobody asks a store that is known to be away, and when it is back not all do at once.
            self.shared.outage.over().await;
            sleep(before_looking_again()).await;
        }
    }

    /// The next change; `None` when time is up or the engine is about to stop.
    async fn next_news(&self, subscription: &mut Subscription, until: Option<Instant>) -> Option<News> {
        // What other writers store is told, and looked for all the same.
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
    /// by a shutdown or by too many waiters: watch again from the last revision. A store that is away cuts none.
    pub async fn next(&mut self) -> Option<Arc<Operation>> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let subscription = self.subscription.as_mut().filter(|_| !self.ended)?;
        let state = self.engine.next_state(subscription, None).await.ok().flatten();
        self.ended = state.as_ref().is_none_or(|(operation, gone)| gone.is_some() || operation.done());
        let (operation, gone) = state?;
        // How it was before it went is known already, most likely.
        (gone.is_none() || subscription.saw(&operation)).then_some(operation)
    }
}

/// Ready at `at`; `None` at once when there is no such time.
async fn alarm(at: Option<Instant>) -> Option<()> {
    sleep_until(at?).await;
    Some(())
}

/// Each waits for another while.
fn before_looking_again() -> Duration {
    let spread = (LOOK_AGAIN_MAX - LOOK_AGAIN_MIN) * u32::from(entropy::jitter()) / u32::from(u16::MAX);
    LOOK_AGAIN_MIN + spread
}

/// How often those who wait look for what other writers stored.
const LOOK: Duration = Duration::from_secs(5);
/// Who could not look because the store was away looks again after so long at least …
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(250);
/// … and at most.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(1);
