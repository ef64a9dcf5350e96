//! Every limit of CONTRACT §5 that the core judges, at its edge and one past it.

use std::time::Duration;

use operond_core::{
    Any, Claim, Command, Complete, Completion, Description, Digest, Heartbeat, IdempotencyKey, Invalid, Kind, Labels,
    LeaseKey, LeaseSecret, NewOperation, OperationId, Principal, Problem, Progress, Reason, ReportFailure, Retention,
    Retry, Spec, Status, Tenant, Token, Worker, limits,
};

const KIB: usize = 1024;
const TYPE_URL: &str = "type.googleapis.com/example.Frames";

/// `size` is what was given, `limit` the most it may be.
fn too_large(field: &str, size: usize, limit: usize, unit: &'static str) -> Result<(), Invalid> {
    Err(Invalid { field: field.into(), problem: Problem::TooLarge { size: size as u64, limit: limit as u64, unit } })
}

/// `limit` characters are accepted, of one byte and of three; one more, or a NUL, is refused.
fn check_text(field: &str, limit: usize, accept: impl Fn(&str) -> Result<(), Invalid>) {
    for character in ["a", "字"] {
        assert_eq!(accept(&character.repeat(limit)), Ok(()), "{field}");
        let refused = too_large(field, limit + 1, limit, "characters");
        assert_eq!(accept(&character.repeat(limit + 1)), refused);
    }
    let nul = accept("a\0b").expect_err("a NUL");
    assert_eq!(nul.to_string(), format!("{field} contains a NUL character"));
}

/// `limit` bytes are accepted, the type URL counted; one more is refused.
fn check_bytes(field: &str, limit: usize, accept: impl Fn(Any) -> Result<(), Invalid>) {
    let of_size = |size: usize| Any::new(TYPE_URL, vec![0; size - TYPE_URL.len()]);
    assert_eq!(accept(of_size(limit)), Ok(()), "{field}");
    assert_eq!(accept(of_size(limit + 1)), too_large(field, limit + 1, limit, "bytes"));
}

/// Both ends of the range are accepted; a microsecond outside either is refused.
fn check_duration(field: &str, shortest: u64, longest: u64, accept: impl Fn(Duration) -> Result<(), Invalid>) {
    let (shortest, longest) = (Duration::from_secs(shortest), Duration::from_secs(longest));
    let micro = Duration::from_micros(1);
    for good in [shortest, longest] {
        assert_eq!(accept(good), Ok(()), "{field} {good:?}");
    }
    for bad in [shortest.checked_sub(micro), Some(longest + micro)].into_iter().flatten() {
        let invalid = accept(bad).expect_err("outside the range");
        assert_eq!(invalid.field, field);
        assert!(matches!(invalid.problem, Problem::OutOfRange { .. }), "{invalid}");
    }
}

fn spec() -> Spec {
    Spec::new(Kind::new("render").expect("a short name"))
}

fn lease() -> LeaseKey {
    let operation = OperationId::parse("id", "op1").expect("a short id");
    LeaseKey { operation, token: Token(1), secret: LeaseSecret([0; 16]) }
}

fn heartbeat(duration: Option<Duration>, metadata: Option<Any>, progress: Option<Progress>) -> Command {
    Command::Heartbeat(Heartbeat { lease: lease(), duration, metadata, progress })
}

fn complete(result: Completion, metadata: Option<Any>) -> Command {
    Command::Complete(Complete { lease: lease(), result, metadata, digest: Digest([0; 16]) })
}

#[test]
fn names_have_at_most_128_characters_and_one_at_least() {
    check_text("kind", 128, |text| Kind::new(text).map(drop));
    check_text("tenant", 128, |text| Tenant::parse("tenant", text).map(drop));
    check_text("createdBy", 128, |text| Principal::parse("createdBy", text).map(drop));
    check_text("worker", 128, |text| Worker::new(text).map(drop));
    check_text("idempotencyKey", 128, |text| IdempotencyKey::parse("idempotencyKey", text).map(drop));
    assert_eq!(Kind::new("").unwrap_err().to_string(), "kind is required");
    assert_eq!(Worker::new("").unwrap_err().to_string(), "worker is required");
}

#[test]
fn ids_have_at_most_50_characters() {
    check_text("operationId", 50, |text| OperationId::parse("operationId", text).map(drop));
}

#[test]
fn a_description_has_at_most_256_characters_whatever_their_bytes() {
    check_text("description", 256, |text| Description::parse("description", text).map(drop));
    for character in ["ж", "😀", "e\u{301}"] {
        let count = character.chars().count();
        assert!(Description::parse("description", &character.repeat(256 / count)).is_ok());
        assert!(Description::parse("description", &character.repeat(256 / count + 1)).is_err());
    }
    assert!(Description::parse("description", "").is_ok());
}

#[test]
fn a_reason_has_at_most_1024_characters() {
    check_text("reason", 1024, |text| Reason::parse("reason", text).map(drop));
    assert!(Reason::parse("reason", "").is_ok());
}

#[test]
fn progress_has_a_short_unit_a_message_and_finite_numbers() {
    let unit = |text: &str| Progress { unit: text.into(), ..Progress::default() };
    check_text("progress.unit", 32, |text| heartbeat(None, None, Some(unit(text))).check());
    let message = |text: &str| Progress { message: text.into(), ..Progress::default() };
    check_text("progress.message", 1024, |text| heartbeat(None, None, Some(message(text))).check());
    for good in [0.0, -0.0, 1e300] {
        assert_eq!(Progress { done: Some(good), total: Some(good), ..Progress::default() }.check("progress"), Ok(()));
    }
    for bad in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let done = Progress { done: Some(bad), ..Progress::default() };
        assert_eq!(done.check("progress").unwrap_err().field, "progress.done");
        let total = Progress { total: Some(bad), ..Progress::default() };
        assert_eq!(total.check("progress").unwrap_err().field, "progress.total");
    }
}

#[test]
fn labels_are_at_most_32_of_63_and_255_characters() {
    let labels = |count: usize| Labels::parse((0..count).map(|index| (format!("key{index}"), "value")));
    assert_eq!(labels(32).unwrap().iter().len(), 32);
    assert_eq!(labels(33).map(drop), too_large("labels", 33, 32, "labels"));
    check_text("labels key", 63, |text| Labels::parse([(text, "value")]).map(drop));
    check_text("labels value", 255, |text| Labels::parse([("key", text)]).map(drop));
    assert!(Labels::parse([("", "value")]).is_err());
    assert!(Labels::parse([("key", "")]).is_ok());
}

#[test]
fn labels_are_sorted_and_a_key_comes_once() {
    let labels = Labels::parse([("b", "2"), ("a", "1")]).unwrap();
    assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
    assert_eq!(Labels::parse([("a", "1"), ("b", "2"), ("a", "3")]).unwrap_err().field, "labels");
}

/// Faces hand them over in the order of a map, which is another one each time.
#[test]
fn of_several_bad_labels_the_same_is_named_in_any_order() {
    let long = "x".repeat(64);
    let (one, other) = ([("", "value"), (&*long, "value")], [(&*long, "value"), ("", "value")]);
    assert_eq!(Labels::parse(one), Labels::parse(other));
    assert_eq!(Labels::parse(one).unwrap_err().to_string(), "labels has an empty key");
}

#[test]
fn a_type_url_has_at_most_256_characters_and_names_a_type() {
    let empty = |type_url: &str| Any::new(type_url, []).check("metadata", limits::METADATA_BYTES_MAX);
    check_text("metadata.@type", 256, |text| empty(text));
    for bad in ["", "/", "type.googleapis.com/"] {
        assert_eq!(empty(bad).unwrap_err().field, "metadata.@type");
    }
    let declared = |text: &str| Spec { response_type: Some(text.into()), ..spec() }.check();
    check_text("responseType", 256, declared);
    check_text("metadataType", 256, |text| Spec { metadata_type: Some(text.into()), ..spec() }.check());
}

#[test]
fn metadata_has_at_most_64_kib_with_its_type_url_wherever_it_comes_from() {
    check_bytes("metadata", 64 * KIB, |metadata| spec().check_metadata(&metadata));
    check_bytes("metadata", 64 * KIB, |metadata| {
        NewOperation { spec: spec().into(), metadata: Some(metadata), claim: None }.check()
    });
    check_bytes("metadata", 64 * KIB, |metadata| heartbeat(None, Some(metadata), None).check());
    check_bytes("metadata", 64 * KIB, |metadata| {
        let error = Status::new(9, "");
        Command::ReportFailure(ReportFailure { lease: lease(), error, metadata: Some(metadata) }).check()
    });
    check_bytes("metadata", 64 * KIB, |metadata| complete(Completion::Cancelled("".into()), Some(metadata)).check());
}

#[test]
fn input_and_response_have_at_most_1_mib_with_their_type_urls() {
    check_bytes("input", KIB * KIB, |input| Spec { input: Some(input), ..spec() }.check());
    check_bytes("response", KIB * KIB, |response| spec().check_response(&response));
    check_bytes("response", KIB * KIB, |response| complete(Completion::Response(response), None).check());
}

/// Every command that carries an error.
fn with_error(error: &Status) -> [Command; 3] {
    let (lease, digest) = (lease(), Digest([0; 16]));
    [
        Command::ReportFailure(ReportFailure { lease: lease.clone(), error: error.clone(), metadata: None }),
        Command::Retry(Retry { lease, error: error.clone(), backoff: None, jitter: 0, digest }),
        complete(Completion::Error(error.clone()), None),
    ]
}

#[test]
fn an_error_has_a_message_of_at_most_4_kib() {
    for command in with_error(&Status::new(9, "я".repeat(2 * KIB))) {
        assert_eq!(command.check(), Ok(()));
    }
    for command in with_error(&Status::new(9, "a".repeat(4 * KIB + 1))) {
        assert_eq!(command.check(), too_large("error.message", 4 * KIB + 1, 4 * KIB, "bytes"));
    }
    for command in with_error(&Status::new(9, "a\0")) {
        assert_eq!(command.check().unwrap_err().field, "error.message");
    }
}

#[test]
fn an_error_has_at_most_64_kib_with_its_message_and_details() {
    let of_size = |size: usize| {
        let half = Any::new(TYPE_URL, vec![0; 32 * KIB - TYPE_URL.len()]);
        let rest = Any::new(TYPE_URL, vec![0; size - 32 * KIB - TYPE_URL.len() - 100]);
        Status { details: [half, rest].into(), ..Status::new(9, "a".repeat(100)) }
    };
    for command in with_error(&of_size(64 * KIB)) {
        assert_eq!(command.check(), Ok(()));
    }
    for command in with_error(&of_size(64 * KIB + 1)) {
        assert_eq!(command.check(), too_large("error", 64 * KIB + 1, 64 * KIB, "bytes"));
    }
}

#[test]
fn details_of_an_error_have_types() {
    let nameless = Status { details: [Any::new(TYPE_URL, []), Any::new("", [])].into(), ..Status::new(9, "") };
    for command in with_error(&nameless) {
        assert_eq!(command.check().unwrap_err().field, "error.details[1].@type");
    }
}

#[test]
fn an_error_code_is_one_of_sixteen_and_only_complete_may_say_cancelled() {
    for code in [2, 16] {
        for command in with_error(&Status::new(code, "")) {
            assert_eq!(command.check(), Ok(()));
        }
    }
    for code in [i32::MIN, -1, 0, 17, i32::MAX] {
        for command in with_error(&Status::new(code, "")) {
            assert_eq!(command.check().unwrap_err().field, "error.code", "{code}");
        }
    }
    let cancelled = with_error(&Status::new(1, "")).map(|command| command.check().is_ok());
    assert_eq!(cancelled, [false, false, true]);
}

#[test]
fn the_message_of_cancelled_has_at_most_1024_characters() {
    let cancelled = |text: &str| complete(Completion::Cancelled(text.into()), None).check();
    check_text("cancelled.message", 1024, cancelled);
}

#[test]
fn leases_last_from_a_second_to_an_hour() {
    check_duration("leaseDuration", 1, 3600, |duration| {
        let (worker, secret) = (Worker::new("w").unwrap(), LeaseSecret([0; 16]));
        Command::Claim(Claim { worker, duration, secret }).check()
    });
    check_duration("leaseDuration", 1, 3600, |duration| heartbeat(Some(duration), None, None).check());
    assert_eq!(heartbeat(None, None, None).check(), Ok(()));
}

#[test]
fn timeouts_graces_retention_and_attempts_have_their_ranges() {
    const DAY: u64 = 24 * 60 * 60;
    check_duration("queueTimeout", 1, 365 * DAY, |timeout| Spec { queue_timeout: Some(timeout), ..spec() }.check());
    check_duration("runTimeout", 1, 365 * DAY, |timeout| Spec { run_timeout: Some(timeout), ..spec() }.check());
    check_duration("cancelGrace", 1, DAY, |cancel_grace| Spec { cancel_grace, ..spec() }.check());
    for attempts in [1, 100] {
        assert_eq!(Spec { max_attempts: attempts, ..spec() }.check(), Ok(()));
    }
    for attempts in [0, 101] {
        let invalid = Spec { max_attempts: attempts, ..spec() }.check().unwrap_err();
        assert_eq!(invalid.to_string(), format!("maxAttempts is {attempts}, it must be from 1 to 100"));
    }
    let retention = |length| Spec { retention: Retention::same(length), ..spec() }.check();
    assert_eq!(retention(None), Ok(()));
    check_duration("retention", 1, 100 * 365 * DAY, |length| retention(Some(length)));
}

#[test]
fn a_backoff_that_a_worker_asks_for_is_at_most_a_day() {
    check_duration("backoff", 0, 24 * 60 * 60, |backoff| {
        let (lease, error, digest) = (lease(), Status::new(9, ""), Digest([0; 16]));
        Command::Retry(Retry { lease, error, backoff: Some(backoff), jitter: 0, digest }).check()
    });
}

#[test]
fn a_lease_string_is_at_most_200_long() {
    let longest = OperationId::parse("id", &"字".repeat(50)).unwrap();
    let key = LeaseKey { operation: longest, token: Token(9_999_999_999_999_999), secret: LeaseSecret([9; 16]) };
    let text = key.encode();
    assert_eq!((text.len(), LeaseKey::decode(&text)), (200, Some(key.clone())));
    let past = LeaseKey { token: Token(10_000_000_000_000_000), ..key };
    assert_eq!(LeaseKey::decode(&past.encode()), None);
}

#[test]
fn defaults_are_those_of_the_contract() {
    let spec = spec();
    assert_eq!((spec.max_attempts, spec.cancellable, spec.clean_up_on_cancel), (3, true, false));
    assert_eq!((spec.queue_timeout, spec.run_timeout), (None, None));
    assert_eq!(spec.cancel_grace, Duration::from_secs(30));
    assert_eq!(spec.retention, Retention::same(Some(Duration::from_secs(30 * 24 * 60 * 60))));
    assert_eq!((spec.tenant.as_str(), spec.created_by.as_str()), ("default", "anonymous"));
    assert_eq!(spec.check(), Ok(()));
    let seconds = [limits::LEASE_DEFAULT, limits::CLAIM_WAIT_DEFAULT, limits::WAIT_DEFAULT, limits::WAIT_MAX];
    assert_eq!(seconds.map(|length| length.as_secs()), [30, 20, 30, 60]);
    assert_eq!((limits::ATTEMPTS_DEFAULT_START, limits::BACKOFF_DOUBLED_MAX.as_secs()), (1, 300));
}

#[test]
fn limits_that_faces_and_stores_judge_are_those_of_the_contract() {
    assert_eq!((limits::REQUEST_BYTES_MAX, limits::ANSWER_BYTES_MAX), (4 * KIB * KIB, 3 * KIB * KIB));
    assert_eq!((limits::PAGE_SIZE_MAX, limits::PAGE_SIZE_DEFAULT, limits::FILTER_CHARS_MAX), (1000, 100, 1000));
    assert_eq!((limits::CLAIM_OPERATIONS_MAX, limits::CLAIM_KINDS_MAX, limits::EVENTS_MAX), (100, 32, 16));
    assert_eq!(limits::TOMBSTONE_LIFE.as_secs(), 30 * 24 * 60 * 60);
}
