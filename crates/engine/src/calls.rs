//! What producers and callers ask: create, cancel, delete.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{
    Any, Cancel, Claim, Command, IdempotencyKey, NewOperation, Operation, OperationId, Principal, Reason, Retention,
    Spec, Worker, lease_of_start,
};
use operond_store::{Accepted, CreateRequest, Request};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::error::{Error, Unavailable};
use crate::leases::{Claimed, LeaseGrant};
use crate::writer::{Caller, Message, Outcome};
use crate::{Engine, digest, entropy};

/// An operation to be created.
#[derive(Clone, Debug)]
pub struct Create {
    /// What never changes. Its `retention` is ignored: see below.
    pub spec: Spec,
    /// `spec` with defaults in it that may change before a repeat, retention included: this is what is created.
    /// A repeat is still told by `spec`, which is what the caller said. `None` where there are no such defaults.
    pub with_defaults: Option<Spec>,
    /// The first metadata.
    pub metadata: Option<Any>,
    /// How long to keep it when done; zero for ever, `None` as `with_defaults`, or else the engine's options say.
    pub retention: Option<Duration>,
    /// Makes the create repeatable.
    pub key: Option<IdempotencyKey>,
    /// Only a repeat is answered: where an operation would begin, none is found. For creates that there is no room for.
    pub repeat_only: bool,
}

impl Create {
    /// Only `spec`.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        Self { spec, with_defaults: None, metadata: None, retention: None, key: None, repeat_only: false }
    }
}

impl Engine {
    /// Creates an operation for a worker to claim. It is durable, and everybody can read it, before this returns.
    ///
    /// With a key that was used for the same content it returns the operation of that time, as it is now.
    pub async fn create(&self, create: Create) -> Result<Arc<Operation>, Error> {
        let (operation, _) = self.begin(create, None).await?;
        Ok(operation)
    }

    /// Creates an operation that `worker` carries out itself: already leased to it.
    ///
    /// A repeat with the same key returns the lease only to the same worker while it is the newest
    /// and was not given up; else the operation alone.
    pub async fn start_operation(
        &self,
        create: Create,
        worker: Worker,
        lease: Duration,
    ) -> Result<(Arc<Operation>, Option<Claimed>), Error> {
        let claim = Claim { worker: worker.clone(), duration: lease, secret: entropy::secret() };
        Command::Claim(claim.clone()).check()?;
        let (operation, at) = self.begin(create, Some(claim)).await?;
        let claimed = lease_of_start(&operation, &worker)
            .map(|lease| Claimed { lease: LeaseGrant::of(&operation, lease, at), operation: Arc::clone(&operation) });
        Ok((operation, claimed))
    }

    /// Asks for an operation to be stopped. Done or already asked for: as it is.
    pub async fn cancel(&self, id: &OperationId, by: Principal, reason: Reason) -> Result<Arc<Operation>, Error> {
        let (operation, _) = self.command(id, Command::Cancel(Cancel { by, reason })).await?;
        Ok(operation)
    }

    /// Removes a finished operation.
    pub async fn delete(&self, id: &OperationId) -> Result<(), Error> {
        match self.submit(self.request(id, Command::Delete)).await? {
            (Accepted::Deleted, _) => Ok(()),
            (other, _) => unreachable!("a delete that holds leaves nothing: {other:?}"),
        }
    }

    async fn begin(
        &self,
        create: Create,
        claim: Option<Claim>,
    ) -> Result<(Arc<Operation>, operond_core::Timestamp), Error> {
        let Create { spec, with_defaults, metadata, retention, key, repeat_only } = create;
        let key = key.map(|key| (key, digest::of_create(&spec, metadata.as_ref(), retention)));
        let mut spec = with_defaults.unwrap_or(Spec { retention: self.shared.options.retention, ..spec });
        if let Some(length) = retention {
            spec.retention = Retention::same(Some(length).filter(|length| !length.is_zero()));
        }
        let new = NewOperation { spec: Arc::new(spec), metadata, claim };
        new.check()?;
        if !self.scope.covers(&new.spec) {
            return Err(Error::OutOfScope);
        }
        let request = Box::new(CreateRequest { new, entropy: entropy::for_id(), key });
        let request = if repeat_only { Request::Repeat(request) } else { Request::Create(request) };
        match self.submit(request).await? {
            (Accepted::Created { operation, .. }, at) => Ok((operation, at)),
            (other, _) => unreachable!("a create that holds is answered with its operation: {other:?}"),
        }
    }

    /// Has a command carried out that leaves the operation there.
    pub(crate) async fn command(
        &self,
        id: &OperationId,
        command: Command,
    ) -> Result<(Arc<Operation>, operond_core::Timestamp), Error> {
        command.check()?;
        match self.submit(self.request(id, command)).await? {
            (Accepted::Operation(operation), at) => Ok((operation, at)),
            (other, _) => unreachable!("a command that holds is answered with its operation: {other:?}"),
        }
    }

    fn request(&self, id: &OperationId, command: Command) -> Request {
        Request::Command(self.scope.clone(), id.clone(), Box::new(command))
    }

    async fn submit(&self, request: Request) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        self.enqueue(Message::Do(request, Caller { reply, origin: self.origin.clone() }))?;
        outcome.await.unwrap_or(Err(Error::Unavailable(Unavailable::ShuttingDown)))
    }

    pub(crate) fn enqueue(&self, message: Message) -> Result<(), Error> {
        self.queue.try_send(message).map_err(|error| {
            Error::Unavailable(match error {
                TrySendError::Full(_) => Unavailable::Overloaded,
                TrySendError::Closed(_) => Unavailable::ShuttingDown,
            })
        })
    }
}
