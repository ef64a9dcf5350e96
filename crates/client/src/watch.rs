//! Every change of one operation, across broken connections and restarts of the server.

use std::time::Duration;

use futures::{Stream, stream};
use operond_proto::operond::v1::{Operation, WatchRequest};
use tonic::Streaming;

use crate::client::{Client, answer};
use crate::error::Error;
use crate::retry::Outage;

impl Client {
    /// Every change of an operation, beginning with how it is now and ending with the one that made
    /// it done; changes in quick succession come as one. With `after_revision` the beginning is left
    /// out if nothing has changed since.
    ///
    /// A broken stream is resumed where it broke. The stream ends with an error when nobody answers
    /// for `outage`, or when the operation is gone.
    pub fn watch(
        &self,
        id: &str,
        after_revision: Option<&str>,
        outage: Duration,
    ) -> impl Stream<Item = Result<Operation, Error>> + Send + use<> {
        let mut watch = Watch::new(self.clone(), id.to_owned(), outage);
        watch.revision = after_revision.unwrap_or_default().to_owned();
        stream::try_unfold(watch, async |mut watch| {
            let next = watch.next(&mut |_| {}).await?;
            Ok(next.map(|operation| (operation, watch)))
        })
    }
}

/// What becomes of the connection while something is waited for.
pub(crate) enum Link<'a> {
    /// It broke; the wait goes on.
    Lost(&'a Error),
    /// The server answers again.
    Back,
}

/// A watch that resumes.
pub(crate) struct Watch {
    client: Client,
    id: String,
    stream: Option<Streaming<Operation>>,
    /// The last change seen; empty before the first.
    revision: String,
    done: bool,
    outage: Outage,
}

impl Watch {
    pub(crate) fn new(client: Client, id: String, outage: Duration) -> Self {
        Self { client, id, stream: None, revision: String::new(), done: false, outage: Outage::new(outage) }
    }

    /// The next change; `None` once the operation is done and that has been told. May be dropped
    /// half-way and called again.
    ///
    /// # Errors
    /// The operation is gone, or nobody has answered for too long.
    pub(crate) async fn next(&mut self, tell: &mut (dyn FnMut(Link<'_>) + Send)) -> Result<Option<Operation>, Error> {
        while !self.done {
            match self.message(tell).await {
                Ok(operation) if operation.revision == self.revision && !self.revision.is_empty() => {}
                Ok(operation) => {
                    self.revision.clone_from(&operation.revision);
                    self.done = operation.done;
                    return Ok(Some(operation));
                }
                Err(error) => {
                    self.stream = None;
                    if error.is_unreachable() {
                        tell(Link::Lost(&error));
                    }
                    self.outage.ride(error).await?;
                }
            }
        }
        Ok(None)
    }

    async fn message(&mut self, tell: &mut (dyn FnMut(Link<'_>) + Send)) -> Result<Operation, Error> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let request = WatchRequest { id: self.id.clone(), after_revision: self.revision.clone() };
                let opened = answer(Duration::ZERO, self.client.operations.watch(request)).await?;
                if self.outage.over() {
                    tell(Link::Back);
                }
                self.stream.insert(opened)
            }
        };
        match stream.message().await? {
            Some(operation) => Ok(operation),
            // A server that shuts down ends its streams.
            None => Err(Error::Unreachable {
                reason: None,
                message: "the server ended the watch".into(),
                retry_after: None,
            }),
        }
    }
}
