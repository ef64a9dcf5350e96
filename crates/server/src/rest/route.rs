//! Which call a path and a method stand for.

use http::Method;
use operond_core::OperationId;
use percent_encoding::percent_decode_str;

use crate::error::{ApiError, Reason, quote};
use crate::google::is_collection;

/// Everything that REST can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Health,
    Ready,
    OpenApi,
    Metrics,
    YandexGet,
    YandexCancel,
    GoogleList,
    GoogleGet,
    GoogleDelete,
    GoogleCancel,
    GoogleWait,
    EndpointsList,
    EndpointsGet,
    Create,
    Start,
    Get,
    List,
    Count,
    Wait,
    Watch,
    Cancel,
    Delete,
    Claim,
    Heartbeat,
    ReportFailure,
    Complete,
    Retry,
    Release,
    TypesRegister,
    TypesList,
    KindsList,
    KindsGet,
    KindsUpdate,
    KeysCreate,
    KeysList,
    KeysRevoke,
    WhoAmI,
}

/// What a path stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// The id in it (Google face: the name); empty where it has none.
    pub(super) id: String,
    /// What can be done there, by method.
    pub(super) calls: &'static [(Method, Call)],
}

/// What is at a path.
pub(super) fn find(path: &str) -> Result<Route, ApiError> {
    if let Some(name) = path.strip_prefix("/v1").filter(|name| name.starts_with('/')) {
        return find_google(path, name);
    }
    let segments = segments(path, SEGMENTS_MAX)?;
    let (id, calls) = match segments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["healthz"] => ("", only(&(Method::GET, Call::Health))),
        ["readyz"] => ("", only(&(Method::GET, Call::Ready))),
        ["api", "v1", "openapi.json"] => ("", only(&(Method::GET, Call::OpenApi))),
        ["metrics"] => ("", only(&(Method::GET, Call::Metrics))),
        ["operations", last] => match verb(last) {
            (id, None) => (id, only(&(Method::GET, Call::YandexGet))),
            // By contract (CONTRACT §4 "Cancel over GET"); the guards are in the layers.
            (id, Some("cancel")) => {
                (id, [(Method::GET, Call::YandexCancel), (Method::POST, Call::YandexCancel)].as_slice())
            }
            _ => return Err(unknown(path)),
        },
        ["endpoints"] => ("", only(&(Method::GET, Call::EndpointsList))),
        ["endpoints", id] => (id, only(&(Method::GET, Call::EndpointsGet))),
        ["api", "v1", "operations"] => ("", [(Method::GET, Call::List), (Method::POST, Call::Create)].as_slice()),
        ["api", "v1", "operations:count"] => ("", only(&(Method::GET, Call::Count))),
        ["api", "v1", "operations:start"] => ("", only(&(Method::POST, Call::Start))),
        ["api", "v1", "operations", last] => match verb(last) {
            (id, None) => (id, [(Method::GET, Call::Get), (Method::DELETE, Call::Delete)].as_slice()),
            (id, Some("wait")) => (id, only(&(Method::GET, Call::Wait))),
            (id, Some("watch")) => (id, only(&(Method::GET, Call::Watch))),
            (id, Some("cancel")) => (id, only(&(Method::POST, Call::Cancel))),
            _ => return Err(unknown(path)),
        },
        ["api", "v1", "types"] => ("", only(&(Method::GET, Call::TypesList))),
        ["api", "v1", "types:register"] => ("", only(&(Method::POST, Call::TypesRegister))),
        ["api", "v1", "kinds"] => ("", only(&(Method::GET, Call::KindsList))),
        // Kinds may have colons: no verb is looked for.
        ["api", "v1", "kinds", name] => {
            (name, [(Method::GET, Call::KindsGet), (Method::PUT, Call::KindsUpdate)].as_slice())
        }
        ["api", "v1", "keys"] => ("", [(Method::GET, Call::KeysList), (Method::POST, Call::KeysCreate)].as_slice()),
        ["api", "v1", "keys", last] => match verb(last) {
            (id, Some("revoke")) => (id, only(&(Method::POST, Call::KeysRevoke))),
            _ => return Err(unknown(path)),
        },
        ["api", "v1", "whoami"] => ("", only(&(Method::GET, Call::WhoAmI))),
        ["api", "v1", "work:claim"] => ("", only(&(Method::POST, Call::Claim))),
        ["api", "v1", "work:heartbeat"] => ("", only(&(Method::POST, Call::Heartbeat))),
        ["api", "v1", "work:reportFailure"] => ("", only(&(Method::POST, Call::ReportFailure))),
        ["api", "v1", "work:complete"] => ("", only(&(Method::POST, Call::Complete))),
        ["api", "v1", "work:retry"] => ("", only(&(Method::POST, Call::Retry))),
        ["api", "v1", "work:release"] => ("", only(&(Method::POST, Call::Release))),
        _ => return Err(unknown(path)),
    };
    Ok(Route { id: id.to_owned(), calls })
}

/// The call that a path and a method stand for, if there is one.
pub(crate) fn call_of(path: &str, method: &Method) -> Option<Call> {
    choose(find(path).ok()?.calls, method).ok()
}

/// The operation that a path is about, if it has the id of one.
pub(crate) fn operation_of(path: &str) -> Option<OperationId> {
    let route = find(path).ok()?;
    let (_, id) = route.id.rsplit_once('/').unwrap_or(("", &route.id));
    let of_one = |(_, call): &(Method, Call)| {
        let native = matches!(call, Call::Get | Call::Wait | Call::Watch | Call::Cancel | Call::Delete);
        native
            || matches!(
                call,
                Call::YandexGet | Call::YandexCancel | Call::GoogleGet | Call::GoogleWait | Call::GoogleCancel
            )
    };
    route.calls.iter().any(of_one).then(|| OperationId::parse("id", id).ok())?
}

/// What is at a path of the Google face, whose names have any number of segments.
fn find_google(path: &str, name: &str) -> Result<Route, ApiError> {
    let name = segments(name, usize::MAX)?.join("/");
    if is_collection(&name) {
        return Ok(Route { id: name, calls: only(&(Method::GET, Call::GoogleList)) });
    }
    let (collection, last) = name.rsplit_once('/').unwrap_or_default();
    // Parents may have colons, too: only what stands behind an id is a verb.
    let (id, verb) = verb(last);
    let calls = match verb {
        _ if !is_collection(collection) => return Err(unknown(path)),
        None => [(Method::GET, Call::GoogleGet), (Method::DELETE, Call::GoogleDelete)].as_slice(),
        Some("cancel") => only(&(Method::POST, Call::GoogleCancel)),
        Some("wait") => only(&(Method::POST, Call::GoogleWait)),
        Some(_) => return Err(unknown(path)),
    };
    Ok(Route { id: format!("{collection}/{id}"), calls })
}

/// The call that `method` stands for. HEAD is GET without its body where GET only reads, and reads at once.
pub(super) fn choose(calls: &'static [(Method, Call)], method: &Method) -> Result<Call, ApiError> {
    let found = calls.iter().find(|(of, call)| of == method || (method == Method::HEAD && has_head(of, *call)));
    found.map(|(_, call)| *call).ok_or_else(|| {
        let mut allowed: Vec<&str> = calls.iter().map(|(of, _)| of.as_str()).collect();
        if calls.iter().any(|(of, call)| has_head(of, *call)) {
            allowed.push("HEAD");
        }
        let allowed = allowed.join(", ");
        let message = format!("{} is not possible here, only {allowed}", quote(method.as_str()));
        ApiError::new(Reason::MethodNotAllowed, message).allow(allowed)
    })
}

fn has_head(method: &Method, call: Call) -> bool {
    method == Method::GET && !matches!(call, Call::YandexCancel | Call::Wait | Call::Watch)
}

/// The segments of a path, percent-decoded one by one: an encoded slash divides nothing.
fn segments(path: &str, segments_max: usize) -> Result<Vec<String>, ApiError> {
    let decode = |segment| percent_decode_str(segment).decode_utf8().map(Into::into);
    let segments = path.strip_prefix('/').unwrap_or(path).split('/').take(segments_max);
    segments.map(decode).collect::<Result<_, _>>().map_err(|_| ApiError::invalid("path", "is not UTF-8"))
}

/// Splits `id:verb` at the last colon.
fn verb(segment: &str) -> (&str, Option<&str>) {
    segment.rsplit_once(':').map_or((segment, None), |(id, verb)| (id, Some(verb)))
}

fn only(call: &'static (Method, Call)) -> &'static [(Method, Call)] {
    std::slice::from_ref(call)
}

fn unknown(path: &str) -> ApiError {
    ApiError::new(Reason::UnknownPath, format!("there is nothing at {}", quote(path)))
}

/// One more than any path here has, but those of the Google face.
const SEGMENTS_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &Method, path: &str) -> Result<(Call, String), Reason> {
        let route = find(path).map_err(|error| error.reason())?;
        let call = choose(route.calls, method).map_err(|error| error.reason())?;
        Ok((call, route.id))
    }

    #[test]
    fn segments_are_decoded_one_by_one_and_split_at_the_last_colon() {
        let get = |path| call(&Method::GET, path);
        assert_eq!(get("/operations/op1"), Ok((Call::YandexGet, "op1".into())));
        assert_eq!(get("/operations/op1:cancel"), Ok((Call::YandexCancel, "op1".into())));
        assert_eq!(get("/operations/op1%3Acancel"), Ok((Call::YandexCancel, "op1".into())));
        assert_eq!(get("/operations/op1:%63ancel"), Ok((Call::YandexCancel, "op1".into())));
        assert_eq!(get("/operations/a:b:cancel"), Ok((Call::YandexCancel, "a:b".into())));
        assert_eq!(get("/operations/a%2Fb"), Ok((Call::YandexGet, "a/b".into())));
        assert_eq!(get("/operations/%D0%B6"), Ok((Call::YandexGet, "ж".into())));
        assert_eq!(get("/operations/"), Ok((Call::YandexGet, String::new())));
        assert_eq!(get("/api/v1/operations/op1:wait"), Ok((Call::Wait, "op1".into())));
        assert_eq!(call(&Method::POST, "/api/v1/work%3Aclaim"), Ok((Call::Claim, String::new())));
        assert_eq!(get("/operations/%ff"), Err(Reason::InvalidField));
        assert_eq!(get("/v1/a.example:b/operations/op1"), Ok((Call::GoogleGet, "a.example:b/operations/op1".into())));
        assert_eq!(get("/v1/a:b/operations"), Ok((Call::GoogleList, "a:b/operations".into())));
        for unknown in ["/v1", "/v1/", "/v1//operations/op1", "/v1/operations:wait", "/v1/a:b", "/v1x/operations"] {
            assert_eq!(get(unknown), Err(Reason::UnknownPath), "{unknown}");
        }
        for unknown in ["/", "/operations", "/operations/op1:stop", "/operations/op1/x", "//operations/op1", "/api/v1"]
        {
            assert_eq!(get(unknown), Err(Reason::UnknownPath), "{unknown}");
        }
        assert_eq!(get("/api/v1/operations/op1/x/y/z"), Err(Reason::UnknownPath));
    }

    #[test]
    fn b46_no_method_changes_state_by_another_name() {
        for method in [Method::HEAD, Method::OPTIONS, Method::PUT, Method::PATCH, Method::DELETE, Method::TRACE] {
            assert_eq!(call(&method, "/operations/op1:cancel"), Err(Reason::MethodNotAllowed), "{method}");
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            for path in ["/api/v1/operations/op1:cancel", "/api/v1/work:claim", "/api/v1/operations:start"] {
                assert_eq!(call(&method, path), Err(Reason::MethodNotAllowed), "{method} {path}");
            }
        }
        assert_eq!(call(&Method::HEAD, "/api/v1/operations/op1"), Ok((Call::Get, "op1".into())));
    }
}
