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
