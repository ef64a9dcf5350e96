//! Operations as text for people, and as JSON for programs.
//!
//! Everything that came from a server is untrusted: control characters and characters that turn the
//! direction of text could make a terminal show what is not there (or do what nobody asked for), so
//! they are printed by their numbers.

use std::fmt::Write;

use comfy_table::{Table, presets};
use operond_client::{Any, Code, Operation, Outcome, Progress, Status, json};
use operond_server::json::Types;

use serde::Serialize;

use super::args::Format;

/// One operation, its payloads by `types`; ends with a line break.
pub(crate) fn one(format: Format, operation: &Operation, types: &Types) -> String {
    match format {
        Format::Table => details(operation, types),
        Format::Json => format!("{}\n", pretty(&json::operation_by(operation, &by(types)))),
        Format::Jsonl => format!("{}\n", line(operation, types)),
        Format::Id => format!("{}\n", escape(&operation.id)),
    }
}

/// Many operations, their payloads by `types`; ends with a line break, unless there is nothing to print.
pub(crate) fn many(format: Format, operations: &[Operation], types: &Types) -> String {
    match format {
        Format::Table => table(operations),
        Format::Json => {
            let all: Vec<_> = operations.iter().map(|operation| json::operation_by(operation, &by(types))).collect();
            format!("{}\n", pretty(&all))
        }
        Format::Jsonl | Format::Id => operations.iter().map(|operation| one(format, operation, types)).collect(),
    }
}

/// Something that has a name, in all the forms that it is printed in.
pub(crate) struct Listed<const N: usize> {
    pub(crate) name: String,
    /// The JSON of the REST interface.
    pub(crate) json: String,
    /// A row of a table.
    pub(crate) cells: [String; N],
}

/// Things that have names; ends with a line break, unless there is nothing to print.
pub(crate) fn listed<const N: usize>(format: Format, columns: [&str; N], all: &[Listed<N>]) -> String {
    match format {
        Format::Table => columned(columns, all.iter().map(|one| one.cells.each_ref().map(|cell| escape(cell)))),
        Format::Json => {
            let parse = |one: &Listed<N>| serde_json::from_str(&one.json).expect("it is JSON");
            let all: Vec<serde_json::Value> = all.iter().map(parse).collect();
            format!("{}\n", pretty(&all))
        }
        Format::Jsonl => all.iter().map(|one| format!("{}\n", escape_json(&one.json))).collect(),
        Format::Id => all.iter().map(|one| format!("{}\n", escape(&one.name))).collect(),
    }
}

/// Prints payloads by `types`, as the REST interface does.
fn by(types: &Types) -> impl Fn(&Any) -> serde_json::Value {
    |payload| {
        let printed = types.to_json(payload).ok().and_then(|text| serde_json::from_str(&text).ok());
        printed.unwrap_or_else(|| json::any(payload))
    }
}

/// An operation as one line of JSON.
pub(crate) fn line(operation: &Operation, types: &Types) -> String {
    let operation = json::operation_by(operation, &by(types));
    let text = serde_json::to_string(&operation).expect("it has string keys and no errors of its own");
    escape_json(&text)
}

/// Where it stands, in a few words: `running  3/10 frames (30 %), rendering`.
pub(crate) fn status(operation: &Operation) -> String {
    let mut parts = vec![state(operation)];
    if let Some(Outcome::Error(error)) = &operation.result {
        parts.push(error_text(error));
    }
    if let Some(told) = operation.progress.as_ref().filter(|_| !operation.done) {
        parts.push(progress(told));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("  ")
}

/// The state, in lower case.
pub(crate) fn state(operation: &Operation) -> String {
    operation.state().as_str_name().to_ascii_lowercase()
}

/// How far it is: `3/10 frames (30 %), rendering`.
pub(crate) fn progress(progress: &Progress) -> String {
    let unit = if progress.unit.is_empty() { String::new() } else { format!(" {}", escape(&progress.unit)) };
    let count = match (progress.done, progress.total) {
        (Some(done), Some(total)) if total > 0.0 => {
            format!("{done}/{total}{unit} ({:.0} %)", (done / total * 100.0).floor())
        }
        (Some(done), _) => format!("{done}{unit}"),
        (None, Some(total)) => format!("of {total}{unit}"),
        (None, None) => String::new(),
    };
    match (count.is_empty(), progress.message.is_empty()) {
        (_, true) => count,
        (true, false) => escape(&progress.message),
        (false, false) => format!("{count}, {}", escape(&progress.message)),
    }
}

/// Text from a server, safe for a terminal: on one line, without control characters.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_dangerous(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// The same for JSON, which stays the same JSON. Line breaks are the printer's own: inside strings
/// they are escaped already.
fn escape_json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_dangerous(c) && c != '\n' {
            // All dangerous characters have four digits.
            write!(safe, "\\u{:04x}", u32::from(c)).expect("a string takes it");
        } else {
            safe.push(c);
        }
    }
    safe
}

fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A table with a line for each.
fn table(operations: &[Operation]) -> String {
    let rows = operations.iter().map(|operation| {
        let progress = operation.progress.as_ref().filter(|_| !operation.done).map(progress).unwrap_or_default();
        [
            escape(&operation.id),
            escape(&operation.kind),
            state(operation),
            operation.created_at.as_ref().map(|at| seconds(&json::timestamp(at))).unwrap_or_default(),
            shortened(&progress, CELL_CHARS_MAX),
            shortened(&escape(&operation.description), CELL_CHARS_MAX),
        ]
    });
    columned(["ID", "KIND", "STATE", "CREATED", "PROGRESS", "DESCRIPTION"], rows)
}

/// Rows below the names of their columns; nothing when there are no rows.
fn columned<const N: usize>(columns: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(columns).add_rows(rows);
    if table.row_iter().next().is_none() {
        return String::new();
    }
    let mut text = String::new();
    for line in table.lines() {
        // The last column is padded, the first indented.
        writeln!(text, "{}", line.trim()).expect("a string takes it");
    }
    text
}

/// All there is to know about one, a line for each member that says something.
fn details(operation: &Operation, types: &Types) -> String {
    let mut details = Details(String::new());
    details.text("id", &operation.id);
    details.text("kind", &operation.kind);
    details.text("state", &state(operation));
    details.text("description", &operation.description);
    if let Some(at) = &operation.created_at {
        let by = if operation.created_by.is_empty() { "" } else { " by " };
        details.text("created", &format!("{}{by}{}", json::timestamp(at), operation.created_by));
    }
    let mut labels: Vec<String> = operation.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    labels.sort();
    details.text("labels", &labels.join(" "));
    if operation.attempt > 0 {
        details.text("attempt", &format!("{} of {}", operation.attempt, operation.max_attempts));
    }
    details.text("worker", &operation.worker);
    if let Some(told) = &operation.progress {
        details.safe("progress", &progress(told));
    }
    if let Some(request) = &operation.cancel_requested {
        let by = if request.by.is_empty() { "" } else { "by " };
        let reason = if request.reason.is_empty() { String::new() } else { format!(": {}", request.reason) };
        details.text("cancel", &format!("requested {by}{}{reason}", request.by));
    }
    let times = [
        ("available", &operation.available_at),
        ("queue until", &operation.queue_deadline),
        ("run until", &operation.run_deadline),
        ("started", &operation.started_at),
        ("finished", &operation.finished_at),
        ("expires", &operation.expires_at),
    ];
    for (label, at) in times {
        details.text(label, &at.as_ref().map(json::timestamp).unwrap_or_default());
    }
    if let Some(error) = &operation.last_attempt_error {
        details.safe("last error", &error_text(error));
    }
    details.payload("input", operation.input.as_ref(), types);
    details.payload("metadata", operation.metadata.as_ref(), types);
    match &operation.result {
        Some(Outcome::Response(response)) => details.payload("response", Some(response), types),
        Some(Outcome::Error(error)) => details.safe("error", &error_text(error)),
        None => {}
    }
    for event in &operation.events {
        let by = if event.by.is_empty() { "" } else { " by " };
        let at = event.at.as_ref().map(json::timestamp).unwrap_or_default();
        details.text("event", &format!("{at} {}{by}{}", event.what, event.by));
    }
    details.0
}

/// Lines of `label  value`.
struct Details(String);

impl Details {
    /// Text from a server.
    fn text(&mut self, label: &str, value: &str) {
        self.safe(label, &escape(value));
    }

    /// Text without anything dangerous in it.
    fn safe(&mut self, label: &str, value: &str) {
        if !value.is_empty() {
            writeln!(self.0, "{label:<12} {value}").expect("a string takes it");
        }
    }

    fn payload(&mut self, label: &str, payload: Option<&Any>, types: &Types) {
        if let Some(payload) = payload {
            let plain = json::plain(payload);
            let shown = if plain.get("@type").is_some() { by(types)(payload) } else { plain };
            self.safe(label, &escape_json(&shown.to_string()));
        }
    }
}

/// `NOT_FOUND (5): no such file`.
fn error_text(error: &Status) -> String {
    let name = Code::try_from(error.code).map_or("?", |code| code.as_str_name());
    let message = escape(&error.message);
    let colon = if message.is_empty() { "" } else { ": " };
    format!("{name} ({}){colon}{message}", error.code)
}

/// Indented JSON.
fn pretty(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("it has string keys and no errors of its own");
    escape_json(&text)
}

/// A time without its fraction.
fn seconds(timestamp: &str) -> String {
    match timestamp.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => timestamp.to_owned(),
    }
}

fn shortened(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars_max - 1).collect();
    format!("{kept}…")
}

const CELL_CHARS_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use operond_client::{State, payload};
    use serde_json::json;

    use super::*;

    fn operation() -> Operation {
        Operation { id: "op1".into(), kind: "demo.render".into(), state: State::Running.into(), ..Operation::default() }
    }

    fn types() -> Types {
        Types::builtin()
    }

    fn told(done: Option<f64>, total: Option<f64>, unit: &str, message: &str) -> String {
        progress(&Progress { done, total, unit: unit.into(), message: message.into() })
    }

    #[test]
    fn progress_says_what_is_known() {
        assert_eq!(told(Some(3.0), Some(10.0), "frames", "rendering"), "3/10 frames (30 %), rendering");
        assert_eq!(told(Some(0.5), Some(1.0), "", ""), "0.5/1 (50 %)");
        assert_eq!(told(Some(999.0), Some(1_000.0), "", ""), "999/1000 (99 %)");
        assert_eq!(told(Some(7.0), None, "files", ""), "7 files");
        assert_eq!(told(Some(0.0), Some(0.0), "", ""), "0");
        assert_eq!(told(None, None, "", "thinking"), "thinking");
        assert_eq!(told(None, None, "", ""), "");
    }

    #[test]
    fn a_status_is_the_state_in_lower_case_and_how_far_or_why() {
        let mut operation = operation();
        assert_eq!(status(&operation), "running");
        operation.progress = Some(Progress { done: Some(1.0), ..Progress::default() });
        assert_eq!(status(&operation), "running  1");
        operation.state = State::Failing.into();
        let error = Status { code: 5, message: "no such file".into(), details: vec![] };
        operation.result = Some(Outcome::Error(error));
        assert_eq!(status(&operation), "failing  NOT_FOUND (5): no such file  1");
        operation.state = State::Failed.into();
        operation.done = true;
        assert_eq!(status(&operation), "failed  NOT_FOUND (5): no such file");
    }

    #[test]
    fn f47_text_from_a_server_cannot_drive_the_terminal() {
        assert_eq!(escape("a\u{1b}[31mb\r\nc\u{7f}\u{9b}\u{202e}d"), r"a\u{1b}[31mb\r\nc\u{7f}\u{9b}\u{202e}d");
        assert_eq!(escape("жук 🐞 ok"), "жук 🐞 ok");

        let evil = "\u{1b}]0;owned\u{7}\n\u{9b}2J\u{202e}\u{2028}";
        let mut operation = operation();
        operation.description = evil.into();
        operation.kind = evil.into();
        operation.worker = evil.into();
        operation.labels.insert(evil.into(), evil.into());
        operation.metadata = Some(payload::text(evil));
        operation.progress = Some(Progress { message: evil.into(), unit: evil.into(), ..Progress::default() });
        operation.result = Some(Outcome::Error(Status { code: 2, message: evil.into(), details: vec![] }));
        for format in [Format::Table, Format::Json, Format::Jsonl, Format::Id] {
            for text in [one(format, &operation, &types()), many(format, std::slice::from_ref(&operation), &types())] {
                assert!(!text.chars().any(|c| is_dangerous(c) && c != '\n'), "{format:?}: {text:?}");
            }
        }
        assert_eq!(line(&operation, &types()).lines().count(), 1);
    }

    #[test]
    fn json_is_the_same_json_after_escaping() {
        let mut operation = operation();
        operation.description = "a\u{9b}\u{202e}\"\\\n".into();
        for format in [Format::Json, Format::Jsonl] {
            let parsed: serde_json::Value = serde_json::from_str(&one(format, &operation, &types())).unwrap();
            assert_eq!(parsed["description"], json!("a\u{9b}\u{202e}\"\\\n"));
        }
    }

    #[test]
    fn lists_print_as_a_table_an_array_lines_or_ids() {
        let mut second = operation();
        second.id = "op2".into();
        second.description = "x".repeat(100);
        let both = [operation(), second];
        let table = many(Format::Table, &both, &types());
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("ID ") && lines[0].ends_with("DESCRIPTION"), "{table}");
        assert!(lines[1].starts_with("op1 ") && lines[1].contains("running"), "{table}");
        assert!(lines[2].ends_with(&format!("{}…", "x".repeat(39))), "{table}");
        assert_eq!(many(Format::Id, &both, &types()), "op1\nop2\n");
        assert_eq!(many(Format::Jsonl, &both, &types()).lines().count(), 2);
        let array: serde_json::Value = serde_json::from_str(&many(Format::Json, &both, &types())).unwrap();
        assert_eq!(array[1]["id"], "op2");
        assert_eq!(many(Format::Table, &[], &types()), "");
        assert_eq!(many(Format::Json, &[], &types()), "[]\n");
    }

    #[test]
    fn details_leave_out_what_says_nothing() {
        let mut operation = operation();
        operation.attempt = 2;
        operation.max_attempts = 3;
        operation.result = Some(Outcome::Response(payload::from_json(json!({"pages": 3}))));
        let expected = [
            "id           op1",
            "kind         demo.render",
            "state        running",
            "attempt      2 of 3",
            r#"response     {"pages":3}"#,
            "",
        ];
        assert_eq!(one(Format::Table, &operation, &types()), expected.join("\n"));
    }
}
