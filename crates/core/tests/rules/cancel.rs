//! Cancel, judged in the order of its row, and its grace.

use operond_core::{EventKind, Phase, Rejection, State, code};

use crate::bench::{Bench, cancel, error, second};

#[test]
fn cancel_of_a_finished_operation_changes_nothing_even_if_it_is_not_cancellable() {
    let (mut bench, lease) = Bench::claimed(|spec| spec.cancellable = false);
    bench.respond(&lease).unwrap();
    let done = bench.op.clone();
    assert_eq!(bench.cancel(), Ok(()));
    assert_eq!(bench.op, done);
}

#[test]
fn cancel_of_what_is_not_cancellable_is_refused_in_every_state() {
    let mut bench = Bench::new(|spec| spec.cancellable = false);
    assert_eq!(bench.cancel(), Err(Rejection::NotCancellable));
    let lease = bench.claim("first");
    assert_eq!(bench.cancel(), Err(Rejection::NotCancellable));
    bench.report_failure(&lease, error('A')).unwrap();
    assert_eq!(bench.cancel(), Err(Rejection::NotCancellable));
    assert_eq!(bench.op.cancel, None);
}

#[test]
fn a_second_cancel_changes_nothing_and_the_first_is_kept() {
    let (mut bench, _) = Bench::claimed(|_| {});
    bench.at(1).ask(&cancel("first caller")).unwrap();
    let before = bench.op.clone();
    bench.at(5).ask(&cancel("second caller")).unwrap();
    assert_eq!(bench.op, before);
    let request = bench.op.cancel.unwrap();
    assert_eq!((request.by.as_str(), request.at), ("first caller", second(1)));
}

#[test]
fn cancel_of_a_failing_operation_is_recorded_and_the_rollback_goes_on() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.report_failure(&lease, error('A')).unwrap();
    bench.cancel().unwrap();
    assert_eq!((bench.op.state(), bench.op.grace_deadline), (State::Failing, None));
    assert_eq!(bench.last_event(), EventKind::CancelRequested);
    let second_lease = bench.at(10).claim("second");
    bench.fail(&second_lease, error('A')).unwrap();
    assert_eq!(bench.code(), 9);
}

#[test]
fn cancel_of_a_queued_operation_that_was_never_leased_ends_it_at_once() {
    for clean_up in [false, true] {
        let mut bench = Bench::new(|spec| spec.clean_up_on_cancel = clean_up);
        bench.at(2).cancel().unwrap();
        assert_eq!((bench.op.state(), bench.code()), (State::Cancelled, code::CANCELLED));
        assert_eq!(&*bench.op.events.last().unwrap().by, "caller");
        assert!(bench.op.cancel.is_some());
    }
}

#[test]
fn cancel_between_two_leases_ends_it_at_once_when_nothing_is_to_be_cleaned_up() {
    let (mut lapsed, lease) = Bench::claimed(|_| {});
    lapsed.at(10).cancel().unwrap();
    assert_eq!(lapsed.op.state(), State::Cancelled);
    assert_eq!(lapsed.respond(&lease), Err(Rejection::AlreadyDone(State::Cancelled)));
}

#[test]
fn cancel_between_two_leases_waits_for_a_worker_to_clean_up() {
    let (mut bench, _) = Bench::claimed(|spec| spec.clean_up_on_cancel = true);
    bench.at(10).cancel().unwrap();
    assert_eq!((bench.op.state(), bench.op.grace_deadline), (State::Cancelling, Some(second(30))));
    let lease = bench.at(11).claim("second");
    bench.confirm_cancel(&lease).unwrap();
    assert_eq!(bench.op.state(), State::Cancelled);
}

#[test]
fn cancel_of_a_released_operation_counts_as_leased_once() {
    let (mut bench, lease) = Bench::claimed(|spec| spec.clean_up_on_cancel = true);
    bench.release(&lease).unwrap();
    bench.cancel().unwrap();
    assert_eq!(bench.op.state(), State::Cancelling, "the worker may have left something behind");
}

#[test]
fn cancel_of_a_leased_operation_only_marks_it() {
    let (mut bench, _) = Bench::claimed(|_| {});
    bench.at(3).cancel().unwrap();
    assert_eq!(bench.op.phase, Phase::Leased { expires_at: second(10) });
    assert_eq!((bench.op.state(), bench.op.grace_deadline), (State::Cancelling, Some(second(23))));
    assert_eq!(bench.last_event(), EventKind::CancelRequested);
}

#[test]
fn the_worker_confirms_or_completes_or_the_server_cancels_after_the_grace() {
    let cancelled = || {
        let (mut bench, lease) = Bench::claimed(|spec| spec.cancel_grace = crate::bench::seconds(5));
        bench.cancel().unwrap();
        (bench, lease)
    };
    let (mut confirmed, lease) = cancelled();
    confirmed.confirm_cancel(&lease).unwrap();
    assert_eq!(confirmed.op.state(), State::Cancelled);
    let (mut too_late, lease) = cancelled();
    too_late.respond(&lease).unwrap();
    assert_eq!(too_late.op.state(), State::Succeeded);
    let (mut silent, _) = cancelled();
    silent.at(5).less_a_microsecond().settle();
    assert_eq!(silent.op.state(), State::Cancelling);
    silent.at(5).settle();
    assert_eq!((silent.op.state(), silent.code()), (State::Cancelled, code::CANCELLED));
}

#[test]
fn the_grace_counts_from_the_first_request_and_no_heartbeat_moves_it() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.cancel().unwrap();
    bench.at(9).heartbeat(&lease).unwrap();
    bench.at(12).cancel().unwrap();
    assert_eq!(bench.op.grace_deadline, Some(second(20)));
}

#[test]
fn with_clean_up_the_grace_starts_anew_when_queued_for_it_and_at_each_claim() {
    let (mut bench, lease) = Bench::claimed(|spec| {
        spec.clean_up_on_cancel = true;
        spec.max_attempts = 3;
    });
    bench.at(4).cancel().unwrap();
    assert_eq!(bench.op.grace_deadline, Some(second(24)));
    bench.at(10).settle();
    assert_eq!(bench.op.grace_deadline, Some(second(30)));
    bench.at(12).heartbeat(&lease).unwrap();
    assert_eq!(bench.op.grace_deadline, Some(second(30)), "taken back is not claimed");
    bench.at(22).settle();
    assert_eq!(bench.op.grace_deadline, Some(second(42)));
    bench.at(25).claim("second");
    assert_eq!(bench.op.grace_deadline, Some(second(45)));
    bench.at(35).settle();
    bench.at(55).settle();
    assert_eq!(bench.op.state(), State::Cancelled, "nobody came to clean up");
}
