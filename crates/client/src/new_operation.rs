//! What an operation is to be, put together member by member.

use std::time::Duration;

use operond_proto::operond::v1::{CreateRequest, StartRequest};
use prost_types::Any;

use crate::payload;

/// What an operation is to be; everything but the kind has a default (CONTRACT §8).
///
/// ```
/// use operond_client::{NewOperation, payload};
/// use serde_json::json;
///
/// let video = NewOperation::new("video.render")
///     .description("Holiday film")
///     .input(payload::from_json(json!({"pages": 3})))
///     .label("customer", "c-17");
/// # let _ = video;
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "nothing is recorded until it is given to Client::create"]
pub struct NewOperation {
    request: CreateRequest,
}

impl NewOperation {
    /// An operation of `kind`: the sort of work that workers ask for; at most 128 characters.
    pub fn new(kind: impl Into<String>) -> Self {
        Self { request: CreateRequest { kind: kind.into(), ..CreateRequest::default() } }
    }

    /// What it does, for people; at most 256 characters.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.request.description = description.into();
        self
    }

    /// Who it belongs to; `default` unless said.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.request.tenant = Some(tenant.into());
        self
    }

    /// Who asked for it; `anonymous` unless said.
    pub fn created_by(mut self, principal: impl Into<String>) -> Self {
        self.request.created_by = Some(principal.into());
        self
    }

    /// What the worker is given; at most 1 MiB.
    pub fn input(mut self, input: Any) -> Self {
        self.request.input = Some(input);
        self
    }

    /// First metadata; at most 64 KiB.
    pub fn metadata(mut self, metadata: Any) -> Self {
        self.request.metadata = Some(metadata);
        self
    }

    /// A mark to find it by; at most 32 of them.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.labels.insert(name.into(), value.into());
        self
    }

    /// Makes the create repeatable beyond this process: the same key and content is the same
    /// operation. At most 128 characters, unique in the tenant.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.request.idempotency_key = Some(key.into());
        self
    }

    /// Whether it may be cancelled; true unless said.
    pub fn cancellable(mut self, cancellable: bool) -> Self {
        self.request.cancellable = Some(cancellable);
        self
    }

    /// Hands the operation, once cancelled, to a worker once more to clean up.
    pub fn clean_up_on_cancel(mut self) -> Self {
        self.request.clean_up_on_cancel = Some(true);
        self
    }

    /// Longest single wait for a worker; none unless said.
    pub fn queue_timeout(mut self, timeout: Duration) -> Self {
        self.request.queue_timeout = Some(payload::duration(timeout));
        self
    }

    /// Longest time from the first lease to the result; none unless said.
    pub fn run_timeout(mut self, timeout: Duration) -> Self {
        self.request.run_timeout = Some(payload::duration(timeout));
        self
    }

    /// How many attempts it may take, 1 to 100; 3 unless said (1 when started by its producer).
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.request.max_attempts = Some(attempts);
        self
    }

    /// How long a worker may take to confirm a cancel; 30 s unless said.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.request.cancel_grace = Some(payload::duration(grace));
        self
    }

    /// How long it is kept when done; zero keeps it for ever, the server chooses unless said.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.request.retention = Some(payload::duration(retention));
        self
    }

    /// Full names of the messages that the response and the metadata will hold.
    pub fn types(mut self, response: impl Into<String>, metadata: impl Into<String>) -> Self {
        self.request.response_type = Some(response.into());
        self.request.metadata_type = Some(metadata.into());
        self
    }

    /// The request, with an idempotency key in any case: without one a create whose answer was lost
    /// could not be repeated.
    pub(crate) fn into_create(self) -> CreateRequest {
        let mut request = self.request;
        request.idempotency_key.get_or_insert_with(random_key);
        request
    }

    /// The request of a producer that carries the operation out itself.
    pub(crate) fn into_start(self, worker: String, lease: Option<Duration>) -> StartRequest {
        let create = self.into_create();
        StartRequest {
            kind: create.kind,
            description: create.description,
            tenant: create.tenant,
            created_by: create.created_by,
            metadata: create.metadata,
            input: create.input,
            labels: create.labels,
            idempotency_key: create.idempotency_key,
            cancellable: create.cancellable,
            clean_up_on_cancel: create.clean_up_on_cancel,
            queue_timeout: create.queue_timeout,
            run_timeout: create.run_timeout,
            max_attempts: create.max_attempts,
            cancel_grace: create.cancel_grace,
            retention: create.retention,
            response_type: create.response_type,
            metadata_type: create.metadata_type,
            worker,
            lease_duration: lease.map(payload::duration),
        }
    }
}

/// 128 random bits in hexadecimal.
pub(crate) fn random_key() -> String {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the system has random numbers");
    format!("{:032x}", u128::from_le_bytes(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_create_has_a_key_and_the_given_one_is_kept() {
        let key = |operation: NewOperation| operation.into_create().idempotency_key.unwrap();
        let fresh = key(NewOperation::new("k"));
        assert_eq!(fresh.len(), 32);
        assert_ne!(fresh, key(NewOperation::new("k")));
        assert_eq!(key(NewOperation::new("k").idempotency_key("mine")), "mine");
    }

    #[test]
    fn a_start_says_all_that_a_create_says() {
        let second = Duration::from_secs(1);
        let operation = NewOperation::new("k")
            .description("d")
            .tenant("t")
            .created_by("c")
            .input(payload::text("in"))
            .metadata(payload::text("meta"))
            .label("a", "b")
            .idempotency_key("key")
            .cancellable(false)
            .clean_up_on_cancel()
            .queue_timeout(second)
            .run_timeout(2 * second)
            .max_attempts(5)
            .cancel_grace(3 * second)
            .retention(4 * second)
            .types("r", "m");
        let start = operation.clone().into_start("w".into(), Some(6 * second));
        assert_eq!(start.into_parts(), (operation.into_create(), "w".into(), Some(payload::duration(6 * second))));
    }
}
