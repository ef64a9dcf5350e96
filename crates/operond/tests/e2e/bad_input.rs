//! Bad input to the real server over its real store: a clear answer, nothing stored. The whole table of limits is in
//! the server crate's tests; here are the rows that pass through every layer.

use crate::support::{Server, http};

const OPERATIONS: &str = "/api/v1/operations";

#[test]
fn bad_input_is_answered_with_its_reason_and_stores_nothing() {
    let server = Server::start();
    let long = |characters: usize| format!(r#"{{"kind":"k","description":"{}"}}"#, "字".repeat(characters));
    let cases: [(&str, String, &str, &str); 11] = [
        (OPERATIONS, long(257), "LIMIT_EXCEEDED", "257"),
        (OPERATIONS, r#"{"kind":""}"#.into(), "INVALID_FIELD", "kind"),
        (OPERATIONS, r#"{"kind":"a\u0000b"}"#.into(), "INVALID_FIELD", "NUL"),
        (OPERATIONS, r#"{"kind":"k","colour":"red"}"#.into(), "INVALID_FIELD", "colour"),
        (OPERATIONS, r#"{"kind":"k""#.into(), "INVALID_FIELD", ""),
        (OPERATIONS, r#"{"kind":"k","maxAttempts":101}"#.into(), "INVALID_FIELD", "maxAttempts"),
        (OPERATIONS, r#"{"kind":"k","retention":"-1s"}"#.into(), "INVALID_FIELD", "retention"),
        (OPERATIONS, r#"{"kind":"k","input":{"@type":"","value":""}}"#.into(), "INVALID_FIELD", "input"),
        ("/api/v1/work:complete", r#"{"lease":"garbled","response":{}}"#.into(), "INVALID_LEASE", "lease"),
        ("/api/v1/work:claim", r#"{"kinds":[],"worker":"w"}"#.into(), "INVALID_FIELD", "kinds"),
        ("/api/v1/work:heartbeat", r#"{"lease":""}"#.into(), "INVALID_FIELD", "lease"),
    ];
    for (path, body, reason, said) in cases {
        let answer = http::post(&server.http, path, &body);
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.body.contains(reason) && answer.body.contains(said), "{body}: {answer:?}");
    }
    let listed = http::call(&server.http, "GET", OPERATIONS, &[], "");
    assert_eq!((listed.status, listed.body.as_str()), (200, r#"{"operations":[]}"#), "something was stored");
    assert_eq!(http::post(&server.http, OPERATIONS, &long(256)).status, 200, "256 three-byte characters are allowed");
}

#[test]
fn a_body_that_is_too_large_is_refused_and_the_server_goes_on() {
    let server = Server::start();
    let body = format!(r#"{{"kind":"k","input":"{}"}}"#, "x".repeat(5 << 20));
    let answer = http::post(&server.http, OPERATIONS, &body);
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(answer.body.contains("LIMIT_EXCEEDED"), "{answer:?}");
    assert_eq!(http::call(&server.http, "GET", "/readyz", &[], "").status, 200);
}
