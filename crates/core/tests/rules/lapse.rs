//! Lapse, the queue timeout and the run timeout.

use operond_core::{EventKind, Phase, Rejection, State, code};

use crate::bench::{Bench, error, second, seconds};

/// A lease given at second 0 and lapsed at second 10, of one or two attempts.
fn lapsed(attempts: u32, cancelled: bool, clean_up: bool, failing: bool) -> Bench {
    let (mut bench, lease) = Bench::claimed(|spec| {
        spec.max_attempts = attempts;
        spec.clean_up_on_cancel = clean_up;
    });
    if cancelled {
        bench.cancel().expect("it is cancellable");
    }
    if failing {
        bench.report_failure(&lease, error('A')).expect("the lease is live");
    }
    bench.at(10).settle();
    bench
}

#[test]
fn a_lapse_is_judged_failing_first_then_cancel_then_attempts() {
    let check = |bench: &Bench, state: State, event: EventKind| {
        assert_eq!((bench.op.state(), bench.last_event()), (state, event), "{:?}", bench.op.spec);
        assert_eq!(bench.op.attempt, 1);
    };
    for cancelled in [false, true] {
        for clean_up in [false, true] {
            check(&lapsed(2, cancelled, clean_up, true), State::Failing, EventKind::Lapsed);
            check(&lapsed(1, cancelled, clean_up, true), State::Failed, EventKind::RollbackUnfinished);
        }
    }
    check(&lapsed(2, true, false, false), State::Cancelled, EventKind::Cancelled);
    check(&lapsed(1, true, false, false), State::Cancelled, EventKind::Cancelled);
    check(&lapsed(2, true, true, false), State::Cancelling, EventKind::Lapsed);
    check(&lapsed(1, true, true, false), State::Cancelled, EventKind::Cancelled);
    for clean_up in [false, true] {
        check(&lapsed(2, false, clean_up, false), State::Queued, EventKind::Lapsed);
        check(&lapsed(1, false, clean_up, false), State::Failed, EventKind::WorkerLost);
    }
    assert_eq!(lapsed(1, false, false, false).code(), code::UNAVAILABLE);
}

#[test]
fn a_lapse_keeps_the_failure_and_another_worker_finishes_the_rollback() {
    let mut bench = lapsed(2, false, false, true);
    let lease = bench.claim("second");
    assert_eq!(bench.op.failure, Some(error('A')));
    assert_eq!(bench.respond(&lease), Err(Rejection::FailureDetected));
    bench.at(20).settle();
    assert_eq!((bench.code(), bench.last_event()), (9, EventKind::RollbackUnfinished));
}

#[test]
fn a_lapse_keeps_the_place_in_the_queue() {
    let mut bench = Bench::new(|_| {});
    bench.at(5).claim("first");
    bench.at(15).settle();
    assert_eq!(bench.op.available_at, second(0));
    assert!(bench.op.claimable(bench.now));
}

#[test]
fn no_attempt_is_left_after_as_many_lapses_as_there_are_attempts() {
    let (mut bench, _) = Bench::claimed(|_| {});
    bench.at(10).claim("second");
    assert_eq!(bench.op.attempt, 2);
    bench.at(20).settle();
    assert_eq!((bench.op.state(), bench.last_event()), (State::Failed, EventKind::WorkerLost));
}

#[test]
fn the_queue_timeout_is_the_longest_single_wait() {
    let mut bench = Bench::new(|spec| {
        spec.max_attempts = 3;
        spec.queue_timeout = Some(seconds(30));
    });
    let deadline = |bench: &Bench| match bench.op.phase {
        Phase::Queued { deadline, .. } => deadline,
        _ => None,
    };
    assert_eq!(deadline(&bench), Some(second(30)));
    let lease = bench.at(20).claim("first");
    bench.at(25).release(&lease).unwrap();
    assert_eq!(deadline(&bench), Some(second(55)), "anew by a release");
    bench.at(40).claim("first");
    bench.at(50).settle();
    assert_eq!(deadline(&bench), Some(second(80)), "anew by a lapse");
    let lease = bench.at(79).claim("first");
    bench.at(80).retry(&lease, 10).unwrap();
    assert_eq!(deadline(&bench), Some(second(120)), "anew from the end of the backoff");
    bench.at(120).less_a_microsecond().settle();
    assert_eq!(bench.op.state(), State::Queued);
    bench.at(120).settle();
    assert_eq!((bench.code(), bench.last_event()), (code::DEADLINE_EXCEEDED, EventKind::DeadlineExceeded));
}

#[test]
fn the_queue_timeout_does_not_run_while_leased() {
    let (mut bench, lease) = Bench::claimed(|spec| spec.queue_timeout = Some(seconds(5)));
    bench.at(9).heartbeat(&lease).unwrap();
    assert_eq!(bench.op.state(), State::Running);
}

#[test]
fn the_run_timeout_counts_from_the_first_lease_and_is_never_restarted() {
    let mut bench = Bench::new(|spec| spec.run_timeout = Some(seconds(30)));
    bench.at(100).settle();
    assert_eq!((bench.op.state(), bench.op.run_deadline), (State::Queued, None));
    let lease = bench.claim("first");
    assert_eq!(bench.op.run_deadline, Some(second(130)));
    bench.at(105).release(&lease).unwrap();
    let lease = bench.at(110).claim("second");
    bench.at(119).heartbeat(&lease).unwrap();
    bench.at(128).retry(&lease, 1).unwrap();
    bench.at(129).claim("first");
    assert_eq!(bench.op.run_deadline, Some(second(130)));
    bench.at(130).settle();
    assert_eq!((bench.code(), bench.last_event()), (code::DEADLINE_EXCEEDED, EventKind::DeadlineExceeded));
}

#[test]
fn the_run_timeout_passes_in_the_queue_too() {
    let (mut bench, lease) = Bench::claimed(|spec| spec.run_timeout = Some(seconds(30)));
    bench.at(5).retry(&lease, 3600).unwrap();
    bench.at(30).settle();
    assert_eq!(bench.code(), code::DEADLINE_EXCEEDED);
}

#[test]
fn the_run_timeout_of_a_started_operation_counts_from_create() {
    let (bench, _) = Bench::started(|spec| spec.run_timeout = Some(seconds(30)));
    assert_eq!(bench.op.run_deadline, Some(second(30)));
}

#[test]
fn a_worker_is_told_of_a_passed_deadline_as_already_done() {
    let (mut bench, lease) = Bench::claimed(|spec| spec.run_timeout = Some(seconds(5)));
    assert_eq!(bench.at(6).heartbeat(&lease), Err(Rejection::AlreadyDone(State::Failed)));
}
