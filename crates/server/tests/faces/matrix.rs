//! Who may call what: every method of every face, by gRPC and REST, with every role, on operations of the own tenant, of
//! another one, and that never were.

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use operond_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Faces, request};
use crate::routes::{annotations, filled};

/// Who calls: nobody known, each role in one tenant, and an admin of everything.
const CALLERS: &str = "-vopwaR";

/// A method, who may call it (by their letters in [`CALLERS`]), and what it is about.
type Row = (&'static str, &'static str, About);

/// What a method is about.
#[derive(Clone, Copy, PartialEq)]
enum About {
    /// One operation.
    Operation,
    /// What a lease was given for.
    Lease,
    /// No operation that there is.
    Nothing,
}

use About::{Lease, Nothing, Operation};

/// Written down a second time, on purpose: the table of the server is held against it.
const ROWS: &[Row] = &[
    ("operond.v1.Operations.Create", "paR", Nothing),
    ("operond.v1.Operations.Start", "paR", Nothing),
    ("operond.v1.Operations.Get", "vopaR", Operation),
    ("operond.v1.Operations.List", "vopaR", Nothing),
    ("operond.v1.Operations.Count", "vopaR", Nothing),
    ("operond.v1.Operations.Wait", "vopaR", Operation),
    ("operond.v1.Operations.Watch", "vopaR", Operation),
    ("operond.v1.Operations.Cancel", "oaR", Operation),
    ("operond.v1.Operations.Delete", "oaR", Operation),
    ("operond.v1.Work.Claim", "waR", Nothing),
    ("operond.v1.Work.Heartbeat", "pwaR", Lease),
    ("operond.v1.Work.ReportFailure", "pwaR", Lease),
    ("operond.v1.Work.Complete", "pwaR", Lease),
    ("operond.v1.Work.Retry", "pwaR", Lease),
    ("operond.v1.Work.Release", "pwaR", Lease),
    ("operond.v1.Types.Register", "R", Nothing),
    ("operond.v1.Types.List", "vopwaR", Nothing),
    ("operond.v1.Kinds.Get", "vopwaR", Nothing),
    ("operond.v1.Kinds.List", "vopwaR", Nothing),
    ("operond.v1.Kinds.Update", "R", Nothing),
    ("operond.v1.Keys.Create", "R", Nothing),
    ("operond.v1.Keys.List", "R", Nothing),
    ("operond.v1.Keys.Revoke", "R", Nothing),
    ("operond.v1.Keys.WhoAmI", "vopwaR", Nothing),
    ("yandex.cloud.operation.OperationService.Get", "vopaR", Operation),
    ("yandex.cloud.operation.OperationService.Cancel", "oaR", Operation),
    ("yandex.cloud.endpoint.ApiEndpointService.Get", "-vopwaR", Nothing),
    ("yandex.cloud.endpoint.ApiEndpointService.List", "-vopwaR", Nothing),
    ("google.longrunning.Operations.GetOperation", "vopaR", Operation),
    ("google.longrunning.Operations.ListOperations", "vopaR", Nothing),
    ("google.longrunning.Operations.WaitOperation", "vopaR", Operation),
    ("google.longrunning.Operations.CancelOperation", "oaR", Operation),
    ("google.longrunning.Operations.DeleteOperation", "oaR", Operation),
];

/// The members of a request beside what it is about.
fn members(method: &str) -> Value {
    match method {
        "operond.v1.Operations.Create" => json!({ "kind": "made" }),
        "operond.v1.Operations.Start" => json!({ "kind": "made", "worker": "w" }),
        "operond.v1.Work.Claim" => json!({ "kinds": ["nothing-of-it"], "worker": "w", "wait": "0s" }),
        "operond.v1.Work.ReportFailure" | "operond.v1.Work.Retry" => json!({ "error": { "code": 5 } }),
        "operond.v1.Work.Complete" => json!({ "cancelled": {} }),
        "operond.v1.Kinds.Get" => json!({ "name": "op0" }),
        "operond.v1.Kinds.Update" => json!({ "kind": { "name": "op0" } }),
        "operond.v1.Keys.Create" => json!({ "name": "n", "tenant": "t", "roles": ["ROLE_VIEWER"] }),
        "operond.v1.Keys.Revoke" => json!({ "id": "op0" }),
        "yandex.cloud.endpoint.ApiEndpointService.Get" => json!({ "apiEndpointId": "iam" }),
        "google.longrunning.Operations.ListOperations" => json!({ "name": "operations" }),
        _ => json!({}),
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Answered,
    /// Code, reason, message.
    Refused(Code, String, String),
}

impl Told {
    fn is(&self, code: Code) -> bool {
        matches!(self, Self::Refused(found, ..) if *found == code)
    }

    /// As told of an operation `id`, whichever it is.
    fn of_some(self, id: &str) -> Self {
        match self {
            Self::Refused(code, reason, message) => Self::Refused(code, reason, message.replace(id, "ID")),
            answered @ Self::Answered => answered,
        }
    }
}

/// Everything that the matrix is tried on.
struct Matrix {
    faces: Faces,
    pool: DescriptorPool,
    /// By letter.
    keys: Vec<(char, String)>,
    admin: String,
}

impl Matrix {
    async fn new() -> Self {
        let (faces, admin) = Faces::asking().await;
        let mut keys = vec![('R', admin.clone())];
        for (letter, role) in [('v', "VIEWER"), ('o', "OPERATOR"), ('p', "PRODUCER"), ('w', "WORKER"), ('a', "ADMIN")] {
            let new = json!({ "name": letter.to_string(), "tenant": "own", "roles": [format!("ROLE_{role}")] });
            keys.push((letter, faces.key(&admin, &new).await));
        }
        Self { faces, pool: DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap(), keys, admin }
    }

    fn key(&self, caller: char) -> Option<&str> {
        self.keys.iter().find(|(letter, _)| *letter == caller).map(|(_, key)| key.as_str())
    }

    /// What a request names to be about an operation of `tenant`, or of nobody: its id, and its lease.
    async fn target(&self, about: About, tenant: Option<&str>) -> (String, String) {
        let absent = "op0000000000000000000000000000000".to_owned();
        let made_up = format!("{absent}.1.{}", "0".repeat(32));
        let Some(tenant) = tenant else { return (absent, made_up) };
        if about == Nothing {
            return (absent, made_up);
        }
        let new = json!({ "kind": "k", "tenant": tenant, "worker": "w" }).to_string();
        let started = self.faces.rest_as(&self.admin, "POST /api/v1/operations:start", &new).await.ok();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&started["operation"]["id"]), text(&started["lease"]))
    }

    /// A call by gRPC; its members are filled in where they say nothing of an operation.
    async fn grpc(&self, caller: char, method: &MethodDescriptor, mut members: Value, id: &str, lease: &str) -> Told {
        for (member, value) in [
            ("id", id.to_owned()),
            ("operationId", id.to_owned()),
            ("name", format!("operations/{id}")),
            ("lease", lease.into()),
        ] {
            let known = method.input().fields().any(|field| field.json_name() == member);
            if known && members.get(member).is_none() {
                members[member] = value.into();
            }
        }
        let message = DynamicMessage::deserialize(method.input(), members).unwrap().encode_to_vec();
        let mut body = vec![0];
        body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend(message);
        let path = format!("http://localhost/{}/{}", method.parent_service().full_name(), method.name());
        let mut request = Request::post(path).header("content-type", "application/grpc");
        if let Some(key) = self.key(caller) {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        told_by_grpc(&self.faces.call(request.body(Body::from(body)).unwrap()).await)
    }

    async fn rest(&self, caller: char, line: &str, members: &Value, lease: &str) -> Told {
        let mut members = members.clone();
        if line.contains("/work:") && !line.ends_with(":claim") {
            members["lease"] = lease.into();
        }
        // What the path says is not said again.
        let body =
            if line.starts_with("GET") || line.starts_with("DELETE") { String::new() } else { members.to_string() };
        let bearer = self.key(caller).map(|key| format!("Bearer {key}"));
        let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        told_by_rest(self.faces.call(request(line, &headers, &body)).await).await
    }

    /// A call by gRPC, and by each of its paths over REST.
    async fn call(&self, caller: char, method: &MethodDescriptor, about: About, tenant: Option<&str>) -> Vec<Told> {
        let mut told = Vec::new();
        let all = members(method.full_name());
        let (id, lease) = self.target(about, tenant).await;
        told.push(self.grpc(caller, method, all.clone(), &id, &lease).await.of_some(&id));
        for (verb, path) in annotations(&self.pool, method) {
            let (id, lease) = self.target(about, tenant).await;
            let mut members = all.clone();
            if method.full_name().ends_with("Kinds.Update") {
                members = members["kind"].take();
            }
            let line = format!("{verb} {}", filled(&path).replace("op0", if about == Nothing { "op0" } else { &id }));
            told.push(self.rest(caller, &line, &members, &lease).await.of_some(&id));
        }
        told
    }

    /// All of one row.
    async fn try_row(&self, (name, may, about): Row) {
        let (service, method) = name.rsplit_once('.').unwrap();
        let service = self.pool.get_service_by_name(service).unwrap_or_else(|| panic!("{name} is not there any more"));
        let method = service.methods().find(|found| found.name() == method).expect("it is there");
        for caller in CALLERS.chars() {
            let own = self.call(caller, &method, about, Some("own")).await;
            let foreign = self.call(caller, &method, about, Some("other")).await;
            let absent = self.call(caller, &method, about, None).await;
            let cell = format!("{name} by {caller:?}: {own:?}, {foreign:?}, {absent:?}");
            if !may.contains(caller) {
                let code = if caller == '-' { Code::Unauthenticated } else { Code::PermissionDenied };
                assert!(own.iter().all(|told| told.is(code)), "{cell}");
                assert!(own == foreign && own == absent, "{cell}");
                continue;
            }
            let reached = |told: &Told| {
                !told.is(Code::Unauthenticated)
                    && !told.is(Code::PermissionDenied)
                    && !matches!(told, Told::Refused(_, reason, _) if reason == "NEVER_EXISTED" || reason == "INVALID_LEASE")
            };
            if about == Nothing {
                let may = |told: &Told| !told.is(Code::Unauthenticated) && !told.is(Code::PermissionDenied);
                assert!(own.iter().all(may), "{cell}");
                continue;
            }
            assert!(own.iter().all(reached), "{cell}");
            assert!(!absent.iter().any(reached), "{cell}");
            match caller {
                'R' => assert!(foreign.iter().all(reached), "{cell}"),
                _ => assert_eq!(foreign, absent, "{cell}"),
            }
        }
    }
}

/// AIP-211: the permission is looked at before anything is looked for; and a parent changes nothing.
#[tokio::test(start_paused = true)]
async fn b45_a_parent_in_a_google_name_lets_nobody_in_and_tells_nothing() {
    let matrix = Matrix::new().await;
    let google = matrix.pool.get_service_by_name("google.longrunning.Operations").unwrap();
    for method in google.methods().filter(|method| method.name() != "ListOperations") {
        let (_, may, about) = ROWS.iter().find(|(name, ..)| *name == method.full_name()).unwrap();
        for caller in CALLERS.chars() {
            for tenant in [Some("own"), Some("other"), None] {
                let mut told = Vec::new();
                for parent in ["", "own/", "tenants/own/", "tenants/other/", "projects/p/locations/l/"] {
                    let (id, lease) = matrix.target(*about, tenant).await;
                    let members = json!({ "name": format!("{parent}operations/{id}") });
                    let answer = matrix.grpc(caller, &method, members, &id, &lease).await.of_some(&id);
                    told.push(match answer {
                        Told::Refused(code, reason, message) => {
                            Told::Refused(code, reason, message.replace(parent, ""))
                        }
                        answered @ Told::Answered => answered,
                    });
                }
                let expected = match (may.contains(caller), caller, tenant) {
                    (false, '-', _) => Some(Code::Unauthenticated),
                    (false, ..) => Some(Code::PermissionDenied),
                    (true, _, None) => Some(Code::NotFound),
                    (true, 'R', Some(_)) | (true, _, Some("own")) => None,
                    (true, ..) => Some(Code::NotFound),
                };
                let cell = format!("{} by {caller:?} on {tenant:?}: {told:?}", method.name());
                // What is running cannot be deleted: then the operation was reached, too.
                let fits = |told: &Told| match expected {
                    Some(code) => told.is(code),
                    None => *told == Told::Answered || told.is(Code::FailedPrecondition),
                };
                assert!(told.iter().all(fits), "{cell}");
                assert!(told.iter().all(|one| *one == told[0]), "{cell}");
            }
        }
    }
}

fn told_by_grpc(response: &Response<Body>) -> Told {
    // Errors are in the headers, all of them; what is answered is not looked at.
    match Status::from_header_map(response.headers()) {
        None => Told::Answered,
        Some(status) if status.code() == Code::Ok => Told::Answered,
        Some(status) => {
            let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
            Told::Refused(status.code(), reason, status.message().into())
        }
    }
}

async fn told_by_rest(response: Response<Body>) -> Told {
    if response.status().is_success() {
        // A watch goes on and on.
        return Told::Answered;
    }
    let google = [400, 401, 403, 404, 409, 429, 501].contains(&response.status().as_u16());
    assert!(google, "{}", response.status());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let (error, code) = match body.get("error") {
        Some(error) => (error, code_by_name(error["status"].as_str().unwrap())),
        None => (&body, Code::from_i32(i32::try_from(body["code"].as_i64().unwrap()).unwrap())),
    };
    let reason = error["details"].as_array().into_iter().flatten().find_map(|detail| detail["reason"].as_str());
    Told::Refused(code, reason.unwrap_or_default().into(), error["message"].as_str().unwrap().into())
}

fn code_by_name(name: &str) -> Code {
    use operond_proto::google::rpc;
    Code::from_i32(rpc::Code::from_str_name(name).unwrap().into())
}

#[tokio::test(start_paused = true)]
async fn b45_every_method_serves_those_who_may_what_is_theirs_and_nobody_else_anything() {
    let matrix = Matrix::new().await;
    for row in ROWS {
        matrix.try_row(*row).await;
    }
}

#[test]
fn every_method_of_every_service_has_a_row() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut methods: Vec<_> = pool
        .services()
        .flat_map(|service| service.methods().map(|method| method.full_name().to_owned()).collect::<Vec<_>>())
        .collect();
    let mut rows: Vec<_> = ROWS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    methods.sort();
    rows.sort();
    assert_eq!(methods, rows, "say in ROWS who may call a new method");
}
