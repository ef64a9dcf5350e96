//! Facts and shown state: what an operation is, how it begins, how it looks.

use operond_core::{
    CancelRequest, EventKind, Operation, Outcome, Phase, Principal, Reason, State, Status, Token, code,
};

use crate::bench::{Bench, error, response, second};

#[test]
fn created_is_one_change_and_claimable_at_once() {
    let bench = Bench::new(|_| {});
    let op = &bench.op;
    assert_eq!(op.state(), State::Queued);
    assert!(op.claimable(second(0)) && !op.done());
    assert_eq!((op.revision, op.attempt, op.lease.is_none()), (1, 0, true));
    assert_eq!((op.created_at, op.modified_at), (second(0), second(0)));
    assert_eq!(op.events.iter().map(|event| event.what).collect::<Vec<_>>(), [EventKind::Created]);
    assert_eq!(&*op.events[0].by, "anonymous");
}

#[test]
fn started_is_leased_to_its_producer_and_the_first_attempt() {
    let (bench, lease) = Bench::started(|spec| spec.max_attempts = 1);
    let op = &bench.op;
    assert_eq!(op.state(), State::Running);
    assert_eq!((op.revision, op.attempt, lease.token), (1, 1, Token(1)));
    assert_eq!(op.lease.as_ref().unwrap().worker.as_str(), "producer");
    assert_eq!((op.started_at, op.modified_at), (Some(second(0)), second(0)));
    assert_eq!(op.events.iter().map(|event| event.what).collect::<Vec<_>>(), [EventKind::Created, EventKind::Claimed]);
}

#[test]
fn started_with_one_attempt_ends_with_its_lease_and_with_more_goes_to_any_worker() {
    let (mut one, _) = Bench::started(|spec| spec.max_attempts = 1);
    one.at(10).settle();
    assert_eq!((one.op.state(), one.code()), (State::Failed, code::UNAVAILABLE));
    let (mut two, _) = Bench::started(|spec| spec.max_attempts = 2);
    assert_eq!(two.at(10).claim("second").token, Token(2));
}

#[test]
fn the_shown_state_is_the_first_row_that_applies() {
    let queued = Bench::new(|_| {}).op;
    let leased = Bench::claimed(|_| {}).0.op;
    let cancelled = Status::new(code::CANCELLED, "stopped");
    let check = |op: &Operation, failing: bool, cancelling: bool, ended: Option<Outcome>, expected: State| {
        let mut op = op.clone();
        op.failure = failing.then(|| error('A'));
        let by = Principal::default();
        op.cancel = cancelling.then(|| CancelRequest { at: second(0), by, reason: Reason::default() });
        if let Some(outcome) = ended {
            op.phase = Phase::Done { outcome, finished_at: second(1), expires_at: None };
        }
        assert_eq!(op.state(), expected, "{failing} {cancelling} {:?}", op.phase);
    };
    for (failing, cancelling) in [(false, false), (false, true), (true, false), (true, true)] {
        for op in [&queued, &leased] {
            let ended = |outcome| Some(outcome);
            check(op, failing, cancelling, ended(Outcome::Response(response())), State::Succeeded);
            check(op, failing, cancelling, ended(Outcome::Error(cancelled.clone())), State::Cancelled);
            check(op, failing, cancelling, ended(Outcome::Error(error('A'))), State::Failed);
        }
    }
    for op in [&queued, &leased] {
        check(op, true, true, None, State::Failing);
        check(op, true, false, None, State::Failing);
        check(op, false, true, None, State::Cancelling);
    }
    check(&leased, false, false, None, State::Running);
    check(&queued, false, false, None, State::Queued);
}

#[test]
fn events_are_at_most_sixteen_and_the_oldest_but_created_is_dropped() {
    let mut bench = Bench::new(|_| {});
    for turn in 0..7 {
        let lease = bench.at(turn).claim("first");
        bench.release(&lease).unwrap();
    }
    assert_eq!(bench.op.events.len(), 15);
    let lease = bench.at(7).claim("first");
    assert_eq!(bench.op.events.len(), 16);
    assert_eq!(bench.op.events[1].at, second(0), "at the limit nothing is dropped");
    bench.release(&lease).unwrap();
    let events = &bench.op.events;
    assert_eq!((events.len(), events[0].what), (16, EventKind::Created));
    assert_eq!((events[1].what, events[1].at), (EventKind::Released, second(0)), "the claim of second 0 is gone");
    assert_eq!((events[15].what, events[15].at), (EventKind::Released, second(7)));
}

#[test]
fn stored_codes_of_events_are_read_back_and_are_each_other_s_only() {
    for &what in EventKind::ALL {
        assert_eq!(EventKind::from_code(what.code()), Some(what));
    }
    assert_eq!(EventKind::from_code(0), None);
}

#[test]
fn cancel_requested_and_failure_are_kept_when_done() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.cancel().unwrap();
    bench.report_failure(&lease, error('A')).unwrap();
    bench.fail(&lease, error('A')).unwrap();
    assert_eq!(bench.op.failure, Some(error('A')));
    assert!(bench.op.cancel.is_some());
}
