//! `operond config check` and `operond config explain`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::parser::ValueSource;
use clap::{Arg, CommandFactory};

use super::{Rules, Settings};
use crate::cli::args::{self, Cli, Format};
use crate::cli::{Listed, listed};
use crate::serve;
use crate::store::Address;

/// Reads everything that `serve` would, and opens nothing: neither the store nor an address.
pub(crate) async fn check(args: &args::Serve, rules: &Rules) -> Result<ExitCode> {
    serve::rehearse(args, rules).await?;
    eprintln!("the settings can be served; not looked at: what is in the store, and whether the addresses are free");
    if matches!(args.store, Address::Postgres(_)) && args.admin_key_file.is_none() && !args.insecure_no_auth {
        eprintln!("should this database have no keys yet, the first start needs --admin-key-file as well");
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints every setting, its value, and where that comes from.
pub(crate) fn explain(settings: &Settings) -> Result<ExitCode> {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").context("there is no command `serve`")?;
    let flags = serve.get_arguments().filter(|arg| is_setting(arg)).map(|arg| settings.of_flag(arg));
    let rows: Vec<_> = flags.chain(settings.in_tables()).collect();
    print!("{}", listed(Format::Table, ["SETTING", "VALUE", "FROM"], &rows));
    Ok(ExitCode::SUCCESS)
}

fn is_setting(arg: &Arg) -> bool {
    arg.get_long().is_some_and(|flag| !["help", "version"].contains(&flag))
}

impl Settings {
    fn of_flag(&self, arg: &Arg) -> Listed<3> {
        let name = arg.get_long().unwrap_or_default();
        row(name, self.value(arg), self.source(arg, name))
    }

    /// What only a file can say.
    fn in_tables(&self) -> impl Iterator<Item = Listed<3>> {
        let file = self.file.iter();
        file.flat_map(|file| {
            file.tables.iter().map(|(place, value)| row(place, value.clone(), file.path.display().to_string()))
        })
    }

    fn value(&self, arg: &Arg) -> String {
        let values = self.matches.get_raw(arg.get_id().as_str()).into_iter().flatten();
        let values: Vec<String> = values.map(|value| without_secrets(&value.to_string_lossy())).collect();
        match values.is_empty() {
            false => values.join(" "),
            true if arg.get_action().takes_values() => "-".into(),
            true => self.matches.get_flag(arg.get_id().as_str()).to_string(),
        }
    }

    fn source(&self, arg: &Arg, flag: &str) -> String {
        match self.given.value_source(arg.get_id().as_str()) {
            Some(ValueSource::CommandLine) => "command line".into(),
            Some(ValueSource::EnvVariable) => {
                arg.get_env().map_or_else(|| "environment".into(), |name| name.to_string_lossy().into_owned())
            }
            _ => match &self.file {
                Some(file) if file.says(flag) => file.path.display().to_string(),
                _ => "default".into(),
            },
        }
    }
}

fn row(name: &str, value: String, source: String) -> Listed<3> {
    Listed { json: String::new(), name: name.to_owned(), cells: [name.to_owned(), value, source] }
}

/// A URL of a database is shown as logs show it.
fn without_secrets(value: &str) -> String {
    match value.parse() {
        Ok(Address::Postgres(_)) => {
            value.parse::<Address>().map_or_else(|_| "hidden".into(), |store| store.to_string())
        }
        _ => value.to_owned(),
    }
}
