//! What is kept in memory of a store's documents follows what other servers write.

use std::fmt::Display;
use std::sync::{Arc, Weak};
use std::time::Duration;

use operond_engine::DocumentsChanged;
use tokio::time::timeout;
use tracing::{debug, warn};

/// Has `kept` read its documents again whenever others may have written some, until the engine closes or nobody holds
/// `kept` any more.
pub(crate) async fn follow<T, F, E>(mut changed: DocumentsChanged, kept: Weak<T>, reload: fn(Arc<T>) -> F)
where
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    let mut failing = false;
    loop {
        let told = match failing {
            false => changed.next().await,
            true => timeout(AGAIN, changed.next()).await.unwrap_or(true),
        };
        let Some(kept) = kept.upgrade().filter(|_| told) else { return };
        match reload(kept).await {
            Ok(()) => failing = false,
            Err(error) if failing => debug!(%error, "what another server stored can still not be read"),
            Err(error) => {
                warn!(%error, "what another server stored cannot be read for now: keys, types and defaults of kinds are old ones");
                failing = true;
            }
        }
    }
}

/// After so long what could not be read is read again, should no news come before.
const AGAIN: Duration = Duration::from_secs(5);
