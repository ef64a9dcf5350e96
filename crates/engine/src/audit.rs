//! What is told to whoever keeps an audit.

use std::sync::Arc;

use operond_core::Timestamp;
use operond_store::Transition;

/// Is told of everything that happens to operations once it is committed, however it was asked for: by a call, or by a
/// timer that was due.
pub trait Audit: Send + Sync + 'static {
    /// Called by the task that writes, in the order of its commits: it must not wait. `origin` is what the handle said
    /// that asked ([`Engine::on_behalf_of`](crate::Engine::on_behalf_of)); `None` where nobody did.
    fn happened(&self, at: Timestamp, transition: &Transition, origin: Option<&Origin>);
}

/// Who asks, in the words of whoever gave the handle. The engine does not read it.
pub type Origin = Arc<str>;
