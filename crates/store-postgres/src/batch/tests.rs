//! What finding work costs where the indexes are full of dead entries: counted in blocks, not in time.

use operond_core::{LeaseSecret, NewOperation, Spec, Worker};
use operond_store::{Accepted, ClaimRequest, CreateRequest, Request, Store};
use tokio::runtime::{Builder, Handle};
use tokio::time::{Duration, sleep, timeout};

use super::*;
use crate::address::Address;
use crate::cluster::{Cluster, Kind as Speed};
use crate::passed::Timers;
use crate::session::Connector;
use crate::{Options, PostgresStore};

/// Entries of each index.
const DEAD: i64 = 200_000;

/// Rows as they are before a claim, of four queues in turn, and whose timers and backoffs are over.
const FILL: &str = "INSERT INTO operations (id, tenant, kind, created_at, state, claimable, available_at, due_at, \
    expires_at, revision, modified_at, backoff, attempt, events) \
    SELECT 'dead' || n, (ARRAY['a', 'b', 'd', 'b'])[n % 4 + 1], (ARRAY['k', 'k', 'k', 'l'])[n % 4 + 1], n, 1, n % 5 <> 0, \
    n, n, n, 1, n, 0, 0, '' FROM generate_series(1, $1::bigint) AS n";

/// A store, and a connection of one's own to its database.
struct Scene {
    store: PostgresStore,
    session: Session,
    connector: Connector,
    entropy: u16,
}

impl Scene {
    async fn new() -> Self {
        let url = Cluster::shared(Speed::Fast).fresh_schema();
        PostgresStore::migrate(&url).await.unwrap();
        let options = Options { writers: 1, readers: 1, ..Options::default() };
        let store = PostgresStore::open(&url, options).await.unwrap();
        let connector = Connector::new(Address::parse(&url).unwrap(), Handle::current());
        Self { store, session: connector.session().await.unwrap(), connector, entropy: 0 }
    }

    async fn ask(&self, request: Request) -> Accepted {
        let applied = self.store.update(Arc::new(Batch { requests: vec![request] })).await.unwrap();
        applied.replies.into_iter().next().unwrap().unwrap()
    }

    async fn create(&mut self, kind: &str, of: &str) {
        self.entropy += 1;
        let mut entropy = [0; 13];
        entropy[..2].copy_from_slice(&self.entropy.to_be_bytes());
        let spec = Spec { tenant: tenant(of), ..Spec::new(Kind::new(kind).unwrap()) };
        let new = NewOperation { spec: Arc::new(spec), metadata: None, claim: None };
        self.ask(Request::Create(Box::new(CreateRequest { new, entropy, key: None }))).await;
    }

    /// Makes entries and kills them, and lets nobody remove them as long as the connection lives.
    async fn bloat(&self) -> Session {
        let client = &self.session.client;
        client.execute(FILL, &[&DEAD]).await.unwrap();
        let snapshot = self.connector.session().await.unwrap();
        snapshot.client.batch_execute("SET idle_in_transaction_session_timeout = 0").await.unwrap();
        snapshot.client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM streams").await.unwrap();
        client.batch_execute("DELETE FROM operations WHERE id LIKE 'dead%'").await.unwrap();
        snapshot
    }

    /// Whose operations were claimed, in their order.
    async fn claim(&self, max: usize) -> Vec<String> {
        let claim = ClaimRequest {
            kinds: kinds(),
            tenant: None,
            after: None,
            worker: Worker::new("w").unwrap(),
            duration: Duration::from_secs(600),
            secrets: vec![LeaseSecret([1; 16]); max],
        };
        let Accepted::Claimed(claimed) = self.ask(Request::Claim(claim)).await else { panic!("a claim") };
        claimed.iter().map(|operation| format!("{} {}", operation.spec.kind, operation.spec.tenant)).collect()
    }

    /// Waits until something is passed in every index, or in none; until then, what can be removed is removed.
    async fn until_it_passes(&self, passes: bool) {
        let passed = self.store.inner.lanes.passed();
        let all = Timers { backoff: passes, due: passes, expires: passes };
        let ready = || {
            let timers = passed.timers().map(|at| at > i64::MIN);
            timers == all && passed.spans(&["k", "l"].into()).is_some() == passes
        };
        timeout(Duration::from_secs(10), async {
            while !ready() {
                self.session.client.batch_execute("VACUUM operations").await.unwrap();
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("it looks for what is dead");
    }

    /// Blocks that everything touches that is asked to find work, one statement after the other.
    async fn blocks(&self, passed: &Passed) -> Vec<i64> {
        let lanes = &self.store.inner.lanes;
        let (time, set_aside) = (&*self.store.inner.time, lanes.set_aside());
        let context = Context { time, set_aside, passed, patient: true };
        let loaded = Loaded {
            session: &self.session,
            context: &context,
            operations: HashMap::new(),
            held: vec![],
            begun: false,
        };
        let one_of =
            |kind: &str| ClaimWant { kinds: [Kind::new(kind).unwrap()].into(), tenant: None, after: None, max: 1 };
        let mut claims = vec![one_of("k"), one_of("l")];
        claims.push(ClaimWant { kinds: kinds(), max: 10, ..one_of("k") });
        claims.push(ClaimWant { tenant: Some(tenant("b")), max: 10, ..one_of("k") });
        claims.push(ClaimWant { after: Some(tenant("b")), ..one_of("k") });
        let wants = Wants { claims, due: 10, ..Wants::default() };
        let mut blocks = Vec::new();
        for question in loaded.questions(&wants, &Wanted::of(&wants, std::iter::empty())) {
            let parameters: Vec<&(dyn ToSql + Sync)> = question.parameters.iter().map(|value| &**value as _).collect();
            self.session.client.batch_execute("BEGIN").await.unwrap();
            let explain = format!("EXPLAIN (ANALYZE, BUFFERS) {}", question.sql);
            let rows = self.session.client.query(&explain, &parameters).await.unwrap();
            self.session.client.batch_execute("ROLLBACK").await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            blocks.push(touched(&plan));
        }
        blocks
    }
}

fn kinds() -> Arc<[Kind]> {
    ["k", "l"].map(|kind| Kind::new(kind).unwrap()).into()
}

fn tenant(name: &str) -> Tenant {
    Tenant::parse("tenant", name).unwrap()
}

/// By the first step, which counts those of the others, too.
fn touched(plan: &[String]) -> i64 {
    let line = plan.iter().find(|line| line.contains("Buffers: ")).expect("they are counted");
    let numbers = line.split(' ').filter_map(|word| word.split_once('='));
    numbers.filter(|(what, _)| ["hit", "read"].contains(what)).map(|(_, n)| n.parse::<i64>().unwrap()).sum()
}

#[test]
fn what_is_dead_in_the_indexes_is_passed() {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
        let mut scene = Scene::new().await;
        for (kind, of) in [("k", "a"), ("k", "b"), ("k", "d"), ("l", "b"), ("k", "b"), ("l", "c")] {
            scene.create(kind, of).await;
        }
        assert_eq!(scene.claim(4).await, ["k a", "k b", "l c", "k d"]);
        assert_eq!(scene.claim(2).await, ["l b", "k b"]);
        for (kind, of) in [("k", "b"), ("k", "c"), ("l", "b")] {
            scene.create(kind, of).await;
        }
        let never = Passed::new(Duration::MAX);
        let fresh = scene.blocks(&never).await;
        let snapshot = scene.bloat().await;
        let stepped_over = scene.blocks(&never).await;
        assert_eq!(scene.claim(1).await, ["k b"], "slowly");
        scene.until_it_passes(true).await;
        let passed = scene.blocks(scene.store.inner.lanes.passed()).await;
        println!("blocks: fresh {fresh:?}, stepped over {stepped_over:?}, passed {passed:?}");
        for (n, ((fresh, stepped_over), passed)) in fresh.iter().zip(&stepped_over).zip(&passed).enumerate() {
            // The indexes are higher than they were, and each span is looked for on its own.
            let enough = 5 * fresh + 10;
            assert!(*passed <= enough && *stepped_over > 20 * enough, "{n}: {fresh}, {stepped_over}, {passed} blocks");
        }
        assert_eq!(scene.claim(5).await, ["l b", "k c"]);
        drop(snapshot);
        scene.until_it_passes(false).await;
    });
}
