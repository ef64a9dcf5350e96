//! Watch as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use futures::stream::unfold;
use http::{HeaderValue, Response, StatusCode, header};
use operond_core::Operation;
use operond_engine::Watch;
use operond_proto::operond::v1;
use tokio::time::timeout;

use super::Rest;
use crate::error::ApiError;
use crate::native::operations;
use crate::service::Call;
use crate::wire::View;

/// An event per change; its id is the revision, where the browser resumes by itself. An operation whose last
/// revision the client has seen answers 204, which tells browsers not to come back.
pub(super) async fn watch(rest: &Rest<'_>) -> Result<Response<Body>, ApiError> {
    let mut request: v1::WatchRequest = rest.query(Some("id"))?;
    if let Some(last) = rest.parts.headers.get("last-event-id") {
        // A browser that reconnects sends the header with the URL it began with: the header is newer.
        request.after_revision = String::from_utf8_lossy(last.as_bytes()).into_owned();
    }
    let call = rest.call()?;
    if operations::is_over(&call, &request).await? {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let watch = operations::watch(&call, &request).await?;
    let events = Events { watch, call };
    let stream = unfold(events, |mut events| async { Some((Ok::<_, Infallible>(events.next().await?), events)) });
    let mut response = Response::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Events {
    watch: Watch,
    call: Call,
}

impl Events {
    async fn next(&mut self) -> Option<String> {
        let news = timeout(KEEP_ALIVE, self.watch.next()).await;
        if !self.call.goes_on() {
            return None;
        }
        match news {
            Ok(operation) => operation.map(|operation| self.event(&operation)),
            // A comment: proxies cut what is silent.
            Err(_elapsed) => Some(":\n\n".into()),
        }
    }

    fn event(&self, operation: &Operation) -> String {
        let json = self.call.types().to_json(&self.call.show(operation, View::Basic));
        match json {
            Ok(json) => format!("id: {}\ndata: {json}\n\n", operation.revision),
            // Instants and numbers are in range by construction.
            Err(error) => format!(": revision {} has no JSON: {error}\n\n", operation.revision),
        }
    }
}

/// Most proxies and browsers bear a minute of silence.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
