//! `OperationService`, whatever it is asked by.

use std::sync::Arc;

use operond_core::{Operation, OperationId, Principal, Reason};
use operond_proto::yandex::cloud::operation::{CancelOperationRequest, GetOperationRequest};

use crate::error::ApiError;
use crate::service::{Hold, Service};

/// Reads an operation.
pub(crate) async fn get(
    service: &Service,
    request: &GetOperationRequest,
    hold: Hold<'_>,
) -> Result<Arc<Operation>, ApiError> {
    service.get(&OperationId::parse(ID, &request.operation_id)?, hold).await
}

/// Asks for an operation to be cancelled.
pub(crate) async fn cancel(service: &Service, request: &CancelOperationRequest) -> Result<Arc<Operation>, ApiError> {
    let id = OperationId::parse(ID, &request.operation_id)?;
    let cancelled = service.engine.cancel(&id, Principal::default(), Reason::default()).await;
    cancelled.map_err(|error| ApiError::of_operation(error, id.as_str()))
}

const ID: &str = "operationId";
