//! `operond config check` refuses what `operond serve` would; `explain` says where settings come from.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::asking::{Asking, sqlite};
use crate::support::command;
use crate::support::served::ended;

fn run(words: &[&str], arguments: &[&str]) -> Output {
    ended(command().args(words).args(arguments).env_remove("OPEROND_STORE"))
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Both say no, and this, and checking makes nothing.
#[track_caller]
fn refused(folder: &Path, store: &str, arguments: &[&str], says: &[&str]) {
    let arguments = [&["--store", store], arguments].concat();
    let before = folder.read_dir().unwrap().count();
    let checked = run(&["config", "check"], &arguments);
    assert!(!checked.status.success(), "{checked:?}");
    let said = stderr(&checked);
    assert!(says.iter().all(|part| said.contains(part)), "{says:?}: {said}");
    assert_eq!(folder.read_dir().unwrap().count(), before, "something was made");
    let served = run(&["serve"], &arguments);
    assert_eq!(served.status.code(), checked.status.code(), "serve does otherwise: {served:?}");
}

#[test]
fn what_could_not_be_served_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let store = sqlite(folder);
    let listen = ["--listen", "127.0.0.1:0"];

    let no_folder = "nowhere: make it first";
    let (nowhere, audit, key) = (file("nowhere/operond.db"), file("nowhere/audit.jsonl"), file("nowhere/admin.key"));
    refused(folder, &format!("sqlite:{nowhere}"), &listen, &["cannot open the store", &nowhere, no_folder]);
    let arguments = [&listen[..], &["--audit-log", &audit]].concat();
    refused(folder, &store, &arguments, &["cannot open the audit log", &audit, no_folder]);
    let arguments = [&listen[..], &["--admin-key-file", &key]].concat();
    refused(folder, &store, &arguments, &["the first key was to be written to", &key, no_folder]);

    refused(folder, &store, &["--held-get", "2m"], &["--held-get", "60s at most"]);
    let twice = ["--listen", "127.0.0.1:7999", "--worker-listen", "127.0.0.1:7999"];
    refused(folder, &store, &twice, &["127.0.0.1:7999", "a port of its own"]);

    fs::write(folder.join("admin.key"), "another").unwrap();
    let second = format!("sqlite:{}", file("second.db"));
    refused(folder, &second, &listen, &["second.db", "admin.key", "move it away"]);
}

#[test]
fn what_can_be_served_is_told_with_what_was_not_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(folder.path());
    let checked = run(&["config", "check"], &["--store", &store, "--audit-log", "-"]);
    assert!(checked.status.success(), "{checked:?}");
    assert!(stderr(&checked).contains("not looked at: what is in the store, and whether the addresses are free"));
    assert!(!stderr(&checked).contains("--admin-key-file"), "{checked:?}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "it opens nothing");

    let database = ["--store", "postgres://u@127.0.0.1:1/db"];
    let checked = run(&["config", "check"], &database);
    assert!(checked.status.success() && stderr(&checked).contains("needs --admin-key-file"), "{checked:?}");
    for more in [&["--admin-key-file", "admin.key"][..], &["--insecure-no-auth"]] {
        let checked = run(&["config", "check"], &[&database, more].concat());
        assert!(checked.status.success() && !stderr(&checked).contains("needs"), "{checked:?}");
    }
    // A store that is there has its key.
    let mut server = Asking::on(&store, &[]);
    server.stop();
    assert!(run(&["config", "check"], &["--store", &store]).status.success());
}

#[test]
fn every_setting_is_explained_with_its_value_and_where_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operond.toml");
    let file = r#"
        store = "postgres://operond:hush@db1/operond"
        listen = "127.0.0.1:7000"
        calls-per-second = 5
        [[issuers]]
        issuer = "https://id.example.com"
        audiences = ["operond"]
        tenant-claim = "org"
        roles-claim = "groups"
        roles-of = { support = "viewer" }
        [[certificates]]
        name = "a.example"
        tenant = "*"
        roles = ["worker"]
        [tenants."acme 1"]
        creates-per-second = 50
    "#;
    fs::write(&path, file).unwrap();
    let path = path.to_str().unwrap();
    let explained = |arguments: &[&str], store: Option<&str>| {
        let mut explain = command();
        explain.args(["config", "explain", "--config", path]).args(arguments).env_remove("OPEROND_STORE");
        explain.envs(store.map(|store| ("OPEROND_STORE", store)));
        let output = ended(&mut explain);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains("hush"), "{text}");
        let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines.collect::<Vec<_>>()
    };
    let has = |lines: &[String], line: &str| assert!(lines.iter().any(|one| one == line), "{line}: {lines:#?}");

    let lines = explained(&["--listen", "127.0.0.1:7001"], None);
    for (setting, value) in [
        ("store", "postgres://operond@db1/operond"),
        ("calls-per-second", "5"),
        ("issuers[0].issuer", "https://id.example.com"),
        ("issuers[0].audiences", "operond"),
        ("issuers[0].roles-of.support", "viewer"),
        ("certificates[0].name", "a.example"),
        ("certificates[0].roles", "worker"),
        ("tenants.acme 1.creates-per-second", "50"),
    ] {
        has(&lines, &format!("{setting} {value} {path}"));
    }
    has(&lines, "listen 127.0.0.1:7001 command line");
    has(&lines, "require-durable false default");
    has(&lines, "audit-log - default");
    let lines = explained(&[], Some("postgres://operond:hush@db2/operond"));
    has(&lines, "store postgres://operond@db2/operond OPEROND_STORE");
    has(&lines, &format!("listen 127.0.0.1:7000 {path}"));
}
