//! As much of HTTP as it takes to ask Patroni.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

/// A status and a body.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

/// Asks a server on loopback.
///
/// # Errors
/// It does not answer within two seconds, or by something else than JSON.
pub(super) fn get(port: u16, path: &str) -> anyhow::Result<Answer> {
    ask(port, "GET", path, "")
}

/// Changes what is named in `body`.
///
/// # Errors
/// As [`get`].
pub(super) fn patch(port: u16, path: &str, body: &Value) -> anyhow::Result<Answer> {
    ask(port, "PATCH", path, &body.to_string())
}

fn ask(port: u16, verb: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Of 1.0, so that the answer ends where the connection does.
    write!(stream, "{verb} {path} HTTP/1.0\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    parse(&answer).with_context(|| format!("{verb} {address}{path}: {answer:?}"))
}

fn parse(answer: &str) -> anyhow::Result<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n").context("it has no end of its head")?;
    let status = head.split(' ').nth(1).context("it has no status")?.parse()?;
    Ok(Answer { status, body: serde_json::from_str(body)? })
}

const PATIENCE: Duration = Duration::from_secs(2);
