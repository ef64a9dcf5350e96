//! The real program: the schema's step up, and servers.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Brings the database to the newest schema.
pub(crate) fn migrate(url: &str) -> Result<()> {
    let output = Command::new(OPEROND).args(["migrate", "up", "--store", url]).output()?;
    ensure!(output.status.success(), "operond migrate up: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A server, killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Where it listens.
    pub(crate) url: String,
}

impl Process {
    /// Starts a server on the database at `store`, and waits until it is ready.
    pub(crate) fn start(store: &str, arguments: &[String], log: &Path) -> Result<Self> {
        let log = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let mut child = Command::new(OPEROND)
            .args(["serve", "--store", store, "--insecure-no-auth", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .env("OPEROND_LOG", "info")
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout is a pipe")?);
        let mut server = Self { child, url: String::new() };
        let mut line = String::new();
        while server.url.is_empty() {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                bail!("the server ended before it was ready");
            }
            if let Some(url) = line.split_whitespace().find(|word| word.starts_with("http://")) {
                server.url = url.to_owned();
            }
        }
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Ok(server)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

const OPEROND: &str = env!("CARGO_BIN_EXE_operond");
