//! Whether the store is away, as batches find it: said once when that begins and once when it is over.

use operond_store::Error as StoreError;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, error, info};

use crate::error::error_chain;

/// Since when the store is away, if it is.
#[derive(Default)]
pub(crate) struct Outage(watch::Sender<Option<Instant>>);

impl Outage {
    /// A batch was not stored because the store is away, or may be.
    pub(crate) fn notice(&self, failure: &StoreError, requests: usize) {
        let error = error_chain(failure);
        let begins = self.0.send_if_modified(|since| {
            let begins = since.is_none();
            since.get_or_insert_with(Instant::now);
            begins
        });
        if begins {
            error!(error, requests, "the store is away: calls are refused, those who wait go on waiting");
        } else {
            debug!(error, requests, "the store is still away");
        }
    }

    /// A batch was stored.
    pub(crate) fn end(&self) {
        if self.0.borrow().is_none() {
            return;
        }
        let since = self.0.send_replace(None);
        if let Some(since) = since {
            info!(away_seconds = since.elapsed().as_secs_f64(), "the store is back");
        }
    }

    /// Ready when the store is there, as far as is known.
    pub(crate) async fn over(&self) {
        let mut since = self.0.subscribe();
        drop(since.wait_for(Option::is_none).await);
    }
}
