//! A target's run: what is kept, then what is made up.

use std::collections::BTreeMap;
use std::path::Path;

use crate::input::Input;
use crate::judge::{Verdict, judge};
use crate::random::Random;
use crate::rig::{Answer, Rig, UNSENDABLE};

pub(crate) trait Target {
    /// Where its corpus is, under `tests/corpus`.
    const FOLDER: &'static str;

    /// A server with little in it.
    fn begin(&mut self) -> Rig;

    /// What a file of the corpus stands for at this server; `number` is its own.
    fn kept(&self, rig: &Rig, text: &str, number: usize) -> Input;

    /// An input nobody has seen, from those that are kept.
    fn fresh(&mut self, random: &mut Random, rig: &Rig, kept: &[Input]) -> Input;

    /// What this target looks at beside [`judge`].
    fn judge(&self, _input: &Input, _answer: &Answer, _verdict: &str) -> Result<(), String> {
        Ok(())
    }
}

/// How often each verdict was given.
pub(crate) type Tally = BTreeMap<Verdict, usize>;

/// Replays the corpus, then tries as many inputs as `OPEROND_FUZZ_INPUTS` says.
pub(crate) fn run<T: Target>(mut target: T) -> Tally {
    let read = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number in OPEROND_…"));
    let seed = read("OPEROND_SEED").unwrap_or_else(chance);
    let inputs = read("OPEROND_FUZZ_INPUTS").map_or(INPUTS, |inputs| usize::try_from(inputs).unwrap());
    println!("{} OPEROND_SEED={seed} OPEROND_FUZZ_INPUTS={inputs}", T::FOLDER);
    let corpus = corpus(T::FOLDER);
    let mut tally = Tally::new();
    let mut random = Random::new(seed);
    let mut number = 0;
    while number < inputs {
        let rig = target.begin();
        let kept: Vec<_> = corpus.iter().zip(0..).map(|((_, text), index)| target.kept(&rig, text, index)).collect();
        if number == 0 {
            for ((name, _), input) in corpus.iter().zip(&kept) {
                tried(&target, &rig, input).unwrap_or_else(|problem| panic!("{name}: {problem}\n{input}"));
            }
        }
        for _ in 0..INPUTS_A_SERVER.min(inputs - number) {
            let input = target.fresh(&mut random, &rig, &kept);
            let outcome = tried(&target, &rig, &input);
            let verdict = outcome.unwrap_or_else(|problem| panic!("input {number} of seed {seed}: {problem}\n{input}"));
            *tally.entry(verdict).or_default() += 1;
            number += 1;
        }
    }
    println!("{} {tally:?}", T::FOLDER);
    tally
}

fn tried<T: Target>(target: &T, rig: &Rig, input: &Input) -> Result<Verdict, String> {
    let answer = match rig.call(input) {
        Err(problem) if problem == UNSENDABLE => return Ok(problem),
        answer => answer?,
    };
    let verdict = judge(input, &answer)?;
    target.judge(input, &answer, &verdict)?;
    Ok(verdict)
}

/// What a seed makes, in words, while its inputs are tried.
pub(crate) fn inputs_of<T: Target>(mut target: T, seed: u64, inputs: usize) -> Vec<String> {
    let (rig, mut random) = (target.begin(), Random::new(seed));
    let kept: Vec<_> =
        corpus(T::FOLDER).iter().zip(0..).map(|((_, text), index)| target.kept(&rig, text, index)).collect();
    let made = |_| {
        let input = target.fresh(&mut random, &rig, &kept);
        tried(&target, &rig, &input).unwrap();
        input.to_string()
    };
    (0..inputs).map(made).collect()
}

/// The names and texts of the files in a folder, each text once.
pub(crate) fn corpus(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    let files = files.iter().map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), text(path)));
    let files: Vec<_> = files.collect();
    let texts: std::collections::BTreeSet<_> = files.iter().map(|(_, text)| text).collect();
    assert!(texts.len() >= CORPUS_MIN && texts.len() == files.len(), "{} of {}", texts.len(), files.len());
    files
}

fn chance() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// Inputs made up anew, unless `OPEROND_FUZZ_INPUTS` says otherwise.
const INPUTS: usize = 200_000;
/// Then another one begins: operations add up, and lists become slow.
const INPUTS_A_SERVER: usize = 250;
const CORPUS_MIN: usize = 20;
