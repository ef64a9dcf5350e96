//! There is one lease at a time, and the newest counts.

use std::time::Duration;

use super::{Call, Granted, Life, Outcome, Wrong};
use crate::chaos::history::nanos;

pub(super) fn check(life: &Life<'_>, wrong: &mut Wrong) {
    tokens_grow(life, wrong);
    for (n, newer) in life.grants.iter().enumerate() {
        for older in life.grants[..n].iter().filter(|older| older.token() < newer.token()) {
            an_older_lease_counts_no_more(life, older, newer, wrong);
            no_two_leases_are_live(life, older, newer, wrong);
        }
    }
}

impl Granted<'_> {
    fn token(&self) -> u64 {
        self.grant.lease.token
    }

    fn revision(&self) -> u64 {
        self.grant.operation.revision.parse().expect("a revision is a number")
    }
}

fn tokens_grow(life: &Life<'_>, wrong: &mut Wrong) {
    for (older, newer) in life.grants.iter().zip(life.grants.iter().skip(1)) {
        if older.token() == newer.token() {
            wrong.say("a lease was given twice", &[older.call, newer.call]);
        } else if newer.revision() <= older.revision() || newer.call.before(older.call) {
            wrong.say("a token did not grow", &[older.call, newer.call]);
        }
    }
}

/// What was asked with an older lease after a newer one had been given is refused.
fn an_older_lease_counts_no_more(life: &Life<'_>, older: &Granted<'_>, newer: &Granted<'_>, wrong: &mut Wrong) {
    for call in life.with_lease(older.token()) {
        let late = match &call.outcome {
            Outcome::Operation(state) => {
                let revision: u64 = state.revision.parse().expect("a revision is a number");
                newer.call.before(call) || revision >= newer.revision()
            }
            Outcome::Kept { .. } => newer.call.before(call),
            _ => false,
        };
        if late {
            wrong.say("a lease counted although a newer one had been given", &[newer.call, call]);
        }
    }
}

/// The older lease had ended when the newer one was given: by the clients' clock, for it cannot have been given before
/// it was asked for, and by the database's.
fn no_two_leases_are_live(life: &Life<'_>, older: &Granted<'_>, newer: &Granted<'_>, wrong: &mut Wrong) {
    if life.may_be_given_up(older.token(), newer.call) {
        return;
    }
    let mut live_until = older.call.sent + older.grant.duration;
    let mut expires_at = older.grant.expires_at;
    let mut told: &Call = older.call;
    for call in life.with_lease(older.token()) {
        if let Outcome::Kept { remaining, expires_at: end } = &call.outcome {
            if call.sent + *remaining > live_until {
                (live_until, told) = (call.sent + *remaining, call);
            }
            expires_at = expires_at.max(*end);
        }
    }
    if newer.call.ended + ROUNDING < live_until {
        let left = live_until.saturating_sub(newer.call.ended);
        wrong.say(&format!("two leases were live at once, for {left:?} at least"), &[told, newer.call]);
    }
    if nanos(newer.grant.operation.modified_at) < expires_at {
        wrong.say("a lease was given before the stored end of the one before", &[told, newer.call]);
    }
}

/// The database's clock and that of the clients tick alike, but for what a slew makes of a few seconds.
const ROUNDING: Duration = Duration::from_millis(20);
