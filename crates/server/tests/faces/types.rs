//! Message types that are registered while the server is running.

use http::{StatusCode, Uri};
use operond_proto::operond::v1::types_client::TypesClient;
use operond_proto::operond::v1::{CompleteRequest, ListTypesRequest, RegisterTypesRequest, complete_request};
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{Any, DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{Faces, InProcess, create, told};

fn types(faces: &Faces) -> TypesClient<InProcess> {
    TypesClient::with_origin(faces.in_process(), Uri::from_static("http://localhost"))
}

/// A file with one message, which has `int32 pages = 1`, or another type in its place.
fn file(name: &str, message: &str, pages: Type) -> FileDescriptorProto {
    let field = FieldDescriptorProto {
        name: Some("pages".into()),
        number: Some(1),
        label: Some(Label::Optional.into()),
        r#type: Some(pages.into()),
        ..Default::default()
    };
    let message = DescriptorProto { name: Some(message.into()), field: vec![field], ..Default::default() };
    FileDescriptorProto {
        name: Some(name.into()),
        package: Some("acme".into()),
        message_type: vec![message],
        syntax: Some("proto3".into()),
        ..Default::default()
    }
}

fn request(files: Vec<FileDescriptorProto>) -> RegisterTypesRequest {
    RegisterTypesRequest { descriptor_set: FileDescriptorSet { file: files }.encode_to_vec() }
}

/// Registers `acme.Frame`; says which version its file has then.
pub(crate) async fn register(faces: &Faces, pages: Type) -> Result<u64, tonic::Status> {
    let registered = types(faces).register(request(vec![file("frame.proto", "Frame", pages)])).await?;
    let [file] = &registered.get_ref().files[..] else { panic!("{registered:?}") };
    assert_eq!((&*file.name, &file.messages[..]), ("frame.proto", &["acme.Frame".to_owned()][..]));
    Ok(file.version)
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_before_its_type_came_is_shown_as_json_then_and_is_the_same_bytes() {
    let faces = Faces::new();
    // One more member than the type has, in an order of its own.
    let input = Any { type_url: "type.googleapis.com/acme.Frame".into(), value: vec![0x78, 1, 8, 3] };
    let mut asked = create("k");
    asked.input = Some(input.clone());
    let id = faces.operations().create(asked).await.unwrap().into_inner().id;
    let path = format!("GET /api/v1/operations/{id}?view=FULL");
    let shown = |rest: Value| rest["input"].clone();
    let opaque = json!({"@type": "type.googleapis.com/acme.Frame", "value": "eAEIAw=="});
    assert_eq!(shown(faces.rest(&path, "").await.ok()), opaque);
    assert_eq!(register(&faces, Type::Int32).await.unwrap(), 1);
    let known = json!({"@type": "type.googleapis.com/acme.Frame", "pages": 3});
    assert_eq!(shown(faces.rest(&path, "").await.ok()), known);
    let claimed = faces.claim("k").await;
    assert_eq!(claimed.input, Some(input), "to the worker go the bytes that came");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_fit_its_type_is_refused_with_its_path() {
    let faces = Faces::new();
    let wrong = r#"{"kind":"k","input":{"@type":"t/acme.Frame","pages":"many"}}"#;
    let unknown = faces.rest("POST /api/v1/operations", wrong).await;
    assert_eq!((unknown.status, unknown.field()), (StatusCode::BAD_REQUEST, "input.pages"), "only `value` is read");
    register(&faces, Type::Int32).await.unwrap();
    let known = faces.rest("POST /api/v1/operations", wrong).await;
    assert_eq!((known.reason(), known.field()), ("INVALID_FIELD", "input.pages"));
    let opaque = r#"{"kind":"k","input":{"@type":"t/acme.Frame","value":"CAM="}}"#;
    assert_eq!(faces.rest("POST /api/v1/operations", opaque).await.field(), "input.value");
    assert_eq!(faces.rows().await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_once_more_is_no_change_and_a_newer_version_counts() {
    let faces = Faces::new();
    assert_eq!(register(&faces, Type::Int32).await.unwrap(), 1);
    assert_eq!(register(&faces, Type::Int32).await.unwrap(), 1);
    let mut newer = file("frame.proto", "Frame", Type::Int32);
    newer.message_type.push(DescriptorProto { name: Some("Reel".into()), ..Default::default() });
    let set = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, request(vec![newer]).descriptor_set);
    let body = json!({ "descriptorSet": set }).to_string();
    let registered = faces.rest("POST /api/v1/types:register", &body).await.ok();
    assert_eq!(registered["files"][0]["version"], "2");
    assert_eq!(registered["files"][0]["messages"], json!(["acme.Frame", "acme.Reel"]));
    let listed = faces.rest("GET /api/v1/types", "").await.ok();
    assert_eq!(listed["files"], registered["files"]);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_names_symbol_and_file_and_changes_nothing() {
    let faces = Faces::new();
    register(&faces, Type::Int32).await.unwrap();
    let files = vec![file("new.proto", "New", Type::Bool), file("frame.proto", "Frame", Type::String)];
    let refused = types(&faces).register(request(files)).await.unwrap_err();
    assert_eq!((told(&refused).0, &*told(&refused).1), (Code::FailedPrecondition, "TYPES_CONFLICT"));
    let details = tonic_types::StatusExt::get_error_details(&refused);
    let facts = &details.error_info().unwrap().metadata;
    assert_eq!((&*facts["symbol"], &*facts["file"]), ("acme.Frame.pages", "frame.proto"));
    let listed = types(&faces).list(ListTypesRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.files.iter().map(|file| (&*file.name, file.version)).collect::<Vec<_>>(), [("frame.proto", 1)]);
    for garbled in ["", "\u{0}", "no descriptor set"] {
        let set = RegisterTypesRequest { descriptor_set: garbled.into() };
        let refused = types(&faces).register(set).await.unwrap_err();
        assert_eq!(told(&refused), (Code::InvalidArgument, "INVALID_FIELD".into(), "descriptorSet".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_takes_only_the_type_it_was_created_for() {
    let faces = Faces::new();
    register(&faces, Type::Int32).await.unwrap();
    let mut asked = create("k");
    asked.response_type = Some("acme.Frame".into());
    faces.operations().create(asked).await.unwrap();
    let lease = faces.claim("k").await.lease;
    let complete = |type_url: &str| CompleteRequest {
        lease: lease.clone(),
        outcome: Some(complete_request::Outcome::Response(Any { type_url: type_url.into(), value: vec![8, 3] })),
        ..Default::default()
    };
    let refused = faces.work().complete(complete("type.googleapis.com/acme.Reel")).await.unwrap_err();
    assert_eq!((told(&refused).0, &*told(&refused).2), (Code::InvalidArgument, "response"));
    for name in ["acme.Reel", "acme.Frame"] {
        assert!(refused.message().contains(name), "{}", refused.message());
    }
    assert!(faces.work().complete(complete("type.googleapis.com/acme.Frame")).await.unwrap().into_inner().done);
}

#[tokio::test(start_paused = true)]
async fn files_are_listed_page_by_page_and_with_descriptors_if_asked_for() {
    let faces = Faces::new();
    let names: Vec<String> = (0..5).map(|n| format!("{n}.proto")).collect();
    let files = names.iter().enumerate().map(|(n, name)| file(name, &format!("M{n}"), Type::Bool));
    let brought: Vec<_> = files.collect();
    types(&faces).register(request(brought.clone())).await.unwrap();
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let asked = ListTypesRequest { page_size: 2, page_token: token, descriptors: true };
        let page = types(&faces).list(asked).await.unwrap().into_inner();
        assert!(page.files.len() <= 2);
        found.extend(page.files);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        assert!(token.len() <= 100, "{token}");
    }
    let decoded: Vec<_> = found.iter().map(|file| FileDescriptorProto::decode(&*file.descriptor).unwrap()).collect();
    assert_eq!(decoded, brought);
    let plain = types(&faces).list(ListTypesRequest::default()).await.unwrap().into_inner();
    assert!(plain.files.iter().all(|file| file.descriptor.is_empty()));
    let strange = ListTypesRequest { page_token: "x".into(), ..Default::default() };
    assert_eq!(told(&types(&faces).list(strange).await.unwrap_err()).1, "INVALID_PAGE_TOKEN");
}

#[tokio::test(start_paused = true)]
async fn a_query_says_true_and_false() {
    let faces = Faces::new();
    for said in ["true", "false"] {
        faces.rest(&format!("GET /api/v1/types?descriptors={said}"), "").await.ok();
    }
    let refused = faces.rest("GET /api/v1/types?descriptors=yes", "").await;
    assert_eq!(refused.field(), "descriptors");
}
