//! The store as a whole: whether it serves, what it is, and its end.

use super::Subject;
use super::block_on::block_on;
use super::make::{DAY, batch};
use super::rig::{Rig, query};
use crate::{Collection, Error};

pub fn an_open_store_serves(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    assert!(block_on(rig.store.ping()).is_ok());
    assert_ne!(rig.store.properties().seal_key, [0; 32], "random");
}

pub fn a_closed_store_refuses_everything(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let created = rig.create("work");
    block_on(rig.store.close()).expect("an idle store closes");
    let answers = [
        block_on(rig.store.ping()).map(drop),
        block_on(rig.store.update(batch(vec![]))).map(drop),
        block_on(rig.store.update(batch(vec![rig.claiming(&["work"], None, 1)]))).map(drop),
        block_on(rig.store.get(&operond_core::Scope::default(), &created.id)).map(drop),
        block_on(rig.store.list(&query())).map(drop),
        block_on(rig.store.purge(1)).map(drop),
        block_on(rig.store.documents(Collection::Types)).map(drop),
        block_on(rig.store.put_documents(vec![])).map(drop),
    ];
    let calls = ["ping", "empty update", "update", "get", "list", "purge", "documents", "put_documents"];
    for (call, answer) in calls.into_iter().zip(answers) {
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{call} answers {answer:?}");
    }
}

pub fn f08_a_step_of_the_calendar_while_open_changes_nothing(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let first = rig.create("work");
    for stepped in [first.created_at.before(DAY), first.created_at.after(DAY)] {
        rig.clock.set_wall(stepped);
        assert_eq!(rig.create("work").created_at, first.created_at);
    }
}
