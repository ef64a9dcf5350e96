//! The libraries of Google's APIs, as they come from PyPI, npm and crates.io, over plaintext.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::http::post;
use crate::support::{Front, Server, sdk};

#[test]
fn python_over_grpc_sees_the_whole_life_of_an_operation() {
    sees_the_whole_life(PYTHON_GRPC, 11);
}

#[test]
fn python_over_rest_sees_the_whole_life_of_an_operation() {
    // All but WaitOperation, which its transport does not have.
    sees_the_whole_life(PYTHON_REST, 10);
}

#[test]
fn node_sees_the_whole_life_of_an_operation() {
    sees_the_whole_life(NODE, 10);
}

#[test]
fn rust_sees_the_whole_life_of_an_operation() {
    sees_the_whole_life(RUST, 7);
}

#[test]
fn another_process_gets_the_result_by_the_name_alone() {
    let server = Server::start();
    for library in [PYTHON_GRPC, PYTHON_REST, NODE, RUST] {
        another_process_gets_the_result(&server, library);
    }
}

/// A library, by the command that runs its scenarios.
#[derive(Clone, Copy)]
struct Library {
    command: fn() -> Command,
    /// The form of names that it has URLs for.
    collection: &'static str,
}

const PYTHON_GRPC: Library = Library { command: || python("grpc"), collection: "operations" };
const PYTHON_REST: Library = Library { command: || python("rest"), collection: "shops/7/operations" };
const NODE: Library = Library { command: node, collection: "projects/p/locations/l/operations" };
const RUST: Library = Library { command: || Command::new(sdk::google_rust()), collection: "operations" };

impl Library {
    /// The client under test calls `target`, producer and worker call `native`.
    fn command(self, native: &str, target: &str, what: &str) -> Command {
        let mut command = (self.command)();
        command.args(["--native", native, "--target", target, what]);
        // The server is on loopback: no proxy may come between.
        for (name, _) in std::env::vars().filter(|(name, _)| name.to_lowercase().ends_with("_proxy")) {
            command.env_remove(name);
        }
        command
    }
}

fn python(transport: &str) -> Command {
    let mut command = Command::new(sdk::python());
    command.arg(sdk::scripts("python/google_scenarios.py")).args(["--transport", transport]);
    command
}

fn node() -> Command {
    let mut command = Command::new("node");
    command.arg(sdk::scripts("node/google.js")).env("NODE_PATH", sdk::node_modules());
    command
}

/// Straight, and when every third call is UNAVAILABLE.
fn sees_the_whole_life(library: Library, scenarios: usize) {
    let server = Server::start();
    all_scenarios(library, &server.http, &server.http, scenarios);
    let front = Front::before(&server.http);
    all_scenarios(library, &server.http, &front.http, scenarios);
    assert!(front.refused() >= 10, "only {} calls were refused", front.refused());
}

fn all_scenarios(library: Library, native: &str, target: &str, scenarios: usize) {
    let output = library.command(native, target, "all").output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{target}:\n{stdout}\n{stderr}");
    assert_eq!(stdout.lines().filter(|line| line.starts_with("ok ")).count(), scenarios, "{target}:\n{stdout}");
}

/// One process waits and dies; the next one knows the operation's name and nothing else.
fn another_process_gets_the_result(server: &Server, library: Library) {
    let call = |path: &str, body: Value| -> Value {
        let answer = post(&server.http, path, &body.to_string());
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    };
    let operation = call("/api/v1/operations:start", json!({ "kind": "resumed", "worker": "test" }));
    let name = format!("{}/{}", library.collection, operation["operation"]["id"].as_str().unwrap());

    let (mut first, _) = waiting(library, server, &name);
    first.kill().unwrap();
    first.wait().unwrap();
    let (mut second, mut rest) = waiting(library, server, &name);
    let response = json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": "3 страницы" });
    call("/api/v1/work:complete", json!({ "lease": operation["lease"], "response": response }));
    let mut result = String::new();
    rest.read_to_string(&mut result).unwrap();
    assert!(second.wait().unwrap().success(), "{name}: {result}");
    assert_eq!(result, "3 страницы\n", "{name}");
}

/// A process that has seen that the operation is not done, and what it goes on to print.
fn waiting(library: Library, server: &Server, name: &str) -> (Child, BufReader<ChildStdout>) {
    let mut command = library.command(&server.http, &server.http, &format!("await:{name}"));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "waiting\n", "{name}");
    (child, stdout)
}
