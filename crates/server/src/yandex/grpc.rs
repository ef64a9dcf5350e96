//! The Yandex face over gRPC.

use std::sync::Arc;

use http::Extensions;
use operond_proto::yandex::cloud::endpoint::api_endpoint_service_server::ApiEndpointService;
use operond_proto::yandex::cloud::endpoint::{
    ApiEndpoint, GetApiEndpointRequest, ListApiEndpointsRequest, ListApiEndpointsResponse,
};
use operond_proto::yandex::cloud::operation::operation_service_server::OperationService;
use operond_proto::yandex::cloud::operation::{CancelOperationRequest, GetOperationRequest, Operation};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use crate::error::ApiError;
use crate::poll_interval::X_OPERATION_POLL_INTERVAL;
use crate::service::{Call, Hold, Service};
use crate::wire;

/// Both services of the Yandex face.
#[derive(Clone)]
pub(crate) struct Grpc(pub(crate) Arc<Service>);

#[tonic::async_trait]
impl OperationService for Grpc {
    async fn get(&self, request: Request<GetOperationRequest>) -> Result<Response<Operation>, Status> {
        let hold = Hold { deadline: request.extensions().get(), ..Hold::default() };
        let got = super::get(&self.call(request.extensions())?, request.get_ref(), hold).await;
        self.answer(got, request.extensions())
    }

    async fn cancel(&self, request: Request<CancelOperationRequest>) -> Result<Response<Operation>, Status> {
        let cancelled = super::cancel(&self.call(request.extensions())?, request.get_ref()).await;
        self.answer(cancelled, request.extensions())
    }
}

#[tonic::async_trait]
impl ApiEndpointService for Grpc {
    async fn get(&self, request: Request<GetApiEndpointRequest>) -> Result<Response<ApiEndpoint>, Status> {
        let endpoint = super::endpoint(&self.0, request.get_ref());
        endpoint.map(Response::new).map_err(|error| error.into_status(request.extensions()))
    }

    async fn list(
        &self,
        _request: Request<ListApiEndpointsRequest>,
    ) -> Result<Response<ListApiEndpointsResponse>, Status> {
        Ok(Response::new(super::endpoints(&self.0)))
    }
}

impl Grpc {
    fn call(&self, extensions: &Extensions) -> Result<Call, Status> {
        self.0.call(extensions).map_err(|error| error.into_status(extensions))
    }

    fn answer(
        &self,
        outcome: Result<Arc<operond_core::Operation>, ApiError>,
        extensions: &Extensions,
    ) -> Result<Response<Operation>, Status> {
        let operation = outcome.map_err(|error| error.into_status(extensions))?;
        let mut response = Response::new(wire::yandex(&operation));
        if let Some(seconds) = self.0.poll_interval(&operation) {
            response.metadata_mut().insert(X_OPERATION_POLL_INTERVAL, MetadataValue::from(seconds));
        }
        Ok(response)
    }
}
