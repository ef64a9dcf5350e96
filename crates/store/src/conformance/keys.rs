//! Idempotency keys: a create that is repeated creates once.

use std::sync::Arc;
use std::thread;

use operond_core::limits::KEY_LIFE_MIN;
use operond_core::{Command, EventKind, Operation, OperationId, Retention, Spec};

use super::Subject;
use super::block_on::block_on;
use super::make::{DAY, HOUR, SECOND, TICK, batch, cancel, command, fingerprint, key, kind, tenant};
use super::rig::{Rig, created};
use crate::Lookup;
use crate::request::{Accepted, Missing, Refusal, Request};

pub fn f10_a_repeated_create_answers_with_the_same_operation(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let first = rig.create_keyed(spec(), &key("k"), fingerprint(1));
    assert!(matches!(first, Ok(Accepted::Created { repeated: false, .. })), "{first:?}");
    let first = created(first);
    rig.advance(SECOND);
    let leased = rig.claim_one("work");
    let applied = rig.batch(vec![rig.keyed(spec(), &key("k"), fingerprint(1))]);
    assert_eq!(applied.replies, [Ok(Accepted::Created { operation: Arc::clone(&leased), repeated: true })]);
    assert_eq!((applied.changed.len(), &leased.id), (0, &first.id));
    assert_eq!(rig.everything(), [leased]);
}

pub fn f10_what_only_repeats_begins_nothing(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let repeat = |content| match rig.keyed(spec(), &key("k"), fingerprint(content)) {
        Request::Create(create) => Request::Repeat(create),
        other => panic!("a create was made: {other:?}"),
    };
    let nothing = Err(Refusal::NotFound(Missing::Never));
    let applied = rig.batch(vec![repeat(1), repeat(1)]);
    assert_eq!((applied.replies, applied.changed.len()), (vec![nothing.clone(), nothing.clone()], 0));
    let applied = rig.batch(vec![rig.keyed(spec(), &key("k"), fingerprint(1)), repeat(1)]);
    let operation = created(applied.replies[0].clone());
    assert_eq!(applied.replies[1], Ok(Accepted::Created { operation: Arc::clone(&operation), repeated: true }));
    assert_eq!(rig.ask(repeat(1)).map(|accepted| created(Ok(accepted))), Ok(Arc::clone(&operation)));
    assert_eq!(rig.ask(repeat(2)), Err(Refusal::KeyReused("kind")));
    let cancelled = rig.ask(command(&operation.id, cancel()));
    assert!(cancelled.is_ok(), "{cancelled:?}");
    rig.advance(KEY_LIFE_MIN);
    assert_eq!(rig.ask(repeat(1)), nothing, "the key is free again");
    assert_eq!(rig.everything().len(), 1);
}

pub fn f10_a_hundred_creates_at_once_with_one_key_create_once(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let requests: Vec<Request> = (0..100).map(|_| rig.keyed(spec(), &key("k"), fingerprint(1))).collect();
    let store = &rig.store;
    let answers: Vec<OperationId> = thread::scope(|scope| {
        let threads = requests.chunks(10).map(|requests| {
            let one = |request: &Request| {
                let applied = block_on(store.update(batch(vec![request.clone()]))).expect("a store takes batches");
                created(applied.replies.into_iter().next().expect("one reply")).id.clone()
            };
            scope.spawn(move || requests.iter().map(one).collect::<Vec<_>>())
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no create fails")).collect()
    });
    assert!(answers.iter().all(|id| *id == answers[0]), "{answers:?}");
    assert_eq!((answers.len(), rig.everything().len()), (100, 1));
}

pub fn a_repeat_settles_the_operation_first(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let spec = || Spec { queue_timeout: Some(SECOND), ..spec() };
    let first = created(rig.create_keyed(spec(), &key("k"), fingerprint(1)));
    rig.advance(SECOND);
    let again = created(rig.create_keyed(spec(), &key("k"), fingerprint(1)));
    assert_eq!(again.id, first.id);
    assert_eq!(again.events.last().map(|event| event.what), Some(EventKind::DeadlineExceeded));
    assert_eq!(rig.read(&again.id), again);
}

pub fn f11_a_key_used_for_other_content_is_refused_by_member(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let first = created(rig.create_keyed(spec(), &key("k"), fingerprint(1)));
    assert_eq!(rig.create_keyed(spec(), &key("k"), fingerprint(2)), Err(Refusal::KeyReused("kind")));
    let mut other = fingerprint(1);
    other.0[1] = 8;
    assert_eq!(rig.create_keyed(spec(), &key("k"), other), Err(Refusal::KeyReused("description")));
    assert_eq!(rig.everything(), [first]);
}

pub fn f12_keys_of_two_tenants_are_two_keys(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let of = |name| Spec { tenant: tenant(name), ..spec() };
    let first = created(rig.create_keyed(of("a"), &key("k"), fingerprint(1)));
    let second = created(rig.create_keyed(of("b"), &key("k"), fingerprint(2)));
    assert_ne!(first.id, second.id);
    assert_eq!(created(rig.create_keyed(of("a"), &key("k"), fingerprint(1))), first);
    assert_eq!(created(rig.create_keyed(of("b"), &key("k"), fingerprint(2))), second);
}

pub fn keys_are_told_apart_by_every_byte(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let long = "\u{1F511}".repeat(128);
    let keys = ["k", "K", "k ", "\u{e9}", "e\u{301}", "%", "\u{10FFFF}", "1", "01", &long];
    let make = |text: &&str| created(rig.create_keyed(spec(), &key(text), fingerprint(1))).id.clone();
    let first: Vec<OperationId> = keys.iter().map(make).collect();
    assert_eq!(rig.everything().len(), keys.len());
    assert_eq!(keys.iter().map(make).collect::<Vec<_>>(), first);
}

pub fn two_creates_with_one_key_in_one_batch_create_once(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let replies = rig
        .batch(vec![
            rig.keyed(spec(), &key("k"), fingerprint(1)),
            rig.keyed(spec(), &key("k"), fingerprint(1)),
            rig.keyed(spec(), &key("k"), fingerprint(2)),
        ])
        .replies;
    let first = created(replies[0].clone());
    assert_eq!(replies[1], Ok(Accepted::Created { operation: Arc::clone(&first), repeated: true }));
    assert_eq!(replies[2], Err(Refusal::KeyReused("kind")));
    assert_eq!(rig.everything(), [first]);
}

pub fn f13_a_key_lives_for_a_day_after_create(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let first = created(rig.create_keyed(spec(), &key("k"), fingerprint(1)));
    rig.accept(&first.id, cancel());
    rig.advance(KEY_LIFE_MIN - TICK);
    assert_eq!(created(rig.create_keyed(spec(), &key("k"), fingerprint(1))).id, first.id);
    rig.advance(TICK);
    let second = created(rig.create_keyed(spec(), &key("k"), fingerprint(2)));
    assert_ne!(second.id, first.id);
    assert_eq!(created(rig.create_keyed(spec(), &key("k"), fingerprint(2))).id, second.id, "it is the second's now");
}

pub fn f13_a_key_lives_as_long_as_its_operation_is_unfinished(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let first = created(rig.create_keyed(spec(), &key("k"), fingerprint(1)));
    rig.advance(3 * DAY);
    assert_eq!(rig.purge(10), 0);
    assert_eq!(created(rig.create_keyed(spec(), &key("k"), fingerprint(1))).id, first.id);
    assert_eq!(rig.create_keyed(spec(), &key("k"), fingerprint(2)), Err(Refusal::KeyReused("kind")));
    rig.accept(&first.id, cancel());
    assert_ne!(created(rig.create_keyed(spec(), &key("k"), fingerprint(1))).id, first.id);
}

pub fn f13_a_living_key_whose_operation_is_gone_creates_nothing(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let first = created(rig.create_keyed(spec(), &key("k"), fingerprint(1)));
    rig.accept(&first.id, cancel());
    rig.delete(&first.id);
    rig.advance(KEY_LIFE_MIN - TICK);
    assert_eq!(rig.create_keyed(spec(), &key("k"), fingerprint(1)), Err(Refusal::OperationGone));
    assert_eq!(rig.everything(), []);
    rig.advance(TICK);
    assert_ne!(created(rig.create_keyed(spec(), &key("k"), fingerprint(1))).id, first.id);
}

pub fn a_repeat_that_finds_its_operation_expired_says_that_it_is_gone(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let spec = || Spec { retention: Retention::same(Some(SECOND)), ..spec() };
    let first = created(rig.create_keyed(spec(), &key("k"), fingerprint(1)));
    rig.accept(&first.id, cancel());
    rig.advance(HOUR);
    assert_eq!(rig.create_keyed(spec(), &key("k"), fingerprint(1)), Err(Refusal::OperationGone));
    assert!(matches!(rig.lookup(&first.id), Lookup::Gone(..)));
}

pub fn a_key_is_gone_for_later_requests_of_the_batch_that_deletes(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let first = created(rig.create_keyed(spec(), &key("k"), fingerprint(1)));
    let replies = rig
        .batch(vec![
            command(&first.id, cancel()),
            command(&first.id, Command::Delete),
            rig.keyed(spec(), &key("k"), fingerprint(1)),
        ])
        .replies;
    assert_eq!(replies[2], Err(Refusal::OperationGone));
}

pub fn purge_removes_the_keys_that_are_free(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let (ended, deleted) = (keyed(&rig, "ended"), keyed(&rig, "deleted"));
    let unfinished = keyed(&rig, "unfinished");
    rig.accept(&ended.id, cancel());
    rig.accept(&deleted.id, cancel());
    rig.delete(&deleted.id);
    rig.advance(KEY_LIFE_MIN - TICK);
    let young = keyed(&rig, "young");
    rig.accept(&young.id, cancel());
    assert_eq!(rig.purge(10), 0);
    rig.advance(TICK);
    assert_eq!([rig.purge(1), rig.purge(10), rig.purge(10)], [1, 1, 0]);
    assert_eq!(keyed(&rig, "unfinished").id, unfinished.id);
    assert_eq!(keyed(&rig, "young").id, young.id);
    assert_ne!(keyed(&rig, "ended").id, ended.id);
}

fn keyed(rig: &Rig<'_>, text: &str) -> Arc<Operation> {
    let reply = rig.create_keyed(spec(), &key(text), fingerprint(1));
    created(reply)
}

fn spec() -> Spec {
    Spec::new(kind("work"))
}
