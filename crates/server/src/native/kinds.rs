//! The service `operond.v1.Kinds`, whatever it is asked by.

use operond_core::Invalid;
use operond_proto::operond::v1;

use crate::error::ApiError;
use crate::names::{List, PageAsked, page};
use crate::service::{Call, Service};

/// The defaults of one kind.
pub(crate) fn get(service: &Service, request: &v1::GetKindRequest) -> Result<v1::Kind, ApiError> {
    service.kinds.get(&request.name)
}

/// One page of the kinds that have defaults. `size` tells how many bytes a kind takes in the answer: the page ends
/// before they are too many.
pub(crate) fn list(
    service: &Service,
    request: &v1::ListKindsRequest,
    size: impl Fn(&v1::Kind) -> usize,
) -> Result<v1::ListKindsResponse, ApiError> {
    let known = service.kinds.known();
    let asked = PageAsked { page_size: request.page_size, page_token: &request.page_token };
    let named = known.iter().map(|(name, usual)| (&**name, &usual.kind));
    let show = |kind: &v1::Kind| (kind.clone(), size(kind));
    let (kinds, next_page_token) = page(service.seal_key(), List::Kinds, asked, named, show)?;
    Ok(v1::ListKindsResponse { kinds, next_page_token })
}

/// Replaces the defaults of one kind.
pub(crate) async fn update(call: &Call, request: v1::UpdateKindRequest) -> Result<v1::Kind, ApiError> {
    let kind = request.kind.ok_or_else(|| Invalid::missing("kind"))?;
    call.kinds.update(kind, call.record()).await
}
