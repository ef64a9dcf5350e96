//! One attempt at a call, bounded in time.

use std::time::Duration;

use operond_client::Error;
use tokio::time::timeout;
use tonic::{Response, Status};

/// What is made of an answer: a value, a refusal, or the knowledge that none came.
pub(crate) type Answer<T> = Result<T, Error>;

/// Makes a call that the server does not hold.
pub(crate) async fn attempt<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Answer<T> {
    attempt_within(ANSWER_MAX, call).await
}

/// Makes a call that is to be answered within `limit`.
pub(crate) async fn attempt_within<T>(
    limit: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Answer<T> {
    match timeout(limit, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_elapsed) => Err(Error::Unreachable { reason: None, message: UNANSWERED.into(), retry_after: None }),
    }
}

/// Whether the server said nothing at all.
pub(crate) fn is_unanswered(error: &Error) -> bool {
    matches!(error, Error::Unreachable { message, .. } if message == UNANSWERED)
}

const UNANSWERED: &str = "no answer in time";
const ANSWER_MAX: Duration = Duration::from_secs(10);
