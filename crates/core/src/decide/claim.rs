//! A worker takes a queued operation.

use super::{Claim, Rejection};
use crate::draft::Draft;
use crate::lease::{Lease, Token};
use crate::operation::{EventKind, Phase};

pub(super) fn claim(draft: &mut Draft, claim: &Claim) -> Result<(), Rejection> {
    if !draft.op.claimable(draft.now) {
        return Err(Rejection::NotClaimable);
    }
    lease(draft, claim);
    draft.event(EventKind::Claimed, claim.worker.as_str());
    Ok(())
}

/// Gives a new lease and counts the attempt: the step that claim and start share.
pub(crate) fn lease(draft: &mut Draft, claim: &Claim) {
    let (op, now) = (&mut draft.op, draft.now);
    let previous = op.lease.as_ref().map_or(Token(0), |lease| lease.token);
    op.lease = Some(Lease {
        token: Token(previous.0 + 1),
        secret: claim.secret,
        worker: claim.worker.clone(),
        duration: claim.duration,
        given_up: false,
        answered: None,
    });
    op.attempt += 1;
    if op.started_at.is_none() {
        op.started_at = Some(now);
        op.run_deadline = op.spec.run_timeout.map(|timeout| now.after(timeout));
    }
    op.phase = Phase::Leased { expires_at: now.after(claim.duration) };
    if op.grace_deadline.is_some() {
        draft.arm_grace();
    }
}
