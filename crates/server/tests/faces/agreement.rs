//! The same operation through every face and transport, in every state: the same facts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use operond_core::{OperationId, Outcome, State};
use operond_proto::google::longrunning::{self as lro, operations_client::OperationsClient as GoogleClient};
use operond_proto::google::rpc;
use operond_proto::operond::v1::complete_request::{Cancelled, Outcome as Ended};
use operond_proto::operond::v1::{
    self, CancelRequest, CompleteRequest, CreateRequest, GetOperationRequest, HeartbeatRequest, ReportFailureRequest,
};
use operond_proto::yandex::cloud::operation as yandex;
use prost_types::{Any, Timestamp};
use serde_json::Value;

use crate::harness::Faces;

/// What every face tells of an operation; what a face has no member for is told by none of it.
#[derive(Clone, Debug, PartialEq)]
struct Facts {
    id: String,
    done: bool,
    metadata: Option<Any>,
    error: Option<rpc::Status>,
    response: Option<Any>,
    about: Option<About>,
}

/// What the Google face does not tell.
#[derive(Clone, Debug, PartialEq)]
struct About {
    description: String,
    created_by: String,
    created_at: Option<Timestamp>,
    modified_at: Option<Timestamp>,
}

fn payload(name: &str, value: &[u8]) -> Any {
    Any { type_url: format!("type.googleapis.com/acme.v1.{name}"), value: value.into() }
}

fn error() -> rpc::Status {
    rpc::Status { code: 9, message: "нет \"diamonds\"".into(), details: vec![payload("Why", b"\0\xff")] }
}

/// An operation in `state`, on its way there as users bring it.
async fn operation_in(faces: &Faces, state: State) -> String {
    let kind = state.as_str();
    let request = CreateRequest {
        kind: kind.into(),
        description: format!("жизнь of {kind}"),
        created_by: Some("alice".into()),
        metadata: Some(payload("Begun", b"\x08\x01")),
        ..Default::default()
    };
    let id = faces.operations().create(request).await.unwrap().into_inner().id;
    if state == State::Queued {
        return id;
    }
    let lease = faces.claim(kind).await.lease;
    let metadata = Some(payload("Going", b"\x08\x02"));
    let heartbeat = HeartbeatRequest { lease: lease.clone(), metadata: metadata.clone(), ..Default::default() };
    faces.work().heartbeat(heartbeat).await.unwrap();
    let complete = |outcome| CompleteRequest { lease: lease.clone(), metadata: None, outcome: Some(outcome) };
    match state {
        State::Queued | State::Running => {}
        State::Cancelling => {
            faces.operations().cancel(CancelRequest { id: id.clone(), reason: "why not".into() }).await.unwrap();
        }
        State::Failing => {
            let report = ReportFailureRequest { lease, error: Some(error()), metadata };
            faces.work().report_failure(report).await.unwrap();
        }
        State::Succeeded => {
            let response = Ended::Response(payload("Made", b"\x0a\x00"));
            faces.work().complete(complete(response)).await.unwrap();
        }
        State::Failed => {
            faces.work().complete(complete(Ended::Error(error()))).await.unwrap();
        }
        State::Cancelled => {
            let cancelled = Ended::Cancelled(Cancelled { message: "stopped".into() });
            faces.work().complete(complete(cancelled)).await.unwrap();
        }
    }
    id
}

/// As the engine tells it to who embeds it.
async fn from_engine(faces: &Faces, id: &str) -> Facts {
    let operation = faces.engine.get(&OperationId::parse("id", id).unwrap()).await.unwrap();
    let any = |any: &operond_core::Any| Any { type_url: (*any.type_url).into(), value: (*any.value).into() };
    let status = |status: &operond_core::Status| rpc::Status {
        code: status.code,
        message: (*status.message).into(),
        details: status.details.iter().map(any).collect(),
    };
    let instant = |at: operond_core::Timestamp| {
        let micros = at.micros();
        let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap();
        Some(Timestamp { seconds: micros.div_euclid(1_000_000), nanos })
    };
    let (error, response) = match operation.outcome() {
        Some(Outcome::Error(error)) => (Some(status(error)), None),
        Some(Outcome::Response(response)) => (None, Some(any(response))),
        None => (operation.failure.as_ref().map(status), None),
    };
    let about = About {
        description: operation.spec.description.as_str().into(),
        created_by: operation.spec.created_by.as_str().into(),
        created_at: instant(operation.created_at),
        modified_at: instant(operation.modified_at),
    };
    let metadata = operation.metadata.as_ref().map(any);
    Facts { id: id.into(), done: operation.done(), metadata, error, response, about: Some(about) }
}

macro_rules! facts {
    ($operation:expr, $results:path) => {{
        use $results as Shown;
        let operation = $operation;
        let (error, response) = match operation.result {
            Some(Shown::Error(error)) => (Some(error), None),
            Some(Shown::Response(response)) => (None, Some(response)),
            None => (None, None),
        };
        let about = About {
            description: operation.description,
            created_by: operation.created_by,
            created_at: operation.created_at,
            modified_at: operation.modified_at,
        };
        let metadata = operation.metadata;
        Facts { id: operation.id, done: operation.done, metadata, error, response, about: Some(about) }
    }};
}

async fn from_native(faces: &Faces, id: &str) -> Facts {
    let get = GetOperationRequest { id: id.into(), ..Default::default() };
    facts!(faces.operations().get(get).await.unwrap().into_inner(), v1::operation::Result)
}

async fn from_yandex(faces: &Faces, id: &str) -> Facts {
    let get = yandex::GetOperationRequest { operation_id: id.into() };
    facts!(faces.yandex().get(get).await.unwrap().into_inner(), yandex::operation::Result)
}

async fn from_google(faces: &Faces, id: &str) -> Facts {
    let mut client = GoogleClient::with_origin(faces.in_process(), http::Uri::from_static("http://localhost"));
    let get = lro::GetOperationRequest { name: format!("operations/{id}") };
    let operation = client.get_operation(get).await.unwrap().into_inner();
    let (error, response) = match operation.result {
        Some(lro::operation::Result::Error(error)) => (Some(error), None),
        Some(lro::operation::Result::Response(response)) => (None, Some(response)),
        None => (None, None),
    };
    let id = operation.name.strip_prefix("operations/").unwrap().to_owned();
    Facts { id, done: operation.done, metadata: operation.metadata, error, response, about: None }
}

async fn from_rest(faces: &Faces, path: &str, id: &str) -> Facts {
    let json = faces.rest(&format!("GET {path}/{id}"), "").await.ok();
    let any = |json: &Value| {
        let value = STANDARD.decode(json["value"].as_str().unwrap()).unwrap();
        Any { type_url: json["@type"].as_str().unwrap().into(), value }
    };
    let status = |json: &Value| rpc::Status {
        code: i32::try_from(json["code"].as_i64().unwrap()).unwrap(),
        message: json["message"].as_str().unwrap().into(),
        details: json["details"].as_array().into_iter().flatten().map(any).collect(),
    };
    let instant = |json: &Value| {
        let at: jiff::Timestamp = json.as_str().unwrap().parse().unwrap();
        Some(Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
    };
    let text = |json: &Value| json.as_str().unwrap_or_default().to_owned();
    let about = json.get("createdAt").map(|created_at| About {
        description: text(&json["description"]),
        created_by: text(&json["createdBy"]),
        created_at: instant(created_at),
        modified_at: instant(&json["modifiedAt"]),
    });
    let name = json.get("id").or(json.get("name")).and_then(Value::as_str).unwrap();
    Facts {
        id: name.rsplit('/').next().unwrap().into(),
        done: json["done"].as_bool().unwrap(),
        metadata: json.get("metadata").map(any),
        error: json.get("error").map(status),
        response: json.get("response").map(any),
        about,
    }
}

#[tokio::test(start_paused = true)]
async fn every_face_and_transport_tells_the_same_facts_in_every_state() {
    let faces = Faces::new();
    for state in State::ALL {
        let id = operation_in(&faces, state).await;
        let told = from_engine(&faces, &id).await;
        let stored = faces.engine.get(&OperationId::parse("id", &id).unwrap()).await.unwrap();
        assert_eq!(stored.state(), state);
        // CONTRACT §4: a failure that was only detected is no error there.
        let error = told.error.clone().filter(|_| told.done);
        let to_google = Facts { about: None, error, ..told.clone() };

        // At once: nothing changes in between.
        let (native, native_rest, yandex, yandex_rest, google, google_rest) = tokio::join!(
            from_native(&faces, &id),
            from_rest(&faces, "/api/v1/operations", &id),
            from_yandex(&faces, &id),
            from_rest(&faces, "/operations", &id),
            from_google(&faces, &id),
            from_rest(&faces, "/v1/operations", &id),
        );
        assert_eq!(native, told, "native, gRPC, {state:?}");
        assert_eq!(native_rest, told, "native, REST, {state:?}");
        assert_eq!(yandex, told, "Yandex, gRPC, {state:?}");
        assert_eq!(yandex_rest, told, "Yandex, REST, {state:?}");
        assert_eq!(google, to_google, "Google, gRPC, {state:?}");
        assert_eq!(google_rest, to_google, "Google, REST, {state:?}");
        let results = usize::from(told.error.is_some()) + usize::from(told.response.is_some());
        let expected = usize::from(told.done || state == State::Failing);
        assert_eq!(results, expected, "one result, when done or failing");
    }
}
