//! Recently written operations in memory, so that reading one costs no more than the call itself.

use std::sync::Arc;

use operond_core::{Any, Operation, OperationId};
use operond_store::payload_bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// A bounded cache that only the writer fills, before it acknowledges: a hit is never stale. Used
/// only where nobody else writes to the store, and it takes one batch at a time.
pub(crate) struct Recent {
    cache: Cache<OperationId, Arc<Operation>, Bytes>,
    bytes_max: u64,
}

impl Recent {
    /// Holds operations of about `bytes_max` bytes.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let items = usize::try_from(bytes_max / ROW_BYTES).unwrap_or(usize::MAX);
        Self { cache: Cache::with_weighter(items.min(ITEMS_EXPECTED_MAX), bytes_max, Bytes), bytes_max }
    }

    pub(crate) fn get(&self, id: &OperationId) -> Option<Arc<Operation>> {
        self.cache.get(id)
    }

    pub(crate) fn put(&self, operation: &Arc<Operation>) {
        // What would push out a good part of the rest is read from the store instead.
        if weight(operation) > self.bytes_max / 16 {
            self.remove(&operation.id);
        } else {
            self.cache.insert(operation.id.clone(), Arc::clone(operation));
        }
    }

    pub(crate) fn remove(&self, id: &OperationId) {
        self.cache.remove(id);
    }

    /// Forgets everything: the store may hold something else by now.
    pub(crate) fn clear(&self) {
        self.cache.clear();
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<OperationId, Arc<Operation>> for Bytes {
    fn weight(&self, _id: &OperationId, operation: &Arc<Operation>) -> u64 {
        weight(operation)
    }
}

fn weight(operation: &Operation) -> u64 {
    let input = operation.spec.input.as_ref().map_or(0, Any::size);
    ROW_BYTES + (payload_bytes(operation) + input) as u64
}

/// What an operation takes beside its payloads, roughly.
const ROW_BYTES: u64 = 1024;
/// Keeps the cache's own tables small while it is empty.
const ITEMS_EXPECTED_MAX: usize = 4096;
