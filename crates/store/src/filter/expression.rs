//! A filter that was read: tests that know their types, joined.

use std::cell::OnceCell;

use operond_core::{Any, Operation, Outcome, Phase, Status, Timestamp};

use super::literal::Literal;
use super::payloads::{Decoded, Payloads, Value};
use super::range::States;
use super::text::TextTest;
use super::{Comparator, Face};

#[derive(Clone, Debug)]
pub(super) enum Expression {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Test(Test),
}

/// A test of one member. What an operation does not have passes none.
#[derive(Clone, Debug)]
pub(super) enum Test {
    /// Whatever the state tells: `state`, `done`, and whether there is an error or a response.
    State(States),
    Text(TextField, TextTest),
    Label(Box<str>, TextTest),
    HasLabel(Box<str>),
    HasLabels,
    Instant(InstantField, Comparator, i128),
    HasStarted,
    ErrorCode(Comparator, i32),
    ErrorMessage(TextTest),
    HasMetadata,
    Type(Part, TextTest),
    Member(Part, Box<[Box<str>]>, Box<Literal>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextField {
    Id,
    Kind,
    Tenant,
    CreatedBy,
    Description,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InstantField {
    Created,
    Modified,
    Started,
    Finished,
}

/// Which of the payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Metadata,
    Response,
}

/// What is tested: an operation as a face shows it. Its payloads are read once, if at all.
pub(super) struct Subject<'a> {
    operation: &'a Operation,
    payloads: &'a dyn Payloads,
    face: Face,
    metadata: OnceCell<Option<Box<dyn Decoded>>>,
    response: OnceCell<Option<Box<dyn Decoded>>>,
}

impl Expression {
    /// All of them; the one itself when it is only one.
    pub(super) fn all(mut expressions: Vec<Self>) -> Self {
        if expressions.len() == 1 { expressions.remove(0) } else { Self::All(expressions) }
    }

    /// Any of them; the one itself when it is only one.
    pub(super) fn any(mut expressions: Vec<Self>) -> Self {
        if expressions.len() == 1 { expressions.remove(0) } else { Self::Any(expressions) }
    }

    /// How many members of payloads it asks about.
    pub(super) fn members(&self) -> usize {
        match self {
            Self::All(inner) | Self::Any(inner) => inner.iter().map(Self::members).sum(),
            Self::Not(inner) => inner.members(),
            Self::Test(test) => usize::from(matches!(test, Test::Member(..))),
        }
    }

    /// Goes no deeper than filters may be nested.
    pub(super) fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::All(all) => all.iter().all(|expression| expression.holds(subject)),
            Self::Any(any) => any.iter().any(|expression| expression.holds(subject)),
            Self::Not(negated) => !negated.holds(subject),
            Self::Test(test) => test.holds(subject),
        }
    }
}

impl Test {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        let Subject { operation, .. } = subject;
        match self {
            Self::State(states) => states.contains(operation.state()),
            Self::Text(field, test) => test.holds(field.of(operation)),
            Self::Label(key, test) => label(operation, key).is_some_and(|value| test.holds(value)),
            Self::HasLabel(key) => label(operation, key).is_some(),
            Self::HasLabels => operation.spec.labels.iter().len() > 0,
            Self::Instant(field, comparator, nanos) => {
                let instant = field.of(operation);
                instant.is_some_and(|instant| comparator.accepts(nanos_of(instant).cmp(nanos)))
            }
            Self::HasStarted => operation.started_at.is_some(),
            Self::ErrorCode(comparator, code) => {
                subject.error().is_some_and(|error| comparator.accepts(error.code.cmp(code)))
            }
            Self::ErrorMessage(test) => subject.error().is_some_and(|error| test.holds(&error.message)),
            Self::HasMetadata => operation.metadata.is_some(),
            Self::Type(part, test) => subject.payload(*part).is_some_and(|payload| type_passes(payload, test)),
            Self::Member(part, path, literal) => {
                let values = subject.values(*part, path);
                values.iter().any(|value| literal.holds(value))
            }
        }
    }
}

impl TextField {
    fn of(self, operation: &Operation) -> &str {
        let spec = &operation.spec;
        match self {
            Self::Id => operation.id.as_str(),
            Self::Kind => spec.kind.as_str(),
            Self::Tenant => spec.tenant.as_str(),
            Self::CreatedBy => spec.created_by.as_str(),
            Self::Description => spec.description.as_str(),
        }
    }
}

impl InstantField {
    fn of(self, operation: &Operation) -> Option<Timestamp> {
        match (self, &operation.phase) {
            (Self::Created, _) => Some(operation.created_at),
            (Self::Modified, _) => Some(operation.modified_at),
            (Self::Started, _) => operation.started_at,
            (Self::Finished, Phase::Done { finished_at, .. }) => Some(*finished_at),
            (Self::Finished, Phase::Queued { .. } | Phase::Leased { .. }) => None,
        }
    }
}

impl<'a> Subject<'a> {
    pub(super) fn new(operation: &'a Operation, payloads: &'a dyn Payloads, face: Face) -> Self {
        Self { operation, payloads, face, metadata: OnceCell::new(), response: OnceCell::new() }
    }

    /// The error that the face shows.
    fn error(&self) -> Option<&'a Status> {
        match (self.operation.outcome(), self.face) {
            (Some(Outcome::Error(error)), _) => Some(error),
            (Some(Outcome::Response(_)), _) | (None, Face::Google) => None,
            (None, Face::Native) => self.operation.failure.as_ref(),
        }
    }

    fn payload(&self, part: Part) -> Option<&'a Any> {
        match (part, self.operation.outcome()) {
            (Part::Metadata, _) => self.operation.metadata.as_ref(),
            (Part::Response, Some(Outcome::Response(response))) => Some(response),
            (Part::Response, Some(Outcome::Error(_)) | None) => None,
        }
    }

    fn values(&self, part: Part, path: &[Box<str>]) -> Vec<Value> {
        let decoded = match part {
            Part::Metadata => &self.metadata,
            Part::Response => &self.response,
        };
        let decoded = decoded.get_or_init(|| self.payloads.decode(self.payload(part)?));
        decoded.as_ref().map_or_else(Vec::new, |decoded| decoded.values(path))
    }
}

/// Nanoseconds since the Unix epoch: what filters can say is finer than what is stored.
pub(super) fn nanos_of(instant: Timestamp) -> i128 {
    i128::from(instant.micros()) * NANOS_PER_MICRO
}

fn label<'a>(operation: &'a Operation, key: &str) -> Option<&'a str> {
    operation.spec.labels.iter().find(|(present, _)| *present == key).map(|(_, value)| value)
}

/// A type goes by its URL or by its name alone.
fn type_passes(payload: &Any, test: &TextTest) -> bool {
    let (url, name) = (test.holds(&payload.type_url), test.holds(payload.type_name()));
    if matches!(test, TextTest::Different(_)) { url && name } else { url || name }
}

pub(super) const NANOS_PER_MICRO: i128 = 1_000;
