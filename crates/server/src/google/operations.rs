//! `google.longrunning.Operations`, whatever it is asked by.

use std::sync::Arc;

use operond_core::limits::{WAIT_DEFAULT, WAIT_MAX};
use operond_core::{Operation as Domain, Reason as CancelReason};
use operond_proto::google::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, ListOperationsResponse,
    Operation, WaitOperationRequest,
};
use operond_store::Face;

use super::name::Collection;
use crate::error::{ApiError, Reason};
use crate::http::Deadline;
use crate::listing::{self, ListAsked};
use crate::service::{Call, Hold, until};
use crate::wire;

/// An operation, and the collection it was asked for by.
pub(crate) type Named = (Collection, Arc<Domain>);

/// An operation by the name that it was asked for by.
pub(crate) fn shown((collection, operation): &Named) -> Operation {
    wire::google(operation, collection.name_of(&operation.id))
}

/// Reads an operation.
pub(crate) async fn get(call: &Call, request: &GetOperationRequest, hold: Hold<'_>) -> Result<Named, ApiError> {
    let (collection, id) = Collection::split(&request.name)?;
    Ok((collection, call.get(&id, hold).await?))
}

/// One page, newest first. `size` tells how many bytes an operation takes in the answer.
pub(crate) async fn list(
    call: &Call,
    request: &ListOperationsRequest,
    size: impl Fn(&Operation) -> usize,
) -> Result<ListOperationsResponse, ApiError> {
    if request.return_partial_success {
        let message = "returnPartialSuccess is not served: there is one store, which answers or does not; leave it out";
        return Err(ApiError::new(Reason::Unsupported, message).fact("field", "returnPartialSuccess"));
    }
    let collection = Collection::parse(&request.name, &call.settings.collection)?;
    let asked = ListAsked {
        face: Face::Google,
        filter: &request.filter,
        page_size: request.page_size,
        page_token: &request.page_token,
        order_by: "",
    };
    let show = |operation: &Arc<Domain>| {
        let shown = wire::google(operation, collection.name_of(&operation.id));
        let bytes = size(&shown);
        (shown, bytes)
    };
    let (operations, next_page_token) = listing::page(call, &asked, show).await?;
    Ok(ListOperationsResponse { operations, next_page_token, unreachable: Vec::new() })
}

/// Asks for an operation to be cancelled. A finished one stays as it is.
pub(crate) async fn cancel(call: &Call, request: &CancelOperationRequest) -> Result<(), ApiError> {
    let (_, id) = Collection::split(&request.name)?;
    call.cancel(&id, CancelReason::default()).await.map(drop)
}

/// Forgets a finished operation.
pub(crate) async fn delete(call: &Call, request: &DeleteOperationRequest) -> Result<(), ApiError> {
    let (_, id) = Collection::split(&request.name)?;
    call.delete(&id).await
}

/// Reads an operation once it is done, or when the time is over, a little before the caller gives up.
pub(crate) async fn wait(
    call: &Call,
    request: &WaitOperationRequest,
    deadline: Option<&Deadline>,
) -> Result<Named, ApiError> {
    let (collection, id) = Collection::split(&request.name)?;
    let timeout = wire::parse_duration("timeout", request.timeout.as_ref())?.unwrap_or(WAIT_DEFAULT);
    let waited = call.engine.wait(&id, until(timeout.min(WAIT_MAX), deadline)).await;
    Ok((collection, waited.map_err(|error| ApiError::of_operation(error, id.as_str()))?))
}
