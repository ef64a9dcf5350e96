//! Defaults of operations, by kind: kept in the store, and in memory for creates.

mod defaults;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use operond_core::limits::KINDS_MAX;
use operond_core::{Kind, check_size};
use operond_engine::{Create, Engine, Error};
use operond_proto::operond::v1;
use operond_store::{Collection, Document, DocumentWrite, Stale};
use prost::Message;
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use crate::auth::Record;
use crate::error::{ApiError, Reason, quote};
use crate::follow::follow;
use crate::wire::{self, Open};

use defaults::Defaults;

/// The kinds that have defaults. A cheap handle.
#[derive(Clone)]
pub(crate) struct Kinds(Arc<Shared>);

struct Shared {
    engine: Engine,
    known: RwLock<Arc<Known>>,
    /// One update at a time; readers do not ask for it.
    updating: Mutex<()>,
    /// An update goes on when its caller hangs up: else what is stored and what is known would differ.
    tracker: TaskTracker,
}

/// All kinds that have defaults at one time, by name.
pub(crate) type Known = BTreeMap<Arc<str>, Usual>;

/// What is usual for a kind.
#[derive(Clone, Debug)]
pub(crate) struct Usual {
    /// As it is shown.
    pub(crate) kind: v1::Kind,
    defaults: Defaults,
}

impl Kinds {
    /// Reads what is stored, and again what others store.
    pub(crate) async fn load(engine: Engine) -> Result<Self, Error> {
        let changed = engine.documents_changed(Collection::Kinds);
        let known = RwLock::new(Arc::new(read_all(&engine).await?));
        let (updating, tracker) = (Mutex::default(), TaskTracker::new());
        let shared = Arc::new(Shared { engine, known, updating, tracker });
        shared.tracker.spawn(follow(changed, Arc::downgrade(&shared), Shared::reload));
        Ok(Self(shared))
    }

    /// All of them.
    pub(crate) fn known(&self) -> Arc<Known> {
        // A panic leaves the old ones there or the new ones.
        Arc::clone(&self.0.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// One of them.
    pub(crate) fn get(&self, name: &str) -> Result<v1::Kind, ApiError> {
        let kind = Kind::parse("name", name)?;
        self.known().get(kind.as_str()).map(|usual| usual.kind.clone()).ok_or_else(|| {
            let name = quote(name);
            let message = format!("kind {name} has no defaults: it can be used without, and an update gives it some");
            ApiError::new(Reason::NoDefaults, message).fact("kind", kind.as_str())
        })
    }

    /// `create` with what is usual for its kind in what it leaves open.
    pub(crate) fn fill(&self, create: Create, open: Open) -> Create {
        let known = self.known();
        let usual = known.get(create.spec.kind.as_str());
        let with_defaults = usual.map(|usual| usual.defaults.fill(&create.spec, open, self.0.engine.retention()));
        Create { with_defaults, ..create }
    }

    /// Replaces the defaults of one kind, durably. The same once more is no change.
    pub(crate) async fn update(&self, kind: v1::Kind, record: Record) -> Result<v1::Kind, ApiError> {
        let shared = Arc::clone(&self.0);
        let update = async move {
            let updated = shared.update(kind).await?;
            record.setting("kind updated", &updated.name);
            Ok(updated)
        };
        let updated = self.0.tracker.spawn(update).await;
        updated.unwrap_or_else(|_panicked| Err(ApiError::new(Reason::Internal, "the update broke down")))
    }
}

impl Shared {
    async fn update(&self, kind: v1::Kind) -> Result<v1::Kind, ApiError> {
        let (seen, kind) = (kind.version, said(&kind));
        let defaults = Defaults::parse(&kind)?;
        let name: Arc<str> = kind.name.as_str().into();
        let _one_at_a_time = self.updating.lock().await;
        // The store has the last word: a commit may have been answered with an error that was none.
        let mut known = read_all(&self.engine).await?;
        let before = known.get(&name).map(|usual| usual.kind.clone());
        let found = before.as_ref().map_or(0, |before| before.version);
        if seen != 0 && seen != found {
            return Err(Error::Stale(Stale { collection: Collection::Kinds, name, found }).into());
        }
        check_size("kinds", known.len() + usize::from(before.is_none()), KINDS_MAX, "kinds with defaults")?;
        let shown = match before.filter(|before| said(before) == kind) {
            Some(before) => before,
            None => {
                let write = DocumentWrite {
                    collection: Collection::Kinds,
                    name: Arc::clone(&name),
                    replaces: found,
                    bytes: kind.encode_to_vec().into(),
                };
                let written = self.engine.put_documents(vec![write]).await?.remove(0);
                shown(kind, &written)
            }
        };
        known.insert(name, Usual { kind: shown.clone(), defaults });
        self.show(known);
        Ok(shown)
    }

    async fn reload(self: Arc<Self>) -> Result<(), Error> {
        let _one_at_a_time = self.updating.lock().await;
        self.show(read_all(&self.engine).await?);
        Ok(())
    }

    fn show(&self, known: Known) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }
}

async fn read_all(engine: &Engine) -> Result<Known, Error> {
    let documents = engine.documents(Collection::Kinds).await?;
    documents.iter().map(|document| Ok((Arc::clone(&document.name), read(document)?))).collect()
}

fn read(document: &Document) -> Result<Usual, Error> {
    let kind = v1::Kind::decode(&*document.bytes).map_err(|_| Error::DataLoss)?;
    let defaults = Defaults::parse(&kind).map_err(|_| Error::DataLoss)?;
    Ok(Usual { kind: shown(kind, document), defaults })
}

/// What an update says, and what is stored of it.
fn said(kind: &v1::Kind) -> v1::Kind {
    v1::Kind { version: 0, modified_at: None, ..kind.clone() }
}

fn shown(kind: v1::Kind, document: &Document) -> v1::Kind {
    v1::Kind { version: document.version, modified_at: Some(wire::timestamp(document.modified_at)), ..kind }
}
