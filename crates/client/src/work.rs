//! Calls of workers, one by one; [`Worker`](crate::Worker) makes them for you.

use std::time::Duration;

use operond_proto::operond::v1::{
    Claim, ClaimRequest, CompleteRequest, HeartbeatRequest, HeartbeatResponse, Operation, ReleaseRequest,
    ReportFailureRequest, RetryRequest,
};

use crate::client::{Client, answer};
use crate::error::Error;
use crate::retry::repeat;

/// Calls about leases. All but [`Client::claim`] may be repeated, and are while nobody answers.
impl Client {
    /// Leases operations to a worker; empty when there were none in time.
    ///
    /// Never repeated: a claim whose answer was lost may have leased something.
    ///
    /// # Errors
    /// A refusal, or nobody answers.
    pub async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claim>, Error> {
        let hold = request.wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or(CLAIM_WAIT_DEFAULT);
        let mut work = self.work.clone();
        Ok(answer(hold, work.claim(request)).await?.claims)
    }

    /// Extends a lease, reports, and learns whether cancel is requested.
    ///
    /// # Errors
    /// A refusal (`LEASE_LOST`, `ALREADY_DONE`: stop working), or nobody answers.
    pub async fn heartbeat(&self, request: HeartbeatRequest) -> Result<HeartbeatResponse, Error> {
        repeat(self.patience(), |_| self.heartbeat_once(request.clone())).await
    }

    /// One attempt at a heartbeat.
    pub(crate) async fn heartbeat_once(&self, request: HeartbeatRequest) -> Result<HeartbeatResponse, Error> {
        let hold = request.wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default();
        let mut work = self.work.clone();
        answer(hold, work.heartbeat(request)).await
    }

    /// Shows callers the final error while the worker still rolls back.
    ///
    /// # Errors
    /// A refusal (`FAILURE_DETECTED` after another error, `LEASE_LOST`), or nobody answers.
    pub async fn report_failure(&self, request: ReportFailureRequest) -> Result<Operation, Error> {
        self.repeat(self.patience(), |mut client| {
            let request = request.clone();
            async move { client.work.report_failure(request).await }
        })
        .await
    }

    /// Ends an operation with its result.
    ///
    /// # Errors
    /// A refusal (`LEASE_LOST`, `ALREADY_DONE`, a limit), or nobody answers.
    pub async fn complete(&self, request: CompleteRequest) -> Result<Operation, Error> {
        self.complete_within(self.patience(), request).await
    }

    pub(crate) async fn complete_within(&self, limit: Duration, request: CompleteRequest) -> Result<Operation, Error> {
        self.repeat(limit, |mut client| {
            let request = request.clone();
            async move { client.work.complete(request).await }
        })
        .await
    }

    /// Hands an operation back after a failure that another attempt may get over.
    ///
    /// # Errors
    /// A refusal (`LEASE_LOST`, `ALREADY_DONE`), or nobody answers.
    pub async fn retry(&self, request: RetryRequest) -> Result<Operation, Error> {
        self.retry_within(self.patience(), request).await
    }

    pub(crate) async fn retry_within(&self, limit: Duration, request: RetryRequest) -> Result<Operation, Error> {
        self.repeat(limit, |mut client| {
            let request = request.clone();
            async move { client.work.retry(request).await }
        })
        .await
    }

    /// Hands an operation back untouched; the attempt is not counted.
    ///
    /// # Errors
    /// A refusal (`LEASE_LOST`, `ALREADY_DONE`), or nobody answers.
    pub async fn release(&self, request: ReleaseRequest) -> Result<Operation, Error> {
        self.release_within(self.patience(), request).await
    }

    pub(crate) async fn release_within(&self, limit: Duration, request: ReleaseRequest) -> Result<Operation, Error> {
        self.repeat(limit, |mut client| {
            let request = request.clone();
            async move { client.work.release(request).await }
        })
        .await
    }
}

/// How long the server holds a claim that does not say (CONTRACT §5).
const CLAIM_WAIT_DEFAULT: Duration = Duration::from_secs(20);
