//! The Google face: `google.longrunning.Operations` (CONTRACT §4 "Google face").

mod grpc;
mod name;
mod operations;

pub(crate) use grpc::Grpc;
pub use name::is_collection;
pub(crate) use operations::{cancel, delete, get, list, shown, wait};
