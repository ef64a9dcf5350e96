//! Who may do what: credentials are proved here, once, before a face sees a call.

mod certificate;
mod identity;

pub use certificate::{CertificateRefused, CertificateRule, Certificates, InvalidPattern, NamePattern};
pub use identity::{Credential, Identity, Role, Roles, UnknownRole};
