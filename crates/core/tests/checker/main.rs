//! An exhaustive check of the rules: every state that a small world can reach, every command in it,
//! every invariant of CONTRACT §3 at every step. And its negative control: mutants of the rules,
//! each of which must break an invariant.

mod alphabet;
mod effects;
mod explore;
mod invariants;
mod mutants;
mod oracle;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};

use operond_core::{Command, Decision, Now, Operation, decide};

use crate::explore::{Rules, Walked, explore};
use crate::invariants::Invariant;
use crate::world::Setup;

struct RealRules;

impl Rules for RealRules {
    fn decide(&self, op: &Operation, command: &Command, now: Now) -> Decision {
        decide(op, command, now)
    }
}

#[test]
fn every_reachable_state_keeps_every_invariant() {
    let setups = Setup::all();
    let next = AtomicUsize::new(0);
    let walk = || {
        let mut total = Walked::default();
        while let Some(setup) = setups.get(next.fetch_add(1, Ordering::Relaxed)) {
            let walked = explore(&RealRules, setup).unwrap_or_else(|found| {
                next.store(setups.len(), Ordering::Relaxed);
                panic!("{setup:?}: {found:#?}")
            });
            total.states += walked.states;
            total.decisions += walked.decisions;
        }
        total
    };
    let total = std::thread::scope(|scope| {
        let threads = [scope.spawn(walk), scope.spawn(walk)];
        threads.map(|thread| thread.join().expect("a violation was printed above"))
    });
    let states: usize = total.iter().map(|walked| walked.states).sum();
    let decisions: usize = total.iter().map(|walked| walked.decisions).sum();
    println!("{states} states, {decisions} decisions, {} setups", setups.len());
    assert!(states > 100_000, "the walk has become too short to mean much: {states} states");
}

#[test]
fn every_mutant_breaks_the_invariant_that_guards_its_rule() {
    for mutant in mutants::all() {
        let name = mutant.name;
        let found = explore(&mutant, &mutant.setup).expect_err(name);
        assert_eq!(found.violation.invariant, mutant.breaks, "{name}: {found:#?}");
        println!("{name}: {:?} after {} steps: {}", mutant.breaks, found.path.len(), found.violation.detail);
    }
}

#[test]
fn every_invariant_has_caught_a_mutant() {
    let caught: Vec<Invariant> = mutants::all().iter().map(|mutant| mutant.breaks).collect();
    let idle: Vec<_> = Invariant::ALL.iter().filter(|invariant| !caught.contains(invariant)).collect();
    // Which state is shown is no decision of `decide`: `rules.rs` checks it with operations made up.
    assert_eq!(idle, [&Invariant::ShownState]);
}
