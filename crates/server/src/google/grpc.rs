//! The Google face over gRPC.

use std::sync::Arc;

use http::Extensions;
use operond_proto::google::longrunning::operations_server::Operations;
use operond_proto::google::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, ListOperationsResponse,
    Operation, WaitOperationRequest,
};
use prost::Message;
use tonic::{Request, Response, Status};

use super::operations::{self, shown};
use crate::error::ApiError;
use crate::service::{Call, Hold, Service};

/// The service of the Google face.
#[derive(Clone)]
pub(crate) struct Grpc(pub(crate) Arc<Service>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Operations for Grpc {
    async fn list_operations(&self, request: Request<ListOperationsRequest>) -> Answer<ListOperationsResponse> {
        let page = operations::list(&self.call(request.extensions())?, request.get_ref(), Message::encoded_len).await;
        answer(page, request.extensions())
    }

    async fn get_operation(&self, request: Request<GetOperationRequest>) -> Answer<Operation> {
        let hold = Hold { deadline: request.extensions().get(), ..Hold::default() };
        let got = operations::get(&self.call(request.extensions())?, request.get_ref(), hold).await;
        answer(got.map(|named| shown(&named)), request.extensions())
    }

    async fn delete_operation(&self, request: Request<DeleteOperationRequest>) -> Answer<()> {
        answer(operations::delete(&self.call(request.extensions())?, request.get_ref()).await, request.extensions())
    }

    async fn cancel_operation(&self, request: Request<CancelOperationRequest>) -> Answer<()> {
        answer(operations::cancel(&self.call(request.extensions())?, request.get_ref()).await, request.extensions())
    }

    async fn wait_operation(&self, request: Request<WaitOperationRequest>) -> Answer<Operation> {
        let call = self.call(request.extensions())?;
        let waited = operations::wait(&call, request.get_ref(), request.extensions().get()).await;
        answer(waited.map(|named| shown(&named)), request.extensions())
    }
}

impl Grpc {
    fn call(&self, extensions: &Extensions) -> Result<Call, Status> {
        self.0.call(extensions).map_err(|error| error.into_status(extensions))
    }
}

fn answer<T>(outcome: Result<T, ApiError>, extensions: &Extensions) -> Answer<T> {
    outcome.map(Response::new).map_err(|error| error.into_status(extensions))
}
