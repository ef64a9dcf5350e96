//! How much room the disk has.

use std::fmt;
use std::path::PathBuf;

/// The disk under the database, and when it counts as full.
#[derive(Debug)]
pub(crate) struct Disk {
    directory: PathBuf,
    low_bytes: u64,
}

/// So little is left that creates are refused.
#[derive(Debug)]
pub(crate) struct Low {
    available: u64,
    low_bytes: u64,
    directory: PathBuf,
}

impl Disk {
    pub(crate) fn new(directory: PathBuf, low_bytes: u64) -> Self {
        Self { directory, low_bytes }
    }

    /// What is kept free for finishing what is there is touched. Asks the file system each time,
    /// which takes it about a microsecond; one that does not answer is not low.
    pub(crate) fn low(&self) -> Option<Low> {
        let disk = rustix::fs::statvfs(&self.directory).ok()?;
        let available = disk.f_bavail.saturating_mul(disk.f_frsize);
        (available < self.low_bytes).then(|| Low {
            available,
            low_bytes: self.low_bytes,
            directory: self.directory.clone(),
        })
    }
}

impl fmt::Display for Low {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (free, kept) = (self.available / 1024, self.low_bytes / 1024);
        write!(f, "{free} KiB are free in {}, the last {kept} KiB are kept for", self.directory.display())?;
        f.write_str(" finishing operations that exist")
    }
}

impl std::error::Error for Low {}
