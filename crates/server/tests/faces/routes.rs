//! Every path that the protos promise is there.

use http::{Method, StatusCode};
use operond_proto::FILE_DESCRIPTOR_SET;
use prost_reflect::{DescriptorPool, MethodDescriptor, Value};

use crate::harness::{Faces, request};

/// The HTTP method and path of a call, from its `google.api.http` annotation.
fn annotation(pool: &DescriptorPool, method: &MethodDescriptor) -> Option<(Method, String)> {
    let extension = pool.get_extension_by_name("google.api.http").expect("the annotations are in the set");
    let options = method.options();
    if !options.has_extension(&extension) {
        return None;
    }
    let rule = options.get_extension(&extension).into_owned();
    let rule = rule.as_message().unwrap();
    [Method::GET, Method::POST, Method::DELETE].into_iter().find_map(|method| {
        let Value::String(path) = rule.get_field_by_name(&method.as_str().to_lowercase())?.into_owned() else {
            return None;
        };
        (!path.is_empty()).then_some((method, path))
    })
}

fn with_id(path: &str) -> String {
    let Some((before, rest)) = path.split_once('{') else { return path.to_owned() };
    let (_, after) = rest.split_once('}').unwrap();
    format!("{before}op0{after}")
}

#[tokio::test(start_paused = true)]
async fn every_annotated_path_is_served_and_refuses_other_methods() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let faces = Faces::new();
    let mut found = 0;
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let Some((http_method, path)) = annotation(&pool, &method) else { continue };
        let path = with_id(&path);
        let answer = faces.rest(&format!("{http_method} {path}"), "").await;
        assert_ne!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{} {path}", method.full_name());
        assert_ne!(answer.reason(), "UNKNOWN_PATH", "{} {path}", method.full_name());
        let wrong = faces.call(request(&format!("PATCH {path}"), &[], "")).await;
        assert_eq!(wrong.status(), StatusCode::METHOD_NOT_ALLOWED);
        let allowed = wrong.headers()["allow"].to_str().unwrap();
        assert!(allowed.split(", ").any(|allowed| allowed == http_method.as_str()), "{path} allows {allowed}");
        found += 1;
    }
    assert_eq!(found, 18, "8 of Operations, 6 of Work, 4 of Yandex");
}

#[tokio::test(start_paused = true)]
async fn unknown_paths_are_404_and_head_has_no_body() {
    let faces = Faces::new();
    for path in ["/", "/operations", "/api/v1", "/api/v2/operations", "/api/v1/work", "/api/v1/work:stream"] {
        let answer = faces.rest(&format!("GET {path}"), "").await;
        assert_eq!((answer.status, answer.reason()), (StatusCode::NOT_FOUND, "UNKNOWN_PATH"), "{path}");
    }
    let id = faces.create("k").await.id;
    let get = faces.rest(&format!("GET /operations/{id}"), "").await;
    let head = faces.rest(&format!("HEAD /operations/{id}"), "").await;
    assert_eq!((head.status, head.body), (StatusCode::OK, serde_json::Value::Null));
    assert_eq!(head.headers["content-type"], get.headers["content-type"]);
}
