//! All keys at one time, as calls are checked against them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use operond_core::Timestamp;
use operond_engine::{Engine, Error};
use operond_store::{Collection, Document};

use super::holder::{Holder, Key};
use super::secret::{self, Hash};
use crate::auth::identity::Identity;

/// Everybody who has keys, by name and by the ids of their keys.
#[derive(Default)]
pub(crate) struct Known {
    holders: BTreeMap<Arc<str>, Stored>,
    by_id: HashMap<String, Entry>,
}

#[derive(Clone)]
struct Stored {
    holder: Holder,
    version: u64,
    /// Whether more is stored than this release can read.
    partly_read: bool,
}

struct Entry {
    name: Arc<str>,
    hash: Hash,
    expires_at: Option<Timestamp>,
    revoked: bool,
    identity: Arc<Identity>,
    /// In microseconds; later than what is stored.
    last_used: AtomicI64,
}

/// Why a key is not good. Who has no such key learns no more than that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    /// It is none that was given here.
    #[error("the API key is not one of this server: make one with `operond keys create`")]
    Unknown,
    /// It was revoked.
    #[error("the API key was revoked: ask an admin for another one")]
    Revoked(Arc<Identity>),
    /// Its time is over.
    #[error("the API key has expired: ask an admin for another one")]
    Expired(Arc<Identity>),
}

impl Invalid {
    /// Whose key it was.
    pub(crate) fn identity(&self) -> Option<&Arc<Identity>> {
        match self {
            Self::Unknown => None,
            Self::Revoked(identity) | Self::Expired(identity) => Some(identity),
        }
    }
}

impl Known {
    /// Reads what is stored.
    pub(crate) async fn read(engine: &Engine) -> Result<Self, Error> {
        Self::default().with(engine.documents(Collection::Keys).await?)
    }

    /// The same, but for what these documents say.
    pub(crate) fn with(&self, documents: Vec<Document>) -> Result<Self, Error> {
        let mut holders = self.holders.clone();
        for document in documents {
            let holder = Holder::decode(&document.name, &document.bytes).ok_or(Error::DataLoss)?;
            let partly_read = *holder.encode() != *document.bytes;
            holders.insert(document.name, Stored { holder, version: document.version, partly_read });
        }
        let mut by_id = HashMap::new();
        for (name, Stored { holder, .. }) in &holders {
            by_id.extend(holder.keys.iter().map(|key| (key.id.clone(), Entry::of(name, holder, key))));
        }
        Ok(Self { holders, by_id })
    }

    /// Everybody, by name.
    pub(crate) fn holders(&self) -> impl Iterator<Item = &Holder> {
        self.holders.values().map(|stored| &stored.holder)
    }

    /// One of them, and the version that is stored.
    pub(crate) fn holder(&self, name: &str) -> Option<(&Holder, u64)> {
        self.holders.get(name).map(|stored| (&stored.holder, stored.version))
    }

    /// Who has the key of this id.
    pub(crate) fn holder_of(&self, id: &str) -> Option<(&Holder, u64)> {
        self.holder(&self.by_id.get(id)?.name)
    }

    /// Who calls with `key`. As much is done for a key that was made up as for one that is good.
    pub(crate) fn verify(&self, key: &str, now: Timestamp) -> Result<Arc<Identity>, Invalid> {
        let hash = secret::hash(key);
        let entry = secret::id_in(key).and_then(|id| self.by_id.get(id));
        // Compared in constant time by the hash's own `==`.
        let entry = entry.filter(|entry| entry.hash == hash).ok_or(Invalid::Unknown)?;
        if entry.revoked {
            return Err(Invalid::Revoked(Arc::clone(&entry.identity)));
        }
        if entry.expires_at.is_some_and(|end| end <= now) {
            return Err(Invalid::Expired(Arc::clone(&entry.identity)));
        }
        // Written to seldom, so that calls on many cores do not take the line from each other.
        if entry.last_used.load(Ordering::Relaxed) + SEEN_STEP < now.micros() {
            entry.last_used.fetch_max(now.micros(), Ordering::Relaxed);
        }
        Ok(Arc::clone(&entry.identity))
    }

    /// Whether the key of this id is good.
    pub(crate) fn is_live(&self, id: &str, now: Timestamp) -> bool {
        self.by_id.get(id).is_some_and(|entry| !entry.revoked && entry.expires_at.is_none_or(|end| now < end))
    }

    /// When it was used last, as far as is known here.
    pub(crate) fn last_used(&self, id: &str) -> Option<Timestamp> {
        let micros = self.by_id.get(id)?.last_used.load(Ordering::Relaxed);
        (micros > NEVER).then(|| Timestamp::from_micros(micros))
    }

    /// Takes over when keys were used last, from what was known before.
    pub(super) fn take_uses(&self, before: &Self) {
        for (id, entry) in &self.by_id {
            if let Some(before) = before.by_id.get(id) {
                entry.last_used.fetch_max(before.last_used.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }

    /// Holders with keys that were used so much later than is stored, as they are to be stored; `max` of them. What a
    /// newer release has stored of one would be lost, and is worth more than that.
    pub(super) fn moved_on(&self, step: Duration, max: usize) -> Vec<(Holder, u64)> {
        let later = |key: &Key| {
            let used = self.last_used(&key.id)?;
            key.last_used_at.is_none_or(|stored| stored.after(step) <= used).then_some(used)
        };
        let moved = |stored: &&Stored| !stored.partly_read && stored.holder.keys.iter().any(|key| later(key).is_some());
        let to_store = |stored: &Stored| {
            let mut holder = stored.holder.clone();
            for key in &mut holder.keys {
                key.last_used_at = later(key).or(key.last_used_at);
            }
            (holder, stored.version)
        };
        self.holders.values().filter(moved).take(max).map(to_store).collect()
    }
}

impl Entry {
    fn of(name: &Arc<str>, holder: &Holder, key: &Key) -> Self {
        Self {
            name: Arc::clone(name),
            hash: key.hash,
            expires_at: key.expires_at,
            revoked: key.revoked_at.is_some(),
            identity: Arc::new(holder.identity(key)),
            last_used: AtomicI64::new(key.last_used_at.map_or(NEVER, Timestamp::micros)),
        }
    }
}

const NEVER: i64 = i64::MIN / 2;
/// How exactly it is known when a key was used last.
const SEEN_STEP: i64 = 1_000_000;
