//! Retry and release: a worker that does not go on.

use operond_core::{Command, Digest, EventKind, Outcome, Phase, Rejection, Retry, State, code};

use crate::bench::{Bench, error, metadata, second, seconds};

#[test]
fn retry_queues_behind_the_backoff_and_is_not_an_error() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.at(3).retry(&lease, 4).unwrap();
    assert_eq!((bench.op.state(), bench.op.available_at), (State::Queued, second(7)));
    assert_eq!(bench.op.phase, Phase::Queued { backoff: seconds(4), deadline: None });
    assert_eq!((&bench.op.failure, &bench.op.attempt_error), (&None, &Some(error('R'))));
    assert_eq!((bench.op.attempt, bench.last_event()), (1, EventKind::RetryScheduled));
}

#[test]
fn retry_without_a_backoff_doubles_from_a_second_by_attempt() {
    let (mut bench, mut lease) = Bench::claimed(|spec| spec.max_attempts = 9);
    for expected in [800, 1600, 3200] {
        let digest = Digest([1; 16]);
        let retry = Retry { lease: lease.clone(), error: error('R'), backoff: None, jitter: 0, digest };
        bench.ask(&Command::Retry(retry)).unwrap();
        assert_eq!(bench.op.available_at.since(bench.now).as_millis(), expected);
        bench.now = bench.op.available_at;
        lease = bench.claim("first");
    }
}

#[test]
fn retry_without_an_attempt_left_ends_with_its_error() {
    let (mut bench, lease) = Bench::claimed(|spec| spec.max_attempts = 1);
    bench.retry(&lease, 1).unwrap();
    assert_eq!(bench.op.outcome(), Some(&Outcome::Error(error('R'))));
    assert_eq!((bench.op.state(), bench.last_event()), (State::Failed, EventKind::Failed));
}

#[test]
fn retry_hands_a_rollback_over_with_its_failure() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.report_failure(&lease, error('A')).unwrap();
    bench.retry(&lease, 2).unwrap();
    assert_eq!((bench.op.state(), bench.op.available_at), (State::Failing, second(2)));
    let second = bench.at(2).claim("second");
    assert_eq!(bench.respond(&second), Err(Rejection::FailureDetected));
    bench.fail(&second, error('A')).unwrap();
}

#[test]
fn retry_goes_on_while_a_rollback_is_cancelled() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.report_failure(&lease, error('A')).unwrap();
    bench.cancel().unwrap();
    bench.retry(&lease, 2).unwrap();
    assert_eq!((bench.op.state(), bench.op.available_at), (State::Failing, second(2)), "not judged as a lapse");
}

#[test]
fn retry_while_cancel_is_requested_is_judged_as_a_lapse() {
    let (mut plain, lease) = Bench::claimed(|_| {});
    plain.cancel().unwrap();
    plain.at(3).retry(&lease, 4).unwrap();
    assert_eq!((plain.op.state(), plain.code()), (State::Cancelled, code::CANCELLED));
    let (mut clean_up, lease) = Bench::claimed(|spec| spec.clean_up_on_cancel = true);
    clean_up.cancel().unwrap();
    clean_up.at(3).retry(&lease, 4).unwrap();
    assert_eq!((clean_up.op.state(), clean_up.op.attempt), (State::Cancelling, 1));
    assert_eq!(clean_up.op.available_at, second(0), "without a backoff, at its place");
    assert_eq!(clean_up.op.grace_deadline, Some(second(23)), "anew when queued for clean-up");
    let lease = clean_up.at(5).claim("second");
    clean_up.retry(&lease, 4).unwrap();
    assert_eq!(clean_up.op.state(), State::Cancelled, "no attempt is left");
}

#[test]
fn release_is_claimable_at_once_keeps_its_place_and_is_not_counted() {
    let (mut bench, lease) = Bench::claimed(|spec| spec.max_attempts = 1);
    bench.at(3).release(&lease).unwrap();
    assert_eq!((bench.op.state(), bench.op.attempt), (State::Queued, 0));
    assert_eq!((bench.op.available_at, bench.last_event()), (second(0), EventKind::Released));
    bench.claim("second");
}

#[test]
fn release_keeps_a_detected_failure_and_metadata() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.ask(&crate::bench::heartbeat_with(&lease, None, Some(metadata(1)), None)).unwrap();
    bench.report_failure(&lease, error('A')).unwrap();
    bench.release(&lease).unwrap();
    assert_eq!((bench.op.state(), &bench.op.failure), (State::Failing, &Some(error('A'))));
    assert_eq!(bench.op.metadata, Some(metadata(1)));
}

#[test]
fn release_while_cancel_is_requested_is_judged_as_a_lapse_and_counted() {
    let (mut plain, lease) = Bench::claimed(|_| {});
    plain.cancel().unwrap();
    plain.release(&lease).unwrap();
    assert_eq!((plain.op.state(), plain.op.attempt), (State::Cancelled, 1));
    let (mut clean_up, lease) = Bench::claimed(|spec| spec.clean_up_on_cancel = true);
    clean_up.cancel().unwrap();
    clean_up.at(3).release(&lease).unwrap();
    assert_eq!((clean_up.op.state(), clean_up.op.attempt), (State::Cancelling, 1));
    assert_eq!(clean_up.op.grace_deadline, Some(second(23)));
}

#[test]
fn giving_up_after_the_lapse_starts_neither_the_wait_nor_the_grace_anew() {
    for (cancelled, deadline) in [(false, 40), (true, 40)] {
        let (mut bench, lease) = Bench::claimed(|spec| {
            spec.clean_up_on_cancel = true;
            spec.queue_timeout = Some(seconds(30));
        });
        if cancelled {
            bench.cancel().unwrap();
        }
        bench.at(10).settle();
        let grace = bench.op.grace_deadline;
        let mut retried = bench.clone();
        bench.at(15).release(&lease).unwrap();
        assert_eq!(bench.op.phase, Phase::Queued { backoff: seconds(0), deadline: Some(second(deadline)) });
        assert_eq!(bench.op.grace_deadline, grace);
        if cancelled {
            retried.at(15).retry(&lease, 4).unwrap();
            assert_eq!((retried.op.phase, retried.op.grace_deadline), (bench.op.phase, grace));
        }
    }
}

#[test]
fn repeating_retry_or_release_succeeds_and_changes_nothing_until_another_claim() {
    for give_up in [Bench::release as fn(&mut Bench, &_) -> _, |bench, lease| bench.retry(lease, 1)] {
        let (mut bench, lease) = Bench::claimed(|_| {});
        give_up(&mut bench, &lease).unwrap();
        let before = bench.op.clone();
        assert_eq!(give_up(bench.at(1), &lease), Ok(()));
        assert_eq!(bench.op, before);
        bench.claim("second");
        assert_eq!(give_up(&mut bench, &lease), Err(Rejection::LeaseLost));
    }
}

#[test]
fn repeating_a_release_succeeds_also_when_the_operation_has_ended_since() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.release(&lease).unwrap();
    bench.cancel().unwrap();
    assert_eq!(bench.op.state(), State::Cancelled);
    assert_eq!(bench.release(&lease), Ok(()));
}

#[test]
fn another_request_under_a_lease_given_up_is_refused() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.release(&lease).unwrap();
    assert_eq!(bench.retry(&lease, 1), Err(Rejection::LeaseLost));
    assert_eq!(bench.respond(&lease), Err(Rejection::LeaseLost));
}
