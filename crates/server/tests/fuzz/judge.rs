//! What every answer must be like, whatever was asked (CONTRACT §4).

use http::HeaderMap;
use operond_proto::OPENAPI;
use serde::de::IgnoredAny;
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::input::Input;
use crate::rig::Answer;

/// In one word: `ok`, or the reason of the refusal.
pub(crate) type Verdict = String;

/// Holds an answer against the contract.
pub(crate) fn judge(input: &Input, answer: &Answer) -> Result<Verdict, String> {
    if answer.body.len() > ANSWER_BYTES_MAX {
        return Err(format!("the answer has {} bytes", answer.body.len()));
    }
    let verdict = match answer.status.as_u16() {
        415 if is_service(input) => Ok("415".into()),
        200 if is_grpc(input) => grpc(input, answer),
        _ => rest(input, answer),
    }?;
    if UNAVAILABLE.contains(&&*verdict) {
        return Err(format!("{verdict}, though the store is there and nobody else calls"));
    }
    stored(&verdict, answer)?;
    Ok(verdict)
}

/// Whether it is gRPC by what it says of itself.
pub(crate) fn is_grpc(input: &Input) -> bool {
    let behind = input.get("content-type").and_then(|value| value.strip_prefix(b"application/grpc"));
    input.method == "POST" && behind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// Whether the path is one of a gRPC service: where those who speak something else hear no more than that.
fn is_service(input: &Input) -> bool {
    let path = input.path();
    ["/operond.v1.", "/google.", "/yandex.", "/grpc."].iter().any(|package| path.starts_with(package))
}

/// Nothing is stored by a call that is refused. One that ran out of its time may be carried out; and where time went
/// by, the server had things to do.
fn stored(verdict: &str, answer: &Answer) -> Result<(), String> {
    let writes = answer.writes;
    match verdict {
        "DEADLINE_EXCEEDED" => Ok(()),
        "ok" if writes.created <= 1 => Ok(()),
        _ if writes.created == 0 && (answer.waited || writes.written == 0) => Ok(()),
        _ => Err(format!("{writes:?} by a call that was answered {verdict}")),
    }
}

fn grpc(input: &Input, answer: &Answer) -> Result<Verdict, String> {
    let Some(status) = Status::from_header_map(&answer.headers) else { return trailed(input, answer) };
    if !answer.ended_at_head || !answer.body.is_empty() {
        return Err("an error that is not Trailers-Only".into());
    }
    bounded(&answer.headers)?;
    refused(status.code())?;
    let details = status.check_error_details().map_err(|error| format!("details that cannot be read: {error}"))?;
    let info = details.error_info().ok_or_else(|| format!("no ErrorInfo: {status:?}"))?;
    if info.domain != "operond.dev" || info.reason.is_empty() || status.message().is_empty() {
        return Err(format!("an error that says too little: {status:?}"));
    }
    Ok(info.reason.clone())
}

/// An answer with frames: complete ones, and no bad end.
fn trailed(input: &Input, answer: &Answer) -> Result<Verdict, String> {
    let mut rest = &*answer.body;
    while let Some((head, behind)) = rest.split_first_chunk::<5>() {
        let length = usize::try_from(u32::from_be_bytes([head[1], head[2], head[3], head[4]])).unwrap();
        rest = behind.get(length..).ok_or("a frame without its end")?;
    }
    if !rest.is_empty() {
        return Err("half a frame".into());
    }
    match answer.trailers.as_ref().map(|trailers| (trailers, Status::from_header_map(trailers))) {
        None => Ok("ok".into()),
        Some((_, None)) => Err("trailers without a status".into()),
        Some((_, Some(status))) if status.code() == Code::Ok => Ok("ok".into()),
        Some((trailers, Some(status))) => {
            bounded(trailers)?;
            refused(status.code())?;
            // The library reads what it is asked while it answers.
            if !input.path().starts_with("/grpc.reflection.") {
                return Err(format!("an error behind an answer: {status:?}"));
            }
            Ok(format!("{:?} behind an answer", status.code()))
        }
    }
}

/// Clients take longer ones for something else.
fn bounded(headers: &HeaderMap) -> Result<(), String> {
    let bytes: usize = headers.values().map(http::HeaderValue::len).sum();
    if bytes < ERROR_BYTES_MAX { Ok(()) } else { Err(format!("an error of {bytes} bytes")) }
}

fn refused(code: Code) -> Result<(), String> {
    match code {
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Err(format!("refused with {code:?}")),
        _ => Ok(()),
    }
}

fn rest(input: &Input, answer: &Answer) -> Result<Verdict, String> {
    let status = answer.status.as_u16();
    if input.method == "HEAD" {
        return match status {
            500 => Err("HTTP status 500".into()),
            _ if !answer.body.is_empty() => Err("a body behind HEAD".into()),
            200..300 => Ok("ok".into()),
            _ => Ok("HEAD".into()),
        };
    }
    match status {
        204 | 304 if answer.body.is_empty() => Ok("ok".into()),
        200 => readable(answer),
        400..=599 => error(input, answer),
        _ => Err(format!("HTTP status {status}")),
    }
}

fn readable(answer: &Answer) -> Result<Verdict, String> {
    let json = answer.headers.get("content-type").is_some_and(|value| value == "application/json");
    if json && answer.body != OPENAPI.as_bytes() {
        serde_json::from_slice::<IgnoredAny>(&answer.body).map_err(|error| format!("no JSON: {error}"))?;
    }
    Ok("ok".into())
}

fn error(input: &Input, answer: &Answer) -> Result<Verdict, String> {
    let said = || String::from_utf8_lossy(&answer.body).into_owned();
    let body: Value = serde_json::from_slice(&answer.body).map_err(|error| format!("no JSON: {error}: {}", said()))?;
    let google = input.path().starts_with("/v1/");
    let error = if google { &body["error"] } else { &body };
    let code = error["code"].as_u64().ok_or_else(|| format!("no code: {body}"))?;
    let (status, internal) = (u64::from(answer.status.as_u16()), ["UNKNOWN", "INTERNAL", "DATA_LOSS"]);
    let by_code = |code: u64| HTTP.get(usize::try_from(code).unwrap_or(usize::MAX)) == Some(&status);
    let ours = if google { code == status } else { by_code(code) || [405, 413, 415].contains(&status) };
    if !ours
        || !google && [0, 2, 13, 15].contains(&code)
        || status == 500
        || error["status"].as_str().is_some_and(|name| internal.contains(&name))
    {
        return Err(format!("{status} with {body}"));
    }
    let mut info = error["details"].as_array().into_iter().flatten();
    let info = info.find(|detail| detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo");
    let info = info.filter(|info| info["domain"] == "operond.dev").ok_or_else(|| format!("no ErrorInfo: {body}"))?;
    let message = error["message"].as_str().filter(|message| !message.is_empty());
    if message.is_none() || answer.body.len() >= ERROR_BYTES_MAX {
        return Err(format!("too little, or too much: {body}"));
    }
    info["reason"].as_str().map(str::to_owned).ok_or_else(|| format!("no reason: {body}"))
}

/// The HTTP status of each code.
const HTTP: [u64; 17] = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
const ANSWER_BYTES_MAX: usize = 4 << 20;
const ERROR_BYTES_MAX: usize = 8_000;
const UNAVAILABLE: &[&str] = &["OVERLOADED", "SHUTTING_DOWN", "STORE_UNAVAILABLE", "DISK_FULL"];
