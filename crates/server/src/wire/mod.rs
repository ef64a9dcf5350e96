//! Between the domain and the messages of the faces. Bytes of payloads pass as they came.
//!
//! What is read here is only brought into shape; limits are the domain's to check. Members are named in errors as
//! in JSON, whatever face they came by.

mod create;
mod operation;
mod payload;
mod time;
mod work;

pub(crate) use create::{Open, Owner, create, start, type_name};
pub(crate) use operation::{View, google, native, yandex};
pub(crate) use payload::{parse_any, parse_progress, parse_status};
pub(crate) use time::{duration, parse_duration, timestamp};
pub(crate) use work::{ask, claim, completion, standing, without_lease};
