//! A refusal tells the truth: there was a state, while the call was under way, in which the rules refuse it.

use super::{Call, Life, Outcome, What, Wrong};

pub(super) fn check(life: &Life<'_>, wrong: &mut Wrong) {
    for &call in &life.asked {
        if let Outcome::Refused { code, reason } = &call.outcome
            && !is_true(life, call, reason)
        {
            wrong.say(&format!("{} was refused with {code:?} {reason}, which cannot be", life.id), &[call]);
        }
    }
}

fn is_true(life: &Life<'_>, call: &Call, reason: &str) -> bool {
    let sent_before = |other: &&&Call| other.may_hold() && other.may_precede(call);
    let mut earlier = life.asked.iter().filter(sent_before);
    let mut seen_later = life.seen.iter().filter(|seen| call.before(seen.call));
    match reason {
        "ALREADY_DONE" => seen_later.all(|seen| seen.state.done),
        "DELETED" => earlier.any(|other| matches!(other.what, What::Delete { .. })) && seen_later.next().is_none(),
        "NOT_DONE" => !life.seen.iter().any(|seen| seen.state.done && seen.call.before(call)),
        "FAILURE_DETECTED" => earlier.any(|other| matches!(other.what, What::ReportFailure(..))),
        "LEASE_LOST" => {
            let token = call.what.lease().map_or(0, |lease| lease.token);
            let newer =
                |granted: &super::Granted<'_>| granted.grant.lease.token > token && granted.call.may_precede(call);
            life.grants.iter().any(newer)
                || life.unknown_claims.iter().any(|claim| claim.may_precede(call))
                || life.may_be_given_up(token, call)
        }
        // Nothing here is unknown, expires, is malformed or cannot be cancelled; nothing else may happen at all.
        _ => false,
    }
}
