//! Conditional reads: entity tags are revisions (RFC 9110 §13.1.2).

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use operond_core::Operation;

/// Which revisions of an operation a caller has already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    any: bool,
    revisions: Vec<u64>,
}

impl Seen {
    /// What `If-None-Match` says. A tag that is none of ours matches nothing, so that the whole answer is sent.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        for tag in values.flat_map(|value| value.split(',')).map(str::trim).take(TAGS_MAX) {
            seen.any |= tag == "*";
            seen.revisions.extend(revision(tag));
        }
        seen
    }

    /// The revision that a held Get is compared with: there is one answer, so there is one.
    pub(super) fn revision(&self) -> Option<u64> {
        match self.revisions[..] {
            [revision] if !self.any => Some(revision),
            _ => None,
        }
    }

    /// `response`, or that nothing has changed; with the tag of `operation` either way.
    pub(super) fn unless(&self, operation: &Operation, mut response: Response<Body>) -> Response<Body> {
        if self.any || self.revisions.contains(&operation.revision) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::empty();
            response.headers_mut().remove(header::CONTENT_TYPE);
        }
        response.headers_mut().insert(header::ETAG, tag(operation.revision));
        response
    }
}

/// Weak: how an operation is shown can change without its revision (whether anybody asks for its kind, which types are
/// known).
fn tag(revision: u64) -> HeaderValue {
    HeaderValue::try_from(format!("W/\"{revision}\"")).expect("digits are ASCII")
}

/// Tags are compared weakly.
fn revision(tag: &str) -> Option<u64> {
    tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// More than any client keeps of one operation.
const TAGS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(values: &[&'static str]) -> Seen {
        let values = values.iter().map(|value| (header::IF_NONE_MATCH, HeaderValue::from_static(value)));
        Seen::of(&values.collect())
    }

    #[test]
    fn tags_are_read_weak_or_strong_and_foreign_ones_match_nothing() {
        for (values, revisions) in [
            (&[][..], &[][..]),
            (&[r#"W/"7""#], &[7]),
            (&[r#""7""#], &[7]),
            (&[r#" "7" , W/"8""#, r#""9""#], &[7, 8, 9]),
            (&["7", r#""x""#, r#"""#, r#""""#, "", r#""-1""#], &[]),
        ] {
            assert_eq!(seen(values), Seen { any: false, revisions: revisions.to_vec() }, "{values:?}");
        }
        assert!(seen(&["*"]).any);
        assert_eq!(seen(&[r#""1","#]).revisions.len(), 1);
        let many = Seen::of(&(0..100).map(|_| (header::IF_NONE_MATCH, HeaderValue::from_static("\"1\""))).collect());
        assert_eq!(many.revisions.len(), TAGS_MAX);
    }

    #[test]
    fn a_hold_compares_with_one_revision() {
        assert_eq!(seen(&[r#""7""#]).revision(), Some(7));
        for values in [&[][..], &["*"], &[r#""7", "8""#], &[r#"*, "7""#]] {
            assert_eq!(seen(values).revision(), None, "{values:?}");
        }
    }
}
