//! The program that loads servers, and the talk with it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// A load on two servers. It ends, and they with it, when we no longer speak to it.
pub(super) struct Program {
    child: Child,
    answers: Receiver<String>,
}

impl Program {
    /// Builds it and the server.
    ///
    /// # Errors
    /// It does not build.
    pub(super) fn build() -> anyhow::Result<()> {
        let status = cargo().stdout(Stdio::null()).status().context("cannot start cargo")?;
        ensure!(status.success(), "the load does not build");
        Ok(())
    }

    /// Starts it on the database at `url`, and waits until writes are acknowledged. The servers get `arguments`.
    ///
    /// # Errors
    /// It does not start, or no write is acknowledged.
    pub(super) fn start(url: &str, name: &str, seed: u64, logs: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = cargo();
        command.args(["--", url, name, &seed.to_string()]).arg(logs).args(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start the load")?;
        let lines = BufReader::new(child.stdout.take().context("it is piped")?).lines();
        let (heard, answers) = sync_channel(1);
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| heard.send(line)));
        let mut program = Self { child, answers };
        let ready = program.answer()?;
        ensure!(ready == "ready", "the load says {ready}");
        Ok(program)
    }

    /// Tells it something, and waits for the answer.
    ///
    /// # Errors
    /// It ends, or has not answered in ten minutes.
    pub(super) fn ask(&mut self, what: &str) -> anyhow::Result<Value> {
        let requests = self.child.stdin.as_mut().context("it is piped")?;
        writeln!(requests, "{what}").with_context(|| format!("the load has ended before it was told: {what}"))?;
        self.answer().with_context(|| format!("the load was told: {what}"))
    }

    fn answer(&mut self) -> anyhow::Result<Value> {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => serde_json::from_str(&line).with_context(|| line),
            Err(error) => bail!("no answer of it: {error}"),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It reads its end, and ends its servers.
        drop(self.child.stdin.take());
        let _ended = self.child.wait();
    }
}

fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    // Nothing is measured that optimisation would change.
    command.args(["bench", "--quiet", "--profile", "dev", "--package", "operond", "--bench", "failover"]);
    command.current_dir(crate::root());
    command
}

const PATIENCE: Duration = Duration::from_secs(600);
