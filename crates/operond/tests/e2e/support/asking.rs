//! A server that asks callers who they are; killed when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::{NamedTempFile, TempDir};

use super::command;
use super::served::ended;

/// A running `operond serve` that logs all it can: what it says must hold no secret.
pub(crate) struct Asking {
    child: Child,
    /// Where it listens, in the order of its own telling: `http://…`, `https://…`.
    pub(crate) urls: Vec<String>,
    /// The key of an admin of everything, where this start has made one.
    pub(crate) admin_key_file: Option<PathBuf>,
    stdout: NamedTempFile,
    stderr: NamedTempFile,
    _temp: Option<TempDir>,
}

impl Asking {
    /// A server with data of its own, on one plaintext address and others as `arguments` say.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut server = Self::on(&sqlite(temp.path()), arguments);
        server._temp = Some(temp);
        server
    }

    /// A server on this store.
    pub(crate) fn on(store: &str, arguments: &[&str]) -> Self {
        Self::started(store, arguments).unwrap_or_else(|said| panic!("the server does not start: {said}"))
    }

    /// The same; what it said where it ends instead.
    pub(crate) fn started(store: &str, arguments: &[&str]) -> Result<Self, String> {
        Self::spawn(store, arguments).ready()
    }

    /// A server that may not be ready yet.
    pub(crate) fn spawn(store: &str, arguments: &[&str]) -> Self {
        let (stdout, stderr) = (NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap());
        let to = |file: &NamedTempFile| File::options().append(true).open(file.path()).unwrap();
        let child = serve(store, arguments).stdout(to(&stdout)).stderr(to(&stderr)).spawn().unwrap();
        Self { child, urls: Vec::new(), admin_key_file: None, stdout, stderr, _temp: None }
    }

    /// Waits until it says that it is; what it said where it ends instead.
    pub(crate) fn ready(mut self) -> Result<Self, String> {
        let began = Instant::now();
        // It says all at once.
        while !self.said().0.contains("is ready") {
            if self.child.try_wait().unwrap().is_some() {
                return Err(self.said().1);
            }
            assert!(began.elapsed() < START_MAX, "not ready after {START_MAX:?}");
            std::thread::yield_now();
        }
        let said = self.said().0;
        let after = |what: &str| {
            let values = said.lines().filter_map(|line| line.trim().strip_prefix(what));
            values.map(|value| value.trim().to_owned()).collect::<Vec<_>>()
        };
        self.urls = after("listening on");
        self.admin_key_file = after("first key, an admin").pop().map(PathBuf::from);
        Ok(self)
    }

    /// The key that this start has made.
    pub(crate) fn admin(&self) -> String {
        let path = self.admin_key_file.as_ref().expect("the first start says where the first key is");
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// The plaintext address.
    pub(crate) fn http(&self) -> &str {
        self.urls.iter().find(|url| url.starts_with("http://")).unwrap()
    }

    /// `HOST:PORT` of the first address with TLS.
    pub(crate) fn tls(&self) -> &str {
        self.urls.iter().find_map(|url| url.strip_prefix("https://")).unwrap()
    }

    /// Makes a key for `name`, as `operond keys create` does.
    #[track_caller]
    pub(crate) fn key(&self, admin: &str, name: &str, tenant: &str, role: &str) -> String {
        create_key(self.http(), admin, &[name, "--tenant", tenant, "--role", role])
    }

    /// What it has said so far: on stdout, and in its log.
    pub(crate) fn said(&self) -> (String, String) {
        let read = |file: &NamedTempFile| String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).into_owned();
        (read(&self.stdout), read(&self.stderr))
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let _already_dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// `operond serve` on this store, on a port of its own.
pub(crate) fn serve(store: &str, arguments: &[&str]) -> Command {
    let mut command = command();
    command.args(["serve", "--store", store, "--listen", "127.0.0.1:0"]).args(arguments);
    command.env("OPEROND_LOG", "trace").env_remove("OPEROND_TOKEN").stdin(Stdio::null());
    command
}

/// The store in a folder.
pub(crate) fn sqlite(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("operond.db").display())
}

/// `operond ARGUMENTS` as whoever has `token`, against the server there; run to its end.
#[track_caller]
pub(crate) fn operond(endpoint: &str, token: &str, arguments: &[&str]) -> Output {
    ended(&mut client(endpoint, token, arguments))
}

/// The same, not run yet. No token is sent when it is empty.
pub(crate) fn client(endpoint: &str, token: &str, arguments: &[&str]) -> Command {
    let mut command = command();
    command.args(arguments).env("OPEROND_ENDPOINT", endpoint).env_remove("OPEROND_TOKEN").stdin(Stdio::null());
    if !token.is_empty() {
        command.env("OPEROND_TOKEN", token);
    }
    command
}

/// What a command printed that ended well.
#[track_caller]
pub(crate) fn printed(endpoint: &str, token: &str, arguments: &[&str]) -> String {
    let output = operond(endpoint, token, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a key.
#[track_caller]
pub(crate) fn create_key(endpoint: &str, admin: &str, arguments: &[&str]) -> String {
    printed(endpoint, admin, &[&["keys", "create"], arguments].concat()).trim().to_owned()
}

/// The id in a key.
pub(crate) fn id_of(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

/// The secret part of a key.
pub(crate) fn secret_of(key: &str) -> &str {
    key.rsplit('_').next().unwrap()
}

const START_MAX: Duration = Duration::from_secs(20);
