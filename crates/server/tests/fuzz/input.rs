//! One request, and the text that it is kept as.
//!
//! ```text
//! POST /api/v1/operations
//! host: localhost
//!
//! {"kind": "a"}
//! ```
//!
//! A body that is no text is written in hexadecimal behind `hex `. `{queued}`, `{lease}` and the like stand for what
//! the server has given: see [`crate::rig::Rig::fill`]. `\xff` in a line above the body is that byte.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Method, Request, Uri};

use crate::body::Watched;

#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) method: String,
    /// Path and query; a whole URL, as from HTTP/2.
    pub(crate) target: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    /// Where the body is in two chunks.
    pub(crate) cut: usize,
    /// Whether the connection is lost behind it.
    pub(crate) breaks: bool,
}

impl Input {
    pub(crate) fn new(method: &str, target: impl AsRef<[u8]>) -> Self {
        let headers = vec![("host".to_owned(), b"localhost".to_vec())];
        Self { method: method.to_owned(), target: target.as_ref().to_vec(), headers, ..Self::default() }
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// The first header of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// The path as a server sees it.
    pub(crate) fn path(&self) -> String {
        Uri::try_from(&*self.target).map(|uri| uri.path().to_owned()).unwrap_or_default()
    }

    /// Reads what is in a file of the corpus.
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end_matches('\n'), ""));
        let mut lines = head.lines();
        let (method, target) = lines.next().unwrap().split_once(' ').expect("a method and a path");
        let headers = lines.map(|line| line.split_once(": ").unwrap_or((line.trim_end_matches(':'), "")));
        let headers = headers.map(|(name, value)| (name.to_owned(), unescape(value))).collect();
        let body = body.strip_suffix('\n').unwrap_or(body);
        let body = body.strip_prefix("hex ").map_or_else(|| body.as_bytes().to_vec(), unhex);
        Self { method: method.to_owned(), target: unescape(target), headers, body, ..Self::default() }
    }

    /// As hyper would make it; none for what it would refuse itself.
    pub(crate) fn request(&self, polls: Arc<AtomicUsize>) -> Option<Request<Body>> {
        let body = Watched::new(&self.body, self.cut, self.breaks, polls);
        let mut request = Request::new(Body::new(body));
        *request.method_mut() = Method::from_bytes(self.method.as_bytes()).ok()?;
        *request.uri_mut() = Uri::try_from(&*self.target).ok()?;
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
        }
        Some(request)
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.method, self.target.escape_ascii())?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {}", value.escape_ascii())?;
        }
        write!(f, "\nhex ")?;
        self.body.iter().take(PRINTED_BYTES_MAX).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        writeln!(f, "\n({} bytes, cut at {}, breaks: {})", self.body.len(), self.cut, self.breaks)
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some((before, behind)) = rest.split_once("\\x") {
        bytes.extend(before.as_bytes());
        bytes.extend(unhex(&behind[..2]));
        rest = &behind[2..];
    }
    bytes.extend(rest.as_bytes());
    bytes
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks_exact(2).map(byte).collect()
}

const PRINTED_BYTES_MAX: usize = 10_000;
