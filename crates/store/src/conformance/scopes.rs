//! What is outside of the scope of a request is not there, to that request.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{Command, Gone, Operation, OperationId, Retention, Scope, Spec};

use super::Subject;
use super::make::{
    HOUR, cancel, complete, create, filter, fingerprint, heartbeat, key, kind, new_operation, release, retry, tenant,
};
use super::block_on::block_on;
use super::rig::{Rig, claimed, created, ids, query};
use crate::list::{CountQuery, ListQuery, Order};
use crate::request::{Accepted, Missing, Refusal, Reply, Request};
use crate::Lookup;

pub fn f45_a_foreign_operation_is_as_one_that_never_was(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let own = rig.start_as("work", |spec| spec.tenant = tenant("t"));
    let commands = [
        cancel(),
        Command::Delete,
        Command::Settle,
        heartbeat(&own),
        complete(&own),
        retry(&own, Duration::ZERO),
        release(&own),
    ];
    for scope in foreign() {
        assert_eq!(rig.lookup_in(&scope, &own.id), Lookup::Never, "{scope:?}");
        for command in commands.clone() {
            let (told, changed) = rig.command_in(&scope, &own.id, command.clone());
            assert_eq!((told, changed), (never(), 0), "{command:?} in {scope:?}");
        }
    }
    assert_eq!(rig.read(&own.id), own);
    for scope in familiar() {
        assert_eq!(rig.lookup_in(&scope, &own.id), Lookup::Found(rig.read(&own.id)), "{scope:?}");
        assert!(rig.command_in(&scope, &own.id, heartbeat(&own)).0.is_ok(), "{scope:?}");
    }
}

pub fn nothing_is_settled_on_account_of_a_stranger(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let due = rig.create_as("work", |spec| {
        spec.tenant = tenant("t");
        spec.queue_timeout = Some(HOUR);
    });
    rig.advance(2 * HOUR);
    for scope in foreign() {
        assert_eq!(rig.command_in(&scope, &due.id, cancel()), (never(), 0));
    }
    assert_eq!(rig.read(&due.id), due);
    assert!(rig.command_in(&Scope::of_tenant(tenant("t")), &due.id, cancel()).1 > 0, "its own tenant settles it");
}

pub fn f45_a_foreign_operation_that_somebody_holds_is_as_one_that_never_was(subject: &mut dyn Subject) {
    let mut rig = Rig::new(subject);
    let spec = |name| Spec { tenant: tenant(name), ..Spec::new(kind("work")) };
    let own = created(rig.create_keyed(spec("t"), &key("k"), fingerprint(1)));
    let held = rig.hold(&own.id);
    for scope in foreign() {
        assert_eq!(rig.lookup_in(&scope, &own.id), Lookup::Never, "{scope:?}");
        for command in [cancel(), Command::Delete, Command::Settle] {
            assert_eq!(rig.command_in(&scope, &own.id, command), (never(), 0), "{scope:?}");
        }
    }
    // Nor does it help to ask together with those who reach it, or behind them.
    let asked = |scope| Request::Command(scope, own.id.clone(), Box::new(Command::Settle));
    let mixed = foreign().into_iter().chain(familiar()).chain(foreign());
    let replies = rig.batch(mixed.map(asked).collect()).replies;
    let told = if held { Err(Refusal::Held) } else { Ok(Accepted::Operation(Arc::clone(&own))) };
    let [strangers, others] = [vec![never(); foreign().len()], vec![told; familiar().len()]];
    assert_eq!(replies, [strangers.clone(), others, strangers].concat());
    for scope in foreign() {
        assert_eq!(rig.command_in(&scope, &own.id, cancel()), (never(), 0), "{scope:?}");
    }
    // A key is its tenant's, and so is what it stands for.
    assert_eq!(rig.create_keyed(spec("t"), &key("k"), fingerprint(1)) == Err(Refusal::Held), held);
    assert!(rig.create_keyed(spec("u"), &key("k"), fingerprint(1)).is_ok());
}

pub fn a_tombstone_is_told_to_its_tenant_alone(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let keep = |spec: &mut Spec| {
        spec.tenant = tenant("t");
        spec.retention = Retention::same(Some(HOUR));
    };
    let (deleted, expired) = (rig.finished("work", keep), rig.finished("work", keep));
    rig.delete(&deleted.id);
    rig.advance(HOUR);
    rig.settle(10);
    for (id, gone) in [(&deleted.id, Gone::Deleted), (&expired.id, Gone::Expired)] {
        let stranger = Scope::of_tenant(tenant("u"));
        assert_eq!(rig.lookup_in(&stranger, id), Lookup::Never);
        assert_eq!(rig.command_in(&stranger, id, cancel()), (never(), 0));
        let own = Scope::of_tenant(tenant("t"));
        assert_eq!(rig.lookup_in(&own, id), Lookup::Gone(tenant("t"), gone));
        assert_eq!(rig.command_in(&own, id, cancel()).0, Err(Refusal::NotFound(Missing::Gone(gone))));
    }
}

pub fn what_a_batch_removes_is_told_to_its_tenant_alone(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let own = rig.finished("work", |spec| spec.tenant = tenant("t"));
    let asked = |scope: Scope, command| Request::Command(scope, own.id.clone(), Box::new(command));
    let requests = vec![
        asked(Scope::of_tenant(tenant("u")), Command::Delete),
        asked(Scope::of_tenant(tenant("t")), Command::Delete),
        asked(Scope::of_tenant(tenant("u")), cancel()),
        asked(Scope::of_tenant(tenant("t")), cancel()),
    ];
    let applied = rig.batch(requests);
    let gone = Err(Refusal::NotFound(Missing::Gone(Gone::Deleted)));
    assert_eq!(applied.replies[0], never());
    assert!(applied.replies[1].is_ok());
    assert_eq!(applied.replies[2..], [never(), gone]);
}

pub fn a_claim_for_one_tenant_gets_nothing_of_another(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made: Vec<_> = ["a", "b", "a", "c", "a", "b"].map(|name| of(&rig, name, "work")).into();
    let of_tenant = |name: &str, after: Option<&str>, count| {
        claimed(rig.ask(rig.claiming_in(Some(tenant(name)), &["work", "other"], after.map(tenant), count)))
    };
    assert_eq!(of_tenant("nobody", None, 5), []);
    assert_eq!(ids(&of_tenant("b", None, 1)), ids([&made[1]]));
    // Whose turn it is does not matter where nobody else is served.
    assert_eq!(ids(&of_tenant("a", Some("a"), 2)), ids([&made[0], &made[2]]));
    assert_eq!(ids(&of_tenant("a", Some("zz"), 5)), ids([&made[4]]));
    assert_eq!(ids(&rig.claim(&["work"], 5)), ids([&made[5], &made[3]]));
}

pub fn claims_of_tenants_and_of_all_share_what_there_is_in_one_batch(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let (a, b, more) = (of(&rig, "a", "work"), of(&rig, "b", "work"), of(&rig, "b", "work"));
    let requests = vec![
        rig.claiming_in(Some(tenant("b")), &["work"], None, 1),
        rig.claiming(&["work"], None, 5),
        rig.claiming_in(Some(tenant("a")), &["work"], None, 1),
    ];
    let replies = rig.batch(requests).replies;
    let taken: Vec<_> = replies.into_iter().map(|reply| ids(&claimed(reply))).collect();
    assert_eq!(taken, [ids([&b]), ids([&a, &more]), vec![]]);
}

pub fn a_list_of_one_tenant_shows_nothing_of_another(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made: Vec<_> =
        ["t", "u", "t", "v", "t", "T"].iter().zip(["a", "a", "b", "b", "a", "a"]).map(|(name, kind)| of(&rig, name, kind)).collect();
    rig.accept(&made[2].id, cancel());
    let t = Scope::of_tenant(tenant("t"));
    let kinds = |names: &[&str]| Some(names.iter().map(|name| kind(name)).collect());
    let cases = [
        (t.clone(), "", vec![0, 2, 4]),
        (t.clone(), "kind = a", vec![0, 4]),
        (t.clone(), "kind = b", vec![2]),
        (t.clone(), "done = true", vec![2]),
        (t.clone(), "tenant = u", vec![]),
        (t.clone(), "kind = a OR tenant = u", vec![0, 4]),
        (t.clone(), "NOT kind = a", vec![2]),
        (Scope { kinds: kinds(&["b"]), ..t.clone() }, "", vec![2]),
        (Scope { kinds: kinds(&["a", "b"]), ..t.clone() }, "", vec![0, 2, 4]),
        (Scope { kinds: kinds(&["a"]), ..Scope::default() }, "", vec![0, 1, 4, 5]),
        (Scope { kinds: kinds(&["a"]), ..Scope::default() }, "kind = b", vec![]),
        (Scope::of_tenant(tenant("nobody")), "", vec![]),
    ];
    for (scope, text, expected) in cases {
        let mut expected: Vec<OperationId> = expected.into_iter().map(|index: usize| made[index].id.clone()).collect();
        let counted = rig.count(&CountQuery { scope: scope.clone(), filter: filter(text), ..CountQuery::default() });
        assert_eq!((counted.count, counted.more), (expected.len() as u64, false), "{text} in {scope:?}");
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let mut query = ListQuery { scope: scope.clone(), filter: filter(text), order, limit: 1, ..query() };
            let mut listed = Vec::new();
            loop {
                let page = rig.list(&query);
                listed.extend(ids(&page.operations));
                query.after = page.next;
                if query.after.is_none() {
                    break;
                }
            }
            assert_eq!(listed, expected, "{text} in {scope:?}");
            expected.reverse();
        }
    }
}

pub fn a_list_of_one_tenant_does_not_look_at_others(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let first = of(&rig, "t", "work");
    (0..20).for_each(|_| drop(of(&rig, "u", "work")));
    let last = of(&rig, "t", "work");
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let scope = Scope::of_tenant(tenant("t"));
        let page = rig.list(&ListQuery { scope, order, scan_max: 2, ..query() });
        assert_eq!((page.operations.len(), page.next), (2, None));
        assert!(page.operations.contains(&first) && page.operations.contains(&last));
    }
}

/// An operation that is a little younger than the one before.
fn of(rig: &Rig<'_>, name: &str, kind_name: &str) -> Arc<Operation> {
    rig.advance(Duration::from_millis(1));
    let spec = Spec { tenant: tenant(name), ..Spec::new(kind(kind_name)) };
    created(rig.ask(create(new_operation(spec), rig.entropy())))
}

/// Scopes that the tenant `t` and the kind `work` are not in.
fn foreign() -> [Scope; 4] {
    let other = Some([kind("other"), kind("WORK")].into());
    [
        Scope::of_tenant(tenant("u")),
        Scope::of_tenant(tenant("T")),
        Scope { tenant: Some(tenant("t")), kinds: other.clone() },
        Scope { tenant: None, kinds: other },
    ]
}

/// Scopes that they are in.
fn familiar() -> [Scope; 3] {
    let kinds = Some([kind("other"), kind("work")].into());
    [Scope::default(), Scope::of_tenant(tenant("t")), Scope { tenant: Some(tenant("t")), kinds }]
}

fn never() -> Reply {
    Err(Refusal::NotFound(Missing::Never))
}

impl Rig<'_> {
    fn lookup_in(&self, scope: &Scope, id: &OperationId) -> Lookup {
        block_on(self.store.get(scope, id)).expect("a store that is well looks up")
    }

    /// What a command is told, and how many operations it changed.
    fn command_in(&self, scope: &Scope, id: &OperationId, command: Command) -> (Reply, usize) {
        let request = Request::Command(scope.clone(), id.clone(), Box::new(command));
        let mut applied = self.batch(vec![request]);
        (applied.replies.remove(0), applied.changed.len())
    }
}
