//! Why types do not come to be known.

use operond_core::Invalid;
use operond_engine::Error;

use crate::error::{ApiError, Reason, quote};

/// Why files of message types were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypesError {
    /// They cannot be read, are not complete, or are over a limit.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// They say something else than is known.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The files that were registered before cannot be read now.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// A name that cannot mean two things.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{symbol} in file {file:?} {problem}")]
pub struct Conflict {
    /// The full name of a message, field, enum, value, extension or service.
    pub symbol: String,
    /// The file that brings it.
    pub file: String,
    /// What is wrong, as a phrase after the name.
    pub problem: String,
}

impl Conflict {
    pub(super) fn new(symbol: &str, file: &str, problem: String) -> Self {
        Self { symbol: symbol.to_owned(), file: file.to_owned(), problem }
    }
}

impl From<TypesError> for ApiError {
    fn from(error: TypesError) -> Self {
        match error {
            TypesError::Invalid(invalid) => invalid.into(),
            TypesError::Conflict(conflict) => conflict.into(),
            TypesError::Engine(error) => error.into(),
        }
    }
}

impl From<Conflict> for ApiError {
    fn from(Conflict { symbol, file, problem }: Conflict) -> Self {
        let (name, within) = (quote(&symbol), quote(&file));
        let advice = "what is stored would be read wrong, so choose another name or number";
        Self::new(Reason::TypesConflict, format!("descriptorSet: {name} in file {within} {problem}: {advice}"))
            .fact("symbol", symbol)
            .fact("file", file)
    }
}
