//! Message types over REST.

use axum::body::Body;
use http::Response;

use super::{Rest, answer};
use crate::error::ApiError;
use crate::native::types;

pub(super) async fn register(rest: &Rest<'_>) -> Result<Response<Body>, ApiError> {
    answer::message(rest, &types::register(&rest.call()?, rest.message()?).await?)
}

pub(super) fn list(rest: &Rest<'_>) -> Result<Response<Body>, ApiError> {
    let page = types::list(rest.service, &rest.query(None)?, |file| answer::json_bytes(rest, file))?;
    answer::message(rest, &page)
}
