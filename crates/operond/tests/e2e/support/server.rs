//! One server process, killed when dropped.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running `operond dev` or `operond serve` on ports of its own.
pub(crate) struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub(crate) http: String,
    /// `localhost:PORT`, or `127.0.0.1:PORT` of a `serve`; TLS.
    pub(crate) tls: String,
    data: PathBuf,
    _temp: Option<TempDir>,
}

impl Server {
    /// A server with data of its own.
    pub(crate) fn start() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut server = Self::start_in(temp.path(), &[]);
        server._temp = Some(temp);
        server
    }

    /// A server with its data in `data` and more arguments.
    pub(crate) fn start_in(data: &Path, arguments: &[&str]) -> Self {
        Self::spawn(data, "127.0.0.1:0", "127.0.0.1:0", arguments)
    }

    fn spawn(data: &Path, listen: &str, tls_listen: &str, arguments: &[&str]) -> Self {
        let mut child = command()
            .args(["dev", "--listen", listen, "--tls-listen", tls_listen, "--data"])
            .arg(data)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let http = address(&mut lines, "http://");
        let tls = address(&mut lines, "https://").replace("https://", "");
        // The rest is for people; a full pipe would stop the server.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Self { child, http, tls, data: data.to_owned(), _temp: None }
    }

    /// A server on a store of its own choice.
    pub(crate) fn serve(store: &str) -> Self {
        Self::serve_with(store, &[])
    }

    /// The same with more arguments; one of them may be `--tls-listen`.
    pub(crate) fn serve_with(store: &str, arguments: &[&str]) -> Self {
        Self::serve_by(command(), store, arguments)
    }

    /// The same, with so many file descriptors, as `ulimit` is told.
    pub(crate) fn serve_with_files(store: &str, files: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!(r#"ulimit {files} && exec "$0" "$@""#), env!("CARGO_BIN_EXE_operond")]);
        Self::serve_by(shell, store, &[])
    }

    fn serve_by(mut command: Command, store: &str, arguments: &[&str]) -> Self {
        command.args(["serve", "--store", store, "--insecure-no-auth", "--listen", "127.0.0.1:0"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let http = address(&mut lines, "http://");
        let encrypted = arguments.contains(&"--tls-listen");
        let tls = if encrypted { address(&mut lines, "https://").replace("https://", "") } else { String::new() };
        // The rest is for people; a full pipe would stop the server.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Self { child, http, tls, data: PathBuf::new(), _temp: None }
    }

    /// Starts it again on the same ports with the same data; says how long it took to be ready.
    pub(crate) fn start_again(&mut self) -> Duration {
        let began = Instant::now();
        let listen = self.http.replace("http://", "");
        let tls_listen = self.tls.replace("localhost", "127.0.0.1");
        let mut next = Self::spawn(&self.data, &listen, &tls_listen, &[]);
        let took = began.elapsed();
        next._temp = self._temp.take();
        *self = next;
        took
    }

    /// Kills it as a crash would: no signal handler runs.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(&mut self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }

    /// What the system says of its process: a number in kB, such as `VmRSS`.
    pub(crate) fn memory_kb(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The directory with `operond.db` and `ca.pem`.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The binary under test.
pub(crate) fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_operond"))
}

/// The word on the next line that has one beginning with `scheme`.
fn address(lines: &mut impl BufRead, scheme: &str) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the server ended before it said where it listens");
        if let Some(word) = line.split_whitespace().find(|word| word.starts_with(scheme)) {
            return word.to_owned();
        }
    }
}
