//! A server in this process, and one call of it at a time.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::FutureExt;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use operond_core::Timestamp;
use operond_engine::{Engine, Options};
use operond_proto::operond::v1::complete_request::Outcome;
use operond_proto::operond::v1::{
    Claim, CompleteRequest, CreateRequest, ListRequest, ListResponse, Operation, StartRequest,
};
use operond_server::auth::{Auth, Keys};
use operond_server::http::{GuardOptions, Layered, layers};
use operond_server::{Settings, router};
use operond_store::{Clock, DocumentWrite, Store};
use prost::Message;
use prost_types::Any;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;

use crate::counted::{Counted, Writes};
use crate::grpc::frame;
use crate::input::Input;
use crate::issuer::Signing;
use crate::panics;

/// The router with its layers, as the listener serves it.
pub(crate) type App = Layered<Router>;

pub(crate) const ADVERTISED: &str = "operond.example:7468";

pub(crate) struct Rig {
    runtime: Runtime,
    app: App,
    store: Arc<Counted>,
    /// What the server has given, by the names it has in the corpus.
    given: Vec<(&'static str, Vec<String>)>,
}

/// What a call was answered with, as far as it was read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Whether the head said that there is nothing behind it.
    pub(crate) ended_at_head: bool,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    /// How often somebody asked for the body of the request.
    pub(crate) polls: usize,
    pub(crate) writes: Writes,
    /// Whether time went by, in which the server does things by itself.
    pub(crate) waited: bool,
}

impl Rig {
    /// A server that asks nobody who they are, with operations in every state.
    pub(crate) fn new() -> Self {
        let mut rig = Self::begin(Vec::new(), None);
        rig.live();
        rig
    }

    /// A server that asks for these keys, or tokens that are signed so.
    pub(crate) fn with_credentials(keys: Vec<DocumentWrite>, signing: &Signing) -> Self {
        Self::begin(keys, Some(signing))
    }

    fn begin(keys: Vec<DocumentWrite>, signing: Option<&Signing>) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (app, store) = runtime.block_on(async {
            let store = Arc::new(Counted::new(Paused { start: Instant::now() }));
            store.put_documents(keys).await.unwrap().unwrap();
            let engine = Engine::start(Arc::clone(&store) as Arc<dyn Store>, Options::default());
            let keys = Keys::load(engine.clone()).await.unwrap();
            let router = router(engine, keys.clone(), Settings::new(ADVERTISED)).await.unwrap();
            let guards = GuardOptions { advertised: Some(ADVERTISED.into()) };
            let auth = match signing {
                Some(signing) => Some(Auth::new(keys).believing(signing.believed().await)),
                None => None,
            };
            // What it does when it begins is not to be taken for a call's doing.
            sleep(SETTLED_AFTER).await;
            store.take();
            (layers(router, &guards, auth), store)
        });
        Self { runtime, app, store, given: Vec::new() }
    }

    /// Makes what the corpus speaks of.
    fn live(&mut self) {
        let create =
            |kind| self.made::<Operation>("Operations/Create", &CreateRequest { kind, ..Default::default() }).id;
        let queued = || ["a", "b", "c", "d"].map(|kind| create(kind.to_owned())).to_vec();
        let start = |_| {
            let (kind, worker) = ("a".to_owned(), "w".to_owned());
            let request = StartRequest { kind, worker, max_attempts: Some(3), ..Default::default() };
            let claim: Claim = self.made("Operations/Start", &request);
            (claim.operation.unwrap().id, claim.lease)
        };
        let (leased, lease) = (0..LEASES).map(start).unzip();
        let (done, done_lease): (Vec<_>, Vec<_>) = (0..2).map(start).unzip();
        let value = Any { type_url: "type.googleapis.com/google.protobuf.Struct".into(), value: Vec::new() };
        for lease in done_lease.iter().cloned() {
            let outcome = Some(Outcome::Response(value.clone()));
            self.made::<Operation>("Work/Complete", &CompleteRequest { lease, outcome, ..Default::default() });
        }
        let list = ListRequest { page_size: 1, ..Default::default() };
        let token = vec![self.made::<ListResponse>("Operations/List", &list).next_page_token];
        self.given = vec![
            ("{leased}", leased),
            ("{lease}", lease),
            ("{done}", done),
            ("{done_lease}", done_lease),
            ("{queued}", queued()),
            ("{queued2}", queued()),
            ("{queued3}", queued()),
            ("{token}", token),
        ];
    }

    fn made<M: Message + Default>(&self, method: &str, request: &impl Message) -> M {
        let input = Input::new("POST", format!("/operond.v1.{method}")).header("content-type", "application/grpc");
        let answer = self.call(&Input { body: frame(0, &request.encode_to_vec()), ..input }).unwrap();
        assert_eq!(answer.headers.get("grpc-status"), None, "{method}");
        M::decode(&answer.body[5..]).unwrap()
    }

    /// What the server has given: ids, leases, a page token.
    pub(crate) fn given(&self) -> impl Iterator<Item = &str> {
        self.given.iter().flat_map(|(_, values)| values).map(String::as_str)
    }

    /// `text` with what the server has given in the places that are kept for it; for each `number` something else,
    /// so that one of the corpus does not end what another one needs.
    pub(crate) fn fill(&self, text: &str, number: usize) -> String {
        let value = |values: &[String]| values[number % values.len()].clone();
        self.given.iter().fold(text.to_owned(), |text, (name, values)| text.replace(name, &value(values)))
    }

    /// The operation that was written last.
    pub(crate) fn last(&self) -> Option<String> {
        self.store.last().map(|id| id.as_str().to_owned())
    }

    pub(crate) fn app(&self) -> App {
        self.app.clone()
    }

    pub(crate) fn call(&self, input: &Input) -> Result<Answer, String> {
        self.call_of(self.app.clone(), input)
    }

    /// The answer of `service`; what no input may do to it is an error.
    pub(crate) fn call_of<S>(&self, service: S, input: &Input) -> Result<Answer, String>
    where
        S: tower::Service<Request<Body>, Response = Response<Body>, Error = std::convert::Infallible>,
    {
        let polls = Arc::new(AtomicUsize::new(0));
        let Some(request) = input.request(Arc::clone(&polls)) else { return Err(UNSENDABLE.into()) };
        let panics = panics::seen();
        let answer = self.runtime.block_on(async {
            let start = Instant::now();
            let answered = AssertUnwindSafe(timeout(ANSWER_TIME_MAX, answered(service, request))).catch_unwind().await;
            let mut answer = answered.map_err(|_| "it panicked")?.map_err(|_| "it hangs")??;
            answer.polls = polls.load(Ordering::Relaxed);
            answer.waited = start.elapsed() > Duration::ZERO || gave_up(&answer);
            if answer.waited {
                // What the server does by itself is not to be taken for the next call's doing.
                sleep(SETTLED_AFTER).await;
            }
            answer.writes = self.store.take();
            Ok(answer)
        });
        if panics::seen() == panics {
            answer.map_err(|problem: &str| problem.to_owned())
        } else {
            Err("it panicked".into())
        }
    }
}

async fn answered<S>(service: S, request: Request<Body>) -> Result<Answer, &'static str>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = std::convert::Infallible>,
{
    let Ok(response) = service.oneshot(request).await;
    let (head, body) = response.into_parts();
    let mut answer = Answer {
        status: head.status,
        headers: head.headers,
        ended_at_head: body.is_end_stream(),
        body: Vec::new(),
        trailers: None,
        polls: 0,
        writes: Writes::default(),
        waited: false,
    };
    read(&mut answer, body).await?;
    Ok(answer)
}

/// Streams have no end while nothing happens: what comes at once is read.
async fn read(answer: &mut Answer, mut body: Body) -> Result<(), &'static str> {
    while answer.body.len() <= ANSWER_BYTES_READ_MAX {
        let Ok(frame) = timeout(STREAM_PATIENCE, body.frame()).await else { return Ok(()) };
        match frame {
            None => return Ok(()),
            Some(Err(_)) => return Err("its body breaks off"),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => answer.body.extend(data),
                Err(frame) => answer.trailers = frame.into_trailers().ok(),
            },
        }
    }
    Ok(())
}

/// Whether the server may still be doing what it was asked for.
fn gave_up(answer: &Answer) -> bool {
    answer.headers.get("grpc-status").is_some_and(|status| status == "4")
}

/// The runtime's clock, on a day of its own.
struct Paused {
    start: Instant,
}

impl Clock for Paused {
    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000).after(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// What is said of an input that hyper would refuse before us.
pub(crate) const UNSENDABLE: &str = "it is no HTTP request";
/// No call is held for more than a minute (CONTRACT §5).
const ANSWER_TIME_MAX: Duration = Duration::from_secs(90);
/// Due timers are settled within a second (CONTRACT §3).
const SETTLED_AFTER: Duration = Duration::from_millis(1_100);
/// Bodies that are there are read without a wait.
const STREAM_PATIENCE: Duration = Duration::from_millis(1);
/// One for each file that speaks of one, about.
const LEASES: usize = 12;
const ANSWER_BYTES_READ_MAX: usize = 16 << 20;
