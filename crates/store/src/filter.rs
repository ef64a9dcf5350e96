//! Filters of lists: AIP-160 expressions over operations.
//!
//! A filter is read once ([`Filter::parse`]) into tests that know their types, so that whatever is
//! wrong with it is said before anything is listed. From then on it answers two questions, the
//! same for every store: what an index must look at at least ([`Filter::range`]), and whether an
//! operation is meant ([`Filter::matches`]).

mod expression;
mod field;
mod grammar;
mod literal;
mod payloads;
mod range;
mod text;

use std::fmt;

use operond_core::Operation;
use operond_core::limits::FILTER_CHARS_MAX;

use expression::{Expression, Subject};

pub use payloads::{Decoded, NoPayloads, Payloads, Value};
pub use range::{Range, States};

/// Which operations a list is about. The default is all of them.
///
/// The grammar is that of AIP-160: `AND`, `OR` (which binds tighter), `NOT` and `-`, parentheses,
/// and restrictions such as `kind = "render"`, `state != FAILED`, `created_at >= 2026-01-01T00:00:00Z`,
/// `labels.team:*`, `metadata.pages > 3`. Two restrictions side by side are joined by AND. Literals
/// on their own and function calls are refused. Fields go by their names in snake_case or camelCase.
///
/// A test of a member that an operation does not have is false, also with `!=`; `NOT` is plain
/// negation of what it stands before.
///
/// ```
/// use operond_store::{Face, Filter};
///
/// let filter = Filter::parse("kind = render* AND (state = QUEUED OR state = RUNNING)", Face::Native)?;
/// assert!(!filter.range().whole, "no index knows how a kind begins");
///
/// let error = Filter::parse("kind = a AND colour = red", Face::Native).unwrap_err();
/// assert_eq!(error.position, 14);
/// # Ok::<(), operond_store::FilterError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Filter {
    text: Box<str>,
    face: Face,
    expression: Expression,
    range: Range,
}

/// What a filter sees: the same as who wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Face {
    /// A detected failure is an `error`, also while the operation is not done.
    #[default]
    Native,
    /// There is no `error` before the operation is done (CONTRACT §4 "Google face").
    Google,
}

/// Why a text is not a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// Where, in characters from 1; one past the last for what is missing at the end.
    pub position: usize,
    /// What is wrong there and what was expected. Bounded, however long the filter is.
    pub problem: String,
}

impl Filter {
    /// Reads a filter; an empty one means every operation. Takes time in proportion to its length.
    ///
    /// # Errors
    /// It is longer than [`FILTER_CHARS_MAX`], nested deeper than
    /// [`FILTER_DEPTH_MAX`](operond_core::limits::FILTER_DEPTH_MAX), not of the grammar, or speaks of a
    /// field that is not there, or not in a way that the field has.
    pub fn parse(text: &str, face: Face) -> Result<Self, FilterError> {
        check_characters(text)?;
        let expression = grammar::parse(text, face).map_err(|wrong| wrong.located(text))?;
        let range = Range::of(&expression);
        Ok(Self { text: text.trim().into(), face, expression, range })
    }

    /// The filter as it was written, without space around it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whose filter it is.
    #[must_use]
    pub fn face(&self) -> Face {
        self.face
    }

    /// What an index can tell: every operation that [`matches`](Self::matches) is in it.
    #[must_use]
    pub fn range(&self) -> &Range {
        &self.range
    }

    /// How many members of payloads it asks about: each is looked for anew.
    pub(crate) fn members(&self) -> usize {
        self.expression.members()
    }

    /// Whether it means `operation`. Members of metadata and response are read by `payloads`.
    #[must_use]
    pub fn matches(&self, operation: &Operation, payloads: &dyn Payloads) -> bool {
        self.expression.holds(&Subject::new(operation, payloads, self.face))
    }
}

impl Default for Filter {
    fn default() -> Self {
        let expression = Expression::All(Vec::new());
        let range = Range::of(&expression);
        Self { text: "".into(), face: Face::default(), expression, range }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at character {}", self.problem, self.position)
    }
}

impl std::error::Error for FilterError {}

/// What is wrong, and the byte that it begins at.
#[derive(Clone, Debug)]
struct Wrong {
    at: usize,
    problem: String,
}

impl Wrong {
    fn new(at: usize, problem: impl Into<String>) -> Self {
        Self { at, problem: problem.into() }
    }

    fn located(self, text: &str) -> FilterError {
        FilterError { position: text[..self.at].chars().count() + 1, problem: self.problem }
    }
}

/// How a field is compared with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparator {
    Has,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparator {
    /// As it is written.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Has => ":",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    /// Whether a field that compares so with the value passes.
    const fn accepts(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Has | Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

fn check_characters(text: &str) -> Result<(), FilterError> {
    if let Some((past, _)) = text.char_indices().nth(FILTER_CHARS_MAX) {
        let problem = format!("a filter has at most {FILTER_CHARS_MAX} characters");
        return Err(Wrong::new(past, problem).located(text));
    }
    match text.find('\0') {
        Some(at) => Err(Wrong::new(at, "a filter has no NUL characters").located(text)),
        None => Ok(()),
    }
}

/// A stranger's words in an error: on one line, escaped, and not many.
fn quoted(text: &str) -> String {
    let mut shown = String::from('"');
    for character in text.chars() {
        if shown.len() > QUOTED_BYTES_MAX {
            shown.push('…');
            break;
        }
        shown.extend(character.escape_debug());
    }
    shown + "\""
}

const QUOTED_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests;
