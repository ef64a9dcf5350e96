//! Which operations a request can reach.

use std::sync::Arc;

use crate::name::{Kind, Tenant};
use crate::operation::Spec;

/// What a request can reach. An operation outside of it is not there, to that request: whoever asks learns as much of
/// it as of one that never existed, and nothing is settled on their account. The default reaches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Only operations of this tenant; of every tenant if absent.
    pub tenant: Option<Tenant>,
    /// Only operations of these kinds; of every kind if absent.
    pub kinds: Option<Arc<[Kind]>>,
}

impl Scope {
    /// All that belongs to one tenant.
    #[must_use]
    pub fn of_tenant(tenant: Tenant) -> Self {
        Self { tenant: Some(tenant), kinds: None }
    }

    /// Whether an operation of this specification can be reached.
    #[must_use]
    pub fn covers(&self, spec: &Spec) -> bool {
        self.covers_tenant(&spec.tenant) && self.covers_kind(&spec.kind)
    }

    /// Whether something of this tenant can be reached.
    #[must_use]
    pub fn covers_tenant(&self, tenant: &Tenant) -> bool {
        self.tenant.as_ref().is_none_or(|own| own == tenant)
    }

    /// Whether something of this kind can be reached.
    #[must_use]
    pub fn covers_kind(&self, kind: &Kind) -> bool {
        self.kinds.as_ref().is_none_or(|own| own.contains(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(tenant: &str, kind: &str) -> Spec {
        Spec { tenant: Tenant::parse("tenant", tenant).unwrap(), ..Spec::new(Kind::new(kind).unwrap()) }
    }

    #[test]
    fn a_scope_covers_its_tenant_and_its_kinds_and_the_default_everything() {
        let kinds = [Kind::new("a").unwrap(), Kind::new("b").unwrap()];
        let scope = Scope { kinds: Some(kinds.into()), ..Scope::of_tenant(Tenant::parse("tenant", "t").unwrap()) };
        assert!(scope.covers(&spec("t", "a")) && scope.covers(&spec("t", "b")));
        for (tenant, kind) in [("u", "a"), ("t", "c"), ("T", "a"), ("t", "A")] {
            assert!(!scope.covers(&spec(tenant, kind)), "{tenant} {kind}");
            assert!(Scope::default().covers(&spec(tenant, kind)));
        }
    }
}
