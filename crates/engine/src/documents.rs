//! What is kept beside operations: passed through to the store, and news of what other servers write to it.

use std::collections::HashMap;

use operond_store::{Collection, Document, DocumentWrite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::error::{Error, Unavailable};

/// News of one collection: what [`Engine::documents_changed`] gives.
pub struct DocumentsChanged {
    told: watch::Receiver<()>,
    closing: CancellationToken,
}

/// Who is told when documents were written elsewhere.
pub(crate) struct Readers(HashMap<Collection, watch::Sender<()>>);

impl Engine {
    /// Every document of a collection, by name.
    pub async fn documents(&self, collection: Collection) -> Result<Vec<Document>, Error> {
        Ok(self.shared.store.documents(collection).await?)
    }

    /// Writes all of these documents or none, durable before it returns; answers with them as they
    /// are stored. [`Error::Stale`] when one has another version than its write replaces.
    pub async fn put_documents(&self, writes: Vec<DocumentWrite>) -> Result<Vec<Document>, Error> {
        if self.shared.closing.is_cancelled() {
            return Err(Error::Unavailable(Unavailable::ShuttingDown));
        }
        Ok(self.shared.store.put_documents(writes).await??)
    }

    /// Tells from now on when documents of a collection may have been written by others than this engine. Whoever
    /// keeps some in memory asks for this first, and reads them then.
    #[must_use]
    pub fn documents_changed(&self, collection: Collection) -> DocumentsChanged {
        let told = self.shared.documents.0[&collection].subscribe();
        DocumentsChanged { told, closing: self.shared.closing.clone() }
    }
}

impl DocumentsChanged {
    /// Waits until some may have been written since this was asked last; false once the engine is about to stop.
    pub async fn next(&mut self) -> bool {
        let told = self.closing.run_until_cancelled(self.told.changed()).await;
        told.is_some_and(|told| told.is_ok())
    }
}

impl Readers {
    pub(crate) fn tell(&self, collection: Collection) {
        self.0[&collection].send_replace(());
    }

    pub(crate) fn tell_all(&self) {
        self.0.values().for_each(|readers| readers.send_replace(()));
    }
}

impl Default for Readers {
    fn default() -> Self {
        Self(Collection::ALL.iter().map(|collection| (*collection, watch::Sender::default())).collect())
    }
}
