//! The SDKs of Yandex Cloud, as they come from PyPI and npm, over TLS with the development CA.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Server, sdk};

#[test]
fn python_sdk_sees_the_whole_life_of_an_operation() {
    let server = Server::start();
    let output = python(&server, "all").output().unwrap();
    assert_all_ok(&output);
}

#[test]
fn node_sdk_sees_the_whole_life_of_an_operation() {
    let server = Server::start();
    let output = node(&server, "all").output().unwrap();
    assert_all_ok(&output);
}

#[test]
fn a_python_waiter_outlives_a_server_restart_of_under_two_seconds() {
    outlives_a_restart(python);
}

#[test]
fn a_node_waiter_outlives_a_server_restart_of_under_two_seconds() {
    outlives_a_restart(node);
}

/// The script says when it waits; then the server goes away and comes back, and the script completes the operation.
fn outlives_a_restart(script: fn(&Server, &str) -> Command) {
    let mut server = Server::start();
    let mut child = script(&server, "wait-restart").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "waiting");
    assert!(server.stop().success());
    let away = server.start_again();
    assert!(away < Duration::from_secs(2), "away for {away:?}");
    tell(&mut child, "restarted");
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
    assert_eq!(rest, ["ok wait-restart"]);
}

fn tell(child: &mut Child, line: &str) {
    writeln!(child.stdin.take().unwrap(), "{line}").unwrap();
}

fn python(server: &Server, scenario: &str) -> Command {
    let mut command = Command::new(sdk::python());
    command.arg(sdk::scripts("python/scenarios.py"));
    aimed_at(command, server, scenario)
}

fn node(server: &Server, scenario: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(sdk::scripts("node/scenarios.js")).env("NODE_PATH", sdk::node_modules());
    aimed_at(command, server, scenario)
}

fn aimed_at(mut command: Command, server: &Server, scenario: &str) -> Command {
    command.args(["--endpoint", &server.tls, "--rest", &server.http, "--ca"]).arg(server.data().join("ca.pem"));
    command.arg(scenario);
    command
}

fn assert_all_ok(output: &std::process::Output) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let scenarios = stdout.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(scenarios >= 10, "only {scenarios} scenarios ended well:\n{stdout}");
}
