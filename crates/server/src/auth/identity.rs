//! Who calls, and what they may do.

use std::fmt;
use std::str::FromStr;

use operond_core::{Principal, Scope, Timestamp};

use crate::wire::Owner;

/// Who makes a call: what a credential stands for, whatever sort of credential it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Their name: `created_by`, who cancelled, and what the audit says.
    pub principal: Principal,
    /// Which operations they can reach.
    pub scope: Scope,
    /// What they may do with those.
    pub roles: Roles,
    /// How they proved it.
    pub credential: Credential,
    /// When that is good no more, by the calendar; none if that is not said.
    pub expires_at: Option<Timestamp>,
}

/// How a caller proved who they are. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nobody was asked: `operond dev`, or `--insecure-no-auth`.
    None,
    /// An API key, by its id.
    Key(String),
    /// A token, by its issuer.
    Token(String),
    /// A client certificate, by the name in it that counted.
    Certificate(String),
}

impl Credential {
    /// What sort it is, and which one.
    pub(crate) fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::None => ("none", ""),
            Self::Key(id) => ("key", id),
            Self::Token(issuer) => ("token", issuer),
            Self::Certificate(name) => ("certificate", name),
        }
    }
}

/// What somebody is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads, cancels, deletes.
    Operator,
    /// Creates, reads, and reports on what it carries out itself.
    Producer,
    /// Claims and reports.
    Worker,
    /// Everything; and, of all tenants, also keys, types and kinds.
    Admin,
}

/// Some of the roles.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Roles(u8);

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Operator, Self::Producer, Self::Worker, Self::Admin];

    /// Its name, as it is written in configuration and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Producer => "producer",
            Self::Worker => "worker",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no role: use viewer, operator, producer, worker or admin")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

impl Roles {
    /// No role at all.
    pub const NONE: Self = Self(0);

    /// These roles.
    #[must_use]
    pub const fn of(roles: &[Role]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < roles.len() {
            bits |= 1 << roles[index] as u8;
            index += 1;
        }
        Self(bits)
    }

    /// Whether `role` is one of them.
    #[must_use]
    pub const fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }

    /// Whether they have a role in common.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        roles.into_iter().fold(Self::NONE, |all, role| Self(all.0 | Self::of(&[role]).0))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Identity {
    /// Somebody who is not asked who they are, and may do everything.
    #[must_use]
    pub fn unasked() -> Self {
        Self {
            principal: Principal::default(),
            scope: Scope::default(),
            roles: Roles::of(&[Role::Admin]),
            credential: Credential::None,
            expires_at: None,
        }
    }

    /// Whose an operation is that they create, and by whom it is, unless the create says so itself.
    pub(crate) fn owner(&self) -> Owner {
        let tenant = self.scope.tenant.clone().unwrap_or_default();
        Owner { tenant, created_by: self.principal.clone() }
    }

    /// Whether they reach the operations of all tenants and kinds.
    pub(crate) fn reaches_all(&self) -> bool {
        self.scope == Scope::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_written_as_they_are_read() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        for text in ["", "Admin", "admin ", "root"] {
            assert_eq!(text.parse::<Role>(), Err(UnknownRole), "{text:?}");
        }
    }

    #[test]
    fn roles_are_sets() {
        let roles: Roles = [Role::Viewer, Role::Worker].into_iter().collect();
        assert!(roles.has(Role::Worker) && !roles.has(Role::Admin));
        assert!(roles.meets(Roles::of(&[Role::Worker, Role::Admin])) && !roles.meets(Roles::of(&[Role::Operator])));
        assert!(!Roles::NONE.meets(Roles::of(&Role::ALL)));
        assert_eq!(roles.iter().collect::<Vec<_>>(), [Role::Viewer, Role::Worker]);
    }
}
