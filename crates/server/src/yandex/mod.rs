//! The Yandex face: `yandex.cloud.operation` and `yandex.cloud.endpoint` (CONTRACT §1, §2, §4).

mod endpoints;
mod grpc;
mod operations;

pub(crate) use endpoints::{endpoint, endpoints};
pub(crate) use grpc::Grpc;
pub(crate) use operations::{cancel, get};
