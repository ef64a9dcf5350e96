//! Judges a history by the rules of CONTRACT §3, as far as clients can see them.
//!
//! Every change of an operation has a revision of its own, one higher than the change before, and who reads is told
//! it. So the order in which the changes of an operation took effect is known, and whether its history is
//! linearizable can be told without a search: the order must agree with the order of calls that did not overlap, the
//! state of a revision must be the same to everybody, and each answer must be one that the rules give in some state
//! that the operation had between the call's sending and its end. Calls whose outcome is not known may have taken
//! effect, or not; they excuse what they may have caused.

mod leases;
mod refusals;
mod states;
mod tests;
mod waits;

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use operond_proto::operond::v1::Operation;

use super::clients::ANSWER_MAX;
use super::history::{Call, Grant, Outcome, What};

/// What is wrong with a history; nothing, if it keeps the rules.
pub(crate) fn check(calls: &[Call]) -> Vec<String> {
    let mut wrong = Wrong(Vec::new());
    for call in calls {
        if call.took() >= ANSWER_MAX {
            wrong.say("a call was not answered in time", &[call]);
        }
    }
    keys(calls, &mut wrong);
    for life in Life::all(calls).values() {
        states::check(life, &mut wrong);
        leases::check(life, &mut wrong);
        refusals::check(life, &mut wrong);
        waits::check(life, &mut wrong);
    }
    wrong.0
}

/// Operations that had not ended when their clients looked last: what remains when nobody ends them.
pub(crate) fn unfinished(calls: &[Call]) -> Vec<String> {
    let open = |life: &&Life<'_>| {
        let last = life.seen.iter().max_by_key(|seen| seen.revision);
        !life.is_known_gone() && last.is_none_or(|last| !last.state.done)
    };
    Life::all(calls).values().filter(open).map(|life| life.id.to_owned()).collect()
}

/// All that is known of one operation.
struct Life<'h> {
    id: &'h str,
    /// The states that somebody was told, in the order in which they were.
    seen: Vec<Seen<'h>>,
    /// The leases that somebody was told, in the order of their tokens.
    grants: Vec<Granted<'h>>,
    /// The calls that name it, in the order in which they ended.
    asked: Vec<&'h Call>,
    /// There were claims of which nobody knows what they gave.
    unknown_claims: Rc<[&'h Call]>,
}

/// A state, and the call that was told it.
struct Seen<'h> {
    call: &'h Call,
    state: &'h Operation,
    revision: u64,
}

/// A lease, and the call that was told it.
struct Granted<'h> {
    call: &'h Call,
    grant: &'h Grant,
}

/// What was found.
struct Wrong(Vec<String>);

impl Wrong {
    fn say(&mut self, what: &str, calls: &[&Call]) {
        let calls: Vec<String> = calls.iter().map(|call| format!("\n    {call}")).collect();
        self.0.push(format!("{what}{}", calls.concat()));
    }
}

impl Call {
    fn took(&self) -> Duration {
        self.ended.saturating_sub(self.sent)
    }

    /// It had ended when the other began.
    fn before(&self, other: &Self) -> bool {
        self.ended <= other.sent
    }

    /// It can have taken effect before the other ended.
    fn may_precede(&self, other: &Self) -> bool {
        self.sent < other.ended
    }

    /// It was not refused: it took effect, or may have.
    fn may_hold(&self) -> bool {
        !matches!(self.outcome, Outcome::Refused { .. })
    }

    /// It said that the operation is gone.
    fn found_it_gone(&self) -> bool {
        let deleted = matches!(self.outcome, Outcome::Refused { reason: "DELETED", .. });
        deleted || matches!((&self.what, &self.outcome), (What::Delete { .. }, Outcome::Deleted))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, server, sent, ended, what, outcome } = self;
        write!(f, "{sent:.3?}–{ended:.3?} client {client} at server {server}: {what:?} → ")?;
        for operation in outcome.states() {
            let (id, revision, state) = (&operation.id, &operation.revision, operation.state());
            write!(f, "{id} revision {revision} {} ", state.as_str_name())?;
        }
        match outcome {
            Outcome::Operation(operation) => write!(f, "{:?}", operation.result),
            Outcome::Claimed(grants) => write!(f, "{:?}", grants.iter().map(|g| g.lease.token).collect::<Vec<_>>()),
            other => write!(f, "{other:?}"),
        }
    }
}

impl<'h> Life<'h> {
    /// The operations of a history by their ids.
    fn all(calls: &'h [Call]) -> BTreeMap<&'h str, Self> {
        let unknown = |call: &&Call| matches!(call.what, What::Claim) && call.outcome.is_unknown();
        let unknown_claims: Rc<[&Call]> = calls.iter().filter(unknown).collect();
        let mut lives: BTreeMap<&str, Self> = BTreeMap::new();
        let new = |id| {
            let unknown_claims = Rc::clone(&unknown_claims);
            Self { id, seen: Vec::new(), grants: Vec::new(), asked: Vec::new(), unknown_claims }
        };
        let mut sorted: Vec<&Call> = calls.iter().collect();
        sorted.sort_by_key(|call| call.ended);
        for call in sorted {
            if let Some(id) = call.what.id() {
                lives.entry(id).or_insert_with(|| new(id)).asked.push(call);
            }
            for state in call.outcome.states() {
                let revision = state.revision.parse().expect("a revision is a number");
                let life = lives.entry(&state.id).or_insert_with(|| new(&state.id));
                life.seen.push(Seen { call, state, revision });
            }
            if let Outcome::Claimed(grants) = &call.outcome {
                for grant in grants {
                    let life = lives.get_mut(grant.lease.id.as_str()).expect("its state was seen");
                    life.grants.push(Granted { call, grant });
                }
            }
        }
        lives.values_mut().for_each(|life| life.grants.sort_by_key(|granted| granted.grant.lease.token));
        lives
    }

    fn is_known_gone(&self) -> bool {
        self.asked.iter().any(|call| call.found_it_gone())
    }

    /// Calls that name the operation and this lease of it.
    fn with_lease(&self, token: u64) -> impl Iterator<Item = &'h Call> {
        self.asked.iter().copied().filter(move |call| call.what.lease().is_some_and(|lease| lease.token == token))
    }

    /// The lease of this token may have been given up before the end of `call`.
    fn may_be_given_up(&self, token: u64, call: &Call) -> bool {
        self.with_lease(token).any(|given_up| {
            let gives_up = matches!(given_up.what, What::Retry(_) | What::Release(_));
            gives_up && given_up.may_hold() && given_up.may_precede(call)
        })
    }
}

/// An idempotency key is for one operation.
fn keys(calls: &[Call], wrong: &mut Wrong) {
    let mut first: BTreeMap<&str, (&str, &Call)> = BTreeMap::new();
    for call in calls {
        let (What::Create { key: Some(key) }, Outcome::Operation(operation)) = (&call.what, &call.outcome) else {
            continue;
        };
        let (id, earlier) = first.entry(key).or_insert((&operation.id, call));
        if *id != operation.id {
            wrong.say(&format!("the key {key} stands for two operations"), &[earlier, call]);
        }
    }
    for call in calls.iter().filter(|call| matches!(call.what, What::Create { .. })) {
        match (&call.what, &call.outcome) {
            (What::Create { key: Some(key) }, Outcome::Refused { reason: "OPERATION_GONE", .. }) => {
                let deletes = |delete: &Call| {
                    let named = delete.what.id() == first.get(key.as_str()).map(|(id, _)| *id);
                    named && matches!(delete.what, What::Delete { .. }) && delete.may_hold() && delete.may_precede(call)
                };
                if !calls.iter().any(deletes) {
                    wrong.say("a key's operation is said to be gone, and nobody deleted it", &[call]);
                }
            }
            (_, Outcome::Refused { .. }) => wrong.say("a create was refused", &[call]),
            _ => {}
        }
    }
}
