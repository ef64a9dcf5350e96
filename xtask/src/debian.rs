//! Programs that Debian has in packages: found, installed when we may, or asked for.

use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

/// A program that Debian has in a package.
pub(crate) struct Tool {
    /// A command that succeeds when the program is there and whole.
    pub(crate) probe: &'static [&'static str],
    pub(crate) package: &'static str,
}

impl Tool {
    pub(crate) fn works(&self) -> bool {
        Command::new(self.probe[0])
            .args(&self.probe[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// Installs the Debian packages of the tools that do not work.
pub(crate) fn ensure_tools(tools: &[Tool]) -> anyhow::Result<()> {
    let missing: Vec<&str> = tools.iter().filter(|tool| !tool.works()).map(|tool| tool.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !is_root() {
        bail!("the tests need {packages}; run: sudo apt-get install --yes {packages}");
    }
    println!("==> apt-get install {packages}");
    run(Command::new("apt-get").args(["update", "--quiet"]))?;
    run(Command::new("apt-get")
        .args(["install", "--quiet", "--yes", "--no-install-recommends"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive"))
    .with_context(|| format!("the tests need {packages}: install them by hand"))
}

pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Runs a command, its output passed through; anything but success is an error that names it.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

pub(crate) const FAKETIME: Tool = Tool { probe: &["faketime", "-f", "-1h", "true"], package: "faketime" };

pub(crate) const PYTHON: Tool = Tool {
    // Debian's python3 comes without the two modules that make a virtual environment.
    probe: &["python3", "-c", "import ensurepip, venv"],
    package: "python3-venv",
};
