//! The first key of a store: without it nobody could make another.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use operond_server::auth::Keys;

use crate::store::Address;

/// Makes the first key of a store that has none, and says where it is; `None` where there are keys.
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
    let made = keys.create_first(|key| write(&path, key)).await;
    let made = made.with_context(|| format!("the first key was to be written to {}", path.display()))?;
    if !made {
        // Another server of this store has made one meanwhile, and said where.
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(made.then_some(path))
}

/// `admin.key` beside the file of SQLite.
fn beside(store: &Address) -> Option<PathBuf> {
    match store {
        Address::Sqlite(path) => Some(path.with_file_name("admin.key")),
        Address::Postgres(_) => None,
    }
}

/// Writes a key that its owner alone can read, whole or not at all. One that is there belongs to a store that is gone, or
/// to a start that did not get far: it opens nothing.
fn write(path: &Path, key: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = file.write_all(format!("{key}\n").as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| std::fs::rename(&new, path)) {
        std::fs::remove_file(&new)?;
        return Err(error);
    }
    // So that the name is there after a power loss, too.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_for_its_owner_alone_and_replaces_one_that_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.key");
        std::fs::write(&path, "old").unwrap();
        write(&path, "opk_1").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "opk_1\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_cannot_be_put_in_its_place_is_left_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("admin.key");
        std::fs::create_dir(&taken).unwrap();
        write(&taken, "opk_1").unwrap_err();
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
        write(&folder.path().join("nowhere/admin.key"), "opk_1").unwrap_err();
    }
}
