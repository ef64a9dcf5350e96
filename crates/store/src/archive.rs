//! A whole store, row by row: how what is in one gets into another.
//!
//! Nothing is judged or settled here. What a server would refuse, or a timer would end, is copied as
//! it is stored; the rules meet it again when the new store is served.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use operond_core::{Any, Gone, IdempotencyKey, KeyRecord, Operation, OperationId, Outcome, Tenant, Timestamp};

use crate::columns::{Place, Sink, write_facts, write_key, write_place, write_spec};
use crate::documents::{Collection, Document};
use crate::pack::{Packed, Writer};
use crate::{Answer, Error};

/// A store that nobody serves, to be copied from or to.
///
/// Rows are in the order of [`Bookmark`]: the tables one after the other, each by its key (texts by
/// their bytes). That order is the same in every store, so that two of them can be compared.
///
/// Into a store that is empty, a copy goes in four steps: [`begin`](Archive::begin) makes it the
/// store that it is to be and marks it as unfinished, each [`write`](Archive::write) puts the mark
/// forwards with the rows that it adds, and [`finish`](Archive::finish) ends that. Each is
/// one transaction, durable when it returns: a copy that is killed at any time goes on behind the
/// mark. A [`Store`](crate::Store) refuses to open what is marked as unfinished.
pub trait Archive: Send + Sync + 'static {
    /// What is to be known of the store beside its rows.
    fn standing(&self) -> Answer<'_, Standing>;

    /// How many rows there are.
    fn counts(&self) -> Answer<'_, Counts>;

    /// The rows of the bookmark's table behind it: none when there are no more in this table, else
    /// at least one, as many as `most` allows.
    fn read(&self, behind: &Bookmark, most: Most) -> Answer<'_, Vec<Row>>;

    /// Gives the store this identity, and marks it as the unfinished copy of what is called `source`.
    /// Fails when it is marked as unfinished already. That it is empty is for the caller to see to.
    fn begin(&self, source: String, identity: Identity) -> Answer<'_, ()>;

    /// Adds rows, which come in their order, and puts the mark behind the last one. Fails, and adds
    /// nothing, when there is no mark.
    ///
    /// What a store derives from a row to find it by, it derives as of the newest instant of its
    /// identity: its clock is never earlier.
    fn write(&self, rows: Vec<Row>) -> Answer<'_, ()>;

    /// Marks the copy as finished. Fails when there is none that is not.
    fn finish(&self) -> Answer<'_, ()>;

    /// Lets go of files and connections. Later calls fail with [`Error::Unavailable`].
    fn close(&self) -> Answer<'_, ()>;
}

/// What is to be known of a store beside its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which store it is.
    pub identity: Identity,
    /// What it was copied from, or is being copied from.
    pub copy: Option<CopyOf>,
    /// A server said so long ago that it serves this store, and has not stopped in good order since.
    /// `None` where there is none, or where none was heard of for long enough.
    pub served: Option<Duration>,
}

/// What makes a store the one that it is, wherever it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// As [`crate::Properties::seal_key`]: made at random with the store. Not for logs.
    pub seal_key: [u8; 32],
    /// The newest instant that is stored, behind which the clock must not go back; `None` for a new
    /// store. Whoever serves the store makes it later.
    pub newest: Option<Timestamp>,
}

/// Where what a store holds came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOf {
    /// What was called the source, for people.
    pub source: String,
    /// Everything up to here is copied; `None` once the copy is finished.
    pub place: Option<Bookmark>,
}

/// How many rows a store has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations.
    pub operations: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Idempotency keys.
    pub keys: u64,
    /// Documents.
    pub documents: u64,
}

/// How much is read at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Rows.
    pub rows: usize,
    /// Bytes in memory, about. One row may have more.
    pub bytes: usize,
}

/// A row of a store.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// An operation with its input.
    Operation(Arc<Operation>),
    /// What is remembered of one that is gone.
    Tombstone(Tombstone),
    /// An idempotency key.
    Key(Tenant, IdempotencyKey, KeyRecord),
    /// A document.
    Document(Document),
}

/// What is remembered of an operation that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Which one.
    pub id: OperationId,
    /// Whose it was.
    pub tenant: Tenant,
    /// How it went.
    pub gone: Gone,
    /// When.
    pub at: Timestamp,
}

/// A place in a store: a table, and the row that it is behind (`None`: it is before the first one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bookmark {
    /// Among operations.
    Operations(Option<OperationId>),
    /// Among tombstones.
    Tombstones(Option<OperationId>),
    /// Among idempotency keys.
    Keys(Option<(Tenant, IdempotencyKey)>),
    /// Among documents.
    Documents(Option<(Collection, Arc<str>)>),
}

/// Reads a store from a place on to its end.
pub struct Walk<'a> {
    archive: &'a dyn Archive,
    /// `None` at the end.
    behind: Option<Bookmark>,
    most: Most,
}

impl Bookmark {
    /// Before everything.
    pub const START: Self = Self::Operations(None);

    /// Before the first row of the next table.
    #[must_use]
    pub fn next_table(&self) -> Option<Self> {
        match self {
            Self::Operations(_) => Some(Self::Tombstones(None)),
            Self::Tombstones(_) => Some(Self::Keys(None)),
            Self::Keys(_) => Some(Self::Documents(None)),
            Self::Documents(_) => None,
        }
    }
}

impl Standing {
    /// What it is an unfinished copy of, and how far that is.
    #[must_use]
    pub fn unfinished(&self) -> Option<(&str, &Bookmark)> {
        let copy = self.copy.as_ref()?;
        Some((&copy.source, copy.place.as_ref()?))
    }
}

impl<'a> Walk<'a> {
    /// What is in `archive` behind this place, so much at a time.
    #[must_use]
    pub fn from(archive: &'a dyn Archive, behind: Bookmark, most: Most) -> Self {
        Self { archive, behind: Some(behind), most }
    }

    /// The next rows, all of one table; none at the end.
    ///
    /// # Errors
    /// Those of [`Archive::read`].
    pub async fn next(&mut self) -> Result<Vec<Row>, Error> {
        while let Some(behind) = &self.behind {
            let rows = self.archive.read(behind, self.most).await?;
            if let Some(last) = rows.last() {
                self.behind = Some(last.bookmark());
                return Ok(rows);
            }
            self.behind = behind.next_table();
        }
        Ok(Vec::new())
    }
}

impl Row {
    /// The place behind it.
    #[must_use]
    pub fn bookmark(&self) -> Bookmark {
        match self {
            Self::Operation(operation) => Bookmark::Operations(Some(operation.id.clone())),
            Self::Tombstone(tombstone) => Bookmark::Tombstones(Some(tombstone.id.clone())),
            Self::Key(tenant, key, _) => Bookmark::Keys(Some((tenant.clone(), key.clone()))),
            Self::Document(document) => Bookmark::Documents(Some((document.collection, Arc::clone(&document.name)))),
        }
    }

    /// About how many bytes it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let payloads = match self {
            Self::Operation(operation) => operation_bytes(operation),
            Self::Document(document) => document.bytes.len(),
            Self::Tombstone(_) | Self::Key(..) => 0,
        };
        payloads + ROW_BYTES
    }

    /// All that it says, the same bytes out of whichever store it was read. Two rows that differ in
    /// anything have other bytes. Not stored anywhere: a release may change it.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Self::Operation(operation) => {
                out.tag(1);
                let Ok(()) = write_operation(operation, &mut out);
            }
            Self::Tombstone(Tombstone { id, tenant, gone, at }) => {
                out.tag(2);
                out.text(id.as_str());
                out.text(tenant.as_str());
                out.tag(match gone {
                    Gone::Deleted => 1,
                    Gone::Expired => 2,
                });
                out.signed(at.micros());
            }
            Self::Key(tenant, key, record) => {
                out.tag(3);
                out.text(tenant.as_str());
                out.text(key.as_str());
                out.text(record.operation.as_str());
                out.signed(record.created_at.micros());
                out.bytes(&record.fingerprint.pack());
            }
            Self::Document(document) => {
                out.tag(4);
                out.tag(document.collection.code());
                out.text(&document.name);
                out.signed(document.version.cast_signed());
                out.signed(document.modified_at.micros());
                out.bytes(&document.bytes);
            }
        }
        out.into_bytes()
    }
}

impl Identity {
    /// As [`Row::canonical`].
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.tag(0);
        out.bytes(&self.seal_key);
        let Ok(()) = out.number(self.newest.map(Timestamp::micros));
        out.into_bytes()
    }
}

/// Without the key, which is a secret.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("newest", &self.newest).finish_non_exhaustive()
    }
}

impl Counts {
    /// All rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.operations + self.tombstones + self.keys + self.documents
    }
}

impl Most {
    /// Whether rows that have so many bytes together are enough.
    #[must_use]
    pub fn is_reached(&self, rows: usize, bytes: usize) -> bool {
        rows >= self.rows || bytes >= self.bytes
    }
}

/// Every column. That of what is claimable depends on when one looks: it is looked at when all is.
fn write_operation(operation: &Operation, out: &mut Writer) -> Result<(), Infallible> {
    write_key(operation, out)?;
    write_place(Place::of(operation, operation.available_at), out)?;
    write_facts(operation, out)?;
    write_spec(&operation.spec, out)
}

fn operation_bytes(operation: &Operation) -> usize {
    let any = |any: Option<&Any>| any.map_or(0, |any| any.value.len());
    let outcome = match operation.outcome() {
        Some(Outcome::Response(response)) => response.value.len(),
        Some(Outcome::Error(error)) => error.details.iter().map(|detail| detail.value.len()).sum(),
        None => 0,
    };
    any(operation.spec.input.as_ref()) + any(operation.metadata.as_ref()) + outcome
}

/// Each column with a mark that tells an absent value from an empty one.
impl<'o> Sink<'o> for Writer {
    type Error = Infallible;

    fn text(&mut self, value: Option<&'o str>) -> Result<(), Infallible> {
        self.tag(value.is_some().into());
        value.into_iter().for_each(|value| Self::text(self, value));
        Ok(())
    }

    fn bytes(&mut self, value: Option<Cow<'o, [u8]>>) -> Result<(), Infallible> {
        self.tag(value.is_some().into());
        value.into_iter().for_each(|value| Self::bytes(self, &value));
        Ok(())
    }

    fn number(&mut self, value: Option<i64>) -> Result<(), Infallible> {
        self.tag(value.is_some().into());
        value.into_iter().for_each(|value| self.signed(value));
        Ok(())
    }

    fn real(&mut self, value: Option<f64>) -> Result<(), Infallible> {
        self.number(value.map(|value| value.to_bits().cast_signed()))
    }

    fn flag(&mut self, value: Option<bool>) -> Result<(), Infallible> {
        self.tag(value.map_or(0, |value| 1 + u8::from(value)));
        Ok(())
    }
}

/// What a row without payloads takes, about.
const ROW_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use operond_core::{Fingerprint, Kind, NewOperation, Spec, create};

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_750_000_000_000_000);

    fn operation(input: Option<Any>) -> Operation {
        let spec = Spec { input, ..Spec::new(Kind::new("k").unwrap()) };
        let new = NewOperation { spec: spec.into(), metadata: None, claim: None };
        create(&new, OperationId::generate(1, [1; 13]), NOW)
    }

    fn canonical(operation: Operation) -> Vec<u8> {
        Row::Operation(operation.into()).canonical()
    }

    #[test]
    fn rows_that_differ_in_anything_have_other_bytes() {
        let plain = canonical(operation(None));
        assert_eq!(canonical(operation(None)), plain);
        let empty = Any::new("", [].as_slice());
        let other_revision = Operation { revision: 2, ..operation(None) };
        let later = Operation { available_at: NOW.after(Duration::from_micros(1)), ..operation(None) };
        for other in [operation(Some(empty)), other_revision, later] {
            assert_ne!(canonical(other), plain);
        }
    }

    #[test]
    fn a_key_is_told_from_a_tombstone_and_from_one_of_another_time() {
        let tenant = || Tenant::parse("tenant", "t").unwrap();
        let id = OperationId::generate(1, [1; 13]);
        let key = |created_at| {
            let record = KeyRecord { operation: id.clone(), created_at, fingerprint: Fingerprint(vec![1]) };
            Row::Key(tenant(), IdempotencyKey::parse("key", "k").unwrap(), record).canonical()
        };
        let tombstone =
            |gone| Row::Tombstone(Tombstone { id: id.clone(), tenant: tenant(), gone, at: NOW }).canonical();
        let all = [key(NOW), key(Timestamp::default()), tombstone(Gone::Deleted), tombstone(Gone::Expired)];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{one:?}");
        }
    }

    #[test]
    fn tables_come_one_after_the_other_and_end() {
        let tables: Vec<_> = std::iter::successors(Some(Bookmark::START), Bookmark::next_table).collect();
        assert_eq!(tables.len(), 4);
        assert_eq!(tables[3], Bookmark::Documents(None));
    }
}
