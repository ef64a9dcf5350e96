//! Who may do what: credentials are proved here, once, before a face sees a call.
//!
//! A call passes [`access`](self::access): the method it asks for is looked up in one table ([`method`](self::method)),
//! the credential becomes an [`Identity`], and the identity's roles are held against the table. Then it is
//! held against the [`limits`](self::limits) of whoever calls. What is left to a face
//! is to reach operations through the identity's scope, which it cannot do without.

mod access;
mod audit;
mod certificate;
mod clock;
mod identity;
mod keys;
mod limits;
mod method;
pub mod token;

pub use access::Auth;
pub use audit::Audit;
pub use certificate::{CertificateRefused, CertificateRule, Certificates, InvalidPattern, NamePattern};
pub use identity::{Credential, Identity, Role, Roles, UnknownRole};
pub use keys::{FirstKeyError, Keys, NewKey};
pub use limits::{Limits, NoRate, Rate, TenantLimits};
pub use method::Planes;

pub(crate) use access::{Admission, Deciding, admit};
pub(crate) use audit::{Record, Refused, origin};
pub(crate) use keys::{Holder, Key};
pub(crate) use limits::{Limiter, Reservation};
pub(crate) use method::Method;
