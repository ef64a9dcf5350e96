//! The file: TOML, with the names of flags as keys.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Command};
use toml::{Table, Value};

use super::rules::{self, Rules};

/// A file that was read. Errors are sentences that begin with its name.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    flags: Table,
    pub(super) rules: Rules,
    /// What the rules were read from: where each value stands, and the value.
    pub(super) tables: Vec<(String, String)>,
}

impl File {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let length = path.metadata().map_err(|error| format!("cannot read {shown}: {error}"))?.len();
        if length > FILE_BYTES_MAX {
            return Err(format!("{shown}: a configuration may have {FILE_BYTES_MAX} bytes, this file has {length}"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let shown = path.display();
        // Not the line itself: it may be the one with a password in it.
        let wrong = |error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            format!("{shown}: line {}: this is not TOML: {}", before.matches('\n').count() + 1, error.message())
        };
        let mut flags: Table = text.parse().map_err(wrong)?;
        let tables = rules::said(&flags);
        let rules = Rules::take(&mut flags).map_err(|problem| format!("{shown}: {problem}"))?;
        Ok(Self { path: path.to_owned(), flags, rules, tables })
    }

    /// Whether it says something about a setting.
    pub(super) fn says(&self, flag: &str) -> bool {
        self.flags.contains_key(flag)
    }

    /// What it says, as it is said to `serve` on a command line; but for settings that are `given` there.
    pub(super) fn arguments(&self, serve: &Command, given: impl Fn(&str) -> bool) -> Result<Vec<OsString>, String> {
        let mut arguments = Vec::new();
        for (key, value) in &self.flags {
            let flag =
                serve.get_arguments().find(|arg| arg.get_long() == Some(key) && !NOT_IN_A_FILE.contains(&&**key));
            let Some(flag) = flag else {
                let path = self.path.display();
                return Err(format!("{path}: {key:?} is no setting: `operond config explain` shows those there are"));
            };
            if given(flag.get_id().as_str()) {
                continue;
            }
            let wrong = |expected: &str| Err(format!("{}: {key} must be {expected}", self.path.display()));
            match (flag.get_action(), value) {
                (ArgAction::SetTrue, Value::Boolean(true)) => arguments.push(format!("--{key}").into()),
                (ArgAction::SetTrue, Value::Boolean(false)) => {}
                (ArgAction::SetTrue, _) => return wrong("true or false"),
                (ArgAction::Append, Value::Array(values)) => {
                    for value in values {
                        match scalar(value) {
                            Some(text) => arguments.push(format!("--{key}={text}").into()),
                            None => return wrong("a list of texts"),
                        }
                    }
                }
                (ArgAction::Append, _) => return wrong("a list of texts"),
                (_, value) => match scalar(value).filter(|_| takes(flag, value)) {
                    Some(text) => arguments.push(format!("--{key}={text}").into()),
                    None => return wrong("a text, or a number where it is one"),
                },
            }
        }
        Ok(arguments)
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Paths and URLs are never numbers: one is most likely a mistake.
fn takes(flag: &clap::Arg, value: &Value) -> bool {
    let number = flag.get_value_names().is_some_and(|names| names.iter().any(|name| name.as_str() == "N"));
    number || value.is_str()
}

/// Flags that say how to read flags.
const NOT_IN_A_FILE: [&str; 3] = ["config", "help", "version"];
/// More is no configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Cli;

    /// What there is to say, and what people get wrong.
    const CORPUS: [&str; 6] = [
        "store = \"sqlite:a.db\"\nlisten = \"127.0.0.1:1\"\nrequire-durable = true\ndescriptors = [\"a\", \"b\"]\n",
        "calls-per-second = 5\nactive-operations = 9223372036854775807\nheld-get = \"5s\"\n# a comment\n",
        "[[issuers]]\nissuer = \"https://a\"\naudiences = [\"o\"]\ntenant = \"*\"\nroles-of = { a = \"admin\" }\n",
        "[[certificates]]\nname = \"a.example\"\ntenant = \"t\"\nroles = [\"worker\"]\nkinds = [\"k\"]\n",
        "[tenants.\"a b\"]\ncreates-per-second = 1\n[tenants.c]\n",
        "a.b.c = 1\n\"\" = '''x'''\nd = 1979-05-27T07:32:00Z\ne = [[[{}]]]\nf = inf\n",
    ];
    /// Files made up anew, unless `OPEROND_FUZZ_INPUTS` says otherwise.
    const INPUTS: u64 = 200_000;

    #[test]
    fn whatever_a_file_says_is_read_or_refused_in_a_sentence_that_names_it() {
        let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number in OPEROND_…"));
        let mut random = Random(number("OPEROND_SEED").unwrap_or_else(|| RandomState::new().hash_one(0)));
        let inputs = number("OPEROND_FUZZ_INPUTS").unwrap_or(INPUTS);
        println!("OPEROND_SEED={} OPEROND_FUZZ_INPUTS={inputs}", random.0);
        let command = Cli::command();
        let serve = command.find_subcommand("serve").expect("there is such a command");
        let (mut read, mut refused) = (0_u64, 0_u64);
        let made_up = std::iter::from_fn(|| Some(random.text())).take(usize::try_from(inputs).unwrap());
        for text in CORPUS.map(String::from).into_iter().chain(made_up) {
            let file = File::parse(Path::new("operond.toml"), &text);
            match file.and_then(|file| file.arguments(serve, |_| false)) {
                // Each becomes one word of a command line, and none another flag.
                Ok(words) => {
                    read += 1;
                    assert!(
                        words.iter().all(|word| word.to_str().is_some_and(|word| word.starts_with("--"))),
                        "{text}"
                    );
                }
                Err(said) => {
                    refused += 1;
                    assert!(said.starts_with("operond.toml: ") && said.len() < 10_000, "{text}: {said}");
                }
            }
        }
        println!("{read} were read, {refused} refused");
        assert!(read > inputs / 100 && refused > inputs / 100, "{read} were read, {refused} refused");
    }

    /// Numbers that look random and come again with the same seed.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            let hash = blake3::hash(&self.0.to_le_bytes());
            self.0 = u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"));
            usize::try_from(self.0 % end as u64).expect("it is below")
        }

        /// Parts of the corpus, with characters gone, doubled, swapped or changed; often not at all.
        fn text(&mut self) -> String {
            const ALPHABET: [char; 20] = [
                '"', '\'', '[', ']', '{', '}', '=', '.', ',', '#', '\n', '\\', '-', '_', '0', '9', 'a', ' ', '\0', 'ж',
            ];
            let mut text: Vec<char> = CORPUS[self.below(CORPUS.len())].chars().collect();
            if self.below(4) == 0 {
                text.extend(CORPUS[self.below(CORPUS.len())].chars());
            }
            for _ in 0..self.below(4) {
                let (at, other) = (self.below(text.len()), self.below(text.len()));
                match self.below(6) {
                    0 => text[at] = ALPHABET[self.below(ALPHABET.len())],
                    1 => text.swap(at, other),
                    2 => text.truncate(at + 1),
                    3 => text.insert(at, ALPHABET[self.below(ALPHABET.len())]),
                    4 if text.len() > 1 => drop(text.remove(at)),
                    _ => text.extend_from_within(at..),
                }
            }
            text.into_iter().collect()
        }
    }
}
