//! The memory store is a store, as the suite has it.

use std::path::Path;
use std::sync::Arc;

use operond_core::Timestamp;
use operond_store::conformance::mutants::Mutant;
use operond_store::conformance::{self, Differential, Subject};
use operond_store::{ManualClock, MemoryStore, Store};

struct Memory;

impl Subject for Memory {
    fn open(&mut self, clock: Arc<ManualClock>) -> Arc<dyn Store> {
        Arc::new(MemoryStore::new(clock))
    }
}

conformance::suite!(Memory);
// What a store in memory keeps can be opened again here only: so the cases are seen to pass.
conformance::restart_suite!(Mutant::new(None));

#[test]
fn two_memory_stores_agree() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_750_000_000_000_000)));
    let [left, right] = [MemoryStore::new(Arc::clone(&clock)), MemoryStore::new(Arc::clone(&clock))];
    let history = Differential::from_env(20_000).run(&clock, &left, &right);
    assert!(history.operations() > 1_000, "{} operations", history.operations());
}

/// A case that is written and not listed would never be run.
#[test]
fn every_case_is_in_a_suite() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
    let suites = std::fs::read_to_string(folder.join("mod.rs")).unwrap();
    let mut cases = 0;
    for entry in folder.read_dir().unwrap() {
        let source = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let ends = ["Subject", "Archived"].map(|kind| format!("(subject: &mut dyn {kind}) {{"));
        let is_case = |line: &&str| line.starts_with("pub fn ") && ends.iter().any(|end| line.ends_with(end));
        for line in source.lines().filter(is_case) {
            let name = line.trim_start_matches("pub fn ").split('(').next().unwrap();
            assert!(suites.lines().any(|listed| listed.trim() == name), "{name}");
            cases += 1;
        }
    }
    assert!(cases > 100, "{cases} cases");
}
