//! The audit: a line of JSON for everything that happened to an operation, a key or a setting, and for every call that
//! was refused for who makes it or how much they ask.
//!
//! Who, by what credential, what, to which operation, from which state to which, in which request. No payloads, no
//! credentials. A line is printable ASCII whatever was in it: it can neither be split nor command a terminal.

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use operond_core::{Operation, State, Timestamp};
use operond_engine::Origin;
use operond_store::Transition;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter};
use tokio::time::Instant;
use tonic::Code;

use super::clock::{now, stamp};
use super::identity::Identity;
use super::limits::{Bucket, Rate};
use super::method::Method;
use crate::http::RequestId;

/// Where the lines go. A cheap handle.
#[derive(Clone)]
pub struct Audit(Arc<Shared>);

struct Shared {
    lines: Mutex<Option<SyncSender<Vec<u8>>>>,
    counts: Arc<Counts>,
    /// Lines for calls of strangers.
    strangers: Mutex<Bucket>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Counts {
    /// Lines that wait to be written.
    waiting: AtomicUsize,
    /// Lines for which there was no room, since the last one that there was room for.
    lost: AtomicU64,
    /// Calls of strangers that were refused and have no line of their own, since the last one that has.
    unsaid: AtomicU64,
}

/// One line. Members are only ever added.
#[derive(Default, Serialize)]
struct Line<'a> {
    at: String,
    /// What sort of line: `operation`, `setting`, `refused` or `lost`.
    audit: &'static str,
    /// The principal; `server` where a timer did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<&'a str>,
    /// `key`, `token` or `certificate`, and which one.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_id: Option<&'a str>,
    /// What happened, in order; or which method was refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    what: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'static str>,
    /// The code of a refusal; none where refusals are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// Where a call that was refused came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a str>,
    /// How many lines are missing: lost, or refused calls without lines of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<u64>,
}

/// A call that was refused.
pub(crate) struct Refused<'a> {
    pub(crate) method: Option<Method>,
    /// Who called, or whose key it was that is good no more.
    pub(crate) identity: Option<&'a Identity>,
    pub(crate) code: Code,
    pub(crate) peer: Option<std::net::SocketAddr>,
    pub(crate) request: &'a str,
}

impl Audit {
    /// Writes lines to `to`, from a thread of its own: nobody waits for a disk. What it cannot write it counts, and says so
    /// in the next line that it can.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn to(to: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(LINES_WAITING_MAX);
        let counts = Arc::<Counts>::default();
        let counted = Arc::clone(&counts);
        let writer = std::thread::Builder::new().name("audit".into()).spawn(move || write(to, &waiting, &counted))?;
        let strangers = Mutex::new(Bucket::full(STRANGERS, Instant::now()));
        let (lines, writer) = (Mutex::new(Some(lines)), Mutex::new(Some(writer)));
        Ok(Self(Arc::new(Shared { lines, counts, strangers, writer })))
    }

    /// Waits until every line is written; what comes later is lost. Blocks.
    pub fn close(&self) {
        drop(self.0.lines.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(writer) = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It has said what went wrong.
            let _panicked = writer.join();
        }
    }

    /// A call that was refused. Strangers can make any number of them, so only so many have lines: the others are
    /// counted; and no refusal takes the room of what was done.
    pub(crate) fn refused(&self, refused: &Refused<'_>) {
        if refused.code == Code::Unauthenticated && self.strangers().take(STRANGERS, Instant::now()).is_err() {
            self.0.counts.unsaid.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.0.counts.waiting.load(Ordering::Relaxed) >= REFUSALS_WAITING_MAX {
            self.0.counts.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let credential = refused.identity.map(|identity| identity.credential.parts());
        self.line(&Line {
            audit: "refused",
            who: refused.identity.map(|identity| identity.principal.as_str()),
            credential: credential.map(|(sort, _)| sort),
            credential_id: credential.map(|(_, id)| id),
            what: refused.method.map(Method::as_str).into_iter().collect(),
            code: Some(format!("{:?}", refused.code)),
            peer: refused.peer.map(|peer| peer.to_string()),
            request: Some(refused.request),
            ..Line::now()
        });
    }

    fn strangers(&self) -> MutexGuard<'_, Bucket> {
        self.0.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A key or a setting that was changed: what was done to which one.
    pub(crate) fn setting(&self, origin: &Origin, what: &str, which: &str) {
        self.line(&Line { audit: "setting", what: vec![what, which], ..Line::now().of(Some(origin)) });
    }

    fn line(&self, line: &Line<'_>) {
        let text = encode(line);
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // Counted first: the writer may be faster.
        self.0.counts.waiting.fetch_add(1, Ordering::Relaxed);
        if lines.as_ref().is_none_or(|lines| lines.try_send(text).is_err()) {
            self.0.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.0.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}

impl operond_engine::Audit for Audit {
    fn happened(&self, at: Timestamp, transition: &Transition, origin: Option<&Origin>) {
        let Transition { operation, from, to, events, .. } = transition;
        let operation: &Operation = operation;
        let mut what: Vec<&str> = events.iter().map(|event| event.as_str()).collect();
        if to.is_none() {
            what.push("removed");
        }
        self.line(&Line {
            audit: "operation",
            what,
            operation: Some(operation.id.as_str()),
            tenant: Some(operation.spec.tenant.as_str()),
            kind: Some(operation.spec.kind.as_str()),
            from: from.map(State::as_str),
            to: to.map(State::as_str),
            ..Line::at(at).of(origin)
        });
    }
}

impl<'a> Line<'a> {
    fn at(at: Timestamp) -> Self {
        let at = jiff::Timestamp::from_microsecond(at.micros())
            .map_or_else(|_| at.micros().to_string(), |at| at.to_string());
        Self { at, ..Self::default() }
    }

    fn now() -> Self {
        Self::at(stamp(now()))
    }

    /// As `origin` says; the server did what nobody asked for.
    fn of(self, origin: Option<&'a Origin>) -> Self {
        let Some(origin) = origin else { return Self { who: Some("server"), ..self } };
        let mut parts = origin.split(SEPARATOR);
        let mut part = || parts.next().filter(|part| !part.is_empty());
        Self { who: part(), credential: part(), credential_id: part(), request: part(), ..self }
    }
}

/// What the engine is told of whoever calls, for [`Line::of`].
pub(crate) fn origin(identity: &Identity, request: Option<&RequestId>) -> Origin {
    let (credential, id) = identity.credential.parts();
    let request = request.map_or("", RequestId::as_str);
    [identity.principal.as_str(), credential, id, request].join(SEPARATOR).into()
}

/// In no name: NUL is refused everywhere (CONTRACT §5).
const SEPARATOR: &str = "\0";

fn write(mut to: impl Write, lines: &Receiver<Vec<u8>>, counts: &Counts) {
    let mut failing = false;
    loop {
        // None behind the last one.
        let line = lines.recv().ok();
        counts.waiting.fetch_sub(usize::from(line.is_some()), Ordering::Relaxed);
        let (lost, unsaid) = (counts.lost.swap(0, Ordering::Relaxed), counts.unsaid.swap(0, Ordering::Relaxed));
        // What was written in part is no line, and must not become one with the next.
        let mut text = if failing { vec![b'\n'] } else { Vec::new() };
        for (audit, lines) in [("lost", lost), ("refused", unsaid)] {
            if lines > 0 {
                text.extend(encode(&Line { audit, lines: Some(lines), ..Line::now() }));
            }
        }
        text.extend(line.as_deref().unwrap_or_default());
        let written = to.write_all(&text).and_then(|()| to.flush());
        if let Err(error) = &written {
            counts.lost.fetch_add(lost + u64::from(line.is_some()), Ordering::Relaxed);
            counts.unsaid.fetch_add(unsaid, Ordering::Relaxed);
            if !failing {
                tracing::error!(%error, "the audit cannot be written: lines are lost until it can");
            }
        }
        failing = written.is_err();
        if line.is_none() {
            return;
        }
    }
}

fn encode(line: &Line<'_>) -> Vec<u8> {
    let mut text = Vec::with_capacity(256);
    let mut serializer = Serializer::with_formatter(&mut text, Ascii(CompactFormatter));
    line.serialize(&mut serializer).expect("a line has string keys and no errors of its own");
    text.push(b'\n');
    text
}

/// JSON in printable ASCII: what JSON itself does not escape may still be a command to a terminal, or turn the direction
/// of what stands beside it.
struct Ascii(CompactFormatter);

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for c in fragment.chars() {
            if c.is_ascii() && !c.is_ascii_control() {
                self.0.write_string_fragment(writer, c.encode_utf8(&mut [0; 4]))?;
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

/// Lines that wait to be written, a few hundred bytes each; more are lost, and counted.
const LINES_WAITING_MAX: usize = 65_536;
/// How many may wait where a refusal still joins them.
const REFUSALS_WAITING_MAX: usize = LINES_WAITING_MAX / 2;
/// Lines for refused calls of whom nobody knows: enough to see who it is, and bounded on the disk.
const STRANGERS: Rate = Rate::per_second(NonZeroU32::new(100).expect("it is not 0"));

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What was written, for a test to look at; it can be made to fail, in the middle of a line.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<(Vec<u8>, bool)>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut page = self.0.lock().unwrap();
            let (text, fails) = &mut *page;
            let taken = match (*fails, text.last()) {
                (false, _) => bytes.len(),
                (true, None | Some(b'\n')) => 3.min(bytes.len()),
                (true, Some(_)) => return Err(io::ErrorKind::StorageFull.into()),
            };
            text.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        /// The whole lines.
        fn lines(&self) -> Vec<Value> {
            let text = String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap();
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
        }

        fn fail(&self, fails: bool) {
            self.0.lock().unwrap().1 = fails;
        }
    }

    #[test]
    fn f47_a_line_is_one_line_of_printable_ascii_and_says_what_was_in_it() {
        let page = Page::default();
        let audit = Audit::to(page.clone()).unwrap();
        let hostile = "\u{1b}[2J\n{\"audit\":\"forged\"}\r\u{7f}\u{9b}31m\u{202e}\u{2028}ж😀\"\\";
        let origin: Origin = [hostile, "key", hostile, "id"].join(SEPARATOR).into();
        audit.setting(&origin, "key created", hostile);
        audit.close();
        let text = page.0.lock().unwrap().0.clone();
        assert!(text.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\n'), "{text:?}");
        let lines = page.lines();
        assert_eq!(lines.len(), 1);
        assert_eq!((&lines[0]["who"], &lines[0]["what"][1]), (&hostile.into(), &hostile.into()));
        assert_eq!((&lines[0]["audit"], &lines[0]["request"]), (&"setting".into(), &"id".into()));
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_in_the_next_one_that_can() {
        let page = Page::default();
        let audit = Audit::to(page.clone()).unwrap();
        let origin: Origin = "".into();
        page.fail(true);
        for _ in 0..3 {
            audit.setting(&origin, "a", "b");
        }
        // Written one after the other: when this is true, all three have failed.
        while audit.0.counts.lost.load(Ordering::Relaxed) < 3 {
            std::thread::yield_now();
        }
        page.fail(false);
        audit.setting(&origin, "c", "d");
        audit.close();
        let lines = page.lines();
        assert_eq!((&lines[0]["audit"], &lines[0]["lines"]), (&"lost".into(), &3.into()));
        assert_eq!(lines[1]["what"][0], "c");
        audit.setting(&origin, "too", "late");
        assert_eq!(page.lines().len(), 2);
    }

    fn refuse(audit: &Audit, identity: Option<&Identity>, times: usize) {
        let code = if identity.is_some() { Code::PermissionDenied } else { Code::Unauthenticated };
        for _ in 0..times {
            audit.refused(&Refused { method: None, identity, code, peer: None, request: "r" });
        }
    }

    /// How many lines of this sort there are, and how many more they say there were.
    fn count(lines: &[Value], sort: &str) -> (usize, u64) {
        let lines = lines.iter().filter(|line| line["audit"] == sort);
        let more = |line: &Value| line["lines"].as_u64();
        (lines.clone().filter(|line| more(line).is_none()).count(), lines.filter_map(more).sum())
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_have_a_hundred_lines_a_second_and_are_counted_beyond() {
        let page = Page::default();
        let audit = Audit::to(page.clone()).unwrap();
        refuse(&audit, None, 1_000);
        refuse(&audit, Some(&Identity::unasked()), 150);
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        refuse(&audit, None, 101);
        audit.close();
        assert_eq!(count(&page.lines(), "refused"), (100 + 150 + 100, 900 + 1));
    }

    #[test]
    fn refusals_leave_room_for_what_was_done() {
        let page = Page::default();
        let audit = Audit::to(page.clone()).unwrap();
        let slow = page.0.lock().unwrap();
        refuse(&audit, Some(&Identity::unasked()), 40_000);
        audit.setting(&"".into(), "key revoked", "x");
        drop(slow);
        audit.close();
        let lines = page.lines();
        let (said, lost) = (count(&lines, "refused").0, count(&lines, "lost").1);
        // The writer may have taken one before it had to wait.
        assert!((REFUSALS_WAITING_MAX..=REFUSALS_WAITING_MAX + 1).contains(&said), "{said}");
        assert_eq!(said as u64 + lost, 40_000);
        assert_eq!(count(&lines, "setting"), (1, 0));
    }
}
