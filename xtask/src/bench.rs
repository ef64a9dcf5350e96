//! Benchmarks: each builds the server and what drives it, and runs them.

use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::postgres;

/// What calls cost; `arguments` are the benchmark's own. With optimisation.
///
/// # Errors
/// Cargo cannot be started.
pub(crate) fn lives(arguments: &[&str]) -> anyhow::Result<ExitCode> {
    run(cargo_bench().args(LIVES).args(arguments))
}

/// Whole lives in PostgreSQL, which is installed unless it is there; `seconds` as above.
///
/// # Errors
/// PostgreSQL cannot be set up, or cargo cannot be started.
pub(crate) fn postgres(seconds: &[&str]) -> anyhow::Result<ExitCode> {
    let programs = postgres::set_up()?;
    run(cargo_bench().args(LIVES).arg("--postgres").args(seconds).env(postgres::BIN, programs))
}

/// How late stock clients learn of a result. They sleep most of the time: nothing needs to be optimised.
///
/// # Errors
/// Cargo cannot be started.
pub(crate) fn lag() -> anyhow::Result<ExitCode> {
    run(cargo_bench().args(["--profile", "dev", "--bench", "lag"]))
}

fn cargo_bench() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(["bench", "--package", "operond"]).current_dir(crate::root());
    command
}

fn run(command: &mut Command) -> anyhow::Result<ExitCode> {
    let status = command.status().context("cannot start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const LIVES: [&str; 3] = ["--bench", "lives", "--"];
