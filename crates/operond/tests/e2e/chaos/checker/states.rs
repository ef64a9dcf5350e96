//! What everybody is told of an operation fits together.

use std::collections::BTreeMap;

use operond_proto::google::rpc::Status as Problem;
use operond_proto::operond::v1::Operation;
use operond_proto::operond::v1::operation::Result as Shown;

use super::{Call, Life, Outcome, Seen, What, Wrong};
use crate::chaos::history::{Said, nanos};

pub(super) fn check(life: &Life<'_>, wrong: &mut Wrong) {
    one_state_for_each_revision(life, wrong);
    nothing_goes_back(life, wrong);
    the_first_end_stays(life, wrong);
    what_was_asked_for_is_kept(life, wrong);
    what_was_said_is_the_result(life, wrong);
}

fn one_state_for_each_revision(life: &Life<'_>, wrong: &mut Wrong) {
    let mut known: BTreeMap<u64, &Seen<'_>> = BTreeMap::new();
    for seen in &life.seen {
        let first = known.entry(seen.revision).or_insert(seen);
        if shown(first.state) != shown(seen.state) {
            wrong.say("one revision has two states", &[first.call, seen.call]);
        }
    }
    for (first, second) in known.values().zip(known.values().skip(1)) {
        let (before, after) = (first.state, second.state);
        let same = before.created_at == after.created_at && before.kind == after.kind;
        if !same || nanos(after.modified_at) < nanos(before.modified_at) {
            wrong.say("what never changes changed, or modified_at went back", &[first.call, second.call]);
        }
        if after.attempt > before.attempt + u32::try_from(second.revision - first.revision).unwrap_or(u32::MAX) {
            wrong.say("more attempts than changes", &[first.call, second.call]);
        }
    }
}

/// What is the same in every view.
fn shown(state: &Operation) -> Operation {
    Operation { input: None, events: Vec::new(), unattended: false, ..state.clone() }
}

/// Who asks after another was answered is told nothing older.
fn nothing_goes_back(life: &Life<'_>, wrong: &mut Wrong) {
    let gone = life.asked.iter().filter(|call| call.found_it_gone()).map(|call| (*call, u64::MAX));
    let mut told: Vec<(&Call, u64)> = life.seen.iter().map(|seen| (seen.call, seen.revision)).chain(gone).collect();
    let mut by_end = told.clone();
    by_end.sort_by_key(|(call, _)| call.ended);
    told.sort_by_key(|(call, _)| call.sent);
    let mut ended = by_end.into_iter().peekable();
    let mut newest: Option<(&Call, u64)> = None;
    for (call, revision) in told {
        while let Some(earlier) = ended.next_if(|(earlier, _)| earlier.before(call)) {
            newest = newest.filter(|(_, known)| *known >= earlier.1).or(Some(earlier));
        }
        let Some((earlier, known)) = newest else { continue };
        if revision < known {
            wrong.say("somebody was told something older after something newer", &[earlier, call]);
        } else if revision == known && matches!(call.outcome, Outcome::Claimed(_)) {
            wrong.say("a claim changed nothing", &[earlier, call]);
        }
    }
}

/// The first terminal write wins, and nothing comes behind it.
fn the_first_end_stays(life: &Life<'_>, wrong: &mut Wrong) {
    let Some(end) = life.seen.iter().filter(|seen| seen.state.done).min_by_key(|seen| seen.revision) else { return };
    if end.state.result.is_none() {
        wrong.say("an operation ended without a result", &[end.call]);
    }
    for seen in life.seen.iter().filter(|seen| seen.revision > end.revision || seen.state.done) {
        if seen.revision > end.revision || seen.state.result != end.state.result {
            wrong.say("an operation went on after its end, or ended twice", &[end.call, seen.call]);
        }
    }
}

/// A cancel that was acknowledged stays requested, a failure that was shown stays shown.
fn what_was_asked_for_is_kept(life: &Life<'_>, wrong: &mut Wrong) {
    let first = |which: fn(&Seen<'_>) -> bool| life.seen.iter().filter(|s| which(s)).min_by_key(|s| s.revision);
    let cancelled = first(|seen| matches!(seen.call.what, What::Cancel { .. }));
    let failing = first(|seen| !seen.state.done && error(seen.state).is_some());
    for seen in &life.seen {
        if let Some(first) = cancelled.filter(|first| seen.revision >= first.revision)
            && !seen.state.done
            && seen.state.cancel_requested.is_none()
        {
            wrong.say("a cancel was forgotten", &[first.call, seen.call]);
        }
        if let Some(first) = failing.filter(|first| seen.revision >= first.revision)
            && error(seen.state) != error(first.state)
        {
            wrong.say("a failure that was shown was withdrawn", &[first.call, seen.call]);
        }
    }
}

/// Who ended an operation is told that it has ended so.
fn what_was_said_is_the_result(life: &Life<'_>, wrong: &mut Wrong) {
    for Seen { call, state, .. } in &life.seen {
        let holds = match &call.what {
            What::Complete(_, Said::Response(response)) => state.result == Some(Shown::Response(response.clone())),
            What::Complete(_, Said::Error(problem)) => error(state) == Some(problem),
            What::Complete(_, Said::Cancelled) => error(state).is_some(),
            What::ReportFailure(_, problem) => state.done || error(state) == Some(problem),
            What::Cancel { .. } => state.done || state.cancel_requested.is_some(),
            _ => continue,
        };
        let ends = matches!(call.what, What::Complete(..));
        if !holds || (ends && !state.done) {
            wrong.say("what was acknowledged is not so", &[call]);
        }
    }
}

fn error(state: &Operation) -> Option<&Problem> {
    match &state.result {
        Some(Shown::Error(problem)) => Some(problem),
        _ => None,
    }
}
