//! Who may do what: credentials are proved here, once, before a face sees a call.

mod identity;

pub use identity::{Credential, Identity, Role, Roles, UnknownRole};
