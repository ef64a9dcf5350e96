//! The service `operond.v1.Types`, whatever it is asked by.

use operond_proto::operond::v1;

use crate::error::ApiError;
use crate::names::{List, PageAsked, page};
use crate::service::{Call, Service};
use crate::types::{Known, KnownFile};
use crate::wire;

/// Adds files of message types, all or none.
pub(crate) async fn register(
    call: &Call,
    request: v1::RegisterTypesRequest,
) -> Result<v1::RegisterTypesResponse, ApiError> {
    let files = call.types.register(request.descriptor_set, call.record()).await?;
    let known = call.types.known();
    Ok(v1::RegisterTypesResponse { files: files.iter().map(|file| show(&known, file, false)).collect() })
}

/// One page of the files that are not built in. `size` tells how many bytes a file takes in the answer: the page ends
/// before they are too many.
pub(crate) fn list(
    service: &Service,
    request: &v1::ListTypesRequest,
    size: impl Fn(&v1::TypeFile) -> usize,
) -> Result<v1::ListTypesResponse, ApiError> {
    let known = service.types.known();
    let files = known.files();
    let asked = PageAsked { page_size: request.page_size, page_token: &request.page_token };
    let named = files.iter().map(|file| (&*file.name, file));
    let (files, next_page_token) = page(service.seal_key(), List::Types, asked, named, |file| {
        let shown = show(&known, file, request.descriptors);
        let bytes = size(&shown);
        (shown, bytes)
    })?;
    Ok(v1::ListTypesResponse { files, next_page_token })
}

fn show(known: &Known, file: &KnownFile, descriptor: bool) -> v1::TypeFile {
    v1::TypeFile {
        name: (*file.name).into(),
        version: file.version,
        registered_at: file.registered_at.map(wire::timestamp),
        messages: known.messages(&file.name),
        descriptor: if descriptor { known.descriptor(&file.name) } else { Vec::new() },
    }
}
