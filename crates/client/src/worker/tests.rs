//! How a worker behaves towards a server that cancels, takes leases away, or goes away.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use operond_proto::google::rpc::{Code, Status};
use operond_proto::operond::v1::complete_request::{Cancelled, Outcome};
use operond_proto::operond::v1::{
    CancelRequested, ClaimResponse, HeartbeatResponse, Operation, Progress, operation as native,
};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Assignment, Completion, Failure, Stop, Worker};
use crate::error::tests::status_with_reason;
use crate::fake::{Fake, Reply, alive, claim, held, in_time, operation};
use crate::{Error, payload};

const SECOND: Duration = Duration::from_secs(1);

/// A worker that runs against a fake.
struct Running {
    fake: Arc<Fake>,
    shutdown: CancellationToken,
    worker: JoinSet<Result<(), Error>>,
}

impl Running {
    fn start<H, F>(fake: Fake, handler: H) -> Self
    where
        H: Fn(Assignment) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Completion, Failure>> + Send + 'static,
    {
        Self::with(fake, |worker| worker, handler)
    }

    fn with<H, F>(fake: Fake, options: impl FnOnce(Worker) -> Worker, handler: H) -> Self
    where
        H: Fn(Assignment) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Completion, Failure>> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        let worker = options(Worker::new(fake.client.clone(), ["k"]));
        let mut tasks = JoinSet::new();
        tasks.spawn(worker.run(handler, shutdown.clone()));
        Self { fake: Arc::new(fake), shutdown, worker: tasks }
    }

    async fn ended(mut self) -> Result<(), Error> {
        in_time(self.worker.join_next()).await.unwrap().unwrap()
    }

    async fn shut_down(self) -> Result<(), Error> {
        self.shutdown.cancel();
        self.ended().await
    }
}

fn cancel_requested() -> HeartbeatResponse {
    let request = CancelRequested { by: "ann".into(), reason: "enough".into(), at: None };
    HeartbeatResponse { cancel_requested: Some(request), ..alive() }
}

fn lease_lost<T>() -> Reply<T> {
    Reply::Refuse(status_with_reason(tonic::Code::FailedPrecondition, "another worker has it", "LEASE_LOST"))
}

fn error(code: Code, message: &str) -> Status {
    Status { code: code.into(), message: message.into(), details: vec![] }
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_returns_is_the_result() {
    let running = Running::start(Fake::new(), |assignment: Assignment| async move {
        assert_eq!((assignment.id(), assignment.attempt()), ("op1", 1));
        Ok(Completion::response(payload::text("made")).with_metadata(payload::text("last")))
    });
    let completed = running.fake.complete.reached(1).await;
    assert_eq!(completed[0].lease, "lease1");
    assert_eq!(completed[0].outcome, Some(Outcome::Response(payload::text("made"))));
    assert_eq!(completed[0].metadata, Some(payload::text("last")));
    assert_eq!(running.shut_down().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn failures_are_final_or_tried_again_or_released_as_the_handler_says() {
    let outcomes: [Result<Completion, Failure>; 3] = [
        Err(Failure::new(Code::NotFound, "no file")),
        Err(Failure::retry_after(7 * SECOND, error(Code::Unavailable, "disk away"))),
        Err(Failure::released()),
    ];
    for (index, outcome) in outcomes.into_iter().enumerate() {
        let running = Running::start(Fake::new(), move |_| std::future::ready(outcome.clone()));
        match index {
            0 => {
                let completed = running.fake.complete.reached(1).await;
                assert_eq!(completed[0].outcome, Some(Outcome::Error(error(Code::NotFound, "no file"))));
            }
            1 => {
                let retried = running.fake.retry.reached(1).await;
                assert_eq!(retried[0].error, Some(error(Code::Unavailable, "disk away")));
                assert_eq!(retried[0].backoff.unwrap().seconds, 7);
            }
            _ => assert_eq!(running.fake.release.reached(1).await[0].lease, "lease1"),
        }
        assert_eq!(running.shut_down().await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_that_is_tried_again() {
    let running = Running::start(Fake::new(), |_| async { panic!("index out of {}", "bounds") });
    let retried = running.fake.retry.reached(1).await;
    let expected = error(Code::Internal, "the worker's handler panicked: index out of bounds");
    assert_eq!(retried[0].error, Some(expected));
    assert_eq!(running.shut_down().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_the_handler_the_moment_the_held_heartbeat_is_answered() {
    let fake = Fake::new();
    fake.heartbeat.answer(|request, before| match before {
        0 => Reply::After(3 * SECOND, cancel_requested()),
        _ => held(request),
    });
    let begun = Instant::now();
    let running = Running::start(fake, |assignment: Assignment| async move {
        assignment.stopped().cancelled().await;
        match assignment.stop_reason() {
            Some(Stop::CancelRequested(request)) => Ok(Completion::cancelled(request.reason)),
            other => panic!("{other:?}"),
        }
    });
    let completed = running.fake.complete.reached(1).await;
    assert!(begun.elapsed() < 3 * SECOND + Duration::from_millis(20), "{:?}", begun.elapsed());
    assert_eq!(completed[0].outcome, Some(Outcome::Cancelled(Cancelled { message: "enough".into() })));
    assert_eq!(running.shut_down().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_known_cancel_does_not_make_the_worker_heartbeat_without_a_pause() {
    let fake = Fake::new();
    // As a server does: once cancel is requested, nothing is held.
    fake.heartbeat.answer(|_, _| Reply::Now(cancel_requested()));
    let running = Running::start(fake, |assignment: Assignment| async move {
        assignment.stopped().cancelled().await;
        tokio::time::sleep(60 * SECOND).await;
        Ok(Completion::cancelled(""))
    });
    running.fake.complete.reached(1).await;
    let beats = running.fake.heartbeat.calls();
    assert!((6..=8).contains(&beats.len()), "{} heartbeats in 60 s", beats.len());
    assert!(beats[1..].iter().all(|beat| beat.wait.unwrap().seconds == 0));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_held_for_a_third_of_the_lease() {
    let running = Running::start(Fake::new(), |_| pending());
    let beats = running.fake.heartbeat.reached(3).await;
    assert!(beats.iter().all(|beat| beat.wait.unwrap().seconds == 10));
    assert_eq!(beats[0].lease, "lease1");
}

#[tokio::test(start_paused = true)]
async fn an_operation_claimed_after_a_cancel_says_so_from_the_start() {
    let fake = Fake::new();
    fake.claim.answer(|_, before| match before {
        0 => {
            let mut claim = claim();
            claim.operation.as_mut().unwrap().cancel_requested = cancel_requested().cancel_requested;
            Reply::Now(ClaimResponse { claims: vec![claim] })
        }
        _ => Reply::Never,
    });
    let running = Running::start(fake, |assignment: Assignment| async move {
        assert!(assignment.stopped().is_cancelled());
        Ok(Completion::cancelled("cleaned up"))
    });
    let completed = running.fake.complete.reached(1).await;
    assert_eq!(completed[0].outcome, Some(Outcome::Cancelled(Cancelled { message: "cleaned up".into() })));
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_stops_the_handler_and_nothing_is_handed_in() {
    let fake = Fake::new();
    fake.heartbeat.answer(|_, _| lease_lost());
    let (stopped, reason) = tokio::sync::oneshot::channel();
    let stopped = Mutex::new(Some(stopped));
    let running = Running::start(fake, move |assignment: Assignment| {
        let stopped = stopped.lock().unwrap().take().unwrap();
        async move {
            assignment.stopped().cancelled().await;
            stopped.send(assignment.stop_reason()).unwrap();
            Ok(Completion::empty())
        }
    });
    assert_eq!(in_time(reason).await, Ok(Some(Stop::LeaseLost)));
    let fake = Arc::clone(&running.fake);
    assert_eq!(running.shut_down().await, Ok(()));
    assert_eq!(fake.complete.calls(), []);
    assert_eq!(fake.release.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ignores_a_lost_lease_is_aborted() {
    let fake = Fake::new();
    fake.heartbeat.answer(|_, _| lease_lost());
    let dropped = CancellationToken::new();
    let guard = Mutex::new(Some(dropped.clone().drop_guard()));
    let running = Running::start(fake, move |_| {
        let guard = guard.lock().unwrap().take();
        async move {
            let _guard = guard;
            pending().await
        }
    });
    in_time(dropped.cancelled()).await;
    assert_eq!(running.shut_down().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_worker_cut_off_from_the_server_stops_when_its_lease_has_lapsed() {
    let running = Running::start(Fake::new(), |assignment: Assignment| async move {
        assignment.stopped().cancelled().await;
        assert_eq!(assignment.stop_reason(), Some(Stop::LeaseLost));
        Ok(Completion::empty())
    });
    let begun = Instant::now();
    running.fake.heartbeat.reached(1).await;
    running.fake.wire.down();
    let fake = Arc::clone(&running.fake);
    assert_eq!(running.shut_down().await, Ok(()));
    assert_eq!(begun.elapsed().as_secs(), 30);
    assert_eq!(fake.complete.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_lease_is_not_noticed_by_the_handler() {
    let running = Running::start(Fake::new(), |assignment: Assignment| async move {
        tokio::time::sleep(40 * SECOND).await;
        assert!(!assignment.stopped().is_cancelled());
        Ok(Completion::empty())
    });
    running.fake.heartbeat.reached(1).await;
    running.fake.wire.down();
    tokio::time::sleep(25 * SECOND).await;
    running.fake.wire.up();
    running.fake.complete.reached(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_result_is_offered_until_the_server_is_back() {
    let fake = Fake::new();
    let down = Arc::clone(&fake.script);
    let running = Running::start(fake, move |_| {
        down.wire.down();
        async { Ok(Completion::empty()) }
    });
    tokio::time::sleep(50 * SECOND).await;
    assert_eq!(running.fake.complete.calls(), []);
    running.fake.wire.up();
    assert_eq!(running.fake.complete.reached(1).await[0].lease, "lease1");
}

#[tokio::test(start_paused = true)]
async fn a_complete_whose_answer_was_lost_is_repeated_word_for_word() {
    let fake = Fake::new();
    fake.complete.answer(|_, before| if before == 0 { Reply::Lost } else { Reply::Now(operation("r2")) });
    let running = Running::start(fake, |_| async { Ok(Completion::empty()) });
    let completed = running.fake.complete.reached(2).await;
    assert_eq!(completed[0], completed[1]);
    assert_eq!(running.shut_down().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_the_server_refuses_becomes_an_error() {
    let fake = Fake::new();
    fake.complete.answer(|_, before| match before {
        0 => Reply::Refuse(status_with_reason(tonic::Code::InvalidArgument, "response is too big", "LIMIT_EXCEEDED")),
        _ => Reply::Now(operation("r2")),
    });
    let running = Running::start(fake, |_| async { Ok(Completion::empty()) });
    let completed = running.fake.complete.reached(2).await;
    let expected = error(Code::Internal, "the worker's result was refused: response is too big");
    assert_eq!(completed[1].outcome, Some(Outcome::Error(expected)));
}

#[tokio::test(start_paused = true)]
async fn a_detected_failure_is_the_result_whatever_the_handler_returns() {
    let running = Running::start(Fake::new(), |assignment: Assignment| async move {
        assignment.report_failure(error(Code::DataLoss, "checksum")).await.unwrap();
        Ok(Completion::empty())
    });
    let reported = running.fake.report_failure.reached(1).await;
    assert_eq!(reported[0].error, Some(error(Code::DataLoss, "checksum")));
    let completed = running.fake.complete.reached(1).await;
    assert_eq!(completed[0].outcome, Some(Outcome::Error(error(Code::DataLoss, "checksum"))));
}

#[tokio::test(start_paused = true)]
async fn a_rollback_taken_over_ends_with_the_error_that_callers_saw() {
    let fake = Fake::new();
    fake.claim.answer(|_, before| match before {
        0 => {
            let result = Some(native::Result::Error(error(Code::DataLoss, "checksum")));
            let failing = Operation { result, ..operation("r1") };
            let mut claim = claim();
            claim.operation = Some(failing);
            Reply::Now(ClaimResponse { claims: vec![claim] })
        }
        _ => Reply::Never,
    });
    let running = Running::start(fake, |assignment: Assignment| async move {
        assert_eq!(assignment.detected_failure(), Some(error(Code::DataLoss, "checksum")));
        Err(Failure::new(Code::Internal, "something else"))
    });
    let completed = running.fake.complete.reached(1).await;
    assert_eq!(completed[0].outcome, Some(Outcome::Error(error(Code::DataLoss, "checksum"))));
}

#[tokio::test(start_paused = true)]
async fn reports_go_at_once_then_rarely_and_the_latest_wins() {
    let running = Running::start(Fake::new(), |assignment: Assignment| async move {
        for frame in 0..1_000_u32 {
            let done = Some(f64::from(frame));
            assignment.progress(Progress { done, total: Some(1_000.0), ..Progress::default() });
            if frame == 500 {
                assignment.metadata(payload::text("half"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Completion::empty())
    });
    running.fake.complete.reached(1).await;
    let reports: Vec<_> = running.fake.heartbeat.calls().into_iter().filter(|beat| beat.progress.is_some()).collect();
    assert!((4..=6).contains(&reports.len()), "{} reports in 1 s", reports.len());
    assert_eq!(reports.iter().filter(|report| report.metadata.is_some()).count(), 1);
    let last = reports.last().unwrap().progress.clone().unwrap();
    assert_eq!(last.done, Some(999.0));
}

#[tokio::test(start_paused = true)]
async fn metadata_that_was_not_sent_yet_goes_with_the_result() {
    let running = Running::start(Fake::new(), |assignment: Assignment| async move {
        assignment.metadata(payload::text("last words"));
        Ok(Completion::empty())
    });
    let completed = running.fake.complete.reached(1).await;
    assert_eq!(completed[0].metadata, Some(payload::text("last words")));
}

#[tokio::test(start_paused = true)]
async fn a_report_that_the_server_refuses_costs_the_report_and_not_the_lease() {
    let fake = Fake::new();
    fake.heartbeat.answer(|request, _| match &request.metadata {
        Some(_) => Reply::Refuse(status_with_reason(tonic::Code::InvalidArgument, "too big", "LIMIT_EXCEEDED")),
        None => held(request),
    });
    let running = Running::start(fake, |assignment: Assignment| async move {
        tokio::time::sleep(SECOND).await;
        assignment.metadata(payload::text("much too big"));
        tokio::time::sleep(60 * SECOND).await;
        assert!(!assignment.stopped().is_cancelled());
        Ok(Completion::empty())
    });
    running.fake.complete.reached(1).await;
    let refused = running.fake.heartbeat.calls().iter().filter(|beat| beat.metadata.is_some()).count();
    assert_eq!(refused, 1);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_handlers_finish_within_the_grace_and_claims_no_more() {
    let running = Running::start(Fake::new(), |_| async {
        tokio::time::sleep(20 * SECOND).await;
        Ok(Completion::empty())
    });
    let begun = Instant::now();
    running.fake.heartbeat.reached(1).await;
    let fake = Arc::clone(&running.fake);
    assert_eq!(running.shut_down().await, Ok(()));
    assert_eq!(begun.elapsed().as_secs(), 20);
    assert_eq!(fake.complete.calls().len(), 1);
    assert_eq!(fake.release.calls(), []);
    assert_eq!(fake.claim.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_finished_within_the_grace_is_told_to_stop_then_released() {
    let begun = Instant::now();
    let running = Running::with(
        Fake::new(),
        |worker| worker.grace(10 * SECOND),
        |assignment: Assignment| async move {
            assignment.stopped().cancelled().await;
            assert_eq!(assignment.stop_reason(), Some(Stop::ShuttingDown));
            pending().await
        },
    );
    running.fake.heartbeat.reached(1).await;
    let fake = Arc::clone(&running.fake);
    assert_eq!(running.shut_down().await, Ok(()));
    assert_eq!(begun.elapsed().as_secs(), 15);
    assert_eq!(fake.release.calls().len(), 1);
    assert_eq!(fake.complete.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_in_a_hurry_has_no_grace() {
    let hurry = CancellationToken::new();
    let begun = Instant::now();
    let running = Running::with(
        Fake::new(),
        |worker| worker.hurry(hurry.clone()),
        |assignment: Assignment| async move {
            assignment.stopped().cancelled().await;
            Err(Failure::released())
        },
    );
    running.fake.heartbeat.reached(1).await;
    hurry.cancel();
    let fake = Arc::clone(&running.fake);
    assert_eq!(running.shut_down().await, Ok(()));
    assert_eq!(begun.elapsed().as_secs(), 0);
    assert_eq!(fake.release.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_claims_no_more_than_it_has_room_for() {
    let fake = Fake::new();
    fake.claim.answer(|request, _| Reply::Now(ClaimResponse { claims: vec![claim(); request.max() as usize] }));
    let running = Running::with(
        fake,
        |worker| worker.concurrency(3),
        |_| async {
            tokio::time::sleep(SECOND).await;
            Ok(Completion::empty())
        },
    );
    running.fake.complete.reached(6).await;
    let claims = running.fake.claim.calls();
    assert_eq!(claims[0].max, Some(3));
    assert!(claims.len() <= 8, "{} claims for 6 operations", claims.len());
}

#[tokio::test(start_paused = true)]
async fn a_worker_outlives_an_absent_server() {
    let fake = Fake::new();
    fake.wire.down();
    let running = Running::start(fake, |_| async { Ok(Completion::empty()) });
    tokio::time::sleep(3_600 * SECOND).await;
    running.fake.wire.up();
    running.fake.complete.reached(1).await;
    assert_eq!(running.shut_down().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_refused_work_says_so() {
    let fake = Fake::new();
    fake.claim.answer(|_, _| Reply::Refuse(tonic::Status::invalid_argument("kinds is missing")));
    let running = Running::start(fake, |_| async { Ok(Completion::empty()) });
    assert_eq!(running.ended().await.unwrap_err().to_string(), "kinds is missing");
}

#[test]
fn the_default_name_tells_the_process_and_is_never_the_same_twice() {
    let names = [super::default_name(), super::default_name()];
    assert_ne!(names[0], names[1]);
    assert!(names[0].contains(&format!("-{}-", std::process::id())));
    assert!(names[0].chars().count() <= 128);
}
