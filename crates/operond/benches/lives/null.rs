//! The floor: the same transport and messages with nothing behind them.

use anyhow::Result;
use operond_proto::operond::v1::operations_server::{Operations, OperationsServer};
use operond_proto::operond::v1::{
    CancelRequest, Claim, CountRequest, CountResponse, CreateRequest, DeleteRequest, GetOperationRequest, ListRequest,
    ListResponse, Operation, StartRequest, WaitRequest, WatchRequest,
};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Answers every Get with a small operation, until killed.
pub(crate) async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(Server::builder().add_service(OperationsServer::new(Null)).serve_with_incoming(incoming).await?)
}

struct Null;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Operations for Null {
    type WatchStream = tokio_stream::Pending<Result<Operation, Status>>;

    async fn get(&self, request: Request<GetOperationRequest>) -> Answer<Operation> {
        let id = request.into_inner().id;
        Ok(Response::new(Operation { id, kind: "read".into(), tenant: "default".into(), ..Operation::default() }))
    }

    async fn create(&self, _: Request<CreateRequest>) -> Answer<Operation> {
        Err(Status::unimplemented(""))
    }

    async fn start(&self, _: Request<StartRequest>) -> Answer<Claim> {
        Err(Status::unimplemented(""))
    }

    async fn list(&self, _: Request<ListRequest>) -> Answer<ListResponse> {
        Err(Status::unimplemented(""))
    }

    async fn count(&self, _: Request<CountRequest>) -> Answer<CountResponse> {
        Err(Status::unimplemented(""))
    }

    async fn wait(&self, _: Request<WaitRequest>) -> Answer<Operation> {
        Err(Status::unimplemented(""))
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Answer<Self::WatchStream> {
        Err(Status::unimplemented(""))
    }

    async fn cancel(&self, _: Request<CancelRequest>) -> Answer<Operation> {
        Err(Status::unimplemented(""))
    }

    async fn delete(&self, _: Request<DeleteRequest>) -> Answer<()> {
        Err(Status::unimplemented(""))
    }
}
