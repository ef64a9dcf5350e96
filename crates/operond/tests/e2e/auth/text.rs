//! Names are texts that somebody chose: they do to a terminal or a log nothing but to be read.

use crate::support::Asking;
use crate::support::asking::{create_key, id_of, operond, printed};

/// Colours, a cleared screen, a title; a line of its own in a log; text the other way round.
const NAME: &str = "ci\u{1b}[31m\u{1b}]0;owned\u{7}\nERROR forged\r\u{202e}\u{9b}2J";
const TENANT: &str = "te\u{1b}[2J\nnant";

#[test]
fn names_with_control_characters_reach_no_terminal_and_split_no_line() {
    let server = Asking::start(&[]);
    let admin = server.admin();
    let call = |token: &str, arguments: &[&str]| operond(server.http(), token, arguments);
    let mut texts: Vec<Vec<u8>> = Vec::new();
    let make = ["keys", "create", NAME, "--tenant", TENANT, "--role", "producer", "--role", "operator"];
    let made = call(&admin, &make);
    let key = String::from_utf8(made.stdout.clone()).unwrap().trim().to_owned();
    texts.extend([made.stdout, made.stderr]);
    let id = printed(server.http(), &key, &["create", "k", "-o", "id"]).trim().to_owned();
    for format in ["table", "json", "jsonl", "id"] {
        for arguments in [&["whoami"][..], &["list"], &["get", &id], &["get", &id, "--full"], &["cancel", &id]] {
            let said = call(&key, &[arguments, &["-o", format]].concat());
            assert!(said.status.success(), "{arguments:?}: {said:?}");
            texts.extend([said.stdout, said.stderr]);
        }
        let keys = call(&admin, &["keys", "list", "-o", format]);
        assert_eq!(id_count(&keys.stdout, id_of(&key)), 1, "a key is one line of {format}, or one member");
        texts.extend([keys.stdout, keys.stderr]);
    }
    // What names are repeated in when they are refused, and when they are used.
    let differs = call(&admin, &["keys", "create", NAME, "--tenant", "other", "--role", "producer"]);
    assert!(!differs.status.success(), "{differs:?}");
    for refused in
        [differs, call(&key, &["keys", "list"]), call(&admin, &["keys", "revoke", NAME]), call(NAME, &["list"])]
    {
        assert!(!refused.status.success(), "{refused:?}");
        texts.extend([refused.stdout, refused.stderr]);
    }
    let revoked = call(&admin, &["keys", "revoke", id_of(&key)]);
    assert!(revoked.status.success(), "{revoked:?}");
    texts.extend([revoked.stdout, revoked.stderr]);
    for text in texts {
        let text = String::from_utf8(text).unwrap();
        let wild = text.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(wild, None, "{text:?}");
        assert!(!text.lines().any(|line| line.trim_start().starts_with("ERROR forged")), "{text}");
    }
}

#[test]
fn names_with_control_characters_split_no_line_of_the_log() {
    let server = Asking::start(&[]);
    let admin = server.admin();
    let key = create_key(server.http(), &admin, &[NAME, "--tenant", TENANT, "--role", "producer"]);
    printed(server.http(), &key, &["create", "k"]);
    // Refused, which may be worth a line.
    assert!(!operond(server.http(), &key, &["keys", "list"]).status.success());
    let log = server.said().1;
    assert!(log.lines().count() > 100, "it logs all it can");
    assert!(!log.lines().any(|line| line.trim_start().starts_with("ERROR forged")), "a line was forged");
    assert!(!log.contains('\u{1b}') && !log.contains('\u{9b}'), "the log has escape sequences");
}

fn id_count(text: &[u8], id: &str) -> usize {
    String::from_utf8_lossy(text).lines().filter(|line| line.contains(id)).count()
}
