//! A worker keeps its operation and may report how far it is.

use super::{Heartbeat, Rejection, check_lease, worker};
use crate::draft::Draft;
use crate::operation::{EventKind, Phase};

pub(super) fn heartbeat(draft: &mut Draft, heartbeat: &Heartbeat) -> Result<(), Rejection> {
    check_lease(&draft.op, &heartbeat.lease)?;
    if let Some(metadata) = &heartbeat.metadata {
        draft.op.spec.check_metadata(metadata).map_err(Rejection::Invalid)?;
    }
    let resumed = extend(draft, heartbeat);
    let reported = draft.take_report(heartbeat.metadata.as_ref(), heartbeat.progress.as_ref());
    if resumed {
        let worker = worker(&draft.op);
        draft.event(EventKind::Resumed, worker.as_str());
    } else if reported {
        draft.updated();
    } else {
        draft.bare();
    }
    Ok(())
}

/// Moves the end of the lease, never back; says whether a lapsed lease was taken up again.
fn extend(draft: &mut Draft, heartbeat: &Heartbeat) -> bool {
    let lease = draft.op.lease.as_mut().expect("the lease was checked");
    let duration = heartbeat.duration.unwrap_or(lease.duration);
    let end = draft.now.after(duration);
    let previous = match draft.op.phase {
        Phase::Leased { expires_at } => Some(expires_at),
        Phase::Queued { .. } | Phase::Done { .. } => None,
    };
    // A shorter heartbeat leaves both the end and the length: they belong together, because no
    // lease may end later than now + its length.
    if previous.is_none_or(|previous| end >= previous) {
        lease.duration = duration;
        draft.op.phase = Phase::Leased { expires_at: end };
    }
    previous.is_none()
}
