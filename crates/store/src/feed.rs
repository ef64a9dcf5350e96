//! What other servers write to the same data: how those who wait here learn of it.

use operond_core::{Kind, OperationId};

use crate::{Answer, Applied, Collection};

/// Tells of what others wrote. It may tell of more than that, and twice; it never leaves anything
/// out without saying so ([`News::missed`]). Whoever is told looks for themselves.
///
/// One task asks, again and again; nothing is kept for a second one.
pub trait Feed: Send + Sync + 'static {
    /// Waits for the next news. What was committed anywhere is told within tens of milliseconds
    /// while the store can be reached; a failure means that nothing can be told for now, and that
    /// something may have been missed. Pauses between failures, so that it can be asked at once.
    fn next(&self) -> Answer<'_, News>;
}

/// What others wrote, several commits together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Operations that changed so that callers or workers can see it, or that are gone.
    pub operations: Vec<OperationId>,
    /// Kinds with operations that can be claimed now, once for each of them.
    pub claimable: Vec<Kind>,
    /// Collections in which documents were written.
    pub documents: Vec<Collection>,
    /// Something was written that can no longer be told: anything may have changed.
    pub missed: bool,
}

impl News {
    /// What a batch has to tell to others.
    #[must_use]
    pub fn of(applied: &Applied) -> Self {
        let mut news = Self::default();
        for change in &applied.changed {
            if !change.bare {
                news.operations.push(change.operation.id.clone());
            }
            news.claimable.extend(change.claimable(applied.at).cloned());
        }
        news
    }

    /// Takes in what is told beside this.
    pub fn add(&mut self, other: Self) {
        self.operations.extend(other.operations);
        self.claimable.extend(other.claimable);
        self.documents.extend(other.documents);
        self.missed |= other.missed;
    }

    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.claimable.is_empty() && self.documents.is_empty() && !self.missed
    }
}
