//! The command line against a real server: what it prints, and how it exits.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use crate::support::{Server, command};

/// `operond ARGS…` against a server.
fn operond(server: &Server, arguments: &[&str]) -> Command {
    let mut operond = command();
    operond.args(arguments).env("OPEROND_ENDPOINT", &server.http).stdin(Stdio::null());
    operond
}

fn run(server: &Server, arguments: &[&str]) -> Output {
    operond(server, arguments).output().unwrap()
}

/// Runs it to its end; the exit code must be `code`, and stdout is returned.
fn check(server: &Server, arguments: &[&str], code: i32) -> String {
    let output = run(server, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn demo() -> (Server, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Server::start_in(directory.path(), &["--demo"]), directory)
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_wait_exits_by_how_the_operation_ended() {
    let (server, _directory) = demo();
    let create =
        |arguments: &[&str]| check(&server, &[&["create", "-o", "id"], arguments].concat(), 0).trim().to_owned();

    let rendered = check(&server, &["create", "demo.render", "--input", r#"{"frames":2}"#, "--wait", "-o", "json"], 0);
    assert_eq!(json(&rendered)["response"]["value"]["frames"], 2);
    assert_eq!(json(&rendered)["state"], "SUCCEEDED");

    let refused = run(&server, &["create", "demo.render", "--input", r#"{"frames":-1}"#, "--wait", "-o", "json"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(json(&String::from_utf8(refused.stdout.clone()).unwrap())["error"]["code"], 3);
    assert!(stderr(&refused).contains("created op"), "{refused:?}");

    let cancelled = create(&["demo.slow-cancel"]);
    check(&server, &["cancel", &cancelled, "--reason", "enough"], 0);
    let told = check(&server, &["wait", &cancelled, "-o", "json"], 3);
    assert_eq!(json(&told)["cancelRequested"]["reason"], "enough");

    let unfinished = create(&["demo.slow-cancel"]);
    assert!(check(&server, &["wait", &unfinished, "--timeout", "100ms"], 124).starts_with(&unfinished));

    // Of many ends the worst: cancelled, never existed, gave up.
    let output = run(&server, &["wait", &cancelled, "op-none", &unfinished, "--timeout", "100ms"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
}

#[test]
fn what_is_asked_for_wrongly_is_refused_before_anything_is_stored() {
    let server = Server::start();
    let refused = |arguments: &[&str], code: i32, says: &str| {
        let output = run(&server, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(stderr(&output).contains(says), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
    };
    refused(&["create", ""], 2, "kind");
    refused(&["create", "k", "--input", "{pages: 3}"], 2, "--input is not JSON");
    refused(&["create", "k", "--input", "@/nonexistent"], 1, "cannot read /nonexistent");
    refused(&["create", "k", "--label", "novalue"], 2, "NAME=VALUE");
    refused(&["create", "k", "--description", &"x".repeat(257)], 2, "description");
    refused(&["wait", "op1", "--timeout", "soon"], 2, "no unit");
    refused(&["list", "--filter", "colour = red"], 2, "colour");
    refused(&["get", "op-none"], 4, "error: ");
    refused(&["watch", "op-none"], 4, "error: ");
    refused(&["get", "op1", "--endpoint", "http://127.0.0.1:1"], 5, "no answer from http://127.0.0.1:1: ");
    refused(&["get", "op1", "--endpoint", "127.0.0.1:1"], 2, "it must begin with http:// or https://");
    refused(&["get", "op1", "--endpoint", &format!("https://{}", server.tls)], 5, "--ca FILE");
    let (tls, plain) = (format!("https://{}", server.tls), server.http.replace("http://", "https://"));
    refused(&["get", "op1", "--endpoint", &tls.replace("https://", "http://")], 5, &format!("TLS: try {tls}\n"));
    refused(&["get", "op1", "--endpoint", &plain], 5, &format!("not speak TLS there: use {}\n", server.http));
    assert_eq!(check(&server, &["list"], 0), "");
}

#[test]
fn an_operation_can_be_created_found_shown_and_deleted_over_tls() {
    let server = Server::start();
    let endpoint = format!("https://{}", server.tls);
    let ca = server.data().join("ca.pem");
    let tls = ["--endpoint", &endpoint, "--ca", ca.to_str().unwrap()];
    let create = ["create", "k", "--label", "a=b", "--idempotency-key", "once", "--input", "[1]", "-o", "id"];
    let id = check(&server, &[&create[..], &tls].concat(), 0).trim().to_owned();
    assert_eq!(check(&server, &create, 0).trim(), id, "the same key is the same operation");

    assert_eq!(check(&server, &["list", "-o", "id"], 0).trim(), id);
    let full = json(&check(&server, &["get", &id, "--full", "-o", "jsonl"], 0));
    assert_eq!((&full["labels"]["a"], &full["input"]["value"][0]), (&"b".into(), &1.into()));
    assert!(check(&server, &["get", &id], 0).contains("state        queued"));

    let output = run(&server, &["delete", &id]);
    assert_eq!((output.status.code(), stderr(&output).contains("not")), (Some(1), true), "{output:?}");
    check(&server, &["cancel", &id], 0);
    check(&server, &["delete", &id], 0);
    check(&server, &["get", &id], 4);
}

/// A process whose stderr is read line by line.
struct Waiting {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Waiting {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads on to the line that has `part` in it.
    fn says(&mut self, part: &str) -> String {
        self.lines
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains(part))
            .unwrap_or_else(|| panic!("no {part:?}"))
    }

    fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    fn exit_code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _already_dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn an_interrupted_wait_says_that_the_operation_goes_on_and_how_to_wait_again() {
    let server = Server::start();
    let mut waiting = Waiting::start(operond(&server, &["create", "lonely", "--wait"]));
    let created = waiting.says("created ");
    let id = created.strip_prefix("created ").unwrap();
    waiting.says("no worker has asked for lonely");
    waiting.says("queued");
    waiting.interrupt();
    waiting.says(&format!("the operation goes on. To wait again: operond wait {id} --endpoint {}", server.http));
    assert_eq!(waiting.exit_code(), Some(130));
    assert!(check(&server, &["get", id], 0).contains("state        queued"));
}

#[test]
fn a_wait_and_a_watch_ride_out_a_restart_of_the_server() {
    let mut server = Server::start();
    let id = check(&server, &["create", "k", "-o", "id"], 0).trim().to_owned();
    let mut waiting = Waiting::start(operond(&server, &["wait", &id]));
    waiting.says("queued");
    let mut watching = operond(&server, &["watch", &id, "-o", "jsonl"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut changes = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(json(&changes.next().unwrap())["state"], "QUEUED");

    server.kill();
    waiting.says("waiting for it to come back");
    server.start_again();
    waiting.says("the server is back");
    check(&server, &["cancel", &id], 0);

    waiting.says("cancelled");
    assert_eq!(waiting.exit_code(), Some(3));
    assert_eq!(json(&changes.next().unwrap())["state"], "CANCELLED");
    assert_eq!(changes.next(), None);
    assert_eq!(watching.wait().unwrap().code(), Some(0));
}

#[test]
fn a_list_that_is_watched_prints_what_comes_and_changes_and_only_that() {
    let server = Server::start();
    let create = |kind: &str| check(&server, &["create", kind, "-o", "id"], 0).trim().to_owned();
    let (first, _other) = (create("k"), create("other"));
    let watch = ["list", "--watch", "--filter", "kind = k", "-o", "jsonl"];
    let mut watching = operond(&server, &watch).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut next = || {
        let operation = json(&lines.next().unwrap());
        (operation["id"].as_str().unwrap().to_owned(), operation["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(next(), (first.clone(), "QUEUED".into()));
    let second = create("k");
    let count = |filter: &str| check(&server, &["list", "--count", "--filter", filter], 0);
    assert_eq!((count("").trim(), count("kind = k").trim(), count("kind = none").trim()), ("3", "2", "0"));
    assert_eq!(next(), (second, "QUEUED".into()));
    check(&server, &["cancel", &first], 0);
    assert_eq!(next(), (first, "CANCELLED".into()));
    watching.kill().unwrap();
    watching.wait().unwrap();
}
