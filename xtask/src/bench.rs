//! What calls cost: builds the server and its load with optimisation, and runs them.

use std::process::{Command, ExitCode};

use anyhow::Context;

/// Runs the benchmark; `arguments` are its own.
///
/// # Errors
/// Cargo cannot be started.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<ExitCode> {
    let status = Command::new(env!("CARGO"))
        .args(["bench", "--package", "operond", "--bench", "lives", "--"])
        .args(arguments)
        .current_dir(crate::root())
        .status()
        .context("cannot start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
