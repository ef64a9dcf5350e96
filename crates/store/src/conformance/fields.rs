//! What goes in comes out: every member, byte for byte.

use std::sync::Arc;
use std::time::Duration;

use operond_core::limits::{
    EVENTS_MAX, INPUT_BYTES_MAX, LABELS_MAX, METADATA_BYTES_MAX, RESPONSE_BYTES_MAX, RETENTION_RANGE, TIMEOUT_RANGE,
};
use operond_core::{
    Any, Command, Completion, Description, EventKind, Heartbeat, Labels, NewOperation, Operation, Progress,
    ReportFailure, Retention, Spec, Status,
};

use super::Subject;
use super::make::{
    DAY, HOUR, SECOND, any, cancel, claim, complete, complete_with, heartbeat, kind, lease, principal, report_failure,
    retry, status, tenant,
};
use super::rig::Rig;

pub fn every_member_that_a_producer_sets_reads_back(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let created = rig.create_new(rich());
    assert_eq!(*created.spec, *rich().spec);
    assert_eq!(created.metadata, rich().metadata);
    assert_eq!(rig.read(&created.id), created);
}

pub fn every_member_at_its_limit_reads_back(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let new = largest();
    new.check().expect("each member is within its limit");
    let created = rig.create_new(new.clone());
    assert_eq!(*created.spec, *new.spec);
    assert_eq!(rig.read(&created.id), created);
}

pub fn empty_and_absent_members_stay_apart(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let bare = rig.create("work");
    let empty = Some(Any::new("type.googleapis.com/e", [].as_slice()));
    let mut spec = Spec::new(kind("work"));
    spec.input.clone_from(&empty);
    let hollow = rig.create_new(NewOperation { spec: Arc::new(spec), metadata: empty.clone(), claim: None });
    assert_eq!((&rig.read(&bare.id).spec.input, &rig.read(&bare.id).metadata), (&None, &None));
    assert_eq!((&rig.read(&hollow.id).spec.input, &rig.read(&hollow.id).metadata), (&empty, &empty));
    let started = rig.start("work");
    let progress = Some(Progress::default());
    let report = Heartbeat { lease: lease(&started), duration: None, metadata: None, progress: progress.clone() };
    rig.accept(&started.id, Command::Heartbeat(report));
    assert_eq!(rig.read(&started.id).progress, progress);
}

pub fn every_member_that_work_sets_reads_back(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    for operation in everything_set(&rig) {
        assert_eq!(rig.read(&operation.id), operation, "{}", operation.state().as_str());
    }
}

pub fn a_response_of_a_mebibyte_reads_back(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let started = rig.start("work");
    let response = filled(RESPONSE_BYTES_MAX);
    let done = rig.accept(&started.id, complete_with(&started, Completion::Response(response)));
    assert_eq!(rig.read(&started.id), done);
}

pub fn an_error_reads_back_with_its_details(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let started = rig.start("work");
    let done = rig.accept(&started.id, complete_with(&started, Completion::Error(detailed(16))));
    assert_eq!(done.outcome(), Some(&operond_core::Outcome::Error(detailed(16))));
    assert_eq!(rig.read(&started.id), done);
}

pub fn the_newest_sixteen_events_read_back_in_order(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let created = rig.create_as("work", |spec| spec.max_attempts = 100);
    for _ in 0..EVENTS_MAX {
        let leased = rig.claim_one("work");
        rig.advance(SECOND);
        rig.accept(&leased.id, retry(&leased, Duration::ZERO));
        assert_eq!(rig.read(&leased.id).revision, leased.revision + 1);
    }
    let events = rig.read(&created.id).events.clone();
    assert_eq!(events.len(), EVENTS_MAX);
    assert_eq!(events[0].what, EventKind::Created);
    assert!(events.windows(2).all(|pair| pair[0].at <= pair[1].at), "{events:?}");
    assert_eq!(events.last().map(|event| event.what), Some(EventKind::RetryScheduled));
}

pub fn progress_keeps_every_bit_of_its_numbers(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let started = rig.start("work");
    for number in [0.0, 0.1 + 0.2, f64::MAX, f64::MIN_POSITIVE, f64::from_bits(1), 9_007_199_254_740_993.0] {
        let progress = Progress { done: Some(number), ..progress() };
        let report = Heartbeat { lease: lease(&started), duration: None, metadata: None, progress: Some(progress) };
        rig.accept(&started.id, Command::Heartbeat(report));
        let read = rig.read(&started.id).progress.clone().expect("progress was reported");
        assert_eq!(read.done.map(f64::to_bits), Some(number.to_bits()), "{number}");
    }
}

pub fn a_lease_reads_back_with_what_was_answered_under_it(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let started = rig.start("work");
    let done = rig.accept(&started.id, complete(&started));
    assert_eq!(rig.read(&started.id).lease, done.lease);
    assert_eq!(rig.accept(&started.id, complete(&started)), done, "a repeat is known by its digest");
}

pub fn instants_keep_their_microseconds(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    rig.advance(Duration::from_micros(1_234_567));
    let created = rig.create("work");
    assert_eq!(created.created_at, rig.now());
    assert_eq!(rig.read(&created.id).created_at.micros() % 1_000, rig.now().micros() % 1_000);
}

/// Operations in every state that together have every member set.
pub(super) fn everything_set(rig: &Rig<'_>) -> Vec<Arc<Operation>> {
    let queued = rig.create_new(rich());
    let leased = rig.create_new(NewOperation { claim: Some(claim(rig.secret())), ..rich() });
    let reported = rig.accept(&leased.id, report(&leased));
    vec![
        queued,
        reported,
        beaten(rig),
        retried(rig),
        failing(rig),
        cancelling(rig),
        rig.finished("work", |spec| *spec = (*rich().spec).clone()),
        failed(rig),
        cancelled(rig),
    ]
}

fn beaten(rig: &Rig<'_>) -> Arc<Operation> {
    let started = rig.start("work");
    rig.advance(SECOND);
    rig.accept(&started.id, heartbeat(&started))
}

fn retried(rig: &Rig<'_>) -> Arc<Operation> {
    let started = rig.start_as("work", |spec| (spec.max_attempts, spec.queue_timeout) = (5, Some(DAY)));
    rig.accept(&started.id, retry(&started, HOUR))
}

fn failing(rig: &Rig<'_>) -> Arc<Operation> {
    let started = rig.start("work");
    let metadata = Some(any("rolling back"));
    let report = ReportFailure { lease: lease(&started), error: detailed(9), metadata };
    rig.accept(&started.id, Command::ReportFailure(report));
    rig.accept(&started.id, cancel())
}

fn cancelling(rig: &Rig<'_>) -> Arc<Operation> {
    let started = rig.start("work");
    rig.accept(&started.id, cancel())
}

fn failed(rig: &Rig<'_>) -> Arc<Operation> {
    let started = rig.start("work");
    rig.accept(&started.id, report_failure(&started, detailed(9)));
    rig.accept(&started.id, complete_with(&started, Completion::Error(detailed(9))))
}

fn cancelled(rig: &Rig<'_>) -> Arc<Operation> {
    let started = rig.start("work");
    rig.accept(&started.id, complete_with(&started, Completion::Cancelled("stopped".into())))
}

fn report(leased: &Operation) -> Command {
    let metadata = Some(Any::new("type.googleapis.com/x.Meta", [0, 255, 128, 10].as_slice()));
    Command::Heartbeat(Heartbeat { lease: lease(leased), duration: Some(HOUR), metadata, progress: Some(progress()) })
}

fn progress() -> Progress {
    Progress { done: Some(1.5), total: Some(3e9), unit: "фреймы".into(), message: UNUSUAL.into() }
}

fn rich() -> NewOperation {
    let spec = Spec {
        kind: kind("work % ' \u{1F4BC}"),
        tenant: tenant(UNUSUAL),
        description: Description::parse("description", UNUSUAL).expect("within its limit"),
        created_by: principal("o'Neill \"the\" \\ caller"),
        input: Some(Any::new("type.googleapis.com/x.Input", (0..=255).collect::<Vec<u8>>())),
        labels: Labels::parse([("a", ""), ("b", UNUSUAL), ("Ä", "=;,")]).expect("within their limits"),
        cancellable: false,
        clean_up_on_cancel: true,
        queue_timeout: Some(Duration::from_micros(90_000_001)),
        run_timeout: Some(HOUR),
        max_attempts: 7,
        cancel_grace: Duration::from_millis(1_500),
        retention: Retention { succeeded: Some(DAY), failed: None, cancelled: Some(SECOND) },
        response_type: Some("google.protobuf.Empty".into()),
        metadata_type: Some("type.googleapis.com/x.Meta".into()),
    };
    let metadata = Some(Any::new("type.googleapis.com/x.Meta", [0, 1, 0, 254].as_slice()));
    NewOperation { spec: Arc::new(spec), metadata, claim: None }
}

fn largest() -> NewOperation {
    let labels = (0..LABELS_MAX).map(|n| (format!("{n:02}{}", wide(61)), wide(255)));
    let spec = Spec {
        kind: kind(&wide(128)),
        tenant: tenant(&wide(128)),
        description: Description::parse("description", &wide(256)).expect("within its limit"),
        created_by: principal(&wide(128)),
        input: Some(filled(INPUT_BYTES_MAX)),
        labels: Labels::parse(labels).expect("within their limits"),
        queue_timeout: Some(TIMEOUT_RANGE.1),
        run_timeout: Some(TIMEOUT_RANGE.1),
        max_attempts: 100,
        cancel_grace: DAY,
        retention: Retention::same(Some(RETENTION_RANGE.1)),
        response_type: Some(wide(256).into()),
        ..Spec::new(kind("work"))
    };
    NewOperation { spec: Arc::new(spec), metadata: Some(filled(METADATA_BYTES_MAX)), claim: None }
}

/// Characters of four bytes, as many as wanted.
fn wide(characters: usize) -> String {
    "\u{1F680}".repeat(characters)
}

/// A payload of exactly `size` bytes, its type URL included.
fn filled(size: usize) -> Any {
    let type_url = "type.googleapis.com/x.Large";
    let bytes: Vec<u8> = (0..size - type_url.len()).map(|n| u8::try_from(n % 251).expect("below 256")).collect();
    Any::new(type_url, bytes)
}

fn detailed(code: i32) -> Status {
    let details = [any("first"), Any::new("type.googleapis.com/x.Detail", [0; 1_000].as_slice()), any("")];
    Status { details: details.into(), ..status(code, UNUSUAL) }
}

/// Combining and joined characters, both directions, controls, a byte order mark, the last one.
const UNUSUAL: &str = "e\u{301} \u{e9} \u{1F3F3}\u{FE0F}\u{200D}\u{1F308} \u{202E}rtl\u{202C} \u{FEFF}\r\n\t\u{1}\u{7F} '\"\\%_ \u{10FFFF}";
