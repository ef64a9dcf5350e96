//! Starts the real binary and talks to it.

pub(crate) mod asking;
pub(crate) mod certificates;
mod front;
pub(crate) mod http;
mod psql;
mod random;
pub(crate) mod sdk;
pub(crate) mod served;
mod server;

use std::future::Future;
use std::time::{Duration, Instant};

use operond_proto::operond::v1::operations_client::OperationsClient;
use operond_proto::operond::v1::work_client::WorkClient;
use operond_proto::operond::v1::{
    Claim, ClaimRequest, CompleteRequest, CreateRequest, GetOperationRequest, complete_request,
};
use prost_types::Any;
use tonic::transport::{Channel, Endpoint};

pub(crate) use asking::Asking;
pub(crate) use front::Front;
pub(crate) use psql::Psql;
pub(crate) use random::{Random, seed};
pub(crate) use served::Served;
pub(crate) use server::{Server, command};

/// A connection to a server, opened when first used and again after it broke.
pub(crate) fn channel(url: &str) -> Channel {
    Endpoint::from_shared(url.to_owned()).unwrap().connect_timeout(Duration::from_secs(2)).connect_lazy()
}

pub(crate) fn operations(url: &str) -> OperationsClient<Channel> {
    OperationsClient::new(channel(url))
}

pub(crate) fn work(url: &str) -> WorkClient<Channel> {
    WorkClient::new(channel(url))
}

pub(crate) fn create(kind: &str) -> CreateRequest {
    CreateRequest { kind: kind.into(), ..CreateRequest::default() }
}

pub(crate) fn claim(kind: &str) -> ClaimRequest {
    ClaimRequest { kinds: vec![kind.into()], worker: "test".into(), ..ClaimRequest::default() }
}

/// Claims one operation of `kind`, which must be there.
pub(crate) async fn claimed(url: &str, kind: &str) -> Claim {
    let mut claims = work(url).claim(claim(kind)).await.unwrap().into_inner().claims;
    claims.pop().expect("there is an operation to claim")
}

/// A `google.protobuf.StringValue`.
pub(crate) fn text(value: &str) -> Any {
    Any::from_msg(&value.to_owned()).unwrap()
}

/// To get the operation `id` as it is.
pub(crate) fn get(id: &str) -> GetOperationRequest {
    GetOperationRequest { id: id.to_owned(), ..GetOperationRequest::default() }
}

/// To end the operation of `lease` well.
pub(crate) fn complete(lease: &str) -> CompleteRequest {
    let outcome = Some(complete_request::Outcome::Response(text("done")));
    CompleteRequest { lease: lease.to_owned(), metadata: None, outcome }
}

/// A wait of so many seconds on the wire.
pub(crate) fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// Asks again and again until there is an answer, at most for `limit`.
#[track_caller]
pub(crate) fn until<T, F>(limit: Duration, what: &str, mut ask: impl FnMut() -> F) -> impl Future<Output = T>
where
    F: Future<Output = Option<T>>,
{
    let caller = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        let began = Instant::now();
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(began.elapsed() < limit, "not after {limit:?}: {what} ({caller})");
            // As often as others get a turn: what is asked is on its way from another process.
            tokio::task::yield_now().await;
        }
    }
}

/// The middle one, and the longest, told as well.
pub(crate) fn median(what: &str, mut took: Vec<Duration>) -> Duration {
    took.sort();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    println!("{what}: median {median:?}, longest {longest:?} of {}", took.len());
    median
}
