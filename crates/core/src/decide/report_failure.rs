//! A worker shows an error early and rolls back: from here on that error is the result.

use super::{Rejection, ReportFailure, check_lease, worker};
use crate::draft::Draft;
use crate::operation::EventKind;

pub(super) fn report_failure(draft: &mut Draft, report: &ReportFailure) -> Result<(), Rejection> {
    check_lease(&draft.op, &report.lease)?;
    if let Some(shown) = &draft.op.failure {
        return if *shown == report.error { Ok(()) } else { Err(Rejection::FailureDetected) };
    }
    if let Some(metadata) = &report.metadata {
        draft.op.spec.check_metadata(metadata).map_err(Rejection::Invalid)?;
    }
    draft.take_report(report.metadata.as_ref(), None);
    draft.op.failure = Some(report.error.clone());
    // A failing operation has no cancel grace: its rollback is not cut short.
    draft.op.grace_deadline = None;
    let worker = worker(&draft.op);
    draft.event(EventKind::FailureDetected, worker.as_str());
    Ok(())
}
