//! Filters that nobody would write: what was kept of earlier finds, and what becomes of it and of
//! sensible ones by chance.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use operond_core::{Any, NewOperation, Operation, Spec, Timestamp, create};

use super::filters::{self, Lengths};
use super::make::{any, id, kind, new_operation};
use super::random::Random;
use crate::filter::{Face, Filter};

/// Inputs made up anew, unless `OPEROND_FUZZ_INPUTS` says otherwise.
const INPUTS: usize = 200_000;
/// A thousand characters take microseconds: whoever needs so long is not linear.
const LONGEST: Duration = Duration::from_secs(2);

#[test]
fn every_text_is_a_filter_or_is_refused_at_a_place_in_it() {
    let read = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number in OPEROND_…"));
    let seed = read("OPEROND_SEED").unwrap_or_else(|| getrandom::u64().unwrap());
    let inputs = read("OPEROND_FUZZ_INPUTS").map_or(INPUTS, |inputs| usize::try_from(inputs).unwrap());
    println!("OPEROND_SEED={seed} OPEROND_FUZZ_INPUTS={inputs}");
    let corpus = corpus();
    let operation = operation();
    for text in &corpus {
        check(text, &operation);
    }
    let mut random = Random::new(seed);
    let accepted = (0..inputs).filter(|_| check(&made_up(&mut random, &corpus), &operation)).count();
    assert!((inputs / 20..inputs / 20 * 19).contains(&accepted), "{accepted} of {inputs} are filters");
    println!("{accepted} of {inputs} are filters");
}

/// Says whether it is a filter.
#[expect(clippy::disallowed_methods, reason = "what is measured is the time that it really takes")]
fn check(text: &str, operation: &Operation) -> bool {
    for face in [Face::Native, Face::Google] {
        let start = Instant::now();
        let filter = Filter::parse(text, face);
        assert!(start.elapsed() < LONGEST, "{text:?} took {:?}", start.elapsed());
        match filter {
            Ok(filter) => {
                let matches = filter.matches(operation, &Lengths);
                assert!(filter.range().contains(operation) || !matches, "{text:?}");
                assert!(matches || !filter.range().contains(operation) || !filter.range().whole, "{text:?}");
            }
            Err(error) => {
                assert!((1..=text.chars().count() + 1).contains(&error.position), "{text:?}: {error}");
                assert!(!error.problem.is_empty() && error.problem.len() < 400, "{text:?}: {error}");
            }
        }
    }
    Filter::parse(text, Face::Native).is_ok()
}

fn corpus() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/filter");
    let files = folder.read_dir().unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let mut texts: Vec<_> = files.collect();
    // Folders have no order, and a seed must mean the same everywhere.
    texts.sort();
    assert!(texts.len() > 30, "{} texts", texts.len());
    texts
}

fn made_up(random: &mut Random, corpus: &[String]) -> String {
    let mut text: Vec<char> = sensible(random, corpus).chars().collect();
    for _ in 0..random.below(4) {
        mutate(random, &mut text, corpus);
    }
    text.into_iter().collect()
}

fn sensible(random: &mut Random, corpus: &[String]) -> String {
    if random.one_in(2) { filters::filter(random) } else { corpus[random.below(corpus.len())].clone() }
}

fn mutate(random: &mut Random, text: &mut Vec<char>, corpus: &[String]) {
    let from = random.below(text.len() + 1);
    let to = (from + random.below(8)).min(text.len());
    let piece: Vec<char> = match random.below(5) {
        0 => Vec::new(),
        1 => text[from..to].repeat(1 + random.below(50)),
        2 => sensible(random, corpus).chars().collect(),
        3 => random.pick(&PIECES).chars().collect(),
        _ => vec![char::from_u32(u32::try_from(random.below(0x300)).unwrap()).unwrap()],
    };
    let to = if random.one_in(2) { from } else { to };
    text.splice(from..to, piece);
}

fn operation() -> Operation {
    let spec = Spec { description: operond_core::Description::parse("d", "x").unwrap(), ..Spec::new(kind("a")) };
    let metadata: Option<Any> = Some(any("twenty bytes, perhaps"));
    let new = NewOperation { metadata, ..new_operation(spec) };
    let at = Timestamp::from_micros(1_750_000_000_000_000);
    create(&Arc::new(new), id("op1"), at)
}

const PIECES: [&str; 32] = [
    " ",
    "(",
    ")",
    "-",
    "\"",
    "'",
    "\\",
    ".",
    "*",
    ":",
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    " AND ",
    " OR ",
    " NOT ",
    ",",
    "!",
    "\0",
    "\n",
    "labels.",
    "metadata.",
    "@type",
    "error",
    "true",
    "state:",
    "kind=a",
    "1e9",
    "\u{10ffff}",
];
