//! The native face over gRPC.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use futures::stream::unfold;
use operond_proto::operond::v1::keys_server::Keys;
use operond_proto::operond::v1::kinds_server::Kinds;
use operond_proto::operond::v1::operations_server::Operations;
use operond_proto::operond::v1::types_server::Types;
use operond_proto::operond::v1::work_server::Work;
use operond_proto::operond::v1::{
    CancelRequest, Claim, ClaimRequest, ClaimResponse, CompleteRequest, CountRequest, CountResponse, CreateKeyRequest,
    CreateKeyResponse, CreateRequest, DeleteRequest, GetKindRequest, GetOperationRequest, HeartbeatRequest,
    HeartbeatResponse, Key, Kind, ListKeysRequest, ListKeysResponse, ListKindsRequest, ListKindsResponse, ListRequest,
    ListResponse, ListTypesRequest, ListTypesResponse, Operation, RegisterTypesRequest, RegisterTypesResponse,
    ReleaseRequest, ReportFailureRequest, RetryRequest, RevokeKeyRequest, StartRequest, UpdateKindRequest, WaitRequest,
    WatchRequest, WhoAmIRequest, WhoAmIResponse,
};
use prost::Message;
use tonic::{Extensions, Request, Response, Status};

use super::{count, keys, kinds, list, operations, types, work};
use crate::error::ApiError;
use crate::http::Deadline;
use crate::service::{Call, Hold, Service};
use crate::wire::View;

/// The services of the native face.
#[derive(Clone)]
pub(crate) struct Grpc(pub(crate) Arc<Service>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Operations for Grpc {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<Operation, Status>> + Send>>;

    async fn create(&self, request: Request<CreateRequest>) -> Answer<Operation> {
        let (metadata, extensions, request) = request.into_parts();
        let call = self.call(&extensions)?;
        self.shown(operations::create(&call, request, metadata.as_ref()).await, &extensions)
    }

    async fn start(&self, request: Request<StartRequest>) -> Answer<Claim> {
        let (metadata, extensions, request) = request.into_parts();
        let call = self.call(&extensions)?;
        answer(operations::start(&call, request, metadata.as_ref()).await, &extensions)
    }

    async fn get(&self, request: Request<GetOperationRequest>) -> Answer<Operation> {
        let hold = Hold { deadline: deadline(request.extensions()), ..Hold::default() };
        let got = operations::get(&self.call(request.extensions())?, request.get_ref(), hold).await;
        answer(got.map(|(operation, view)| self.0.show(&operation, view)), request.extensions())
    }

    async fn list(&self, request: Request<ListRequest>) -> Answer<ListResponse> {
        let call = self.call(request.extensions())?;
        answer(list(&call, request.get_ref(), Message::encoded_len).await, request.extensions())
    }

    async fn count(&self, request: Request<CountRequest>) -> Answer<CountResponse> {
        answer(count(&self.call(request.extensions())?, request.get_ref()).await, request.extensions())
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Answer<Operation> {
        let call = self.call(request.extensions())?;
        let waited = operations::wait(&call, request.get_ref(), deadline(request.extensions())).await;
        self.shown(waited, request.extensions())
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Answer<Self::WatchStream> {
        let watch = operations::watch(&self.call(request.extensions())?, request.get_ref()).await;
        let stream = |watch| {
            // Asked for the next state only when the last one has been sent: slow readers get fewer.
            let stream = unfold((watch, Arc::clone(&self.0)), |(mut watch, service)| async {
                let operation = operond_engine::Watch::next(&mut watch).await?;
                Some((Ok(service.show(&operation, View::Basic)), (watch, service)))
            });
            Box::pin(stream) as Self::WatchStream
        };
        answer(watch.map(stream), request.extensions())
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Answer<Operation> {
        let call = self.call(request.extensions())?;
        self.shown(operations::cancel(&call, request.get_ref()).await, request.extensions())
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Answer<()> {
        answer(operations::delete(&self.call(request.extensions())?, request.get_ref()).await, request.extensions())
    }
}

#[tonic::async_trait]
impl Work for Grpc {
    async fn claim(&self, request: Request<ClaimRequest>) -> Answer<ClaimResponse> {
        let deadline = deadline(request.extensions());
        let call = self.call(request.extensions())?;
        let claims = work::claim(&call, request.get_ref(), deadline, Message::encoded_len).await;
        answer(claims, request.extensions())
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Answer<HeartbeatResponse> {
        let (_, extensions, request) = request.into_parts();
        answer(work::heartbeat(&self.call(&extensions)?, request, deadline(&extensions)).await, &extensions)
    }

    async fn report_failure(&self, request: Request<ReportFailureRequest>) -> Answer<Operation> {
        let (_, extensions, request) = request.into_parts();
        self.shown(work::report_failure(&self.call(&extensions)?, request).await, &extensions)
    }

    async fn complete(&self, request: Request<CompleteRequest>) -> Answer<Operation> {
        let (_, extensions, request) = request.into_parts();
        self.shown(work::complete(&self.call(&extensions)?, request).await, &extensions)
    }

    async fn retry(&self, request: Request<RetryRequest>) -> Answer<Operation> {
        let (_, extensions, request) = request.into_parts();
        self.shown(work::retry(&self.call(&extensions)?, request).await, &extensions)
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Answer<Operation> {
        let call = self.call(request.extensions())?;
        self.shown(work::release(&call, request.get_ref()).await, request.extensions())
    }
}

#[tonic::async_trait]
impl Types for Grpc {
    async fn register(&self, request: Request<RegisterTypesRequest>) -> Answer<RegisterTypesResponse> {
        let (_, extensions, request) = request.into_parts();
        answer(types::register(&self.call(&extensions)?, request).await, &extensions)
    }

    async fn list(&self, request: Request<ListTypesRequest>) -> Answer<ListTypesResponse> {
        answer(types::list(&self.0, request.get_ref(), Message::encoded_len), request.extensions())
    }
}

#[tonic::async_trait]
impl Kinds for Grpc {
    async fn get(&self, request: Request<GetKindRequest>) -> Answer<Kind> {
        answer(kinds::get(&self.0, request.get_ref()), request.extensions())
    }

    async fn list(&self, request: Request<ListKindsRequest>) -> Answer<ListKindsResponse> {
        answer(kinds::list(&self.0, request.get_ref(), Message::encoded_len), request.extensions())
    }

    async fn update(&self, request: Request<UpdateKindRequest>) -> Answer<Kind> {
        let (_, extensions, request) = request.into_parts();
        answer(kinds::update(&self.call(&extensions)?, request).await, &extensions)
    }
}

#[tonic::async_trait]
impl Keys for Grpc {
    async fn create(&self, request: Request<CreateKeyRequest>) -> Answer<CreateKeyResponse> {
        let (_, extensions, request) = request.into_parts();
        answer(keys::create(&self.call(&extensions)?, request).await, &extensions)
    }

    async fn list(&self, request: Request<ListKeysRequest>) -> Answer<ListKeysResponse> {
        let call = self.call(request.extensions())?;
        answer(keys::list(&call, request.get_ref(), Message::encoded_len), request.extensions())
    }

    async fn revoke(&self, request: Request<RevokeKeyRequest>) -> Answer<Key> {
        let (_, extensions, request) = request.into_parts();
        answer(keys::revoke(&self.call(&extensions)?, request).await, &extensions)
    }

    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Answer<WhoAmIResponse> {
        Ok(Response::new(keys::who_am_i(&self.call(request.extensions())?)))
    }
}

fn deadline(extensions: &Extensions) -> Option<&Deadline> {
    extensions.get::<Deadline>()
}

impl Grpc {
    fn call(&self, extensions: &Extensions) -> Result<Call, Status> {
        self.0.call(extensions).map_err(|error| error.into_status(extensions))
    }

    fn shown(
        &self,
        outcome: Result<Arc<operond_core::Operation>, ApiError>,
        extensions: &Extensions,
    ) -> Answer<Operation> {
        answer(outcome.map(|operation| self.0.show(&operation, View::Basic)), extensions)
    }
}

fn answer<T>(outcome: Result<T, ApiError>, extensions: &Extensions) -> Answer<T> {
    outcome.map(Response::new).map_err(|error| error.into_status(extensions))
}
