//! Who waits is woken, and is not kept.

use std::time::Duration;

use super::{Call, Life, Outcome, What, Wrong};

pub(super) fn check(life: &Life<'_>, wrong: &mut Wrong) {
    let end = life.seen.iter().filter(|seen| seen.state.done).map(|seen| seen.call).min_by_key(|call| call.ended);
    for &call in &life.asked {
        let What::Wait { timeout, .. } = call.what else { continue };
        if call.took() > timeout + STALL_MAX {
            wrong.say("a wait did not end at its deadline", &[call]);
        }
        let not_done = matches!(&call.outcome, Outcome::Operation(state) if !state.done);
        if not_done && call.took() + EARLY_MAX < timeout {
            wrong.say("a wait ended early, and for nothing", &[call]);
        }
        if let Some(end) = end {
            asleep(call, end, not_done, wrong);
        }
    }
}

/// When the operation had ended for so long that a server that stood still has looked at it again.
fn asleep(call: &Call, end: &Call, not_done: bool, wrong: &mut Wrong) {
    let waited_behind_it = call.ended.saturating_sub(end.ended.max(call.sent));
    let missed_it = not_done && waited_behind_it > MISSED_MAX;
    if waited_behind_it > ASLEEP_MAX || missed_it {
        wrong.say(&format!("a waiter slept for {waited_behind_it:?} behind the end"), &[end, call]);
    }
}

/// A server stands still for 4 s at most, and the database may have to begin anew.
const STALL_MAX: Duration = Duration::from_secs(10);
/// A server looks at what is waited for every 5 s, whatever it is told, and stands still for 4 s at most.
const ASLEEP_MAX: Duration = Duration::from_secs(10);
/// At its deadline a wait looks once more, and its answer may stand still.
const MISSED_MAX: Duration = Duration::from_secs(6);
/// A server's clock has ticks.
const EARLY_MAX: Duration = Duration::from_millis(20);
