//! `operond config check` and `operond config explain`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::parser::ValueSource;
use clap::{Arg, CommandFactory};

use super::{Rules, Settings};
use crate::cli::args::{self, Cli, Format};
use crate::cli::{Listed, escape, listed};
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
    let rules = settings.rules();
    let settings: Vec<_> = serve.get_arguments().filter(|arg| is_setting(arg)).map(|arg| settings.row(arg)).collect();
    print!("{}", listed(Format::Table, ["SETTING", "VALUE", "FROM"], &settings));
    print!("{}", self::rules(&rules));
    Ok(ExitCode::SUCCESS)
}

/// What is in the tables of the file, shortly.
fn rules(rules: &Rules) -> String {
    let mut text = String::new();
    for issuer in &rules.issuers {
        text += &format!("issuer {}\n", escape(&issuer.issuer));
    }
    if let Some(certificates) = &rules.certificates {
        text += &format!("rules for client certificates: {}\n", certificates.len());
    }
    for tenant in rules.tenants.keys() {
        text += &format!("limits of tenant {}\n", escape(tenant.as_str()));
    }
    text
}

fn is_setting(arg: &Arg) -> bool {
    arg.get_long().is_some_and(|flag| !["help", "version"].contains(&flag))
}

impl Settings {
    fn row(&self, arg: &Arg) -> Listed<3> {
        let name = arg.get_long().unwrap_or_default().to_owned();
        let cells = [name.clone(), self.value(arg), self.source(arg, &name)];
        Listed { json: String::new(), name, cells }
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

/// A URL of a database is shown as logs show it.
fn without_secrets(value: &str) -> String {
    match value.parse() {
        Ok(Address::Postgres(_)) => {
            value.parse::<Address>().map_or_else(|_| "hidden".into(), |store| store.to_string())
        }
        _ => value.to_owned(),
    }
}
