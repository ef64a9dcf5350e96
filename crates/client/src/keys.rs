//! Calls about who may call.

use futures::{Stream, TryStreamExt, stream};
use operond_proto::operond::v1::{
    CreateKeyRequest, CreateKeyResponse, Key, ListKeysRequest, ListKeysResponse, RevokeKeyRequest, WhoAmIRequest,
    WhoAmIResponse,
};

use crate::client::{Client, answer};
use crate::error::Error;

/// Calls about API keys.
impl Client {
    /// Makes an API key. It is not repeated when nobody answers: a key may have been made all the same, whose secret
    /// nobody knows; the list has it, and it can be revoked.
    ///
    /// # Errors
    /// A member is wrong, the name has two good keys or stands for something else, or nobody answers.
    pub async fn create_key(&self, request: CreateKeyRequest) -> Result<CreateKeyResponse, Error> {
        let mut client = self.clone();
        answer(std::time::Duration::ZERO, client.keys.create(request)).await
    }

    /// Reads one page of what is known of keys. `page_token` is empty, or the `next_page_token` of the page before.
    ///
    /// # Errors
    /// A token that the server did not give, or nobody answers.
    pub async fn list_keys(&self, page_token: &str) -> Result<ListKeysResponse, Error> {
        self.repeat(self.patience(), |mut client| {
            let request = ListKeysRequest { page_size: 0, page_token: page_token.to_owned() };
            async move { client.keys.list(request).await }
        })
        .await
    }

    /// Reads what is known of all keys, page by page as they are asked for. The stream ends after an error.
    pub fn list_all_keys(&self) -> impl Stream<Item = Result<Key, Error>> + Send + use<> {
        let client = self.clone();
        let pages = stream::try_unfold(Some(String::new()), move |token| {
            let client = client.clone();
            async move {
                let Some(token) = token else { return Ok::<_, Error>(None) };
                let page = client.list_keys(&token).await?;
                let next = Some(page.next_page_token).filter(|token| !token.is_empty());
                Ok(Some((stream::iter(page.keys.into_iter().map(Ok::<_, Error>)), next)))
            }
        });
        pages.try_flatten()
    }

    /// Makes a key useless, at once and for good. It may be repeated, and is while nobody answers.
    ///
    /// # Errors
    /// There is no such key, or nobody answers.
    pub async fn revoke_key(&self, id: &str) -> Result<Key, Error> {
        self.repeat(self.patience(), |mut client| {
            let request = RevokeKeyRequest { id: id.to_owned() };
            async move { client.keys.revoke(request).await }
        })
        .await
    }

    /// Asks who this client is to the server, and what it may do.
    ///
    /// # Errors
    /// The server does not know, or nobody answers.
    pub async fn who_am_i(&self) -> Result<WhoAmIResponse, Error> {
        self.repeat(self.patience(), |mut client| async move { client.keys.who_am_i(WhoAmIRequest {}).await }).await
    }
}
