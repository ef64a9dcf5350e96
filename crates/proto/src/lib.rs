//! Protocol buffers: sources, generated types and descriptors.
//!
//! The `.proto` files lie in `proto/`, the Rust code made from them in `src/gen/`; both are
//! committed, so that a build needs neither protoc nor a build script. After an edit of a `.proto`
//! file run `cargo xtask proto`; a test fails until that has been done.
//!
//! ```
//! use operond_proto::operond::v1::{Operation, operation::State};
//! use prost::{Message, Name};
//!
//! let operation = Operation { id: "o1".into(), state: State::Queued.into(), ..Default::default() };
//! let decoded = Operation::decode(&*operation.encode_to_vec())?;
//! assert_eq!(decoded.state(), State::Queued);
//! assert_eq!(Operation::type_url(), "type.googleapis.com/operond.v1.Operation");
//! # Ok::<(), prost::DecodeError>(())
//! ```
//!
//! This crate holds no rules and no mapping to the domain: those are the server's and the client's.

// For the crate as a whole, since nearly all of it is generated.
#![allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    unused_qualifications,
    reason = "code made by prost and tonic"
)]

/// The native face.
pub mod operond {
    /// Services `Operations`, `Work`, `Types`, `Kinds` and `Keys`, and their messages (CONTRACT §8).
    pub mod v1 {
        include!("gen/operond.v1.rs");
    }
}

/// What clients of Yandex Cloud speak.
pub mod yandex {
    /// Services of the whole cloud.
    pub mod cloud {
        /// `OperationService` and its messages.
        pub mod operation {
            include!("gen/yandex.cloud.operation.rs");
        }
        /// `ApiEndpointService` and its messages.
        pub mod endpoint {
            include!("gen/yandex.cloud.endpoint.rs");
        }
    }
}

/// What clients of Google's APIs speak, and what all faces share.
pub mod google {
    /// `Operations` and its messages.
    pub mod longrunning {
        include!("gen/google.longrunning.rs");
    }
    /// `Status`, its codes and its details.
    pub mod rpc {
        include!("gen/google.rpc.rs");
    }
}

use operond::v1::{CreateRequest, StartRequest};

/// All files of this crate with everything they import, and all well-known types of
/// `google.protobuf`, as an encoded `FileDescriptorSet` without source positions. The HTTP
/// annotations are in it.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptors.bin");

/// The OpenAPI 3.1 document of everything that the HTTP annotations promise, as JSON.
pub const OPENAPI: &str = include_str!("gen/openapi.json");

impl StartRequest {
    /// Takes apart what a start says beyond a create: the create itself, who leases the
    /// operation, and for how long.
    #[must_use]
    pub fn into_parts(self) -> (CreateRequest, String, Option<prost_types::Duration>) {
        let create = CreateRequest {
            kind: self.kind,
            description: self.description,
            tenant: self.tenant,
            created_by: self.created_by,
            metadata: self.metadata,
            input: self.input,
            labels: self.labels,
            idempotency_key: self.idempotency_key,
            cancellable: self.cancellable,
            clean_up_on_cancel: self.clean_up_on_cancel,
            queue_timeout: self.queue_timeout,
            run_timeout: self.run_timeout,
            max_attempts: self.max_attempts,
            cancel_grace: self.cancel_grace,
            retention: self.retention,
            response_type: self.response_type,
            metadata_type: self.metadata_type,
        };
        (create, self.worker, self.lease_duration)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use prost::Message;
    use prost_types::{Any, Duration, Timestamp};

    use super::*;
    use crate::google::rpc::Status;
    use crate::operond::v1;
    use crate::yandex::cloud::operation as yandex;

    /// CONTRACT §2: the numbers 1 to 9 are those of Yandex.
    #[test]
    fn native_operation_is_read_by_yandex_clients() {
        let at = Some(Timestamp { seconds: 7, nanos: 8 });
        let any = Any { type_url: "type.googleapis.com/a.B".into(), value: vec![1, 2] };
        let status = Status { code: 5, message: "gone".into(), details: vec![any.clone()] };
        let results = [
            (v1::operation::Result::Error(status.clone()), yandex::operation::Result::Error(status)),
            (v1::operation::Result::Response(any.clone()), yandex::operation::Result::Response(any.clone())),
        ];
        for (native, expected) in results {
            let native = v1::Operation {
                id: "o".into(),
                description: "d".into(),
                created_at: at,
                created_by: "c".into(),
                modified_at: at,
                done: true,
                metadata: Some(any.clone()),
                result: Some(native),
                kind: "k".into(),
                state: v1::operation::State::Failed.into(),
                revision: "r".into(),
                ..Default::default()
            };
            let expected = yandex::Operation {
                id: "o".into(),
                description: "d".into(),
                created_at: at,
                created_by: "c".into(),
                modified_at: at,
                done: true,
                metadata: Some(any.clone()),
                result: Some(expected),
            };
            assert_eq!(yandex::Operation::decode(&*native.encode_to_vec()), Ok(expected));
        }
    }

    #[test]
    fn start_is_a_create_with_a_worker() {
        let seconds = |seconds| Some(Duration { seconds, nanos: 0 });
        let any = |type_url: &str| Some(Any { type_url: type_url.into(), value: vec![1] });
        let create = CreateRequest {
            kind: "k".into(),
            description: "d".into(),
            tenant: Some("t".into()),
            created_by: Some("c".into()),
            metadata: any("m"),
            input: any("i"),
            labels: HashMap::from([("a".into(), "b".into())]),
            idempotency_key: Some("key".into()),
            cancellable: Some(false),
            clean_up_on_cancel: Some(true),
            queue_timeout: seconds(1),
            run_timeout: seconds(2),
            max_attempts: Some(3),
            cancel_grace: seconds(4),
            retention: seconds(5),
            response_type: Some("r".into()),
            metadata_type: Some("s".into()),
        };
        let mut start = StartRequest::decode(&*create.encode_to_vec()).unwrap();
        start.worker = "w".into();
        start.lease_duration = seconds(6);
        assert_eq!(start.into_parts(), (create, "w".into(), seconds(6)));
    }
}
