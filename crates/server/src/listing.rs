//! Pages of operations, for every face that lists.

use std::sync::Arc;

use operond_core::limits::{ANSWER_BYTES_MAX, FILTER_CHARS_MAX, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use operond_core::{Invalid, Operation, Problem, check_text};
use operond_store::{Count, CountQuery, Cursor, Face, Filter, FilterError, ListQuery, Order};
use tokio::sync::SemaphorePermit;

use crate::error::{ApiError, Reason, quote};
use crate::page_token;
use crate::service::Call;

/// What a caller asked for, as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListAsked<'a> {
    /// Whose names and facts the filter speaks of.
    pub(crate) face: Face,
    pub(crate) filter: &'a str,
    pub(crate) page_size: i32,
    pub(crate) page_token: &'a str,
    /// Empty where the face has no such member.
    pub(crate) order_by: &'a str,
}

/// One page: what `show` makes of its operations, and the token of the next page, empty when there is none.
///
/// `show` also says how many bytes it takes in the answer: the page ends before they are more than
/// [`ANSWER_BYTES_MAX`], but holds one operation at least. A page may hold few or none where its filter passes few of
/// the operations that were looked at, and have a token all the same.
pub(crate) async fn page<T>(
    call: &Call,
    asked: &ListAsked<'_>,
    show: impl Fn(&Arc<Operation>) -> (T, usize),
) -> Result<(Vec<T>, String), ApiError> {
    let _turn = turn(call)?;
    let query = query(call, asked)?;
    let page = call.engine.list(&query).await?;
    let (mut items, mut bytes, mut next) = (Vec::new(), 0, page.next);
    let mut last = None;
    for operation in &page.operations {
        let (item, size) = show(operation);
        bytes += size;
        if bytes > ANSWER_BYTES_MAX && last.is_some() {
            next = last;
            break;
        }
        items.push(item);
        last = Some(Cursor::of(operation));
    }
    let token = next.map(|next| page_token::seal(call.engine.seal_key(), &query, &next));
    Ok((items, token.unwrap_or_default()))
}

/// How many operations the filter means, up to the bounds of a count; whether there may be more.
pub(crate) async fn count(call: &Call, filter: &str, face: Face) -> Result<Count, ApiError> {
    let _turn = turn(call)?;
    let filter = Arc::new(self::filter(filter, face)?);
    let query = CountQuery { filter, payloads: Arc::new(call.types()), ..CountQuery::default() };
    Ok(call.engine.count(&query).await?)
}

/// Lists and counts that are carried out at a time. They look at a thousand operations each and a store carries out
/// one or a few of them at once: with as many of them as of other calls, each would wait for longer than its caller.
pub(crate) const LISTS_MAX: usize = 64;

/// A turn among the lists and counts.
fn turn(call: &Call) -> Result<SemaphorePermit<'_>, ApiError> {
    let full = |_| ApiError::new(Reason::Overloaded, format!("{LISTS_MAX} lists and counts are carried out already"));
    call.lists.try_acquire().map_err(full)
}

fn query(call: &Call, asked: &ListAsked<'_>) -> Result<ListQuery, ApiError> {
    let mut query = ListQuery {
        filter: Arc::new(filter(asked.filter, asked.face)?),
        payloads: Arc::new(call.types()),
        order: order(asked.order_by)?,
        limit: page_size(asked.page_size)?,
        // The engine goes by its own; page tokens are bound to it.
        scope: call.identity.scope.clone(),
        ..ListQuery::default()
    };
    if !asked.page_token.is_empty() {
        query.after = Some(page_token::open(call.engine.seal_key(), &query, asked.page_token)?);
    }
    Ok(query)
}

/// Reads a filter; what is wrong with it is told with its position.
fn filter(text: &str, face: Face) -> Result<Filter, ApiError> {
    check_text("filter", text, FILTER_CHARS_MAX)?;
    Filter::parse(text, face).map_err(|error| {
        let FilterError { position, .. } = error;
        ApiError::new(Reason::InvalidFilter, format!("filter: {error}"))
            .violation("filter", &error.to_string())
            .fact("position", position.to_string())
    })
}

fn order(order_by: &str) -> Result<Order, ApiError> {
    let words: Vec<_> = order_by.split_ascii_whitespace().take(3).collect();
    match words[..] {
        [] | ["created_at", "desc"] => Ok(Order::NewestFirst),
        ["created_at"] => Ok(Order::OldestFirst),
        _ => {
            let problem = format!(r#"is {}, expected "created_at desc" or "created_at""#, quote(order_by));
            Err(ApiError::invalid("orderBy", problem))
        }
    }
}

/// Reads the member `pageSize`: 0 means the default, more than the limit means the limit.
pub(crate) fn page_size(size: i32) -> Result<usize, Invalid> {
    match usize::try_from(size) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(size) => Ok(size.min(PAGE_SIZE_MAX)),
        Err(_) => Err(Invalid {
            field: "pageSize".into(),
            problem: Problem::OutOfRange { value: size.to_string(), range: "0 (the default) or more".into() },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_have_a_default_and_are_cut() {
        for (asked, size) in [(0, 100), (1, 1), (1_000, 1_000), (1_001, 1_000), (i32::MAX, 1_000)] {
            assert_eq!(page_size(asked), Ok(size));
        }
        for asked in [-1, i32::MIN] {
            assert_eq!(page_size(asked).unwrap_err().field, "pageSize");
        }
    }

    #[test]
    fn two_orders_are_known() {
        for newest in ["", " ", "created_at desc", " created_at   desc "] {
            assert_eq!(order(newest), Ok(Order::NewestFirst));
        }
        assert_eq!(order("created_at"), Ok(Order::OldestFirst));
        for unknown in ["created_at asc", "createdAt", "id", "created_at desc, id", "desc"] {
            assert!(order(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn a_filter_may_have_a_thousand_characters() {
        let padded = |characters: usize| format!("kind = x{}", " ".repeat(characters - 8));
        assert!(filter(&padded(1_000), Face::Native).is_ok());
        assert_eq!(filter(&padded(1_001), Face::Native).unwrap_err().reason(), Reason::LimitExceeded);
        assert_eq!(filter("\0", Face::Native).unwrap_err().reason(), Reason::InvalidField);
        assert_eq!(filter("x = ", Face::Native).unwrap_err().reason(), Reason::InvalidFilter);
    }
}
