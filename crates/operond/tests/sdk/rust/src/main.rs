//! What the Rust libraries of Google's APIs, unmodified, see of an operation's life.
//!
//!     operond-sdk-tests --native URL --target URL all
//!     operond-sdk-tests --native URL --target URL await:NAME
//!     operond-sdk-tests --endpoint HOST:PORT --ca FILE --token TOKEN ID
//!
//! The client under test calls `--target`; producer and worker call `--native`, which may be the same server by another
//! way. `all` runs the scenarios in turn and prints `ok SCENARIO` after each; the first one that fails ends the program
//! and says why. `await:NAME` is what a second process does: it prints `waiting` once it has seen that the operation of
//! that name is not done, waits for its result, a text, and prints that. With `--token`, see [`authenticated`].

mod authenticated;
mod native;

use std::sync::Arc;
use std::time::Duration;

use authenticated::authenticated;
use google_cloud_auth::credentials::anonymous;
use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::{Code, StatusDetails};
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_gax::paginator::ItemPaginator;
use google_cloud_gax::polling_error_policy::Aip194Strict;
use google_cloud_longrunning::client::Operations;
use google_cloud_longrunning::model::Operation;
use google_cloud_lro::internal::new_poller;
use google_cloud_lro::{Poller, PollingResult};
use google_cloud_wkt::{StringValue, Struct};
use native::Native;
use serde_json::{Value, json};
use uuid::Uuid;

/// Where the server is, and the clients of both its faces.
struct World {
    client: Operations,
    native: Native,
}

impl World {
    async fn new(native: &str, target: &str) -> Self {
        let credentials = anonymous::Builder::new().build();
        let builder = Operations::builder().with_endpoint(target).with_credentials(credentials);
        let client = builder.with_backoff_policy(quick()).build().await.expect("a client opens no connection yet");
        Self { client, native: Native::new(native) }
    }

    /// A new operation in the hands of a worker, as (its name, the lease).
    async fn start(&self) -> (String, String) {
        let kind = new_kind();
        let id = self.native.create(&kind).await;
        (format!("operations/{id}"), self.native.claim(&kind).await)
    }

    async fn get(&self, name: &str) -> Result<Operation, Error> {
        self.client.get_operation().set_name(name).send().await
    }

    /// Without the word the library repeats no call that changes something.
    async fn cancel(&self, name: &str) -> Result<(), Error> {
        self.client.cancel_operation().set_name(name).with_idempotency(true).send().await
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        self.client.delete_operation().set_name(name).with_idempotency(true).send().await
    }

    /// What a generated method that starts an operation returns; here all that is known is its name.
    fn poller(&self, name: &str) -> impl Poller<StringValue, Struct> + use<> {
        poller(&self.client, name)
    }
}

fn poller(client: &Operations, name: &str) -> impl Poller<StringValue, Struct> + use<> {
    let (name, first, next) = (name.to_owned(), client.clone(), client.clone());
    new_poller(
        Arc::new(Aip194Strict),
        Arc::new(quick()),
        move || polled(first, name),
        move |name| polled(next.clone(), name),
    )
}

type Polled = google_cloud_lro::internal::Operation<StringValue, Struct>;

async fn polled(client: Operations, name: String) -> Result<Polled, Error> {
    client.get_operation().set_name(name).send().await.map(Polled::new)
}

/// The library's own pace is that of minutes.
fn quick() -> ExponentialBackoff {
    let builder = ExponentialBackoffBuilder::new();
    builder.with_initial_delay(Duration::from_millis(50)).with_maximum_delay(Duration::from_millis(500)).clamp()
}

async fn result(world: &World) {
    let (name, lease) = world.start().await;
    let mut poller = world.poller(&name);
    assert!(matches!(poller.poll().await, Some(PollingResult::InProgress(None))));
    for sheet in [1, 2] {
        let metadata = json!({ "@type": "type.googleapis.com/google.protobuf.Struct", "value": { "sheet": sheet } });
        world.native.set_metadata(&lease, metadata).await;
        let Some(PollingResult::InProgress(Some(metadata))) = poller.poll().await else { panic!("no metadata") };
        assert_eq!(metadata["sheet"].as_f64(), Some(f64::from(sheet)));
    }
    let (ended, ()) = tokio::join!(poller.until_done(), world.native.complete(&lease, ready()));
    assert_eq!(ended.unwrap(), "ready");
    let done = world.get(&name).await.unwrap();
    assert_eq!((done.name.as_str(), done.done), (name.as_str(), true));
}

async fn empty_result(world: &World) {
    let (name, lease) = world.start().await;
    let empty = json!({ "response": { "@type": "type.googleapis.com/google.protobuf.Empty" } });
    world.native.complete(&lease, empty).await;
    let done = world.get(&name).await.unwrap();
    assert_eq!(done.response().unwrap().type_url(), Some("type.googleapis.com/google.protobuf.Empty"));
}

async fn error(world: &World) {
    let (name, lease) = world.start().await;
    let mut poller = world.poller(&name);
    world.native.report_failure(&lease, out_of_paper()).await;
    assert!(matches!(poller.poll().await, Some(PollingResult::InProgress(None))), "the worker still cleans up");
    world.native.complete(&lease, json!({ "error": out_of_paper() })).await;
    let error = poller.until_done().await.unwrap_err();
    let status = error.status().unwrap();
    assert_eq!((status.code, status.message.as_str()), (Code::FailedPrecondition, "out of paper"));
    let [StatusDetails::ErrorInfo(info)] = status.details.as_slice() else { panic!("{status:?} has one ErrorInfo") };
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("NO_PAPER", "example.com"));
    assert_eq!(info.metadata["tray"], "2");
}

async fn cancel(world: &World) {
    let (name, lease) = world.start().await;
    world.cancel(&name).await.unwrap();
    assert!(!world.get(&name).await.unwrap().done, "the worker has not said so");
    assert!(world.native.cancel_requested(&lease).await, "the worker is told of the cancel");
    world.native.complete(&lease, json!({ "cancelled": {} })).await;
    let error = world.poller(&name).until_done().await.unwrap_err();
    assert_eq!(error.status().unwrap().code, Code::Cancelled);
    world.cancel(&name).await.unwrap();
}

async fn list(world: &World) {
    let kind = new_kind();
    let mut names = Vec::new();
    for _ in 0..7 {
        names.insert(0, format!("operations/{}", world.native.create(&kind).await));
    }
    assert_eq!(listed(world, &format!("kind = {kind}")).await.unwrap(), names);
    world.cancel(&names[2]).await.unwrap();
    let cancelled = format!("kind = {kind} AND error.code = CANCELLED");
    assert_eq!(listed(world, &cancelled).await.unwrap(), names[2..3]);
    refused(listed(world, "colour = red").await, Code::InvalidArgument, "INVALID_FILTER");
}

/// The names of all that the filter lets through, read in pages of three.
async fn listed(world: &World, filter: &str) -> Result<Vec<String>, Error> {
    let list = world.client.list_operations().set_name("operations").set_filter(filter).set_page_size(3);
    let (mut items, mut names) = (list.by_item(), Vec::new());
    while let Some(item) = items.next().await {
        names.push(item?.name);
    }
    Ok(names)
}

async fn delete(world: &World) {
    let (name, lease) = world.start().await;
    refused(world.delete(&name).await, Code::FailedPrecondition, "NOT_DONE");
    world.native.complete(&lease, ready()).await;
    world.delete(&name).await.unwrap();
    refused(world.get(&name).await, Code::NotFound, "DELETED");
}

async fn not_found(world: &World) {
    let name = "operations/op0000000000000000";
    refused(world.get(name).await, Code::NotFound, "NEVER_EXISTED");
    refused(world.cancel(name).await, Code::NotFound, "NEVER_EXISTED");
    refused(world.poller(name).until_done().await, Code::NotFound, "NEVER_EXISTED");
}

async fn await_named(world: &World, name: &str) {
    let mut poller = world.poller(name);
    assert!(matches!(poller.poll().await, Some(PollingResult::InProgress(_))));
    println!("waiting");
    println!("{}", poller.until_done().await.unwrap());
}

fn new_kind() -> String {
    format!("sdk.google.rust.{}", Uuid::new_v4().simple())
}

fn ready() -> Value {
    json!({ "response": { "@type": "type.googleapis.com/google.protobuf.StringValue", "value": "ready" } })
}

fn out_of_paper() -> Value {
    let info = json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "NO_PAPER",
        "domain": "example.com",
        "metadata": { "tray": "2" },
    });
    json!({ "code": 9, "message": "out of paper", "details": [info] })
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>, code: Code, reason: &str) {
    let error = outcome.unwrap_err();
    let status = error.status().unwrap_or_else(|| panic!("not the server's: {error:?}"));
    let reasons: Vec<&str> = status.details.iter().filter_map(reason_of).collect();
    assert_eq!((status.code, reasons), (code, vec![reason]));
}

fn reason_of(detail: &StatusDetails) -> Option<&str> {
    match detail {
        StatusDetails::ErrorInfo(info) if info.domain == "operond.dev" => Some(&info.reason),
        _ => None,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (native, target, what) = match words.as_slice() {
        ["--native", native, "--target", target, what] => (native, target, what),
        ["--endpoint", endpoint, "--ca", _in_ssl_cert_file, "--token", token, id] => {
            return within_limit("authenticated", authenticated(endpoint, token, id)).await;
        }
        _ => panic!(
            "usage: operond-sdk-tests --native URL --target URL all|await:NAME, or --endpoint HOST:PORT --ca FILE --token TOKEN ID"
        ),
    };
    let world = World::new(native, target).await;
    if let Some(name) = what.strip_prefix("await:") {
        return within_limit("await", await_named(&world, name)).await;
    }
    assert_eq!(*what, "all", "no such scenario");
    macro_rules! run {
        ($($scenario:ident),*) => { $(
            within_limit(stringify!($scenario), $scenario(&world)).await;
            println!(concat!("ok ", stringify!($scenario)));
        )* };
    }
    run!(result, empty_result, error, cancel, list, delete, not_found);
}

async fn within_limit(scenario: &str, body: impl Future<Output = ()>) {
    let ended = tokio::time::timeout(SCENARIO_MAX, body).await;
    ended.unwrap_or_else(|_| panic!("{scenario}: no end after {SCENARIO_MAX:?}"));
}

const SCENARIO_MAX: Duration = Duration::from_secs(60);
