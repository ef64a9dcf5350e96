//! Who wins: whatever ends an operation, the result is the detected error; else what the worker
//! said; else, when the server ends it, CANCELLED if that was asked for; else the timer's own error.

use operond_core::{EventKind, LeaseKey, Rejection, Spec, code};

use crate::bench::{Bench, error, seconds};

/// What ends the operation: given the bench, with one attempt and claimed at second 0, and its lease.
type Ending = fn(&mut Bench, &LeaseKey);

/// Codes of the result: of nothing before it, of a requested cancel, of a shown error, of both.
type Codes = [i32; 4];

const SHOWN: i32 = 9;

fn check(ending: Ending, spec: fn(&mut Spec), expected: Codes) {
    let before = [(false, false), (true, false), (false, true), (true, true)];
    for ((cancelled, failing), expected) in before.into_iter().zip(expected) {
        let (mut bench, lease) = Bench::claimed(|of| {
            of.max_attempts = 1;
            spec(of);
        });
        if cancelled {
            bench.cancel().expect("it is cancellable");
        }
        if failing {
            bench.report_failure(&lease, error('A')).expect("the lease is live");
        }
        ending(&mut bench, &lease);
        assert_eq!(bench.code(), expected, "cancel requested: {cancelled}, failure shown: {failing}");
    }
}

#[test]
fn by_error_the_shown_error_or_what_the_worker_said() {
    check(|bench, lease| bench.fail(lease, error('A')).unwrap(), |_| {}, [9, 9, SHOWN, SHOWN]);
}

#[test]
fn by_cancelled_the_shown_error_or_cancelled() {
    let ending: Ending = |bench, lease| bench.confirm_cancel(lease).unwrap();
    check(ending, |_| {}, [code::CANCELLED, code::CANCELLED, SHOWN, SHOWN]);
}

#[test]
fn by_the_last_retry_the_shown_error_or_cancelled_or_the_error_retried_for() {
    let retried = error('R').code;
    let ending: Ending = |bench, lease| bench.retry(lease, 1).unwrap();
    check(ending, |_| {}, [retried, code::CANCELLED, SHOWN, SHOWN]);
}

#[test]
fn by_the_last_lapse_the_shown_error_or_cancelled_or_unavailable() {
    let ending: Ending = |bench, _| {
        bench.at(10).settle();
    };
    check(ending, |_| {}, [code::UNAVAILABLE, code::CANCELLED, SHOWN, SHOWN]);
}

#[test]
fn by_the_run_deadline_the_shown_error_or_cancelled_or_deadline_exceeded() {
    let ending: Ending = |bench, _| {
        bench.at(5).settle();
    };
    let spec = |spec: &mut Spec| spec.run_timeout = Some(seconds(5));
    check(ending, spec, [code::DEADLINE_EXCEEDED, code::CANCELLED, SHOWN, SHOWN]);
}

#[test]
fn by_the_queue_deadline_the_shown_error_or_cancelled_or_deadline_exceeded() {
    let ending: Ending = |bench, _| {
        bench.at(10).settle();
        bench.at(15).settle();
    };
    let spec = |spec: &mut Spec| {
        spec.max_attempts = 2;
        spec.clean_up_on_cancel = true;
        spec.queue_timeout = Some(seconds(5));
    };
    check(ending, spec, [code::DEADLINE_EXCEEDED, code::CANCELLED, SHOWN, SHOWN]);
}

#[test]
fn by_a_response_the_response_unless_an_error_was_shown_which_refuses_it() {
    for cancelled in [false, true] {
        let (mut bench, lease) = Bench::claimed(|_| {});
        if cancelled {
            bench.cancel().unwrap();
        }
        let mut failing = bench.clone();
        bench.respond(&lease).unwrap();
        assert_eq!(bench.code(), 0, "it completes because the cancel was too late");
        failing.report_failure(&lease, error('A')).unwrap();
        assert_eq!(failing.respond(&lease), Err(Rejection::FailureDetected));
        assert!(!failing.op.done());
    }
}

#[test]
fn by_the_grace_cancelled() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.cancel().unwrap();
    bench.at(9).heartbeat(&lease).unwrap();
    bench.at(18).heartbeat(&lease).unwrap();
    bench.at(20).settle();
    assert_eq!((bench.code(), bench.last_event()), (code::CANCELLED, EventKind::Cancelled));
}

#[test]
fn the_shown_error_stands_with_its_message_and_details_whoever_ends_it() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.report_failure(&lease, error('A')).unwrap();
    bench.confirm_cancel(&lease).unwrap();
    assert_eq!(bench.op.outcome(), Some(&operond_core::Outcome::Error(error('A'))));
    assert_eq!(bench.last_event(), EventKind::Failed);
}

#[test]
fn a_rollback_that_the_server_ends_is_told_as_unfinished() {
    let (mut lapsed, lease) = Bench::claimed(|spec| spec.max_attempts = 1);
    lapsed.report_failure(&lease, error('A')).unwrap();
    lapsed.at(10).settle();
    assert_eq!(lapsed.last_event(), EventKind::RollbackUnfinished);
    let (mut retried, lease) = Bench::claimed(|spec| spec.max_attempts = 1);
    retried.report_failure(&lease, error('A')).unwrap();
    retried.retry(&lease, 1).unwrap();
    assert_eq!(retried.last_event(), EventKind::RollbackUnfinished);
}
