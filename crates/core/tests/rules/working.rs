//! Claim, heartbeat, report failure, complete: the rows of a worker that goes on.

use operond_core::{
    Change, Command, Complete, Completion, Digest, EventKind, Outcome, Phase, Progress, Rejection, ReportFailure,
    State, Token,
};

use crate::bench::{
    Bench, by_worker, complete, error, heartbeat_with, metadata, report_failure, response, second, seconds,
};

#[test]
fn claim_gives_a_new_token_and_counts_an_attempt() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.at(3).claim("first").token, Token(1));
    assert_eq!((bench.op.attempt, bench.op.state()), (1, State::Running));
    assert_eq!(bench.op.phase, Phase::Leased { expires_at: second(13) });
    assert_eq!(bench.op.started_at, Some(second(3)));
    assert_eq!(bench.last_event(), EventKind::Claimed);
    assert_eq!(bench.at(13).claim("second").token, Token(2));
    assert_eq!((bench.op.attempt, bench.op.started_at), (2, Some(second(3))));
}

#[test]
fn the_token_counts_leases_and_never_attempts() {
    let mut bench = Bench::new(|_| {});
    for turn in 1..=5 {
        let lease = bench.claim("first");
        assert_eq!((lease.token, bench.op.attempt), (Token(turn), 1));
        bench.release(&lease).unwrap();
    }
}

#[test]
fn there_are_never_two_live_leases() {
    let (mut bench, _) = Bench::claimed(|_| {});
    assert_eq!(bench.try_claim("second"), Err(Rejection::NotClaimable));
    assert_eq!(bench.at(10).less_a_microsecond().try_claim("second"), Err(Rejection::NotClaimable));
    assert_eq!(bench.at(10).try_claim("second"), Ok(()));
}

#[test]
fn what_is_finished_or_in_a_backoff_is_never_claimed() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.retry(&lease, 4).unwrap();
    assert_eq!(bench.at(4).less_a_microsecond().try_claim("second"), Err(Rejection::NotClaimable));
    let lease = bench.at(4).claim("second");
    bench.respond(&lease).unwrap();
    assert_eq!(bench.try_claim("first"), Err(Rejection::NotClaimable));
}

#[test]
fn heartbeat_extends_the_lease_and_never_shortens_it() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.at(4).heartbeat(&lease).unwrap();
    assert_eq!(bench.op.phase, Phase::Leased { expires_at: second(14) });
    bench.ask(&heartbeat_with(&lease, Some(3), None, None)).unwrap();
    assert_eq!(bench.op.phase, Phase::Leased { expires_at: second(14) });
    bench.ask(&heartbeat_with(&lease, Some(60), None, None)).unwrap();
    assert_eq!(bench.op.phase, Phase::Leased { expires_at: second(64) });
    bench.at(5).heartbeat(&lease).unwrap();
    assert_eq!(bench.op.phase, Phase::Leased { expires_at: second(65) }, "the longer length stays");
}

#[test]
fn a_bare_heartbeat_moves_the_revision_only() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    let before = bench.op.clone();
    let decision = bench.at(4).decide(&heartbeat_with(&lease, None, None, None));
    assert_eq!(decision.changes, [Change::Bare]);
    bench.heartbeat(&lease).unwrap();
    assert_eq!(bench.op.revision, before.revision + 1);
    assert_eq!((bench.op.modified_at, bench.op.events), (before.modified_at, before.events));
}

#[test]
fn a_heartbeat_with_what_is_known_already_is_bare() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    let progress = Progress { done: Some(1.0), ..Progress::default() };
    let report = heartbeat_with(&lease, None, Some(metadata(1)), Some(progress));
    assert_eq!(bench.at(1).decide(&report).changes, [Change::Updated]);
    bench.ask(&report).unwrap();
    assert_eq!((bench.op.metadata.clone(), bench.op.modified_at), (Some(metadata(1)), second(1)));
    assert_eq!(bench.at(2).decide(&report).changes, [Change::Bare]);
}

#[test]
fn heartbeat_replaces_metadata_and_progress_whole_and_leaves_what_it_does_not_carry() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    let full = Progress { done: Some(1.0), total: Some(9.0), unit: "frames".into(), message: "warm".into() };
    bench.ask(&heartbeat_with(&lease, None, Some(metadata(1)), Some(full))).unwrap();
    let half = Progress { done: Some(2.0), ..Progress::default() };
    bench.ask(&heartbeat_with(&lease, None, None, Some(half.clone()))).unwrap();
    assert_eq!((&bench.op.metadata, &bench.op.progress), (&Some(metadata(1)), &Some(half.clone())));
    bench.ask(&heartbeat_with(&lease, None, Some(metadata(2)), None)).unwrap();
    assert_eq!((&bench.op.metadata, &bench.op.progress), (&Some(metadata(2)), &Some(half)));
}

#[test]
fn a_heartbeat_with_a_lapsed_token_takes_the_operation_back_at_the_same_attempt() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.at(12).heartbeat(&lease).unwrap();
    assert_eq!(bench.op.phase, Phase::Leased { expires_at: second(22) });
    assert_eq!((bench.op.attempt, bench.last_event()), (1, EventKind::Resumed));
    assert_eq!(bench.try_claim("second"), Err(Rejection::NotClaimable));
}

#[test]
fn report_failure_shows_the_error_while_the_operation_is_not_done() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.report_failure(&lease, error('A')).unwrap();
    assert_eq!((bench.op.state(), bench.op.done()), (State::Failing, false));
    assert_eq!(bench.op.failure, Some(error('A')));
    assert_eq!(bench.op.phase, Phase::Leased { expires_at: second(10) });
}

#[test]
fn the_same_failure_again_changes_nothing_and_another_is_refused() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.report_failure(&lease, error('A')).unwrap();
    let shown = bench.op.clone();
    assert_eq!(bench.report_failure(&lease, error('A')), Ok(()));
    assert_eq!(bench.report_failure(&lease, error('B')), Err(Rejection::FailureDetected));
    let mut other_message = error('A');
    other_message.message = "the same code".into();
    assert_eq!(bench.report_failure(&lease, other_message), Err(Rejection::FailureDetected));
    assert_eq!(bench.op, shown);
}

#[test]
fn after_a_shown_failure_complete_takes_that_error_or_cancelled_and_nothing_else() {
    let failing = || {
        let (mut bench, lease) = Bench::claimed(|_| {});
        bench.report_failure(&lease, error('A')).unwrap();
        (bench, lease)
    };
    let (mut bench, lease) = failing();
    assert_eq!(bench.respond(&lease), Err(Rejection::FailureDetected));
    assert_eq!(bench.fail(&lease, error('B')), Err(Rejection::FailureDetected));
    assert_eq!(bench.fail(&lease, error('A')), Ok(()));
    let (mut bench, lease) = failing();
    assert_eq!(bench.confirm_cancel(&lease), Ok(()));
    assert_eq!(bench.op.outcome(), Some(&Outcome::Error(error('A'))));
}

#[test]
fn a_shown_failure_stops_the_grace_and_leaves_metadata_writable() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.cancel().unwrap();
    assert!(bench.op.grace_deadline.is_some());
    bench.report_failure(&lease, error('A')).unwrap();
    assert_eq!(bench.op.grace_deadline, None);
    bench.ask(&heartbeat_with(&lease, Some(3600), Some(metadata(3)), None)).unwrap();
    bench.at(1000).settle();
    assert_eq!((bench.op.state(), &bench.op.metadata), (State::Failing, &Some(metadata(3))));
}

#[test]
fn report_failure_takes_metadata_and_neither_code_0_nor_cancelled() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    let report = ReportFailure { lease: lease.clone(), error: error('A'), metadata: Some(metadata(1)) };
    bench.ask(&Command::ReportFailure(report)).unwrap();
    assert_eq!(bench.op.metadata, Some(metadata(1)));
    for code in [0, 1, 17, -1] {
        let mut bad = error('A');
        bad.code = code;
        assert_eq!(report_failure(&lease, bad).check().unwrap_err().field, "error.code");
    }
}

#[test]
fn a_lapsed_worker_reports_a_failure_and_another_finishes_the_rollback() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.at(11).report_failure(&lease, error('A')).unwrap();
    assert_eq!(bench.op.state(), State::Failing);
    let second = bench.claim("second");
    bench.fail(&second, error('A')).unwrap();
    assert_eq!(bench.op.outcome(), Some(&Outcome::Error(error('A'))));
}

#[test]
fn complete_ends_with_a_response_an_error_or_cancelled_also_unasked_for() {
    let results = [
        (Completion::Response(response()), State::Succeeded, EventKind::Succeeded),
        (Completion::Error(error('A')), State::Failed, EventKind::Failed),
        (Completion::Cancelled("".into()), State::Cancelled, EventKind::Cancelled),
    ];
    for (result, state, event) in results {
        let (mut bench, lease) = Bench::claimed(|_| {});
        bench.at(3).ask(&complete(&lease, result)).unwrap();
        assert_eq!((bench.op.state(), bench.last_event()), (state, event));
        assert!(matches!(bench.op.phase, Phase::Done { finished_at, .. } if finished_at == second(3)));
        assert_eq!(&*bench.op.events.last().unwrap().by, "first");
    }
}

#[test]
fn complete_keeps_the_message_of_cancelled_and_writes_the_last_metadata() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    let result = Completion::Cancelled("stopped at frame 7".into());
    let last = Complete { lease, result, metadata: Some(metadata(9)), digest: Digest([1; 16]) };
    bench.ask(&Command::Complete(last)).unwrap();
    let Some(Outcome::Error(error)) = bench.op.outcome() else { panic!("cancelled is an error") };
    assert_eq!(&*error.message, "stopped at frame 7");
    assert_eq!(bench.op.metadata, Some(metadata(9)));
}

#[test]
fn the_first_terminal_write_wins_and_is_never_changed() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.respond(&lease).unwrap();
    let done = bench.op.clone();
    let refused = Err(Rejection::AlreadyDone(State::Succeeded));
    assert_eq!(bench.fail(&lease, error('A')), refused);
    assert_eq!(bench.heartbeat(&lease), refused);
    assert_eq!(bench.release(&lease), refused);
    assert_eq!(bench.cancel(), Ok(()));
    assert_eq!(bench.op, done);
}

#[test]
fn repeating_a_complete_succeeds_and_changes_nothing() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    bench.respond(&lease).unwrap();
    let done = bench.op.clone();
    assert_eq!(bench.at(50).respond(&lease), Ok(()));
    assert_eq!(bench.op, done);
}

#[test]
fn types_that_were_declared_are_asked_for() {
    let declare = |spec: &mut operond_core::Spec| {
        spec.response_type = Some("example.Other".into());
        spec.metadata_type = Some("type.googleapis.com/example.Other".into());
    };
    let (mut bench, lease) = Bench::claimed(declare);
    let before = bench.op.clone();
    let field = |answer: Result<(), Rejection>| match answer {
        Err(Rejection::Invalid(invalid)) => invalid.field,
        other => panic!("not refused: {other:?}"),
    };
    assert_eq!(field(bench.respond(&lease)), "response");
    assert_eq!(field(bench.ask(&heartbeat_with(&lease, None, Some(metadata(1)), None))), "metadata");
    assert_eq!(bench.op, before, "a refused heartbeat does not extend the lease");
    let other = operond_core::Any::new("type.googleapis.com/example.Other", []);
    assert_eq!(bench.ask(&heartbeat_with(&lease, None, Some(other.clone()), None)), Ok(()));
    assert_eq!(bench.ask(&complete(&lease, Completion::Response(other))), Ok(()));
}

#[test]
fn a_lapsed_token_stays_good_for_every_worker_command() {
    let (bench, lease) = Bench::claimed(|_| {});
    for command in by_worker(&lease) {
        let mut lapsed = bench.clone();
        lapsed.at(14).settle();
        assert_eq!(lapsed.op.state(), State::Queued);
        assert_eq!(lapsed.ask(&command), Ok(()), "{command:?}");
    }
}

#[test]
fn a_token_is_lost_once_another_claim_is_made() {
    let (mut bench, zombie) = Bench::claimed(|_| {});
    bench.at(10).claim("second");
    let before = bench.op.clone();
    for command in by_worker(&zombie) {
        assert_eq!(bench.ask(&command), Err(Rejection::LeaseLost), "{command:?}");
    }
    assert_eq!(bench.op, before);
}

#[test]
fn a_token_given_up_by_retry_or_release_is_void_at_once() {
    for give_up in [Bench::release as fn(&mut Bench, &_) -> _, |bench, lease| bench.retry(lease, 1)] {
        let (mut bench, lease) = Bench::claimed(|_| {});
        give_up(&mut bench, &lease).unwrap();
        let before = bench.op.clone();
        let [heartbeat, report, .., response] = by_worker(&lease);
        for command in [heartbeat, report, response] {
            assert_eq!(bench.ask(&command), Err(Rejection::LeaseLost), "{command:?}");
        }
        assert_eq!(bench.op, before);
    }
}

#[test]
fn a_lease_that_was_never_given_is_invalid() {
    let (mut bench, lease) = Bench::claimed(|_| {});
    let mut secret = lease.clone();
    secret.secret.0[15] ^= 1;
    let mut ahead = lease.clone();
    ahead.token = Token(2);
    for forged in [secret, ahead] {
        for command in by_worker(&forged) {
            assert_eq!(bench.ask(&command), Err(Rejection::InvalidLease), "{command:?}");
        }
    }
    assert_eq!(Bench::new(|_| {}).heartbeat(&lease), Err(Rejection::InvalidLease));
    assert_eq!(bench.op.lease.as_ref().unwrap().duration, seconds(10));
}
