//! The size of REST request bodies.

use axum::body::{Body, Bytes};
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tonic::Code;

use super::Refusal;
use super::arriving::Cut;

/// Largest request, in bytes (CONTRACT §5). gRPC services set the same as their decoding limit.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// Reads a request body to its end, up to [`MAX_REQUEST_BYTES`].
///
/// # Errors
/// A body over the limit (also one whose length was not announced), one that broke off, or that came too slowly.
pub async fn read_body(body: Body) -> Result<Bytes, Refusal> {
    match Limited::new(body, MAX_REQUEST_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(None)),
        Err(error) => {
            if let Some(cut) = Cut::of(&*error) {
                return Err(cut.refusal());
            }
            let message = format!("the request body broke off: {error}");
            Err(Refusal::new(Code::InvalidArgument, StatusCode::BAD_REQUEST, "INVALID_FIELD", message))
        }
    }
}

/// `size` is unknown when the body was cut off while it was read.
pub(super) fn too_large(size: Option<u64>) -> Refusal {
    let found = size.map_or_else(|| "more".to_owned(), |size| format!("{size} bytes"));
    let message = format!("the request body may have {MAX_REQUEST_BYTES} bytes, this one has {found}");
    let refusal = Refusal::new(Code::InvalidArgument, StatusCode::PAYLOAD_TOO_LARGE, "LIMIT_EXCEEDED", message)
        .with("field", "body")
        .with("limit", MAX_REQUEST_BYTES.to_string());
    match size {
        Some(size) => refusal.with("size", size.to_string()),
        None => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_may_reach_the_limit_and_no_byte_more() {
        let body = |bytes: usize| Body::from(vec![b' '; bytes]);
        assert_eq!(read_body(body(MAX_REQUEST_BYTES)).await.unwrap().len(), MAX_REQUEST_BYTES);
        let refusal = read_body(body(MAX_REQUEST_BYTES + 1)).await.unwrap_err();
        assert_eq!((refusal.status(), refusal.reason()), (StatusCode::PAYLOAD_TOO_LARGE, "LIMIT_EXCEEDED"));
    }
}
