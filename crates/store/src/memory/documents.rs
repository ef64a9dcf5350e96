//! Documents in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use operond_core::Timestamp;

use crate::documents::{Collection, Document, DocumentWrite, Stale};

/// Every document, by collection and name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Documents(BTreeMap<(Collection, Arc<str>), Document>);

impl Documents {
    /// [`crate::Store::documents`].
    pub(crate) fn all(&self, collection: Collection) -> Vec<Document> {
        self.0.values().filter(|document| document.collection == collection).cloned().collect()
    }

    /// [`crate::Store::put_documents`].
    pub(crate) fn put(&mut self, writes: Vec<DocumentWrite>, now: Timestamp) -> Result<Vec<Document>, Stale> {
        let mut after = self.clone();
        let written = writes.into_iter().map(|write| after.put_one(write, now)).collect::<Result<_, _>>()?;
        *self = after;
        Ok(written)
    }

    /// Writes one, whatever becomes of those that are written with it.
    pub(crate) fn put_one(&mut self, write: DocumentWrite, now: Timestamp) -> Result<Document, Stale> {
        let key = (write.collection, Arc::clone(&write.name));
        let document = write.over(self.0.get(&key).map_or(0, |found| found.version), now)?;
        self.0.insert(key, document.clone());
        Ok(document)
    }
}
