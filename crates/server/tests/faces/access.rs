//! Who is let in, and as whom.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use http::{HeaderValue, Request, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use operond_server::auth::{Audit, CertificateRule, Certificates, Planes, Role, Roles};
use operond_server::net::Peer;
use operond_server::tls::{ClientCertificate, SanName};
use operond_store::Collection;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::harness::{Faces, read, request, told};

const WHOAMI: &str = "GET /api/v1/whoami";

fn producer(name: &str) -> Value {
    json!({ "name": name, "tenant": "acme", "roles": ["ROLE_PRODUCER"] })
}

#[tokio::test(start_paused = true)]
async fn a_key_stands_for_what_it_was_made_for() {
    let (faces, admin) = Faces::asking().await;
    let me = faces.rest_as(&admin, WHOAMI, "").await.ok();
    assert_eq!(
        (me["principal"].as_str(), me["tenant"].as_str(), &me["roles"]),
        (Some("admin"), Some("*"), &json!(["ROLE_ADMIN"]))
    );
    let new =
        json!({ "name": "render", "tenant": "acme", "roles": ["ROLE_WORKER", "ROLE_VIEWER"], "kinds": ["a", "b"] });
    let created = faces.rest_as(&admin, "POST /api/v1/keys", &new.to_string()).await;
    assert_eq!(created.headers["cache-control"], "no-store");
    let created = created.ok();
    let me = faces.rest_as(created["secret"].as_str().unwrap(), WHOAMI, "").await.ok();
    let expected = json!({
        "principal": "render",
        "tenant": "acme",
        "roles": ["ROLE_VIEWER", "ROLE_WORKER"],
        "kinds": ["a", "b"],
        "credential": "key",
        "credentialId": created["key"]["id"],
    });
    assert_eq!(me, expected);
    assert_eq!(created["key"]["createdBy"], "admin");
}

#[tokio::test(start_paused = true)]
async fn b44_no_forged_or_broken_credential_lets_anybody_in() {
    let (faces, admin) = Faces::asking().await;
    let key = faces.key(&admin, &producer("p")).await;
    let other = faces.key(&admin, &producer("q")).await;
    let revoked = faces.key(&admin, &producer("r")).await;
    let id = |key: &str| key.split('_').nth(1).unwrap().to_owned();
    faces.rest_as(&admin, &format!("POST /api/v1/keys/{}:revoke", id(&revoked)), "").await.ok();
    let secret = |key: &str| key.split('_').nth(2).unwrap().to_owned();
    let flipped = |at: usize| {
        let mut bytes = key.clone().into_bytes();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        String::from_utf8(bytes).unwrap()
    };
    let bearer = |credential: &str| format!("Bearer {credential}");
    let forged = [
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        "bearer    ".into(),
        key.clone(),
        format!("Basic {key}"),
        format!("Token {key}"),
        format!("Bearer:{key}"),
        format!("Bearer\t{key}"),
        format!("BearerX {key}"),
        bearer(&format!("Bearer {key}")),
        bearer(&format!("{key},{key}")),
        bearer(&format!("{key} {key}")),
        bearer(&format!("{key}0")),
        bearer(&key[..key.len() - 1]),
        bearer(&key[1..]),
        bearer(&key.to_uppercase()),
        bearer(&flipped(4)),
        bearer(&flipped(21)),
        bearer(&flipped(key.len() - 1)),
        bearer(&format!("opk_{}_{}", id(&key), secret(&other))),
        bearer(&format!("opk_{}_{}", id(&other), secret(&key))),
        bearer(&format!("opk_{}_{}", id(&key), "0".repeat(64))),
        bearer(&format!("opk_{}_", id(&key))),
        bearer(&format!("opk_{}", id(&key))),
        bearer(&format!("opk__{}", secret(&key))),
        bearer(&id(&key)),
        bearer(&secret(&key)),
        bearer("opk_"),
        bearer("admin"),
        bearer("*"),
        bearer("null"),
        bearer("' OR 1=1 --"),
        bearer("../../../etc/passwd"),
        bearer(&"opk_".repeat(1_000)),
        bearer(&"0".repeat(8_000)),
        bearer("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."),
        bearer("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiJ9.AAAA"),
        bearer("a.b.c"),
        bearer(".."),
        bearer(&revoked),
    ];
    assert!(forged.len() >= 40, "{}", forged.len());
    let shape = |body: &Value| {
        let details: Vec<_> =
            body["details"].as_array().unwrap().iter().map(|detail| detail["@type"].clone()).collect();
        (body["code"].clone(), details)
    };
    let without = faces.rest(WHOAMI, "").await;
    for credential in &forged {
        let refused = faces.rest_with(WHOAMI, &[("authorization", credential)], "").await;
        assert_eq!((refused.status, refused.reason()), (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"), "{credential}");
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
        assert_eq!(shape(&refused.body), shape(&without.body), "{credential}");
        let said = refused.body.to_string();
        assert!(!said.contains(&secret(&key)) && said.len() < 1_000, "{said}");
        let status = by_grpc(&faces, credential.as_bytes()).await;
        assert_eq!((status.code(), &*told(&status).1), (Code::Unauthenticated, "UNAUTHENTICATED"), "{credential}");
    }
    for garbage in [&b"Bearer \xff\xfe"[..], b"\x80", b"Bearer opk_\xc3\x28"] {
        assert_eq!(by_grpc(&faces, garbage).await.code(), Code::Unauthenticated);
    }
    for good in [bearer(&key), format!("bearer {key}"), format!("BEARER   {key} ")] {
        faces.rest_with(WHOAMI, &[("authorization", &good)], "").await.ok();
    }
    let twice = [("authorization", bearer(&key)), ("authorization", bearer(&key))];
    let twice: Vec<_> = twice.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(faces.rest_with(WHOAMI, &twice, "").await.status, StatusCode::UNAUTHORIZED);
    for elsewhere in [("cookie", format!("authorization=Bearer {key}; token={key}")), ("x-api-key", key.clone())] {
        let refused = faces.rest_with(WHOAMI, &[(elsewhere.0, &elsewhere.1)], "").await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{}", elsewhere.0);
    }
    let refused = faces.rest(&format!("{WHOAMI}?authorization=Bearer%20{key}&access_token={key}"), "").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}

/// What a call of gRPC with this `authorization` is told.
async fn by_grpc(faces: &Faces, authorization: &[u8]) -> Status {
    let mut request =
        Request::post("http://localhost/operond.v1.Keys/WhoAmI").header("content-type", "application/grpc");
    if let Ok(value) = HeaderValue::from_bytes(authorization) {
        request = request.header("authorization", value);
    }
    let response = faces.call(request.body(Body::from(&[0; 5][..])).unwrap()).await;
    Status::from_header_map(response.headers()).expect("it is refused")
}

#[tokio::test(start_paused = true)]
async fn b36_the_body_of_a_call_that_is_refused_is_never_read() {
    let (faces, admin) = Faces::asking().await;
    let viewer = faces.key(&admin, &json!({ "name": "v", "tenant": "t", "roles": ["ROLE_VIEWER"] })).await;
    let viewer = format!("Bearer {viewer}");
    for headers in [&[][..], &[("authorization", "Bearer opk_nobody")], &[("authorization", &*viewer)]] {
        for (line, content_type) in [
            ("POST /api/v1/operations", "application/json"),
            ("POST /operond.v1.Operations/Create", "application/grpc"),
        ] {
            let mut asked = request(line, headers, "");
            asked.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
            *asked.body_mut() = Body::new(Untouched);
            let answer = faces.call(asked).await;
            let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&answer.status());
            assert!(refused || answer.headers().contains_key("grpc-status"), "{line}");
        }
    }
}

/// A body that must not be read.
struct Untouched;

impl http_body::Body for Untouched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("the body of a refused call is read");
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_of_the_tenant_and_by_the_principal_of_the_key() {
    let (faces, admin) = Faces::asking().await;
    let producer = faces.key(&admin, &producer("billing")).await;
    let create = async |key: &str, body: Value| faces.rest_as(key, "POST /api/v1/operations", &body.to_string()).await;
    let made = create(&producer, json!({ "kind": "k" })).await.ok();
    assert_eq!((&made["tenant"], &made["createdBy"]), (&json!("acme"), &json!("billing")));
    let made = create(&producer, json!({ "kind": "k", "tenant": "acme", "createdBy": "user-7" })).await.ok();
    assert_eq!((&made["tenant"], &made["createdBy"]), (&json!("acme"), &json!("user-7")));
    let refused = create(&producer, json!({ "kind": "k", "tenant": "other" })).await;
    assert_eq!((refused.status, refused.reason()), (StatusCode::FORBIDDEN, "PERMISSION_DENIED"));
    let made = create(&admin, json!({ "kind": "k", "tenant": "other" })).await.ok();
    assert_eq!((&made["tenant"], &made["createdBy"]), (&json!("other"), &json!("admin")));
    let made = create(&admin, json!({ "kind": "k" })).await.ok();
    assert_eq!(made["tenant"], "default");
    assert_eq!(faces.rows().await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_key_of_some_kinds_creates_and_claims_those_alone() {
    let (faces, admin) = Faces::asking().await;
    let roles = ["ROLE_PRODUCER", "ROLE_WORKER"];
    let key = faces.key(&admin, &json!({ "name": "p", "tenant": "t", "roles": roles, "kinds": ["a"] })).await;
    faces.rest_as(&key, "POST /api/v1/operations", r#"{"kind": "a"}"#).await.ok();
    let refused = faces.rest_as(&key, "POST /api/v1/operations", r#"{"kind": "b"}"#).await;
    assert_eq!((refused.status, refused.reason()), (StatusCode::FORBIDDEN, "PERMISSION_DENIED"));
    let claim = |kinds: &[&str]| json!({ "kinds": kinds, "worker": "w", "wait": "0s" }).to_string();
    let refused = faces.rest_as(&key, "POST /api/v1/work:claim", &claim(&["a", "b"])).await;
    assert_eq!((refused.status, refused.reason()), (StatusCode::FORBIDDEN, "PERMISSION_DENIED"));
    let claimed = faces.rest_as(&key, "POST /api/v1/work:claim", &claim(&["a"])).await.ok();
    assert_eq!(claimed["claims"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_records_who_asked_for_it_on_every_face() {
    let (faces, admin) = Faces::asking().await;
    let operator = json!({ "name": "night-shift", "tenant": "default", "roles": ["ROLE_OPERATOR"] });
    let operator = faces.key(&admin, &operator).await;
    for line in ["POST /api/v1/operations/ID:cancel", "GET /operations/ID:cancel", "POST /v1/operations/ID:cancel"] {
        let made = faces.rest_as(&admin, "POST /api/v1/operations", r#"{"kind": "k"}"#).await.ok();
        let id = made["id"].as_str().unwrap();
        faces.rest_as(&operator, &line.replace("ID", id), "").await.ok();
        let shown = faces.rest_as(&admin, &format!("GET /api/v1/operations/{id}?view=FULL"), "").await.ok();
        assert_eq!(shown["cancelRequested"]["by"], "night-shift", "{line}: {shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_has_two_good_keys_at_most_and_they_stand_for_the_same() {
    let (faces, admin) = Faces::asking().await;
    let first = faces.key(&admin, &producer("p")).await;
    let second = faces.key(&admin, &producer("p")).await;
    assert_ne!(first, second);
    let create = async |new: &Value| faces.rest_as(&admin, "POST /api/v1/keys", &new.to_string()).await;
    let third = create(&producer("p")).await;
    assert_eq!((third.status, third.reason()), (StatusCode::BAD_REQUEST, "TOO_MANY_KEYS"));
    let id = first.split('_').nth(1).unwrap();
    for _again in 0..2 {
        let revoked = faces.rest_as(&admin, &format!("POST /api/v1/keys/{id}:revoke"), "{}").await.ok();
        assert!(revoked["revokedAt"].is_string(), "{revoked}");
    }
    assert_eq!(faces.rest_as(&first, WHOAMI, "").await.status, StatusCode::UNAUTHORIZED);
    faces.rest_as(&second, WHOAMI, "").await.ok();
    for (member, other) in [("tenant", json!("other")), ("roles", json!(["ROLE_VIEWER"])), ("kinds", json!(["k"]))] {
        let mut new = producer("p");
        new[member] = other;
        let refused = create(&new).await;
        assert_eq!(
            (refused.reason(), refused.detail("ErrorInfo")["metadata"]["field"].as_str()),
            ("KEY_DIFFERS", Some(member))
        );
    }
    create(&producer("p")).await.ok();
    let listed = faces.rest_as(&admin, "GET /api/v1/keys", "").await.ok();
    let of_p = listed["keys"].as_array().unwrap().iter().filter(|key| key["name"] == "p");
    assert_eq!(of_p.map(|key| key["revokedAt"].is_string()).collect::<Vec<_>>(), [true, false, false]);
}

#[tokio::test(start_paused = true)]
async fn what_a_key_needs_is_checked_and_nothing_is_kept_of_a_bad_one() {
    let (faces, admin) = Faces::asking().await;
    let refused = async |change: &[(&str, Value)]| {
        let mut new = producer("p");
        for (member, value) in change {
            new[*member] = value.clone();
        }
        let refused = faces.rest_as(&admin, "POST /api/v1/keys", &new.to_string()).await;
        (refused.status.as_u16(), refused.field().to_owned())
    };
    assert_eq!(refused(&[("name", json!(""))]).await, (400, "name".into()));
    assert_eq!(refused(&[("name", json!("n".repeat(129)))]).await, (400, "name".into()));
    assert_eq!(refused(&[("tenant", json!(""))]).await, (400, "tenant".into()));
    assert_eq!(refused(&[("roles", json!([]))]).await, (400, "roles".into()));
    assert_eq!(refused(&[("roles", json!(["ROLE_UNSPECIFIED"]))]).await, (400, "roles".into()));
    assert_eq!(refused(&[("roles", json!([77]))]).await, (400, "roles".into()));
    assert_eq!(refused(&[("kinds", json!([""]))]).await, (400, "kinds[0]".into()));
    assert_eq!(refused(&[("kinds", json!(vec!["k"; 33]))]).await, (400, "kinds".into()));
    assert_eq!(refused(&[("lifetime", json!("0.5s"))]).await, (400, "lifetime".into()));
    assert_eq!(refused(&[("lifetime", json!("315360001s"))]).await, (400, "lifetime".into()));
    let listed = faces.rest_as(&admin, "GET /api/v1/keys", "").await.ok();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 1);
    let most = json!({
        "name": "n".repeat(128), "tenant": "t".repeat(128), "roles": ["ROLE_ADMIN"], "lifetime": "315360000s",
        "kinds": (0..32).map(|kind| format!("k{kind}")).collect::<Vec<_>>(),
    });
    faces.key(&admin, &most).await;
    let gone = faces.rest_as(&admin, "POST /api/v1/keys/nobody:revoke", "").await;
    assert_eq!((gone.status, gone.reason()), (StatusCode::NOT_FOUND, "NEVER_EXISTED"));
}

#[tokio::test(start_paused = true)]
async fn the_key_itself_is_stored_nowhere() {
    let (faces, admin) = Faces::asking().await;
    let key = faces.key(&admin, &producer("p")).await;
    for document in faces.engine.documents(Collection::Keys).await.unwrap() {
        let stored = String::from_utf8_lossy(&document.bytes).into_owned();
        for key in [&admin, &key] {
            assert!(!stored.contains(key.split('_').nth(2).unwrap()), "{stored}");
        }
    }
    let shown = faces.rest_as(&admin, "GET /api/v1/keys", "").await.body.to_string();
    assert!(!shown.contains(key.split('_').nth(2).unwrap()) && shown.contains(key.split('_').nth(1).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn keys_outlive_the_server_and_the_first_one_is_made_once() {
    let (faces, admin) = Faces::asking().await;
    let anew = faces.asking_anew();
    anew.rest_as(&admin, WHOAMI, "").await.ok();
    let made = crate::harness::keys(&faces.engine).create_first(|_| panic!("there are keys")).await.unwrap();
    assert!(!made);
}

#[tokio::test(start_paused = true)]
async fn what_anyone_may_ask_is_answered_without_a_key_and_so_little_that_it_can_be() {
    let (faces, _) = Faces::asking().await;
    for line in ["GET /healthz", "GET /readyz", "GET /api/v1/openapi.json", "GET /endpoints", "GET /endpoints/iam"] {
        faces.rest(line, "").await.ok();
    }
    for line in ["GET /", "GET /metrics", "GET /api/v1/nothing", "PATCH /api/v1/operations", "POST /a.b.C/D"] {
        assert_eq!(faces.rest(line, "").await.status, StatusCode::UNAUTHORIZED, "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_says_who_they_are_may_call_by_any_name_of_the_server() {
    let (faces, admin) = Faces::asking().await;
    let by_name = |host: &'static str| {
        let mut asked = request(WHOAMI, &[("authorization", &format!("Bearer {admin}"))], "");
        asked.headers_mut().insert("host", HeaderValue::from_static(host));
        asked
    };
    read(faces.call(by_name("behind-a-proxy.example")).await).await.ok();
    let bare = read(Faces::new().call(by_name("behind-a-proxy.example")).await).await;
    assert_eq!(bare.reason(), "FOREIGN_HOST");
}

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

/// What was written, for a test to look at.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
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

#[tokio::test(start_paused = true)]
async fn b46_a_certificate_alone_cancels_nothing_over_get() {
    let (faces, admin) = Faces::asking().await;
    let rule = CertificateRule {
        name: "ops.example".parse().unwrap(),
        principal: None,
        tenant: None,
        roles: Roles::of(&[Role::Operator]),
        kinds: None,
    };
    let faces = faces.recognising(Certificates::new(vec![rule]));
    let made = faces.rest_as(&admin, "POST /api/v1/operations", r#"{"kind": "k"}"#).await.ok();
    let id = made["id"].as_str().unwrap();
    let shown = |line: &str| {
        let mut asked = request(line, &[], "");
        let certificate = ClientCertificate {
            names: vec![SanName::Dns("ops.example".into())],
            expires: SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40),
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        asked.extensions_mut().insert(Peer {
            address,
            tls: true,
            planes: Planes::ALL,
            certificate: Some(Arc::new(certificate)),
        });
        asked
    };
    for line in [format!("GET /operations/{id}:cancel"), format!("GET /operations/{id}%3Acancel")] {
        let refused = read(faces.call(shown(&line)).await).await;
        assert_eq!((refused.status, refused.reason()), (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"), "{line}");
    }
    read(faces.call(shown(&format!("GET /operations/{id}"))).await).await.ok();
    assert_eq!(faces.rows().await.len(), 1);
    let cancelled = read(faces.call(shown(&format!("POST /operations/{id}:cancel"))).await).await.ok();
    assert_eq!(cancelled["done"], true);
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_nothing_more_once_its_key_is_revoked() {
    let (faces, admin) = Faces::asking().await;
    let viewer = faces.key(&admin, &json!({ "name": "v", "tenant": "default", "roles": ["ROLE_VIEWER"] })).await;
    let made = faces.rest_as(&admin, "POST /api/v1/operations", r#"{"kind": "k"}"#).await.ok();
    let id = made["id"].as_str().unwrap();
    let bearer = format!("Bearer {viewer}");
    let by_rest = request(&format!("GET /api/v1/operations/{id}:watch"), &[("authorization", &bearer)], "");
    let mut by_grpc = request("POST /operond.v1.Operations/Watch", &[("authorization", &bearer)], "");
    by_grpc.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut asked = vec![0, 0, 0, 0, u8::try_from(id.len()).unwrap() + 2, 0x0a, u8::try_from(id.len()).unwrap()];
    asked.extend(id.as_bytes());
    *by_grpc.body_mut() = Body::from(asked);
    let mut bodies = Vec::new();
    for asked in [by_rest, by_grpc] {
        let mut body = faces.call(asked).await.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(String::from_utf8_lossy(&first).contains(id), "the state it begins with");
        bodies.push(body);
    }
    let key = viewer.split('_').nth(1).unwrap();
    faces.rest_as(&admin, &format!("POST /api/v1/keys/{key}:revoke"), "").await.ok();
    faces.rest_as(&admin, &format!("POST /api/v1/operations/{id}:cancel"), "").await.ok();
    for mut body in bodies {
        while let Some(frame) = body.frame().await {
            let told = frame.unwrap().into_data().unwrap_or_default();
            assert!(told.is_empty(), "{told:?} after the key was revoked");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn when_a_key_was_used_last_is_shown_at_once_and_stored_by_and_by() {
    let (faces, admin) = Faces::asking().await;
    let key = faces.key(&admin, &producer("p")).await;
    let used = async |faces: &Faces| {
        let listed = faces.rest_as(&admin, "GET /api/v1/keys", "").await.ok();
        let keys = listed["keys"].as_array().unwrap().clone();
        keys.iter().find(|key| key["name"] == "p").unwrap()["lastUsedAt"].as_str().map(str::to_owned)
    };
    assert_eq!(used(&faces).await, None);
    faces.rest_as(&key, WHOAMI, "").await.ok();
    let shown = used(&faces).await;
    assert!(shown.is_some());
    // Another server knows what is stored.
    assert_eq!(used(&faces.asking_anew()).await, None);
    let version = async || {
        let stored = faces.engine.documents(Collection::Keys).await.unwrap();
        stored.iter().find(|document| &*document.name == "p").unwrap().version
    };
    let before = version().await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(version().await, before + 1);
    assert_eq!(used(&faces.asking_anew()).await, shown);
    // It is used again and again: that is not a write each time.
    for _ in 0..5 {
        faces.rest_as(&key, WHOAMI, "").await.ok();
        tokio::time::sleep(Duration::from_secs(61)).await;
    }
    assert_eq!(version().await, before + 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_store_may_lose_is_told_where_operators_are_served() {
    let faces = Faces::new();
    let ready = async |planes| {
        let mut asked = request("GET /readyz", &[], "");
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        asked.extensions_mut().insert(Peer { address, tls: false, planes, certificate: None });
        read(faces.call(asked).await).await.ok()
    };
    assert_eq!(ready(Planes::ALL).await["warnings"], json!([]));
    assert_eq!(ready(Planes::ADMIN).await["warnings"], json!([]));
    assert_eq!(ready(Planes::PUBLIC.and(Planes::WORKER)).await, json!({ "status": "SERVING" }));
}

#[tokio::test(start_paused = true)]
async fn metrics_are_for_viewers_and_admins_of_everything() {
    let (faces, admin) = Faces::asking().await;
    let role = |name: &str, tenant: &str, role: &str| json!({ "name": name, "tenant": tenant, "roles": [role] });
    let mut asked = Vec::new();
    for new in [
        role("a", "*", "ROLE_VIEWER"),
        role("b", "*", "ROLE_OPERATOR"),
        role("c", "*", "ROLE_PRODUCER"),
        role("d", "*", "ROLE_WORKER"),
        role("e", "acme", "ROLE_VIEWER"),
        role("f", "acme", "ROLE_ADMIN"),
        json!({ "name": "g", "tenant": "*", "kinds": ["k"], "roles": ["ROLE_ADMIN"] }),
    ] {
        let bearer = format!("Bearer {}", faces.key(&admin, &new).await);
        asked.push(faces.call(request("GET /metrics", &[("authorization", &bearer)], "")).await.status().as_u16());
    }
    assert_eq!(asked, [200, 403, 403, 403, 403, 403, 403]);

    let bearer = format!("Bearer {admin}");
    let answer = faces.call(request("GET /metrics", &[("authorization", &bearer)], "")).await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.headers()["content-type"], kind);
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let says = |line: &str| assert!(text.lines().any(|told| told == line), "{line} is not in {text}");
    says("operond_serving 1");
    says("operond_store_up 1");
    says("operond_held_calls 0");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let refused = faces.rest_as(&admin, "GET /metrics?a=b", "").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}
