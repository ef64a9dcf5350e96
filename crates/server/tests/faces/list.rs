//! Lists: order, pages, tokens, filters, and answers that clients can bear.

use operond_core::limits::SCAN_OPERATIONS_MAX;
use operond_proto::operond::v1::{CreateRequest, ListRequest, ListResponse, Operation};
use prost::Message;
use prost_types::Any;
use serde_json::Value;
use tonic::Code;

use crate::harness::{Faces, create, told};

async fn page(faces: &Faces, request: ListRequest) -> ListResponse {
    faces.operations().list(request).await.unwrap().into_inner()
}

fn ids(operations: &[Operation]) -> Vec<&str> {
    operations.iter().map(|operation| operation.id.as_str()).collect()
}

async fn all(faces: &Faces, request: ListRequest) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut request = request;
    loop {
        let answer = page(faces, request.clone()).await;
        assert!(!answer.operations.is_empty() || answer.next_page_token.is_empty());
        operations.extend(answer.operations);
        if answer.next_page_token.is_empty() {
            return operations;
        }
        request.page_token = answer.next_page_token;
    }
}

#[tokio::test(start_paused = true)]
async fn f21_pages_neither_skip_nor_repeat_under_inserts_and_deletes() {
    let faces = Faces::new();
    let mut created = Vec::new();
    for _ in 0..25 {
        created.push(faces.create("k").await.id);
    }
    for order_by in ["", "created_at"] {
        let mut expected = created.clone();
        if order_by.is_empty() {
            expected.reverse();
        }
        let request = ListRequest { page_size: 4, order_by: order_by.into(), ..Default::default() };
        let found = all(&faces, request.clone()).await;
        assert_eq!(ids(&found), expected);
        assert!(found.iter().all(|operation| operation.input.is_none() && operation.events.is_empty()));
    }
    let first = page(&faces, ListRequest { page_size: 4, ..Default::default() }).await;
    faces.create("k").await;
    let gone = created.remove(10);
    faces.rest(&format!("POST /api/v1/operations/{gone}:cancel"), "").await.ok();
    faces.rest(&format!("DELETE /api/v1/operations/{gone}"), "").await.ok();
    let page_token = first.next_page_token;
    let rest = all(&faces, ListRequest { page_size: 4, page_token, ..Default::default() }).await;
    let found: Vec<_> = ids(&first.operations).into_iter().chain(ids(&rest)).map(str::to_owned).collect();
    created.reverse();
    assert_eq!(found, created);
}

#[tokio::test(start_paused = true)]
async fn filters_choose_by_kind_and_state() {
    let faces = Faces::new();
    let (a, b) = (faces.create("a").await.id, faces.create("b").await.id);
    let cancelled = faces.create("a").await.id;
    faces.rest(&format!("POST /api/v1/operations/{cancelled}:cancel"), "").await.ok();
    let filtered = async |filter: &str| {
        let found = all(&faces, ListRequest { filter: filter.into(), page_size: 1, ..Default::default() }).await;
        ids(&found).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(filtered("kind = \"a\"").await, [cancelled.clone(), a.clone()]);
    assert_eq!(filtered("state = QUEUED").await, [b, a.clone()]);
    assert_eq!(filtered("kind='a' AND state=QUEUED").await, [a]);
    assert_eq!(filtered("state = CANCELLED AND kind = a").await, [cancelled]);
    assert!(filtered("kind = c").await.is_empty());
    let error = faces.operations().list(ListRequest { filter: "kind > ".into(), ..Default::default() }).await;
    assert_eq!(told(&error.unwrap_err()), (Code::InvalidArgument, "INVALID_FILTER".into(), "filter".into()));
    assert!(filtered(&format!("{:1000}", "kind = c")).await.is_empty());
    let long = ListRequest { filter: format!("{:1001}", "kind = c"), ..Default::default() };
    let error = faces.operations().list(long).await.unwrap_err();
    assert_eq!(told(&error), (Code::InvalidArgument, "LIMIT_EXCEEDED".into(), "filter".into()));
}

#[tokio::test(start_paused = true)]
async fn filters_read_payloads_as_they_are_printed() {
    let faces = Faces::new();
    let create = async |metadata: &str| {
        let body = format!(r#"{{"kind":"k","metadata":{metadata}}}"#);
        faces.rest("POST /api/v1/operations", &body).await.ok()["id"].as_str().unwrap().to_owned()
    };
    let three = create(r#"{"pages":3,"by":{"name":"Ann"},"tags":["a","b"]}"#).await;
    let ten = create(r#"{"pages":10,"by":{"name":"Bob"}}"#).await;
    let took = create(r#"{"@type":"type.googleapis.com/google.protobuf.Duration","value":"90s"}"#).await;
    let unknown = create(r#"{"@type":"type.googleapis.com/acme.v1.T","value":"AAAA"}"#).await;
    let filtered = async |filter: &str| {
        let request = ListRequest { filter: filter.into(), order_by: "created_at".into(), ..Default::default() };
        ids(&page(&faces, request).await.operations).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(filtered("metadata.pages > 3").await, [&*ten], "numbers are no texts");
    assert_eq!(filtered("metadata.by.name:ann OR metadata.pages = 10").await, [&*three, &*ten]);
    assert_eq!(filtered("metadata.tags = b").await, [&*three]);
    assert_eq!(filtered("metadata.value >= 1.5s").await, [&*took]);
    assert_eq!(filtered("metadata.@type = acme.v1.T").await, [&*unknown]);
    assert_eq!(filtered("NOT metadata.pages:*").await, [&*took, &*unknown]);
    assert_eq!(filtered("response:*").await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_is_refused_says_where_and_why() {
    let faces = Faces::new();
    for (filter, position, why) in [
        ("colour = red", "1", "there is no field"),
        ("kind = a AND done = 1", "21", "true or false"),
        ("(kind = a", "10", "`)`"),
        (&*"(".repeat(500), "51", "at most 50 deep"),
    ] {
        let encoded = filter.replace(' ', "%20").replace('=', "%3D");
        let refused = faces.rest(&format!("GET /api/v1/operations?filter={encoded}"), "").await;
        assert_eq!((refused.reason(), refused.field()), ("INVALID_FILTER", "filter"), "{filter}");
        assert_eq!(refused.detail("ErrorInfo")["metadata"]["position"], position, "{filter}");
        assert!(refused.body["message"].as_str().unwrap().contains(why), "{}", refused.body);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_looked_at_enough_is_short_and_has_a_token() {
    let faces = Faces::new();
    for _ in 0..SCAN_OPERATIONS_MAX {
        faces.create("k").await;
    }
    let needle = faces.operations().create(CreateRequest { description: "needle".into(), ..create("k") }).await;
    let request =
        ListRequest { filter: "description:needle".into(), order_by: "created_at".into(), ..Default::default() };
    let first = page(&faces, request.clone()).await;
    assert_eq!((first.operations.len(), first.next_page_token.is_empty()), (0, false));
    let second = page(&faces, ListRequest { page_token: first.next_page_token, ..request }).await;
    assert_eq!(ids(&second.operations), [needle.unwrap().into_inner().id]);
    assert!(second.next_page_token.is_empty());
}

#[tokio::test(start_paused = true)]
async fn b22_tokens_belong_to_their_list_and_cannot_be_altered() {
    let faces = Faces::new();
    for _ in 0..3 {
        faces.create("k").await;
    }
    let request = ListRequest { filter: "kind = k".into(), page_size: 1, ..Default::default() };
    let token = page(&faces, request.clone()).await.next_page_token;
    assert!(token.len() <= 100, "{token}");
    let with = |page_token: &str| ListRequest { page_token: page_token.into(), ..request.clone() };
    let larger = ListRequest { filter: " kind = k ".into(), page_size: 2, ..with(&token) };
    assert_eq!(page(&faces, larger).await.operations.len(), 2, "the same list, another size of page");
    let refused = [
        with(&token[1..]),
        with(&token.replace(&token[..1], if token.starts_with('A') { "B" } else { "A" })),
        with(&format!("{token}A")),
        with("x"),
        ListRequest { filter: String::new(), ..with(&token) },
        ListRequest { filter: "kind = other".into(), ..with(&token) },
        ListRequest { order_by: "created_at".into(), ..with(&token) },
    ];
    for request in refused {
        let error = faces.operations().list(request.clone()).await.unwrap_err();
        let expected = (Code::InvalidArgument, "INVALID_PAGE_TOKEN".into(), "pageToken".into());
        assert_eq!(told(&error), expected, "{request:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn page_sizes_are_cut_at_a_thousand() {
    let faces = Faces::new();
    for _ in 0..1_001 {
        faces.create("k").await;
    }
    for (page_size, found) in [(0, 100), (999, 999), (1_000, 1_000), (1_001, 1_000), (i32::MAX, 1_000)] {
        let answer = page(&faces, ListRequest { page_size, ..Default::default() }).await;
        assert_eq!((answer.operations.len(), answer.next_page_token.is_empty()), (found, false), "{page_size}");
    }
    let error = faces.operations().list(ListRequest { page_size: -1, ..Default::default() }).await.unwrap_err();
    assert_eq!(told(&error), (Code::InvalidArgument, "INVALID_FIELD".into(), "pageSize".into()));
}

#[tokio::test(start_paused = true)]
async fn answers_stop_at_three_mebibytes_in_either_encoding() {
    const LIMIT: usize = 3 * 1024 * 1024;
    let faces = Faces::new();
    // Control characters take six bytes each in JSON, and bytes take a third more.
    let value = vec![0xff; 64 * 1024 - 40];
    let metadata = Some(Any { type_url: "type.googleapis.com/acme.v1.T".into(), value });
    for _ in 0..60 {
        let description = "\u{1}".repeat(256);
        faces
            .operations()
            .create(CreateRequest { metadata: metadata.clone(), description, ..create("k") })
            .await
            .unwrap();
    }
    let first = page(&faces, ListRequest::default()).await;
    let bytes = first.encoded_len();
    assert!((LIMIT - 80 * 1024..=LIMIT + 1024).contains(&bytes), "{bytes}");
    assert_eq!(all(&faces, ListRequest::default()).await.len(), 60);

    let mut path = "/api/v1/operations".to_owned();
    let mut found = 0;
    loop {
        let answer = faces.rest(&format!("GET {path}"), "").await.ok();
        found += answer["operations"].as_array().unwrap().len();
        assert!(answer.to_string().len() <= LIMIT + 1024);
        let Value::String(token) = &answer["nextPageToken"] else { break };
        path = format!("/api/v1/operations?pageToken={token}");
    }
    assert_eq!(found, 60);
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_is_an_empty_list() {
    let faces = Faces::new();
    assert_eq!(faces.rest("GET /api/v1/operations", "").await.ok(), serde_json::json!({ "operations": [] }));
}
