//! What all callers have in common: where the servers are, what operations are called, and the ledger.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use operond_client::proto::CreateRequest;
use operond_client::{Client, Options};
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};

use crate::ledger::Ledger;

/// Two servers and those who call them.
pub(crate) struct Scene {
    pub(crate) urls: [String; 2],
    pub(crate) seed: u64,
    pub(crate) ledger: Ledger,
    name: String,
    made: AtomicU64,
}

impl Scene {
    pub(crate) fn new(urls: [String; 2], name: &str, seed: u64) -> Self {
        Self { urls, seed, ledger: Ledger::default(), name: name.to_owned(), made: AtomicU64::new(0) }
    }

    /// A kind of ours.
    pub(crate) fn kind(&self, what: &str) -> String {
        format!("{}.{what}", self.name)
    }

    /// A create of a kind of ours. Its description is that of no other.
    pub(crate) fn request(&self, kind: &str) -> CreateRequest {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        CreateRequest {
            kind: self.kind(kind),
            description: format!("{}-{number}", self.name),
            // A claim whose answer is lost costs an attempt.
            max_attempts: Some(100),
            ..CreateRequest::default()
        }
    }

    /// A connection of its own to one of the servers. Its calls are patient: they outlast an outage.
    pub(crate) fn client(&self, server: usize) -> Client {
        let options = Options { patience: PATIENCE, ..Options::new(self.urls[server].clone()) };
        Client::connect(options).expect("a server printed the URL")
    }

    /// The same, for calls that are made once.
    pub(crate) fn channel(&self, server: usize) -> Channel {
        let endpoint = Endpoint::from_shared(self.urls[server].clone()).expect("a server printed the URL");
        endpoint.tcp_nodelay(true).connect_lazy()
    }

    /// Waits until each server has acknowledged a write that began after `since`.
    ///
    /// # Errors
    /// One has not in two minutes.
    pub(crate) async fn until_both_write_since(&self, since: Instant) -> Result<()> {
        while !self.ledger.book().both_write_since(since) {
            ensure!(since.elapsed() < AWAY_MAX, "a server has taken no write for {AWAY_MAX:?}");
            sleep(LOOK).await;
        }
        Ok(())
    }
}

/// How long a call that may be repeated is repeated, and how long who waits puts up with an outage.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// Whoever looks for something looks so often.
pub(crate) const LOOK: Duration = Duration::from_millis(20);
const AWAY_MAX: Duration = Duration::from_secs(120);
