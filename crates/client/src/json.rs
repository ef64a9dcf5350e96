//! The JSON of the REST face (CONTRACT §4), for messages that came over gRPC.
//!
//! Payloads of unknown type print as `{"@type": …, "value": "<base64>"}`: printing never fails.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use operond_proto::google::rpc;
use operond_proto::operond::v1;
use operond_proto::operond::v1::operation;
use prost::{DecodeError, Message, Name};
use prost_types::{Any, Duration, ListValue, Struct, Timestamp, Value};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::payload;

/// An operation as the native REST face prints it, members in the order of their numbers.
///
/// ```
/// use operond_client::{json, proto::Operation};
///
/// let operation = Operation { id: "op1".into(), kind: "k".into(), ..Operation::default() };
/// assert_eq!(serde_json::to_string(&json::operation(&operation))?, r#"{"id":"op1","done":false,"kind":"k"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[must_use]
pub fn operation(operation: &v1::Operation) -> impl Serialize + '_ {
    operation_by(operation, &any)
}

/// The same with payloads as `payload` prints them: by types that this crate does not know, for example.
#[must_use]
pub fn operation_by<'a>(operation: &'a v1::Operation, payload: &dyn Fn(&Any) -> Json) -> impl Serialize + use<'a> {
    OperationJson::of(operation, payload)
}

/// An Any with the `@type` it says.
#[must_use]
pub fn any(any: &Any) -> Json {
    let (kind, json) = known(any).unwrap_or_else(|| (Form::Value, Json::from(STANDARD.encode(&any.value))));
    let mut members = match (kind, json) {
        (Form::Nothing, _) => Map::new(),
        (Form::Members, Json::Object(members)) => members,
        (_, json) => Map::from_iter([("value".to_owned(), json)]),
    };
    members.insert("@type".to_owned(), Json::from(any.type_url.clone()));
    Json::Object(members)
}

/// What an Any holds, without its `@type` where the type adds nothing to the JSON: `Struct`,
/// `Value` and the wrappers are their JSON, `Empty` is null. Everything else as by [`any`].
#[must_use]
pub fn plain(payload: &Any) -> Json {
    match known(payload) {
        Some((Form::Nothing, _)) => Json::Null,
        Some((Form::Value, json)) => json,
        Some((Form::Members, _)) | None => any(payload),
    }
}

/// Reads JSON as the REST face reads an Any: without `@type` an object is a `Struct` and everything
/// else a `Value`; with it, well-known types by their own JSON and others by base64 in `value`.
///
/// # Errors
/// A `@type` that is no type URL, or a `value` that does not fit it; the message is for people.
pub fn any_from_json(json: Json) -> Result<Any, String> {
    let Json::Object(mut members) = json else { return Ok(payload::from_json(json)) };
    let Some(type_url) = members.remove("@type") else { return Ok(payload::from_json(Json::Object(members))) };
    let Json::String(type_url) = type_url else { return Err("@type must be a string".into()) };
    let Some((_, name)) = type_url.rsplit_once('/') else {
        return Err(format!("@type {type_url:?} is not of the form type.googleapis.com/full.Name"));
    };
    let value = members.remove("value");
    if let Some(other) = members.keys().next() {
        return Err(format!("unknown member {other:?} beside @type {type_url:?}"));
    }
    let bytes = well_known_bytes(name, value).map_err(|expected| format!("{type_url:?} needs {expected}"))?;
    Ok(Any { type_url, value: bytes })
}

/// A time in RFC 3339, UTC.
#[must_use]
pub fn timestamp(timestamp: &Timestamp) -> String {
    timestamp.to_string()
}

/// A `google.rpc.Status`: the error of an operation.
#[must_use]
pub fn status(status: &rpc::Status) -> Json {
    status_by(status, &any)
}

fn status_by(status: &rpc::Status, payload: &dyn Fn(&Any) -> Json) -> Json {
    let mut members = Map::new();
    if status.code != 0 {
        members.insert("code".into(), status.code.into());
    }
    if !status.message.is_empty() {
        members.insert("message".into(), status.message.clone().into());
    }
    if !status.details.is_empty() {
        members.insert("details".into(), status.details.iter().map(payload).collect());
    }
    Json::Object(members)
}

/// Where the JSON of a known type goes in the JSON of an Any.
#[derive(Clone, Copy)]
enum Form {
    /// Nowhere (`Empty`).
    Nothing,
    /// Beside `@type`.
    Members,
    /// Into `value`.
    Value,
}

/// The JSON of an Any of a known type; `None` when the type is unknown or the bytes are not of it.
fn known(any: &Any) -> Option<(Form, Json)> {
    fn read<M: Message + Default>(bytes: &[u8], print: impl FnOnce(M) -> Json) -> Result<Json, DecodeError> {
        M::decode(bytes).map(print)
    }
    let (_, name) = any.type_url.rsplit_once('/')?;
    let bytes = any.value.as_slice();
    let json = match name.strip_prefix("google.protobuf.") {
        None if name == rpc::Status::full_name() => {
            return Some((Form::Members, read(bytes, |message| status(&message)).ok()?));
        }
        None => return None,
        Some("Empty") => return Some((Form::Nothing, read(bytes, |()| Json::Null).ok()?)),
        Some("Struct") => read(bytes, |message: Struct| payload::struct_to_json(&message)),
        Some("Value") => read(bytes, |message: Value| payload::value_to_json(&message)),
        Some("ListValue") => {
            read(bytes, |message: ListValue| message.values.iter().map(payload::value_to_json).collect())
        }
        Some("Timestamp") => read(bytes, |message: Timestamp| Json::from(message.to_string())),
        Some("Duration") => read(bytes, |message: Duration| Json::from(message.to_string())),
        Some("StringValue") => read(bytes, |text: String| Json::from(text)),
        Some("BytesValue") => read(bytes, |bytes: Vec<u8>| Json::from(STANDARD.encode(bytes))),
        Some("BoolValue") => read(bytes, |bool: bool| Json::from(bool)),
        Some("Int32Value") => read(bytes, |number: i32| Json::from(number)),
        Some("UInt32Value") => read(bytes, |number: u32| Json::from(number)),
        // 64 bits are strings in proto3 JSON: many readers have doubles only.
        Some("Int64Value") => read(bytes, |number: i64| Json::from(number.to_string())),
        Some("UInt64Value") => read(bytes, |number: u64| Json::from(number.to_string())),
        Some("FloatValue") => read(bytes, |number: f32| payload::number_to_json(number.into())),
        Some("DoubleValue") => read(bytes, payload::number_to_json),
        Some(_) => return None,
    };
    Some((Form::Value, json.ok()?))
}

/// The bytes of the message `name` from the `value` of its JSON; an error says what it should be.
fn well_known_bytes(name: &str, value: Option<Json>) -> Result<Vec<u8>, &'static str> {
    match (name, value) {
        ("google.protobuf.Empty", None) => Ok(vec![]),
        ("google.protobuf.Empty", Some(Json::Object(members))) if members.is_empty() => Ok(vec![]),
        ("google.protobuf.Empty", _) => Err("no value"),
        ("google.protobuf.Struct", Some(Json::Object(members))) => {
            Ok(payload::struct_from_json(members).encode_to_vec())
        }
        ("google.protobuf.Struct", _) => Err("an object as its value"),
        ("google.protobuf.Value", Some(json)) => Ok(payload::value_from_json(json).encode_to_vec()),
        ("google.protobuf.Value", None) => Err("a value"),
        ("google.protobuf.StringValue", Some(Json::String(text))) => Ok(text.encode_to_vec()),
        ("google.protobuf.StringValue", _) => Err("a string as its value"),
        ("google.protobuf.BoolValue", Some(Json::Bool(bool))) => Ok(bool.encode_to_vec()),
        ("google.protobuf.BoolValue", _) => Err("true or false as its value"),
        (_, Some(Json::String(text))) => STANDARD.decode(text).map_err(|_| "its bytes in base64 as its value"),
        _ => Err("its bytes in base64 as its value"),
    }
}

/// `operond.v1.Operation` in proto3 JSON: what has its default is left out, but for `done`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OperationJson<'a> {
    #[serde(skip_serializing_if = "is_default")]
    id: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    description: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    created_by: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    modified_at: Option<String>,
    done: bool,
    #[serde(skip_serializing_if = "is_default")]
    metadata: Option<Json>,
    #[serde(skip_serializing_if = "is_default")]
    error: Option<Json>,
    #[serde(skip_serializing_if = "is_default")]
    response: Option<Json>,
    #[serde(skip_serializing_if = "is_default")]
    kind: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    tenant: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    state: Option<&'a str>,
    #[serde(skip_serializing_if = "is_default")]
    labels: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "is_default")]
    progress: Option<Json>,
    #[serde(skip_serializing_if = "is_default")]
    attempt: u32,
    #[serde(skip_serializing_if = "is_default")]
    max_attempts: u32,
    #[serde(skip_serializing_if = "is_default")]
    last_attempt_error: Option<Json>,
    #[serde(skip_serializing_if = "is_default")]
    available_at: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    worker: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    lease_expires_at: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    cancellable: bool,
    #[serde(skip_serializing_if = "is_default")]
    cancel_requested: Option<Json>,
    #[serde(skip_serializing_if = "is_default")]
    queue_deadline: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    run_deadline: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    finished_at: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    revision: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    input: Option<Json>,
    #[serde(skip_serializing_if = "is_default")]
    events: Vec<Json>,
    #[serde(skip_serializing_if = "is_default")]
    unattended: bool,
}

impl<'a> OperationJson<'a> {
    fn of(from: &'a v1::Operation, payload: &dyn Fn(&Any) -> Json) -> Self {
        let time = |at: &Option<Timestamp>| at.as_ref().map(timestamp);
        let (error, response) = match &from.result {
            Some(operation::Result::Error(error)) => (Some(status_by(error, payload)), None),
            Some(operation::Result::Response(response)) => (None, Some(payload(response))),
            None => (None, None),
        };
        Self {
            id: &from.id,
            description: &from.description,
            created_at: time(&from.created_at),
            created_by: &from.created_by,
            modified_at: time(&from.modified_at),
            done: from.done,
            metadata: from.metadata.as_ref().map(payload),
            error,
            response,
            kind: &from.kind,
            tenant: &from.tenant,
            state: (from.state != 0).then(|| from.state().as_str_name()),
            labels: from.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            progress: from.progress.as_ref().map(progress),
            attempt: from.attempt,
            max_attempts: from.max_attempts,
            last_attempt_error: from.last_attempt_error.as_ref().map(|error| status_by(error, payload)),
            available_at: time(&from.available_at),
            worker: &from.worker,
            lease_expires_at: time(&from.lease_expires_at),
            cancellable: from.cancellable,
            cancel_requested: from.cancel_requested.as_ref().map(|request| {
                without_defaults(json!({
                    "at": time(&request.at), "by": request.by, "reason": request.reason,
                }))
            }),
            queue_deadline: time(&from.queue_deadline),
            run_deadline: time(&from.run_deadline),
            started_at: time(&from.started_at),
            finished_at: time(&from.finished_at),
            expires_at: time(&from.expires_at),
            revision: &from.revision,
            input: from.input.as_ref().map(payload),
            events: from
                .events
                .iter()
                .map(|event| without_defaults(json!({"at": time(&event.at), "what": event.what, "by": event.by})))
                .collect(),
            unattended: from.unattended,
        }
    }
}

fn progress(progress: &v1::Progress) -> Json {
    without_defaults(json!({
        "done": progress.done.map(payload::number_to_json),
        "total": progress.total.map(payload::number_to_json),
        "unit": progress.unit,
        "message": progress.message,
    }))
}

/// Leaves out absent members and empty texts.
fn without_defaults(mut json: Json) -> Json {
    if let Json::Object(members) = &mut json {
        members.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
    }
    json
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "so that a case is a line without ampersands")]
    fn check(payload: Any, expected: Json) {
        assert_eq!(any(&payload), expected);
    }

    #[test]
    fn payloads_of_known_types_print_as_their_own_json() {
        let url = |name: &str| format!("type.googleapis.com/google.protobuf.{name}");
        check(payload::empty(), json!({"@type": url("Empty")}));
        check(payload::from_json(json!({"a": 1})), json!({"@type": url("Struct"), "value": {"a": 1}}));
        check(payload::from_json(json!([1])), json!({"@type": url("Value"), "value": [1]}));
        check(payload::pack(&"x".to_owned()), json!({"@type": url("StringValue"), "value": "x"}));
        check(payload::pack(&7_i64), json!({"@type": url("Int64Value"), "value": "7"}));
        check(payload::pack(&7_u32), json!({"@type": url("UInt32Value"), "value": 7}));
        check(payload::pack(&true), json!({"@type": url("BoolValue"), "value": true}));
        check(payload::pack(&vec![1_u8, 2]), json!({"@type": url("BytesValue"), "value": "AQI="}));
        let at = Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 };
        check(payload::pack(&at), json!({"@type": url("Timestamp"), "value": "2023-11-14T22:13:20.005Z"}));
        let span = Duration { seconds: 3, nanos: 500_000_000 };
        check(payload::pack(&span), json!({"@type": url("Duration"), "value": "3.500s"}));
    }

    #[test]
    fn a_status_inside_a_payload_prints_its_details_too() {
        let inner = rpc::Status { code: 8, message: "no".into(), details: vec![payload::empty()] };
        check(
            payload::pack(&inner),
            json!({
                "@type": "type.googleapis.com/google.rpc.Status",
                "code": 8, "message": "no",
                "details": [{"@type": "type.googleapis.com/google.protobuf.Empty"}],
            }),
        );
    }

    #[test]
    fn unknown_types_and_bytes_that_are_not_of_their_type_print_as_bytes() {
        let unknown = Any { type_url: "type.googleapis.com/a.B".into(), value: vec![1, 2] };
        check(unknown.clone(), json!({"@type": "type.googleapis.com/a.B", "value": "AQI="}));
        assert_eq!(any_from_json(any(&unknown)), Ok(unknown));

        let url = "type.googleapis.com/google.protobuf.Struct";
        let garbled = Any { type_url: url.into(), value: vec![0xff] };
        check(garbled, json!({"@type": url, "value": "/w=="}));
    }

    #[test]
    fn the_type_is_left_out_where_it_adds_nothing() {
        assert_eq!(plain(&payload::from_json(json!({"a": [true]}))), json!({"a": [true]}));
        assert_eq!(plain(&payload::text("x")), json!("x"));
        assert_eq!(plain(&payload::empty()), Json::Null);
        let unknown = Any { type_url: "t/a.B".into(), value: vec![] };
        assert_eq!(plain(&unknown), json!({"@type": "t/a.B", "value": ""}));
    }

    #[test]
    fn json_is_read_as_the_rest_face_reads_it() {
        let read = |json: Json| any_from_json(json).unwrap();
        assert_eq!(read(json!({"a": 1})), payload::from_json(json!({"a": 1})));
        assert_eq!(read(json!(5)), payload::from_json(json!(5)));
        for payload in [payload::empty(), payload::from_json(json!({"a": 1})), payload::pack(&"x".to_owned())] {
            assert_eq!(read(any(&payload)), payload);
        }
        let url = "type.googleapis.com/google.protobuf.Empty";
        assert_eq!(read(json!({"@type": url, "value": {}})), payload::empty());

        let refused = |json: Json| any_from_json(json).unwrap_err();
        assert_eq!(refused(json!({"@type": 1})), "@type must be a string");
        assert!(refused(json!({"@type": "a.B"})).contains("is not of the form"));
        assert_eq!(
            refused(json!({"@type": "t/a.B", "value": "%"})),
            "\"t/a.B\" needs its bytes in base64 as its value"
        );
        assert_eq!(refused(json!({"@type": "t/a.B", "x": 1})), "unknown member \"x\" beside @type \"t/a.B\"");
    }

    #[test]
    fn a_fresh_operation_prints_little_but_always_done() {
        let fresh = v1::Operation { id: "op1".into(), state: operation::State::Queued.into(), ..Default::default() };
        let text = serde_json::to_string(&operation(&fresh)).unwrap();
        assert_eq!(text, r#"{"id":"op1","done":false,"state":"QUEUED"}"#);
    }

    #[test]
    fn every_member_of_an_operation_is_printed_in_the_order_of_the_numbers() {
        let at = Some(Timestamp { seconds: 0, nanos: 0 });
        let full = v1::Operation {
            id: "op1".into(),
            description: "d".into(),
            created_at: at,
            created_by: "c".into(),
            modified_at: at,
            done: true,
            metadata: Some(payload::from_json(json!({"m": 1}))),
            kind: "k".into(),
            tenant: "t".into(),
            state: operation::State::Cancelled.into(),
            labels: HashMap::from([("b".into(), "2".into()), ("a".into(), "1".into())]),
            progress: Some(v1::Progress {
                done: Some(0.0),
                total: Some(2.5),
                unit: "frames".into(),
                message: String::new(),
            }),
            attempt: 2,
            max_attempts: 3,
            last_attempt_error: Some(rpc::Status { code: 14, message: "lost".into(), details: vec![] }),
            available_at: at,
            worker: "w".into(),
            lease_expires_at: at,
            cancellable: true,
            cancel_requested: Some(v1::CancelRequested { at, by: "x".into(), reason: String::new() }),
            queue_deadline: at,
            run_deadline: at,
            started_at: at,
            finished_at: at,
            expires_at: at,
            revision: "r1".into(),
            input: Some(payload::text("in")),
            events: vec![v1::Event { at, what: "created".into(), by: String::new() }],
            unattended: true,
            result: Some(operation::Result::Error(rpc::Status { code: 1, message: "stop".into(), details: vec![] })),
        };
        let text = serde_json::to_string(&operation(&full)).unwrap();
        let epoch = "\"1970-01-01T00:00:00Z\"";
        let url = "type.googleapis.com/google.protobuf";
        let expected = format!(
            concat!(
                r#"{{"id":"op1","description":"d","createdAt":{epoch},"createdBy":"c","modifiedAt":{epoch},"done":true,"#,
                r#""metadata":{{"@type":"{url}.Struct","value":{{"m":1}}}},"error":{{"code":1,"message":"stop"}},"#,
                r#""kind":"k","tenant":"t","state":"CANCELLED","labels":{{"a":"1","b":"2"}},"#,
                r#""progress":{{"done":0,"total":2.5,"unit":"frames"}},"attempt":2,"maxAttempts":3,"#,
                r#""lastAttemptError":{{"code":14,"message":"lost"}},"availableAt":{epoch},"worker":"w","#,
                r#""leaseExpiresAt":{epoch},"cancellable":true,"cancelRequested":{{"at":{epoch},"by":"x"}},"#,
                r#""queueDeadline":{epoch},"runDeadline":{epoch},"startedAt":{epoch},"finishedAt":{epoch},"#,
                r#""expiresAt":{epoch},"revision":"r1","input":{{"@type":"{url}.Value","value":"in"}},"#,
                r#""events":[{{"at":{epoch},"what":"created"}}],"unattended":true}}"#,
            ),
            epoch = epoch,
            url = url,
        );
        assert_eq!(text, expected);
    }
}
