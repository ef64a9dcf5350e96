//! Who may do what: credentials are proved here, once, before a face sees a call.

mod identity;
pub mod token;

pub use identity::{Credential, Identity, Role, Roles, UnknownRole};
