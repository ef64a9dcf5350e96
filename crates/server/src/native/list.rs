//! Pages of operations.

use operond_core::limits::{ANSWER_BYTES_MAX, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use operond_core::{Invalid, Problem};
use operond_proto::operond::v1;
use operond_store::{Cursor, ListQuery, Order};

use super::filter;
use crate::error::{ApiError, quote};
use crate::page_token;
use crate::service::Service;
use crate::wire::View;

/// One page. `size` tells how many bytes an operation takes in the answer: the page ends before they are too many.
pub(crate) async fn list(
    service: &Service,
    request: &v1::ListRequest,
    size: impl Fn(&v1::Operation) -> usize,
) -> Result<v1::ListResponse, ApiError> {
    let query = query(service, request)?;
    let page = service.engine.list(&query).await?;
    let mut answer = v1::ListResponse::default();
    let mut bytes = 0;
    let mut last = None;
    let mut more = page.more;
    for operation in &page.operations {
        let shown = service.show(operation, View::Basic);
        bytes += size(&shown);
        if bytes > ANSWER_BYTES_MAX && last.is_some() {
            more = true;
            break;
        }
        answer.operations.push(shown);
        last = Some(operation);
    }
    if let Some(last) = last.filter(|_| more) {
        answer.next_page_token = page_token::seal(service.engine.seal_key(), &query, &Cursor::of(last));
    }
    Ok(answer)
}

fn query(service: &Service, request: &v1::ListRequest) -> Result<ListQuery, ApiError> {
    let filter = filter::parse(&request.filter)?;
    let mut query = ListQuery {
        kind: filter.kind,
        state: filter.state,
        order: order(&request.order_by)?,
        after: None,
        limit: page_size(request.page_size)?,
        bytes_max: ANSWER_BYTES_MAX,
    };
    if !request.page_token.is_empty() {
        query.after = Some(page_token::open(service.engine.seal_key(), &query, &request.page_token)?);
    }
    Ok(query)
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

fn page_size(size: i32) -> Result<usize, Invalid> {
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
}
