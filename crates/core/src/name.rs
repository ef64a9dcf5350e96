//! Short texts that name something, as types: a tenant is not a kind.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::invalid::{Invalid, check_text};
use crate::limits::{DESCRIPTION_CHARS_MAX, NAME_CHARS_MAX, REASON_CHARS_MAX};

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $limit:expr, $empty_allowed:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes `text` when it is within its limit; `field` names it in the error.
            pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
                if !$empty_allowed && text.is_empty() {
                    return Err(Invalid::missing(field));
                }
                check_text(field, text, $limit)?;
                Ok(Self(text.into()))
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_type!(
    /// What sort of work; the queue a worker asks for. 1–128 characters.
    Kind, NAME_CHARS_MAX, false
);
text_type!(
    /// Who an operation belongs to. 1–128 characters.
    Tenant, NAME_CHARS_MAX, false
);
text_type!(
    /// Who did something: a caller, a producer. 1–128 characters.
    Principal, NAME_CHARS_MAX, false
);
text_type!(
    /// Who carries operations out. 1–128 characters.
    Worker, NAME_CHARS_MAX, false
);
text_type!(
    /// Makes a create repeatable; its scope is the tenant. 1–128 characters.
    IdempotencyKey, NAME_CHARS_MAX, false
);
text_type!(
    /// Free text for people. 0–256 characters.
    Description, DESCRIPTION_CHARS_MAX, true
);
text_type!(
    /// Why something was asked for. 0–1,024 characters.
    Reason, REASON_CHARS_MAX, true
);

impl Kind {
    /// Takes `text` as the member `kind`.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        Self::parse("kind", text)
    }
}

impl Worker {
    /// Takes `text` as the member `worker`.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        Self::parse("worker", text)
    }
}

impl Default for Tenant {
    /// The tenant of an operation that names none.
    fn default() -> Self {
        Self("default".into())
    }
}

impl Default for Principal {
    /// Somebody who did not say who they are.
    fn default() -> Self {
        Self("anonymous".into())
    }
}

impl Default for Description {
    fn default() -> Self {
        Self("".into())
    }
}

impl Default for Reason {
    fn default() -> Self {
        Self("".into())
    }
}
