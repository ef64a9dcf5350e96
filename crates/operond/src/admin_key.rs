//! The first key of a store: without it nobody could make another.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use operond_server::auth::{Audit, FirstKeyError, Keys};
use tracing::warn;

use crate::serve::{folder, has_folder};
use crate::store::Address;

/// Makes the first key of a store that has none, and says where it is; `None` where there are keys.
///
/// Servers that start at once may be told the same file, and one of them makes the key: each writes its own under a
/// name of its own, and only the key that has become good takes the place that was asked for. A file that is there is
/// never replaced: it may have the only key of another store.
///
/// # Errors
/// There is no place to write it to, something is there already, or the store does not answer.
pub(crate) async fn make(
    keys: &Keys,
    audit: Option<&Audit>,
    store: &Address,
    said: Option<PathBuf>,
) -> Result<Option<PathBuf>> {
    let path = said.or_else(|| beside(store));
    if !keys.is_empty() {
        path.iter().flat_map(|path| left_behind(path)).for_each(|left| warn_of(&left));
        return Ok(None);
    }
    let Some(path) = path else {
        bail!(
            "this store has no keys yet: say with --admin-key-file where to write the first one, an admin of everything"
        );
    };
    let mut written = None;
    let made = create(keys, audit, |key| write(&path, key).map(|at| written = Some(at))).await;
    match (made, written) {
        (Ok(true), Some(written)) => Ok(Some(put(written, path))),
        // Another server of this store has made one meanwhile, and said where.
        (Ok(_), written) => {
            let remove = |at: PathBuf| fs::remove_file(&at).with_context(|| format!("cannot remove {}", at.display()));
            written.map(remove).transpose()?;
            Ok(None)
        }
        // It may have become good all the same.
        (Err(error @ FirstKeyError::Store(_)), Some(written)) => Err(error)
            .with_context(|| format!("should the store have taken the first key, it is {}", written.display())),
        (Err(error), _) if is_taken(&error) => bail!("{}; nothing was stored", taken(store, &path)),
        (Err(error), _) => Err(error).with_context(|| no_place(&path)),
    }
}

/// Refuses where [`make`] would, as far as that can be said while the store is not open.
///
/// # Errors
/// The store is not there yet, and there is no place for its first key.
pub(crate) fn rehearse(store: &Address, said: Option<&Path>) -> Result<()> {
    let Address::Sqlite(file) = store else { return Ok(()) };
    let Some(path) = said.map(Path::to_owned).or_else(|| beside(store)).filter(|_| !file.exists()) else {
        return Ok(());
    };
    if path.symlink_metadata().is_ok() {
        bail!(taken(store, &path));
    }
    has_folder(&path).with_context(|| no_place(&path))
}

fn taken(store: &Address, path: &Path) -> String {
    format!(
        "the first key of {store} was to be written to {}, but that exists, and may have the key of another store: move \
         it away, or say with --admin-key-file FILE where else to write the key",
        path.display()
    )
}

fn no_place(path: &Path) -> String {
    format!("the first key was to be written to {}", path.display())
}

/// Makes it, unless there is one. What is in its place may have come from another server of this store: then the store
/// has a key by now.
async fn create(
    keys: &Keys,
    audit: Option<&Audit>,
    mut keep: impl FnMut(&str) -> io::Result<()>,
) -> Result<bool, FirstKeyError> {
    match keys.create_first(audit, &mut keep).await {
        Err(error) if is_taken(&error) => keys.create_first(audit, keep).await,
        made => made,
    }
}

fn is_taken(error: &FirstKeyError) -> bool {
    matches!(error, FirstKeyError::Keep(error) if error.kind() == io::ErrorKind::AlreadyExists)
}

/// `admin.key` beside the file of SQLite.
fn beside(store: &Address) -> Option<PathBuf> {
    match store {
        Address::Sqlite(path) => Some(path.with_file_name("admin.key")),
        Address::Postgres(_) => None,
    }
}

/// Writes a key that its owner alone can read beside `path`, whole or not at all, and says where.
fn write(path: &Path, key: &str) -> io::Result<PathBuf> {
    // Found out now: the key is not good yet.
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // The id in the key is no secret, and nobody else's.
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
    name.push(format!(".{}{NEW}", key.split('_').nth(1).unwrap_or_default()));
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = file.write_all(format!("{key}\n").as_bytes()).and_then(|()| file.sync_all());
    // So that the name is there after a power loss, too.
    if let Err(error) = written.and_then(|()| File::open(folder(path))?.sync_all()) {
        fs::remove_file(&new)?;
        return Err(error);
    }
    Ok(new)
}

/// Puts a key that is good now where it was asked for, and says where it is. Where it cannot be put, or something has
/// come to be meanwhile, it stays where it is: there is no other copy.
fn put(written: PathBuf, path: PathBuf) -> PathBuf {
    // Unlike a renamed file, a link replaces nothing.
    match fs::hard_link(&written, &path).and_then(|()| File::open(folder(&path))?.sync_all()) {
        Ok(()) => {
            // Should it stay, the next start says what it is.
            let _removed = fs::remove_file(&written);
            path
        }
        Err(error) => {
            warn!(%error, path = %path.display(), "the first key has not been put into its place");
            written
        }
    }
}

/// Keys that starts which were cut off have written, and not put into their place.
fn left_behind(path: &Path) -> Vec<PathBuf> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let entries = folder(path).read_dir().into_iter().flatten().flatten();
    let is_left = |entry: &fs::DirEntry| {
        let id = entry.file_name().into_string().ok();
        let id = id.as_deref().and_then(|left| left.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(NEW));
        id.is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    entries.filter(is_left).map(|entry| folder(path).join(entry.file_name())).collect()
}

fn warn_of(left: &Path) {
    let left = left.display();
    warn!(
        "a start that was cut off has left {left}: this store's first key, or one that is good for nothing; \
         `operond whoami --token @{left}` tells; rename it, or remove it"
    );
}

/// How a name ends until its key is good.
const NEW: &str = ".new";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use operond_engine::{Engine, Options};
    use operond_store::MemoryStore;
    use tokio::runtime::Handle;
    use tokio::task::block_in_place;

    use super::*;

    #[test]
    fn the_key_is_for_its_owner_alone_and_has_its_place_when_it_is_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.key");
        let written = write(&path, "opk_1_2").unwrap();
        assert!(!path.exists(), "it is not good yet");
        assert_eq!(put(written, path.clone()), path);
        assert_eq!(fs::read_to_string(&path).unwrap(), "opk_1_2\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_there_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.key");
        let written = write(&path, "opk_1_2").unwrap();
        fs::write(&path, "another store's").unwrap();
        assert_eq!(write(&path, "opk_3_4").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(put(written.clone(), path.clone()), written, "it was not there when the key was written");
        assert_eq!(fs::read_to_string(&path).unwrap(), "another store's");
        assert_eq!(fs::read_to_string(&written).unwrap(), "opk_1_2\n");

        let dangling = folder.path().join("link.key");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        assert_eq!(write(&dangling, "opk_1_2").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_another_server_of_the_store_has_put_there_is_no_obstacle() {
        let engine = Engine::start(Arc::new(MemoryStore::default()), Options::default());
        let (one, other) = (Keys::load(engine.clone()).await.unwrap(), Keys::load(engine.clone()).await.unwrap());
        let taken = || Err(io::ErrorKind::AlreadyExists.into());
        assert!(create(&one, None, |_| taken()).await.is_err_and(|error| is_taken(&error)), "the store has no key");
        let mut asked = 0;
        let made = create(&one, None, |_| {
            asked += 1;
            block_in_place(|| Handle::current().block_on(other.create_first(None, |_| Ok(())))).unwrap();
            taken()
        });
        assert!(!made.await.unwrap(), "the other one has made it");
        assert_eq!(asked, 1);
        engine.shutdown().await;
    }

    #[test]
    fn what_a_start_that_was_cut_off_has_left_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.key");
        let written = write(&path, "opk_0af1_2").unwrap();
        for other in ["admin.key", "admin.key.new", "admin.key.0af1", "other.key.0af1.new", "admin.key.notes.new"] {
            fs::write(folder.path().join(other), "").unwrap();
        }
        assert_eq!(left_behind(&path), [written]);
        assert_eq!(left_behind(Path::new("/nowhere/admin.key")), [""; 0].map(PathBuf::from));
    }

    #[test]
    fn a_key_that_has_no_place_is_left_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("admin.key");
        fs::create_dir(&taken).unwrap();
        write(&taken, "opk_1_2").unwrap_err();
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
        write(&folder.path().join("nowhere/admin.key"), "opk_1_2").unwrap_err();
    }

    #[test]
    fn a_good_key_that_cannot_be_put_into_its_place_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.key");
        let written = write(&path, "opk_1_2").unwrap();
        fs::create_dir(&path).unwrap();
        let kept = put(written, path);
        assert_eq!(fs::read_to_string(kept).unwrap(), "opk_1_2\n");
    }
}
