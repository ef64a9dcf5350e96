//! Filters made up at random, about what scripts make up.

use operond_core::Any;

use super::random::Random;
use crate::filter::{Decoded, Payloads, Value};

/// A filter of the grammar: mostly one that finds something, of every field and comparator, nested
/// and negated.
pub(super) fn filter(random: &mut Random) -> String {
    if random.one_in(12) { String::new() } else { expression(random, 3) }
}

fn expression(random: &mut Random, depth: usize) -> String {
    if depth == 0 || random.one_in(3) {
        return restriction(random);
    }
    let joint = random.pick(&[" AND ", " OR ", " "]);
    let terms: Vec<_> = (0..=random.below(3)).map(|_| term(random, depth - 1)).collect();
    terms.join(joint)
}

fn term(random: &mut Random, depth: usize) -> String {
    let inner =
        if depth > 0 && random.one_in(3) { format!("({})", expression(random, depth)) } else { restriction(random) };
    format!("{}{inner}", random.pick(&["", "", "", "NOT ", "-"]))
}

fn restriction(random: &mut Random) -> String {
    match random.below(20) {
        0..4 => format!("state {} {}", random.pick(&EITHER), random.pick(&operond_core::State::ALL).as_str()),
        4..6 => format!("done {} {}", random.pick(&EITHER), random.pick(&["true", "false"])),
        6..9 => text(random, "kind", &["a", "b", "B", "ж", "'*'", "Ж*", "zzz"]),
        9 => text(random, "tenant", &["a", "b*", "ж"]),
        10 => text(random, "created_by", &["anonymous", "*mous", "nobody"]),
        11 => text(random, "id", &["op", "op0*", "*a", "*1*"]),
        12 => text(random, "description", &["''", "'*'", "x"]),
        13 => text(random, "error.message", &["'it broke'", "worker*", "'*e*'"]),
        14 => format!("error.code {} {}", random.pick(&COMPARATORS), random.pick(&["1", "5", "UNAVAILABLE", "9"])),
        15 => random.pick(&["error:*", "response:*", "metadata:*", "finished_at:*", "started_at:*", "labels:*"]).into(),
        16 => {
            let member = random.pick(&["metadata.@type", "response.@type"]);
            text(random, member, &["google.protobuf.StringValue", "'*Value'", "x.Other", "type.googleapis.com/*"])
        }
        17 => {
            let member = random.pick(&["metadata.x", "response.x", "metadata.y", "labels.team"]);
            text(random, member, &["1", "'*'", "true", "20", "7.5"])
        }
        _ => instant(random),
    }
}

fn text(random: &mut Random, field: &str, values: &[&str]) -> String {
    format!("{field} {} {}", random.pick(&COMPARATORS), random.pick(values))
}

/// Around the time that scripts begin at, from hours to weeks.
fn instant(random: &mut Random) -> String {
    let field = random.pick(&["created_at", "createdAt", "modified_at", "started_at", "finished_at"]);
    let (day, hour, minute) = (14 + random.below(16), random.below(24), random.below(60));
    let fraction = random.pick(&["", ".5", ".123456", ".1234567"]);
    format!("{field} {} 2025-06-{day:02}T{hour:02}:{minute:02}:00{fraction}Z", random.pick(&COMPARATORS[1..]))
}

const COMPARATORS: [&str; 7] = [":", "=", "!=", "<", "<=", ">", ">="];
const EITHER: [&str; 3] = ["=", "!=", ":"];

/// Reads every payload as a message with one member `x`, a number of bytes.
#[derive(Debug)]
pub(super) struct Lengths;

struct Length(u64);

impl Payloads for Lengths {
    fn decode(&self, payload: &Any) -> Option<Box<dyn Decoded>> {
        Some(Box::new(Length(payload.value.len() as u64)))
    }
}

impl Decoded for Length {
    fn values(&self, path: &[Box<str>]) -> Vec<Value> {
        if *path == ["x".into()] { vec![Value::Uint(self.0)] } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use operond_core::{Operation, Timestamp};

    use super::*;
    use crate::clock::ManualClock;
    use crate::conformance::block_on;
    use crate::conformance::make::batch;
    use crate::conformance::script::Script;
    use crate::filter::{Face, Filter};
    use crate::{MemoryStore, Store};

    /// Operations at every turn of their lives.
    fn operations(script: &mut Script) -> Vec<Arc<Operation>> {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_750_000_000_000_000)));
        let store = MemoryStore::new(Arc::clone(&clock));
        let mut seen = Vec::new();
        for _ in 0..200 {
            clock.advance(script.pause());
            let requests = (0..script.random.below(20)).map(|_| script.request()).collect();
            for changed in block_on(store.update(batch(requests))).unwrap().changed {
                script.remember(&changed.operation);
                seen.push(changed.operation);
            }
        }
        seen
    }

    #[test]
    fn a_range_holds_all_that_its_filter_means_and_nothing_else_when_it_is_whole() {
        let seed = getrandom::u64().unwrap();
        let mut script = Script::new(seed);
        let operations = operations(&mut script);
        let (mut meant, mut whole, mut narrowed) = (0, 0, 0);
        for _ in 0..20_000 {
            let text = filter(&mut script.random);
            let face = script.random.pick(&[Face::Native, Face::Google]);
            let filter = Filter::parse(&text, face).unwrap();
            let negation =
                if text.is_empty() { filter.clone() } else { Filter::parse(&format!("-({text})"), face).unwrap() };
            whole += u32::from(filter.range().whole);
            for _ in 0..10 {
                let operation = &operations[script.random.below(operations.len())];
                let matches = filter.matches(operation, &Lengths);
                let contained = filter.range().contains(operation);
                assert!(contained || !matches, "seed {seed}: {text} means {operation:?}");
                assert!(matches || !contained || !filter.range().whole, "seed {seed}: {text} leaves {operation:?} out");
                let opposite = negation.matches(operation, &Lengths);
                assert!(text.is_empty() || opposite != matches, "seed {seed}: -({text}) and {operation:?}");
                assert!(
                    negation.range().contains(operation) || !opposite,
                    "seed {seed}: -({text}) means {operation:?}"
                );
                meant += u32::from(matches);
                narrowed += u32::from(!contained);
            }
        }
        assert!(
            meant > 20_000 && whole > 1_000 && narrowed > 20_000,
            "{meant} meant, {whole} whole, {narrowed} left out"
        );
    }
}
