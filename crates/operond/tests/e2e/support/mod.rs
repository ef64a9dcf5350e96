//! Starts the real binary and talks to it.

mod front;
pub(crate) mod http;
pub(crate) mod sdk;
mod server;

use std::time::Duration;

use operond_proto::operond::v1::operations_client::OperationsClient;
use operond_proto::operond::v1::work_client::WorkClient;
use operond_proto::operond::v1::{Claim, ClaimRequest, CreateRequest};
use prost_types::Any;
use tonic::transport::{Channel, Endpoint};

pub(crate) use front::Front;
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
