//! What filters see of payloads: a store keeps bytes, and whoever lists knows what they mean.

use std::fmt;

use operond_core::Any;

/// Reads payloads for filters.
pub trait Payloads: fmt::Debug + Send + Sync {
    /// What `payload` holds; `None` when its type is not known or its bytes are not of it.
    fn decode(&self, payload: &Any) -> Option<Box<dyn Decoded>>;
}

/// A payload that was read.
pub trait Decoded {
    /// The values at `path`, from the outermost member inwards; never empty. Several where a member
    /// on the way is repeated, and none where one is missing.
    fn values(&self, path: &[Box<str>]) -> Vec<Value>;
}

/// A value in a payload. A filter compares it as what it is: a word that is no number is equal to
/// no number, greater than none, and different from none.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that may be past [`i64::MAX`].
    Uint(u64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(String),
    /// A member of an enumeration, compared by its name or its number.
    Enum {
        /// Empty where the number has none.
        name: String,
        /// On the wire.
        number: i32,
    },
    /// An instant, in nanoseconds since the Unix epoch.
    Instant(i128),
    /// A duration, in nanoseconds.
    Duration(i128),
    /// Something that is there and not to be compared: a message, bytes.
    Present,
}

/// Knows no type: no member of a payload is there.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPayloads;

impl Payloads for NoPayloads {
    fn decode(&self, _payload: &Any) -> Option<Box<dyn Decoded>> {
        None
    }
}
