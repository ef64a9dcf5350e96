//! What was acknowledged, and what else may have happened.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use operond_client::proto::complete_request;
use operond_client::{Error, Operation, Outcome};
use tokio::time::Instant;

use crate::call::{Answer, is_unanswered};

/// The book, for whoever writes into it.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Book>);

impl Ledger {
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
pub(crate) struct Book {
    /// By id: whatever anybody has heard of.
    pub(crate) operations: HashMap<String, Known>,
    /// Promises that were broken while the load was on, in words.
    pub(crate) broken: Vec<String>,
    /// Since the last `hold`.
    pub(crate) round: Round,
    /// Writes that were acknowledged and that nothing of is kept here: claims, heartbeats, what was given back.
    pub(crate) passing: usize,
    /// Calls that failed although nobody had broken anything, by what was said.
    pub(crate) calm_failures: HashMap<String, usize>,
    /// The database is being broken, or has not recovered.
    pub(crate) stormy: bool,
    leases: HashSet<String>,
    recent: VecDeque<String>,
    done: VecDeque<String>,
}

/// What is known of one operation.
#[derive(Default)]
pub(crate) struct Known {
    /// The description with which its create was acknowledged.
    pub(crate) created: Option<String>,
    /// It was created under a key: there is no other of its description.
    pub(crate) keyed: bool,
    /// Its failure was acknowledged: no other result may be its result.
    pub(crate) failed: Option<Outcome>,
    /// A result that was acknowledged, or that somebody who waited was told.
    pub(crate) ended: Option<Outcome>,
    /// Responses that were handed in, acknowledged or not.
    pub(crate) offered: Vec<Outcome>,
    /// A request to cancel it was acknowledged while it was not done.
    pub(crate) cancelled: bool,
    /// Somebody tried to delete it.
    pub(crate) delete_tried: bool,
    /// He was told that he had.
    pub(crate) deleted: bool,
}

/// What came of calls, by server.
#[derive(Default)]
pub(crate) struct Round {
    /// When writes were acknowledged, and when the calls had begun.
    pub(crate) acknowledged: [Vec<Call>; 2],
    /// When reads were answered.
    pub(crate) read: [Vec<Call>; 2],
    pub(crate) refused: usize,
    pub(crate) unanswered: usize,
}

/// A call that was answered.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) begun: Instant,
    pub(crate) answered: Instant,
}

impl Book {
    /// A new round; what came before it is forgotten.
    pub(crate) fn begin_round(&mut self) {
        self.round = Round::default();
        self.stormy = true;
    }

    /// Notes how a write was answered.
    pub(crate) fn wrote<T>(&mut self, server: usize, begun: Instant, answer: &Answer<T>) {
        match answer {
            Ok(_) => self.round.acknowledged[server].push(Call { begun, answered: Instant::now() }),
            Err(error) => self.failed_to("write", error),
        }
    }

    /// Notes how a read was answered.
    pub(crate) fn read<T>(&mut self, server: usize, begun: Instant, answer: &Answer<T>) {
        match answer {
            Ok(_) => self.round.read[server].push(Call { begun, answered: Instant::now() }),
            Err(error) => self.failed_to("read", error),
        }
    }

    fn failed_to(&mut self, what: &str, error: &Error) {
        match error {
            error if is_unanswered(error) => self.round.unanswered += 1,
            Error::Unreachable { .. } => self.round.refused += 1,
            _ => return,
        }
        if !self.stormy {
            *self.calm_failures.entry(format!("{what}: {error}")).or_default() += 1;
        }
    }

    pub(crate) fn both_write_since(&self, since: Instant) -> bool {
        self.round.acknowledged.iter().all(|calls| calls.iter().rev().any(|call| call.begun >= since))
    }

    /// A create was acknowledged.
    pub(crate) fn created(&mut self, operation: &Operation, description: String, keyed: bool) {
        let known = self.known(&operation.id);
        known.created = Some(description);
        known.keyed = keyed;
    }

    /// Anybody may read and cancel it.
    pub(crate) fn is_common(&mut self, id: &str) {
        remember(&mut self.recent, id);
    }

    /// A lease was given.
    pub(crate) fn leased(&mut self, lease: &str) {
        self.passing += 1;
        // Behind the last dot is the secret, before it the operation and the lease's number.
        let number = lease.rsplit_once('.').map_or(lease, |(number, _secret)| number);
        if !self.leases.insert(number.to_owned()) {
            self.broken.push(format!("the lease {number} was given twice"));
        }
    }

    /// A result is about to be handed in.
    pub(crate) fn offers(&mut self, id: &str, outcome: &complete_request::Outcome) {
        if let complete_request::Outcome::Response(response) = outcome {
            self.known(id).offered.push(Outcome::Response(response.clone()));
        }
    }

    /// The operation was seen to be done, by who ended it or by who waited.
    pub(crate) fn ended(&mut self, operation: &Operation) {
        let Some(result) = operation.result.clone().filter(|_| operation.done) else {
            self.broken.push(format!("{} is said to be done, and has no result", operation.id));
            return;
        };
        let known = self.known(&operation.id);
        match &known.ended {
            Some(before) if *before != result => {
                let text = format!("{} had the result {before:?} and then {result:?}", operation.id);
                self.broken.push(text);
            }
            Some(_) => {}
            None => {
                known.ended = Some(result);
                remember(&mut self.done, &operation.id);
            }
        }
    }

    /// Something that was acknowledged is not there.
    pub(crate) fn missed(&mut self, id: &str, error: &Error) {
        if !self.operations.get(id).is_some_and(|known| known.delete_tried) {
            self.broken.push(format!("{id} was not found: {error}"));
        }
    }

    pub(crate) fn known(&mut self, id: &str) -> &mut Known {
        self.operations.entry(id.to_owned()).or_default()
    }

    /// One of those that were created last.
    pub(crate) fn recent(&self, dice: impl FnOnce(usize) -> usize) -> Option<String> {
        (!self.recent.is_empty()).then(|| self.recent[dice(self.recent.len())].clone())
    }

    /// One of those that ended last.
    pub(crate) fn done(&self, dice: impl FnOnce(usize) -> usize) -> Option<String> {
        (!self.done.is_empty()).then(|| self.done[dice(self.done.len())].clone())
    }
}

fn remember(ids: &mut VecDeque<String>, id: &str) {
    if ids.len() == RECENT_MAX {
        ids.pop_front();
    }
    ids.push_back(id.to_owned());
}

const RECENT_MAX: usize = 1000;
