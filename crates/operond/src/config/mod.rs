//! Settings from a file beneath those of the environment and the command line.
//!
//! A file says what flags say, under the names of the flags, and a few things that do not fit on a command line
//! ([`rules`]). Its settings are put on the command line before it is parsed, where neither the command line nor the
//! environment says something itself: so each is read, checked and documented in one place.

mod explain;
mod file;
mod hidden;
mod rules;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::cli::args::Cli;

pub(crate) use explain::{check, explain};
pub(crate) use rules::Rules;

use file::File;
use hidden::hide;

/// What is to be done, and where each setting comes from.
pub(crate) struct Parsed {
    pub(crate) cli: Cli,
    /// For commands that take settings from a file.
    pub(crate) settings: Option<Settings>,
}

/// Every setting of a server, as it was found.
pub(crate) struct Settings {
    matches: ArgMatches,
    given: ArgMatches,
    file: Option<File>,
}

/// Reads the command line, and the file that it or the environment names.
///
/// # Errors
/// What is wrong with either, as clap says it but without passwords, and in which of the two.
pub(crate) fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Parsed, clap::Error> {
    let line: Vec<OsString> = line.into_iter().collect();
    let store = std::env::var_os(STORE_VARIABLE);
    read(&line).map_err(|error| hide(error, line.iter().chain(&store).map(OsString::as_os_str)))
}

fn read(line: &[OsString]) -> Result<Parsed, clap::Error> {
    let mut command = Cli::command();
    let Some(words) = words_of_serve(line) else {
        let cli = Cli::from_arg_matches(&command.try_get_matches_from_mut(line)?)?;
        return Ok(Parsed { cli, settings: None });
    };
    // What is missing here may be in the file.
    let given = command.clone().ignore_errors(true).get_matches_from(line);
    let given = innermost(&given).clone();
    let file = given.try_get_one::<PathBuf>("config").ok().flatten().map(|path| File::read(path)).transpose();
    let file = file.map_err(|problem| command.error(clap::error::ErrorKind::ValueValidation, problem))?;
    let mut whole = line.to_vec();
    if let Some(file) = &file {
        let serve = command.find_subcommand("serve").expect("there is such a command").clone();
        let arguments = file.arguments(&serve, |setting| is_given(&given, setting));
        let arguments = arguments.map_err(|problem| command.error(clap::error::ErrorKind::ValueValidation, problem))?;
        // Alone first: what is wrong with one of them is wrong in the file.
        try_alone(&serve, file, &arguments).map_err(|error| hide(error, arguments.iter().map(OsString::as_os_str)))?;
        whole.splice(words..words, arguments);
    }
    let matches = command.try_get_matches_from_mut(&whole)?;
    let cli = Cli::from_arg_matches(&matches)?;
    Ok(Parsed { cli, settings: Some(Settings { matches: innermost(&matches).clone(), given, file }) })
}

impl Settings {
    /// What the file says that fits on no command line.
    pub(crate) fn rules(&self) -> Rules {
        self.file.as_ref().map(|file| file.rules.clone()).unwrap_or_default()
    }
}

/// How many words say that settings of a server follow; none if they do not.
fn words_of_serve(line: &[OsString]) -> Option<usize> {
    let word = |index: usize| line.get(index).and_then(|word| word.to_str());
    match (word(1), word(2)) {
        (Some("serve"), _) => Some(2),
        (Some("config"), Some("check" | "explain")) => Some(3),
        _ => None,
    }
}

fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, matches)| innermost(matches))
}

fn is_given(given: &ArgMatches, setting: &str) -> bool {
    matches!(given.value_source(setting), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

fn try_alone(serve: &Command, file: &File, arguments: &[OsString]) -> Result<(), clap::Error> {
    let name = OsString::from("serve");
    let mut alone = serve.clone().mut_args(|arg| arg.required(false)).no_binary_name(false);
    match alone.try_get_matches_from_mut(std::iter::once(&name).chain(arguments)) {
        // What belongs together may be partly on the command line.
        Err(error) if error.kind() != clap::error::ErrorKind::MissingRequiredArgument => {
            let said = error.render().to_string();
            let said = said.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Err(alone.error(clap::error::ErrorKind::ValueValidation, format!("{}: {said}", file.path.display())))
        }
        _ => Ok(()),
    }
}

/// Says a store, perhaps with its password.
const STORE_VARIABLE: &str = "OPEROND_STORE";

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::cli::args;

    fn with(text: &str, line: &[&str]) -> Result<args::Serve, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let path = file.path().display().to_string();
        let line = ["operond", "serve", "--config", &path].into_iter().chain(line.iter().copied()).map(OsString::from);
        match parse(line).map(|parsed| parsed.cli.command) {
            Ok(args::Command::Serve(serve)) => Ok(serve),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_file_says_what_flags_say_and_they_say_it_better() {
        let text = "store = \"sqlite:a.db\"\nlisten = \"127.0.0.1:1\"\nheld-get = \"5s\"\nrequire-durable = true\n\
                    behind-tls-proxy = false\ndescriptors = [\"a\", \"b\"]\n";
        let serve = with(text, &[]).unwrap();
        assert_eq!((serve.store.to_string(), serve.listen.port()), ("a.db".into(), 1));
        assert_eq!((serve.faces.held_get.as_secs(), serve.faces.descriptors.len()), (5, 2));
        assert!(serve.require_durable && !serve.behind_tls_proxy);
        let serve = with(text, &["--listen", "127.0.0.1:2", "--descriptors", "c"]).unwrap();
        assert_eq!((serve.listen.port(), serve.faces.descriptors.len()), (2, 1));
        assert_eq!(serve.store.to_string(), "a.db");
    }

    #[test]
    fn what_is_wrong_in_the_file_is_told_with_its_name_and_no_key_is_taken_for_another() {
        let cases = [
            ("stores = \"sqlite:a.db\"", "stores"),
            ("Store = \"sqlite:a.db\"", "Store"),
            ("store = 1", "store"),
            ("store = \"mongodb:x\"", "mongodb:x"),
            ("store = \"sqlite:a\"\nlisten = \"nowhere\"", "nowhere"),
            ("store = \"sqlite:a\"\nrequire-durable = \"yes\"", "require-durable"),
            ("store = \"sqlite:a\"\nconfig = \"b.toml\"", "config"),
            ("store = \"sqlite:a\"\nhelp = true", "help"),
            ("store = \"sqlite:a\"\nstore = \"sqlite:b\"", "duplicate"),
            ("store = ", "TOML"),
            ("[nothing]\nx = 1", "nothing"),
        ];
        for (text, expected) in cases {
            let said = with(text, &[]).unwrap_err();
            assert!(said.contains(expected) && said.contains(".tmp"), "{text}: {said}");
        }
    }

    #[test]
    fn no_password_in_the_file_is_said_whatever_is_wrong_with_it() {
        for text in [
            "store = \"postgress://u:secret@h/db\"",
            "store = \"postgress://u:sec?ret@h/db?password=secret\"",
            "store = [\"postgres://u:secret@h/db\"]",
            "store = postgres://u:secret@h/db",
            "store = \"postgres://u:secret@h/db",
            "store = 'postgres://u:secret@h/db'\nstore = 'postgres://u:secret@h/db'",
            "stores = \"postgres://u:secret@h/db\"",
            "listen = \"postgres://u:secret@h/db\"",
        ] {
            let said = with(text, &[]).unwrap_err();
            assert!(!said.contains("ret@") && !said.contains("=secret") && said.contains(".tmp"), "{text}: {said}");
        }
    }

    #[test]
    fn a_value_that_looks_like_a_flag_is_a_value() {
        let said = with("store = \"--insecure-no-auth\"", &[]).unwrap_err();
        assert!(said.contains("is not known"), "{said}");
    }

    #[test]
    fn what_the_file_does_not_say_is_still_required() {
        let said = with("listen = \"127.0.0.1:1\"", &[]).unwrap_err();
        assert!(said.contains("--store"), "{said}");
        assert!(with("listen = \"127.0.0.1:1\"", &["--store", "sqlite:x"]).is_ok());
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let line = ["operond", "serve", "--config", "/nonexistent/operond.toml"].map(OsString::from);
        let said = parse(line).err().unwrap().to_string();
        assert!(said.contains("/nonexistent/operond.toml"), "{said}");
    }
}
