//! Requests made up at random, most of them about what is there and some about what is not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use operond_core::{
    Claim, Command, Complete, Completion, Digest, Heartbeat, LeaseKey, LeaseSecret, NewOperation, Operation,
    OperationId, Progress, Release, ReportFailure, Retention, Retry, Scope, Spec, Status, Token,
};

use super::filters::{self, Lengths};
use super::make::{self, DAY, HOUR, SECOND, any, cancel, kind, status, tenant, worker};
use super::random::Random;
use crate::filter::{Face, Filter, NoPayloads, Payloads};
use crate::list::{Cursor, ListQuery, Order};
use crate::request::{ClaimRequest, CreateRequest, Request};

/// Makes requests up, and remembers what they can speak of.
pub(super) struct Script {
    pub(super) random: Random,
    operations: VecDeque<Arc<Operation>>,
    leases: VecDeque<LeaseKey>,
    asked: VecDeque<Request>,
}

impl Script {
    pub(super) fn new(seed: u64) -> Self {
        let (operations, leases, asked) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { random: Random::new(seed), operations, leases, asked }
    }

    /// Remembers a version of an operation to speak of it later.
    pub(super) fn remember(&mut self, operation: &Arc<Operation>) {
        if operation.lease.is_some() {
            keep(&mut self.leases, make::lease(operation));
        }
        keep(&mut self.operations, Arc::clone(operation));
    }

    /// An operation that was there at some time.
    pub(super) fn known(&mut self) -> Option<Arc<Operation>> {
        // The newest half of the time, so that lives go on to their end.
        let newest = if self.random.one_in(2) { 10 } else { self.operations.len() };
        let back = self.random.below(newest.min(self.operations.len())) + 1;
        self.operations.get(self.operations.len().checked_sub(back)?).cloned()
    }

    pub(super) fn request(&mut self) -> Request {
        if self.random.one_in(12)
            && let Some(again) = self.repeat()
        {
            return again;
        }
        let request = match self.random.below(100) {
            0..20 => self.create(),
            20..34 => self.claim(),
            34..38 => Request::Settle(self.random.below(20)),
            _ => self.command(),
        };
        keep(&mut self.asked, request.clone());
        request
    }

    /// How long nothing happens now: from not at all to longer than anything is remembered.
    pub(super) fn pause(&mut self) -> Duration {
        match self.random.below(1_000) {
            0..300 => Duration::ZERO,
            300..550 => self.up_to(SECOND / 100),
            550..800 => self.up_to(3 * SECOND),
            800..930 => self.up_to(40 * SECOND),
            930..975 => self.up_to(2 * HOUR),
            975..997 => self.up_to(30 * HOUR),
            _ => self.up_to(40 * DAY),
        }
    }

    pub(super) fn query(&mut self) -> ListQuery {
        let after = if self.random.one_in(3) { None } else { self.known().map(|operation| Cursor::of(&operation)) };
        ListQuery {
            scope: self.scope(),
            filter: self.filter(),
            order: if self.random.one_in(2) { Order::NewestFirst } else { Order::OldestFirst },
            after,
            limit: 1 + self.random.below(50),
            bytes_max: if self.random.one_in(2) { usize::MAX } else { self.random.below(20_000) },
            scan_max: if self.random.one_in(2) { usize::MAX } else { 1 + self.random.below(100) },
            ..ListQuery::default()
        }
    }

    /// From the start, of a few operations, and sometimes with what is read out of payloads.
    pub(super) fn short_query(&mut self) -> ListQuery {
        let payloads: Arc<dyn Payloads> = if self.random.one_in(2) { Arc::new(NoPayloads) } else { Arc::new(Lengths) };
        ListQuery {
            payloads,
            after: None,
            limit: 1 + self.random.below(8),
            scan_max: 1 + self.random.below(30),
            ..self.query()
        }
    }

    /// Mostly everything.
    fn scope(&mut self) -> Scope {
        if !self.random.one_in(4) {
            return Scope::default();
        }
        let kinds = self.random.one_in(3).then(|| (0..2).map(|_| kind(self.random.pick(&KINDS))).collect());
        Scope { tenant: self.random.one_in(2).then(|| tenant(self.random.pick(&TENANTS))), kinds }
    }

    /// Of either face.
    fn filter(&mut self) -> Arc<Filter> {
        let face = self.random.pick(&[Face::Native, Face::Google]);
        let text = filters::filter(&mut self.random);
        Arc::new(Filter::parse(&text, face).unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    /// Something asked before, asked again.
    fn repeat(&mut self) -> Option<Request> {
        let index = self.random.below(self.asked.len());
        let mut again = self.asked.get(index)?.clone();
        if let Request::Create(create) = &mut again {
            create.entropy = self.random.bytes();
        }
        if let Request::Claim(claim) = &mut again {
            claim.secrets.iter_mut().for_each(|secret| *secret = LeaseSecret(self.random.bytes()));
        }
        Some(again)
    }

    fn create(&mut self) -> Request {
        let (content, name) = (self.random.next() % 2, format!("key {}", self.random.below(30)));
        let key = self.random.one_in(2).then(|| (make::key(&name), make::fingerprint(content)));
        let claim = self.random.one_in(4).then(|| self.lease_for());
        let metadata = self.random.one_in(3).then(|| self.payload());
        let new = NewOperation { spec: Arc::new(self.spec()), metadata, claim };
        Request::Create(Box::new(CreateRequest { new, entropy: self.random.bytes(), key }))
    }

    fn spec(&mut self) -> Spec {
        let timeouts = [None, None, Some(2 * SECOND), Some(HOUR)];
        let retention = [None, Some(2 * SECOND), Some(HOUR), Some(2 * DAY)];
        Spec {
            tenant: tenant(self.random.pick(&TENANTS)),
            input: self.random.one_in(3).then(|| self.payload()),
            cancellable: !self.random.one_in(8),
            clean_up_on_cancel: self.random.one_in(3),
            queue_timeout: self.random.pick(&timeouts),
            run_timeout: self.random.pick(&timeouts),
            max_attempts: self.random.pick(&[1, 2, 3, 100]),
            cancel_grace: SECOND + self.up_to(10 * SECOND),
            retention: Retention {
                succeeded: self.random.pick(&retention),
                failed: self.random.pick(&retention),
                cancelled: self.random.pick(&retention),
            },
            response_type: self.random.one_in(8).then(|| "x.Other".into()),
            metadata_type: self.random.one_in(8).then(|| "x.Other".into()),
            ..Spec::new(kind(self.random.pick(&KINDS)))
        }
    }

    fn claim(&mut self) -> Request {
        let kinds = (0..=self.random.below(3)).map(|_| kind(self.random.pick(&KINDS))).collect();
        let after = [None, Some("a"), Some("b"), Some("bb"), Some("ж"), Some("zz")];
        Request::Claim(ClaimRequest {
            kinds,
            tenant: self.random.one_in(4).then(|| tenant(self.random.pick(&TENANTS))),
            after: self.random.pick(&after).map(tenant),
            worker: worker("claimer"),
            duration: SECOND + self.up_to(30 * SECOND),
            secrets: (0..self.random.below(5)).map(|_| LeaseSecret(self.random.bytes())).collect(),
        })
    }

    fn command(&mut self) -> Request {
        let command = match self.random.below(62) {
            0..10 => cancel(),
            10..17 => Command::Delete,
            17..20 => Command::Settle,
            20..22 => Command::Claim(self.lease_for()),
            _ => return self.worker_command(),
        };
        let unknown = make::id("op0000nobody");
        let known = if self.random.one_in(30) { None } else { self.known() };
        let id = known.map_or(unknown, |operation| operation.id.clone());
        Request::Command(self.scope(), id, Box::new(command))
    }

    fn worker_command(&mut self) -> Request {
        let Some((id, lease)) = self.lease() else { return self.create() };
        let metadata = self.random.one_in(4).then(|| self.payload());
        let digest = Digest([u8::try_from(self.random.below(3)).expect("below 3"); 16]);
        let command = match self.random.below(40) {
            0..12 => self.heartbeat(lease),
            12..17 => Command::ReportFailure(ReportFailure { lease, error: self.error(), metadata }),
            17..23 => {
                let backoff = self.random.one_in(2).then(|| self.up_to(20 * SECOND));
                let jitter = u16::try_from(self.random.below(65_536)).expect("16 bits");
                Command::Retry(Retry { lease, error: self.error(), backoff, jitter, digest })
            }
            23..28 => Command::Release(Release { lease, digest }),
            _ => Command::Complete(Complete { lease, result: self.result(), metadata, digest }),
        };
        Request::Command(self.scope(), id, Box::new(command))
    }

    fn heartbeat(&mut self, lease: LeaseKey) -> Command {
        let done = self.random.one_in(2).then(|| 0.1 * f64::from(u8::try_from(self.random.below(100)).expect("below")));
        Command::Heartbeat(Heartbeat {
            lease,
            duration: self.random.one_in(3).then(|| SECOND + self.up_to(60 * SECOND)),
            metadata: self.random.one_in(6).then(|| self.payload()),
            progress: self.random.one_in(4).then(|| Progress { done, ..Progress::default() }),
        })
    }

    /// Mostly one that is good, else an older one, or one that nobody gave.
    fn lease(&mut self) -> Option<(OperationId, LeaseKey)> {
        let index = self.random.below(self.leases.len());
        let old = self.leases.get(index)?.clone();
        let known = self.known().filter(|operation| operation.lease.is_some());
        let mut lease = match known {
            Some(operation) if !self.random.one_in(6) => make::lease(&operation),
            _ => old,
        };
        match self.random.below(25) {
            0 => lease.secret = LeaseSecret(self.random.bytes()),
            1 => lease.token = Token(lease.token.0 + 1),
            2 => return self.known().map(|other| (other.id.clone(), lease)),
            _ => {}
        }
        Some((lease.operation.clone(), lease))
    }

    fn lease_for(&mut self) -> Claim {
        let duration = SECOND + self.up_to(30 * SECOND);
        Claim { worker: worker("producer"), duration, secret: LeaseSecret(self.random.bytes()) }
    }

    fn result(&mut self) -> Completion {
        match self.random.below(4) {
            0 => Completion::Error(self.error()),
            1 => Completion::Cancelled("stopped".into()),
            _ => Completion::Response(self.payload()),
        }
    }

    fn error(&mut self) -> Status {
        let details = (0..self.random.below(3)).map(|_| self.payload()).collect();
        let code = self.random.pick(&[5, 9, 14]);
        Status { details, ..status(code, "it broke") }
    }

    fn payload(&mut self) -> operond_core::Any {
        let size = self.random.below(if self.random.clone().one_in(20) { 5_000 } else { 40 });
        any(&"ж".repeat(size))
    }

    fn up_to(&mut self, length: Duration) -> Duration {
        let micros = usize::try_from(length.as_micros()).expect("days fit");
        Duration::from_micros(self.random.below(micros + 1) as u64)
    }
}

/// Appends, and forgets the oldest when there are many.
fn keep<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == REMEMBERED {
        queue.pop_front();
    }
    queue.push_back(item);
}

const REMEMBERED: usize = 400;
const KINDS: [&str; 4] = ["a", "b", "B", "ж"];
const TENANTS: [&str; 4] = ["a", "b", "c", "ж"];
