//! Calls that are made with tokens, through the layers that every call passes.

use std::sync::Arc;

use axum::body::Body;
use futures::future::poll_immediate;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use operond_engine::{Engine, Options};
use operond_server::auth::token::{Issuer, RolesFrom, TenantFrom, Tokens};
use operond_server::auth::{Auth, Keys, Role, Roles};
use operond_server::http::{GuardOptions, Layered, layers};
use operond_server::{Settings, router};
use operond_store::MemoryStore;
use serde_json::Value;
use tower::ServiceExt;

use crate::issuer::{Page, Site, clock, tokens};
use crate::signer::{Signer, jwks};

/// The faces of a server that believes these tokens.
pub(crate) async fn faces(tokens: Tokens) -> Layered<axum::Router> {
    let engine = Engine::start(Arc::new(MemoryStore::default()), Options::default());
    let keys = Keys::load(engine.clone()).await.unwrap();
    let router = router(engine, keys.clone(), Settings::new("localhost")).await.unwrap();
    layers(router, &GuardOptions { advertised: None }, Some(Auth::new(keys).believing(tokens)))
}

/// The status, the reason and the whole of an answer.
pub(crate) async fn call(
    faces: &Layered<axum::Router>,
    line: &str,
    token: &str,
    body: &str,
) -> (StatusCode, String, Value) {
    let (method, path) = line.split_once(' ').unwrap();
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    let request = request.header("authorization", format!("Bearer {token}")).header("content-type", "application/json");
    let response = faces.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let status = response.status();
    let body: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    let reason = body["details"].as_array().into_iter().flatten().find_map(|detail| detail["reason"].as_str());
    (status, reason.unwrap_or_default().to_owned(), body)
}

fn producers_of(site: &Site) -> Issuer {
    let roles = RolesFrom { fixed: Roles::of(&[Role::Producer]), ..RolesFrom::default() };
    let tenant = TenantFrom::Fixed(operond_core::Tenant::parse("tenant", "acme").unwrap());
    Issuer { roles, tenant, ..site.issuer() }
}

#[tokio::test]
async fn a_token_stands_for_whom_its_claims_name_from_the_first_call_on() {
    let signer = Signer::p256("k");
    let site = Site::publishing(jwks(&[&signer])).await;
    let clock = clock();
    let faces = faces(tokens(vec![producers_of(&site)], &clock).await).await;
    let token = signer.token(&site.claims());
    // The keys may not be there yet: then this call waits for them.
    let (status, _, me) = call(&faces, "GET /api/v1/whoami", &token, "").await;
    assert_eq!(status, StatusCode::OK, "{me}");
    assert_eq!((&me["tenant"], &me["credential"]), (&"acme".into(), &"token".into()));
    let (status, _, made) = call(&faces, "POST /api/v1/operations", &token, r#"{"kind": "k"}"#).await;
    assert_eq!((status, &made["createdBy"], &made["tenant"]), (StatusCode::OK, &me["principal"], &"acme".into()));
    let id = made["id"].as_str().unwrap();
    let (status, reason, _) = call(&faces, &format!("POST /api/v1/operations/{id}:cancel"), &token, "").await;
    assert_eq!((status, &*reason), (StatusCode::FORBIDDEN, "PERMISSION_DENIED"));
}

#[tokio::test]
async fn a_key_that_is_not_known_yet_is_waited_for_and_the_role_is_asked_for_then_too() {
    let (old, new) = (Signer::p256("old"), Signer::p256("new"));
    let site = Site::publishing(jwks(&[&old])).await;
    let clock = clock();
    let faces = faces(tokens(vec![producers_of(&site)], &clock).await).await;
    let (status, ..) = call(&faces, "GET /api/v1/whoami", &old.token(&site.claims()), "").await;
    assert_eq!(status, StatusCode::OK);
    site.publish(jwks(&[&old, &new]));
    clock.advance(operond_server::auth::token::REFRESH_INTERVAL_MIN);
    let token = new.token(&site.claims());
    let (status, reason, _) = call(&faces, "GET /api/v1/keys", &token, "").await;
    assert_eq!((status, &*reason), (StatusCode::FORBIDDEN, "PERMISSION_DENIED"));
}

#[tokio::test]
async fn strangers_whose_keys_are_waited_for_leave_room_for_everybody_else() {
    let signer = Signer::p256("k");
    let site = Site::publishing(jwks(&[&signer])).await;
    site.say("/keys", Page::Held(jwks(&[&signer])));
    let faces = faces(tokens(vec![producers_of(&site)], &clock()).await).await.with_calls_max(2);
    let token = signer.token(&site.claims());
    let whoami = || Box::pin(call(&faces, "GET /api/v1/whoami", &token, ""));
    let mut waiting: Vec<_> = (0..1_024).map(|_| whoami()).collect();
    for call in &mut waiting {
        assert!(poll_immediate(call).await.is_none(), "it waits for the keys");
    }
    let (status, reason, _) = whoami().await;
    assert_eq!((status, &*reason), (StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED"));
    for _ in 0..3 {
        let (status, reason, _) = call(&faces, "GET /api/v1/whoami", "opk_made_up", "").await;
        assert_eq!((status, &*reason), (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"), "there is a turn for it");
    }
    site.release();
    for call in waiting {
        assert_eq!(call.await.0, StatusCode::OK);
    }
    assert_eq!(whoami().await.0, StatusCode::OK, "there is room again");
}

#[tokio::test]
async fn b44_a_forged_token_is_unauthenticated_and_an_issuer_that_is_away_unavailable() {
    let (signer, forger) = (Signer::p256("k"), Signer::p256("k"));
    let site = Site::publishing(jwks(&[&signer])).await;
    let clock = clock();
    let believing = faces(tokens(vec![producers_of(&site)], &clock).await).await;
    for token in [forger.token(&site.claims()), format!("{}x", signer.token(&site.claims())), "a.b.c".into()] {
        let (status, reason, body) = call(&believing, "GET /api/v1/whoami", &token, "").await;
        assert_eq!((status, &*reason), (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"), "{body}");
        assert!(!body.to_string().contains(&token));
    }
    let nobody = faces(Tokens::start(vec![]).await.unwrap()).await;
    let (status, ..) = call(&nobody, "GET /api/v1/whoami", &signer.token(&site.claims()), "").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let away = Issuer { issuer: "http://127.0.0.1:1".into(), ..producers_of(&site) };
    let away = faces(tokens(vec![away], &clock).await).await;
    let token = signer.token(&crate::issuer::claims("http://127.0.0.1:1"));
    let (status, reason, _) = call(&away, "GET /api/v1/whoami", &token, "").await;
    assert_eq!((status, &*reason), (StatusCode::SERVICE_UNAVAILABLE, "ISSUER_UNAVAILABLE"));
}
