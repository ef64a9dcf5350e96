//! Timers: when they are due, in which order they are settled, and what is stored of them.

use operond_core::{Change, Command, EventKind, Phase, Rejection, State, Stored, Timer, code};

use crate::bench::{Bench, heartbeat, second, seconds};

#[test]
fn a_timer_is_due_at_its_instant_and_not_a_microsecond_before() {
    let (mut bench, _) = Bench::claimed(|_| {});
    bench.at(10).less_a_microsecond().settle();
    assert_eq!((bench.op.state(), bench.op.revision), (State::Running, 2));
    bench.at(10).settle();
    assert_eq!((bench.op.state(), bench.last_event()), (State::Queued, EventKind::Lapsed));
}

#[test]
fn timers_of_one_instant_come_in_order_run_queue_grace_lapse() {
    let (mut bench, _) = Bench::claimed(|_| {});
    let at = Some(second(10));
    (bench.op.run_deadline, bench.op.grace_deadline) = (at, at);
    assert_eq!(bench.op.next_timer(), Some((second(10), Timer::Run)));
    bench.op.run_deadline = None;
    assert_eq!(bench.op.next_timer(), Some((second(10), Timer::Grace)));
    bench.op.grace_deadline = None;
    assert_eq!(bench.op.next_timer(), Some((second(10), Timer::Lapse)));
    (bench.op.run_deadline, bench.op.grace_deadline) = (at, at);
    bench.op.phase = Phase::Queued { backoff: seconds(0), deadline: at };
    assert_eq!(bench.op.next_timer(), Some((second(10), Timer::Run)));
    bench.op.run_deadline = None;
    assert_eq!(bench.op.next_timer(), Some((second(10), Timer::Queue)));
    let in_order = [Timer::Run, Timer::Queue, Timer::Grace, Timer::Lapse, Timer::Retention];
    assert!(in_order.is_sorted());
}

#[test]
fn an_earlier_timer_comes_first_whatever_its_kind() {
    let (mut bench, _) = Bench::claimed(|spec| spec.run_timeout = Some(seconds(11)));
    assert_eq!(bench.op.next_timer(), Some((second(10), Timer::Lapse)));
    bench.op.run_deadline = Some(second(9));
    assert_eq!(bench.op.next_timer(), Some((second(9), Timer::Run)));
}

#[test]
fn run_deadline_beats_a_lapse_of_the_same_instant() {
    let (mut bench, _) = Bench::claimed(|spec| spec.run_timeout = Some(seconds(10)));
    let decision = bench.at(10).decide(&Command::Settle);
    assert_eq!(decision.changes, [Change::Event(EventKind::DeadlineExceeded)]);
}

#[test]
fn grace_beats_a_lapse_of_the_same_instant() {
    let (mut bench, _) = Bench::claimed(|spec| {
        spec.clean_up_on_cancel = true;
        spec.cancel_grace = seconds(10);
    });
    bench.cancel().unwrap();
    bench.at(10).settle();
    assert_eq!(bench.op.state(), State::Cancelled, "a lapse first would have queued it for clean-up");
}

#[test]
fn all_due_timers_are_settled_each_with_its_own_revision_and_event() {
    let (mut bench, _) = Bench::claimed(|spec| spec.run_timeout = Some(seconds(12)));
    let before = bench.op.revision;
    let decision = bench.at(13).decide(&Command::Settle);
    let changes = [EventKind::Lapsed, EventKind::DeadlineExceeded].map(Change::Event);
    assert_eq!(decision.changes, changes);
    bench.settle();
    assert_eq!(bench.op.revision, before + 2);
    let last: Vec<_> = bench.op.events.iter().rev().take(2).map(|event| (event.what, event.at, &*event.by)).collect();
    assert_eq!(last[1], (EventKind::Lapsed, second(13), "server"));
    assert_eq!(last[0], (EventKind::DeadlineExceeded, second(13), "server"));
}

#[test]
fn what_settling_arms_counts_from_the_settling() {
    let (mut bench, _) = Bench::claimed(|spec| spec.queue_timeout = Some(seconds(30)));
    bench.at(12).settle();
    assert_eq!(bench.op.phase, Phase::Queued { backoff: seconds(0), deadline: Some(second(42)) });
}

#[test]
fn what_settling_changed_is_stored_also_when_the_command_is_refused() {
    let (mut bench, _) = Bench::claimed(|_| {});
    let decision = bench.at(10).decide(&Command::Delete);
    assert_eq!(decision.answer, Err(Rejection::NotDone(State::Queued)));
    assert_eq!(decision.changes, [Change::Event(EventKind::Lapsed)]);
    let Stored::Live(stored) = decision.stored else { panic!("it is not gone") };
    assert_eq!(stored.state(), State::Queued);
}

#[test]
fn a_command_at_the_instant_of_a_timer_meets_the_settled_operation() {
    let (mut bench, lease) = Bench::claimed(|spec| spec.max_attempts = 1);
    bench.at(10);
    assert_eq!(bench.ask(&heartbeat(&lease)), Err(Rejection::AlreadyDone(State::Failed)));
    assert_eq!(bench.code(), code::UNAVAILABLE);
}

#[test]
fn settling_what_is_not_due_changes_nothing() {
    let (mut bench, _) = Bench::claimed(|spec| spec.run_timeout = Some(seconds(60)));
    let before = bench.op.clone();
    assert!(bench.at(9).decide(&Command::Settle).changes.is_empty());
    assert_eq!(bench.settle().op, before);
}
