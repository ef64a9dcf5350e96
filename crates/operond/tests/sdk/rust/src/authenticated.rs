//! What the libraries see of a server that asks who they are.
//!
//! Gets an operation and waits for it: prints `waiting` once it is seen not to be done, `done TEXT` when there is a
//! result, a text, and `refused CODE` when the server refuses the call, now or while it waits. An empty token means that none is sent.

use google_cloud_auth::credentials::{CacheableResource, Credentials, CredentialsProvider, EntityTag, anonymous};
use google_cloud_auth::errors::CredentialsError;
use google_cloud_gax::error::Error;
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_gax::retry_policy::{Aip194Strict, RetryPolicyExt};
use google_cloud_longrunning::client::Operations;
use google_cloud_lro::{Poller, PollingResult};
use http::{Extensions, HeaderMap};

use crate::{poller, quick};

pub(crate) async fn authenticated(endpoint: &str, token: &str, id: &str) {
    let credentials = match token {
        "" => anonymous::Builder::new().build(),
        token => Credentials::from(Bearer::new(token)),
    };
    let builder = Operations::builder().with_endpoint(format!("https://{endpoint}")).with_credentials(credentials);
    let client = builder.with_backoff_policy(quick()).build().await.expect("a client opens no connection yet");
    match awaited(&client, &format!("operations/{id}")).await {
        Ok(text) => println!("done {text}"),
        Err(error) => {
            let status = error.status().unwrap_or_else(|| panic!("not the server's: {error:?}"));
            println!("refused {} Error", status.code.name());
        }
    }
}

async fn awaited(client: &Operations, name: &str) -> Result<String, Error> {
    // A word of its own about retries, as an application may have: none of them is for these refusals.
    let get = client.get_operation().set_name(name).with_retry_policy(Aip194Strict.with_attempt_limit(5));
    get.send().await?;
    let mut poller = poller(client, name);
    if let Some(PollingResult::InProgress(_)) = poller.poll().await {
        println!("waiting");
    }
    poller.until_done().await
}

/// A token that somebody else has got, and keeps good.
#[derive(Debug)]
struct Bearer {
    headers: HeaderMap,
    tag: EntityTag,
}

impl Bearer {
    fn new(token: &str) -> Self {
        let value = format!("Bearer {token}").parse().expect("a key has ASCII characters alone");
        Self { headers: [(http::header::AUTHORIZATION, value)].into_iter().collect(), tag: EntityTag::new() }
    }
}

impl CredentialsProvider for Bearer {
    async fn headers(&self, asked: Extensions) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        if asked.get() == Some(&self.tag) {
            return Ok(CacheableResource::NotModified);
        }
        Ok(CacheableResource::New { entity_tag: self.tag.clone(), data: self.headers.clone() })
    }

    async fn universe_domain(&self) -> Option<String> {
        None
    }
}
