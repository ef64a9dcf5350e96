//! Defaults of kinds over REST.

use axum::body::Body;
use http::Response;
use operond_proto::operond::v1;

use super::{Rest, answer};
use crate::error::ApiError;
use crate::native::kinds;

pub(super) fn get(rest: &Rest<'_>) -> Result<Response<Body>, ApiError> {
    rest.no_query()?;
    answer::message(rest, &kinds::get(rest.service, &v1::GetKindRequest { name: rest.id.clone() })?)
}

pub(super) fn list(rest: &Rest<'_>) -> Result<Response<Body>, ApiError> {
    let page = kinds::list(rest.service, &rest.query(None)?, |kind| answer::json_bytes(rest, kind))?;
    answer::message(rest, &page)
}

pub(super) async fn update(rest: &Rest<'_>) -> Result<Response<Body>, ApiError> {
    if rest.body.is_empty() {
        // Else it would forget all defaults, which `{}` says on purpose.
        return Err(ApiError::invalid("body", "is empty, expected the defaults of the kind as JSON"));
    }
    let mut kind: v1::Kind = rest.message()?;
    rest.check_id("name", &kind.name)?;
    kind.name.clone_from(&rest.id);
    answer::message(rest, &kinds::update(&rest.call()?, v1::UpdateKindRequest { kind: Some(kind) }).await?)
}
