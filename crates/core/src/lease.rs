//! Leases: what a worker shows to prove that an operation is its own.

use std::fmt;
use std::time::Duration;

use crate::id::OperationId;
use crate::limits::LEASE_CHARS_MAX;
use crate::name::Worker;

/// The fencing token: the operation's own counter, one step per lease given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// 128 random bits that make a lease unguessable to those who know the id.
#[derive(Clone, Copy)]
pub struct LeaseSecret(pub [u8; 16]);

impl PartialEq for LeaseSecret {
    /// Looks at every byte, so that its time says nothing about where two secrets differ.
    fn eq(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(other.0).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

impl Eq for LeaseSecret {}

impl fmt::Debug for LeaseSecret {
    /// Never logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseSecret(..)")
    }
}

/// 128 bits over a worker command's content: tells a repeat from another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 16]);

/// The newest lease that an operation gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its fencing token.
    pub token: Token,
    /// What only its worker knows.
    pub secret: LeaseSecret,
    /// Who got it.
    pub worker: Worker,
    /// Its length: what a restart after an absence gives again.
    pub duration: Duration,
    /// Given up by retry or release: void at once.
    pub given_up: bool,
    /// The content of the complete, retry or release that was accepted under it.
    pub answered: Option<Digest>,
}

/// A lease as its worker shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseKey {
    /// The operation it is for.
    pub operation: OperationId,
    /// Its fencing token.
    pub token: Token,
    /// Its secret.
    pub secret: LeaseSecret,
}

impl LeaseKey {
    /// Reads what [`LeaseKey::encode`] wrote; `None` when it is garbled.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() > LEASE_CHARS_MAX {
            return None;
        }
        let (rest, secret) = text.rsplit_once('.')?;
        let (operation, token) = rest.rsplit_once('.')?;
        let token = token.parse().ok().filter(|t: &u64| t.to_string() == token)?;
        let operation = OperationId::parse("lease", operation).ok()?;
        Some(Self { operation, token: Token(token), secret: LeaseSecret(decode_hex(secret)?) })
    }

    /// The opaque string a worker gets; at most 200 characters, 128 bits of them random.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("{}.{}.", self.operation, self.token.0);
        for byte in self.secret.0 {
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
        text
    }
}

/// Refuses a secret that is not 32 lower-case hexadecimal digits: each lease has one spelling.
fn decode_hex(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 16];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    let value = |digit: u8| HEX.iter().position(|&h| h == digit).and_then(|v| u8::try_from(v).ok());
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> LeaseKey {
        let operation = OperationId::parse("id", "op123").unwrap();
        LeaseKey { operation, token: Token(7), secret: LeaseSecret([0xab; 16]) }
    }

    #[test]
    fn a_lease_reads_back_as_it_was_written() {
        assert_eq!(LeaseKey::decode(&key().encode()), Some(key()));
    }

    #[test]
    fn garbled_leases_are_refused() {
        let good = key().encode();
        let upper = good.to_uppercase();
        let padded = good.replace(".7.", ".07.");
        let cut = &good[..good.len() - 1];
        let long = format!("{}{good}", "x".repeat(200));
        for bad in ["", ".", "..", "op123.7", &upper, &padded, cut, &long, "a.b.c", &good.replace(".7.", ".-7.")] {
            assert_eq!(LeaseKey::decode(bad), None, "{bad}");
        }
    }
}
