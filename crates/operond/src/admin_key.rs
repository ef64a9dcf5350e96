//! The first key of a store: without it nobody could make another.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use operond_server::auth::{FirstKeyError, Keys};
use tracing::warn;

use crate::store::Address;

/// Makes the first key of a store that has none, and says where it is; `None` where there are keys.
///
/// Servers that start at once may be told the same file, and one of them makes the key: each writes its own under a
/// name of its own, and only the key that has become good takes the place that was asked for.
///
/// # Errors
/// There is no place to write it to, or the store does not answer.
pub(crate) async fn make(keys: &Keys, store: &Address, said: Option<PathBuf>) -> Result<Option<PathBuf>> {
    if !keys.is_empty() {
        return Ok(None);
    }
    let Some(path) = said.or_else(|| beside(store)) else {
        bail!(
            "this store has no keys yet: say with --admin-key-file where to write the first one, an admin of everything"
        );
    };
    let mut written = None;
    let made = keys.create_first(|key| write(&path, key).map(|at| written = Some(at))).await;
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
        (Err(error), _) => Err(error).with_context(|| format!("the first key was to be written to {}", path.display())),
    }
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
    // The id in the key is no secret, and nobody else's.
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
    name.push(format!(".{}.new", key.split('_').nth(1).unwrap_or_default()));
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

/// Puts a key that is good now where it was asked for, and says where it is. One that is there belongs to a store that
/// is gone: it opens nothing. Where it cannot be put it stays where it is: there is no other copy.
fn put(written: PathBuf, path: PathBuf) -> PathBuf {
    match fs::rename(&written, &path) {
        Ok(()) => {
            // Should the new name be lost with the power, the old one is not.
            let _synced = File::open(folder(&path)).and_then(|folder| folder.sync_all());
            path
        }
        Err(error) => {
            warn!(%error, path = %path.display(), "the first key has not been put into its place");
            written
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_for_its_owner_alone_and_replaces_one_that_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.key");
        fs::write(&path, "old").unwrap();
        let written = write(&path, "opk_1_2").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old", "it is not good yet");
        assert_eq!(put(written, path.clone()), path);
        assert_eq!(fs::read_to_string(&path).unwrap(), "opk_1_2\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
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
