//! Message types and kinds through the real binary: registered, used, there again after a restart.

use std::process::{Command, Output, Stdio};

use crate::support::{Server, command, http};

fn run(server: &Server, arguments: &[&str]) -> Output {
    command().args(arguments).env("OPEROND_ENDPOINT", &server.http).stdin(Stdio::null()).output().unwrap()
}

/// Runs it to its end, which must be a good one; stdout is returned.
#[track_caller]
fn done(server: &Server, arguments: &[&str]) -> String {
    let output = run(server, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The set of one file `acme/frame.proto`: `package acme; message Frame { int32 pages = 1; }` or with another type.
pub(crate) fn set(field_type: u8) -> Vec<u8> {
    fn member(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }
    let field = [member(1, b"pages"), vec![3 << 3, 1, 4 << 3, 1, 5 << 3, field_type]].concat();
    let message = [member(1, b"Frame"), member(2, &field)].concat();
    let file =
        [member(1, b"acme/frame.proto"), member(2, b"acme"), member(4, &message), member(12, b"proto3")].concat();
    member(1, &file)
}

pub(crate) const INT32: u8 = 5;
const STRING: u8 = 9;
pub(crate) const FRAME: &str = r#"{"@type":"type.googleapis.com/acme.Frame","value":"CAM="}"#;

#[test]
fn registered_types_show_payloads_and_survive_a_restart() {
    let mut server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (good, other, bad) = (path("good.pb", &set(INT32)), path("other.pb", &set(STRING)), path("bad.pb", b"\xff"));
    let id = done(&server, &["create", "k", "--input", FRAME, "-o", "id"]).trim().to_owned();
    let input = |server: &Server| {
        let path = format!("/api/v1/operations/{id}?view=FULL");
        let rest = json(&http::call(&server.http, "GET", &path, &[], "").body)["input"].clone();
        let shown = json(&done(server, &["get", &id, "--full", "-o", "json"]))["input"].clone();
        assert_eq!(shown, rest, "the command line prints what REST prints");
        shown
    };
    assert_eq!(input(&server), json(FRAME));

    let registered = done(&server, &["types", "register", &good]);
    assert!(registered.contains("acme/frame.proto") && registered.contains("acme.Frame"), "{registered}");
    let decoded = serde_json::json!({"@type": "type.googleapis.com/acme.Frame", "pages": 3});
    assert_eq!(input(&server), decoded);

    let refused = run(&server, &["types", "register", &other]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("acme.Frame.pages") && told.contains("was int32, and is string"), "{told}");
    assert_eq!(run(&server, &["types", "register", &bad]).status.code(), Some(2));

    server.kill();
    server.start_again();
    assert_eq!(input(&server), decoded);
    done(&server, &["types", "register", &good]);
    let listed = json(&done(&server, &["types", "list", "-o", "json"]));
    assert_eq!((&listed[0]["version"], listed.as_array().unwrap().len()), (&json(r#""1""#), 1), "{listed}");
}

#[test]
fn types_can_be_given_at_the_start_and_bad_ones_refuse_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.pb");
    std::fs::write(&path, set(INT32)).unwrap();
    let path = path.to_str().unwrap();
    let data = folder.path().join("data");
    let server = Server::start_in(&data, &["--descriptors", path]);
    let shown = done(&server, &["create", "k", "--input", FRAME]);
    assert!(shown.starts_with("id"), "{shown}");
    assert_eq!(done(&server, &["types", "list", "-o", "id"]), "acme/frame.proto\n");
    drop(server);

    std::fs::write(path, b"garbage").unwrap();
    let listen = ["--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0"];
    let mut dev: Command = command();
    let refused = dev.arg("dev").args(listen).arg("--data").arg(&data).args(["--descriptors", path]).output().unwrap();
    assert!(!refused.status.success());
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains(path) && told.contains("is no encoded google.protobuf.FileDescriptorSet"), "{told}");
}

#[test]
fn defaults_of_a_kind_are_set_member_by_member_and_survive_a_restart() {
    let mut server = Server::start();
    let missing = run(&server, &["kinds", "get", "video/render:hd"]);
    assert_eq!(missing.status.code(), Some(4), "{missing:?}");
    done(&server, &["kinds", "set", "video/render:hd", "--max-attempts", "7"]);
    done(&server, &["kinds", "set", "video/render:hd", "--keep-failed", "90d", "--clean-up-on-cancel", "true"]);
    let attempts = |server: &Server| {
        let created = json(&done(server, &["create", "video/render:hd", "-o", "json"]));
        created["maxAttempts"].clone()
    };
    assert_eq!(attempts(&server), 7);
    server.kill();
    server.start_again();
    assert_eq!(attempts(&server), 7);
    let shown = done(&server, &["kinds", "list"]);
    let row = "video/render:hd  2        clean-up-on-cancel=true max-attempts=7 keep-failed=7776000s";
    assert!(shown.contains(row), "{shown}");
    let anew =
        json(&done(&server, &["kinds", "set", "video/render:hd", "--anew", "--cancellable", "false", "-o", "json"]));
    assert_eq!((&anew[0]["version"], &anew[0]["cancellable"]), (&json(r#""3""#), &json("false")));
    assert_eq!(attempts(&server), 3);
    let wrong = run(&server, &["kinds", "set", "k", "--max-attempts", "101"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}
