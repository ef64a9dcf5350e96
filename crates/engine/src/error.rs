//! Why a call was not carried out, by what its caller does about it.

use operond_core::{Invalid, Rejection};
use operond_store::{Missing, Refusal, Stale};

/// Why a call was not carried out. Nothing of it was stored, but what settling due timers changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request itself is wrong; it will be wrong again.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// The lease is garbled, or was never given for this operation.
    #[error("the lease is not one that this server gave for this operation")]
    InvalidLease,
    /// There is no such operation, or no longer.
    #[error("no such operation")]
    NotFound(Missing),
    /// What was to be created or claimed is of a tenant or a kind that the caller does not reach.
    #[error("of a tenant or a kind that the caller does not reach")]
    OutOfScope,
    /// The rules refuse, in the operation's present state.
    #[error("refused by the state of the operation")]
    Rejected(Rejection),
    /// The idempotency key stands for another request; this member differs.
    #[error("the idempotency key was used with another {0}")]
    KeyReused(&'static str),
    /// The idempotency key stands for an operation that is gone.
    #[error("the idempotency key was used for an operation that is gone")]
    OperationGone,
    /// A document has another version than the one to be replaced.
    #[error("document {0}")]
    Stale(#[from] Stale),
    /// Not now; the same call may well succeed a little later.
    #[error("not available: {0}")]
    Unavailable(Unavailable),
    /// The stored operation cannot be read.
    #[error("the stored operation is damaged")]
    DataLoss,
}

/// Why the engine cannot serve now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Too many commands are waiting to be written.
    #[error("too many commands are waiting to be written")]
    Overloaded,
    /// The engine is about to stop.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The store cannot be reached or failed.
    #[error("the store is not available")]
    Store,
    /// Another transaction has the operation locked in the database.
    #[error("another transaction has this operation locked in the database")]
    Held,
    /// No room for new operations; those that exist go on.
    #[error("no room left on the store's disk")]
    DiskFull,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound(missing) => Self::NotFound(missing),
            Refusal::Rejected(Rejection::Gone(gone)) => Self::NotFound(Missing::Gone(gone)),
            Refusal::Rejected(Rejection::InvalidLease) => Self::InvalidLease,
            Refusal::Rejected(Rejection::Invalid(invalid)) => Self::Invalid(invalid),
            Refusal::Rejected(rejection) => Self::Rejected(rejection),
            Refusal::KeyReused(field) => Self::KeyReused(field),
            Refusal::OperationGone => Self::OperationGone,
            Refusal::Held => Self::Unavailable(Unavailable::Held),
        }
    }
}

impl From<operond_store::Error> for Error {
    fn from(error: operond_store::Error) -> Self {
        match error {
            operond_store::Error::Full(_) => Self::Unavailable(Unavailable::DiskFull),
            operond_store::Error::Corrupt(_) => Self::DataLoss,
            operond_store::Error::Unavailable(_)
            | operond_store::Error::Unknown(_)
            | operond_store::Error::Fatal(_) => Self::Unavailable(Unavailable::Store),
        }
    }
}

/// An error with all its causes, on one line.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
