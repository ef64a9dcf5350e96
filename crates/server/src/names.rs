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
    named: impl Iterator<Item = (&'a str, I)>,
    show: impl Fn(I) -> (T, usize),
) -> Result<(Vec<T>, String), ApiError> {
    let limit = page_size(asked.page_size)?;
    let mut named = named;
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
