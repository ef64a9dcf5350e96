//! Operation ids: time-ordered in an index, unguessable, and their first characters name a cell.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::invalid::{Invalid, check_text};
use crate::limits::ID_CHARS_MAX;

/// An operation's id: 1–50 characters. Ids that we make are 32 lower-case characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(Arc<str>);

/// The first two characters of an id: which store holds the operation.
pub const CELL: &str = "op";

/// Random bytes that an id takes; 100 of their bits are used.
pub const ID_ENTROPY_BYTES: usize = 13;

impl OperationId {
    /// A new id: the cell, the creation time (48 bits, so that neighbours in time are neighbours
    /// in an index), and 100 random bits.
    #[must_use]
    pub fn generate(unix_millis: u64, entropy: [u8; ID_ENTROPY_BYTES]) -> Self {
        let mut text = String::with_capacity(CELL.len() + TIME_CHARS + ENTROPY_CHARS);
        text.push_str(CELL);
        push_base32(&mut text, u128::from(unix_millis), TIME_CHARS);
        let mut random = [0; 16];
        random[..ID_ENTROPY_BYTES].copy_from_slice(&entropy);
        push_base32(&mut text, u128::from_le_bytes(random), ENTROPY_CHARS);
        Self(text.into())
    }

    /// Takes any text that could be an id; whether it is one, only a store knows.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::missing(field));
        }
        check_text(field, text, ID_CHARS_MAX)?;
        Ok(Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for OperationId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Appends the lowest `5 × chars` bits of `bits`, highest first; the alphabet keeps their order.
fn push_base32(text: &mut String, bits: u128, chars: usize) {
    for position in (0..chars).rev() {
        let digit = (bits >> (5 * position)) & 31;
        text.push(char::from(ALPHABET[digit as usize]));
    }
}

const TIME_CHARS: usize = 10;
const ENTROPY_CHARS: usize = 20;
/// Digits in ascending ASCII order, without the letters people mistake for others (i, l, o, u).
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_differ_by_entropy() {
        let early = OperationId::generate(1_000, [0xff; 13]);
        let late = OperationId::generate(1_001, [0; 13]);
        assert!(early < late);
        assert_ne!(OperationId::generate(5, [1; 13]), OperationId::generate(5, [2; 13]));
        assert_eq!(early.as_str().len(), 32);
        assert_eq!(late.as_str(), "op00000000z900000000000000000000");
    }

    #[test]
    fn an_id_of_fifty_characters_is_looked_up_and_one_more_is_refused() {
        assert!(OperationId::parse("id", &"ж".repeat(50)).is_ok());
        let error = OperationId::parse("id", &"a".repeat(51)).unwrap_err();
        assert_eq!(error.to_string(), "id has 51 characters, the limit is 50");
        assert!(OperationId::parse("id", "").is_err());
    }
}
