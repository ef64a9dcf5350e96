//! `cargo xtask test`: every test, on a machine that has Rust, a C compiler and nothing else yet.

use std::env;
use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::sdk::{self, Sdks};

/// Sets up the client SDKs, then runs the tests; `arguments` choose which, none means all of them
/// and the documentation's examples. Cargo's own summary is the last thing printed.
///
/// # Errors
/// An SDK cannot be set up, or cargo cannot be started. A failing test is no error but cargo's
/// exit code.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<ExitCode> {
    let sdks = sdk::set_up()?;
    if !arguments.is_empty() {
        return cargo_test(arguments, &sdks);
    }
    // Examples second: they are few, and a failure before them is not to scroll away.
    let tests = cargo_test(&["--workspace", "--all-targets", "--no-fail-fast"], &sdks)?;
    if tests != ExitCode::SUCCESS {
        return Ok(tests);
    }
    cargo_test(&["--workspace", "--doc", "--no-fail-fast"], &sdks)
}

fn cargo_test(arguments: &[&str], sdks: &Sdks) -> anyhow::Result<ExitCode> {
    println!("==> cargo test {}", arguments.join(" "));
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .arg("test")
        .args(arguments)
        .current_dir(crate::root())
        .env("OPEROND_SDK_PYTHON", &sdks.python)
        .env("OPEROND_SDK_NODE_MODULES", &sdks.node_modules)
        .env("OPEROND_SDK_RUST", &sdks.rust)
        .status()
        .context("starting cargo test")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
