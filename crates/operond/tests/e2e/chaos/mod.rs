//! Servers are killed and stand still, sessions of the database are ended, stand still and are killed, and clients of all sorts go on:
//! what they are told is taken down and judged (FAILURES 1–7, 9, 10, 14–18, 20, 25, 32).

mod checker;
mod clients;
mod faults;
mod history;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use operond_proto::operond::v1::CountRequest;
use operond_store_postgres::cluster::{Cluster, Kind, Settings};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::served::migrated;
use crate::support::{Random, Served, operations, seed, until};

use clients::{Client, KIND, World};
use faults::{DatabaseFault, Happened, Plan, SORTS, ServerFault};
use history::{Call, Outcome, What};

const PRODUCERS: usize = 3;
const WORKERS: usize = 16;
const CALLERS: usize = 6;
const WAITERS: usize = 4;
/// When nothing fails any more, everything ends within this time: leases, graces and backoffs are a few seconds.
const CALM_MAX: Duration = Duration::from_secs(30);

/// `OPEROND_CHAOS_SECONDS` says for how long, 30 unless given; `OPEROND_SEED` gives the faults and the clients' choices.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_contradicts_itself_whatever_fails() {
    let length = std::env::var("OPEROND_CHAOS_SECONDS").map_or(30, |seconds| seconds.parse().expect("a number"));
    let length = Duration::from_secs(length);
    let seed = seed();
    let faults = Faults {
        servers: [1, 2].map(|n| faults::of_a_server(&mut Random::of(seed, n), length)),
        database: faults::of_the_database(&mut Random::of(seed, 3), length),
    };
    let (calls, happened) = history(seed, length, Vec::new(), faults).await;
    let never: Vec<_> = SORTS.iter().filter(|sort| happened.get(**sort).is_none_or(|times| *times == 0)).collect();
    assert!(never.is_empty(), "{never:?} never happened in {length:?} (OPEROND_SEED={seed})");
    let (wrong, unfinished) = (checker::check(&calls), checker::unfinished(&calls));
    let some: Vec<String> = wrong.iter().take(20).map(|wrong| format!("{wrong}\n")).collect();
    assert!(wrong.is_empty(), "{} times (OPEROND_SEED={seed}), such as\n{}", wrong.len(), some.concat());
    assert!(unfinished.is_empty(), "never ended (OPEROND_SEED={seed}): {unfinished:?}");
}

/// The control of the test above: a database that says "committed" before it is, and is killed.
#[tokio::test(flavor = "multi_thread")]
async fn control_a_database_that_loses_what_it_acknowledged_is_noticed() {
    let kill = |n: u64| (Duration::from_secs(2 * n), DatabaseFault::Kill { which: 0 });
    let faults = Faults { servers: [Vec::new(), Vec::new()], database: (1..=4).map(kill).collect() };
    let early = ["synchronous_commit = off", "wal_writer_delay = 10s"].map(str::to_owned);
    let (calls, _) = history(seed(), Duration::from_secs(9), early.into(), faults).await;
    let wrong = checker::check(&calls);
    println!("noticed {} times, such as\n{}", wrong.len(), wrong.first().expect("nothing was noticed"));
}

struct Faults {
    servers: [Plan<ServerFault>; 2],
    database: Plan<DatabaseFault>,
}

/// What clients are told for so long by two servers on one database that is theirs alone (for a killed session makes
/// PostgreSQL end all of them), and what went wrong meanwhile.
async fn history(seed: u64, length: Duration, configuration: Vec<String>, faults: Faults) -> (Vec<Call>, Happened) {
    let cluster = Cluster::start(&Settings { configuration, ..Settings::of(Kind::Durable) });
    let store = migrated(&cluster);
    let servers = [Served::start(&store, &[]), Served::start(&store, &[])];
    let world = World::new(servers.each_ref().map(|server| server.http.clone()));
    let load = load(seed, &world);
    let ([a, b], [plan_a, plan_b], plan) = (servers, faults.servers, faults.database);
    println!("server 0: {plan_a:?}\nserver 1: {plan_b:?}\ndatabase: {plan:?}");
    let harm =
        (faults::harm_server(a, plan_a), faults::harm_server(b, plan_b), faults::harm_database(cluster.url(), plan));
    sleep(length).await;
    let whole = tokio::task::spawn_blocking(|| (harm.0.stop(), harm.1.stop(), harm.2.stop()));
    let ((a, mut happened), (b, others), database) = whole.await.unwrap();
    for (sort, times) in others.into_iter().chain(database) {
        *happened.entry(sort).or_default() += times;
    }
    println!("{happened:?}");
    world.calm.store(true, Ordering::SeqCst);
    load.join_all().await;
    everything_ends(seed, &world, &[&a, &b]).await;
    let calls = world.recorder.take();
    tell(&calls);
    (calls, happened)
}

fn load(seed: u64, world: &Arc<World>) -> JoinSet<()> {
    let mut load = JoinSet::new();
    let mut clients = (0..).map(|n| Client::new(n, seed, world));
    let mut next = || clients.next().expect("there is no end of clients");
    (0..PRODUCERS).for_each(|_| drop(load.spawn(next().produce())));
    (0..WORKERS).for_each(|_| drop(load.spawn(next().work())));
    (0..CALLERS).for_each(|_| drop(load.spawn(next().call())));
    (0..WAITERS).for_each(|_| drop(load.spawn(next().wait())));
    load
}

/// Workers end what is left; who waits for it is told; and both servers say the same of each operation.
async fn everything_ends(seed: u64, world: &Arc<World>, servers: &[&Served; 2]) {
    let client = |n: usize| Client::new(1_000 + n, seed, world);
    let mut drain = JoinSet::new();
    (0..WORKERS).for_each(|n| drop(drain.spawn(client(n).drain())));
    let mut waiters = JoinSet::new();
    for (n, id) in world.ids().into_iter().enumerate() {
        let mut client = client(WORKERS + n);
        let wait = What::Wait { id, timeout: CALM_MAX };
        waiters.spawn(async move { drop(client.insist(wait).await) });
    }
    waiters.join_all().await;
    for server in servers {
        let left = || async {
            let filter = format!("kind = {KIND} AND done = false");
            let left = operations(&server.http).count(CountRequest { filter }).await.unwrap().into_inner();
            (left.count == 0).then_some(())
        };
        until(CALM_MAX, "nothing is left", left).await;
    }
    world.over.store(true, Ordering::SeqCst);
    drain.join_all().await;
    let mut reader = client(0);
    for id in world.ids() {
        for _ in 0..3 {
            reader.insist(What::Get { id: id.clone() }).await;
        }
    }
}

/// How much of what was asked, and how it went.
fn tell(calls: &[Call]) {
    let mut went: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let mut longest: BTreeMap<&str, Duration> = BTreeMap::new();
    for call in calls {
        let what = match call.what {
            What::Create { key: None } => "create",
            What::Create { key: Some(_) } => "create with a key",
            What::Claim => "claim",
            What::Heartbeat(_) => "heartbeat",
            What::Complete(..) => "complete",
            What::ReportFailure(..) => "report failure",
            What::Retry(_) => "retry",
            What::Release(_) => "release",
            What::Cancel { .. } => "cancel",
            What::Delete { .. } => "delete",
            What::Get { .. } => "get",
            What::Wait { .. } => "wait",
        };
        let how = match call.outcome {
            Outcome::Refused { .. } => 1,
            Outcome::Unknown(_) => 2,
            _ => 0,
        };
        went.entry(what).or_default()[how] += 1;
        let longest = longest.entry(what).or_default();
        *longest = (*longest).max(call.ended - call.sent);
    }
    println!("{} calls; held, refused, unknown, the longest:", calls.len());
    for (what, [held, refused, unknown]) in &went {
        println!("  {what:18} {held:6} {refused:6} {unknown:6}  {:.1?}", longest[what]);
    }
    let mut unknown: BTreeMap<&str, usize> = BTreeMap::new();
    for call in calls {
        if let Outcome::Unknown(why) = &call.outcome {
            *unknown.entry(why).or_default() += 1;
        }
    }
    println!("unknown, because: {unknown:#?}");
}
