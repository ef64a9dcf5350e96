//! Keys on the command line: made, used, listed, revoked; and what who has none is told.

use std::io::{Read, Write};
use std::process::{Output, Stdio};

use crate::auth::{Identity, Running, soon};
use crate::support::Asking;
use crate::support::asking::{client, create_key, id_of, operond, printed, secret_of};

#[test]
fn a_key_is_printed_alone_and_once_and_is_who_it_was_made_for() {
    let server = Asking::start(&[]);
    let admin = server.admin();
    let create = ["keys", "create", "ci", "--tenant", "acme", "--role", "producer", "--role", "viewer", "--kind", "k"];
    let made = operond(server.http(), &admin, &create);
    let key = String::from_utf8(made.stdout.clone()).unwrap();
    assert_eq!(key.lines().count(), 1, "a script takes it as it is: {key:?}");
    let key = key.trim_end();
    assert!(key.starts_with("opk_") && stderr(&made).contains(id_of(key)), "{made:?}");
    assert!(!stderr(&made).contains(secret_of(key)), "{made:?}");

    let me = json(&printed(server.http(), key, &["whoami", "-o", "jsonl"]));
    assert_eq!((&me["principal"], &me["tenant"], &me["credential"]), (&"ci".into(), &"acme".into(), &"key".into()));
    assert_eq!(me["credentialId"], id_of(key));
    assert_eq!(me["roles"], serde_json::json!(["ROLE_VIEWER", "ROLE_PRODUCER"]));
    assert_eq!(me["kinds"], serde_json::json!(["k"]));

    let list = |format| printed(server.http(), &admin, &["keys", "list", "-o", format]);
    let (table, lines) = (list("table"), list("jsonl"));
    let row = table.lines().find(|line| line.contains("ci")).unwrap_or_else(|| panic!("{table}"));
    for part in [id_of(key), "acme", "viewer producer: k", "used 20"] {
        assert!(row.contains(part), "{part}: {row}");
    }
    assert_eq!(list("id").lines().collect::<Vec<_>>().len(), 2);
    assert!(list("id").contains(id_of(key)));
    assert_eq!(json(&list("json")).as_array().unwrap().len(), 2);
    let listed = lines.lines().map(json).find(|one| one["name"] == "ci").unwrap();
    assert_eq!((&listed["id"], &listed["createdBy"]), (&id_of(key).into(), &"admin".into()));
    for format in ["table", "json", "jsonl", "id"] {
        assert!(!list(format).contains(secret_of(key)), "{format} has the key");
    }
}

#[test]
fn a_revoked_key_is_good_for_nothing_and_is_seen_to_be() {
    let server = Asking::start(&[]);
    let admin = server.admin();
    let key = server.key(&admin, "ci", "acme", "viewer");
    printed(server.http(), &key, &["list"]);
    for _ in 0..2 {
        let revoked = operond(server.http(), &admin, &["keys", "revoke", id_of(&key)]);
        assert!(revoked.status.success() && stderr(&revoked).contains(id_of(&key)), "{revoked:?}");
        refused(&operond(server.http(), &key, &["list"]), 1, "the API key was revoked");
    }
    let row = printed(server.http(), &admin, &["keys", "list"]);
    assert!(row.lines().any(|line| line.contains(id_of(&key)) && line.contains("revoked 20")), "{row}");
    refused(&operond(server.http(), &admin, &["keys", "revoke", "0123456789abcdef"]), 4, "there is no key");
}

#[test]
fn a_key_is_revoked_by_itself_or_its_file_and_its_secret_is_neither_said_nor_sent() {
    let server = Asking::start(&[]);
    let admin = server.admin();
    let (one, other) = (server.key(&admin, "one", "acme", "viewer"), server.key(&admin, "two", "acme", "viewer"));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{other}").unwrap();
    let at = format!("@{}", file.path().display());
    for (named, key) in [(&one, &one), (&at, &other)] {
        let mut revoke = client(server.http(), &admin, &["keys", "revoke", named]);
        let revoked = revoke.env("OPEROND_LOG", "trace").output().unwrap();
        assert!(revoked.status.success() && stderr(&revoked).contains(&format!("revoked key {}", id_of(key))));
        assert!(!stderr(&revoked).contains(secret_of(key)), "{revoked:?}");
        refused(&operond(server.http(), key, &["list"]), 1, "the API key was revoked");
    }
    // One of them is wrong: none is revoked.
    refused(&operond(server.http(), &admin, &["keys", "revoke", &admin, "shop"]), 2, "`operond keys list`");
    let away = operond("http://127.0.0.1:1", &admin, &["keys", "revoke", "--last", &one]);
    assert!(!stderr(&away).contains(secret_of(&one)) && stderr(&away).contains(id_of(&one)), "{away:?}");
    let log = server.said().1;
    assert!(!log.contains(secret_of(&one)) && !log.contains(secret_of(&other)), "the server was told a key");
    printed(server.http(), &admin, &["whoami"]);
}

#[test]
fn a_key_expires() {
    let server = Asking::start(&[]);
    let admin = server.admin();
    let make = ["ci", "--tenant", "acme", "--role", "viewer", "--expires", "6s"];
    let key = create_key(server.http(), &admin, &make);
    printed(server.http(), &key, &["list"]);
    soon("it expires", || !operond(server.http(), &key, &["list"]).status.success());
    refused(&operond(server.http(), &key, &["list"]), 1, "the API key has expired");
    let row = printed(server.http(), &admin, &["keys", "list"]);
    assert!(row.lines().any(|line| line.contains(id_of(&key)) && line.contains("expired 20")), "{row}");
    for (wrong, says) in [("0s", "lifetime"), ("4000d", "lifetime"), ("soon", "no unit")] {
        let make = ["keys", "create", "x", "--tenant", "acme", "--role", "viewer", "--expires", wrong];
        refused(&operond(server.http(), &admin, &make), 2, says);
    }
}

#[test]
fn who_is_not_known_or_may_not_is_told_what_to_do() {
    let server = Asking::start(&[]);
    let admin = server.admin();
    let (viewer, worker) = (server.key(&admin, "v", "acme", "viewer"), server.key(&admin, "w", "acme", "worker"));
    let wrong = format!("{}{}", &admin[..admin.len() - 1], if admin.ends_with('0') { '1' } else { '0' });
    let call = |token: &str, arguments: &[&str]| operond(server.http(), token, arguments);
    for (token, says) in [
        ("", "send an API key or a token"),
        (&*wrong, "the API key is not one of this server"),
        ("eyJ.made.up", "neither an API key nor a token of an issuer"),
    ] {
        for arguments in [&["list"][..], &["create", "k"], &["whoami"], &["wait", "op1"], &["watch", "op1"]] {
            let output = call(token, arguments);
            assert!(stderr(&output).contains("\n  --token (or OPEROND_TOKEN) says who you are"), "{output:?}");
            // Who has sent one has it from somewhere else.
            assert_eq!(stderr(&output).contains("the first key is in the file"), token.is_empty(), "{output:?}");
            refused(&output, 1, says);
        }
        let exec = ["worker", "exec", "--kind", "k", "--", "true"];
        refused(&call(token, &exec), 1, says);
    }
    for (token, arguments, says) in [
        (&viewer, &["create", "k"][..], "Create takes one of the roles producer, admin"),
        (&viewer, &["cancel", "op1"], "Cancel takes one of the roles operator, admin"),
        (&viewer, &["worker", "exec", "--kind", "k", "--", "true"], "Claim takes one of the roles worker, admin"),
        (&worker, &["list"], "List takes one of the roles viewer, operator, producer, admin"),
        (&worker, &["keys", "list"], "KeysList concerns everybody"),
        (&viewer, &["kinds", "set", "k", "--max-attempts", "3"], "KindsUpdate concerns everybody"),
    ] {
        let output = call(token, arguments);
        assert!(stderr(&output).contains("`operond whoami` says"), "{output:?}");
        refused(&output, 1, says);
    }
    // What nobody has to be asked for.
    printed(server.http(), &viewer, &["kinds", "list"]);
    printed(server.http(), &worker, &["types", "list"]);
    assert_eq!(printed(server.http(), &admin, &["list", "--count"]).trim(), "0", "nothing was stored");
}

#[test]
fn a_token_is_taken_from_the_command_line_a_file_or_the_environment() {
    let server = Asking::start(&[]);
    let admin = server.admin();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "  {admin}\r\n").unwrap();
    let at = format!("@{}", file.path().display());
    for arguments in [["whoami", "--token", &admin], ["whoami", "--token", &at]] {
        printed(server.http(), "", &arguments);
        // What is said there goes before what is said here.
        printed(server.http(), "opk_wrong", &arguments);
    }
    printed(server.http(), &admin, &["whoami"]);
    printed(server.http(), &at, &["whoami"]);
    refused(&operond(server.http(), "@/nowhere/key", &["whoami"]), 1, "cannot read the token in /nowhere/key");
    refused(&operond(server.http(), "", &["whoami", "--token", ""]), 2, "--token is empty: ");
    let mut empty = client(server.http(), "", &["whoami"]);
    refused(&empty.env("OPEROND_TOKEN", " ").output().unwrap(), 2, "OPEROND_TOKEN is empty: ");
    let nothing = tempfile::NamedTempFile::new().unwrap();
    let at_nothing = format!("@{}", nothing.path().display());
    let says = format!("the file {} that --token names is empty", nothing.path().display());
    refused(&operond(server.http(), "", &["whoami", "--token", &at_nothing]), 2, &says);
    // A file that is named without the sign; nobody is asked who would only say that this is no key.
    let name = file.path().file_name().unwrap().to_str().unwrap();
    let mut named = client("http://127.0.0.1:1", "", &["whoami", "--token", name]);
    let named = named.current_dir(file.path().parent().unwrap()).output().unwrap();
    refused(&named, 2, &format!("did you mean --token @{name}?"));
    let path = file.path().to_str().unwrap();
    let says = format!("did you mean OPEROND_TOKEN @{path}?");
    refused(&operond("http://127.0.0.1:1", path, &["whoami"]), 2, &says);
    refused(&operond(server.http(), "opk_a\u{7}b", &["whoami"]), 2, "characters that no token has");
    let help = operond(server.http(), &admin, &["whoami", "--help"]);
    assert!(!String::from_utf8_lossy(&help.stdout).contains(secret_of(&admin)), "{help:?}");
}

#[test]
fn a_producer_creates_and_waits_while_a_worker_carries_out_and_a_viewer_watches() {
    let server = Asking::start(&[]);
    let admin = server.admin();
    let [producer, worker, viewer] =
        ["producer", "worker", "viewer"].map(|role| server.key(&admin, role, "acme", role));
    let queued = printed(server.http(), &producer, &["create", "shout", "--input", r#""first""#, "-o", "id"]);
    let mut watch = client(server.http(), &viewer, &["watch", queued.trim(), "-o", "jsonl"]);
    let watch = Running(watch.stdout(Stdio::piped()).spawn().unwrap());
    let exec = ["worker", "exec", "--kind", "shout", "--", "tr", "a-z", "A-Z"];
    let _worker = Running(client(server.http(), &worker, &exec).stderr(Stdio::null()).spawn().unwrap());

    let input = ["create", "shout", "--input", r#""hello""#, "--wait", "-o", "json"];
    let done = json(&printed(server.http(), &producer, &input));
    assert_eq!((&done["response"]["value"], &done["createdBy"]), (&"HELLO".into(), &"producer".into()));
    assert_eq!(done["tenant"], "acme");
    let watched = output(watch);
    let last = json(watched.lines().last().unwrap());
    assert_eq!((&last["id"], &last["response"]["value"]), (&queued.trim().into(), &"FIRST".into()));
    printed(server.http(), &viewer, &["wait", queued.trim()]);
}

#[test]
fn a_worker_whose_key_is_revoked_ends_and_its_operation_goes_to_another() {
    let server = Asking::start(&[]);
    let admin = server.admin();
    let worker = server.key(&admin, "worker", "acme", "worker");
    let id = printed(server.http(), &admin, &["create", "k", "--tenant", "acme", "-o", "id"]);
    // Heartbeats are a fraction of the lease apart.
    let exec = ["worker", "exec", "--kind", "k", "--lease", "3s", "--", "sleep", "600"];
    let mut exec = Running(client(server.http(), &worker, &exec).stderr(Stdio::piped()).spawn().unwrap());
    let state = || json(&printed(server.http(), &admin, &["get", id.trim(), "-o", "jsonl"]))["state"].clone();
    soon("the worker has it", || state() == "RUNNING");
    printed(server.http(), &admin, &["keys", "revoke", id_of(&worker)]);
    soon("the worker ends", || exec.0.try_wait().unwrap().is_some());
    let mut said = String::new();
    exec.0.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(exec.0.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("error: the API key was revoked"), "{said}");
    soon("the lease lapses", || state() == "QUEUED");
}

#[test]
fn a_worker_keeps_its_own_credentials_from_its_program() {
    let identity = Identity::new();
    let server = Asking::start(&[&["--tls-listen", "127.0.0.1:0"][..], &identity.arguments()].concat());
    let admin = server.admin();
    let script = "env | grep -c -e ^OPEROND_TOKEN= -e ^OPEROND_KEY= -e ^OPEROND_CERT=";
    let exec = ["worker", "exec", "--kind", "k", "--ca", &identity.ca, "--", "sh", "-c", script];
    let https = format!("https://localhost:{}", server.tls().rsplit(':').next().unwrap());
    let mut worker = client(&https, &server.key(&admin, "worker", "acme", "worker"), &exec);
    worker.env("OPEROND_CERT", &identity.certificate).env("OPEROND_KEY", &identity.key);
    let _worker = Running(worker.stderr(Stdio::null()).spawn().unwrap());
    let create = ["create", "k", "--tenant", "acme", "--wait", "-o", "json"];
    assert_eq!(json(&printed(server.http(), &admin, &create))["response"]["value"], 1, "the certificate is no secret");
}

#[test]
fn who_stops_waiting_is_told_the_file_of_the_token_and_never_the_token() {
    let server = Asking::start(&[]);
    let key = server.admin();
    let file = format!("@{}", server.admin_key_file.as_ref().unwrap().display());
    for (token, said) in [(&file, format!(" --token {file}")), (&key, String::new())] {
        let create = ["create", "lonely", "--token", token, "-o", "id"];
        let id = printed(server.http(), "", &create).trim().to_owned();
        let given_up = operond(server.http(), "", &["wait", &id, "--timeout", "10ms", "--token", token]);
        assert_eq!(given_up.status.code(), Some(124), "{given_up:?}");
        let again = format!("To wait again: operond wait {id} --endpoint {}{said}\n", server.http());
        assert!(stderr(&given_up).ends_with(&again), "{given_up:?}");
    }
}

/// It ended so, saying this, and printed nothing.
#[track_caller]
fn refused(output: &Output, code: i32, says: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(stderr(output).contains(says), "{says}: {output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What it has printed when it ends by itself.
fn output(mut running: Running) -> String {
    let mut text = String::new();
    running.0.stdout.as_mut().unwrap().read_to_string(&mut text).unwrap();
    assert!(running.0.wait().unwrap().success(), "{text}");
    text
}
