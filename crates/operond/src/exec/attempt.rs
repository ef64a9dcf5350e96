//! One attempt: the program from its start to what its end means.

use std::time::Duration;

use operond_client::{Assignment, Code, Completion, Failure, Stop};
use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::child::Child;
use super::outcome::Ended;
use super::program::Program;
use super::talk::{Said, talk};

/// Carries out operations by a program.
#[derive(Debug)]
pub(super) struct Executor {
    pub(super) program: Program,
    /// How long a program may go on after the SIGTERM that a cancel brings it.
    pub(super) grace: Duration,
}

impl Executor {
    /// Starts the program for `assignment` and says what came of it. Dropping this kills it.
    pub(super) async fn carry_out(&self, assignment: Assignment) -> Result<Completion, Failure> {
        if let Some(ended) = self.ended_before_it_began(&assignment) {
            return ended;
        }
        let mut command = self.program.command(&assignment);
        let (mut child, pipes) = Child::start(&mut command).map_err(|error| self.program.not_started(&error))?;
        info!(operation = assignment.id(), kind = assignment.operation().kind, "started");

        let (mut said, overlong, exited) = (Said::new(), CancellationToken::new(), CancellationToken::new());
        let attended = async {
            let stop = self.attend(&mut child, &assignment, &overlong).await;
            exited.cancel();
            stop
        };
        let talked = async {
            tokio::select! {
                () = talk(pipes, &assignment, &mut said, &overlong) => {}
                () = async { exited.cancelled().await; sleep(PIPES_GRACE).await } => {}
            }
        };
        let (stop, ()) = tokio::join!(attended, talked);
        let status = child
            .reap()
            .await
            .map_err(|error| Failure::retry(Code::Unavailable, format!("{} got lost: {error}", self.program.name())))?;
        info!(operation = assignment.id(), %status, "ended");
        let response = said.response(&assignment);
        let ended = Ended { status, stop, overlong: overlong.is_cancelled(), response, stderr: said.stderr };
        ended.outcome(&self.program.name())
    }

    /// A program knows nothing of rolling back or cleaning up after another attempt: when that is
    /// all that is left to do, it is not started.
    fn ended_before_it_began(&self, assignment: &Assignment) -> Option<Result<Completion, Failure>> {
        if let Some(detected) = assignment.detected_failure() {
            return Some(Err(detected.into()));
        }
        assignment.stop_reason().map(|stop| match stop {
            Stop::CancelRequested(_) => {
                Ok(Completion::cancelled(format!("cancelled before {} was started", self.program.name())))
            }
            _ => Err(Failure::released()),
        })
    }

    /// Waits for the program's end, and brings it about when it must end; says why it had to.
    async fn attend(&self, child: &mut Child, assignment: &Assignment, overlong: &CancellationToken) -> Option<Stop> {
        tokio::select! {
            biased;
            () = child.exited() => return None,
            () = assignment.stopped().cancelled() => {}
            () = overlong.cancelled() => {}
        }
        self.stop(child, assignment).await;
        assignment.stop_reason()
    }

    /// SIGTERM, patience, SIGKILL. A graver reason that comes up meanwhile shortens the patience.
    async fn stop(&self, child: &mut Child, assignment: &Assignment) {
        let mut reason = assignment.stop_reason();
        let mut kill_at = Instant::now() + self.patience(reason.as_ref());
        if Instant::now() < kill_at {
            child.signal(Signal::TERM);
        }
        while Instant::now() < kill_at {
            let look_again = kill_at.min(Instant::now() + REASON_INTERVAL);
            if timeout_at(look_again, child.exited()).await.is_ok() {
                return;
            }
            let graver = assignment.stop_reason();
            if graver != reason {
                kill_at = kill_at.min(Instant::now() + self.patience(graver.as_ref()));
                reason = graver;
            }
        }
        child.signal(Signal::KILL);
        child.exited().await;
    }

    fn patience(&self, stop: Option<&Stop>) -> Duration {
        match stop {
            Some(Stop::CancelRequested(_)) => self.grace,
            // It may be at work elsewhere already.
            Some(Stop::LeaseLost) => Duration::ZERO,
            // Its grace is over, or it broke the rules.
            _ => self.grace.min(LAST_GRACE),
        }
    }
}

/// After the program itself has exited, how long others that hold its pipes are listened to: a filter
/// behind it has something to finish, a daemon would hold them for ever.
const PIPES_GRACE: Duration = Duration::from_secs(1);
/// With [`PIPES_GRACE`] well below the 5 s that a worker leaves a handler that was told to end.
const LAST_GRACE: Duration = Duration::from_secs(2);
/// How soon a graver reason to stop is noticed.
const REASON_INTERVAL: Duration = Duration::from_millis(100);
