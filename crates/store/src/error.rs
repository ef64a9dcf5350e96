//! What can go wrong with a store, by what its user does about it.

use std::error::Error as StdError;
use std::fmt;

/// Why a store could not do what was asked. Nothing was stored, but for [`Error::Unknown`].
#[derive(Debug)]
pub enum Error {
    /// No room: leave creates out and try the rest again.
    Full(Cause),
    /// Not now; later perhaps.
    Unavailable(Cause),
    /// The connection broke during a commit: read back before saying anything.
    Unknown(Cause),
    /// A row cannot be read: damaged, or written by a newer version.
    Corrupt(Cause),
    /// The store can no longer be trusted to keep what it acknowledges (a failed fsync): end the process.
    Fatal(Cause),
}

/// What a driver said.
pub type Cause = Box<dyn StdError + Send + Sync>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the store has no room left",
            Self::Unavailable(_) => "the store is not available",
            Self::Unknown(_) => "the store did not say whether it committed",
            Self::Corrupt(_) => "a stored operation cannot be read",
            Self::Fatal(_) => "the store cannot be trusted any more",
        })
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Full(cause)
            | Self::Unavailable(cause)
            | Self::Unknown(cause)
            | Self::Corrupt(cause)
            | Self::Fatal(cause) => Some(&**cause),
        }
    }
}
