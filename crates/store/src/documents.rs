//! Documents: small named values that a store keeps beside operations, such as message types and defaults of kinds.
//!
//! A store knows nothing of what is in them. It counts their versions, so that whoever replaces one has seen the
//! one that is replaced.

use std::fmt;
use std::sync::Arc;

use operond_core::Timestamp;

/// What sort of thing a document is; names are unique within a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collection {
    /// Files of message types, by file name.
    Types,
    /// Defaults of operations, by kind.
    Kinds,
    /// Who may call, by name.
    Keys,
}

impl Collection {
    /// Every collection.
    pub const ALL: &[Self] = &[Self::Types, Self::Kinds, Self::Keys];

    /// What a store writes. Stored: never changed, never used for another one.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Types => 1,
            Self::Kinds => 2,
            Self::Keys => 3,
        }
    }

    /// What [`Collection::code`] wrote.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|collection| collection.code() == code)
    }
}

/// A document as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Where it is.
    pub collection: Collection,
    /// Its name there.
    pub name: Arc<str>,
    /// Counts how often it was written, from 1 on.
    pub version: u64,
    /// When it was written last, by the store's clock.
    pub modified_at: Timestamp,
    /// What is in it.
    pub bytes: Arc<[u8]>,
}

/// A document to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentWrite {
    /// Where it is.
    pub collection: Collection,
    /// Its name there.
    pub name: Arc<str>,
    /// The version that this replaces; 0 when there must be none yet.
    pub replaces: u64,
    /// What is to be in it.
    pub bytes: Arc<[u8]>,
}

/// A document is not of the version that was to be replaced: somebody else has written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Where it is.
    pub collection: Collection,
    /// Its name there.
    pub name: Arc<str>,
    /// The version that is stored; 0 for none.
    pub found: u64,
}

impl DocumentWrite {
    /// The document that this write makes at `now`, where the version `found` is stored (0 for none).
    ///
    /// # Errors
    /// Another version was to be replaced.
    pub fn over(self, found: u64, now: Timestamp) -> Result<Document, Stale> {
        let Self { collection, name, replaces, bytes } = self;
        if found != replaces {
            return Err(Stale { collection, name, found });
        }
        Ok(Document { collection, name, version: found + 1, modified_at: now, bytes })
    }
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} has version {} by now", self.name, self.found)
    }
}

impl std::error::Error for Stale {}
