//! `operond copy`: everything moves, whatever cuts it off, and nothing moves where it should not.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use operond_core::{Any, ID_ENTROPY_BYTES, Kind as WorkKind, NewOperation, Spec};
use operond_store::{Batch, CreateRequest, Request, Store, SystemClock};
use operond_store_postgres::cluster::{Cluster, Kind};
use operond_store_sqlite::{Options, SqliteStore};
use serde_json::{Value, json};

use crate::support::{Server, command, http};

#[test]
fn a_store_moves_to_a_database_and_back_with_everything_in_it() {
    let mut server = Server::start();
    let kept = fill(&server.http);
    let before = shown(&server.http, &kept.ids);
    let page = get(&server.http, "/api/v1/operations?pageSize=3");
    assert!(server.stop().success());
    let file = format!("sqlite:{}", server.data().join("operond.db").display());
    let (database, other) = (migrated(), server.data().join("other.db"));
    let other_file = format!("sqlite:{}", other.display());

    let there = checksums(&copied(&file, &database));
    let back = checksums(&copied(&database, &other_file));
    assert_eq!(there, back, "all three are equal");
    assert_eq!(there[0], there[1]);

    let mut server = Server::serve(&database);
    assert_eq!(shown(&server.http, &kept.ids), before);
    let next = format!("/api/v1/operations?pageSize=3&pageToken={}", text(&page, "nextPageToken"));
    assert_eq!(get(&server.http, &next)["operations"].as_array().map(Vec::len), Some(3), "a page token goes on");
    assert_eq!(text(&create(&server.http, "keyed", &kept.keyed), "id"), kept.ids[0], "a create is repeated");
    let gone = http::call(&server.http, "GET", &format!("/api/v1/operations/{}", kept.deleted), &[], "");
    assert!(gone.status == 404 && gone.body.contains("DELETED"), "{gone:?}");
    let kinds = get(&server.http, "/api/v1/kinds");
    assert!(kinds.to_string().contains("kept-kind"), "{kinds}");
    let done = post(&server.http, "/api/v1/work:complete", &json!({"lease": kept.lease, "response": {"n": 1}}));
    assert_eq!(text(&done, "state"), "SUCCEEDED", "a worker goes on with its lease");
    let after = shown(&server.http, &kept.ids);
    assert!(server.stop().success());

    let last = tempfile::tempdir().unwrap();
    let last_file = format!("sqlite:{}", last.path().join("operond.db").display());
    copied(&database, &last_file);
    let server = Server::start_in(last.path(), &[]);
    assert_eq!(shown(&server.http, &kept.ids), after);
    let repeated = post(&server.http, "/api/v1/work:complete", &json!({"lease": kept.lease, "response": {"n": 1}}));
    assert_eq!(repeated, done, "its repeat is known by what was answered");
}

#[test]
fn a_copy_that_is_killed_at_any_time_goes_on_where_it_was() {
    let source = tempfile::tempdir().unwrap();
    let file = ballast(source.path());
    let database = migrated();
    let count = format!("select count(*) from {}.operations", schema(&database));
    let operations = || Cluster::shared(Kind::Fast).psql(&count).parse::<usize>().unwrap();
    killed_when(&file, &database, || operations() > 0);
    let first = operations();
    assert!((1..OPERATIONS).contains(&first), "{first} were copied when it was killed");

    let unfinished = fails(&["serve", "--store", &database, "--listen", "127.0.0.1:0"]);
    assert!(unfinished.contains(&format!("an unfinished copy of {file}; finish it")), "{unfinished}");
    let said = copied_dry(&file, &database);
    assert!(said.contains(&format!("{OPERATIONS}, {first} of them are copied already")), "{said}");
    killed_when(&file, &database, || operations() > first);
    let second = operations();
    assert!((first..OPERATIONS).contains(&second), "{second} were copied when it was killed once more");
    let [from, to] = checksums(&copied(&file, &database));
    assert_eq!(from, to);
    assert_eq!(operations(), OPERATIONS);

    // Back, with a kill at whatever instant until one copy gets through.
    let back = format!("sqlite:{}", source.path().join("back.db").display());
    let mut kills = 0;
    while !copied_within(&database, &back, Duration::from_millis(200) * 2_u32.pow(kills)) {
        kills += 1;
    }
    assert!(kills > 0, "it was killed");
    assert_eq!(checksums(&copied(&database, &back)), [from.clone(), to], "what is complete stays so");
    let (again, before) = (tempfile::tempdir().unwrap(), from);
    let [from, to] = checksums(&copied(&back, &format!("sqlite:{}", again.path().join("again.db").display())));
    assert_eq!((&from, &to), (&before, &before));
}

#[test]
fn a_dry_run_says_what_there_is_and_makes_nothing() {
    let mut server = Server::start();
    fill(&server.http);
    server.stop();
    let file = format!("sqlite:{}", server.data().join("operond.db").display());
    let directory = tempfile::tempdir().unwrap();
    let said = copied_dry(&file, &format!("sqlite:{}", directory.path().join("new.db").display()));
    assert!(said.contains("  operations   7\n  tombstones   1\n  keys         1\n  documents    1\n"), "{said}");
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "no file is made, nor a lock");
    let database = migrated();
    copied_dry(&file, &database);
    let meta = format!("select copy_source is null, last_stored is null from {}.operond_meta", schema(&database));
    assert_eq!(Cluster::shared(Kind::Fast).psql(&meta), "t|t");
    let unmigrated = Cluster::shared(Kind::Fast).fresh_schema();
    let refused = fails(&["copy", "--dry-run", "--from", &file, "--to", &unmigrated]);
    assert!(refused.contains("has schema version 0") && refused.contains("operond migrate up"), "{refused}");
}

#[test]
fn a_copy_is_refused_where_it_would_do_harm() {
    let mut server = Server::start();
    fill(&server.http);
    let path = server.data().join("operond.db");
    let file = format!("sqlite:{}", path.display());
    let (database, empty) = (migrated(), format!("sqlite:{}", server.data().join("empty.db").display()));
    let refused = |from: &str, to: &str| fails(&["copy", "--from", from, "--to", to]);

    let said = refused(&file, &database);
    assert!(said.contains("operond.db is open in another server"), "{said}");
    server.stop();
    let link = server.data().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let said = refused(&file, &format!("sqlite:{}", link.display()));
    assert!(said.contains("are the same store"), "{said}");
    let said = refused(&database, &format!("{database}&application_name=other"));
    assert!(said.contains("are the same store"), "{said}");
    let said = refused("sqlite:/nowhere/x.db", &empty);
    assert!(said.contains("/nowhere"), "{said}");
    let said = refused(&format!("sqlite:{}", server.data().join("none.db").display()), &empty);
    assert!(said.contains("there is no file") && said.contains("none.db"), "{said}");
    assert!(!server.data().join("empty.db").exists(), "nothing was made");
    let said = refused(&file, &Cluster::shared(Kind::Fast).fresh_schema());
    assert!(said.contains("has schema version 0") && said.contains("operond migrate up"), "{said}");

    let mut other = Server::serve(&database);
    create(&other.http, "other", &json!({}));
    other.kill();
    let said = refused(&file, &database);
    assert!(said.contains("a server was serving postgres://") && said.contains("stop every one"), "{said}");
    let said = refused(&database, &empty);
    assert!(said.contains("a server was serving postgres://"), "{said}");
    forget_servers(&database);
    let said = refused(&file, &database);
    assert!(said.contains("is not empty: it has operations (1)"), "{said}");
}

#[test]
fn a_source_that_was_served_since_its_copy_began_is_copied_anew() {
    let source = tempfile::tempdir().unwrap();
    let file = ballast(source.path());
    let (database, third) = (migrated(), migrated());
    let count = format!("select count(*) from {}.operations", schema(&database));
    killed_when(&file, &database, || Cluster::shared(Kind::Fast).psql(&count) != "0");
    let said = fails(&["copy", "--from", &database, "--to", &third]);
    assert!(said.contains("is itself an unfinished copy; finish it first: operond copy --from sqlite:"), "{said}");
    let mut server = Server::serve(&file);
    create(&server.http, "new", &json!({}));
    server.stop();
    let said = fails(&["copy", "--from", &file, "--to", &database]);
    assert!(said.contains(&format!("a server has written to {file} since")), "{said}");
    let mut server = Server::start();
    create(&server.http, "new", &json!({}));
    server.stop();
    let other = format!("sqlite:{}", server.data().join("operond.db").display());
    let said = fails(&["copy", "--from", &other, "--to", &database]);
    assert!(said.contains(&format!("is an unfinished copy of another store, {file}")), "{said}");
}

#[test]
fn what_was_changed_at_the_target_behind_the_back_of_a_copy_is_noticed() {
    let source = tempfile::tempdir().unwrap();
    let file = ballast(source.path());
    let database = migrated();
    let schema = schema(&database);
    let cluster = Cluster::shared(Kind::Fast);
    let count = format!("select count(*) from {schema}.operations");
    killed_when(&file, &database, || cluster.psql(&count) != "0");
    cluster.psql(&format!(
        "update {schema}.operations set revision = revision + 1 where id = (select min(id) from {schema}.operations)"
    ));
    let said = fails(&["copy", "--from", &file, "--to", &database]);
    assert!(said.contains("does not hold what") && said.contains("copy again into an empty one"), "{said}");
    let said = fails(&["serve", "--store", &database, "--listen", "127.0.0.1:0"]);
    assert!(said.contains("an unfinished copy"), "{said}");
}

/// What is to be found again.
struct Kept {
    /// One of each state; the first one has a key.
    ids: Vec<String>,
    keyed: Value,
    deleted: String,
    /// Of one that is running.
    lease: String,
}

/// Operations in all seven states, one that is gone, and defaults of a kind.
fn fill(url: &str) -> Kept {
    let keyed = json!({"idempotencyKey": "k", "input": {"pages": 3}, "labels": {"a": "ä"}});
    let mut ids = vec![text(&create(url, "keyed", &keyed), "id")];
    let mut started = |kind: &str| {
        let id = text(&create(url, kind, &json!({"cancelGrace": "3600s", "input": "x".repeat(1 << 16)})), "id");
        ids.push(id.clone());
        (id, leased(url, kind))
    };
    let complete = |body: Value| post(url, "/api/v1/work:complete", &body);
    let (_, lease) = started("running");
    post(url, "/api/v1/work:heartbeat", &json!({"lease": lease, "metadata": {"at": 2}, "progress": {"done": 0.1}}));
    let (cancelling, _) = started("cancelling");
    post(url, &format!("/api/v1/operations/{cancelling}:cancel"), &json!({"reason": "enough"}));
    let failure = json!({"code": 3, "message": "bad frame"});
    post(url, "/api/v1/work:reportFailure", &json!({"lease": started("failing").1, "error": failure}));
    complete(json!({"lease": started("succeeded").1, "response": {"pages": [1, 2]}}));
    complete(json!({"lease": started("failed").1, "error": failure}));
    complete(json!({"lease": started("cancelled").1, "cancelled": {"message": "stopped"}}));
    let deleted = text(&create(url, "deleted", &json!({})), "id");
    post(url, &format!("/api/v1/operations/{deleted}:cancel"), &json!({}));
    assert_eq!(http::call(url, "DELETE", &format!("/api/v1/operations/{deleted}"), &[], "").status, 200);
    let json_body = [("content-type", "application/json")];
    let kind = http::call(url, "PUT", "/api/v1/kinds/kept-kind", &json_body, r#"{"name":"kept-kind","maxAttempts":7}"#);
    assert_eq!(kind.status, 200, "{kind:?}");
    Kept { ids, keyed, deleted, lease }
}

fn create(url: &str, kind: &str, with: &Value) -> Value {
    let mut body = json!({"kind": kind});
    body.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    post(url, "/api/v1/operations", &body)
}

fn leased(url: &str, kind: &str) -> String {
    let claim = json!({"kinds": [kind], "worker": "w", "leaseDuration": "3600s"});
    text(&post(url, "/api/v1/work:claim", &claim)["claims"][0], "lease")
}

fn post(url: &str, path: &str, body: &Value) -> Value {
    let answer = http::post(url, path, &body.to_string());
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

fn get(url: &str, path: &str) -> Value {
    let answer = http::call(url, "GET", path, &[], "");
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_else(|| panic!("no {member} in {value}")).to_owned()
}

/// Each operation with all that is told of it, but whether a worker asked this server for its kind.
fn shown(url: &str, ids: &[String]) -> Vec<Value> {
    let one = |id: &String| {
        let mut operation = get(url, &format!("/api/v1/operations/{id}?view=FULL"));
        operation.as_object_mut().unwrap().remove("unattended");
        operation
    };
    let all: Vec<Value> = ids.iter().map(one).collect();
    let mut states: Vec<String> = all.iter().map(|operation| text(operation, "state")).collect();
    states.sort_unstable();
    states.dedup();
    assert!(states.len() >= 6, "{states:?}");
    all
}

/// A schema with operond's tables.
fn migrated() -> String {
    let url = Cluster::shared(Kind::Fast).fresh_schema();
    let output = command().args(["migrate", "up", "--store", &url]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    url
}

fn schema(url: &str) -> &str {
    url.rsplit("%3D").next().unwrap()
}

/// As if the half minute were over.
fn forget_servers(url: &str) {
    Cluster::shared(Kind::Fast).psql(&format!("update {}.streams set seen_at = 0", schema(url)));
}

fn copying(from: &str, to: &str) -> Command {
    let mut operond = command();
    operond.args(["copy", "--from", from, "--to", to]).stdin(Stdio::null()).stdout(Stdio::null());
    operond
}

/// Copies to the end; what was said is returned.
#[track_caller]
fn copied(from: &str, to: &str) -> String {
    succeeded(&command().args(["copy", "--from", from, "--to", to]).output().unwrap())
}

#[track_caller]
fn copied_dry(from: &str, to: &str) -> String {
    let said = succeeded(&command().args(["copy", "--dry-run", "--from", from, "--to", to]).output().unwrap());
    assert!(said.contains("nothing was written"), "{said}");
    said
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it says when it fails, which it must.
#[track_caller]
fn fails(arguments: &[&str]) -> String {
    let output = command().args(arguments).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Of the source and of the target, out of what a copy said.
fn checksums(said: &str) -> [String; 2] {
    let is_sum = |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let sums: Vec<String> = said.split_whitespace().filter(is_sum).map(Into::into).collect();
    sums.try_into().unwrap_or_else(|sums| panic!("{sums:?} in {said}"))
}

/// Begins to copy, and kills that as soon as it is so far.
fn killed_when(from: &str, to: &str, so_far: impl Fn() -> bool) {
    let mut child = copying(from, to).spawn().unwrap();
    while !so_far() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Whether a copy was through before it was killed.
fn copied_within(from: &str, to: &str, time: Duration) -> bool {
    let mut child = copying(from, to).spawn().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _over = runtime.block_on(async { tokio::time::timeout(time, std::future::pending::<()>()).await });
    let _ended_already = child.kill();
    child.wait().unwrap().success()
}

/// A store with so many operations, some of them large.
fn ballast(directory: &Path) -> String {
    let path = directory.join("operond.db");
    let store = SqliteStore::open(&path, Options::default(), SystemClock::new()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for batch in 0..OPERATIONS / BATCH {
        let request = |n: usize| {
            let bytes = if n == 0 { 1_000_000 } else { 100 };
            let spec =
                Spec { input: Some(Any::new("t/Input", vec![7; bytes])), ..Spec::new(WorkKind::new("k").unwrap()) };
            let mut entropy = [0; ID_ENTROPY_BYTES];
            entropy[..8].copy_from_slice(&(batch * BATCH + n).to_le_bytes());
            let new = NewOperation { spec: spec.into(), metadata: None, claim: None };
            Request::Create(Box::new(CreateRequest { new, entropy, key: None }))
        };
        let requests = (0..BATCH).map(request).collect();
        runtime.block_on(store.update(Arc::new(Batch { requests }))).unwrap();
    }
    drop(store);
    format!("sqlite:{}", path.display())
}

const OPERATIONS: usize = 20_000;
const BATCH: usize = 500;
