//! The file: TOML, with the names of flags as keys.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Command};
use toml::{Table, Value};

use super::rules::Rules;

/// A file that was read. Errors are sentences that begin with its name.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    flags: Table,
    pub(super) rules: Rules,
}

impl File {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let length = path.metadata().map_err(|error| format!("cannot read {shown}: {error}"))?.len();
        if length > FILE_BYTES_MAX {
            return Err(format!("{shown}: a configuration may have {FILE_BYTES_MAX} bytes, this file has {length}"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
        let mut flags: Table =
            text.parse().map_err(|error: toml::de::Error| format!("{shown}: this is not TOML: {error}"))?;
        let rules = Rules::take(&mut flags).map_err(|problem| format!("{shown}: {problem}"))?;
        Ok(Self { path: path.to_owned(), flags, rules })
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
