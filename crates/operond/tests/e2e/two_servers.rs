//! Several servers on one database: what is done through one is seen, heard and obeyed on the others.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use operond_proto::operond::v1::operation::{Result as Outcome, View};
use operond_proto::operond::v1::operations_client::OperationsClient;
use operond_proto::operond::v1::work_client::WorkClient;
use operond_proto::operond::v1::{
    CancelRequest, ClaimRequest, CreateRequest, GetOperationRequest, HeartbeatRequest, Operation, WaitRequest,
};
use operond_proto::yandex::cloud::operation::GetOperationRequest as YandexGet;
use operond_proto::yandex::cloud::operation::operation_service_client::OperationServiceClient;
use operond_store_postgres::cluster::{Cluster, Kind};
use tokio::task::{JoinHandle, JoinSet};
use tonic::transport::Channel;

use crate::support::served::{ended, migrated};
use crate::support::{
    Served, channel, claim, claimed, command, complete, create, get, http, median, operations, seconds, text, until,
    work,
};

/// Each figure below is the middle one of so many.
const ROUNDS: usize = 30;
/// What is asserted of a median that is some 20 ms on a machine that does nothing else.
const SOON: Duration = Duration::from_millis(250);
/// For what takes a moment; only a failure takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn f17_a_wait_on_one_server_ends_soon_after_a_completion_through_the_other() {
    let (a, b) = Served::pair(&[]);
    let channel = channel(&a.http);
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let (id, lease) = leased(&b, "wait").await;
        let waiting = held(wait(&channel, &id), &channel).await;
        work(&b.http).complete(complete(&lease)).await.unwrap();
        let began = Instant::now();
        let (done, at) = waiting.await.unwrap();
        assert!(done.done, "{done:?}");
        took.push(at.saturating_duration_since(began));
    }
    assert!(median("completion to Wait on another server", took) < SOON);
}

#[tokio::test(flavor = "multi_thread")]
async fn f17_a_held_get_of_a_yandex_client_ends_soon_after_a_completion_through_another_server() {
    let (a, b) = Served::pair(&["--held-get", "30s"]);
    let channel = channel(&a.http);
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let (operation_id, lease) = leased(&b, "held").await;
        let mut client = OperationServiceClient::new(channel.clone());
        let get = async move { client.get(YandexGet { operation_id }).await.unwrap().into_inner() };
        let waiting = held(get, &channel).await;
        work(&b.http).complete(complete(&lease)).await.unwrap();
        let began = Instant::now();
        let (done, at) = waiting.await.unwrap();
        assert!(done.done, "{done:?}");
        took.push(at.saturating_duration_since(began));
    }
    assert!(median("completion to a held Get on another server", took) < SOON);
}

#[tokio::test(flavor = "multi_thread")]
async fn f17_a_watch_over_http_tells_soon_of_a_completion_through_another_server() {
    let (a, b) = Served::pair(&[]);
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let (id, lease) = leased(&b, "watch").await;
        let states = watch(&a.http, &id);
        let (first, _) = states.recv_timeout(PATIENCE).unwrap();
        assert!(first.contains(r#""done":false"#), "{first}");
        work(&b.http).complete(complete(&lease)).await.unwrap();
        let began = Instant::now();
        let (last, at) = states.recv_timeout(PATIENCE).unwrap();
        assert!(last.contains(r#""done":true"#), "{last}");
        took.push(at.saturating_duration_since(began));
    }
    assert!(median("completion to a watch on another server", took) < SOON);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_through_one_server_soon_reaches_a_worker_in_a_held_heartbeat_on_the_other() {
    let (a, b) = Served::pair(&[]);
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let (id, lease) = leased(&b, "cancel").await;
        let mut worker = work(&b.http);
        let told = tokio::spawn(async move {
            let heartbeat = HeartbeatRequest { lease, wait: seconds(14), ..HeartbeatRequest::default() };
            let answer = worker.heartbeat(heartbeat).await.unwrap().into_inner();
            (answer.cancel_requested.is_some(), Instant::now())
        });
        // A heartbeat moves the revision when it arrives: from then on it is held.
        until(PATIENCE, "the heartbeat is held", || async { (read(&b, &id).await.revision != "2").then_some(()) })
            .await;
        let began = Instant::now();
        operations(&a.http).cancel(CancelRequest { id, reason: "enough".into() }).await.unwrap();
        let (cancelled, at) = told.await.unwrap();
        assert!(cancelled, "the heartbeat ended without a cancel");
        took.push(at.saturating_duration_since(began));
    }
    assert!(median("cancel, from its sending, to a worker on another server", took) < SOON);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_on_one_server_soon_gets_what_is_created_on_the_other() {
    let (a, b) = Served::pair(&[]);
    let channel = channel(&b.http);
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let mut worker = WorkClient::new(channel.clone());
        let request = ClaimRequest { wait: seconds(20), ..claim("held-claim") };
        let claims = held(async move { worker.claim(request).await.unwrap().into_inner().claims }, &channel).await;
        let created = operations(&a.http).create(create("held-claim")).await.unwrap().into_inner();
        let began = Instant::now();
        let (claims, at) = claims.await.unwrap();
        let claimed: Vec<&str> = claims.iter().flat_map(|claim| &claim.operation).map(|op| op.id.as_str()).collect();
        assert_eq!(claimed, [created.id]);
        took.push(at.saturating_duration_since(began));
    }
    assert!(median("create to a claim that is held on another server", took) < SOON);
}

/// As many workers on either server, and a backlog: neither server's workers starve.
#[tokio::test(flavor = "multi_thread")]
async fn claims_are_fair_across_servers() {
    const WORKERS: usize = 4;
    const BACKLOG: usize = 600;
    let (a, b) = Served::pair(&[]);
    let mut creator = operations(&a.http);
    for _ in 0..BACKLOG {
        creator.create(create("backlog")).await.unwrap();
    }
    let taken = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let mut workers = JoinSet::new();
    for (server, taken) in [&a, &b].into_iter().zip(&taken) {
        for _ in 0..WORKERS {
            workers.spawn(work_off(work(&server.http), Arc::clone(taken)));
        }
    }
    workers.join_all().await;
    let [on_a, on_b] = taken.map(|taken| taken.load(Ordering::SeqCst));
    println!("of {BACKLOG}: {on_a} on one server, {on_b} on the other");
    assert_eq!(on_a + on_b, BACKLOG, "each is claimed once");
    assert!(on_a >= BACKLOG / 5 && on_b >= BACKLOG / 5, "{on_a} and {on_b}");
}

/// Both servers look for due timers; one of them settles each.
#[tokio::test(flavor = "multi_thread")]
async fn a_timer_of_a_shared_operation_fires_once() {
    let (a, b) = Served::pair(&[]);
    let mut ids = Vec::new();
    for n in 0..20 {
        let server = if n % 2 == 0 { &a } else { &b };
        let request = CreateRequest { queue_timeout: seconds(1), ..create("nobody-claims") };
        ids.push(operations(&server.http).create(request).await.unwrap().into_inner().id);
    }
    for id in &ids {
        for server in [&a, &b] {
            let waited = operations(&server.http).wait(WaitRequest { id: id.clone(), timeout: seconds(20) }).await;
            assert!(waited.unwrap().into_inner().done);
            let request = GetOperationRequest { view: View::Full.into(), ..get(id) };
            let found = operations(&server.http).get(request).await.unwrap().into_inner();
            let events: Vec<&str> = found.events.iter().map(|event| event.what.as_str()).collect();
            assert_eq!(
                (events.as_slice(), found.revision.as_str()),
                (["created", "deadline exceeded"].as_slice(), "2")
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defaults_of_a_kind_that_one_server_is_given_soon_hold_on_the_other() {
    let (a, b) = Served::pair(&[]);
    let set = |attempts: &str| {
        let mut set = command();
        set.args(["kinds", "set", "shared", "--max-attempts", attempts]).env("OPEROND_ENDPOINT", &a.http);
        let output = ended(&mut set);
        assert!(output.status.success(), "{output:?}");
    };
    for attempts in [7, 9] {
        set(&attempts.to_string());
        let began = Instant::now();
        let known = || async {
            let created = operations(&b.http).create(create("shared")).await.unwrap().into_inner();
            (created.max_attempts == attempts).then_some(())
        };
        until(Duration::from_secs(2), "the other server knows it", known).await;
        println!("defaults are known on the other server after {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_one_server_is_given_are_soon_shown_by_the_other() {
    let (a, b) = Served::pair(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.pb");
    std::fs::write(&path, crate::types::set(crate::types::INT32)).unwrap();
    let body = format!(r#"{{"kind":"k","input":{}}}"#, crate::types::FRAME);
    let created = http::post(&b.http, "/api/v1/operations", &body);
    let created: serde_json::Value = serde_json::from_str(&created.body).unwrap();
    let path_of_it = format!("/api/v1/operations/{}?view=FULL", created["id"].as_str().unwrap());
    let mut register = command();
    register.args(["types", "register"]).arg(&path).env("OPEROND_ENDPOINT", &a.http);
    let output = ended(&mut register);
    assert!(output.status.success(), "{output:?}");
    let shown =
        || async { http::call(&b.http, "GET", &path_of_it, &[], "").body.contains(r#""pages":3"#).then_some(()) };
    until(Duration::from_secs(2), "the other server shows it", shown).await;
}

/// FAILURES 9: what its questions to the database were answered before it stood still tells it no time.
#[tokio::test(flavor = "multi_thread")]
async fn f09_a_server_that_stood_still_gives_whole_leases_when_it_goes_on() {
    const CLAIMS: usize = 15;
    let (a, b) = Served::pair(&[]);
    for _ in 0..5 {
        for _ in 0..CLAIMS {
            operations(&b.http).create(create("still")).await.unwrap();
        }
        work(&a.http).claim(ClaimRequest { wait: seconds(0), ..claim("connects") }).await.unwrap();
        a.pause();
        let request = CreateRequest { queue_timeout: seconds(2), ..create("passes") };
        let id = operations(&b.http).create(request).await.unwrap().into_inner().id;
        let passed = operations(&b.http).wait(WaitRequest { id, timeout: seconds(20) }).await.unwrap().into_inner();
        a.resume();
        let mut worker = work(&a.http);
        let mut claimed = 0;
        while claimed < CLAIMS {
            let request = ClaimRequest { lease_duration: seconds(2), wait: seconds(0), ..claim("still") };
            for claim in worker.claim(request).await.unwrap().into_inner().claims {
                claimed += 1;
                let (from, until) = (passed.finished_at.unwrap(), claim.lease_expires_at.unwrap());
                let length =
                    SystemTime::try_from(until).unwrap().duration_since(from.try_into().unwrap()).unwrap_or_default();
                assert!(length >= Duration::from_secs(2), "the {claimed}th lease, of 2 s, lasts {length:?}");
            }
        }
    }
}

/// Whose server stops in good order is answered, and goes on at the other server with all it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_leaves_the_others_and_its_clients_go_on_there() {
    let (mut a, b) = Served::pair(&[]);
    let (id, lease) = leased(&a, "stop").await;
    let channel = channel(&a.http);
    let waiting = held(wait(&channel, &id), &channel).await;
    assert!(a.stop().success());
    let (unfinished, _) = waiting.await.unwrap();
    assert!(!unfinished.done, "{unfinished:?}");
    goes_on(&b, &id, &lease).await;
}

/// The same, where it had no time to say goodbye.
#[tokio::test(flavor = "multi_thread")]
async fn f32_a_server_that_is_killed_leaves_the_others_and_its_clients_go_on_there() {
    let (mut a, b) = Served::pair(&[]);
    let (id, lease) = leased(&a, "kill").await;
    let channel = channel(&a.http);
    let mut client = OperationsClient::new(channel.clone());
    let request = WaitRequest { id: id.clone(), timeout: seconds(30) };
    let waiting = held(async move { client.wait(request).await }, &channel).await;
    a.kill();
    waiting.await.unwrap().0.unwrap_err();
    goes_on(&b, &id, &lease).await;
    assert!(a.start_again());
    assert!(read(&a, &id).await.done, "the one that comes back sees what happened meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_server_joins_while_the_others_go_on() {
    let store = migrated(Cluster::shared(Kind::Fast));
    let (a, b) = (Served::start(&store, &[]), Served::start(&store, &[]));
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for (creator, worker) in [(&a, &b), (&b, &a)] {
        load.spawn(lives(operations(&creator.http), work(&worker.http), Arc::clone(&stop)));
    }
    let c = Served::start(&store, &[]);
    let (id, lease) = leased(&a, "joined").await;
    let channel = channel(&c.http);
    let waiting = held(wait(&channel, &id), &channel).await;
    work(&b.http).complete(complete(&lease)).await.unwrap();
    assert!(waiting.await.unwrap().0.done);
    let created = operations(&c.http).create(create("joined")).await.unwrap().into_inner();
    assert_eq!(claimed(&a.http, "joined").await.operation.unwrap().id, created.id);
    stop.store(true, Ordering::SeqCst);
    let lived: usize = load.join_all().await.into_iter().sum();
    assert!(lived > 0, "the load went on");
}

#[test]
fn two_servers_may_bring_an_empty_schema_up_at_the_same_time() {
    for _ in 0..5 {
        let store = Cluster::shared(Kind::Fast).fresh_schema();
        let migrate = || {
            let mut migrate = command();
            migrate.args(["migrate", "up", "--store", &store]).stdout(Stdio::piped()).stderr(Stdio::piped());
            migrate.spawn().unwrap()
        };
        let both = [migrate(), migrate()].map(|child| child.wait_with_output().unwrap());
        let said = both.each_ref().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        assert!(both.iter().all(|output| output.status.success()), "{both:?}");
        assert_eq!(said.iter().filter(|said| said.contains(" took ")).count(), 1, "one of them took it: {said:?}");
        let status = ended(command().args(["migrate", "status", "--store", &store]));
        assert!(status.status.success(), "{status:?}");
    }
}

/// Sends a call that the server will hold, and returns once it has it: on one connection calls arrive in order, so
/// then it answers one behind it. Beside what comes of it in the end is when.
async fn held<T: Send + 'static>(
    call: impl Future<Output = T> + Send + 'static,
    channel: &Channel,
) -> JoinHandle<(T, Instant)> {
    let mut call = Box::pin(async move { (call.await, Instant::now()) });
    let mut behind = OperationsClient::new(channel.clone());
    tokio::select! {
        biased;
        _early = &mut call => panic!("there was nothing to tell yet"),
        answered = behind.get(get("op-nobody-knows")) => drop(answered.unwrap_err()),
    }
    tokio::spawn(call)
}

fn wait(channel: &Channel, id: &str) -> impl Future<Output = Operation> + Send + 'static {
    let mut client = OperationsClient::new(channel.clone());
    let request = WaitRequest { id: id.to_owned(), timeout: seconds(30) };
    async move { client.wait(request).await.unwrap().into_inner() }
}

/// An operation that is created and claimed through `server`, and its lease.
async fn leased(server: &Served, kind: &str) -> (String, String) {
    let id = operations(&server.http).create(create(kind)).await.unwrap().into_inner().id;
    let claim = claimed(&server.http, kind).await;
    assert_eq!(claim.operation.unwrap().id, id);
    (id, claim.lease)
}

async fn read(server: &Served, id: &str) -> Operation {
    operations(&server.http).get(get(id)).await.unwrap().into_inner()
}

/// Both sides of an operation that another server had to do with go on at `server`.
async fn goes_on(server: &Served, id: &str, lease: &str) {
    let channel = channel(&server.http);
    let waiting = held(wait(&channel, id), &channel).await;
    let heartbeat = HeartbeatRequest { lease: lease.to_owned(), ..HeartbeatRequest::default() };
    work(&server.http).heartbeat(heartbeat).await.unwrap();
    work(&server.http).complete(complete(lease)).await.unwrap();
    let (done, _) = waiting.await.unwrap();
    assert_eq!(done.result, Some(Outcome::Response(text("done"))));
    let (_, lease) = leased(server, "afterwards").await;
    work(&server.http).complete(complete(&lease)).await.unwrap();
}

/// Claims and completes until there is nothing left.
async fn work_off(mut worker: WorkClient<Channel>, taken: Arc<AtomicUsize>) {
    loop {
        let claims = worker.claim(ClaimRequest { wait: seconds(0), ..claim("backlog") }).await.unwrap().into_inner();
        let Some(claim) = claims.claims.into_iter().next() else { return };
        taken.fetch_add(1, Ordering::SeqCst);
        worker.complete(complete(&claim.lease)).await.unwrap();
    }
}

/// Whole lives, one after the other; how many.
async fn lives(
    mut creator: OperationsClient<Channel>,
    mut worker: WorkClient<Channel>,
    stop: Arc<AtomicBool>,
) -> usize {
    let mut lived = 0;
    while !stop.load(Ordering::SeqCst) {
        creator.create(create("load")).await.unwrap();
        let claims = worker.claim(claim("load")).await.unwrap().into_inner().claims;
        worker.complete(complete(&claims[0].lease)).await.unwrap();
        lived += 1;
    }
    lived
}

/// What `:watch` tells, a state each time, and when.
fn watch(url: &str, id: &str) -> mpsc::Receiver<(String, Instant)> {
    let address = url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    write!(socket, "GET /api/v1/operations/{id}:watch HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
    let (sender, states) = mpsc::sync_channel(16);
    std::thread::spawn(move || {
        let lines = BufReader::new(socket).lines().map_while(Result::ok);
        for state in lines.filter(|line| line.starts_with("data: ")) {
            if sender.send((state, Instant::now())).is_err() {
                return;
            }
        }
    });
    states
}
