//! Calls of producers, callers and operators.

use std::time::Duration;

use futures::{Stream, TryStreamExt, stream};
use operond_proto::operond::v1::operation::View;
use operond_proto::operond::v1::{
    CancelRequest, Claim, CountRequest, CountResponse, DeleteRequest, GetOperationRequest, ListRequest, ListResponse,
    Operation,
};

use crate::client::{Client, answer};
use crate::error::Error;
use crate::new_operation::NewOperation;
use crate::retry::repeat;

/// Which operations to list, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListOptions {
    /// `kind = "x" AND state = RUNNING`, for example; empty means all.
    pub filter: String,
    /// The oldest first instead of the newest.
    pub oldest_first: bool,
    /// How many to a page; the server's choice when absent, at most 1,000.
    pub page_size: Option<u16>,
}

/// Calls about operations. Each may be repeated, and is while nobody answers.
impl Client {
    /// Records an operation for a worker to claim; it is durable when this returns.
    ///
    /// # Errors
    /// A refusal (a limit, an idempotency key that was used for something else), or nobody answers.
    pub async fn create(&self, operation: NewOperation) -> Result<Operation, Error> {
        let request = operation.into_create();
        self.repeat(self.patience(), |mut client| {
            let request = request.clone();
            async move { client.operations.create(request).await }
        })
        .await
    }

    /// Records an operation that the caller carries out itself, under the name `worker`, already
    /// leased to it; the server chooses the lease's length when `lease` is `None`.
    ///
    /// The lease must be kept by [`Client::heartbeat`] and ended by [`Client::complete`].
    ///
    /// # Errors
    /// As [`Client::create`].
    pub async fn start(
        &self,
        operation: NewOperation,
        worker: impl Into<String>,
        lease: Option<Duration>,
    ) -> Result<Claim, Error> {
        let request = operation.into_start(worker.into(), lease);
        self.repeat(self.patience(), |mut client| {
            let request = request.clone();
            async move { client.operations.start(request).await }
        })
        .await
    }

    /// Reads an operation, without its input and events.
    ///
    /// # Errors
    /// There is none of this id, or nobody answers.
    pub async fn get(&self, id: &str) -> Result<Operation, Error> {
        self.get_view(id, View::Basic).await
    }

    /// Reads an operation with its input and events.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_full(&self, id: &str) -> Result<Operation, Error> {
        self.get_view(id, View::Full).await
    }

    /// Reads one page of operations. `page_token` is empty, or the `next_page_token` of the page
    /// before.
    ///
    /// # Errors
    /// A filter or a token that the server does not understand, or nobody answers.
    pub async fn list(&self, options: &ListOptions, page_token: &str) -> Result<ListResponse, Error> {
        let request = ListRequest {
            filter: options.filter.clone(),
            page_size: options.page_size.map(i32::from).unwrap_or_default(),
            page_token: page_token.to_owned(),
            order_by: if options.oldest_first { "created_at" } else { "created_at desc" }.to_owned(),
        };
        self.repeat(self.patience(), |mut client| {
            let request = request.clone();
            async move { client.operations.list(request).await }
        })
        .await
    }

    /// Reads all operations, page by page as they are asked for. The stream ends after an error.
    pub fn list_all(&self, options: ListOptions) -> impl Stream<Item = Result<Operation, Error>> + Send + use<> {
        let client = self.clone();
        let pages = stream::try_unfold(Some(String::new()), move |token| {
            let (client, options) = (client.clone(), options.clone());
            async move {
                let Some(token) = token else { return Ok::<_, Error>(None) };
                let page = client.list(&options, &token).await?;
                let next = Some(page.next_page_token).filter(|token| !token.is_empty());
                Ok(Some((stream::iter(page.operations.into_iter().map(Ok::<_, Error>)), next)))
            }
        });
        pages.try_flatten()
    }

    /// Counts operations that a filter means; all of them when it is empty. The server counts up to a bound.
    ///
    /// # Errors
    /// A filter that the server does not understand, or nobody answers.
    pub async fn count(&self, filter: &str) -> Result<CountResponse, Error> {
        self.repeat(self.patience(), |mut client| {
            let request = CountRequest { filter: filter.to_owned() };
            async move { client.operations.count(request).await }
        })
        .await
    }

    /// Asks for an operation to be cancelled and returns it as it then is: a worker that has it may
    /// still end it otherwise.
    ///
    /// # Errors
    /// There is none of this id, it cannot be cancelled, or nobody answers.
    pub async fn cancel(&self, id: &str, reason: &str) -> Result<Operation, Error> {
        self.repeat(self.patience(), |mut client| {
            let request = CancelRequest { id: id.to_owned(), reason: reason.to_owned() };
            async move { client.operations.cancel(request).await }
        })
        .await
    }

    /// Forgets a finished operation.
    ///
    /// # Errors
    /// There is none of this id, it is not done, or nobody answers.
    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        let delete = |attempt| async move {
            let mut operations = self.operations.clone();
            let answered = answer(Duration::ZERO, operations.delete(DeleteRequest { id: id.to_owned() })).await;
            match answered {
                // An attempt before this one did it, and its answer was lost.
                Err(Error::NotFound { reason, .. }) if attempt > 0 && reason == DELETED => Ok(()),
                answered => answered,
            }
        };
        repeat(self.patience(), delete).await
    }

    async fn get_view(&self, id: &str, view: View) -> Result<Operation, Error> {
        self.repeat(self.patience(), |mut client| {
            // Not held, however the server is set: whoever wants to wait says so.
            let wait = Some(Default::default());
            let request = GetOperationRequest { id: id.to_owned(), view: view.into(), wait };
            async move { client.operations.get(request).await }
        })
        .await
    }
}

const DELETED: &str = "DELETED";
