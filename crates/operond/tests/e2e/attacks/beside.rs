//! The client beside an attack, and what it judges.

use std::time::{Duration, Instant};

use operond_proto::operond::v1::operations_client::OperationsClient;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use tonic::transport::Channel;

use crate::support::{Server, create, get, http, operations};

/// How much memory an attack may make the server take, in kB, beside what it had just before. Below it are buffers
/// of some thousand connections; an attack that is not bounded at all takes hundreds of megabytes.
const MEMORY_KB_MAX: usize = 128 * 1024;
/// A client's slowest calls may take twice as long as before, or so much longer, whichever is more: on machines that
/// others use as well, a call of a millisecond takes ten without any attack.
const NOISE: Duration = Duration::from_millis(20);
/// Calls of the client before the attack, and at least during it.
const CALLS: usize = 300;
/// Others may disturb one measurement, but not every one.
const ATTEMPTS: usize = 3;

/// One attack at a time: they would disturb each other's client.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A server that is going to be attacked.
pub(super) struct Victim {
    pub(super) server: Server,
    client: OperationsClient<Channel>,
    id: String,
    _data: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Victim {
    pub(super) async fn start() -> Self {
        Self::start_by(Server::serve).await
    }

    pub(super) async fn start_by(serve: impl FnOnce(&str) -> Server) -> Self {
        let alone = ALONE.lock().await;
        let data = tempfile::tempdir().unwrap();
        let server = serve(&format!("sqlite:{}", data.path().join("operond.db").display()));
        let mut client = operations(&server.http);
        let id = client.create(create("beside")).await.unwrap().into_inner().id;
        Self { server, client, id, _data: data, _alone: alone }
    }

    /// `HOST:PORT`
    pub(super) fn address(&self) -> &str {
        self.server.http.strip_prefix("http://").unwrap()
    }

    /// Attacks, with a client beside. What the attack came to.
    pub(super) async fn bears<T>(&self, attack: impl AsyncFn() -> T) -> T {
        self.bears_with(MEMORY_KB_MAX, attack).await
    }

    /// The same, for an attack that may make the server take so much memory.
    pub(super) async fn bears_with<T>(&self, memory_kb_max: usize, attack: impl AsyncFn() -> T) -> T {
        let mut told = Vec::new();
        for _ in 0..ATTEMPTS {
            let before = p99(self.calls_until(std::future::ready(())).await.1);
            let memory_kb = self.server.memory_kb("VmRSS");
            let (outcome, calls) = self.calls_until(attack()).await;
            let (count, during) = (calls.len(), p99(calls));
            let grown_kb = self.server.memory_kb("VmHWM").saturating_sub(memory_kb);
            let said = format!("p99 {before:?} before, {during:?} during ({count} calls), memory +{grown_kb} kB");
            println!("{said}");
            assert!(grown_kb <= memory_kb_max, "{said}");
            self.lives();
            if during <= (before * 2).max(before + NOISE) {
                return outcome;
            }
            told.push(said);
        }
        panic!("the client beside suffers each time: {told:#?}");
    }

    /// Answers who was there before and who comes anew.
    fn lives(&self) {
        let answer = http::call(&self.server.http, "GET", &format!("/operations/{}", self.id), &[], "");
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// How long each call took of a client that calls until `attack` ends, and a while at least.
    async fn calls_until<T>(&self, attack: impl Future<Output = T>) -> (T, Vec<Duration>) {
        let ended = std::cell::Cell::new(false);
        let attack = async {
            let outcome = attack.await;
            ended.set(true);
            outcome
        };
        let calls = async {
            let mut client = self.client.clone();
            let mut took = Vec::new();
            while !ended.get() || took.len() < CALLS {
                let began = Instant::now();
                client.get(get(&self.id)).await.expect("who behaves is answered");
                took.push(began.elapsed());
                tokio::time::sleep(PAUSE).await;
            }
            took
        };
        tokio::join!(attack, calls)
    }
}

/// Between two calls: the client looks at the server, it does not load it.
const PAUSE: Duration = Duration::from_millis(2);

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() * 99 / 100]
}
