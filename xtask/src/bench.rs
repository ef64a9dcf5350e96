//! Benchmarks: each builds the server and what drives it, and runs them.

use std::process::{Command, ExitCode};

use anyhow::Context;

/// What calls cost; `arguments` are the benchmark's own. With optimisation.
///
/// # Errors
/// Cargo cannot be started.
pub(crate) fn lives(arguments: &[&str]) -> anyhow::Result<ExitCode> {
    run(&["--bench", "lives", "--"], arguments)
}

/// How late stock clients learn of a result. They sleep most of the time: nothing needs to be optimised.
///
/// # Errors
/// Cargo cannot be started.
pub(crate) fn lag() -> anyhow::Result<ExitCode> {
    run(&["--profile", "dev", "--bench", "lag"], &[])
}

fn run(which: &[&str], arguments: &[&str]) -> anyhow::Result<ExitCode> {
    let status = Command::new(env!("CARGO"))
        .args(["bench", "--package", "operond"])
        .args(which)
        .args(arguments)
        .current_dir(crate::root())
        .status()
        .context("cannot start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
