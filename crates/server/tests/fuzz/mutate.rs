//! Changes to bytes and to texts, for every target.

use crate::random::Random;

/// One change somewhere in `bytes`; `other` is what can be spliced in.
pub(crate) fn bytes(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let (at, end) = place(random, bytes.len());
    match random.below(12) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => bytes.extend_from_within(at..end),
        3 => insert(bytes, at, &random.byte().to_le_bytes()),
        4 => insert(bytes, at, random.pick(WORDS).as_bytes()),
        5 => {
            let (from, to) = place(random, other.len());
            insert(bytes, at, &other[from..to]);
        }
        6 => {
            let many = random.length(4_096);
            let byte = random.byte();
            insert(bytes, at, &vec![byte; many]);
        }
        7 => bytes[at..end].reverse(),
        8 => drop(bytes.splice(at..end, random.pick(WORDS).bytes())),
        _ if bytes.is_empty() => bytes.push(random.byte()),
        9 => bytes[at.saturating_sub(1)] ^= 1 << random.below(8),
        10 => bytes[at.saturating_sub(1)] = *random.pick(BYTES),
        _ => bytes[at.saturating_sub(1)] = random.byte(),
    }
}

/// The same for JSON: most often a value becomes another value, so that the text can still be read.
pub(crate) fn json(random: &mut Random, text: &mut Vec<u8>, other: &[u8]) {
    if random.one_in(4) {
        return bytes(random, text, other);
    }
    let Some((at, end)) = value_in(random, text) else { return text.extend(random.pick(VALUES).as_bytes()) };
    match random.below(10) {
        0 => {
            let depth = random.length(5_000);
            let (open, close) = *random.pick(&[("[", "]"), ("{\"a\":", "}")]);
            let value = [open.repeat(depth).as_bytes(), &text[at..end], close.repeat(depth).as_bytes()].concat();
            text.splice(at..end, value);
        }
        1 => {
            let member = format!(",\"{}\":{}", random.pick(MEMBERS), random.pick(VALUES));
            insert(text, end, member.as_bytes());
        }
        2 => {
            let string = format!("\"{}\"", random.pick(WORDS).repeat(random.length(64)));
            text.splice(at..end, string.into_bytes());
        }
        3 if !other.is_empty() => {
            let value = value_in(random, other).map_or(b"{}".as_slice(), |(from, to)| &other[from..to]).to_vec();
            text.splice(at..end, value);
        }
        _ => drop(text.splice(at..end, random.pick(VALUES).bytes())),
    }
}

/// A word that means something to some face.
pub(crate) fn word(random: &mut Random) -> &'static str {
    WORDS[random.below(WORDS.len())]
}

/// Members, as they are called in queries and JSON.
pub(crate) fn member(random: &mut Random) -> &'static str {
    MEMBERS[random.below(MEMBERS.len())]
}

fn place(random: &mut Random, length: usize) -> (usize, usize) {
    let at = random.below(length + 1);
    (at, at + random.length(64.min(length - at + 1)).min(length - at))
}

fn insert(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    bytes.splice(at..at, new.iter().copied());
}

/// Where one of the values in a JSON text begins and ends; roughly, if it is none.
fn value_in(random: &mut Random, text: &[u8]) -> Option<(usize, usize)> {
    let starts = text.iter().enumerate().filter(|(_, byte)| matches!(byte, b':' | b'['));
    let starts: Vec<_> = starts.map(|(at, _)| at + 1).collect();
    let at = *starts.get(random.below(starts.len()))?;
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (index, byte) in text[at..].iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return Some((at, at + index)),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    Some((at, text.len()))
}

const BYTES: &[u8] = &[0, 1, 9, b'\n', b' ', b'"', b'%', b'/', b':', b'\\', b'{', 0x7f, 0x80, 0xc0, 0xed, 0xfe, 0xff];

const WORDS: &[&str] = &[
    "",
    "a",
    "b",
    "w",
    "default",
    "0",
    "-1",
    "18446744073709551616",
    "1e999",
    "1s",
    "30s",
    "-1s",
    "315576000001s",
    "0.0000000001s",
    "2026-11-25T00:00:00Z",
    "operations/",
    "projects/p/operations/",
    ":cancel",
    ":wait",
    "%00",
    "%ff",
    "%2e%2e%2f",
    "../",
    "//",
    "\0",
    "\u{fffd}",
    "😀",
    "\u{202e}",
    "e\u{301}",
    "type.googleapis.com/",
    "type.googleapis.com/google.protobuf.Empty",
    "type.googleapis.com/google.protobuf.Struct",
    "type.googleapis.com/google.protobuf.Any",
    "type.googleapis.com/operond.v1.Operation",
    "done = true",
    "kind:a OR (NOT error:*",
    "metadata.@type:\"x\"",
    "metadata.a.b >= -1.5e3",
    "created_at > \"2026-01-01T00:00:00Z\"",
    "state = QUEUED AND -labels.a:*",
    "created_at desc",
    "((((((((((((((((",
    "NOT NOT NOT ",
];

const VALUES: &[&str] = &[
    "null",
    "true",
    "0",
    "-0.0",
    "1",
    "-1",
    "2147483648",
    "18446744073709551616",
    "1e400",
    "1.5",
    "1E-7",
    "\"\"",
    "\"a\"",
    "\"1\"",
    "\"NaN\"",
    "\"-Infinity\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"\\u0000\"",
    "\"1s\"",
    "\"9999999999s\"",
    "\"2026-11-25T00:00:00.123456789Z\"",
    "\"10000-01-01T00:00:00Z\"",
    "\"YWJj\"",
    "\"=\"",
    "[]",
    "[null]",
    "[\"a\",\"b\"]",
    "{}",
    "{\"a\":1,\"a\":2}",
    "{\"@type\":\"type.googleapis.com/google.protobuf.Empty\"}",
    "{\"@type\":\"type.googleapis.com/google.protobuf.Duration\",\"value\":\"1s\"}",
    "{\"@type\":\"type.googleapis.com/google.protobuf.Struct\",\"value\":{\"a\":[1,null]}}",
    "{\"@type\":\"type.googleapis.com/google.protobuf.Any\",\"value\":{\"@type\":\"x/y\"}}",
    "{\"@type\":\"type.googleapis.com/acme.Unknown\",\"value\":\"AAE=\"}",
    "{\"@type\":\"\"}",
    "{\"@type\":7}",
    "{\"code\":5,\"message\":\"m\",\"details\":[]}",
];

const MEMBERS: &[&str] = &[
    "id",
    "kind",
    "kinds",
    "tenant",
    "metadata",
    "input",
    "labels",
    "wait",
    "timeout",
    "view",
    "filter",
    "pageSize",
    "pageToken",
    "orderBy",
    "worker",
    "lease",
    "leaseDuration",
    "error",
    "response",
    "cancelled",
    "reason",
    "max",
    "maxAttempts",
    "idempotencyKey",
    "roles",
    "@type",
    "value",
    "descriptorSet",
    "returnPartialSuccess",
    "name",
    "afterRevision",
    "operationId",
    "max_attempts",
    "nonsense",
    "",
];
