//! What the audit is told.

use std::io::Write;
use std::sync::{Arc, Mutex};

use futures::future::poll_immediate;
use operond_server::auth::Audit;
use serde_json::{Value, json};

use crate::harness::{Faces, request, within};

#[tokio::test(start_paused = true)]
async fn the_audit_says_who_did_what_to_what_and_who_was_refused() {
    let page = Page::default();
    let audit = Audit::to(page.clone()).unwrap();
    let (faces, admin) = Faces::asking_audited(&audit).await;
    let key = faces.key(&admin, &json!({ "name": "ops\u{1b}", "tenant": "acme", "roles": ["ROLE_OPERATOR"] })).await;
    let as_admin = [("authorization", &*format!("Bearer {admin}")), ("x-request-id", "r-1")];
    let new = json!({ "kind": "k", "tenant": "acme", "input": { "secret": "payload" } }).to_string();
    let made = faces.rest_with("POST /api/v1/operations", &as_admin, &new).await.ok();
    let id = made["id"].as_str().unwrap();
    let cancel = format!("POST /api/v1/operations/{id}:cancel");
    faces.rest_as(&key, &cancel, "").await.ok();
    faces.rest_as(&key, &cancel, "").await.ok();
    faces.rest_as(&key, "POST /api/v1/operations", &new).await;
    faces.rest("GET /api/v1/operations", "").await;
    faces.rest_as(&key, &format!("DELETE /api/v1/operations/{id}"), "").await.ok();
    faces.rest_as(&admin, &format!("POST /api/v1/keys/{}:revoke", key.split('_').nth(1).unwrap()), "").await.ok();
    faces.rest_as(&key, "GET /api/v1/operations", "").await;
    faces.engine.shutdown().await;
    audit.close();

    let text = page.text();
    for secret in ["payload", admin.split('_').nth(2).unwrap(), key.split('_').nth(2).unwrap(), "\u{1b}"] {
        assert!(!text.contains(secret), "{secret:?} in {text}");
    }
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = |line: &Value, members: &[&str]| {
        members.iter().map(|member| line[*member].as_str().unwrap_or("-").to_owned()).collect::<Vec<_>>().join(" ")
    };
    let of = |sort: &str| lines.iter().filter(|line| line["audit"] == *sort).cloned().collect::<Vec<_>>();
    let happened: Vec<_> = of("operation").iter().map(|line| said(line, &["who", "from", "to", "tenant"])).collect();
    assert_eq!(happened, ["admin - QUEUED acme", "ops\u{1b} QUEUED CANCELLED acme", "ops\u{1b} CANCELLED - acme"]);
    let created = &of("operation")[0];
    assert_eq!(said(created, &["operation", "kind", "credential", "request"]), format!("{id} k key r-1"));
    assert_eq!(created["what"], json!(["created"]));
    assert_eq!(created["credential_id"].as_str(), admin.split('_').nth(1));
    let refused: Vec<_> = of("refused").iter().map(|line| said(line, &["who", "code"])).collect();
    assert_eq!(refused, ["ops\u{1b} PermissionDenied", "- Unauthenticated", "ops\u{1b} Unauthenticated"]);
    assert_eq!(
        of("refused")[2]["credential_id"].as_str(),
        key.split('_').nth(1),
        "the key was revoked, and says whose"
    );
    assert_eq!((&of("refused")[0]["what"], &of("refused")[1]["what"]), (&json!(["Create"]), &json!(["List"])));
    let settings: Vec<_> = of("setting").iter().map(|line| line["what"][0].clone()).collect();
    assert_eq!(settings, ["key created", "key revoked"]);
    assert_eq!(lines.len(), 8, "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_audit_says_what_the_server_did_by_itself() {
    let page = Page::default();
    let audit = Audit::to(page.clone()).unwrap();
    let (faces, admin) = Faces::asking_audited(&audit).await;
    let new = json!({ "kind": "k", "queueTimeout": "5s" }).to_string();
    let made = faces.rest_as(&admin, "POST /api/v1/operations", &new).await.ok();
    let wait = format!("GET /api/v1/operations/{}:wait?timeout=30s", made["id"].as_str().unwrap());
    assert_eq!(faces.rest_as(&admin, &wait, "").await.ok()["done"], true);
    faces.engine.shutdown().await;
    audit.close();
    let text = page.text();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["who"], &last["from"], &last["to"]), (&json!("server"), &json!("QUEUED"), &json!("FAILED")));
    assert!(last.get("credential").is_none() && last.get("request").is_none(), "{last}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_is_told_with_the_operation_in_its_path_and_whose_it_could_be() {
    let page = Page::default();
    let audit = Audit::to(page.clone()).unwrap();
    let (faces, admin) = Faces::asking_audited(&audit).await;
    let viewer = faces.key(&admin, &json!({ "name": "v", "tenant": "acme", "roles": ["ROLE_VIEWER"] })).await;
    let id = "op00000000000000000000000000";
    for line in [
        format!("DELETE /api/v1/operations/{id}"),
        format!("POST /operations/{id}:cancel"),
        format!("POST /v1/shops/7/operations/{id}:cancel"),
        format!("POST /api/v1/keys/{id}:revoke"),
        "PUT /api/v1/kinds/operations-of-mine".into(),
        "POST /api/v1/operations".into(),
    ] {
        assert_eq!(faces.rest_as(&viewer, &line, "{}").await.status, 403, "{line}");
    }
    audit.close();
    let refused: Vec<_> = page.lines().into_iter().filter(|line| line["audit"] == "refused").collect();
    let told: Vec<_> = refused.iter().map(|line| line.get("operation").and_then(Value::as_str)).collect();
    assert_eq!(told, [Some(id), Some(id), Some(id), None, None, None]);
    assert!(refused.iter().all(|line| line["tenant"] == "acme"), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_changes_who_hangs_up_is_told_all_the_same() {
    let page = Page::default();
    let audit = Audit::to(page.clone()).unwrap();
    let (faces, admin) = Faces::asking_audited(&audit).await;
    let key = faces.key(&admin, &json!({ "name": "v", "tenant": "t", "roles": ["ROLE_VIEWER"] })).await;
    let (bearer, id) = (format!("Bearer {admin}"), key.split('_').nth(1).unwrap());
    for (line, body) in [
        ("POST /api/v1/keys", r#"{"name": "w", "tenant": "t", "roles": ["ROLE_VIEWER"]}"#),
        (&*format!("POST /api/v1/keys/{id}:revoke"), "{}"),
        ("PUT /api/v1/kinds/k", r#"{"maxAttempts": 3}"#),
    ] {
        let before = page.text().lines().count();
        let mut call = Box::pin(faces.call(request(line, &[("authorization", &bearer)], body)));
        assert!(poll_immediate(&mut call).await.is_none(), "{line} goes on");
        drop(call);
        within(async {
            while page.text().lines().count() == before {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    let told: Vec<_> = page.lines().iter().map(|line| line["what"][0].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, ["key created", "key created", "key revoked", "kind updated"]);
}

/// What was written, for a test to look at.
#[derive(Clone, Default)]
pub(crate) struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    /// Each line.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
