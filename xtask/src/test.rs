//! `cargo xtask test`: every test, on a machine that has Rust, a C compiler and nothing else yet.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::debian::{FAKETIME, ensure_tools};
use crate::postgres;
use crate::sdk::{self, Sdks};

/// Sets up PostgreSQL, libfaketime and the client SDKs, then runs the tests; `arguments` choose which, none means all of them
/// and the documentation's examples. Cargo's own summary is the last thing printed.
///
/// # Errors
/// PostgreSQL or an SDK cannot be set up, or cargo cannot be started. A failing test is no error but cargo's
/// exit code.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<ExitCode> {
    ensure_tools(&[FAKETIME])?;
    let needs = Needs { postgres: postgres::set_up()?, sdks: sdk::set_up()? };
    if !arguments.is_empty() {
        return cargo_test(arguments, &needs);
    }
    // Examples second: they are few, and a failure before them is not to scroll away.
    let tests = cargo_test(&["--workspace", "--all-targets", "--no-fail-fast"], &needs)?;
    if tests != ExitCode::SUCCESS {
        return Ok(tests);
    }
    cargo_test(&["--workspace", "--doc", "--no-fail-fast"], &needs)
}

/// What the tests use that cargo does not build for them.
struct Needs {
    postgres: PathBuf,
    sdks: Sdks,
}

fn cargo_test(arguments: &[&str], needs: &Needs) -> anyhow::Result<ExitCode> {
    println!("==> cargo test {}", arguments.join(" "));
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .arg("test")
        .args(arguments)
        .current_dir(crate::root())
        .env(postgres::BIN, &needs.postgres)
        .env("OPEROND_SDK_PYTHON", &needs.sdks.python)
        .env("OPEROND_SDK_NODE_MODULES", &needs.sdks.node_modules)
        .env("OPEROND_SDK_RUST", &needs.sdks.rust)
        .status()
        .context("starting cargo test")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
