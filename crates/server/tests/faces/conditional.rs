//! Reads that depend on what the caller has already (RFC 9110 §13).

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use crate::harness::{Faces, read, request};

fn tag(rest: &crate::harness::Rest) -> String {
    rest.headers["etag"].to_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_has_is_not_sent_again() {
    let faces = Faces::new();
    let id = faces.create("k").await.id;
    for path in ["/operations", "/api/v1/operations"] {
        let line = format!("GET {path}/{id}");
        let first = faces.rest(&line, "").await;
        assert_eq!((first.status, tag(&first)), (StatusCode::OK, r#"W/"1""#.into()), "{path}");

        for seen in [r#"W/"1""#, r#""1""#, r#""9", "1""#, "*"] {
            for line in [line.clone(), line.replace("GET", "HEAD")] {
                let same = faces.rest_with(&line, &[("if-none-match", seen)], "").await;
                assert_eq!((same.status, tag(&same)), (StatusCode::NOT_MODIFIED, tag(&first)), "{line} {seen}");
                assert!(same.body.is_null() && !same.headers.contains_key("content-type"));
                assert!(same.headers.contains_key("retry-after"), "when to ask again");
            }
        }
        for other in [r#""2""#, "1", "garbage"] {
            let whole = faces.rest_with(&line, &[("if-none-match", other)], "").await;
            assert_eq!(whole.ok()["id"], *id, "{other}");
        }
    }
    faces.rest(&format!("POST /api/v1/operations/{id}:cancel"), "{}").await.ok();
    let changed = faces.rest_with(&format!("GET /operations/{id}"), &[("if-none-match", r#"W/"1""#)], "").await;
    assert_eq!(tag(&changed), r#"W/"2""#);
    assert_eq!(changed.ok()["done"], true);
    let missing = faces.rest_with("GET /operations/none", &[("if-none-match", "*")], "").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn a_held_read_ends_at_once_when_the_caller_is_behind() {
    let faces = Arc::new(Faces::new());
    let id = faces.claimed("k").await.operation.unwrap().id;
    let line = format!("GET /operations/{id}?wait=20s");
    let began = Instant::now();
    let behind = faces.rest_with(&line, &[("if-none-match", r#""1""#)], "").await;
    assert_eq!((began.elapsed(), behind.status, tag(&behind)), (Duration::ZERO, StatusCode::OK, r#"W/"2""#.into()));

    let same = faces.rest_with(&line, &[("if-none-match", r#""2""#)], "").await;
    assert_eq!((began.elapsed().as_secs(), same.status), (20, StatusCode::NOT_MODIFIED));

    let (app, engine) = (faces.app.clone(), faces.engine.clone());
    let held = async move {
        let request = request(&line, &[("if-none-match", r#""2""#)], "");
        read(tower::ServiceExt::oneshot(app, request).await.unwrap()).await
    };
    let change = async {
        while engine.waiters() == 0 {
            tokio::task::yield_now().await;
        }
        faces.rest(&format!("POST /operations/{id}:cancel"), "{}").await.ok();
    };
    let began = Instant::now();
    let (held, ()) = tokio::join!(held, change);
    assert_eq!((began.elapsed(), tag(&held)), (Duration::ZERO, r#"W/"3""#.into()));
}

#[tokio::test(start_paused = true)]
async fn wait_is_the_only_parameter_of_a_yandex_get() {
    let faces = Faces::new();
    let id = faces.create("k").await.id;
    for (query, field) in [("wait=soon", "wait"), ("wait=-1s", "wait"), ("view=FULL", "\"view\""), ("id=x", "\"id\"")] {
        let refused = faces.rest(&format!("GET /operations/{id}?{query}"), "").await;
        assert_eq!((refused.status, refused.field()), (StatusCode::BAD_REQUEST, field), "{query}");
    }
}
