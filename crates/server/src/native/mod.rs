//! The native face, `operond.v1` (CONTRACT §8): what its calls do, whether they come as gRPC or REST.

mod grpc;
pub(crate) mod keys;
pub(crate) mod kinds;
mod list;
pub(crate) mod operations;
pub(crate) mod types;
pub(crate) mod work;

pub(crate) use grpc::Grpc;
pub(crate) use list::{count, list};
