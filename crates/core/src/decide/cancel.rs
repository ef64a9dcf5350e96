//! A caller wants an operation stopped.

use super::{Cancel, Rejection, queued};
use crate::draft::{Draft, cancelled};
use crate::operation::{CancelRequest, EventKind, Operation, Outcome};

/// Judged in the order of CONTRACT §3 "cancel".
pub(super) fn cancel(draft: &mut Draft, cancel: &Cancel) -> Result<(), Rejection> {
    if draft.op.done() {
        return Ok(());
    }
    if !draft.op.spec.cancellable {
        return Err(Rejection::NotCancellable);
    }
    if draft.op.cancel.is_some() {
        return Ok(());
    }
    let (at, by) = (draft.now, cancel.by.clone());
    draft.op.cancel = Some(CancelRequest { at, by, reason: cancel.reason.clone() });
    if draft.op.failure.is_some() {
        draft.event(EventKind::CancelRequested, cancel.by.as_str());
    } else if nobody_to_tell(&draft.op) {
        draft.finish(Outcome::Error(cancelled("")), EventKind::Cancelled, cancel.by.as_str());
    } else {
        draft.arm_grace();
        draft.event(EventKind::CancelRequested, cancel.by.as_str());
    }
    Ok(())
}

/// Not leased, and no worker is to clean up: it ends at once.
fn nobody_to_tell(op: &Operation) -> bool {
    let never_leased = op.lease.is_none();
    let cleaned_up = op.spec.clean_up_on_cancel && op.attempts_left();
    queued(op) && (never_leased || !cleaned_up)
}
