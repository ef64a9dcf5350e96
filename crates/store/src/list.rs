//! Lists: which operations, in which order, from where on.

use std::sync::Arc;

use operond_core::limits::{ANSWER_BYTES_MAX, COUNT_MAX, PAGE_SIZE_DEFAULT, SCAN_BYTES_MAX, SCAN_OPERATIONS_MAX};
use operond_core::{Any, Operation, OperationId, Outcome, Scope, Spec, Status, Timestamp};

use crate::filter::{Filter, NoPayloads, Payloads, Range};

/// One page to be read. The default is the first one of everything.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Only what is in it.
    pub scope: Scope,
    /// Only what it means.
    pub filter: Arc<Filter>,
    /// Reads what the filter asks about metadata and responses.
    pub payloads: Arc<dyn Payloads>,
    /// By creation time, and by id where that is the same.
    pub order: Order,
    /// Only what comes behind this in the order.
    pub after: Option<Cursor>,
    /// Most operations on the page; at least 1.
    pub limit: usize,
    /// The page ends before its payloads pass this many bytes ([`payload_bytes`]); it holds one
    /// operation at least.
    pub bytes_max: usize,
    /// The page ends when so many operations were looked at; at least 1.
    pub scan_max: usize,
}

/// A question for how many there are. The default counts everything.
#[derive(Clone, Debug)]
pub struct CountQuery {
    /// Only what is in it.
    pub scope: Scope,
    /// Only what it means.
    pub filter: Arc<Filter>,
    /// Reads what the filter asks about metadata and responses.
    pub payloads: Arc<dyn Payloads>,
    /// Counts no further, where an index alone can tell.
    pub count_max: usize,
    /// Looks at no more operations than so many where it has to look; at least 1.
    pub scan_max: usize,
}

/// How many operations were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// So many at least.
    pub count: u64,
    /// There may be more: a bound was reached before the end.
    pub more: bool,
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
    /// The operations, without inputs. Few or none where the filter passed few of those looked at.
    pub operations: Vec<Arc<Operation>>,
    /// The place to go on behind, unless that was all.
    pub next: Option<Cursor>,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            filter: Arc::default(),
            payloads: Arc::new(NoPayloads),
            order: Order::default(),
            after: None,
            limit: PAGE_SIZE_DEFAULT,
            bytes_max: ANSWER_BYTES_MAX,
            scan_max: SCAN_OPERATIONS_MAX,
        }
    }
}

impl Default for CountQuery {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            filter: Arc::default(),
            payloads: Arc::new(NoPayloads),
            count_max: COUNT_MAX,
            scan_max: SCAN_OPERATIONS_MAX,
        }
    }
}

impl ListQuery {
    /// Where to look.
    #[must_use]
    pub fn range(&self) -> Range {
        self.filter.range().within(&self.scope)
    }
}

impl CountQuery {
    /// Where to look.
    #[must_use]
    pub fn range(&self) -> Range {
        self.filter.range().within(&self.scope)
    }
}

impl Page {
    /// The page of `query`: looks at the operations of its range, which come in its order
    /// from its cursor on, until it is full or has looked at enough; leaves inputs out. Takes one
    /// more than it looks at, to know whether there is one.
    pub fn fill<E>(
        query: &ListQuery,
        in_range: impl IntoIterator<Item = Result<Arc<Operation>, E>>,
    ) -> Result<Self, E> {
        let mut filling = Filling::new(query);
        for operation in in_range {
            if !filling.take(operation?) {
                break;
            }
        }
        Ok(filling.page)
    }
}

/// A page while it is being filled, for a store whose rows do not come as an iterator.
pub struct Filling<'q> {
    query: &'q ListQuery,
    page: Page,
    scan: Scan<'q>,
    bytes: usize,
}

impl<'q> Filling<'q> {
    /// Nothing on it yet.
    #[must_use]
    pub fn new(query: &'q ListQuery) -> Self {
        let page = Page { operations: Vec::new(), next: None };
        Self { query, page, scan: Scan::new(&query.scope, &query.filter, &*query.payloads, query.scan_max), bytes: 0 }
    }

    /// Takes the next operation of the range in; false when the page is finished, and this one not on it.
    pub fn take(&mut self, operation: Arc<Operation>) -> bool {
        if self.page.operations.len() >= self.query.limit.max(1) || self.scan.is_over() {
            self.page.next.clone_from(&self.scan.last);
            return false;
        }
        let before = self.scan.last.clone();
        if !self.scan.passes(&operation) {
            return true;
        }
        self.bytes += payload_bytes(&operation);
        if self.bytes > self.query.bytes_max && !self.page.operations.is_empty() {
            self.page.next = before;
            return false;
        }
        self.page.operations.push(without_input(operation));
        true
    }

    /// The page: the last one when nothing was refused.
    #[must_use]
    pub fn page(self) -> Page {
        self.page
    }
}

impl Count {
    /// The count of a query that means less than its range: looks at the operations of the range, in
    /// any order.
    pub fn by_looking<E>(
        query: &CountQuery,
        in_range: impl IntoIterator<Item = Result<Arc<Operation>, E>>,
    ) -> Result<Self, E> {
        let mut counting = Counting::new(query);
        for operation in in_range {
            if !counting.take(&*operation?) {
                break;
            }
        }
        Ok(counting.count)
    }

    /// The count of a query that means its range: the number of keys in it.
    pub fn by_index<K, E>(query: &CountQuery, in_range: impl IntoIterator<Item = Result<K, E>>) -> Result<Self, E> {
        let mut count = 0;
        for key in in_range {
            key?;
            if count == query.count_max as u64 {
                return Ok(Self { count, more: true });
            }
            count += 1;
        }
        Ok(Self { count, more: false })
    }
}

/// A count by looking while it goes on, for a store whose rows do not come as an iterator.
pub struct Counting<'q> {
    scan: Scan<'q>,
    count: Count,
}

impl<'q> Counting<'q> {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(query: &'q CountQuery) -> Self {
        let scan = Scan::new(&query.scope, &query.filter, &*query.payloads, query.scan_max);
        Self { scan, count: Count { count: 0, more: false } }
    }

    /// Looks at the next operation of the range; false when it has looked at enough before.
    pub fn take(&mut self, operation: &Operation) -> bool {
        self.count.more = self.scan.is_over();
        if self.count.more {
            return false;
        }
        self.count.count += u64::from(self.scan.passes(operation));
        true
    }

    /// So many.
    #[must_use]
    pub fn count(self) -> Count {
        self.count
    }
}

/// Looks at operations, and knows when it has looked at enough.
struct Scan<'a> {
    scope: &'a Scope,
    filter: &'a Filter,
    payloads: &'a dyn Payloads,
    /// How often the bytes of an operation may have to be gone through.
    passes_each: usize,
    operations_left: usize,
    bytes_left: usize,
    /// The place of the one looked at last.
    last: Option<Cursor>,
}

impl<'a> Scan<'a> {
    fn new(scope: &'a Scope, filter: &'a Filter, payloads: &'a dyn Payloads, scan_max: usize) -> Self {
        Self {
            scope,
            filter,
            payloads,
            passes_each: filter.members().max(1),
            operations_left: scan_max.max(1),
            bytes_left: SCAN_BYTES_MAX,
            last: None,
        }
    }

    fn is_over(&self) -> bool {
        self.operations_left == 0 || self.bytes_left == 0
    }

    /// Whether `operation`, which is in the range, is in the scope and the filter means it.
    fn passes(&mut self, operation: &Operation) -> bool {
        self.operations_left -= 1;
        self.last = Some(Cursor::of(operation));
        if !self.scope.covers(&operation.spec) {
            return false;
        }
        // An index may have known less than the filter's range.
        if self.filter.range().whole && self.filter.range().contains(operation) {
            return true;
        }
        let bytes = payload_bytes(operation).saturating_mul(self.passes_each);
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.filter.matches(operation, self.payloads)
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
