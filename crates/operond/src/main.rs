//! The operations daemon: server, client and worker in one binary.

mod admin_key;
mod banner;
mod cli;
mod config;
mod copy;
mod demo;
mod exec;
mod migrate;
mod serve;
mod store;

use std::io::{ErrorKind, IsTerminal, stderr};
use std::process::ExitCode;

use anyhow::Result;
use tracing_subscriber::EnvFilter;

use cli::exit::{Exit, advice};
use config::Parsed;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let parsed = config::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let filter = EnvFilter::try_from_env("OPEROND_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // Colours are for people: in a file they would be in the way of whoever searches it.
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(stderr().is_terminal()).with_writer(stderr).init();
    run(parsed).unwrap_or_else(|error| fail(&error).into())
}

fn run(parsed: Parsed) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(cli::run(parsed));
    // A thread that reads stdin cannot be stopped; nobody waits for it.
    runtime.shutdown_background();
    outcome
}

/// Says what went wrong, and what to do about it.
fn fail(error: &anyhow::Error) -> Exit {
    // Whoever closes the pipe has read enough.
    if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        return Exit::Failed;
    }
    anstream::eprintln!("\u{1b}[1;31merror:\u{1b}[0m {}", cli::escape(&format!("{error:#}")));
    if let Some(advice) = advice(error) {
        eprintln!("  {advice}");
    }
    Exit::of_error(error)
}
