//! The control of the judge: histories that are as they should be, and the same with one thing wrong.

use std::time::Duration;

use operond_proto::operond::v1::operation::{Result as Shown, State};
use operond_proto::operond::v1::{CancelRequested, Operation};
use tonic::Code;

use super::check;
use crate::chaos::clients::problem;
use crate::chaos::history::{Call, Grant, Outcome, Said, Shown as Lease, What, nanos};
use crate::support::text;

const ID: &str = "op1";
const LEASE: Duration = Duration::from_secs(2);

/// A call from one millisecond to another.
fn call(sent: u64, ended: u64, what: What, outcome: Outcome) -> Call {
    let [sent, ended] = [sent, ended].map(Duration::from_millis);
    Call { client: 0, server: 0, sent, ended, what, outcome }
}

/// The operation as it was left at a millisecond.
fn state(revision: u64, at: i64, state: State) -> Operation {
    let modified_at = Some(prost_types::Timestamp { seconds: at / 1_000, nanos: (at % 1_000) as i32 * 1_000_000 });
    Operation {
        id: ID.into(),
        revision: revision.to_string(),
        modified_at,
        state: state.into(),
        ..Operation::default()
    }
}

fn done(revision: u64, at: i64, result: &str) -> Operation {
    let result = Some(Shown::Response(text(result)));
    Operation { done: true, result, ..state(revision, at, State::Succeeded) }
}

fn told(operation: Operation) -> Outcome {
    Outcome::Operation(Box::new(operation))
}

fn refused(code: Code, reason: &'static str) -> Outcome {
    Outcome::Refused { code, reason }
}

fn unknown() -> Outcome {
    Outcome::Unknown("the connection broke".into())
}

fn lease(token: u64) -> Lease {
    Lease { id: ID.into(), token, text: format!("{ID}.{token}.secret") }
}

/// A lease that is given at a millisecond, by the change of that revision.
fn granted(token: u64, revision: u64, at: i64) -> Outcome {
    let operation = state(revision, at, State::Running);
    let expires_at = nanos(operation.modified_at) + i128::try_from(LEASE.as_nanos()).unwrap();
    Outcome::Claimed(vec![Grant { lease: lease(token), duration: LEASE, expires_at, operation }])
}

fn id() -> String {
    ID.to_owned()
}

fn get() -> What {
    What::Get { id: id() }
}

fn complete(token: u64) -> What {
    What::Complete(lease(token), Said::Response(text("result")))
}

/// Created, claimed, completed, read.
fn life() -> Vec<Call> {
    vec![
        call(0, 10, What::Create { key: Some("key".into()) }, told(state(1, 5, State::Queued))),
        call(20, 30, What::Claim, granted(1, 2, 25)),
        call(40, 50, What::Heartbeat(lease(1)), Outcome::Kept { remaining: LEASE, expires_at: 2_045_000_000 }),
        call(20, 75, What::Wait { id: id(), timeout: Duration::from_secs(1) }, told(done(4, 65, "result"))),
        call(60, 70, complete(1), told(done(4, 65, "result"))),
        call(80, 90, get(), told(done(4, 65, "result"))),
    ]
}

/// A life of two attempts: the first lease lapsed.
fn two_attempts() -> Vec<Call> {
    let mut calls = life();
    calls.truncate(2);
    calls.push(call(2_030, 2_040, What::Claim, granted(2, 4, 2_035)));
    calls
}

#[track_caller]
fn holds(calls: &[Call]) {
    assert_eq!(check(calls), Vec::<String>::new());
}

/// The judge finds this.
#[track_caller]
fn finds(what: &str, calls: &[Call]) {
    let wrong = check(calls);
    assert!(wrong.iter().any(|wrong| wrong.contains(what)), "{what:?} is not in {wrong:#?}");
}

#[track_caller]
fn finds_beside(what: &str, mut calls: Vec<Call>, wrong: impl IntoIterator<Item = Call>) {
    holds(&calls);
    calls.extend(wrong);
    finds(what, &calls);
}

#[test]
fn a_history_that_keeps_the_rules_is_not_blamed() {
    holds(&life());
    holds(&two_attempts());
}

#[test]
fn a_create_that_was_lost_is_found() {
    let lost = call(100, 110, get(), refused(Code::NotFound, "NEVER_EXISTED"));
    finds_beside("was refused with NotFound NEVER_EXISTED", life(), [lost]);
    let lost = call(100, 110, get(), refused(Code::NotFound, "DELETED"));
    finds_beside("was refused with NotFound DELETED", life(), [lost]);
}

#[test]
fn a_result_that_changed_is_found() {
    finds_beside("one revision has two states", life(), [call(100, 110, get(), told(done(4, 65, "another")))]);
    finds_beside("went on after its end", life(), [call(100, 110, get(), told(done(5, 65, "another")))]);
    finds_beside("went on after its end", life(), [call(100, 110, get(), told(state(5, 105, State::Queued)))]);
}

#[test]
fn a_completion_that_was_acknowledged_and_is_not_the_result_is_found() {
    let mut calls = life();
    calls[4].outcome = told(done(4, 65, "another"));
    finds("what was acknowledged is not so", &calls);
    calls[4].outcome = told(state(4, 65, State::Running));
    finds("what was acknowledged is not so", &calls);
}

#[test]
fn two_live_leases_are_found() {
    let mut calls = two_attempts();
    calls[2] = call(1_000, 1_010, What::Claim, granted(2, 4, 2_035));
    finds("two leases were live at once", &calls);
    // So it looks where a server's clock is wrong, and where it is only slow to answer.
    calls[2] = call(2_030, 2_040, What::Claim, granted(2, 4, 1_000));
    finds("before the stored end of the one before", &calls);
    let kept = Outcome::Kept { remaining: LEASE, expires_at: 2_025_000_000 };
    finds_beside("two leases were live", two_attempts(), [call(1_500, 1_510, What::Heartbeat(lease(1)), kept)]);
}

#[test]
fn a_lease_that_may_be_given_up_is_not_live() {
    for outcome in [told(state(3, 900, State::Queued)), unknown()] {
        let mut calls = two_attempts();
        calls[2] = call(1_000, 1_010, What::Claim, granted(2, 4, 1_005));
        calls.push(call(800, 950, What::Release(lease(1)), outcome));
        holds(&calls);
    }
}

#[test]
fn a_lease_that_is_given_twice_is_found() {
    finds_beside("a lease was given twice", two_attempts(), [call(5_000, 5_010, What::Claim, granted(2, 6, 5_005))]);
    finds_beside("a token did not grow", two_attempts(), [call(5_000, 5_010, What::Claim, granted(3, 3, 5_005))]);
    finds_beside("a claim changed nothing", two_attempts(), [call(5_000, 5_010, What::Claim, granted(3, 4, 5_005))]);
}

#[test]
fn f05_a_zombie_that_changes_something_is_found() {
    let late = call(2_050, 2_060, complete(1), told(done(5, 2_055, "result")));
    finds_beside("a lease counted although a newer one had been given", two_attempts(), [late]);
    let kept = Outcome::Kept { remaining: LEASE, expires_at: 0 };
    let late = call(2_050, 2_060, What::Heartbeat(lease(1)), kept);
    finds_beside("a lease counted although a newer one had been given", two_attempts(), [late]);
    let mut calls = two_attempts();
    calls.push(call(2_050, 2_060, complete(1), refused(Code::FailedPrecondition, "LEASE_LOST")));
    calls.push(call(2_070, 2_080, complete(2), told(done(5, 2_075, "result"))));
    holds(&calls);
}

#[test]
fn a_stale_read_is_found() {
    let stale = call(80, 90, get(), told(state(2, 25, State::Running)));
    finds_beside("something older after something newer", life(), [stale]);
    let mut calls = life();
    calls.push(call(65, 90, get(), told(state(2, 25, State::Running))));
    holds(&calls);
}

#[test]
fn f18_an_operation_that_comes_back_is_found() {
    let mut calls = life();
    calls.push(call(100, 110, What::Delete { id: id() }, Outcome::Deleted));
    calls.push(call(120, 130, get(), refused(Code::NotFound, "DELETED")));
    finds_beside("something older after something newer", calls, [call(140, 150, get(), told(done(4, 65, "result")))]);
}

#[test]
fn a_waiter_that_is_left_asleep_is_found() {
    let wait = |ended, outcome| call(30, ended, What::Wait { id: id(), timeout: Duration::from_secs(20) }, outcome);
    finds_beside("a waiter slept", life(), [wait(15_000, told(done(4, 65, "result")))]);
    finds_beside("a waiter slept", life(), [wait(8_000, told(state(2, 25, State::Running)))]);
    finds_beside("ended early, and for nothing", life(), [wait(60, told(state(2, 25, State::Running)))]);
    finds_beside("did not end at its deadline", life(), [wait(31_000, unknown())]);
}

#[test]
fn a_call_that_hangs_is_found() {
    finds_beside("not answered in time", life(), [call(100, 50_000, get(), unknown())]);
}

#[test]
fn f10_a_key_with_two_operations_is_found() {
    let key = || What::Create { key: Some("key".into()) };
    let another = Operation { id: "op2".into(), ..state(1, 105, State::Queued) };
    finds_beside("the key key stands for two operations", life(), [call(100, 110, key(), told(another))]);
    let gone = call(100, 110, key(), refused(Code::AlreadyExists, "OPERATION_GONE"));
    finds_beside("nobody deleted it", life(), [gone.clone()]);
    let mut calls = life();
    calls.extend([call(92, 105, What::Delete { id: id() }, unknown()), gone]);
    holds(&calls);
}

#[test]
fn what_was_asked_for_and_is_forgotten_is_found() {
    let cancel = |revision| {
        let cancel_requested = Some(CancelRequested::default());
        let cancelling = Operation { cancel_requested, ..state(revision, 35, State::Cancelling) };
        call(32, 38, What::Cancel { id: id() }, told(cancelling))
    };
    let mut calls = two_attempts();
    calls.push(cancel(3));
    finds("a cancel was forgotten", &calls);
    let failing = Operation { result: Some(Shown::Error(problem(13))), ..state(3, 35, State::Failing) };
    let mut calls = two_attempts();
    calls.push(call(32, 38, What::ReportFailure(lease(1), problem(13)), told(failing)));
    finds("a failure that was shown was withdrawn", &calls);
}

#[test]
fn a_refusal_that_is_not_true_is_found() {
    let precondition = |reason| refused(Code::FailedPrecondition, reason);
    let check = |what: What, outcome: Outcome| {
        let words = match &outcome {
            Outcome::Refused { reason, .. } => (*reason).to_owned(),
            _ => unreachable!("it is a refusal"),
        };
        finds_beside(
            &words,
            two_attempts(),
            [call(2_045, 2_050, what, outcome), call(2_060, 2_070, get(), told(state(4, 2_035, State::Running)))],
        );
    };
    check(complete(2), precondition("ALREADY_DONE"));
    check(complete(2), precondition("LEASE_LOST"));
    check(complete(2), precondition("FAILURE_DETECTED"));
    check(complete(2), refused(Code::InvalidArgument, "INVALID_LEASE"));
    check(What::Cancel { id: id() }, precondition("NOT_CANCELLABLE"));
    let delete = || What::Delete { id: id() };
    finds_beside("NOT_DONE", life(), [call(100, 110, delete(), precondition("NOT_DONE"))]);
    finds_beside("Internal", life(), [call(100, 110, get(), refused(Code::Internal, ""))]);
    let mut calls = life();
    calls.push(call(20, 30, delete(), precondition("NOT_DONE")));
    holds(&calls);
}

#[test]
fn an_operation_that_never_ends_is_told() {
    assert!(super::unfinished(&life()).is_empty());
    assert_eq!(super::unfinished(&two_attempts()), [ID]);
}
