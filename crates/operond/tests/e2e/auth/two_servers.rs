//! Keys of servers that share a database: made through one they are good at the other, and so is their end.

use std::time::Duration;

use operond_store_postgres::cluster::{Cluster, Kind};
use tempfile::TempDir;

use crate::auth::within;
use crate::support::Asking;
use crate::support::asking::{id_of, operond, printed};
use crate::support::served::migrated;

/// How late another server may know of a key, or that it is none any more.
const LATE_MAX: Duration = Duration::from_secs(1);
/// As often it is looked at.
const ROUNDS: usize = 5;

/// Two servers on a fresh schema, and the key of an admin.
fn pair() -> (Asking, Asking, String, TempDir) {
    let (store, folder) = (migrated(Cluster::shared(Kind::Fast)), tempfile::tempdir().unwrap());
    let file = folder.path().join("admin.key");
    let a = Asking::on(&store, &["--admin-key-file", file.to_str().unwrap()]);
    let (b, admin) = (Asking::on(&store, &[]), a.admin());
    (a, b, admin, folder)
}

#[test]
fn a_key_made_through_one_server_is_soon_good_at_the_other_and_a_revoked_one_soon_good_at_none() {
    let (a, b, admin, _folder) = pair();
    for round in 0..ROUNDS {
        let key = a.key(&admin, &format!("ci-{round}"), "acme", "viewer");
        let call = |server: &Asking| operond(server.http(), &key, &["list"]);
        let late = within(LATE_MAX, "the other server knows the key", || call(&b).status.success());
        println!("a key is good at the other server after {late:?}");
        assert!(call(&a).status.success());
        printed(a.http(), &admin, &["keys", "revoke", id_of(&key)]);
        assert!(!call(&a).status.success(), "revoked here is revoked at once");
        let late = within(LATE_MAX, "the other server refuses the key", || !call(&b).status.success());
        println!("a revoked key is refused at the other server after {late:?}");
        let refused = call(&b);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("the API key was revoked"), "{refused:?}");
    }
}

#[test]
fn tenants_see_and_touch_their_own_alone_over_either_server() {
    let (a, b, admin, _folder) = pair();
    let [acme, other] = ["acme", "other"].map(|tenant| a.key(&admin, tenant, tenant, "producer"));
    let operator = a.key(&admin, "other-operator", "other", "operator");
    within(LATE_MAX, "the other server knows the keys", || operond(b.http(), &operator, &["list"]).status.success());
    let create = |server: &Asking, key: &str| printed(server.http(), key, &["create", "k", "-o", "id"]);
    let (mut theirs, foreign) = ([create(&a, &acme), create(&b, &acme)], create(&b, &other));
    theirs.sort();
    for server in [&a, &b] {
        let http = server.http();
        let seen = |key: &str| {
            let listed = printed(http, key, &["list", "-o", "id"]);
            let mut ids: Vec<String> = listed.lines().map(|id| format!("{id}\n")).collect();
            ids.sort();
            ids
        };
        assert_eq!(seen(&acme), theirs);
        assert_eq!(seen(&other), [&*foreign]);
        assert_eq!(seen(&admin).len(), 3);
        assert_eq!(printed(http, &acme, &["list", "--count"]).trim(), "2");
        let id = theirs[0].trim();
        printed(http, &acme, &["get", id]);
        for (key, arguments) in [
            (&other, &["get", id][..]),
            (&other, &["wait", id, "--timeout", "5s"]),
            (&other, &["watch", id]),
            (&operator, &["cancel", id]),
            (&operator, &["delete", id]),
        ] {
            let refused = operond(http, key, arguments);
            assert_eq!(refused.status.code(), Some(4), "{arguments:?}: {refused:?}");
            // As if it had never been.
            let never = operond(http, key, &[arguments[0], "op0000000000000000"]);
            let told =
                |text: &[u8]| String::from_utf8_lossy(text).replace(id, "ID").replace("op0000000000000000", "ID");
            assert_eq!(told(&refused.stderr), told(&never.stderr), "{arguments:?}");
        }
        assert!(printed(http, &acme, &["get", id]).contains("queued"));
    }
}
