//! Calls of operators: which message types the server knows, and what is usual for a kind.

use std::pin::pin;

use futures::{Stream, TryStreamExt, stream};
use operond_proto::operond::v1::{
    GetKindRequest, Kind, ListKindsRequest, ListKindsResponse, ListTypesRequest, ListTypesResponse,
    RegisterTypesRequest, TypeFile, UpdateKindRequest,
};

use crate::client::Client;
use crate::error::Error;

/// Calls about types and kinds. Each may be repeated, and is while nobody answers.
impl Client {
    /// Makes the server know the message types of an encoded `google.protobuf.FileDescriptorSet`, which holds what
    /// its files import; all of them or none. Returns its files but those that every server knows.
    ///
    /// # Errors
    /// The set cannot be read, is over a limit, or says something else than is known; or nobody answers.
    pub async fn register_types(&self, descriptor_set: Vec<u8>) -> Result<Vec<TypeFile>, Error> {
        let request = RegisterTypesRequest { descriptor_set };
        let response = self.repeat(self.patience(), |mut client| {
            let request = request.clone();
            async move { client.types.register(request).await }
        });
        Ok(response.await?.files)
    }

    /// Reads one page of the files of message types; with their descriptors if `descriptors`. `page_token` is empty,
    /// or the `next_page_token` of the page before.
    ///
    /// # Errors
    /// A token that the server did not give, or nobody answers.
    pub async fn list_types(&self, descriptors: bool, page_token: &str) -> Result<ListTypesResponse, Error> {
        self.repeat(self.patience(), |mut client| {
            let request = ListTypesRequest { page_size: 0, page_token: page_token.to_owned(), descriptors };
            async move { client.types.list(request).await }
        })
        .await
    }

    /// Reads all files of message types, page by page as they are asked for. The stream ends after an error.
    pub fn list_all_types(&self, descriptors: bool) -> impl Stream<Item = Result<TypeFile, Error>> + Send + use<> {
        let client = self.clone();
        let pages = stream::try_unfold(Some(String::new()), move |token| {
            let client = client.clone();
            async move {
                let Some(token) = token else { return Ok::<_, Error>(None) };
                let page = client.list_types(descriptors, &token).await?;
                let next = Some(page.next_page_token).filter(|token| !token.is_empty());
                Ok(Some((stream::iter(page.files.into_iter().map(Ok::<_, Error>)), next)))
            }
        });
        pages.try_flatten()
    }

    /// All that the server knows beyond what every server does, as one encoded `google.protobuf.FileDescriptorSet`;
    /// empty when there is nothing. What is built in is not in it.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn descriptor_set(&self) -> Result<Vec<u8>, Error> {
        let mut set = Vec::new();
        let mut files = pin!(self.list_all_types(true));
        while let Some(file) = files.try_next().await? {
            // A set is its files one after the other, each as its member 1.
            prost::encoding::bytes::encode(1, &file.descriptor, &mut set);
        }
        Ok(set)
    }

    /// Reads what is usual for operations of a kind.
    ///
    /// # Errors
    /// Nothing is, or nobody answers.
    pub async fn get_kind(&self, name: &str) -> Result<Kind, Error> {
        self.repeat(self.patience(), |mut client| {
            let request = GetKindRequest { name: name.to_owned() };
            async move { client.kinds.get(request).await }
        })
        .await
    }

    /// Reads one page of the kinds that have defaults. `page_token` is empty, or the `next_page_token` of the page
    /// before.
    ///
    /// # Errors
    /// A token that the server did not give, or nobody answers.
    pub async fn list_kinds(&self, page_token: &str) -> Result<ListKindsResponse, Error> {
        self.repeat(self.patience(), |mut client| {
            let request = ListKindsRequest { page_size: 0, page_token: page_token.to_owned() };
            async move { client.kinds.list(request).await }
        })
        .await
    }

    /// Reads all kinds that have defaults, page by page as they are asked for. The stream ends after an error.
    pub fn list_all_kinds(&self) -> impl Stream<Item = Result<Kind, Error>> + Send + use<> {
        let client = self.clone();
        let pages = stream::try_unfold(Some(String::new()), move |token| {
            let client = client.clone();
            async move {
                let Some(token) = token else { return Ok::<_, Error>(None) };
                let page = client.list_kinds(&token).await?;
                let next = Some(page.next_page_token).filter(|token| !token.is_empty());
                Ok(Some((stream::iter(page.kinds.into_iter().map(Ok::<_, Error>)), next)))
            }
        });
        pages.try_flatten()
    }

    /// Replaces what is usual for operations of a kind, all of it. With the `version` that was read it is refused
    /// when somebody else has changed it since; with 0 it is not.
    ///
    /// # Errors
    /// A member is over a limit, the version is another one, or nobody answers.
    pub async fn update_kind(&self, kind: Kind) -> Result<Kind, Error> {
        self.repeat(self.patience(), |mut client| {
            let request = UpdateKindRequest { kind: Some(kind.clone()) };
            async move { client.kinds.update(request).await }
        })
        .await
    }
}
