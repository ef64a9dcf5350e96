//! API keys: kept in the store, and in memory for every call.

mod holder;
mod known;
mod secret;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use operond_core::limits::CLAIM_KINDS_MAX;
use operond_core::{Invalid, Principal, Scope, Timestamp, check_duration, check_size};
use operond_engine::{Engine, Error};
use operond_store::{Collection, DocumentWrite};
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::TaskTracker;

use super::clock::{now, stamp};
use super::identity::{Credential, Identity, Roles};
use crate::error::{ApiError, Reason, quote};
use crate::follow::follow;

pub(crate) use holder::{Holder, Key};
pub(crate) use known::{Invalid as InvalidKey, Known};
pub(crate) use secret::is_key;

use secret::Secret;

/// The keys of one store. A cheap handle.
#[derive(Clone)]
pub struct Keys(Arc<Shared>);

struct Shared {
    engine: Engine,
    known: RwLock<Arc<Known>>,
    /// One change at a time; calls do not ask for it.
    changing: Mutex<()>,
    /// Whether more may be stored than is known: a write has failed, and may have come to something all the same.
    unsure: AtomicBool,
    /// A change goes on when its caller hangs up: else what is stored and what is known would differ.
    tracker: TaskTracker,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Who calls with it.
    pub name: Principal,
    /// What it reaches.
    pub scope: Scope,
    /// What it may do.
    pub roles: Roles,
    /// How long it is good; for ever if absent.
    pub lifetime: Option<Duration>,
    /// Who makes it.
    pub by: Principal,
}

/// A key that was made, and the key itself, for its owner alone.
pub(crate) type Made = (Holder, Key, String);

impl Keys {
    /// Reads what is stored, and again what others store.
    ///
    /// # Errors
    /// The store cannot be read, or what is in it is damaged.
    pub async fn load(engine: Engine) -> Result<Self, Error> {
        let changed = engine.documents_changed(Collection::Keys);
        let known = RwLock::new(Arc::new(Known::read(&engine).await?));
        let (changing, unsure, tracker) = (Mutex::default(), AtomicBool::new(false), TaskTracker::new());
        let shared = Arc::new(Shared { engine, known, changing, unsure, tracker });
        shared.tracker.spawn(follow(changed, Arc::downgrade(&shared), Shared::reload));
        shared.tracker.spawn(look_after(Arc::downgrade(&shared)));
        Ok(Self(shared))
    }

    /// Whether nobody has ever been given a key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known().holders().next().is_none()
    }

    /// Who calls with `key`.
    pub(crate) fn verify(&self, key: &str) -> Result<Arc<Identity>, InvalidKey> {
        self.known().verify(key, stamp(now()))
    }

    /// Whether what a call was let in by is still good, as far as keys and the calendar tell: for calls that go on and on.
    pub(crate) fn still_let_in(&self, identity: &Identity) -> bool {
        let now = stamp(now());
        match &identity.credential {
            Credential::Key(id) => self.known().is_live(id, now),
            Credential::None | Credential::Token(_) | Credential::Certificate(_) => {
                identity.expires_at.is_none_or(|end| now < end)
            }
        }
    }

    /// All of them.
    pub(crate) fn known(&self) -> Arc<Known> {
        // A panic leaves the old ones there or the new ones.
        Arc::clone(&self.0.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Seals page tokens.
    pub(crate) fn seal_key(&self) -> &[u8; 32] {
        self.0.engine.seal_key()
    }

    /// Makes a key, durably.
    pub(crate) async fn create(&self, new: NewKey) -> Result<Made, ApiError> {
        new.check()?;
        self.change(move |shared| async move { shared.create(new).await }).await
    }

    /// Makes the first key of a store, unless there is one by now: an admin of everything. `keep` is given the key
    /// before it becomes good, so that it cannot be lost in between; what it fails with, this does.
    ///
    /// # Errors
    /// The store's, or what `keep` failed with.
    pub async fn create_first(&self, keep: impl FnOnce(&str) -> io::Result<()>) -> Result<bool, FirstKeyError> {
        let _one_at_a_time = self.0.changing.lock().await;
        self.0.read_again().await.map_err(FirstKeyError::Store)?;
        if !self.is_empty() {
            return Ok(false);
        }
        let new = NewKey {
            name: Principal::parse("name", FIRST_NAME).expect("it is short"),
            scope: Scope::default(),
            roles: Roles::of(&[super::Role::Admin]),
            lifetime: None,
            by: Principal::parse("by", env!("CARGO_PKG_NAME")).expect("it is short"),
        };
        let (id, secret) = Secret::generate().map_err(|_| FirstKeyError::Chance)?;
        let hash = secret.hash();
        keep(&secret.reveal()).map_err(FirstKeyError::Keep)?;
        match self.0.store_new(new, id, hash, stamp(now())).await {
            Ok(_) => Ok(true),
            // Another server was faster.
            Err(Error::Stale(_)) => Ok(false),
            Err(error) => Err(FirstKeyError::Store(error)),
        }
    }

    /// Makes a key useless, durably.
    pub(crate) async fn revoke(&self, id: String) -> Result<(Holder, Key), ApiError> {
        self.change(move |shared| async move { shared.revoke(&id).await }).await
    }

    async fn change<T, F>(&self, change: impl FnOnce(Arc<Shared>) -> F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ApiError>> + Send + 'static,
    {
        let changed = self.0.tracker.spawn(change(Arc::clone(&self.0))).await;
        changed.unwrap_or_else(|_panicked| Err(ApiError::new(Reason::Internal, "the change broke down")))
    }
}

/// Why the first key could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FirstKeyError {
    /// The store does not answer.
    #[error("cannot store the first key: {0}")]
    Store(Error),
    /// The system has no randomness.
    #[error("the system gives no random numbers")]
    Chance,
    /// It could not be kept for its owner.
    #[error("cannot keep the first key: {0}")]
    Keep(io::Error),
}

impl NewKey {
    fn check(&self) -> Result<(), Invalid> {
        if self.roles == Roles::NONE {
            return Err(Invalid::missing("roles"));
        }
        check_size("kinds", self.scope.kinds.as_ref().map_or(0, |kinds| kinds.len()), CLAIM_KINDS_MAX, "kinds")?;
        self.lifetime.map_or(Ok(()), |lifetime| check_duration("lifetime", lifetime, LIFETIME_RANGE))
    }
}

impl Shared {
    async fn create(&self, new: NewKey) -> Result<Made, ApiError> {
        let _one_at_a_time = self.changing.lock().await;
        // The store has the last word: a commit may have been answered with an error that was none.
        self.read_again().await?;
        let (known, now) = (self.known(), stamp(now()));
        if let Some((holder, _)) = known.holder(new.name.as_str()) {
            fits(holder, &new)?;
            if holder.live(now) >= LIVE_KEYS_MAX {
                let name = quote(new.name.as_str());
                let message = format!("{name} has {LIVE_KEYS_MAX} keys that are good: revoke one of them first");
                return Err(ApiError::new(Reason::TooManyKeys, message).fact("limit", LIVE_KEYS_MAX.to_string()));
            }
        } else {
            check_size("keys", known.holders().count() + 1, KEY_NAMES_MAX, "names with keys")?;
        }
        let no_chance = |_| ApiError::new(Reason::Internal, "the system gives no random numbers");
        let (id, secret) = Secret::generate().map_err(no_chance)?;
        let (holder, key) = self.store_new(new, id, secret.hash(), now).await?;
        Ok((holder, key, secret.reveal()))
    }

    async fn store_new(
        &self,
        new: NewKey,
        id: String,
        hash: secret::Hash,
        now: Timestamp,
    ) -> Result<(Holder, Key), Error> {
        let key = Key {
            id,
            hash,
            created_at: now,
            created_by: new.by,
            expires_at: new.lifetime.map(|lifetime| now.after(lifetime)),
            revoked_at: None,
            last_used_at: None,
        };
        let known = self.known();
        let (mut holder, replaces) = match known.holder(new.name.as_str()) {
            Some((holder, version)) => (holder.clone(), version),
            None => (Holder { name: new.name, scope: new.scope, roles: new.roles, keys: Vec::new() }, 0),
        };
        holder.add(key.clone(), now);
        self.write(&[(holder.clone(), replaces)]).await?;
        Ok((holder, key))
    }

    async fn revoke(&self, id: &str) -> Result<(Holder, Key), ApiError> {
        let _one_at_a_time = self.changing.lock().await;
        self.read_again().await?;
        let known = self.known();
        let Some((holder, version)) = known.holder_of(id) else {
            let id = secret::without_secret(id);
            let message = format!("there is no key {}: `operond keys list` has those there are", quote(id));
            return Err(ApiError::new(Reason::NeverExisted, message).fact("key", id));
        };
        let mut holder = holder.clone();
        let key = holder.keys.iter_mut().find(|key| key.id == id).expect("it was found by this key");
        let revoked = key.revoked_at.is_none();
        key.revoked_at.get_or_insert_with(|| stamp(now()));
        let key = key.clone();
        if revoked {
            self.write(&[(holder.clone(), version)]).await?;
        }
        Ok((holder, key))
    }

    /// Stores holders, each in the place of the version beside it: all or none. They are known here once they are stored.
    async fn write(&self, holders: &[(Holder, u64)]) -> Result<(), Error> {
        let write = |(holder, replaces): &(Holder, u64)| DocumentWrite {
            collection: Collection::Keys,
            name: holder.name.as_str().into(),
            replaces: *replaces,
            bytes: holder.encode().into(),
        };
        self.unsure.store(true, Ordering::Relaxed);
        let stored = self.engine.put_documents(holders.iter().map(write).collect()).await?;
        self.know(self.known().with(stored)?);
        Ok(())
    }

    async fn reload(self: Arc<Self>) -> Result<(), Error> {
        let _one_at_a_time = self.changing.lock().await;
        self.read_again().await
    }

    async fn read_again(&self) -> Result<(), Error> {
        self.know(Known::read(&self.engine).await?);
        Ok(())
    }

    fn know(&self, known: Known) {
        known.take_uses(&self.known());
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        self.unsure.store(false, Ordering::Relaxed);
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes sure of what is stored, and stores when keys were used last, where that has moved on enough.
    async fn look_after(&self) -> Result<(), Error> {
        // In parts: who changes a key does not wait for all of them.
        while self.store_some_uses().await? {}
        Ok(())
    }

    /// Whether it has stored some.
    async fn store_some_uses(&self) -> Result<bool, Error> {
        let _one_at_a_time = self.changing.lock().await;
        // Also behind a write that another server was faster with.
        if self.unsure.load(Ordering::Relaxed) {
            self.read_again().await?;
        }
        let moved = self.known().moved_on(LAST_USE_STEP, USES_WRITTEN_MAX);
        if !moved.is_empty() {
            self.write(&moved).await?;
        }
        Ok(!moved.is_empty())
    }
}

/// Looks after the keys now and then, until nobody holds them any more.
async fn look_after(keys: Weak<Shared>) {
    let mut turns = interval(TURN);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let Some(keys) = keys.upgrade() else { return };
        if let Err(error) = keys.look_after().await {
            tracing::debug!(%error, "when keys were used last is stored later");
        }
    }
}

/// A second key of a name stands for what the first one does: else it would be somebody else.
fn fits(holder: &Holder, new: &NewKey) -> Result<(), ApiError> {
    let differs = match () {
        () if holder.scope.tenant != new.scope.tenant => "tenant",
        () if holder.roles != new.roles => "roles",
        () if holder.scope.kinds != new.scope.kinds => "kinds",
        () => return Ok(()),
    };
    let name = quote(holder.name.as_str());
    let message = format!("{name} has keys with other {differs}: a second key says the same, or has another name");
    Err(ApiError::new(Reason::KeyDiffers, message).fact("field", differs))
}

/// The name of the first key.
const FIRST_NAME: &str = "admin";
/// One to use, and one to put in its place.
const LIVE_KEYS_MAX: usize = 2;
/// Names that can have keys: all are in memory.
const KEY_NAMES_MAX: usize = 10_000;
/// 1 s – 10 years.
const LIFETIME_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10 * 365 * 24 * 60 * 60));
/// How exactly it is stored when a key was used last: each time is a write.
const LAST_USE_STEP: Duration = Duration::from_secs(10 * 60);
/// How often keys are looked after.
const TURN: Duration = Duration::from_secs(60);
/// How many holders are stored at a time with when their keys were used.
const USES_WRITTEN_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Lock;
    use std::sync::atomic::Ordering::SeqCst;

    use operond_core::OperationId;
    use operond_engine::Options;
    use operond_store::{
        Answer, Applied, Batch, Count, CountQuery, Document, Error as StoreError, ListQuery, Lookup, MemoryStore, Page,
        Properties, Stale, Store,
    };

    use super::*;
    use crate::auth::Role;

    /// A store whose documents cannot be read, or of which no write is answered, while that is so.
    #[derive(Default)]
    struct Moody {
        store: MemoryStore,
        unread: AtomicBool,
        unanswered: AtomicBool,
        /// How many documents each write had.
        written: Lock<Vec<usize>>,
    }

    impl Store for Moody {
        fn documents(&self, collection: Collection) -> Answer<'_, Vec<Document>> {
            if self.unread.load(SeqCst) {
                return Box::pin(async { Err(StoreError::Unavailable("it is not read now".into())) });
            }
            self.store.documents(collection)
        }

        fn put_documents(&self, writes: Vec<DocumentWrite>) -> Answer<'_, Result<Vec<Document>, Stale>> {
            self.written.lock().unwrap().push(writes.len());
            let put = self.store.put_documents(writes);
            if !self.unanswered.load(SeqCst) {
                return put;
            }
            Box::pin(async {
                put.await?.ok();
                Err(StoreError::Unknown("the answer was lost".into()))
            })
        }

        fn update(&self, batch: Arc<Batch>) -> Answer<'_, Applied> {
            self.store.update(batch)
        }

        fn get(&self, scope: &Scope, id: &OperationId) -> Answer<'_, Lookup> {
            self.store.get(scope, id)
        }

        fn list(&self, query: &ListQuery) -> Answer<'_, Page> {
            self.store.list(query)
        }

        fn count(&self, query: &CountQuery) -> Answer<'_, Count> {
            self.store.count(query)
        }

        fn purge(&self, limit: usize) -> Answer<'_, usize> {
            self.store.purge(limit)
        }

        fn ping(&self) -> Answer<'_, Vec<String>> {
            self.store.ping()
        }

        fn properties(&self) -> &Properties {
            self.store.properties()
        }

        fn close(&self) -> Answer<'_, ()> {
            self.store.close()
        }
    }

    async fn keys() -> (Arc<Moody>, Keys) {
        let store = Arc::<Moody>::default();
        let engine = Engine::start(store.clone(), Options::default());
        (store, Keys::load(engine).await.unwrap())
    }

    /// So long that keys have been looked after.
    async fn a_turn() {
        tokio::time::sleep(TURN + Duration::from_secs(1)).await;
    }

    async fn key(keys: &Keys, name: &str) -> (String, String) {
        let (name, by) = (Principal::parse("name", name).unwrap(), Principal::parse("by", "test").unwrap());
        let new = NewKey { name, scope: Scope::default(), roles: Roles::of(&[Role::Viewer]), lifetime: None, by };
        let (_holder, key, secret) = keys.create(new).await.unwrap();
        (key.id, secret)
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_whose_revocation_is_stored_is_refused_though_nothing_can_be_read_behind_it() {
        let (store, keys) = keys().await;
        let (id, key) = key(&keys, "a").await;
        let known = keys.known();
        let (holder, version) = known.holder_of(&id).unwrap();
        let mut revoked = holder.clone();
        revoked.keys[0].revoked_at = Some(stamp(now()));
        store.unread.store(true, SeqCst);
        keys.0.write(&[(revoked, version)]).await.unwrap();
        assert!(matches!(keys.verify(&key), Err(InvalidKey::Revoked(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_revocation_whose_answer_was_lost_is_known_a_minute_later() {
        let (store, keys) = keys().await;
        let (id, key) = key(&keys, "a").await;
        store.unanswered.store(true, SeqCst);
        keys.revoke(id).await.unwrap_err();
        keys.verify(&key).unwrap();
        store.unread.store(true, SeqCst);
        a_turn().await;
        keys.verify(&key).unwrap();
        store.unread.store(false, SeqCst);
        a_turn().await;
        assert!(matches!(keys.verify(&key), Err(InvalidKey::Revoked(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn when_many_keys_were_used_is_stored_in_parts() {
        let (store, keys) = keys().await;
        for n in 0..201 {
            let (_id, key) = key(&keys, &format!("name {n}")).await;
            keys.verify(&key).unwrap();
        }
        store.written.lock().unwrap().clear();
        a_turn().await;
        assert_eq!(*store.written.lock().unwrap(), [USES_WRITTEN_MAX, USES_WRITTEN_MAX, 1]);
        a_turn().await;
        assert_eq!(store.written.lock().unwrap().len(), 3, "it is stored once");
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_and_certificates_let_nobody_in_behind_their_end() {
        let (_store, keys) = keys().await;
        let hour = Duration::from_secs(3_600);
        for credential in [Credential::Token("https://a".into()), Credential::Certificate("b".into())] {
            let good = |expires_at| {
                keys.still_let_in(&Identity { expires_at, credential: credential.clone(), ..Identity::unasked() })
            };
            let now = stamp(now());
            assert_eq!(
                [good(Some(now)), good(Some(now.after(hour))), good(None)],
                [false, true, true],
                "{credential:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_revokes_by_a_whole_key_is_not_told_its_secret() {
        let (_store, keys) = keys().await;
        let (id, key) = key(&keys, "a").await;
        let told = format!("{:?}", keys.revoke(key.clone()).await.unwrap_err());
        assert!(told.contains(&id) && !told.contains(&key[..key.len() - 40]), "{told}");
        keys.verify(&key).unwrap();
    }
}
