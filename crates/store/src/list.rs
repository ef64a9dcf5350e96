//! Lists: which operations, in which order, from where on.

use std::sync::Arc;

use operond_core::{Kind, Operation, OperationId, State, Timestamp};

/// One page to be read.
#[derive(Clone, Debug, PartialEq)]
pub struct ListQuery {
    /// Only of this kind.
    pub kind: Option<Kind>,
    /// Only in this state.
    pub state: Option<State>,
    /// By creation time, and by id where that is the same.
    pub order: Order,
    /// Only what comes behind this in the order.
    pub after: Option<Cursor>,
    /// Most operations on the page; at least 1.
    pub limit: usize,
    /// The page ends when its payloads have passed this many bytes.
    pub bytes_max: usize,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// `created_at desc`
    #[default]
    NewestFirst,
    /// `created_at`
    OldestFirst,
}

/// A place in a list: the key of the operation before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// When that one was created.
    pub created_at: Timestamp,
    /// Its id.
    pub id: OperationId,
}

/// What a list found.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The operations, without inputs.
    pub operations: Vec<Arc<Operation>>,
    /// Whether there may be more behind them.
    pub more: bool,
}

impl Cursor {
    /// The place of `operation`.
    #[must_use]
    pub fn of(operation: &Operation) -> Self {
        Self { created_at: operation.created_at, id: operation.id.clone() }
    }
}

/// The bytes of an operation that count against [`ListQuery::bytes_max`].
#[must_use]
pub fn payload_bytes(operation: &Operation) -> usize {
    use operond_core::{Any, Outcome, Status};
    let any = |any: Option<&Any>| any.map_or(0, Any::size);
    let status = |status: Option<&Status>| {
        status.map_or(0, |s| s.message.len() + s.details.iter().map(Any::size).sum::<usize>())
    };
    let outcome = match operation.outcome() {
        Some(Outcome::Response(response)) => response.size(),
        Some(Outcome::Error(error)) => status(Some(error)),
        None => 0,
    };
    any(operation.metadata.as_ref())
        + status(operation.attempt_error.as_ref())
        + status(operation.failure.as_ref())
        + outcome
}
