//! The keys of one issuer, kept fresh by a task of their own.
//!
//! The task alone fetches, so that callers share what is under way, and one that goes away takes nothing with it. It is
//! asked by whoever misses a key, but not more often than once in [`REFRESH_INTERVAL_MIN`]: anybody can make up keys
//! that do not exist.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use operond_store::Clock;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsConnector;

use super::fetch::{ANSWER_BYTES_MAX, Address, FetchError, get};
use super::issuer::Source;
use super::json;
use super::jwk::{Keys, NoKeys};

/// How often keys are fetched when nothing is missing.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// How often keys are fetched at most, whoever asks.
pub const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(30);
/// For how long keys are believed that could not be fetched again.
pub const KEYS_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Time to fetch keys.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The keys of an issuer, as far as they are known.
pub(super) struct Keeper {
    state: watch::Receiver<State>,
    asked: Arc<Notify>,
    clock: Arc<dyn Clock>,
}

/// The task that fetches them.
pub(super) struct Task {
    issuer: String,
    source: Source,
    tls: TlsConnector,
    state: watch::Sender<State>,
    asked: Arc<Notify>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<Fetched>,
    /// When they were fetched last, with whatever result; times are those of the monotonic clock.
    begun: Option<Duration>,
    under_way: bool,
    failed: bool,
}

#[derive(Debug)]
struct Fetched {
    keys: Arc<Keys>,
    at: Duration,
}

#[derive(Debug, thiserror::Error)]
enum Away {
    #[error("{address}")]
    Fetch { address: Address, source: FetchError },
    #[error("it takes longer than {} s", FETCH_TIMEOUT.as_secs())]
    Slow,
    #[error("its discovery document {0}")]
    Discovery(&'static str),
    #[error("its set of keys")]
    Keys(#[from] NoKeys),
    #[error("its file of keys")]
    File(#[from] std::io::Error),
    #[error("reading its file of keys was given up")]
    GivenUp(#[from] tokio::task::JoinError),
}

impl Keeper {
    /// The keys of `issuer`, and the task that has to run for them.
    pub(super) fn new(issuer: String, source: Source, tls: TlsConnector, clock: Arc<dyn Clock>) -> (Self, Task) {
        let (sender, state) = watch::channel(State::default());
        let asked = Arc::new(Notify::new());
        let task = Task { issuer, source, tls, state: sender, asked: Arc::clone(&asked), clock: Arc::clone(&clock) };
        (Self { state, asked, clock }, task)
    }

    /// The keys, if any can be believed.
    pub(super) fn keys(&self) -> Option<Arc<Keys>> {
        let state = self.state.borrow();
        let fetched = state.keys.as_ref()?;
        let age = self.clock.elapsed().saturating_sub(fetched.at);
        (age <= KEYS_AGE_MAX).then(|| Arc::clone(&fetched.keys))
    }

    /// Whether there may be newer keys, which could not be fetched.
    pub(super) fn is_behind(&self) -> bool {
        self.state.borrow().failed
    }

    /// Has the keys fetched, unless that was done a moment ago, and waits until it is.
    pub(super) async fn refreshed(&self) {
        let mut state = self.state.clone();
        loop {
            {
                let state = state.borrow_and_update();
                if !state.under_way {
                    if state.is_recent(self.clock.elapsed()) {
                        return;
                    }
                    self.asked.notify_one();
                }
            }
            if state.changed().await.is_err() {
                return;
            }
        }
    }
}

impl State {
    fn is_recent(&self, now: Duration) -> bool {
        self.begun.is_some_and(|begun| now.saturating_sub(begun) < REFRESH_INTERVAL_MIN)
    }
}

impl Task {
    /// Keeps the keys fresh until it is dropped.
    pub(super) async fn run(self) {
        loop {
            self.refresh().await;
            let pause = if self.state.borrow().failed { REFRESH_INTERVAL_MIN } else { REFRESH_INTERVAL };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.asked() => {}
            }
        }
    }

    async fn asked(&self) {
        loop {
            self.asked.notified().await;
            if !self.state.borrow().is_recent(self.clock.elapsed()) {
                return;
            }
        }
    }

    async fn refresh(&self) {
        let begun = self.clock.elapsed();
        self.state.send_modify(|state| {
            state.begun = Some(begun);
            state.under_way = true;
        });
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.fetch()).await.unwrap_or(Err(Away::Slow));
        match &fetched {
            Ok(keys) if keys.len() == 0 => {
                tracing::warn!(issuer = self.issuer, "an issuer publishes no keys that can be used");
            }
            Ok(keys) => tracing::debug!(issuer = self.issuer, keys = keys.len(), "fetched the keys of an issuer"),
            Err(error) => tracing::warn!(
                issuer = self.issuer,
                error = chain(error),
                "cannot fetch the keys of an issuer; known ones are believed for a day"
            ),
        }
        self.state.send_modify(|state| {
            state.under_way = false;
            state.failed = fetched.is_err();
            if let Ok(keys) = fetched {
                state.keys = Some(Fetched { keys: Arc::new(keys), at: begun });
            }
        });
    }

    async fn fetch(&self) -> Result<Keys, Away> {
        let document = match &self.source {
            Source::File(path) => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || read(&path)).await??.into()
            }
            Source::Url(address) => self.get(address).await?,
            Source::Discovery(address) => {
                let found = discovered(&self.get(address).await?, &self.issuer)?;
                if address.is_encrypted() != found.is_encrypted() {
                    return Err(Away::Discovery("leads from https to http, or the other way"));
                }
                self.get(&found).await?
            }
        };
        Ok(Keys::read(&document)?)
    }

    async fn get(&self, address: &Address) -> Result<Bytes, Away> {
        get(address, &self.tls).await.map_err(|source| Away::Fetch { address: address.clone(), source })
    }
}

/// Reads one byte too many of a file that is too long: then it is no JSON.
fn read(path: &Path) -> Result<Vec<u8>, std::io::Error> {
    let mut document = Vec::new();
    std::fs::File::open(path)?.take(ANSWER_BYTES_MAX as u64 + 1).read_to_end(&mut document)?;
    if document.len() > ANSWER_BYTES_MAX {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it is larger than 256 KiB"));
    }
    Ok(document)
}

/// The address of the keys. A document of another issuer would be that of whoever can write to this address.
fn discovered(document: &[u8], issuer: &str) -> Result<Address, Away> {
    let document = json::object(document).ok_or(Away::Discovery("is not a JSON object without double names"))?;
    if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(Away::Discovery("is that of another issuer"));
    }
    let address = document.get("jwks_uri").and_then(Value::as_str).ok_or(Away::Discovery("has no `jwks_uri`"))?;
    Address::parse(address).map_err(|_| Away::Discovery("has a `jwks_uri` that is neither https nor on this machine"))
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
