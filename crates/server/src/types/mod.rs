//! Message types that come to be known while the server is running.
//!
//! There are three layers, the first that has a file wins: what is built in, what was registered (documents of the
//! store, named after their files), and what the server was started with. A registration makes new [`Types`] of all
//! of it, stores what changed, and only then shows them to readers, who never wait. What another server registered is
//! read when it is told.

mod compatible;
mod error;
mod merge;
mod set;
mod symbols;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use operond_core::Timestamp;
use operond_engine::Engine;
use operond_store::{Collection, Document, DocumentWrite};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use crate::auth::Record;
use crate::error::ApiError;
use crate::follow::follow;
use crate::json::Types;

pub use error::{Conflict, TypesError};
pub(crate) use set::message_names;

use set::File;

impl Types {
    /// These types and those of an encoded `google.protobuf.FileDescriptorSet`, which holds what its files import.
    ///
    /// # Errors
    /// It cannot be read, is over a limit, or says something else about what is known.
    pub fn with_descriptor_set(&self, set: &[u8]) -> Result<Self, TypesError> {
        merge::merge(self, set::read(set)?.values())
    }

    /// Whether payloads with this type URL are shown as their own JSON.
    #[must_use]
    pub fn knows(&self, type_url: &str) -> bool {
        let name = type_url.rsplit_once('/').map(|(_, name)| name);
        name.is_some_and(|name| self.pool().get_message_by_name(name).is_some())
    }
}

/// All types that are known now. A cheap handle.
#[derive(Clone)]
pub(crate) struct Registry(Arc<Shared>);

struct Shared {
    engine: Engine,
    /// What the server was started with, and what is built in.
    given: Types,
    known: RwLock<Arc<Known>>,
    /// One registration at a time; readers do not ask for it.
    registering: Mutex<()>,
    /// A registration goes on when its caller hangs up: else what is stored and what is known would differ.
    tracker: TaskTracker,
}

/// What is known at one time.
pub(crate) struct Known {
    pub(crate) types: Types,
    registered: BTreeMap<Arc<str>, Document>,
}

/// A file that is not built in.
pub(crate) struct KnownFile {
    pub(crate) name: Arc<str>,
    /// 0 and no time where the server was started with it.
    pub(crate) version: u64,
    pub(crate) registered_at: Option<Timestamp>,
}

impl Registry {
    /// Reads what was registered before, and again what others register.
    pub(crate) async fn load(engine: Engine, given: Types) -> Result<Self, TypesError> {
        let changed = engine.documents_changed(Collection::Types);
        let documents = engine.documents(Collection::Types).await?;
        let known = RwLock::new(Arc::new(Known::of(&given, documents)?));
        let (registering, tracker) = (Mutex::default(), TaskTracker::new());
        let shared = Arc::new(Shared { engine, given, known, registering, tracker });
        shared.tracker.spawn(follow(changed, Arc::downgrade(&shared), Shared::reload));
        Ok(Self(shared))
    }

    /// What is known now.
    pub(crate) fn known(&self) -> Arc<Known> {
        self.0.known()
    }

    /// Adds the files of a descriptor set, all or none; says which there were but those that are built in. Files that
    /// are registered like that already keep their versions.
    pub(crate) async fn register(&self, set: Vec<u8>, record: Record) -> Result<Vec<KnownFile>, ApiError> {
        let shared = Arc::clone(&self.0);
        let register = async move {
            let files = shared.register(set).await?;
            files.iter().for_each(|file| record.setting("types registered", &file.name));
            Ok(files)
        };
        let registered = self.0.tracker.spawn(register).await;
        registered.unwrap_or_else(|_panicked| Err(unreadable().into()))
    }
}

impl Shared {
    async fn register(&self, set: Vec<u8>) -> Result<Vec<KnownFile>, ApiError> {
        let _one_at_a_time = self.registering.lock().await;
        // The store has the last word: a commit may have been answered with an error that was none.
        let stored = self.engine.documents(Collection::Types).await?;
        let given = self.given.clone();
        let known = self.known();
        // Building a pool takes long, and panics on what it did not think of.
        let (known, files, new) = tokio::task::spawn_blocking(move || {
            let known = if known.holds(&stored) { known } else { Arc::new(Known::of(&given, stored)?) };
            let files = set::read(&set)?;
            let new = merge::merge(&known.types, files.values())?;
            Ok::<_, TypesError>((known, files, new))
        })
        .await
        .unwrap_or_else(|_panicked| Err(unreadable()))?;

        let files: Vec<File> = files.into_values().filter(|file| !merge::is_builtin(&file.name)).collect();
        let writes: Vec<DocumentWrite> = files.iter().filter_map(|file| known.write(file)).collect();
        let mut registered = known.registered.clone();
        if !writes.is_empty() {
            let written = self.engine.put_documents(writes).await?;
            registered.extend(written.into_iter().map(|document| (Arc::clone(&document.name), document)));
        }
        let known = Arc::new(Known { types: new, registered });
        self.show(Arc::clone(&known));
        Ok(files.iter().map(|file| known.file(Arc::clone(&file.name))).collect())
    }

    async fn reload(self: Arc<Self>) -> Result<(), TypesError> {
        let _one_at_a_time = self.registering.lock().await;
        let stored = self.engine.documents(Collection::Types).await?;
        if self.known().holds(&stored) {
            return Ok(());
        }
        let given = self.given.clone();
        let known = tokio::task::spawn_blocking(move || Known::of(&given, stored)).await;
        self.show(Arc::new(known.unwrap_or_else(|_panicked| Err(unreadable()))?));
        Ok(())
    }

    fn known(&self) -> Arc<Known> {
        // A panic leaves the old one there or the new one.
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn show(&self, known: Arc<Known>) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }
}

impl Known {
    fn of(given: &Types, documents: Vec<Document>) -> Result<Self, TypesError> {
        let files = documents.iter().filter(|document| !merge::is_builtin(&document.name));
        let files = files.map(|document| File::read(&document.bytes, &document.name)).collect::<Result<Vec<_>, _>>()?;
        let types = merge::put(given, &files)?;
        let registered = documents.into_iter().map(|document| (Arc::clone(&document.name), document)).collect();
        Ok(Self { types, registered })
    }

    fn holds(&self, documents: &[Document]) -> bool {
        self.registered.values().eq(documents)
    }

    /// What is to be stored of a file, if it is not there like that.
    fn write(&self, file: &File) -> Option<DocumentWrite> {
        let before = self.registered.get(&file.name);
        if before.is_some_and(|before| before.bytes == file.bytes) {
            return None;
        }
        Some(DocumentWrite {
            collection: Collection::Types,
            name: Arc::clone(&file.name),
            bytes: Arc::clone(&file.bytes),
            replaces: before.map_or(0, |before| before.version),
        })
    }

    /// The files that are not built in, by name.
    pub(crate) fn files(&self) -> Vec<KnownFile> {
        let mut names: Vec<Arc<str>> = self.types.pool().files().map(|file| Arc::from(file.name())).collect();
        names.retain(|name| !merge::is_builtin(name));
        names.sort_unstable();
        names.into_iter().map(|name| self.file(name)).collect()
    }

    /// The full names of the messages in a file.
    pub(crate) fn messages(&self, file: &str) -> Vec<String> {
        let file = self.types.pool().get_file_by_name(file);
        file.map_or_else(Vec::new, |file| message_names(file.file_descriptor_proto()))
    }

    /// Its encoded descriptor.
    pub(crate) fn descriptor(&self, file: &str) -> Vec<u8> {
        match self.registered.get(file) {
            Some(document) => document.bytes.to_vec(),
            None => self.types.pool().get_file_by_name(file).map_or_else(Vec::new, |file| file.encode_to_vec()),
        }
    }

    fn file(&self, name: Arc<str>) -> KnownFile {
        let document = self.registered.get(&name);
        KnownFile {
            version: document.map_or(0, |document| document.version),
            registered_at: document.map(|document| document.modified_at),
            name,
        }
    }
}

fn unreadable() -> TypesError {
    set::malformed("cannot be read: the reader of descriptors broke down over it").into()
}
