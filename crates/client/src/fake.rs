//! A scripted server behind a connection in memory: what a test says is answered, connections are
//! cut and refused at will, and time may be virtual.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use hyper_util::rt::TokioIo;
use operond_proto::operond::v1;
use operond_proto::operond::v1::operations_server::{Operations, OperationsServer};
use operond_proto::operond::v1::work_server::{Work, WorkServer};
use operond_proto::operond::v1::{
    CancelRequest, Claim, ClaimRequest, ClaimResponse, CompleteRequest, CountRequest, CountResponse, CreateRequest,
    DeleteRequest, GetOperationRequest, HeartbeatRequest, HeartbeatResponse, ListRequest, ListResponse, Operation,
    ReleaseRequest, ReportFailureRequest, RetryRequest, StartRequest, WaitRequest, WatchRequest,
};
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use crate::{Client, Options};

/// What a scripted call answers.
pub(crate) enum Reply<T> {
    Now(T),
    After(Duration, T),
    Refuse(Status),
    RefuseAfter(Duration, Status),
    /// The call is carried out, and the connection is cut before the answer.
    Lost,
    Never,
}

type Rule<Q, A> = Box<dyn FnMut(&Q, usize) -> Reply<A> + Send>;

/// One method: the calls so far, and how to answer the next.
pub(crate) struct Method<Q, A> {
    rule: Mutex<Rule<Q, A>>,
    calls: watch::Sender<Vec<Q>>,
}

impl<Q: Clone, A> Method<Q, A> {
    fn new(rule: impl FnMut(&Q, usize) -> Reply<A> + Send + 'static) -> Self {
        Self { rule: Mutex::new(Box::new(rule)), calls: watch::Sender::new(Vec::new()) }
    }

    /// Answers by `rule`, which is told how many calls came before.
    pub(crate) fn answer(&self, rule: impl FnMut(&Q, usize) -> Reply<A> + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    pub(crate) fn calls(&self) -> Vec<Q> {
        self.calls.borrow().clone()
    }

    /// All calls, once there are `count` of them.
    pub(crate) async fn reached(&self, count: usize) -> Vec<Q> {
        let mut calls = self.calls.subscribe();
        in_time(calls.wait_for(|calls| calls.len() >= count)).await.unwrap().clone()
    }

    async fn serve(&self, request: Request<Q>, wire: &Wire) -> Result<Response<A>, Status> {
        let request = request.into_inner();
        let before = self.calls.borrow().len();
        let reply = (self.rule.lock().unwrap())(&request, before);
        self.calls.send_modify(|calls| calls.push(request));
        match reply {
            Reply::Now(answer) => Ok(Response::new(answer)),
            Reply::After(pause, answer) => {
                tokio::time::sleep(pause).await;
                Ok(Response::new(answer))
            }
            Reply::Refuse(status) => Err(status),
            Reply::RefuseAfter(pause, status) => {
                tokio::time::sleep(pause).await;
                Err(status)
            }
            Reply::Lost => {
                wire.cut();
                std::future::pending().await
            }
            Reply::Never => std::future::pending().await,
        }
    }
}

/// What a watch sends, and whether it then breaks or ends.
pub(crate) struct Sends {
    pub(crate) operations: Vec<Operation>,
    pub(crate) then: Then,
}

pub(crate) enum Then {
    End,
    Cut,
    Stay,
}

/// The connection between the client and the fake.
pub(crate) struct Wire {
    up: Mutex<bool>,
    /// Fires to cut the connections that are open.
    open: Mutex<CancellationToken>,
    accept: mpsc::Sender<io::Result<DuplexStream>>,
    pumps: Mutex<JoinSet<()>>,
}

impl Wire {
    /// Cuts every open connection; new ones are accepted.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *self.open.lock().unwrap()).cancel();
    }

    /// Cuts every open connection and refuses new ones.
    pub(crate) fn down(&self) {
        *self.up.lock().unwrap() = false;
        self.cut();
    }

    pub(crate) fn up(&self) {
        *self.up.lock().unwrap() = true;
    }

    async fn dial(&self) -> io::Result<TokioIo<DuplexStream>> {
        if !*self.up.lock().unwrap() {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused"));
        }
        let (client, mut near) = duplex(BUFFER_BYTES);
        let (mut far, server) = duplex(BUFFER_BYTES);
        let cut = self.open.lock().unwrap().clone();
        self.pumps.lock().unwrap().spawn(async move {
            cut.run_until_cancelled(copy_bidirectional(&mut near, &mut far)).await;
        });
        self.accept.send(Ok(server)).await.map_err(io::Error::other)?;
        Ok(TokioIo::new(client))
    }
}

/// The server's script.
pub(crate) struct Script {
    pub(crate) wire: Arc<Wire>,
    pub(crate) create: Method<CreateRequest, Operation>,
    pub(crate) start: Method<StartRequest, Claim>,
    pub(crate) get: Method<GetOperationRequest, Operation>,
    pub(crate) list: Method<ListRequest, ListResponse>,
    pub(crate) wait: Method<WaitRequest, Operation>,
    pub(crate) watch: Method<WatchRequest, Sends>,
    pub(crate) count: Method<CountRequest, CountResponse>,
    pub(crate) cancel: Method<CancelRequest, Operation>,
    pub(crate) delete: Method<DeleteRequest, ()>,
    pub(crate) claim: Method<ClaimRequest, ClaimResponse>,
    pub(crate) heartbeat: Method<HeartbeatRequest, HeartbeatResponse>,
    pub(crate) report_failure: Method<ReportFailureRequest, Operation>,
    pub(crate) complete: Method<CompleteRequest, Operation>,
    pub(crate) retry: Method<RetryRequest, Operation>,
    pub(crate) release: Method<ReleaseRequest, Operation>,
}

/// A fake server that serves, and a client of it.
pub(crate) struct Fake {
    pub(crate) script: Arc<Script>,
    pub(crate) client: Client,
    _server: JoinSet<()>,
}

impl std::ops::Deref for Fake {
    type Target = Script;

    fn deref(&self) -> &Script {
        &self.script
    }
}

impl Fake {
    /// A server that has one operation `op1` of kind `k` to hand out and takes every result.
    pub(crate) fn new() -> Self {
        let (accept, accepted) = mpsc::channel(16);
        let wire = Arc::new(Wire { up: Mutex::new(true), open: Mutex::default(), accept, pumps: Mutex::default() });
        let script = Arc::new(Script {
            wire,
            create: Method::new(|_, _| Reply::Now(operation("r1"))),
            start: Method::new(|_, _| Reply::Now(claim())),
            get: Method::new(|_, _| Reply::Now(operation("r1"))),
            list: Method::new(|_, _| Reply::Now(ListResponse::default())),
            wait: Method::new(|_, _| Reply::Never),
            watch: Method::new(|_, _| Reply::Never),
            count: Method::new(|_, _| Reply::Now(CountResponse::default())),
            cancel: Method::new(|_, _| Reply::Now(operation("r1"))),
            delete: Method::new(|_, _| Reply::Now(())),
            claim: Method::new(|_, before| match before {
                0 => Reply::Now(ClaimResponse { claims: vec![claim()] }),
                _ => Reply::After(Duration::from_secs(20), ClaimResponse::default()),
            }),
            heartbeat: Method::new(|request: &HeartbeatRequest, _| held(request)),
            report_failure: Method::new(|_, _| Reply::Now(operation("r1"))),
            complete: Method::new(|_, _| Reply::Now(operation("r1"))),
            retry: Method::new(|_, _| Reply::Now(operation("r1"))),
            release: Method::new(|_, _| Reply::Now(operation("r1"))),
        });
        let mut server = JoinSet::new();
        let router = Server::builder()
            .add_service(OperationsServer::from_arc(Arc::clone(&script)))
            .add_service(WorkServer::from_arc(Arc::clone(&script)));
        server.spawn(async move { router.serve_with_incoming(ReceiverStream::new(accepted)).await.unwrap() });
        let client = Client::dialling(Options::new("http://fake"), dialler(Arc::clone(&script)));
        Self { script, client, _server: server }
    }
}

fn dialler(script: Arc<Script>) -> Box<dyn Fn() -> Channel + Send + Sync> {
    Box::new(move || {
        let script = Arc::clone(&script);
        let connector = tower::service_fn(move |_| {
            let script = Arc::clone(&script);
            async move { script.wire.dial().await }
        });
        Endpoint::from_static("http://fake").connect_with_connector_lazy(connector)
    })
}

/// A test whose hope is in vain ends nevertheless; with virtual time this takes a moment.
pub(crate) async fn in_time<T>(hope: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(2 * 3_600), hope).await.expect("it happens within two hours")
}

/// Operation `op1`, not done.
pub(crate) fn operation(revision: &str) -> Operation {
    Operation {
        id: "op1".into(),
        kind: "k".into(),
        state: v1::operation::State::Running.into(),
        revision: revision.into(),
        ..Operation::default()
    }
}

/// Operation `op1`, done.
pub(crate) fn done(revision: &str) -> Operation {
    Operation { done: true, state: v1::operation::State::Succeeded.into(), ..operation(revision) }
}

/// Operation `op1`, leased for 30 s.
pub(crate) fn claim() -> Claim {
    Claim {
        lease: "lease1".into(),
        lease_duration: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
        attempt: 1,
        operation: Some(operation("r1")),
        ..Claim::default()
    }
}

/// A heartbeat's answer without news.
pub(crate) fn alive() -> HeartbeatResponse {
    HeartbeatResponse {
        lease_duration: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
        ..HeartbeatResponse::default()
    }
}

/// Holds a heartbeat for as long as it asks, as a server does that has no news.
pub(crate) fn held(request: &HeartbeatRequest) -> Reply<HeartbeatResponse> {
    let wait = request.wait.map(|wait| Duration::try_from(wait).unwrap()).unwrap_or_default();
    Reply::After(wait, alive())
}

#[tonic::async_trait]
impl Operations for Script {
    type WatchStream = BoxStream<'static, Result<Operation, Status>>;

    async fn create(&self, request: Request<CreateRequest>) -> Result<Response<Operation>, Status> {
        self.create.serve(request, &self.wire).await
    }

    async fn start(&self, request: Request<StartRequest>) -> Result<Response<Claim>, Status> {
        self.start.serve(request, &self.wire).await
    }

    async fn get(&self, request: Request<GetOperationRequest>) -> Result<Response<Operation>, Status> {
        self.get.serve(request, &self.wire).await
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        self.list.serve(request, &self.wire).await
    }

    async fn count(&self, request: Request<CountRequest>) -> Result<Response<CountResponse>, Status> {
        self.count.serve(request, &self.wire).await
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Result<Response<Operation>, Status> {
        self.wait.serve(request, &self.wire).await
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let sends = self.watch.serve(request, &self.wire).await?.into_inner();
        let wire = Arc::clone(&self.wire);
        let first = stream::iter(sends.operations.into_iter().map(Ok));
        Ok(Response::new(match sends.then {
            Then::End => first.boxed(),
            Then::Stay => first.chain(stream::pending()).boxed(),
            Then::Cut => first
                .chain(stream::once(async move {
                    // After what was sent has arrived: an idle runtime is what lets time pass.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    wire.cut();
                    std::future::pending().await
                }))
                .boxed(),
        }))
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<Operation>, Status> {
        self.cancel.serve(request, &self.wire).await
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<()>, Status> {
        self.delete.serve(request, &self.wire).await
    }
}

#[tonic::async_trait]
impl Work for Script {
    async fn claim(&self, request: Request<ClaimRequest>) -> Result<Response<ClaimResponse>, Status> {
        self.claim.serve(request, &self.wire).await
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        self.heartbeat.serve(request, &self.wire).await
    }

    async fn report_failure(&self, request: Request<ReportFailureRequest>) -> Result<Response<Operation>, Status> {
        self.report_failure.serve(request, &self.wire).await
    }

    async fn complete(&self, request: Request<CompleteRequest>) -> Result<Response<Operation>, Status> {
        self.complete.serve(request, &self.wire).await
    }

    async fn retry(&self, request: Request<RetryRequest>) -> Result<Response<Operation>, Status> {
        self.retry.serve(request, &self.wire).await
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<Operation>, Status> {
        self.release.serve(request, &self.wire).await
    }
}

const BUFFER_BYTES: usize = 64 * 1024;
