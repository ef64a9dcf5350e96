//! PostgreSQL's programs, of which the tests start servers of their own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::debian::{Tool, ensure_tools, is_root};

/// Installs the newest PostgreSQL that Debian has unless there is one, and returns the directory of its programs. One
/// that `OPEROND_POSTGRES_BIN` names is used as it is.
///
/// # Errors
/// It cannot be installed, or is not where the variable says.
pub(crate) fn set_up() -> anyhow::Result<PathBuf> {
    if let Some(directory) = env::var_os(BIN) {
        let directory = PathBuf::from(directory);
        // The tests run in other directories than we do.
        ensure!(directory.is_absolute(), "{BIN} is not an absolute path");
        ensure!(is_whole(&directory), "no PostgreSQL server lies in {}, to which {BIN} points", directory.display());
        return Ok(directory);
    }
    if newest(INSTALLED).is_none() {
        println!("==> PostgreSQL: installing (without a server that runs by itself)");
        let _undo = is_root().then(NoMainCluster::ask).transpose()?;
        ensure_tools(&[SERVER])?;
    }
    let directory = newest(INSTALLED).with_context(|| format!("no PostgreSQL server lies under {INSTALLED}"))?;
    println!("==> PostgreSQL: {}", directory.display());
    Ok(directory)
}

/// Tells the tests where the programs are, as it tells us.
pub(crate) const BIN: &str = "OPEROND_POSTGRES_BIN";

/// While this lives, Debian's package makes and starts no server when it is installed.
struct NoMainCluster;

impl NoMainCluster {
    fn ask() -> anyhow::Result<Self> {
        let file = Path::new(SETTINGS);
        let directory = file.parent().expect("it lies in a directory");
        let written = fs::create_dir_all(directory).and_then(|()| fs::write(file, "create_main_cluster = false\n"));
        written.with_context(|| format!("writing {SETTINGS}"))?;
        Ok(Self)
    }
}

impl Drop for NoMainCluster {
    fn drop(&mut self) {
        // Whoever installs a server later wants it to run.
        if let Err(error) = fs::remove_file(SETTINGS) {
            eprintln!("warning: {SETTINGS} remains: {error}");
        }
    }
}

/// The programs of the highest version, under a directory with one for each.
fn newest(versions: &str) -> Option<PathBuf> {
    let versions = fs::read_dir(versions).into_iter().flatten().flatten();
    let versions = versions.filter_map(|entry| {
        let number: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((number, entry.path().join("bin"))).filter(|(_, directory)| is_whole(directory))
    });
    versions.max().map(|(_, directory)| directory)
}

fn is_whole(directory: &Path) -> bool {
    ["initdb", "postgres", "psql", "pg_basebackup"].iter().all(|program| directory.join(program).exists())
}

const INSTALLED: &str = "/usr/lib/postgresql";
const SETTINGS: &str = "/etc/postgresql-common/createcluster.d/operond.conf";
const SERVER: Tool = Tool { probe: &["sh", "-c", "exec ls /usr/lib/postgresql/*/bin/postgres"], package: "postgresql" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_that_is_whole_is_taken() {
        let versions = tempfile::tempdir().unwrap();
        let path = versions.path().to_str().unwrap();
        assert_eq!(newest(path), None);
        let install = |version: &str, programs: &[&str]| {
            let bin = versions.path().join(version).join("bin");
            fs::create_dir_all(&bin).unwrap();
            for program in programs {
                fs::write(bin.join(program), "").unwrap();
            }
            bin
        };
        install("17", &["psql", "pg_basebackup"]);
        install("9", &["initdb", "postgres", "psql", "pg_basebackup"]);
        install("common", &["initdb", "postgres", "psql", "pg_basebackup"]);
        let fifteen = install("15", &["initdb", "postgres", "psql", "pg_basebackup"]);
        assert_eq!(newest(path), Some(fifteen));
    }
}
