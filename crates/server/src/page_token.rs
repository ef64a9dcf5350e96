//! Page tokens: a place in one list, sealed. They carry no authority and mean nothing to other lists.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use operond_core::{Kind, OperationId, Tenant, Timestamp};
use operond_store::{Cursor, Face, ListQuery, Order};

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

/// Over the place and the list that it is in: its order, its filter as it was written, and what its caller reaches.
fn mac(key: &[u8; 32], query: &ListQuery, place: &[u8]) -> [u8; MAC_BYTES] {
    let order = match query.order {
        Order::NewestFirst => 0,
        Order::OldestFirst => 1,
    };
    let face = match query.filter.face() {
        Face::Native => 0,
        Face::Google => 1,
    };
    let kinds = query.scope.kinds.iter().flat_map(|kinds| kinds.iter().map(Kind::as_str));
    let tenant = query.scope.tenant.iter().map(Tenant::as_str);
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(CONTEXT).update(&[order, face, u8::from(query.scope.tenant.is_some())]);
    for text in std::iter::once(query.filter.text()).chain(tenant).chain(kinds) {
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
const CONTEXT: &[u8] = b"operond page token 3";
const MAC_BYTES: usize = 16;
/// CONTRACT §4: so that a token is at home in every URL and log line.
const TOKEN_CHARS_MAX: usize = 100;
const TOKEN_BYTES_MAX: usize = TOKEN_CHARS_MAX / 4 * 3;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use operond_core::Scope;
    use operond_store::Filter;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn query(filter: &str, face: Face, order: Order) -> ListQuery {
        ListQuery { filter: Arc::new(Filter::parse(filter, face).unwrap()), order, ..ListQuery::default() }
    }

    fn scope(tenant: Option<&str>, kinds: &[&str]) -> Scope {
        let kinds: Vec<Kind> = kinds.iter().map(|kind| Kind::new(kind).unwrap()).collect();
        Scope {
            tenant: tenant.map(|tenant| Tenant::parse("tenant", tenant).unwrap()),
            kinds: Some(kinds.into()).filter(|kinds: &Arc<[Kind]>| !kinds.is_empty()),
        }
    }

    fn everything() -> ListQuery {
        query("", Face::Native, Order::NewestFirst)
    }

    fn cursor() -> Cursor {
        let id = OperationId::generate(1_000, [3; operond_core::ID_ENTROPY_BYTES]);
        Cursor { created_at: Timestamp::from_micros(-5), id }
    }

    #[test]
    fn a_token_reads_back_and_is_short_and_url_safe() {
        let all = everything();
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
        let all = everything();
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
            everything(),
            query("", Face::Native, Order::OldestFirst),
            query("", Face::Google, Order::NewestFirst),
            query("kind = a", Face::Native, Order::NewestFirst),
            query("kind = b", Face::Native, Order::NewestFirst),
            query("kind = a", Face::Google, Order::NewestFirst),
            query("kind = a AND state = QUEUED", Face::Native, Order::NewestFirst),
            ListQuery { scope: scope(Some("t"), &[]), ..everything() },
            ListQuery { scope: scope(Some("u"), &[]), ..everything() },
            ListQuery { scope: scope(None, &["t"]), ..everything() },
            ListQuery { scope: scope(Some("t"), &["u"]), ..everything() },
            ListQuery { scope: scope(None, &["t", "u"]), ..everything() },
        ];
        for (given, list) in lists.iter().enumerate() {
            let token = seal(&KEY, list, &cursor());
            for (shown, other) in lists.iter().enumerate() {
                assert_eq!(open(&KEY, other, &token).is_ok(), given == shown, "{list:?} {other:?}");
            }
            assert!(open(&[8; 32], list, &token).is_err());
        }
    }

    /// Tokens made up anew, unless `OPEROND_FUZZ_INPUTS` says otherwise.
    const INPUTS: usize = 200_000;

    #[test]
    fn b22_no_text_is_a_token_that_was_not_given() {
        let read = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number in OPEROND_…"));
        let (mut random, inputs) = (Random(read("OPEROND_SEED").unwrap_or_else(chance)), read("OPEROND_FUZZ_INPUTS"));
        let inputs = inputs.map_or(INPUTS, |inputs| usize::try_from(inputs).unwrap());
        println!("OPEROND_SEED={} OPEROND_FUZZ_INPUTS={inputs}", random.0);
        let list = everything();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/page_token");
        let mut corpus: Vec<_> =
            folder.read_dir().unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        corpus.sort();
        assert!(corpus.len() >= 8 && corpus.iter().all(|text| open(&KEY, &list, text).is_err()));
        let mut given = 0;
        for _ in 0..inputs {
            let cursor = random.cursor();
            let sealed = seal(&KEY, &list, &cursor);
            let token = random.mutated(&sealed, &corpus);
            let opened = open(&KEY, &list, &token);
            assert_eq!(opened.is_ok(), token == sealed, "{token} of {sealed}");
            given += usize::from(opened.is_ok_and(|opened| opened == cursor));
        }
        assert!((inputs / 100..inputs / 2).contains(&given), "{given} of {inputs} stayed as they were");
    }

    fn chance() -> u64 {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(0)
    }

    /// Numbers that look random and come again with the same seed.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            let hash = blake3::hash(&self.0.to_le_bytes());
            self.0 = u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap());
            usize::try_from(self.0 % end as u64).unwrap()
        }

        fn cursor(&mut self) -> Cursor {
            let id: String =
                (0..=self.below(50)).map(|_| char::from(b' ' + u8::try_from(self.below(95)).unwrap())).collect();
            let created_at = Timestamp::from_micros(i64::try_from(self.below(1 << 60)).unwrap() - (1 << 59));
            Cursor { created_at, id: OperationId::parse("id", &id[..id.len().min(50)]).unwrap() }
        }

        /// Often the token as it is; else with characters gone, doubled, swapped or changed.
        fn mutated(&mut self, token: &str, corpus: &[String]) -> String {
            const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ .";
            let mut text = token.as_bytes().to_vec();
            for _ in 0..self.below(4) {
                let (at, other) = (self.below(text.len()), self.below(text.len()));
                match self.below(7) {
                    0 => text[at] = ALPHABET[self.below(ALPHABET.len())],
                    1 => text.swap(at, other),
                    2 => text.truncate(at.max(1)),
                    3 => text.insert(at, ALPHABET[self.below(ALPHABET.len())]),
                    4 => text.extend_from_within(at..),
                    5 => text.reverse(),
                    _ => return corpus[self.below(corpus.len())].clone(),
                }
            }
            String::from_utf8(text).unwrap()
        }
    }
}
