//! Absence and clocks: timers that nobody was there to serve, and clocks that jump.

use std::time::Duration;

use operond_core::{Change, Command, EventKind, Gone, Now, Phase, State, Stored, code, decide};

use crate::bench::{Bench, heartbeat, retry, second, seconds};

#[test]
fn a_lease_overdue_by_five_seconds_lapses_and_by_more_is_started_anew() {
    let (mut judged, _) = Bench::claimed(|_| {});
    judged.at(15).settle();
    assert_eq!(judged.last_event(), EventKind::Lapsed);
    let (mut missed, _) = Bench::claimed(|_| {});
    missed.at(15).and_a_microsecond().settle();
    assert_eq!(missed.op.phase, Phase::Leased { expires_at: missed.now.after(seconds(10)) });
    assert_eq!((missed.op.state(), missed.last_event()), (State::Running, EventKind::Restarted));
    assert_eq!((missed.op.attempt, missed.op.revision), (1, 3));
}

#[test]
fn a_grace_overdue_by_five_seconds_passes_and_by_more_is_started_anew() {
    let cancelled = || {
        let (mut bench, lease) = Bench::claimed(|_| {});
        bench.cancel().unwrap();
        bench.at(9).heartbeat(&lease).unwrap();
        bench.at(18).heartbeat(&lease).unwrap();
        bench
    };
    let mut judged = cancelled();
    judged.at(25).settle();
    assert_eq!((judged.op.state(), judged.code()), (State::Cancelled, code::CANCELLED));
    let mut missed = cancelled();
    missed.at(25).and_a_microsecond().settle();
    assert_eq!((missed.op.state(), missed.last_event()), (State::Cancelling, EventKind::Restarted));
    assert_eq!(missed.op.grace_deadline, Some(missed.now.after(seconds(20))));
}

#[test]
fn a_lease_that_ran_out_before_the_end_of_an_outage_is_started_anew_and_one_that_did_at_its_end_lapses() {
    let (mut missed, _) = Bench::claimed(|_| {});
    missed.at(11).away_until(second(10).after(Duration::from_micros(1))).settle();
    assert_eq!(missed.op.phase, Phase::Leased { expires_at: second(21) });
    assert_eq!((missed.op.attempt, missed.last_event()), (1, EventKind::Restarted));
    let (mut judged, _) = Bench::claimed(|_| {});
    judged.at(11).away_until(second(10)).settle();
    assert_eq!(judged.last_event(), EventKind::Lapsed);
}

#[test]
fn a_grace_that_ran_out_before_the_end_of_an_outage_is_started_anew_and_one_that_did_at_its_end_passes() {
    let cancelled = || {
        let (mut bench, lease) = Bench::claimed(|_| {});
        bench.cancel().unwrap();
        bench.at(9).heartbeat(&lease).unwrap();
        bench.at(18).heartbeat(&lease).unwrap();
        bench
    };
    let mut missed = cancelled();
    missed.at(21).away_until(second(20).after(Duration::from_micros(1))).settle();
    assert_eq!((missed.op.state(), missed.last_event()), (State::Cancelling, EventKind::Restarted));
    assert_eq!(missed.op.grace_deadline, Some(second(41)));
    let mut judged = cancelled();
    judged.at(21).away_until(second(20)).settle();
    assert_eq!((judged.op.state(), judged.code()), (State::Cancelled, code::CANCELLED));
}

#[test]
fn a_worker_keeps_its_lease_for_an_outage_and_one_lease_time() {
    let (mut bench, lease) = Bench::claimed(|spec| spec.max_attempts = 1);
    bench.at(13).away_until(second(13)).settle();
    bench.at(23).less_a_microsecond().heartbeat(&lease).unwrap();
    let (mut silent, _) = Bench::claimed(|spec| spec.max_attempts = 1);
    silent.at(13).away_until(second(13)).settle();
    silent.at(23).settle();
    assert_eq!(
        (silent.op.state(), silent.last_event()),
        (State::Failed, EventKind::WorkerLost),
        "an outage excuses once"
    );
}

#[test]
fn run_and_queue_timeouts_pass_also_during_an_outage() {
    let (mut run, _) = Bench::claimed(|spec| spec.run_timeout = Some(seconds(9)));
    run.at(10).away_until(second(10)).settle();
    assert_eq!(run.code(), code::DEADLINE_EXCEEDED);
    let mut queue = Bench::new(|spec| spec.queue_timeout = Some(seconds(9)));
    queue.at(10).away_until(second(10)).settle();
    assert_eq!(queue.code(), code::DEADLINE_EXCEEDED);
}

#[test]
fn a_worker_that_outlived_the_server_keeps_its_last_attempt() {
    let (mut bench, lease) = Bench::claimed(|spec| spec.max_attempts = 1);
    bench.at(3600).heartbeat(&lease).unwrap();
    bench.respond(&lease).unwrap();
    assert_eq!(bench.op.state(), State::Succeeded);
}

#[test]
fn run_and_queue_timeouts_pass_also_while_nobody_serves() {
    let (mut run, _) = Bench::claimed(|spec| spec.run_timeout = Some(seconds(30)));
    run.at(3600).settle();
    assert_eq!(run.code(), code::DEADLINE_EXCEEDED);
    let mut queue = Bench::new(|spec| spec.queue_timeout = Some(seconds(30)));
    queue.at(3600).settle();
    assert_eq!(queue.code(), code::DEADLINE_EXCEEDED);
}

#[test]
fn after_a_clock_that_went_back_no_lease_ends_later_than_now_and_its_length() {
    let (mut bench, _) = Bench::claimed(|_| {});
    let modified_at = bench.op.modified_at;
    let decision = bench.at(-100).decide(&Command::Settle);
    assert_eq!(decision.changes, [Change::Bare]);
    bench.settle();
    assert_eq!(bench.op.phase, Phase::Leased { expires_at: second(-90) });
    assert_eq!(bench.op.modified_at, modified_at);
}

#[test]
fn after_a_clock_that_went_back_no_grace_ends_later_than_now_and_its_length() {
    let (mut bench, _) = Bench::claimed(|_| {});
    bench.cancel().unwrap();
    bench.at(-100).settle();
    assert_eq!(bench.op.grace_deadline, Some(second(-80)));
}

#[test]
fn after_a_clock_that_went_back_no_backoff_ends_later_than_now_and_its_length() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.ask(&retry(&lease, 7)).unwrap();
    bench.at(-100).settle();
    assert_eq!(bench.op.available_at, second(-93));
    let mut waiting = Bench::new(|_| {});
    waiting.at(-100).claim("first");
}

#[test]
fn what_lapses_or_is_released_after_the_clock_went_back_is_claimable_at_once() {
    let (mut released, lease) = Bench::claimed(|_| {});
    released.at(-100).release(&lease).unwrap();
    assert_eq!(released.op.available_at, second(-100));
    let (mut lapsed, _) = Bench::claimed(|_| {});
    lapsed.at(-100).settle();
    lapsed.at(-90).settle();
    assert_eq!(lapsed.last_event(), EventKind::Lapsed);
    assert!(lapsed.op.claimable(lapsed.now));
}

#[test]
fn modified_at_moves_by_a_microsecond_when_the_clock_stands_or_goes_back() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    assert_eq!(bench.op.modified_at.micros(), second(0).micros() + 1);
    bench.at(-100).release(&lease).unwrap();
    assert_eq!(bench.op.modified_at.micros(), second(0).micros() + 2);
    bench.at(50).claim("second");
    assert_eq!(bench.op.modified_at, second(50));
    assert_eq!(bench.op.created_at, second(0));
}

#[test]
fn modified_at_ahead_of_the_clock_arms_no_timer() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.at(1000).heartbeat(&lease).unwrap();
    bench.at(-100).release(&lease).unwrap();
    bench.claim("second");
    assert_eq!(bench.op.phase, Phase::Leased { expires_at: second(-90) });
}

#[test]
fn while_retention_is_held_nothing_expires_but_a_delete_removes() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.respond(&lease).unwrap();
    let held = Now { retention_held: true, ..Now::at(second(200)) };
    let kept = decide(&bench.op, &Command::Settle, held);
    assert!(matches!(kept.stored, Stored::Live(_)) && kept.changes.is_empty());
    assert_eq!(decide(&bench.op, &Command::Delete, held).stored, Stored::Gone(Gone::Deleted));
    assert_eq!(decide(&bench.op, &Command::Settle, Now::at(second(200))).stored, Stored::Gone(Gone::Expired));
}

#[test]
fn while_retention_is_held_other_timers_go_on() {
    let (bench, lease) = Bench::claimed(|spec| spec.max_attempts = 1);
    let held = Now { retention_held: true, ..Now::at(second(10)) };
    let Stored::Live(op) = decide(&bench.op, &heartbeat(&lease), held).stored else { panic!("it is not gone") };
    assert_eq!(op.state(), State::Failed);
}
