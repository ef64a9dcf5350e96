//! Rows that cannot be read: told by name, and in nobody's way.

use std::error::Error as _;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use operond_core::{OperationId, Scope, Spec};
use operond_store::{Accepted, Error, ListQuery, Request, Store};
use operond_store_sqlite::Options;
use rusqlite::Connection;

use crate::fixture::{Fixture, spec, update, wait};

/// Puts bytes that mean nothing into one column of an operation.
fn damage(fixture: Fixture, id: &OperationId) -> Fixture {
    wait(fixture.store.close()).unwrap();
    let file = Connection::open(fixture.path()).unwrap();
    file.execute("UPDATE operations SET events = x'0105' WHERE id = ?1", [id.as_str()]).unwrap();
    drop(file);
    fixture.reopen(Options::default())
}

fn names(error: &Error, id: &OperationId) -> bool {
    matches!(error, Error::Corrupt(_)) && error.source().is_some_and(|cause| cause.to_string().contains(id.as_str()))
}

#[test]
fn f30_a_damaged_operation_is_refused_by_name() {
    let mut fixture = Fixture::new(Options::default());
    let id = fixture.create(1, &spec("k")).unwrap()[0].id.clone();
    let fixture = damage(fixture, &id);
    let error = wait(fixture.store.get(&Scope::default(), &id)).unwrap_err();
    assert!(names(&error, &id), "{error:?}");
    let error = wait(fixture.store.list(&ListQuery::default())).unwrap_err();
    assert!(names(&error, &id), "{error:?}");
    let delete = Request::Command(Scope::default(), id.clone(), Box::new(operond_core::Command::Delete));
    let error = update(&fixture.store, vec![delete]).unwrap_err();
    assert!(names(&error, &id), "{error:?}");
}

#[test]
fn a_damaged_operation_keeps_no_other_from_being_claimed() {
    let mut fixture = Fixture::new(Options::default());
    let damaged = fixture.create(1, &spec("k")).unwrap()[0].id.clone();
    fixture.clock.advance(Duration::from_secs(1));
    let good = fixture.create(1, &spec("k")).unwrap()[0].id.clone();
    let mut fixture = damage(fixture, &damaged);
    let claimed: Vec<OperationId> =
        (0..2).flat_map(|_| fixture.claim("k", 1)).map(|operation| operation.id.clone()).collect();
    assert_eq!(claimed, [good]);
}

#[test]
fn a_damaged_operation_keeps_no_timer_waiting() {
    let mut fixture = Fixture::new(Options::default());
    let timed = Spec { queue_timeout: Some(Duration::from_secs(5)), ..spec("k") };
    let damaged = fixture.create(1, &timed).unwrap()[0].id.clone();
    fixture.clock.advance(Duration::from_secs(1));
    fixture.create(1, &timed).unwrap();
    let fixture = damage(fixture, &damaged);
    fixture.clock.advance(Duration::from_secs(10));
    let settle = || match update(&fixture.store, vec![Request::Settle(1)]).unwrap().replies.remove(0) {
        Ok(Accepted::Settled(count)) => count,
        other => panic!("{other:?}"),
    };
    assert_eq!([settle(), settle(), settle()], [0, 1, 0]);
}

#[test]
fn a_page_of_zeros_is_an_error_and_not_a_panic() {
    let mut fixture = Fixture::new(Options::default());
    let ids: Vec<OperationId> =
        fixture.create(200, &spec("k")).unwrap().iter().map(|operation| operation.id.clone()).collect();
    wait(fixture.store.close()).unwrap();
    let length = fixture.path().metadata().unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(fixture.path()).unwrap();
    // The first pages hold the schema; one in three of the rest is lost.
    for page in (21..length / 4096).step_by(3) {
        file.write_all_at(&[0; 4096], page * 4096).unwrap();
    }
    let fixture = fixture.reopen(Options::default());
    let answers: Vec<_> = ids.iter().map(|id| wait(fixture.store.get(&Scope::default(), id))).collect();
    assert!(answers.iter().any(|answer| matches!(answer, Err(Error::Corrupt(_)))));
    for answer in answers {
        assert!(matches!(answer, Ok(_) | Err(Error::Corrupt(_))), "{answer:?}");
    }
}
