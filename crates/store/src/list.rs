//! Lists: which operations, in which order, from where on.

use std::sync::Arc;

use operond_core::{Any, Kind, Operation, OperationId, Outcome, Spec, State, Status, Timestamp};

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
    /// The page ends before its payloads pass this many bytes ([`payload_bytes`]); it holds one
    /// operation at least.
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

impl Page {
    /// The page of `query`: takes operations that match it, in its order from its cursor on, until
    /// it is full; leaves their inputs out. Reads one more than it holds, to know whether there is.
    pub fn fill<E>(
        query: &ListQuery,
        matching: impl IntoIterator<Item = Result<Arc<Operation>, E>>,
    ) -> Result<Self, E> {
        let mut page = Self { operations: Vec::new(), more: false };
        let mut bytes = 0;
        for operation in matching {
            let operation = operation?;
            bytes += payload_bytes(&operation);
            let full = page.operations.len() >= query.limit || bytes > query.bytes_max;
            if full && !page.operations.is_empty() {
                page.more = true;
                break;
            }
            page.operations.push(without_input(operation));
        }
        Ok(page)
    }
}

impl Cursor {
    /// The place of `operation`.
    #[must_use]
    pub fn of(operation: &Operation) -> Self {
        Self { created_at: operation.created_at, id: operation.id.clone() }
    }
}

fn without_input(operation: Arc<Operation>) -> Arc<Operation> {
    if operation.spec.input.is_none() {
        return operation;
    }
    let spec = Spec { input: None, ..(*operation.spec).clone() };
    Arc::new(Operation { spec: Arc::new(spec), ..(*operation).clone() })
}

/// The bytes of an operation that count against [`ListQuery::bytes_max`]: its texts and payloads
/// without its input and events, and a little for the rest.
#[must_use]
pub fn payload_bytes(operation: &Operation) -> usize {
    let spec = &operation.spec;
    let texts = [spec.kind.as_str(), spec.tenant.as_str(), spec.description.as_str(), spec.created_by.as_str()];
    let labels: usize = spec.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    let progress = operation.progress.as_ref().map_or(0, |progress| progress.unit.len() + progress.message.len());
    let cancel = operation.cancel.as_ref().map_or(0, |cancel| cancel.by.as_str().len() + cancel.reason.as_str().len());
    let result = match operation.outcome() {
        Some(Outcome::Response(response)) => response.size(),
        Some(Outcome::Error(error)) => status_bytes(error),
        None => 0,
    };
    let errors = [&operation.attempt_error, &operation.failure].into_iter().flatten().map(status_bytes);
    REST_BYTES
        + texts.iter().map(|text| text.len()).sum::<usize>()
        + labels
        + progress
        + cancel
        + operation.metadata.as_ref().map_or(0, Any::size)
        + result
        + errors.sum::<usize>()
}

fn status_bytes(status: &Status) -> usize {
    status.message.len() + status.details.iter().map(Any::size).sum::<usize>()
}

/// For the id, the instants and the numbers.
const REST_BYTES: usize = 256;
