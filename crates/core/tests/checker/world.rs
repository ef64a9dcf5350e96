//! The small world that the checker walks: one operation, its clock, what it was created with, and
//! what somebody outside remembers of it.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use operond_core::{
    Claim, Command, Digest, Kind, LeaseKey, LeaseSecret, NewOperation, Now, Operation, Outcome, Phase, Retention, Spec,
    Status, Timestamp, Token, Worker,
};

/// How the operation is created, and whether the clock may once go back under it, or what is stored be out of reach.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) one_attempt: bool,
    pub(crate) clean_up: bool,
    pub(crate) not_cancellable: bool,
    pub(crate) queue_timeout: bool,
    pub(crate) run_timeout: bool,
    pub(crate) kept: bool,
    pub(crate) started: bool,
    pub(crate) clock_steps_back: bool,
    pub(crate) outage: bool,
}

/// A state of the world.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) op: Arc<Operation>,
    pub(crate) now: Timestamp,
    /// Nobody could be served until then, and nobody has settled since.
    pub(crate) away_until: Option<Timestamp>,
    pub(crate) seen: Observer,
}

/// What an observer of all requests and answers knows without looking into the operation.
#[derive(Clone, Default)]
pub(crate) struct Observer {
    /// Leases given.
    pub(crate) given: u64,
    /// Leases released and not counted.
    pub(crate) released: u64,
    /// The newest lease.
    pub(crate) newest: Option<LeaseKey>,
    /// The one before: a zombie's.
    pub(crate) older: Option<LeaseKey>,
    /// The newest lease was given up by retry or release.
    pub(crate) void: bool,
    /// The complete, retry or release accepted since the newest lease was given: its reply may be lost.
    pub(crate) accepted: Option<Arc<Command>>,
    pub(crate) stepped_back: bool,
    pub(crate) outage: bool,
}

/// What the observer knows of a lease that somebody shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The newest, not given up; it may have lapsed.
    Good,
    /// The newest, given up.
    Void,
    /// A newer one was given.
    Stale,
    /// Never given.
    Forged,
}

impl Setup {
    /// Every combination that makes a difference.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for bits in 0..512_u32 {
            let bit = |index: u32| bits >> index & 1 == 1;
            let setup = Self {
                one_attempt: bit(0),
                clean_up: bit(1),
                not_cancellable: bit(2),
                queue_timeout: bit(3),
                run_timeout: bit(4),
                kept: bit(5),
                started: bit(6),
                clock_steps_back: bit(7),
                outage: bit(8),
            };
            let pointless = [
                setup.not_cancellable && setup.clean_up,
                // What is kept differs only once it is done.
                setup.kept && (setup.queue_timeout || setup.run_timeout || setup.started),
                // Started is created and claimed at once.
                setup.started && setup.queue_timeout != setup.run_timeout,
                setup.clock_steps_back && (setup.kept || setup.started || setup.not_cancellable),
                // A run timeout that a step back prolongs only multiplies the same states.
                setup.clock_steps_back && setup.run_timeout && !setup.one_attempt,
                // An outage concerns leases and graces only.
                setup.outage && (setup.kept || setup.started || setup.not_cancellable || setup.clock_steps_back),
            ];
            if !pointless.contains(&true) {
                all.push(setup);
            }
        }
        all
    }

    /// What is created.
    pub(crate) fn new_operation(&self) -> NewOperation {
        let mut spec = Spec::new(Kind::new("render").expect("a short name"));
        spec.max_attempts = if self.one_attempt { 1 } else { 2 };
        spec.clean_up_on_cancel = self.clean_up;
        spec.cancellable = !self.not_cancellable;
        spec.queue_timeout = self.queue_timeout.then_some(QUEUE);
        spec.run_timeout = self.run_timeout.then_some(RUN);
        spec.cancel_grace = GRACE;
        spec.retention = Retention::same((!self.kept).then_some(RETENTION));
        let claim = self.started.then(|| claim("producer", 1));
        NewOperation { spec: Arc::new(spec), metadata: None, claim }
    }
}

impl World {
    /// The world right after create.
    pub(crate) fn begin(op: Operation, setup: &Setup) -> Self {
        let mut seen = Observer::default();
        if setup.started {
            seen.note_lease(&op);
        }
        Self { now: op.created_at, away_until: None, op: Arc::new(op), seen }
    }

    /// Tells states apart by what can still make a difference: times are relative to now, tokens
    /// and revisions are gone, and so are names.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let op = &*self.op;
        let relative = |at: Timestamp| at.micros() - self.now.micros();
        let timer = |at: Option<Timestamp>| at.map(relative);
        match &op.phase {
            Phase::Queued { backoff, deadline } => {
                (0, backoff, timer(*deadline), relative(op.available_at).max(0)).hash(&mut hasher);
            }
            Phase::Leased { expires_at } => (1, relative(*expires_at)).hash(&mut hasher),
            Phase::Done { outcome, expires_at, .. } => {
                let code = match outcome {
                    Outcome::Response(_) => 0,
                    Outcome::Error(status) => status.code,
                };
                (2, code, timer(*expires_at)).hash(&mut hasher);
            }
        }
        if !op.done() {
            (timer(op.run_deadline), timer(op.grace_deadline), op.attempt, op.started_at.is_some()).hash(&mut hasher);
        }
        let code = |status: &Option<Status>| status.as_ref().map(|status| status.code);
        (code(&op.failure), op.cancel.is_some(), op.metadata.is_some(), op.modified_at > self.now).hash(&mut hasher);
        if let Some(lease) = &op.lease {
            (lease.duration, lease.given_up, lease.answered).hash(&mut hasher);
        }
        timer(self.away_until).hash(&mut hasher);
        let seen = &self.seen;
        (seen.newest.is_some(), seen.older.is_some(), seen.void, seen.stepped_back, seen.outage).hash(&mut hasher);
        hasher.finish()
    }

    /// The same operation at another time; nobody has settled it.
    pub(crate) fn at(&self, now: Timestamp) -> Self {
        Self { now, ..self.clone() }
    }

    /// What the store says of the time.
    pub(crate) fn told(&self) -> Now {
        Now { away_until: self.away_until, ..Now::at(self.now) }
    }
}

impl Observer {
    /// What is known of the lease `key`.
    pub(crate) fn standing(&self, key: &LeaseKey) -> Standing {
        let Some(newest) = &self.newest else { return Standing::Forged };
        if key == newest {
            return if self.void { Standing::Void } else { Standing::Good };
        }
        if key.token < newest.token { Standing::Stale } else { Standing::Forged }
    }

    /// A lease was given: `op` shows it.
    pub(crate) fn note_lease(&mut self, op: &Operation) {
        let lease = op.lease.as_ref().expect("it was just given");
        let key = LeaseKey { operation: op.id.clone(), token: lease.token, secret: lease.secret };
        self.given += 1;
        self.older = self.newest.replace(key);
        self.void = false;
        self.accepted = None;
    }

    /// A command other than a claim was accepted that is not a repeat; `settled` is what it met.
    pub(crate) fn note_accepted(&mut self, command: &Command, settled: &Operation) {
        match command {
            Command::Retry(_) | Command::Release(_) => self.void = true,
            Command::Complete(_) => {}
            _ => return,
        }
        let as_lapse = settled.cancel.is_some() && settled.failure.is_none();
        if matches!(command, Command::Release(_)) && !as_lapse {
            self.released += 1;
        }
        self.accepted = Some(Arc::new(command.clone()));
    }

    /// Whether `command` was accepted under the newest lease before.
    pub(crate) fn repeats(&self, command: &Command) -> bool {
        self.accepted.as_deref() == Some(command)
    }
}

/// A claim; `number` makes its secret its own.
pub(crate) fn claim(worker: &str, number: u64) -> Claim {
    Claim { worker: Worker::new(worker).expect("a short name"), duration: LEASE, secret: secret(number) }
}

/// A secret that no other number gives.
pub(crate) fn secret(number: u64) -> LeaseSecret {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    LeaseSecret(bytes)
}

/// The digest that stands for a request's content.
pub(crate) fn digest(content: u8) -> Digest {
    Digest([content; 16])
}

/// One of the two errors that workers report.
pub(crate) fn error(which: char) -> Status {
    Status::new(if which == 'A' { 9 } else { 13 }, format!("error {which}"))
}

/// The token after `token`.
pub(crate) fn next(token: Token) -> Token {
    Token(token.0 + 1)
}

// Lengths that often end at the same instant. All timers are longer than an absence: no timer that
// settling arms is due before the settler may be late.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
pub(crate) const LEASE_SHORT: Duration = Duration::from_secs(7);
pub(crate) const GRACE: Duration = Duration::from_secs(10);
pub(crate) const QUEUE: Duration = Duration::from_secs(10);
pub(crate) const RUN: Duration = Duration::from_secs(20);
pub(crate) const RETENTION: Duration = Duration::from_secs(8);
pub(crate) const BACKOFF: Duration = Duration::from_secs(3);
