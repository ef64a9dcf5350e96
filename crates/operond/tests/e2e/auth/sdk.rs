//! Unmodified SDKs with a key or a token, over TLS: what they are let do, and what they make of being refused.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::auth::Identity;
use crate::auth::issuer::Issuer;
use crate::support::asking::{Asking, id_of, printed, sqlite};
use crate::support::{http, sdk};

#[test]
fn the_python_sdk_of_yandex_gets_and_waits_with_a_key_and_gives_up_at_once_without() {
    gets_and_waits(&|| python("yandex"), &[""]);
}

#[test]
fn the_node_sdk_of_yandex_gets_and_waits_with_a_key_and_gives_up_at_once_without() {
    // Without a token its Session asks a metadata service for one, and calls nobody.
    gets_and_waits(&|| node("yandex"), &[]);
}

#[test]
fn the_python_library_of_google_gets_and_waits_over_grpc_with_a_key_and_gives_up_at_once_without() {
    gets_and_waits(&|| python("google-grpc"), &[""]);
}

#[test]
fn the_python_library_of_google_gets_and_waits_over_rest_with_a_key_and_gives_up_at_once_without() {
    gets_and_waits(&|| python("google-rest"), &[""]);
}

#[test]
fn the_node_library_of_google_gets_and_waits_with_a_key_and_gives_up_at_once_without() {
    gets_and_waits(&|| node("google"), &[""]);
}

#[test]
fn the_rust_library_of_google_gets_and_waits_with_a_key_and_gives_up_at_once_without() {
    gets_and_waits(&|| Command::new(sdk::google_rust()), &[""]);
}

#[test]
fn sdks_learn_nothing_of_another_tenants_operation() {
    let world = World::new();
    let stranger = world.server.key(&world.admin, "stranger", "other", "viewer");
    let (id, _) = world.start();
    for library in every_library() {
        assert_refused(world.call(library, &stranger, &id), "NOT_FOUND");
    }
}

#[test]
fn sdks_get_and_wait_with_a_token_of_a_believed_issuer_and_are_refused_with_any_other() {
    let world = World::new();
    let (id, lease) = world.start();
    let mut waiting: Vec<_> =
        every_library().map(|library| world.call(library, &world.issuer.token("acme", "support", 300), &id)).into();
    waiting.iter_mut().for_each(|library| library.says("waiting"));
    world.complete(&lease);
    waiting.iter_mut().for_each(|library| library.says("done готово"));

    let forged = Issuer::new().token("acme", "support", 300);
    // What the server and the issuer may differ by is a minute.
    let expired = world.issuer.token("acme", "support", -61);
    let nobody = world.issuer.token("acme", "cleaners", 300);
    let stranger = world.issuer.token("other", "support", 300);
    for (token, code) in [
        (&forged, "UNAUTHENTICATED"),
        (&expired, "UNAUTHENTICATED"),
        (&nobody, "PERMISSION_DENIED"),
        (&stranger, "NOT_FOUND"),
    ] {
        for library in every_library() {
            assert_refused(world.call(library, token, &id), code);
        }
    }
}

#[test]
fn a_token_does_what_its_claims_are_good_for_and_no_more() {
    let world = World::new();
    let create = |group| {
        let bearer = format!("Bearer {}", world.issuer.token("acme", group, 300));
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        http::call(world.server.http(), "POST", "/api/v1/operations", &headers, r#"{"kind": "k"}"#)
    };
    assert_eq!(create("support").status, 403);
    let created = create("shop");
    let created: Value = serde_json::from_str(&created.body).unwrap();
    assert_eq!((&created["tenant"], &created["createdBy"]), (&json!("acme"), &json!("ann")), "{created}");
}

/// With a good key to the end; refused with one that is none, or none any more, also while it waits; and with what else
/// is `refused`.
fn gets_and_waits(library: &dyn Fn() -> Command, refused: &[&str]) {
    let world = World::new();
    let (id, lease) = world.start();
    let viewer = world.server.key(&world.admin, "viewer", "acme", "viewer");
    let mut good = world.call(library(), &viewer, &id);
    good.says("waiting");
    let revoked = world.server.key(&world.admin, "revoked", "acme", "viewer");
    let mut waiting = world.call(library(), &revoked, &id);
    waiting.says("waiting");
    printed(world.server.http(), &world.admin, &["keys", "revoke", id_of(&revoked)]);
    assert_refused(waiting, "UNAUTHENTICATED");

    world.complete(&lease);
    good.says("done готово");
    let (no_key, unknown) = (viewer.replace("opk_", "opk-"), format!("opk_{}_{}", "0".repeat(16), "1".repeat(64)));
    for wrong in [&[&*revoked, &no_key, &unknown], refused].concat() {
        assert_refused(world.call(library(), wrong, &id), "UNAUTHENTICATED");
    }
}

/// It says that it was refused, and ends.
#[track_caller]
fn assert_refused(mut running: Running, code: &str) {
    running.says(&format!("refused {code}"));
    assert!(running.child.wait().unwrap().success());
}

fn every_library() -> [Command; 6] {
    let rust = Command::new(sdk::google_rust());
    [python("yandex"), python("google-grpc"), python("google-rest"), node("yandex"), node("google"), rust]
}

pub(super) fn python(library: &str) -> Command {
    let mut command = Command::new(sdk::python());
    command.arg(sdk::scripts("python/authenticated.py")).args(["--library", library]);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONIOENCODING", "utf-8");
    command
}

fn node(library: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(sdk::scripts("node/authenticated.js")).env("NODE_PATH", sdk::node_modules());
    command.args(["--library", library]);
    command
}

/// A server that asks, with TLS, and what its owner knows.
struct World {
    identity: Identity,
    /// Whose tokens it believes, too.
    issuer: Issuer,
    server: Asking,
    admin: String,
    producer: String,
    _data: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let (identity, data) = (Identity::new(), tempfile::tempdir().unwrap());
        let issuer = Issuer::new();
        let config = issuer.configure(data.path());
        let arguments = [&["--tls-listen", "127.0.0.1:0", &config[0], &config[1]], &identity.arguments()[..]].concat();
        let server = Asking::on(&sqlite(data.path()), &arguments);
        let admin = server.admin();
        let producer = server.key(&admin, "producer", "acme", "producer");
        Self { identity, issuer, server, admin, producer, _data: data }
    }

    /// An operation of the tenant acme that is carried out; its id, and the lease.
    fn start(&self) -> (String, String) {
        let started = self.producer("/api/v1/operations:start", &json!({ "kind": "k", "worker": "test" }));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&started["operation"]["id"]), text(&started["lease"]))
    }

    /// Ends what [`World::start`] has begun.
    fn complete(&self, lease: &str) {
        let response = json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": "готово" });
        self.producer("/api/v1/work:complete", &json!({ "lease": lease, "response": response }));
    }

    /// A call as the producer, which must go well.
    fn producer(&self, path: &str, body: &Value) -> Value {
        let bearer = format!("Bearer {}", self.producer);
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        let answer = http::call(self.server.http(), "POST", path, &headers, &body.to_string());
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Has a library get the operation `id` and wait for it.
    fn call(&self, mut library: Command, token: &str, id: &str) -> Running {
        let endpoint = self.server.tls().replace("127.0.0.1", "localhost");
        library.args(["--endpoint", &endpoint, "--ca", &self.identity.ca, "--token", token, id]);
        // Where rustls looks for authorities.
        library.env("SSL_CERT_FILE", &self.identity.ca);
        without_proxies(&mut library);
        Running::new(library)
    }
}

/// The server is on loopback: no proxy may come between.
pub(super) fn without_proxies(library: &mut Command) {
    for (name, _) in std::env::vars().filter(|(name, _)| name.to_lowercase().ends_with("_proxy")) {
        library.env_remove(name);
    }
}

/// A library at work; stopped when dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn new(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout: BufReader<ChildStdout> = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = sync_channel(LINES_MAX);
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The next line is this one, and comes soon.
    #[track_caller]
    fn says(&mut self, expected: &str) {
        let line = self.lines.recv_timeout(AT_ONCE).unwrap_or_else(|ended| panic!("{expected}: {ended}"));
        assert!(line.starts_with(expected), "{line}, and not {expected}");
        println!("{line}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _already_dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Time enough for an interpreter to start and a poll to come round, and for no library to be patient: those that
/// repeat a call do it for a minute and more.
const AT_ONCE: Duration = Duration::from_secs(15);
const LINES_MAX: usize = 16;
