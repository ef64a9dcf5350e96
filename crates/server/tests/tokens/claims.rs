//! Whom good tokens name.

use std::time::Duration;

use operond_core::{Kind, Principal, Scope, Tenant, Timestamp};
use operond_server::auth::token::{Algorithm, CLOCK_SKEW_SECONDS, Issuer, KindsFrom, RolesFrom, TenantFrom};
use operond_server::auth::{Credential, Identity, Role, Roles};
use serde_json::{Value, json};

use crate::issuer::{Site, clock, tokens};
use crate::signer::{ED25519, P256, P384, RSA, Signer, jwks};

/// Whom a token with these claims more names, to a server that is configured like this.
async fn named(configure: impl FnOnce(&mut Issuer), more: Value) -> Identity {
    let site = Site::publishing(jwks(&[&P256])).await;
    let mut issuer = site.issuer();
    configure(&mut issuer);
    let mut claims = site.claims();
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let tokens = tokens(vec![issuer], &clock()).await;
    let mut identity = tokens.verify_patiently(&P256.token(&claims)).await.unwrap();
    assert_eq!(identity.credential, Credential::Token(site.url.clone()));
    identity.credential = Credential::None;
    let end = claims["exp"].as_u64().unwrap() + CLOCK_SKEW_SECONDS;
    assert_eq!(identity.expires_at.take(), Some(Timestamp::default().after(Duration::from_secs(end))));
    identity
}

fn identity(principal: &str, tenant: Option<&str>, kinds: Option<&[&str]>, roles: &[Role]) -> Identity {
    let kinds = kinds.map(|kinds| kinds.iter().map(|kind| Kind::new(kind).unwrap()).collect());
    Identity {
        principal: Principal::parse("principal", principal).unwrap(),
        scope: Scope { tenant: tenant.map(|tenant| Tenant::parse("tenant", tenant).unwrap()), kinds },
        roles: Roles::of(roles),
        credential: Credential::None,
        expires_at: None,
    }
}

fn roles(claim: &str) -> RolesFrom {
    let map = [("ops", Role::Operator), ("jobs:work", Role::Worker), ("Site admins", Role::Admin)];
    RolesFrom {
        claim: Some(claim.parse().unwrap()),
        map: map.into_iter().map(|(name, role)| (name.to_owned(), role)).collect(),
        fixed: Roles::of(&[Role::Viewer]),
    }
}

#[tokio::test]
async fn a_token_of_an_issuer_that_says_nothing_more_names_somebody_without_roles() {
    assert_eq!(named(|_| {}, json!({"groups": ["admin"]})).await, identity("alice", None, None, &[]));
}

#[tokio::test]
async fn claims_are_read_from_where_the_configuration_says() {
    let configure = |issuer: &mut Issuer| {
        issuer.principal = "email".parse().unwrap();
        issuer.tenant = TenantFrom::Claim(r"kubernetes\.io.namespace".parse().unwrap());
        issuer.roles = roles("realm_access.roles");
        issuer.kinds = Some(KindsFrom::Claim("kinds".parse().unwrap()));
    };
    let claims = json!({
        "email": "a@acme.example", "kubernetes.io": {"namespace": "acme"}, "kinds": ["render", "mail"],
        "realm_access": {"roles": ["ops", "admin", "Site admins"]},
    });
    let expected = identity(
        "a@acme.example",
        Some("acme"),
        Some(&["render", "mail"]),
        &[Role::Viewer, Role::Operator, Role::Admin],
    );
    assert_eq!(named(configure, claims).await, expected);
}

#[tokio::test]
async fn what_is_fixed_needs_no_claim() {
    let configure = |issuer: &mut Issuer| {
        issuer.tenant = TenantFrom::Fixed(Tenant::parse("tenant", "fixed").unwrap());
        issuer.roles.fixed = Roles::of(&[Role::Worker]);
        issuer.kinds = Some(KindsFrom::Fixed([Kind::new("render").unwrap()].into()));
    };
    let claims = json!({"tenant": "acme", "kinds": ["mail"]});
    assert_eq!(named(configure, claims).await, identity("alice", Some("fixed"), Some(&["render"]), &[Role::Worker]));
}

#[tokio::test]
async fn a_string_is_one_role_and_only_a_scope_is_a_list_with_spaces() {
    for (claim, value, more) in [
        ("scope", json!("openid jobs:work  ops"), &[Role::Worker, Role::Operator][..]),
        ("scp", json!("ops"), &[Role::Operator]),
        ("scope", json!(["ops"]), &[Role::Operator]),
        ("title", json!("ops"), &[Role::Operator]),
        ("title", json!("Site admins"), &[Role::Admin]),
        ("title", json!("not ops"), &[]),
        ("title", json!("Ops"), &[]),
        ("title", json!([]), &[]),
        ("absent", json!("ops"), &[]),
    ] {
        let configured = if claim == "absent" { "elsewhere" } else { claim };
        let found = named(|issuer| issuer.roles = roles(configured), json!({ claim: value })).await;
        assert_eq!(found.roles, more.iter().copied().chain([Role::Viewer]).collect(), "{claim}: {value}");
    }
}

#[tokio::test]
async fn every_sort_of_key_that_is_pinned_verifies() {
    let signers: [&Signer; 4] = [&RSA, &P256, &P384, &ED25519];
    let site = Site::publishing(jwks(&signers)).await;
    let mut issuer = site.issuer();
    issuer.algorithms = Algorithm::ALL.to_vec();
    let tokens = tokens(vec![issuer], &clock()).await;
    for signer in signers {
        let found = tokens.verify_patiently(&signer.token(&site.claims())).await;
        assert_eq!(found.map(|identity| identity.principal.to_string()), Ok("alice".into()), "{}", signer.alg());
    }
    for alg in ["RS384", "PS256"] {
        let found = tokens.verify_patiently(&RSA.token_with(alg, &site.claims())).await;
        assert!(found.is_ok(), "{alg}: {found:?}");
    }
    assert_eq!(site.fetched("/keys"), 1);
}

#[tokio::test]
async fn an_issuer_with_a_slash_behind_is_another_issuer() {
    let site = Site::publishing(jwks(&[&P256])).await;
    let mut issuer = site.issuer();
    issuer.issuer += "/";
    let document = json!({"issuer": issuer.issuer, "jwks_uri": format!("{}/keys", site.url)});
    site.say(crate::issuer::DISCOVERY, crate::issuer::Page::Text(document.to_string()));
    let name = issuer.issuer.clone();
    let tokens = tokens(vec![issuer], &clock()).await;
    let token = |issuer: &str| P256.token(&crate::issuer::claims(issuer));
    assert!(tokens.verify_patiently(&token(&name)).await.is_ok());
    assert!(tokens.verify_patiently(&token(&site.url)).await.is_err());
}
