//! The native face over REST (CONTRACT §8).

use std::sync::Arc;

use axum::body::Body;
use http::Response;
use operond_core::Operation;
use operond_proto::operond::v1;

use super::conditional::Seen;
use super::{Rest, answer};
use crate::error::ApiError;
use crate::native::{self, operations, work};
use crate::service::Hold;
use crate::wire::View;

type Answer = Result<Response<Body>, ApiError>;

pub(super) async fn create(rest: &Rest<'_>) -> Answer {
    let operation = operations::create(&rest.call()?, rest.message()?, &rest.parts.headers).await?;
    basic(rest, &operation)
}

pub(super) async fn start(rest: &Rest<'_>) -> Answer {
    let claim = operations::start(&rest.call()?, rest.message()?, &rest.parts.headers).await?;
    answer::message(rest, &claim)
}

pub(super) async fn get(rest: &Rest<'_>) -> Answer {
    let request = rest.query(Some("id"))?;
    let seen = Seen::of(&rest.parts.headers);
    let hold = Hold { seen: seen.revision(), ..Hold::default() };
    let (operation, view) = operations::get(&rest.call()?, &request, hold).await?;
    let response = answer::polled(rest, &operation, &rest.service.show(&operation, view))?;
    Ok(seen.unless(&operation, response))
}

pub(super) async fn list(rest: &Rest<'_>) -> Answer {
    let page = native::list(&rest.call()?, &rest.query(None)?, |operation| answer::json_bytes(rest, operation)).await?;
    answer::message(rest, &page)
}

pub(super) async fn count(rest: &Rest<'_>) -> Answer {
    answer::message(rest, &native::count(&rest.call()?, &rest.query(None)?).await?)
}

pub(super) async fn wait(rest: &Rest<'_>) -> Answer {
    let request = rest.query(Some("id"))?;
    let operation = operations::wait(&rest.call()?, &request, None).await?;
    basic(rest, &operation)
}

pub(super) async fn cancel(rest: &Rest<'_>) -> Answer {
    let mut request: v1::CancelRequest = rest.message()?;
    rest.check_id("id", &request.id)?;
    request.id.clone_from(&rest.id);
    let operation = operations::cancel(&rest.call()?, &request).await?;
    basic(rest, &operation)
}

pub(super) async fn delete(rest: &Rest<'_>) -> Answer {
    let request: v1::DeleteRequest = rest.message()?;
    rest.check_id("id", &request.id)?;
    operations::delete(&rest.call()?, &v1::DeleteRequest { id: rest.id.clone() }).await?;
    Ok(answer::json("{}".into()))
}

pub(super) async fn claim(rest: &Rest<'_>) -> Answer {
    let request = rest.message()?;
    let claims = work::claim(&rest.call()?, &request, None, |claim| answer::json_bytes(rest, claim)).await?;
    answer::message(rest, &claims)
}

pub(super) async fn heartbeat(rest: &Rest<'_>) -> Answer {
    let standing = work::heartbeat(&rest.call()?, rest.message()?, None).await?;
    answer::message(rest, &standing)
}

pub(super) async fn report_failure(rest: &Rest<'_>) -> Answer {
    let operation = work::report_failure(&rest.call()?, rest.message()?).await?;
    basic(rest, &operation)
}

pub(super) async fn complete(rest: &Rest<'_>) -> Answer {
    let operation = work::complete(&rest.call()?, rest.message()?).await?;
    basic(rest, &operation)
}

pub(super) async fn retry(rest: &Rest<'_>) -> Answer {
    let operation = work::retry(&rest.call()?, rest.message()?).await?;
    basic(rest, &operation)
}

pub(super) async fn release(rest: &Rest<'_>) -> Answer {
    let operation = work::release(&rest.call()?, &rest.message()?).await?;
    basic(rest, &operation)
}

fn basic(rest: &Rest<'_>, operation: &Arc<Operation>) -> Answer {
    answer::polled(rest, operation, &rest.service.show(operation, View::Basic))
}
