//! What operations carry: opaque payloads, errors, progress. Bytes are kept as they came.

use std::sync::Arc;

use crate::invalid::{Invalid, check_size, check_text};
use crate::limits::{
    ERROR_BYTES_MAX, ERROR_MESSAGE_BYTES_MAX, PROGRESS_UNIT_CHARS_MAX, REASON_CHARS_MAX, TYPE_URL_CHARS_MAX,
};

/// A `google.protobuf.Any`: a type URL and bytes that only its readers understand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Any {
    /// `type.googleapis.com/<full name>`.
    pub type_url: Arc<str>,
    /// The encoded message.
    pub value: Arc<[u8]>,
}

impl Any {
    /// A payload of type `type_url`.
    pub fn new(type_url: impl Into<Arc<str>>, value: impl Into<Arc<[u8]>>) -> Self {
        Self { type_url: type_url.into(), value: value.into() }
    }

    /// `google.protobuf.Empty`: the response of work that has none.
    #[must_use]
    pub fn empty() -> Self {
        Self::new("type.googleapis.com/google.protobuf.Empty", [].as_slice())
    }

    /// The full name of its type: what follows the last slash of the type URL.
    #[must_use]
    pub fn type_name(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }

    /// Refuses an empty or over-long type URL and a size over `bytes_max`, the type URL counted.
    pub fn check(&self, field: &str, bytes_max: usize) -> Result<(), Invalid> {
        let url = format!("{field}.@type");
        if self.type_name().is_empty() {
            return Err(Invalid::malformed(url, "is empty; expected type.googleapis.com/<full name>"));
        }
        check_text(&url, &self.type_url, TYPE_URL_CHARS_MAX)?;
        check_size(field, self.size(), bytes_max, "bytes")
    }

    /// Its size in bytes as CONTRACT §5 counts it.
    #[must_use]
    pub fn size(&self) -> usize {
        self.type_url.len() + self.value.len()
    }
}

/// A `google.rpc.Status`: the error an operation ended with or is failing with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    /// A `google.rpc.Code`, never 0.
    pub code: i32,
    /// For people.
    pub message: Arc<str>,
    /// For programs.
    pub details: Arc<[Any]>,
}

impl Status {
    /// An error without details.
    pub fn new(code: i32, message: impl Into<Arc<str>>) -> Self {
        Self { code, message: message.into(), details: Arc::new([]) }
    }

    /// Refuses code 0 (clients disagree on what it means), unknown codes and sizes over the limits.
    pub fn check(&self, field: &str) -> Result<(), Invalid> {
        if !CODES.contains(&self.code) {
            return Err(Invalid::malformed(
                format!("{field}.code"),
                format!("is {}; expected a google.rpc.Code from 1 to 16", self.code),
            ));
        }
        let message = format!("{field}.message");
        check_text(&message, &self.message, usize::MAX)?;
        check_size(&message, self.message.len(), ERROR_MESSAGE_BYTES_MAX, "bytes")?;
        for (index, detail) in self.details.iter().enumerate() {
            detail.check(&format!("{field}.details[{index}]"), ERROR_BYTES_MAX)?;
        }
        let size = self.message.len() + self.details.iter().map(Any::size).sum::<usize>();
        check_size(field, size, ERROR_BYTES_MAX, "bytes")
    }
}

/// How far the work is. Members that are absent are not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// How much is done, in `unit`.
    pub done: Option<f64>,
    /// How much there is.
    pub total: Option<f64>,
    /// What is counted, such as `frames`.
    pub unit: Arc<str>,
    /// For people.
    pub message: Arc<str>,
}

impl Progress {
    /// Refuses numbers that are negative or not finite, and texts over their limits.
    pub fn check(&self, field: &str) -> Result<(), Invalid> {
        for (name, number) in [("done", self.done), ("total", self.total)] {
            if let Some(number) = number.filter(|n| !n.is_finite() || *n < 0.0) {
                return Err(Invalid::malformed(
                    format!("{field}.{name}"),
                    format!("is {number}; expected a finite number, zero or more"),
                ));
            }
        }
        check_text(&format!("{field}.unit"), &self.unit, PROGRESS_UNIT_CHARS_MAX)?;
        check_text(&format!("{field}.message"), &self.message, REASON_CHARS_MAX)
    }
}

/// `google.rpc.Code` values that the rules speak of.
pub mod code {
    /// The operation was cancelled.
    pub const CANCELLED: i32 = 1;
    /// A deadline passed.
    pub const DEADLINE_EXCEEDED: i32 = 4;
    /// The worker was lost and no attempt is left.
    pub const UNAVAILABLE: i32 = 14;
}

const CODES: std::ops::RangeInclusive<i32> = 1..=16;
