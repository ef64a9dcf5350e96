//! Why a value was refused before anything was stored: INVALID_ARGUMENT.

use std::fmt;
use std::time::Duration;

/// A member of a request that cannot be accepted, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The member's JSON name, dotted for nested ones (`error.message`).
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Larger than a limit of CONTRACT §5.
    TooLarge {
        /// Its size, in `unit`.
        size: u64,
        /// The most it may be.
        limit: u64,
        /// What is counted: "characters", "bytes", "labels" …
        unit: &'static str,
    },
    /// A number or duration outside its range.
    OutOfRange {
        /// The value given.
        value: String,
        /// The range, in words.
        range: String,
    },
    /// Anything else: a full phrase that completes "`field` …".
    Malformed(String),
}

impl Invalid {
    /// `field` followed by a phrase that says what is wrong.
    pub fn malformed(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: Problem::Malformed(problem.into()) }
    }

    /// `field` is required and was not given.
    pub fn missing(field: impl Into<String>) -> Self {
        Self::malformed(field, "is required")
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = &self.field;
        match &self.problem {
            Problem::TooLarge { size, limit, unit } => write!(f, "{field} has {size} {unit}, the limit is {limit}"),
            Problem::OutOfRange { value, range } => write!(f, "{field} is {value}, it must be {range}"),
            Problem::Malformed(problem) => write!(f, "{field} {problem}"),
        }
    }
}

impl std::error::Error for Invalid {}

/// Refuses a size over `limit`.
pub fn check_size(field: &str, size: usize, limit: usize, unit: &'static str) -> Result<(), Invalid> {
    if size <= limit {
        return Ok(());
    }
    Err(Invalid {
        field: field.to_owned(),
        problem: Problem::TooLarge { size: size as u64, limit: limit as u64, unit },
    })
}

/// Refuses text over `limit` characters (Unicode scalar values) or with a NUL, which not every store can hold.
pub fn check_text(field: &str, text: &str, limit: usize) -> Result<(), Invalid> {
    // A string has at most as many characters as bytes: counting is needed only past the limit.
    if text.len() > limit {
        check_size(field, text.chars().count(), limit, "characters")?;
    }
    if text.as_bytes().contains(&0) {
        return Err(Invalid::malformed(field, "contains a NUL character"));
    }
    Ok(())
}

/// Refuses a duration outside `range`, both ends allowed.
pub fn check_duration(field: &str, value: Duration, range: (Duration, Duration)) -> Result<(), Invalid> {
    if (range.0..=range.1).contains(&value) {
        return Ok(());
    }
    Err(Invalid {
        field: field.to_owned(),
        problem: Problem::OutOfRange {
            value: format!("{}s", value.as_secs_f64()),
            range: format!("from {}s to {}s", range.0.as_secs(), range.1.as_secs()),
        },
    })
}
