//! Who may call, through the real binary: keys from the first one on, on every face and by unmodified SDKs.

use std::process::Child;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::Server;

mod audit;
mod certificate;
mod cli;
mod first_key;
mod issuer;
mod listeners;
mod sdk;
mod text;
mod two_servers;

/// A certificate for `localhost`, its key, and the authority that clients are to trust: what `operond dev` makes.
struct Identity {
    ca: String,
    certificate: String,
    key: String,
    _folder: TempDir,
}

impl Identity {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        drop(Server::start_in(folder.path(), &[]));
        let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (ca, certificate, key) = (file("ca.pem"), file("server.pem"), file("server-key.pem"));
        Self { ca, certificate, key, _folder: folder }
    }

    /// For `operond serve`.
    fn arguments(&self) -> [&str; 4] {
        ["--tls-cert", &self.certificate, "--tls-key", &self.key]
    }
}

/// A process that is stopped at the end, however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _already_dead = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Asks again and again until it is so.
#[track_caller]
fn soon(what: &str, is_so: impl FnMut() -> bool) -> Duration {
    within(PATIENCE, what, is_so)
}

/// The same with a limit that matters; says how long it took.
#[track_caller]
fn within(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < limit, "not after {limit:?}: {what}");
    }
    began.elapsed()
}

/// For what takes a moment; only a failure takes longer.
const PATIENCE: Duration = Duration::from_secs(20);
