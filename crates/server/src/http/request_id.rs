//! `x-request-id`: one id for a call in the client's log, in ours, and in an error report.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header, in requests and answers.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const REQUEST_ID_CHARACTERS_MAX: usize = 128;

/// The id of a call: the client's if it sent a sane one, else ours. An extension of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id: 1 to 128 visible ASCII characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("only visible ASCII becomes an id")
    }

    pub(super) fn header_value(&self) -> &HeaderValue {
        &self.0
    }
}

/// Where ids come from: a prefix of this process and a counter. They are unique, not secret.
#[derive(Debug)]
pub(super) struct RequestIds {
    prefix: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(super) fn new() -> Self {
        // The standard library's only source of randomness; unique across restarts is all that is needed.
        Self { prefix: RandomState::new().hash_one("request id"), next: AtomicU64::new(0) }
    }

    pub(super) fn of(&self, headers: &HeaderMap) -> RequestId {
        match headers.get(X_REQUEST_ID) {
            Some(value) if is_sane(value) => RequestId(value.clone()),
            _ => self.generate(),
        }
    }

    fn generate(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let text = format!("{:016x}-{number:08x}", self.prefix);
        RequestId(HeaderValue::try_from(text).expect("hexadecimal digits and a dash are a header value"))
    }
}

fn is_sane(value: &HeaderValue) -> bool {
    (1..=REQUEST_ID_CHARACTERS_MAX).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(value: &[u8]) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
        RequestIds::new().of(&headers)
    }

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        let longest = "x".repeat(128);
        for kept in ["a", "5f9c-{1}", &longest] {
            assert_eq!(given(kept.as_bytes()).as_str(), kept);
        }
        let too_long = "x".repeat(129);
        for replaced in ["", "with space", "tab\tbed", "id-ж", &too_long] {
            let id = given(replaced.as_bytes());
            assert_eq!(id.as_str().len(), 25, "{replaced:?} became {id:?}");
        }
    }

    #[test]
    fn generated_ids_differ_within_and_between_servers() {
        let (one, other) = (RequestIds::new(), RequestIds::new());
        let none = HeaderMap::new();
        let ids = [one.of(&none), one.of(&none), other.of(&none)];
        assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[1] != ids[2], "{ids:?}");
    }
}
