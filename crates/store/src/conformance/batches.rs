//! One batch: all or nothing, in order, each request with its own answer.

use std::sync::Arc;
use std::thread;

use operond_core::{Command, Gone, Heartbeat, NewOperation, OperationId, Rejection, Scope, Spec, State, Stored};

use super::Subject;
use super::block_on::block_on;
use super::make::{
    self, SECOND, cancel, claim, command, complete, create, foreign_lease, heartbeat, kind, new_operation,
};
use super::rig::{Rig, created};
use crate::request::{Accepted, Missing, Refusal, Reply, Request};
use crate::{Lookup, Store};

pub fn an_empty_batch_does_nothing(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let applied = rig.batch(vec![]);
    assert_eq!((applied.replies.len(), applied.changed.len(), applied.at), (0, 0, rig.now()));
}

pub fn every_request_of_a_batch_is_answered_in_order(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let entropies: Vec<_> = (0..1_000).map(|_| rig.entropy()).collect();
    let creates = entropies.iter().map(|entropy| create(new_operation(Spec::new(kind("work"))), *entropy));
    let replies = rig.batch(creates.collect()).replies;
    let answered: Vec<OperationId> = replies.into_iter().map(|reply| created(reply).id.clone()).collect();
    assert_eq!(answered, entropies.iter().map(|entropy| rig.id_of(*entropy)).collect::<Vec<_>>());
    assert!(answered.iter().all(|id| matches!(rig.lookup(id), Lookup::Found(_))));
}

pub fn later_requests_see_what_earlier_ones_did(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let queued = rig.create("work");
    let replies = rig
        .batch(vec![
            command(&queued.id, Command::Delete),
            command(&queued.id, cancel()),
            command(&queued.id, Command::Delete),
            command(&queued.id, cancel()),
        ])
        .replies;
    assert_eq!(replies[0], Err(Refusal::Rejected(Rejection::NotDone(State::Queued))));
    assert!(matches!(&replies[1], Ok(Accepted::Operation(cancelled)) if cancelled.done()), "{:?}", replies[1]);
    assert_eq!(replies[2], Ok(Accepted::Deleted));
    assert_eq!(replies[3], deleted());
}

pub fn an_operation_lives_a_whole_life_in_one_batch(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let (entropy, claim) = (rig.entropy(), Some(claim(rig.secret())));
    let new = NewOperation { claim, ..new_operation(Spec::new(kind("work"))) };
    let started = operond_core::create(&new, rig.id_of(entropy), rig.now());
    let applied = rig.batch(vec![
        command(&started.id, cancel()),
        create(new, entropy),
        command(&started.id, complete(&started)),
        command(&started.id, Command::Delete),
    ]);
    assert_eq!(applied.replies[0], Err(Refusal::NotFound(Missing::Never)), "not there yet");
    assert_eq!(applied.replies[3], Ok(Accepted::Deleted));
    assert_eq!(applied.changed.len(), 1);
    assert_eq!(rig.lookup(&started.id), Lookup::Gone(started.spec.tenant.clone(), Gone::Deleted));
    assert_eq!(rig.everything(), []);
}

pub fn a_refused_request_does_not_hurt_its_batch(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let started = rig.start("work");
    let lease = foreign_lease(&started);
    let beat = Command::Heartbeat(Heartbeat { lease, duration: None, metadata: None, progress: None });
    let entropy = rig.entropy();
    let replies = rig
        .batch(vec![
            command(&make::id("nobody"), cancel()),
            create(new_operation(Spec::new(kind("work"))), entropy),
            command(&started.id, beat),
            command(&started.id, complete(&started)),
        ])
        .replies;
    assert_eq!(replies[2], Err(Refusal::Rejected(Rejection::InvalidLease)));
    assert_eq!(rig.read(&rig.id_of(entropy)).state(), State::Queued);
    assert_eq!(rig.read(&started.id).state(), State::Succeeded);
}

pub fn a_refusal_keeps_what_settling_changed(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let started = rig.start_as("work", |spec| spec.run_timeout = Some(SECOND));
    rig.advance(SECOND);
    let reply = rig.command(&started.id, heartbeat(&started));
    assert_eq!(reply, Err(Refusal::Rejected(Rejection::AlreadyDone(State::Failed))));
    assert_eq!(rig.read(&started.id).state(), State::Failed, "the reply said so");
}

pub fn a_batch_tells_what_it_wrote_once_each(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let (beaten, ended, gone, same) = (rig.start("a"), rig.start("b"), rig.finished("c", |_| {}), rig.start("d"));
    rig.advance(SECOND);
    let applied = rig.batch(vec![
        command(&beaten.id, heartbeat(&beaten)),
        command(&ended.id, heartbeat(&ended)),
        command(&ended.id, complete(&ended)),
        command(&gone.id, Command::Delete),
        command(&same.id, Command::Delete),
    ]);
    let told = |id: &OperationId| {
        let mut of_id = applied.changed.iter().filter(|changed| changed.operation.id == *id);
        let changed = of_id.next().expect("it was written");
        assert!(of_id.next().is_none(), "told once");
        changed
    };
    assert_eq!(applied.changed.len(), 3);
    assert_eq!((told(&beaten.id).bare, told(&ended.id).bare, told(&gone.id).bare), (true, false, false));
    assert_eq!(told(&ended.id).stored, Stored::Live(rig.read(&ended.id)));
    assert_eq!(told(&gone.id).stored, Stored::Gone(Gone::Deleted));
    assert_eq!(told(&gone.id).operation, gone);
}

pub fn what_changes_nothing_writes_nothing(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let done = rig.finished("work", |_| {});
    rig.advance(SECOND);
    let applied = rig.batch(vec![command(&done.id, cancel()), command(&done.id, Command::Settle)]);
    assert_eq!(applied.changed.len(), 0);
    assert_eq!(rig.read(&done.id), done);
}

pub fn an_id_that_is_taken_is_not_overwritten(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let (entropy, other) = (rig.entropy(), rig.entropy());
    let first = created(rig.ask(create(new_operation(Spec::new(kind("first"))), entropy)));
    let again = vec![
        create(new_operation(Spec::new(kind("bystander"))), other),
        create(new_operation(Spec::new(kind("second"))), entropy),
    ];
    let outcome = block_on(rig.store.update(make::batch(again)));
    assert!(outcome.is_err(), "nobody is told that the second one was created");
    assert_eq!(rig.read(&first.id), first);
    assert_eq!(rig.lookup(&rig.id_of(other)), Lookup::Never, "a batch is carried out whole or not at all");
}

pub fn batches_of_many_threads_are_carried_out_one_after_the_other(subject: &mut dyn Subject) {
    const THREADS: usize = 16;
    const EACH: usize = 20;
    let rig = Rig::new(subject);
    let started = rig.start("work");
    rig.advance(SECOND);
    let beat = |store: &Arc<dyn Store>| {
        let request = command(&started.id, heartbeat(&started));
        block_on(store.update(make::batch(vec![request]))).expect("a store takes batches from many threads")
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..EACH).for_each(|_| drop(beat(&rig.store))));
        }
    });
    let steps = rig.read(&started.id).revision - started.revision;
    assert_eq!(usize::try_from(steps), Ok(THREADS * EACH), "none was lost");
}

pub fn what_was_answered_is_read_by_everybody_at_once(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let stores: Vec<(Arc<dyn Store>, Vec<Request>)> = (0..8)
        .map(|_| {
            let requests = (0..20).map(|_| create(new_operation(Spec::new(kind("work"))), rig.entropy()));
            (Arc::clone(&rig.store), requests.collect())
        })
        .collect();
    thread::scope(|scope| {
        for (store, requests) in stores {
            scope.spawn(move || requests.into_iter().for_each(|request| create_and_read(&store, request)));
        }
    });
}

fn create_and_read(store: &Arc<dyn Store>, request: Request) {
    let applied = block_on(store.update(make::batch(vec![request]))).expect("a store takes batches from many threads");
    let operation = created(applied.replies.into_iter().next().expect("one reply"));
    let read = block_on(store.get(&Scope::default(), &operation.id)).expect("a store that is well looks up");
    assert_eq!(read, Lookup::Found(operation), "read your own writes");
}

fn deleted() -> Reply {
    Err(Refusal::NotFound(Missing::Gone(Gone::Deleted)))
}
