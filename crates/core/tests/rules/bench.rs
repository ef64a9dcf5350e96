//! One operation on the bench: its clock in whole seconds since create, and every command in a word.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{
    Any, Cancel, Claim, Command, Complete, Completion, Decision, Digest, EventKind, Gone, Heartbeat, Kind, LeaseKey,
    LeaseSecret, NewOperation, Now, Operation, OperationId, Principal, Progress, Reason, Rejection, Release,
    ReportFailure, Retention, Retry, Spec, Status, Stored, Timestamp, Worker, create, decide,
};

/// An operation and its clock.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) op: Operation,
    pub(crate) now: Timestamp,
    away_until: Option<Timestamp>,
    leases: u8,
}

/// What a command is answered.
pub(crate) type Answer = Result<(), Rejection>;

impl Bench {
    /// Created at second 0: two attempts, leases of 10 s, a grace of 20 s, no timeouts.
    pub(crate) fn new(change: impl FnOnce(&mut Spec)) -> Self {
        Self::created(change, None)
    }

    /// The same, started by its producer.
    pub(crate) fn started(change: impl FnOnce(&mut Spec)) -> (Self, LeaseKey) {
        let bench = Self::created(change, Some(claim("producer", 0)));
        let lease = bench.lease();
        (bench, lease)
    }

    /// The same, claimed at second 0.
    pub(crate) fn claimed(change: impl FnOnce(&mut Spec)) -> (Self, LeaseKey) {
        let mut bench = Self::new(change);
        let lease = bench.claim("first");
        (bench, lease)
    }

    fn created(change: impl FnOnce(&mut Spec), claim: Option<Claim>) -> Self {
        let mut spec = Spec::new(Kind::new("render").expect("a short name"));
        spec.max_attempts = 2;
        spec.cancel_grace = seconds(20);
        spec.retention = Retention::same(Some(seconds(100)));
        change(&mut spec);
        let new = NewOperation { spec: Arc::new(spec), metadata: None, claim };
        let op = create(&new, OperationId::generate(1, [7; 13]), second(0));
        Self { op, now: second(0), away_until: None, leases: 0 }
    }

    /// Turns the clock to `seconds` after create; nobody settles.
    pub(crate) fn at(&mut self, seconds: i64) -> &mut Self {
        self.now = second(seconds);
        self
    }

    /// Turns the clock on by a microsecond.
    pub(crate) fn and_a_microsecond(&mut self) -> &mut Self {
        self.now = self.now.after(Duration::from_micros(1));
        self
    }

    /// Turns the clock back by a microsecond.
    pub(crate) fn less_a_microsecond(&mut self) -> &mut Self {
        self.now = self.now.before(Duration::from_micros(1));
        self
    }

    /// Nobody could be served until then.
    pub(crate) fn away_until(&mut self, at: Timestamp) -> &mut Self {
        self.away_until = Some(at);
        self
    }

    /// Decides and stores.
    pub(crate) fn ask(&mut self, command: &Command) -> Answer {
        let decision = self.decide(command);
        match decision.stored {
            Stored::Live(op) => self.op = Operation::clone(&op),
            Stored::Gone(gone) => panic!("it is gone: {gone:?}"),
        }
        decision.answer
    }

    /// Decides and stores nothing.
    pub(crate) fn decide(&self, command: &Command) -> Decision {
        decide(&self.op, command, Now { away_until: self.away_until, ..Now::at(self.now) })
    }

    /// What is left when `command` removes it.
    pub(crate) fn gone(&self, command: &Command) -> Option<Gone> {
        match self.decide(command).stored {
            Stored::Gone(gone) => Some(gone),
            Stored::Live(_) => None,
        }
    }

    pub(crate) fn settle(&mut self) -> &mut Self {
        self.ask(&Command::Settle).expect("settling is never refused");
        self
    }

    pub(crate) fn claim(&mut self, worker: &str) -> LeaseKey {
        self.try_claim(worker).expect("it can be claimed");
        self.lease()
    }

    pub(crate) fn try_claim(&mut self, worker: &str) -> Answer {
        self.leases += 1;
        self.ask(&Command::Claim(claim(worker, self.leases)))
    }

    pub(crate) fn heartbeat(&mut self, lease: &LeaseKey) -> Answer {
        self.ask(&heartbeat(lease))
    }

    pub(crate) fn report_failure(&mut self, lease: &LeaseKey, error: Status) -> Answer {
        self.ask(&report_failure(lease, error))
    }

    pub(crate) fn retry(&mut self, lease: &LeaseKey, backoff: u64) -> Answer {
        self.ask(&retry(lease, backoff))
    }

    pub(crate) fn release(&mut self, lease: &LeaseKey) -> Answer {
        self.ask(&release(lease))
    }

    pub(crate) fn respond(&mut self, lease: &LeaseKey) -> Answer {
        self.ask(&complete(lease, Completion::Response(response())))
    }

    pub(crate) fn fail(&mut self, lease: &LeaseKey, error: Status) -> Answer {
        self.ask(&complete(lease, Completion::Error(error)))
    }

    pub(crate) fn confirm_cancel(&mut self, lease: &LeaseKey) -> Answer {
        self.ask(&complete(lease, Completion::Cancelled("".into())))
    }

    pub(crate) fn cancel(&mut self) -> Answer {
        self.ask(&cancel("caller"))
    }

    /// The newest lease as its worker got it.
    pub(crate) fn lease(&self) -> LeaseKey {
        let lease = self.op.lease.as_ref().expect("a lease was given");
        LeaseKey { operation: self.op.id.clone(), token: lease.token, secret: lease.secret }
    }

    /// The last event.
    pub(crate) fn last_event(&self) -> EventKind {
        self.op.events.last().expect("creation is an event").what
    }

    /// The code of the error it ended with; 0 for a response.
    pub(crate) fn code(&self) -> i32 {
        match self.op.outcome().expect("it is done") {
            operond_core::Outcome::Response(_) => 0,
            operond_core::Outcome::Error(error) => error.code,
        }
    }
}

/// The instant `seconds` after create.
pub(crate) fn second(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_000_000 + seconds) * 1_000_000)
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn claim(worker: &str, number: u8) -> Claim {
    let worker = Worker::new(worker).expect("a short name");
    Claim { worker, duration: seconds(10), secret: LeaseSecret([number; 16]) }
}

pub(crate) fn heartbeat(lease: &LeaseKey) -> Command {
    heartbeat_with(lease, None, None, None)
}

pub(crate) fn heartbeat_with(
    lease: &LeaseKey,
    duration: Option<u64>,
    metadata: Option<Any>,
    progress: Option<Progress>,
) -> Command {
    let duration = duration.map(seconds);
    Command::Heartbeat(Heartbeat { lease: lease.clone(), duration, metadata, progress })
}

pub(crate) fn report_failure(lease: &LeaseKey, error: Status) -> Command {
    Command::ReportFailure(ReportFailure { lease: lease.clone(), error, metadata: None })
}

pub(crate) fn retry(lease: &LeaseKey, backoff: u64) -> Command {
    let (error, backoff) = (error('R'), Some(seconds(backoff)));
    Command::Retry(Retry { lease: lease.clone(), error, backoff, jitter: 0, digest: Digest([1; 16]) })
}

pub(crate) fn release(lease: &LeaseKey) -> Command {
    Command::Release(Release { lease: lease.clone(), digest: Digest([2; 16]) })
}

/// A complete; the digest stands for its content.
pub(crate) fn complete(lease: &LeaseKey, result: Completion) -> Command {
    let content = match &result {
        Completion::Response(_) => 3,
        Completion::Error(error) => 10 + u8::try_from(error.code).expect("a small code"),
        Completion::Cancelled(_) => 4,
    };
    Command::Complete(Complete { lease: lease.clone(), result, metadata: None, digest: Digest([content; 16]) })
}

pub(crate) fn cancel(by: &str) -> Command {
    let by = Principal::parse("by", by).expect("a short name");
    Command::Cancel(Cancel { by, reason: Reason::default() })
}

/// Every command that a worker gives with its lease.
pub(crate) fn by_worker(lease: &LeaseKey) -> [Command; 5] {
    let response = complete(lease, Completion::Response(response()));
    [heartbeat(lease), report_failure(lease, error('A')), retry(lease, 1), release(lease), response]
}

pub(crate) fn response() -> Any {
    Any::new("type.googleapis.com/example.Frames", [1, 2].as_slice())
}

pub(crate) fn metadata(byte: u8) -> Any {
    Any::new("type.googleapis.com/example.Metadata", [byte].as_slice())
}

/// The error `which`: A and B are what a worker detects or ends with, R what it retries after.
pub(crate) fn error(which: char) -> Status {
    let code = match which {
        'A' => 9,
        'B' => 13,
        _ => 8,
    };
    Status::new(code, format!("error {which}"))
}
