//! `OperationService`, whatever it is asked by.

use std::sync::Arc;

use operond_core::{Operation, OperationId, Reason};
use operond_proto::yandex::cloud::operation::{CancelOperationRequest, GetOperationRequest};

use crate::error::ApiError;
use crate::service::{Call, Hold};

/// Reads an operation.
pub(crate) async fn get(
    call: &Call,
    request: &GetOperationRequest,
    hold: Hold<'_>,
) -> Result<Arc<Operation>, ApiError> {
    call.get(&OperationId::parse(ID, &request.operation_id)?, hold).await
}

/// Asks for an operation to be cancelled.
pub(crate) async fn cancel(call: &Call, request: &CancelOperationRequest) -> Result<Arc<Operation>, ApiError> {
    let id = OperationId::parse(ID, &request.operation_id)?;
    call.cancel(&id, Reason::default()).await
}

const ID: &str = "operationId";
