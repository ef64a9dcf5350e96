//! The faces over real connections: gRPC by HTTP/2, compressed, and shut down.

use std::net::SocketAddr;
use std::sync::Arc;

use operond_engine::{Engine, Options};
use operond_proto::operond::v1::operations_client::OperationsClient;
use operond_proto::operond::v1::{GetOperationRequest, WaitRequest};
use operond_server::http::{GuardOptions, layers};
use operond_server::net::{Listen, SHUTDOWN_GRACE, Server};
use operond_server::{Settings, router};
use operond_store::MemoryStore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;

use crate::harness::{create, keys, told, within};

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    engine: Engine,
    channel: Channel,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

pub(crate) async fn start() -> Running {
    let engine = Engine::start(Arc::new(MemoryStore::default()), Options::default());
    let server = Server::bind(vec![Listen::plaintext("127.0.0.1:0".parse().unwrap())]).await.unwrap();
    let address = server.addresses().next().unwrap();
    let router = router(engine.clone(), keys(&engine), Settings::new("localhost")).await.unwrap();
    let app = layers(router, &GuardOptions { advertised: None }, None);
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(server.serve(app, shutdown.clone(), SHUTDOWN_GRACE));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    Running { address, engine, channel, shutdown, tasks }
}

#[tokio::test]
async fn requests_may_be_compressed() {
    within(async {
        let running = start().await;
        let mut client = OperationsClient::new(running.channel).send_compressed(CompressionEncoding::Gzip);
        let mut request = create("k");
        request.description = "a".repeat(256);
        let created = client.create(request).await.unwrap().into_inner();
        assert_eq!(created.description.len(), 256);
    })
    .await;
}

#[tokio::test]
async fn not_found_reaches_a_client_whole() {
    within(async {
        let running = start().await;
        let mut client = OperationsClient::new(running.channel);
        let get = |id: &str| GetOperationRequest { id: id.into(), ..Default::default() };
        let error = client.get(get("op0")).await.unwrap_err();
        assert_eq!(told(&error), (Code::NotFound, "NEVER_EXISTED".into(), String::new()));
        let error = client.get(get(&"x".repeat(5_000))).await.unwrap_err();
        assert_eq!(told(&error), (Code::InvalidArgument, "LIMIT_EXCEEDED".into(), "id".into()));
    })
    .await;
}

#[tokio::test]
async fn a_wait_is_answered_at_shutdown() {
    within(async {
        let mut running = start().await;
        let mut client = OperationsClient::new(running.channel.clone());
        let id = client.create(create("k")).await.unwrap().into_inner().id;
        let wait = WaitRequest { id, timeout: None };
        let mut waits = JoinSet::new();
        waits.spawn(async move { client.wait(wait).await });
        while running.engine.waiters() == 0 {
            tokio::task::yield_now().await;
        }
        running.shutdown.cancel();
        running.engine.shutdown().await;
        assert!(!waits.join_next().await.unwrap().unwrap().unwrap().into_inner().done);
        running.tasks.join_next().await.unwrap().unwrap();
    })
    .await;
}
