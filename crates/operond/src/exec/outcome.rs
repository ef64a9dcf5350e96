//! What the end of a program means for the operation. Pure.

use std::process::ExitStatus;

use operond_client::{Any, Code, Completion, Failure, Stop};
use operond_core::limits::ERROR_MESSAGE_BYTES_MAX;

use super::lines::LINE_BYTES_MAX;
use super::tail::Tail;

/// How a program ended, and what it had to say.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// Why it was made to end, if it was.
    pub(super) stop: Option<Stop>,
    /// A line was too long to be read.
    pub(super) overlong: bool,
    pub(super) response: Option<Any>,
    pub(super) stderr: Tail,
}

impl Ended {
    /// A program that was to end and did so in good order, with a response, was too far for it: that
    /// is the result. One that ended in any other way has done what it was told.
    pub(super) fn outcome(self, program: &str) -> Result<Completion, Failure> {
        if self.overlong {
            return Err(overlong(program));
        }
        match (self.stop, self.response) {
            (Some(Stop::LeaseLost), _) => Err(Failure::released()),
            (_, Some(response)) if self.status.success() => Ok(Completion::response(response)),
            (None, None) if self.status.success() => Ok(Completion::empty()),
            (None, _) => Err(failure(program, self.status, &self.stderr)),
            (Some(Stop::CancelRequested(_)), _) => Ok(Completion::cancelled(ending(program, self.status))),
            (Some(_), _) => Err(Failure::released()),
        }
    }
}

fn overlong(program: &str) -> Failure {
    let message = format!("{program} wrote a line of more than {LINE_BYTES_MAX} bytes to its standard output");
    Failure::new(Code::Internal, message)
}

fn failure(program: &str, status: ExitStatus, stderr: &Tail) -> Failure {
    let mut message = ending(program, status);
    let tail = stderr.text(ERROR_MESSAGE_BYTES_MAX - message.len() - SEPARATOR.len());
    if !tail.is_empty() {
        message = message + SEPARATOR + &tail;
    }
    Failure::new(Code::Unknown, message)
}

fn ending(program: &str, status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("{program} exited with status {code}"),
        // `signal: 9 (SIGKILL)`
        None => format!("{program} was killed by {}", status.to_string().replacen("signal: ", "signal ", 1)),
    }
}

const SEPARATOR: &str = ": ";

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use operond_client::{payload, proto};

    use super::*;

    const EXIT_0: i32 = 0;
    const EXIT_3: i32 = 3 << 8;
    const SIGTERM: i32 = 15;

    fn ended(status: i32, stop: Option<Stop>) -> Ended {
        let status = ExitStatus::from_raw(status);
        Ended { status, stop, overlong: false, response: None, stderr: Tail::default() }
    }

    fn made(ended: Ended) -> Ended {
        Ended { response: Some(payload::text("made")), ..ended }
    }

    fn wrote(said: &str, ended: Ended) -> Ended {
        let mut stderr = Tail::default();
        stderr.push(said.as_bytes());
        Ended { stderr, ..ended }
    }

    fn check(ended: Ended, expected: &Result<Completion, Failure>) {
        assert_eq!(&ended.outcome("p"), expected);
    }

    fn cancel() -> Option<Stop> {
        Some(Stop::CancelRequested(proto::CancelRequested::default()))
    }

    #[test]
    fn success_is_the_response_or_empty() {
        check(made(ended(EXIT_0, None)), &Ok(Completion::response(payload::text("made"))));
        check(wrote("warning", ended(EXIT_0, None)), &Ok(Completion::empty()));
    }

    #[test]
    fn anything_but_exit_0_is_an_error_that_ends_with_the_tail_of_stderr() {
        let failure = |message: &str| Err(Failure::new(Code::Unknown, message));
        check(ended(EXIT_3, None), &failure("p exited with status 3"));
        check(made(wrote("a\nno file\n", ended(EXIT_3, None))), &failure(r"p exited with status 3: a\nno file"));
        check(wrote("oops", ended(SIGTERM, None)), &failure("p was killed by signal 15 (SIGTERM): oops"));
    }

    #[test]
    fn a_message_is_never_longer_than_an_error_may_be() {
        let long = "\x1bж".repeat(10_000);
        let Err(failure) = wrote(&long, ended(EXIT_3, None)).outcome("p") else { panic!("it failed") };
        let mut tail = Tail::default();
        tail.push(long.as_bytes());
        let begin = "p exited with status 3: ";
        let expected = format!("{begin}{}", tail.text(ERROR_MESSAGE_BYTES_MAX - begin.len()));
        assert!(
            (ERROR_MESSAGE_BYTES_MAX - 8..=ERROR_MESSAGE_BYTES_MAX).contains(&expected.len()),
            "{}",
            expected.len()
        );
        assert_eq!(failure, Failure::new(Code::Unknown, expected));
    }

    #[test]
    fn what_cancel_has_stopped_is_cancelled_and_says_how_it_ended() {
        check(ended(SIGTERM, cancel()), &Ok(Completion::cancelled("p was killed by signal 15 (SIGTERM)")));
        check(made(ended(EXIT_3, cancel())), &Ok(Completion::cancelled("p exited with status 3")));
        check(ended(EXIT_0, cancel()), &Ok(Completion::cancelled("p exited with status 0")));
    }

    #[test]
    fn a_response_that_came_in_spite_of_cancel_or_shutdown_stands() {
        let response = || Ok(Completion::response(payload::text("made")));
        check(made(ended(EXIT_0, cancel())), &response());
        check(made(ended(EXIT_0, Some(Stop::ShuttingDown))), &response());
    }

    #[test]
    fn what_a_shutdown_has_stopped_goes_back() {
        check(ended(SIGTERM, Some(Stop::ShuttingDown)), &Err(Failure::released()));
        check(made(ended(EXIT_3, Some(Stop::ShuttingDown))), &Err(Failure::released()));
        check(ended(EXIT_0, Some(Stop::ShuttingDown)), &Err(Failure::released()));
        check(made(ended(EXIT_0, Some(Stop::LeaseLost))), &Err(Failure::released()));
    }

    #[test]
    fn an_overlong_line_is_an_error_whatever_came_after_it() {
        let message = "p wrote a line of more than 2097152 bytes to its standard output";
        let ended = Ended { overlong: true, ..made(ended(EXIT_0, None)) };
        check(ended, &Err(Failure::new(Code::Internal, message)));
    }
}
