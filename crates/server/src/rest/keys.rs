//! API keys over REST.

use axum::body::Body;
use http::Response;
use operond_proto::operond::v1;

use super::{Rest, answer};
use crate::error::ApiError;
use crate::native::keys;

type Answer = Result<Response<Body>, ApiError>;

pub(super) async fn create(rest: &Rest<'_>) -> Answer {
    let mut response = answer::message(rest, &keys::create(&rest.call()?, rest.message()?).await?)?;
    // The key is in it.
    answer::no_store(&mut response);
    Ok(response)
}

pub(super) fn list(rest: &Rest<'_>) -> Answer {
    let page = keys::list(&rest.call()?, &rest.query(None)?, |key| answer::json_bytes(rest, key))?;
    answer::message(rest, &page)
}

pub(super) async fn revoke(rest: &Rest<'_>) -> Answer {
    let mut request: v1::RevokeKeyRequest = rest.message()?;
    rest.check_id("id", &request.id)?;
    request.id.clone_from(&rest.id);
    answer::message(rest, &keys::revoke(&rest.call()?, request).await?)
}

pub(super) fn who_am_i(rest: &Rest<'_>) -> Answer {
    rest.no_query()?;
    answer::message(rest, &keys::who_am_i(&rest.call()?))
}
