//! One running program and the process group it leads.

use std::io;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{self, SignalKind};
use tracing::debug;

/// A program that was started. Its process group does not outlive this, however it ends; only what
/// left the group on its own account (a daemon) does.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    /// Its leader is the program; `None` once that is reaped: from then on the number may be another's.
    group: Option<Pid>,
    /// Some child of this process has changed its state.
    changes: unix::Signal,
}

/// The other ends of what a program reads and writes.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

impl Child {
    /// Starts `command`, which asks for pipes and a process group.
    pub(super) fn start(command: &mut Command) -> io::Result<(Self, Pipes)> {
        // Before the child is there: a change after this is not missed.
        let changes = unix::signal(SignalKind::child())?;
        let mut process = command.spawn()?;
        let group = process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pipes = Pipes {
            stdin: process.stdin.take().expect("the command asks for a pipe"),
            stdout: process.stdout.take().expect("the command asks for a pipe"),
            stderr: process.stderr.take().expect("the command asks for a pipe"),
        };
        Ok((Self { process, group, changes }, pipes))
    }

    /// Returns when the program has exited. It is not reaped yet, so that its number, which is its
    /// group's, is given to nobody else.
    pub(super) async fn exited(&mut self) {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while let Some(leader) = self.group
            && matches!(waitid(WaitId::Pid(leader), look), Ok(None))
        {
            self.changes.recv().await;
        }
    }

    /// Sends a signal to the whole group.
    pub(super) fn signal(&self, signal: Signal) {
        let sent = self.group.map_or(Ok(()), |group| kill_process_group(group, signal));
        if let Err(error) = sent {
            debug!(%error, ?signal, "a process group could not be signalled");
        }
    }

    /// Kills what is left of the group and says how the program ended.
    pub(super) async fn reap(mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::KILL);
        let status = self.process.wait().await?;
        self.group = None;
        Ok(status)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;
    use std::time::Duration;

    use rustix::process::test_kill_process;
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

    use super::*;

    fn start(script: &str) -> (Child, Pipes) {
        let mut command = Command::new("sh");
        command.args(["-c", script]).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Child::start(&mut command).unwrap()
    }

    #[tokio::test]
    async fn a_child_that_is_dropped_takes_its_whole_group_with_it() {
        let (child, pipes) = start("sleep 1000 & echo begun; wait");
        let mut stdout = BufReader::new(pipes.stdout);
        stdout.read_line(&mut String::new()).await.unwrap();
        drop(child);
        // Every process of the group has the pipe open until it ends.
        let mut rest = String::new();
        let end = tokio::time::timeout(Duration::from_secs(30), stdout.read_to_string(&mut rest));
        assert_eq!(end.await.expect("the group ends").unwrap(), 0);
    }

    #[tokio::test]
    async fn a_child_that_has_exited_keeps_its_number_until_it_is_reaped() {
        let (mut child, _pipes) = start("exit 7");
        let leader = child.group.unwrap();
        child.exited().await;
        child.exited().await;
        assert_eq!(test_kill_process(leader), Ok(()));
        assert_eq!(child.reap().await.unwrap().code(), Some(7));
    }
}
