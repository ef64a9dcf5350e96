//! The Google face over REST.

use axum::body::Body;
use http::Response;
use operond_proto::google::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, WaitOperationRequest,
};
use prost::{Message, Name};

use super::conditional::Seen;
use super::{Rest, answer, query};
use crate::error::{ApiError, quote};
use crate::google::{self, shown};

type Answer = Result<Response<Body>, ApiError>;

pub(super) async fn list(rest: &Rest<'_>) -> Answer {
    let request: ListOperationsRequest = message(rest, pairs(rest)?)?;
    let page = google::list(&rest.call()?, &request, |operation| answer::json_bytes(rest, operation)).await?;
    answer::message(rest, &page)
}

pub(super) async fn get(rest: &Rest<'_>) -> Answer {
    let seen = Seen::of(&rest.parts.headers);
    let request = GetOperationRequest { name: rest.id.clone() };
    let named = google::get(&rest.call()?, &request, rest.hold(pairs(rest)?, &seen)?).await?;
    Ok(seen.unless(&named.1, answer::polled(rest, &named.1, &shown(&named))?))
}

pub(super) async fn delete(rest: &Rest<'_>) -> Answer {
    let request: DeleteOperationRequest = body(rest)?;
    rest.check_id("name", &request.name)?;
    google::delete(&rest.call()?, &DeleteOperationRequest { name: rest.id.clone() }).await?;
    Ok(answer::json("{}".into()))
}

pub(super) async fn cancel(rest: &Rest<'_>) -> Answer {
    let request: CancelOperationRequest = body(rest)?;
    rest.check_id("name", &request.name)?;
    google::cancel(&rest.call()?, &CancelOperationRequest { name: rest.id.clone() }).await?;
    Ok(answer::json("{}".into()))
}

pub(super) async fn wait(rest: &Rest<'_>) -> Answer {
    let mut request: WaitOperationRequest = body(rest)?;
    rest.check_id("name", &request.name)?;
    request.name.clone_from(&rest.id);
    let named = google::wait(&rest.call()?, &request, None).await?;
    answer::polled(rest, &named.1, &shown(&named))
}

/// The message in the body; the query has nothing to say.
fn body<M: Message + Name + Default>(rest: &Rest<'_>) -> Result<M, ApiError> {
    match pairs(rest)?.first() {
        None => rest.parse_body(),
        Some((name, _)) => Err(ApiError::invalid(quote(name), "is no query parameter of this call: it has none")),
    }
}

fn message<M: Message + Name + Default>(rest: &Rest<'_>, pairs: Vec<(String, String)>) -> Result<M, ApiError> {
    let name = ("name".to_owned(), rest.id.clone());
    let message = rest.service.types().from_pairs(std::iter::once(name).chain(pairs));
    message.map_err(|error| ApiError::json("query", &error))
}

/// What the query says, without the system parameters that Google's clients add to every call: they ask for what is
/// so anyway.
fn pairs(rest: &Rest<'_>) -> Result<Vec<(String, String)>, ApiError> {
    let mut pairs = query::pairs(rest.parts.uri.query())?;
    pairs.retain(|(name, _)| !name.starts_with('$') && !SYSTEM.contains(&name.as_str()));
    Ok(pairs)
}

const SYSTEM: [&str; 4] = ["alt", "key", "prettyPrint", "quotaUser"];
