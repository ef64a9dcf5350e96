//! `OperationService`, whatever it is asked by.

use std::sync::Arc;

use operond_core::limits::WAIT_MAX;
use operond_core::{Operation, OperationId, Principal, Reason};
use operond_proto::yandex::cloud::operation::{CancelOperationRequest, GetOperationRequest};

use crate::error::ApiError;
use crate::http::Deadline;
use crate::service::{Service, until};

/// Reads an operation; held for its next change where the server is set to.
pub(crate) async fn get(
    service: &Service,
    request: &GetOperationRequest,
    deadline: Option<&Deadline>,
) -> Result<Arc<Operation>, ApiError> {
    let id = OperationId::parse(ID, &request.operation_id)?;
    let hold = service.settings.held_get;
    let operation = if hold.is_zero() {
        service.engine.get(&id).await
    } else {
        service.engine.get_held(&id, until(hold.min(WAIT_MAX), deadline)).await
    };
    operation.map_err(|error| ApiError::of_operation(error, id.as_str()))
}

/// Asks for an operation to be cancelled.
pub(crate) async fn cancel(service: &Service, request: &CancelOperationRequest) -> Result<Arc<Operation>, ApiError> {
    let id = OperationId::parse(ID, &request.operation_id)?;
    let cancelled = service.engine.cancel(&id, Principal::default(), Reason::default()).await;
    cancelled.map_err(|error| ApiError::of_operation(error, id.as_str()))
}

const ID: &str = "operationId";
