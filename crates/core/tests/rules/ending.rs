//! Delete and retention: how an operation goes.

use operond_core::{Command, Gone, LeaseKey, Phase, Rejection, Retention, State};

use crate::bench::{Answer, Bench, by_worker, cancel, claim, error, second, seconds};

type Ending = fn(&mut Bench, &LeaseKey) -> Answer;

#[test]
fn delete_removes_only_what_is_done() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.ask(&Command::Delete), Err(Rejection::NotDone(State::Queued)));
    let lease = bench.claim("first");
    assert_eq!(bench.ask(&Command::Delete), Err(Rejection::NotDone(State::Running)));
    bench.respond(&lease).unwrap();
    assert_eq!(bench.gone(&Command::Delete), Some(Gone::Deleted));
    assert_eq!(bench.decide(&Command::Delete).answer, Ok(()));
}

#[test]
fn delete_removes_what_a_due_timer_ends() {
    let (mut bench, _) = Bench::claimed(|spec| spec.max_attempts = 1);
    bench.at(10);
    assert_eq!(bench.gone(&Command::Delete), Some(Gone::Deleted));
    assert_eq!(bench.decide(&Command::Delete).changes.len(), 1, "its end is told to those who wait");
}

#[test]
fn retention_counts_from_the_end_and_goes_by_outcome() {
    let retention = Retention { succeeded: Some(seconds(10)), failed: Some(seconds(20)), cancelled: Some(seconds(30)) };
    let endings: [(Ending, i64); 3] =
        [(Bench::respond, 10), (|bench, lease| bench.fail(lease, error('A')), 20), (Bench::confirm_cancel, 30)];
    for (end, length) in endings {
        let (mut bench, lease) = Bench::claimed(|spec| spec.retention = retention);
        end(bench.at(5), &lease).unwrap();
        let Phase::Done { finished_at, expires_at, .. } = bench.op.phase else { panic!("it is done") };
        assert_eq!((finished_at, expires_at), (second(5), Some(second(5 + length))));
    }
}

#[test]
fn what_has_no_retention_is_kept() {
    let (mut bench, lease) = Bench::claimed(|spec| spec.retention = Retention::same(None));
    bench.respond(&lease).unwrap();
    assert_eq!(bench.op.next_timer(), None);
    assert_eq!(bench.at(10_000_000).gone(&Command::Settle), None);
}

#[test]
fn what_is_expired_is_gone_for_every_command() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.respond(&lease).unwrap();
    assert_eq!(bench.at(100).less_a_microsecond().gone(&Command::Settle), None);
    bench.at(100);
    assert_eq!(bench.gone(&Command::Settle), Some(Gone::Expired));
    assert_eq!(bench.decide(&Command::Settle).answer, Ok(()));
    let mut commands = by_worker(&lease).to_vec();
    commands.extend([cancel("caller"), Command::Delete, Command::Claim(claim("second", 9))]);
    for command in commands {
        assert_eq!(bench.gone(&command), Some(Gone::Expired));
        assert_eq!(bench.decide(&command).answer, Err(Rejection::Gone(Gone::Expired)), "{command:?}");
    }
}

#[test]
fn nothing_expires_that_is_not_done() {
    let mut bench = Bench::new(|spec| spec.retention = Retention::same(Some(seconds(1))));
    assert_eq!(bench.at(10_000_000).gone(&Command::Settle), None);
}
