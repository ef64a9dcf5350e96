//! `grpc-timeout`: how long the client of a gRPC call will wait for its answer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Code;

use super::{Form, Refusal};

const GRPC_TIMEOUT: &str = "grpc-timeout";
/// What the protocol allows: so many digits and a unit.
const DIGITS_MAX: usize = 8;
/// Most that a wait-like call answers before the deadline; a tenth of the timeout if that is less. The answer has
/// to travel, and the client's clock has been running since before the call arrived.
const ANSWER_EARLY_MAX: Duration = Duration::from_millis(250);
/// How long after the deadline a call that promised to answer by itself is ended anyway.
const OVERDUE_MAX: Duration = Duration::from_secs(1);

/// When the client stops waiting. An extension of gRPC requests with a `grpc-timeout`.
///
/// A call that has not answered by then is dropped and answered DEADLINE_EXCEEDED; commands that it had handed to
/// the engine are carried out all the same. A call that waits for something and would rather answer with what
/// there is calls [`Deadline::answer_myself`] and answers at [`Deadline::answer_by`].
#[derive(Debug, Clone)]
pub struct Deadline {
    at: Instant,
    answer_by: Instant,
    answers_itself: Arc<AtomicBool>,
}

impl Deadline {
    fn after(timeout: Duration, now: Instant) -> Option<Self> {
        let at = now.checked_add(timeout)?;
        let answer_by = now.checked_add(timeout - (timeout / 10).min(ANSWER_EARLY_MAX))?;
        Some(Self { at, answer_by, answers_itself: Arc::new(AtomicBool::new(false)) })
    }

    /// The instant after which the client does not listen any more.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.at
    }

    /// When a wait-like call should answer: a little before [`Deadline::at`].
    #[must_use]
    pub fn answer_by(&self) -> Instant {
        self.answer_by
    }

    /// Says that this call answers by itself in time: it is not cut off at the deadline (but a second later).
    pub fn answer_myself(&self) {
        self.answers_itself.store(true, Ordering::Relaxed);
    }
}

/// The deadline of a request, if it has one.
pub(super) fn of(request: &Request<Body>, form: Form) -> Result<Option<Deadline>, Refusal> {
    match (form, request.headers().get(GRPC_TIMEOUT)) {
        (Form::Grpc, Some(value)) => match parse(value.as_bytes()) {
            // A timeout beyond what the clock can say is none.
            Some(timeout) => Ok(Deadline::after(timeout, Instant::now())),
            None => Err(garbled()),
        },
        _ => Ok(None),
    }
}

/// Ends a call at its deadline.
#[derive(Debug)]
pub(super) struct Timer {
    deadline: Deadline,
    sleep: Pin<Box<Sleep>>,
}

impl Timer {
    pub(super) fn new(deadline: Deadline) -> Self {
        Self { sleep: Box::pin(sleep_until(deadline.at)), deadline }
    }
}

/// Ready, with the refusal to answer, when the call has to end.
pub(super) fn poll_expired(timer: &mut Option<Timer>, cx: &mut Context<'_>) -> Poll<Refusal> {
    let Some(timer) = timer else {
        return Poll::Pending;
    };
    ready!(timer.sleep.as_mut().poll(cx));
    if timer.deadline.answers_itself.load(Ordering::Relaxed) {
        // The second time round this instant has passed as well.
        timer.sleep.as_mut().reset(timer.deadline.at + OVERDUE_MAX);
        ready!(timer.sleep.as_mut().poll(cx));
    }
    let message = "the call did not end before its deadline";
    Poll::Ready(Refusal::new(Code::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED", message))
}

fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(number * 60 * 60)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

fn garbled() -> Refusal {
    let message = "grpc-timeout must be 1 to 8 digits followed by one of H, M, S, m, u, n";
    Refusal::new(Code::InvalidArgument, StatusCode::BAD_REQUEST, "INVALID_FIELD", message).with("field", GRPC_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_and_garbage_is_not() {
        let cases = [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("0S", Some(Duration::ZERO)),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("100000000S", None),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("1h", None),
            ("-1S", None),
            ("+1S", None),
            ("1.5S", None),
            (" 1S", None),
            ("1 S", None),
            ("1SS", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn wait_like_calls_answer_a_tenth_early_but_not_more_than_a_quarter_second() {
        let now = Instant::now();
        for (timeout_ms, early_ms) in [(100, 10), (2_500, 250), (60_000, 250), (0, 0)] {
            let deadline = Deadline::after(Duration::from_millis(timeout_ms), now).unwrap();
            assert_eq!(deadline.at() - now, Duration::from_millis(timeout_ms));
            assert_eq!(deadline.at() - deadline.answer_by(), Duration::from_millis(early_ms), "{timeout_ms} ms");
        }
    }
}
