//! Page tokens: a place in one list, sealed. They carry no authority and mean nothing to other lists.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use operond_core::{OperationId, Timestamp};
use operond_store::{Cursor, ListQuery, Order};

use crate::error::{ApiError, Reason};

/// The token of the page of `query`'s list that begins behind `cursor`: URL-safe, at most 100 characters.
pub(crate) fn seal(key: &[u8; 32], query: &ListQuery, cursor: &Cursor) -> String {
    let mut token = Vec::with_capacity(TOKEN_BYTES_MAX);
    token.extend(cursor.created_at.micros().to_be_bytes());
    token.extend(cursor.id.as_str().as_bytes());
    token.extend(mac(key, query, &token));
    URL_SAFE_NO_PAD.encode(token)
}

/// The place that `token` stands for in `query`'s list.
pub(crate) fn open(key: &[u8; 32], query: &ListQuery, token: &str) -> Result<Cursor, ApiError> {
    read(key, query, token).ok_or_else(|| {
        let problem = "is not one that this list gave: begin again without one, or with the same filter and orderBy";
        ApiError::new(Reason::InvalidPageToken, format!("pageToken {problem}")).violation("pageToken", problem)
    })
}

fn read(key: &[u8; 32], query: &ListQuery, token: &str) -> Option<Cursor> {
    if token.len() > TOKEN_CHARS_MAX {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (place, shown) = bytes.split_last_chunk::<MAC_BYTES>()?;
    if !same(&mac(key, query, place), shown) {
        return None;
    }
    let (created_at, id) = place.split_first_chunk()?;
    let id = OperationId::parse("pageToken", std::str::from_utf8(id).ok()?).ok()?;
    Some(Cursor { created_at: Timestamp::from_micros(i64::from_be_bytes(*created_at)), id })
}

/// Over the place and the list that it is in: the same list however its filter was written.
fn mac(key: &[u8; 32], query: &ListQuery, place: &[u8]) -> [u8; MAC_BYTES] {
    let order = match query.order {
        Order::NewestFirst => 0,
        Order::OldestFirst => 1,
    };
    let state = query.state.map_or("", |state| state.as_str());
    let kind = query.kind.as_ref().map_or("", |kind| kind.as_str());
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(CONTEXT).update(&[order]);
    for text in [state, kind] {
        hasher.update(&(text.len() as u64).to_be_bytes()).update(text.as_bytes());
    }
    let hash = hasher.update(place).finalize();
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// Looks at every byte, so that its time does not tell where two differ.
fn same(one: &[u8; MAC_BYTES], other: &[u8; MAC_BYTES]) -> bool {
    let difference = one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}

/// The key seals other things, too, perhaps.
const CONTEXT: &[u8] = b"operond page token 1";
const MAC_BYTES: usize = 16;
/// CONTRACT §4: so that a token is at home in every URL and log line.
const TOKEN_CHARS_MAX: usize = 100;
const TOKEN_BYTES_MAX: usize = TOKEN_CHARS_MAX / 4 * 3;

#[cfg(test)]
mod tests {
    use operond_core::{Kind, State};

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn query(kind: Option<&str>, state: Option<State>, order: Order) -> ListQuery {
        let kind = kind.map(|kind| Kind::new(kind).unwrap());
        ListQuery { kind, state, order, after: None, limit: 1, bytes_max: 1 }
    }

    fn cursor() -> Cursor {
        let id = OperationId::generate(1_000, [3; operond_core::ID_ENTROPY_BYTES]);
        Cursor { created_at: Timestamp::from_micros(-5), id }
    }

    #[test]
    fn a_token_reads_back_and_is_short_and_url_safe() {
        let all = query(None, None, Order::NewestFirst);
        let longest = Cursor { id: OperationId::parse("id", &"x".repeat(50)).unwrap(), ..cursor() };
        for cursor in [cursor(), longest] {
            let token = seal(&KEY, &all, &cursor);
            assert!(token.len() <= 100, "{token}");
            assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{token}");
            assert_eq!(open(&KEY, &all, &token), Ok(cursor));
        }
    }

    #[test]
    fn b22_altered_and_cut_tokens_are_refused() {
        let all = query(None, None, Order::NewestFirst);
        let token = seal(&KEY, &all, &cursor());
        for index in 0..token.len() {
            let mut altered = token.clone().into_bytes();
            altered[index] = if altered[index] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(open(&KEY, &all, &altered).unwrap_err().reason(), Reason::InvalidPageToken, "{altered}");
            assert!(open(&KEY, &all, &token[..index]).is_err());
        }
        for garbage in ["x", "====", "ж", &"A".repeat(100), &"A".repeat(5_000)] {
            assert!(open(&KEY, &all, garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn b22_a_token_means_nothing_to_another_list_or_store() {
        let lists = [
            query(None, None, Order::NewestFirst),
            query(None, None, Order::OldestFirst),
            query(Some("a"), None, Order::NewestFirst),
            query(Some("b"), None, Order::NewestFirst),
            query(Some("QUEUED"), None, Order::NewestFirst),
            query(None, Some(State::Queued), Order::NewestFirst),
            query(Some("a"), Some(State::Queued), Order::NewestFirst),
        ];
        for (given, list) in lists.iter().enumerate() {
            let token = seal(&KEY, list, &cursor());
            for (shown, other) in lists.iter().enumerate() {
                assert_eq!(open(&KEY, other, &token).is_ok(), given == shown, "{list:?} {other:?}");
            }
            assert!(open(&[8; 32], list, &token).is_err());
        }
    }
}
