//! One process of `operond serve` on a database that others may share; killed when dropped.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use operond_store_postgres::cluster::{Cluster, Kind};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use super::command;

/// A running `operond serve --store URL` on a port of its own.
pub(crate) struct Served {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub(crate) http: String,
    store: String,
    arguments: Vec<String>,
    /// What it has to say to its operator; shown when the test fails.
    log: NamedTempFile,
}

impl Served {
    /// A server on the database at `store`, whose schema is there.
    pub(crate) fn start(store: &str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let log = NamedTempFile::new().unwrap();
        Self::spawn(store, "127.0.0.1:0", arguments, log).expect("the server starts")
    }

    /// A server on a machine whose calendar is off by `offset`, such as `-1h`.
    pub(crate) fn start_at(store: &str, offset: &str) -> Self {
        let log = NamedTempFile::new().unwrap();
        let mut command = serve(store, "127.0.0.1:0");
        command.env("LD_PRELOAD", faketime()).env("FAKETIME", offset).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Self::run(command, store, Vec::new(), log).expect("the server starts")
    }

    /// Two servers on a fresh schema of the quick cluster.
    pub(crate) fn pair(arguments: &[&str]) -> (Self, Self) {
        let store = migrated(Cluster::shared(Kind::Fast));
        (Self::start(&store, arguments), Self::start(&store, arguments))
    }

    fn spawn(store: &str, listen: &str, arguments: Vec<String>, log: NamedTempFile) -> Result<Self, NamedTempFile> {
        let mut command = serve(store, listen);
        command.args(&arguments);
        Self::run(command, store, arguments, log)
    }

    /// Its log alone when it ended before it was ready.
    fn run(
        mut command: Command,
        store: &str,
        arguments: Vec<String>,
        log: NamedTempFile,
    ) -> Result<Self, NamedTempFile> {
        let stderr = File::options().append(true).open(log.path()).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let Some(http) = address(&mut lines) else {
            child.wait().unwrap();
            return Err(log);
        };
        // The rest is for people; a full pipe would stop the server.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Ok(Self { child, http, store: store.to_owned(), arguments, log })
    }

    /// Starts it again on the same port, once the one that ran there has ended. False when it did not start, as it
    /// does not while the database is away.
    pub(crate) fn start_again(&mut self) -> bool {
        let log = std::mem::replace(&mut self.log, NamedTempFile::new().unwrap());
        let listen = self.http.replace("http://", "");
        match Self::spawn(&self.store, &listen, self.arguments.clone(), log) {
            Ok(started) => *self = started,
            Err(log) => {
                self.log = log;
                return false;
            }
        }
        true
    }

    /// Kills it as a crash would: no signal handler runs.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().unwrap()
    }

    /// Freezes it: its connections stay open, nothing answers.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Undoes [`Served::pause`].
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// What it has said so far to its operator.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _already_dead = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(TAIL).collect();
            eprintln!("the server at {} said last:", self.http);
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// `operond serve` on this store, listening there.
pub(crate) fn serve(store: &str, listen: &str) -> Command {
    let mut command = command();
    command.args(["serve", "--store", store, "--insecure-no-auth", "--listen", listen]);
    command
}

/// Where a fresh schema of `cluster` is that `operond migrate up` has filled.
pub(crate) fn migrated(cluster: &Cluster) -> String {
    let store = cluster.fresh_schema();
    let output = ended(command().args(["migrate", "up", "--store", &store]));
    assert!(output.status.success(), "{output:?}");
    store
}

/// How a command ended that has to end by itself, and soon.
#[track_caller]
pub(crate) fn ended(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let (sender, output) = mpsc::sync_channel(1);
    std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    output.recv_timeout(END_MAX).unwrap_or_else(|_elapsed| {
        let _ended_just_now = kill_process(pid, Signal::KILL);
        panic!("{command:?} had not ended after {END_MAX:?}")
    })
}

/// Where a server says that it listens; none if it ends without a word.
fn address(lines: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        if let Some(word) = line.split_whitespace().find(|word| word.starts_with("http://")) {
            return Some(word.to_owned());
        }
        line.clear();
    }
    None
}

/// The library of Debian's package `faketime`.
fn faketime() -> PathBuf {
    let architectures = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let library = architectures.map(|path| path.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    library.expect("this test needs Debian's package `faketime`: run `cargo xtask test`, which installs it")
}

/// An operator sees within this time that a command failed.
const END_MAX: Duration = Duration::from_secs(15);
/// Lines of a server's log that are shown when a test fails.
const TAIL: usize = 40;
