//! Pages of what has a name and is never removed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use operond_core::limits::ANSWER_BYTES_MAX;

use crate::error::{ApiError, Reason};
use crate::listing::page_size;

/// Which list. The numbers are in page tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Types = 0,
    Kinds = 1,
    Keys = 2,
}

/// What a caller asked for, as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageAsked<'a> {
    pub(crate) page_size: i32,
    pub(crate) page_token: &'a str,
}

/// One page of what is `named`, in that order: what `show` makes of it, and the token of the next page, empty when
/// there is none.
///
/// `show` also says how many bytes it takes in the answer: the page ends before they are more than
/// [`ANSWER_BYTES_MAX`], but holds one item at least.
pub(crate) fn page<'a, I, T>(
    key: &[u8; 32],
    list: List,
    asked: PageAsked<'_>,
    mut named: impl Iterator<Item = (&'a str, I)>,
    show: impl Fn(I) -> (T, usize),
) -> Result<(Vec<T>, String), ApiError> {
    let limit = page_size(asked.page_size)?;
    if !asked.page_token.is_empty() && !named.any(|(name, _)| token(key, list, name) == asked.page_token) {
        let problem = "is not one that this list gave: begin again without one";
        let message = format!("pageToken {problem}");
        return Err(ApiError::new(Reason::InvalidPageToken, message).violation("pageToken", problem));
    }
    let (mut items, mut bytes, mut last) = (Vec::new(), 0, None);
    for (name, item) in named {
        let (item, size) = show(item);
        bytes += size;
        if let Some(last) = last
            && (items.len() == limit || bytes > ANSWER_BYTES_MAX)
        {
            return Ok((items, token(key, list, last)));
        }
        items.push(item);
        last = Some(name);
    }
    Ok((items, String::new()))
}

/// The token of the page behind `name`. Names can be long and tokens must not be (CONTRACT §4), so it is a seal of
/// the name alone: only who has all names finds the one that it belongs to.
fn token(key: &[u8; 32], list: List, name: &str) -> String {
    let mut hasher = blake3::Hasher::new_keyed(key);
    let hash = hasher.update(CONTEXT).update(&[list as u8]).update(name.as_bytes()).finalize();
    URL_SAFE_NO_PAD.encode(&hash.as_bytes()[..TOKEN_BYTES])
}

/// The key seals other things, too.
const CONTEXT: &[u8] = b"operond name token 1";
const TOKEN_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn pages(page_size: i32, bytes: usize, names: &[&str]) -> Vec<String> {
        let (mut page_token, mut pages) = (String::new(), Vec::new());
        loop {
            let asked = PageAsked { page_size, page_token: &page_token };
            let named = names.iter().map(|name| (*name, *name));
            let (items, next) = page(&KEY, List::Kinds, asked, named, |name| (name, bytes)).unwrap();
            pages.push(items.concat());
            if next.is_empty() {
                return pages;
            }
            page_token = next;
        }
    }

    #[test]
    fn a_page_ends_at_its_size_and_only_the_last_one_has_no_token() {
        assert_eq!(pages(2, 1, &["a", "b", "c"]), ["ab", "c"]);
        assert_eq!(pages(2, 1, &["a", "b", "c", "d"]), ["ab", "cd"]);
        assert_eq!(pages(0, 1, &["a", "b"]), ["ab"]);
        assert_eq!(pages(1, 1, &[]), [""]);
    }

    #[test]
    fn a_page_ends_before_its_bytes_are_too_many_and_holds_one_item_at_least() {
        assert_eq!(pages(0, ANSWER_BYTES_MAX / 2, &["a", "b", "c"]), ["ab", "c"]);
        assert_eq!(pages(0, ANSWER_BYTES_MAX / 2 + 1, &["a", "b", "c"]), ["a", "b", "c"]);
        assert_eq!(pages(0, 2 * ANSWER_BYTES_MAX, &["a", "b"]), ["a", "b"]);
    }

    #[test]
    fn b22_a_token_means_nothing_to_another_list_or_store() {
        let given = token(&KEY, List::Kinds, "a");
        let open = |key, list| {
            let asked = PageAsked { page_size: 0, page_token: &given };
            page(key, list, asked, [("a", ()), ("b", ())].into_iter(), |()| ((), 0)).map(|(items, _)| items.len())
        };
        assert_eq!(open(&KEY, List::Kinds), Ok(1));
        for (key, list) in [(&KEY, List::Types), (&[8; 32], List::Kinds)] {
            assert_eq!(open(key, list).unwrap_err().reason(), Reason::InvalidPageToken);
        }
    }
}
