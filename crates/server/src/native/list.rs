//! Pages of operations.

use std::sync::Arc;

use operond_core::Operation;
use operond_proto::operond::v1;
use operond_store::{Count, Face};

use crate::error::ApiError;
use crate::listing::{self, ListAsked};
use crate::service::Call;
use crate::wire::View;

/// One page. `size` tells how many bytes an operation takes in the answer: the page ends before they are too many.
pub(crate) async fn list(
    call: &Call,
    request: &v1::ListRequest,
    size: impl Fn(&v1::Operation) -> usize,
) -> Result<v1::ListResponse, ApiError> {
    let asked = ListAsked {
        face: Face::Native,
        filter: &request.filter,
        page_size: request.page_size,
        page_token: &request.page_token,
        order_by: &request.order_by,
    };
    let show = |operation: &Arc<Operation>| {
        let shown = call.show(operation, View::Basic);
        let bytes = size(&shown);
        (shown, bytes)
    };
    let (operations, next_page_token) = listing::page(call, &asked, show).await?;
    Ok(v1::ListResponse { operations, next_page_token })
}

/// How many there are.
pub(crate) async fn count(call: &Call, request: &v1::CountRequest) -> Result<v1::CountResponse, ApiError> {
    let Count { count, more } = listing::count(call, &request.filter, Face::Native).await?;
    Ok(v1::CountResponse { count: count.try_into().unwrap_or(i64::MAX), more })
}
