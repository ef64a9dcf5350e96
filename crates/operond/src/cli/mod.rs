//! The command line: one function a command, each over the public client.

pub(crate) mod args;
pub(crate) mod exit;
mod keys;
mod kinds;
mod meter;
mod operations;
mod revoke;
mod text;
mod types;
mod wait;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use operond_client::{Client, Error, IdentityPem, Options, Token};

use crate::config::{self, Parsed, Settings};
use crate::{copy, exec, migrate, serve};
use args::Secret;
use args::{Command, Config, Keys, Kinds, Migrate, Types, Worker};
use exit::{Exit, NoAnswer, Usage};

pub(crate) use text::{Listed, escape, listed};

/// Does what the command line says.
///
/// # Errors
/// Whatever kept it from being done; [`Exit::of_error`](exit::Exit::of_error) tells how the process ends.
pub(crate) async fn run(parsed: Parsed) -> Result<ExitCode> {
    let rules = || parsed.settings.as_ref().map(Settings::rules).unwrap_or_default();
    match parsed.cli.command {
        Command::Dev(args) => serve::dev(args).await,
        Command::Serve(args) => serve::serve(args, rules()).await,
        Command::Config(Config::Check(args)) => config::check(&args, &rules()).await,
        Command::Config(Config::Explain(_)) => {
            config::explain(parsed.settings.as_ref().context("there are no settings")?)
        }
        Command::Migrate(Migrate::Status(database)) => migrate::status(&database.store).await,
        Command::Migrate(Migrate::Up(database)) => migrate::up(&database.store).await,
        Command::Copy(args) => copy::copy(args).await,
        Command::Worker(Worker::Exec(args)) => exec::run(args).await,
        Command::Types(Types::Register(args)) => asked(&args.server.clone(), types::register(args)).await,
        Command::Types(Types::List(args)) => asked(&args.server.clone(), types::list(args)).await,
        Command::Kinds(Kinds::List(args)) => asked(&args.server.clone(), kinds::list(args)).await,
        Command::Kinds(Kinds::Get(args)) => asked(&args.server.clone(), kinds::get(args)).await,
        Command::Kinds(Kinds::Set(args)) => asked(&args.server.clone(), kinds::set(args)).await,
        Command::Keys(Keys::Create(args)) => asked(&args.server.clone(), keys::create(args)).await,
        Command::Keys(Keys::List(args)) => asked(&args.server.clone(), keys::list(args)).await,
        Command::Keys(Keys::Revoke(args)) => asked(&args.server.clone(), revoke::revoke(args)).await,
        Command::Whoami(args) => asked(&args.server.clone(), keys::who_am_i(args)).await,
        Command::Create(args) => asked(&args.server.clone(), operations::create(args)).await,
        Command::Get(args) => asked(&args.server.clone(), operations::get(args)).await,
        Command::List(args) => asked(&args.server.clone(), operations::list(args)).await,
        Command::Wait(args) => asked(&args.server.clone(), wait::wait(args)).await,
        Command::Watch(args) => asked(&args.server.clone(), operations::watch(args)).await,
        Command::Cancel(args) => asked(&args.server.clone(), operations::cancel(args)).await,
        Command::Delete(args) => asked(&args.server.clone(), operations::delete(args)).await,
    }
}

/// What came of asking a server; who does not reach it is told which one it was.
async fn asked(server: &args::Server, command: impl Future<Output = Result<Exit>>) -> Result<ExitCode> {
    let exit = command.await.map_err(|error| match error.downcast_ref() {
        Some(Error::Unreachable { .. }) => error.context(NoAnswer { endpoint: server.endpoint.clone() }),
        _ => error,
    })?;
    Ok(exit.into())
}

/// A client of the server that the command line names.
///
/// # Errors
/// An endpoint or a certificate that cannot be used.
pub(crate) fn connect(server: &args::Server) -> Result<Client> {
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let ca_pem = server.ca.as_ref().map(read).transpose()?;
    let token = server.token.as_ref().map(token).transpose()?;
    let identity_pem = match (&server.cert, &server.key) {
        (Some(certificate), Some(key)) => Some(IdentityPem { certificate: read(certificate)?, key: read(key)? }),
        _ => None,
    };
    let patience = PATIENCE;
    Ok(Client::connect(Options { ca_pem, identity_pem, token, patience, ..Options::new(&server.endpoint) })?)
}

/// The credential itself, or the one in the file that is named instead. What can be none is told here: a server could
/// only say that it does not know it.
fn token(Secret(said): &Secret) -> Result<Token> {
    let from = match std::env::var(TOKEN_VARIABLE) {
        Ok(variable) if variable == *said => TOKEN_VARIABLE,
        _ => "--token",
    };
    if let Some(path) = said.strip_prefix('@') {
        let shown = escape(path);
        let token = std::fs::read_to_string(path).with_context(|| format!("cannot read the token in {shown}"))?;
        return match token.trim() {
            "" => Err(Usage(format!("the file {shown} that {from} names is empty: no token is in it")).into()),
            token => Ok(Token::new(token)),
        };
    }
    if said.trim().is_empty() {
        return Err(Usage(format!("{from} is empty: say a token, or @FILE with one in it, or leave it out")).into());
    }
    if Path::new(said).is_file() {
        let said = escape(said);
        return Err(Usage(format!("{from} says {said}, which is a file here: did you mean {from} @{said}?")).into());
    }
    Ok(Token::new(said))
}

/// Prints to stdout, which may be a pipe that nobody reads any more.
fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Says who calls, where `--token` does not.
const TOKEN_VARIABLE: &str = "OPEROND_TOKEN";
/// How long a call is tried before a person is told that the server is away: long enough for a restart.
const PATIENCE: Duration = Duration::from_secs(3);
