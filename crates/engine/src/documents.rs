//! What is kept beside operations, passed through to the store.

use operond_store::{Collection, Document, DocumentWrite};

use crate::Engine;
use crate::error::{Error, Unavailable};

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
}
