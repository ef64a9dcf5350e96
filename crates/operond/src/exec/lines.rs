//! What a program says on its standard output, line by line. Pure: bytes in, reports and a response out.

use operond_client::{Any, Progress, json, payload};
use operond_core::Invalid;
use operond_core::limits::{METADATA_BYTES_MAX, RESPONSE_BYTES_MAX};
use serde_json::{Map, Value as Json};

/// Longest line, its end not counted. A response is never larger than half of this; JSON may take
/// more room than what it says, but hardly twice as much.
pub(super) const LINE_BYTES_MAX: usize = 2 * RESPONSE_BYTES_MAX;

/// What has been said so far.
#[derive(Debug)]
pub(super) struct Output {
    line: Vec<u8>,
    line_bytes_max: usize,
    last: Option<String>,
}

/// A line that reports something.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Report {
    Progress(Progress),
    Metadata(Any),
    /// It has the form of a report, and says something that no operation can take; why.
    Malformed(String),
}

/// A line is longer than [`LINE_BYTES_MAX`]; what follows it is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Overlong;

impl Output {
    pub(super) fn new() -> Self {
        Self::with_limit(LINE_BYTES_MAX)
    }

    fn with_limit(line_bytes_max: usize) -> Self {
        Self { line: Vec::new(), line_bytes_max, last: None }
    }

    /// Takes in what was read, and returns what it reports.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Report>, Overlong> {
        let mut reports = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.append(&bytes[..end])?;
            reports.extend(self.end_of_line());
            bytes = &bytes[end + 1..];
        }
        self.append(bytes)?;
        Ok(reports)
    }

    /// Nothing more comes: what is left without an end is a line, too.
    pub(super) fn end(&mut self) -> Option<Report> {
        self.end_of_line()
    }

    /// The last line that reports nothing: JSON as such, any other text as a string.
    pub(super) fn response(&self) -> Option<Any> {
        let line = self.last.as_deref()?;
        Some(serde_json::from_str(line).map_or_else(|_| payload::text(line), any))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Overlong> {
        if self.line.len() + bytes.len() > self.line_bytes_max {
            return Err(Overlong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_of_line(&mut self) -> Option<Report> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.strip_suffix('\r').unwrap_or(&line);
        if line.trim().is_empty() {
            return None;
        }
        let report = report(line);
        if report.is_none() {
            self.last = Some(line.to_owned());
        }
        report
    }
}

/// What a line reports: an object with the one member `progress` or `metadata`, itself an object.
fn report(line: &str) -> Option<Report> {
    // Spares other lines the parser.
    if !line.trim_start().starts_with('{') {
        return None;
    }
    let members: Map<String, Json> = serde_json::from_str(line).ok()?;
    let mut members = members.into_iter();
    let (Some((name, Json::Object(said))), None) = (members.next(), members.next()) else { return None };
    let report = match name.as_str() {
        "progress" => progress(said).map(Report::Progress),
        "metadata" => metadata(said).map(Report::Metadata),
        _ => return None,
    };
    Some(report.unwrap_or_else(Report::Malformed))
}

fn progress(members: Map<String, Json>) -> Result<Progress, String> {
    let mut progress = Progress::default();
    for (name, value) in members {
        match (name.as_str(), value) {
            ("done", Json::Number(number)) => progress.done = number.as_f64(),
            ("total", Json::Number(number)) => progress.total = number.as_f64(),
            ("unit", Json::String(text)) => progress.unit = text,
            ("message", Json::String(text)) => progress.message = text,
            ("done" | "total", _) => return Err(format!("progress.{name} is no number")),
            ("unit" | "message", _) => return Err(format!("progress.{name} is no string")),
            _ => return Err("progress has a member other than done, total, unit and message".to_owned()),
        }
    }
    check_progress(&progress).map_err(|invalid| invalid.to_string())?;
    Ok(progress)
}

/// By the server's own rules: a report that it refuses takes others with it.
fn check_progress(progress: &Progress) -> Result<(), Invalid> {
    let Progress { done, total, unit, message } = progress;
    let (unit, message) = (unit.as_str().into(), message.as_str().into());
    operond_core::Progress { done: *done, total: *total, unit, message }.check("progress")
}

fn metadata(members: Map<String, Json>) -> Result<Any, String> {
    let metadata = any(Json::Object(members));
    let checked = operond_core::Any::new(metadata.type_url.as_str(), metadata.value.as_slice())
        .check("metadata", METADATA_BYTES_MAX);
    checked.map(|()| metadata).map_err(|invalid| invalid.to_string())
}

/// JSON with a `@type` is of that type where it can be; but a program may know nothing of ours, and
/// mean another thing by a member of that name.
fn any(said: Json) -> Any {
    match said.get("@type") {
        Some(_) => json::any_from_json(said.clone()).unwrap_or_else(|_| payload::from_json(said)),
        None => payload::from_json(said),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// All that `bytes` say, read in one piece and in the smallest ones.
    fn heard(bytes: &[u8]) -> (Vec<Report>, Option<Any>) {
        let [whole, single] = [bytes.len().max(1), 1].map(|piece| {
            let mut output = Output::new();
            let mut reports: Vec<Report> = bytes.chunks(piece).flat_map(|bytes| output.push(bytes).unwrap()).collect();
            reports.extend(output.end());
            (reports, output.response())
        });
        assert_eq!(whole, single);
        whole
    }

    fn response(bytes: &[u8]) -> Option<Json> {
        let (reports, response) = heard(bytes);
        assert_eq!(reports, []);
        response.as_ref().map(json::plain)
    }

    fn only_report(line: &str) -> Report {
        let (mut reports, response) = heard(line.as_bytes());
        assert_eq!((reports.len(), response), (1, None), "{line}");
        reports.remove(0)
    }

    #[test]
    fn the_last_line_is_the_response_as_json_or_else_as_text() {
        let check = |said: &str, expected: Json| assert_eq!(response(said.as_bytes()), Some(expected), "{said:?}");
        check("first\n{\"a\": [1, null]}\n", json!({"a": [1, null]}));
        check("{\"a\": 1}\nlast", json!("last"));
        check("12", json!(12));
        check("true\r\n", json!(true));
        check("two words\r\n", json!("two words"));
        check("  indented\n", json!("  indented"));
        check("\"HELLO\"", json!("HELLO"));
        check("{\"a\": 1} and more", json!("{\"a\": 1} and more"));
        check("null", Json::Null);
    }

    #[test]
    fn objects_are_structs_and_everything_else_is_a_value() {
        let type_of = |said: &str| heard(said.as_bytes()).1.unwrap().type_url;
        assert!(type_of("{\"a\": 1}").ends_with(".Struct"));
        assert!(type_of("[1]").ends_with(".Value"));
        assert!(type_of("text").ends_with(".Value"));
    }

    #[test]
    fn no_line_and_blank_lines_are_no_response() {
        assert_eq!(response(b""), None);
        assert_eq!(response(b"\n \r\n\t"), None);
        assert_eq!(response(b"made\n\n \n"), Some(json!("made")));
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(response(b"a\xffb\n"), Some(json!("a\u{fffd}b")));
        assert_eq!(response(b"{\"a\": \"\xd0\"}"), Some(json!({"a": "\u{fffd}"})));
    }

    #[test]
    fn progress_is_reported_with_the_members_it_has() {
        let full = "{\"progress\": {\"done\": 1, \"total\": 2.5, \"unit\": \"pages\", \"message\": \"go\"}}";
        let expected = Progress { done: Some(1.0), total: Some(2.5), unit: "pages".into(), message: "go".into() };
        assert_eq!(only_report(full), Report::Progress(expected));
        assert_eq!(only_report(" {\"progress\": {}} "), Report::Progress(Progress::default()));
    }

    #[test]
    fn metadata_is_reported_as_a_struct_or_as_the_type_it_says() {
        let expected = payload::from_json(json!({"page": "a"}));
        assert_eq!(only_report("{\"metadata\": {\"page\": \"a\"}}"), Report::Metadata(expected));
        let typed = "{\"metadata\": {\"@type\": \"type.googleapis.com/a.B\", \"value\": \"AQI=\"}}";
        let expected = Any { type_url: "type.googleapis.com/a.B".into(), value: vec![1, 2] };
        assert_eq!(only_report(typed), Report::Metadata(expected));
    }

    #[test]
    fn reports_are_no_response_and_keep_their_order() {
        let said = "{\"progress\":{\"done\":1}}\nmade\n{\"metadata\":{}}\n{\"progress\":{\"done\":2}}\n";
        let (reports, response) = heard(said.as_bytes());
        let progress = |done| Report::Progress(Progress { done: Some(done), ..Progress::default() });
        assert_eq!(reports, [progress(1.0), Report::Metadata(payload::from_json(json!({}))), progress(2.0)]);
        assert_eq!(response, Some(payload::text("made")));
    }

    #[test]
    fn what_only_resembles_a_report_is_a_response() {
        for said in [
            json!({"progress": {}, "metadata": {}}),
            json!({"progress": {}, "pages": 3}),
            json!({"progress": 0.5}),
            json!({"metadata": null}),
            json!({"Progress": {}}),
            json!([{"progress": {}}]),
            json!({}),
        ] {
            assert_eq!(response(said.to_string().as_bytes()), Some(said));
        }
    }

    #[test]
    fn a_report_that_no_operation_can_take_says_why() {
        let check = |said: Json, expected: &str| match only_report(&said.to_string()) {
            Report::Malformed(problem) => assert!(problem.contains(expected), "{problem}"),
            other => panic!("{other:?}"),
        };
        let progress = |said: Json, expected: &str| check(json!({"progress": said}), expected);
        progress(json!({"done": "1"}), "progress.done is no number");
        progress(json!({"total": null}), "progress.total is no number");
        progress(json!({"message": 1}), "progress.message is no string");
        progress(json!({"percent": 1}), "a member other than done, total, unit and message");
        progress(json!({"done": -1}), "progress.done is -1");
        progress(json!({"unit": "x".repeat(33)}), "progress.unit has 33 characters, the limit is 32");
        progress(json!({"message": "x".repeat(1025)}), "progress.message has 1025 characters");
        progress(json!({"message": "\0"}), "progress.message");
        check(json!({"metadata": {"a": "x".repeat(METADATA_BYTES_MAX)}}), "the limit is 65536");
    }

    #[test]
    fn a_type_that_is_not_ours_is_a_member_like_any_other() {
        let said = json!({"@type": "Person", "name": "ann"});
        let (_, response) = heard(said.to_string().as_bytes());
        assert_eq!(response, Some(payload::from_json(said)));
    }

    #[test]
    fn an_input_of_unknown_type_that_is_echoed_is_a_response_of_that_type() {
        let input = Any { type_url: "type.googleapis.com/a.B".into(), value: vec![1, 2] };
        let (_, response) = heard(json::plain(&input).to_string().as_bytes());
        assert_eq!(response, Some(input));
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        let said = |bytes: &[u8]| Output::with_limit(4).push(bytes);
        assert_eq!(said(b"1234\n1234\n1234"), Ok(vec![]));
        assert_eq!(said(b"12345"), Err(Overlong));
        assert_eq!(said(b"1\n12345\n"), Err(Overlong));
        let mut output = Output::with_limit(4);
        assert_eq!(output.push(b"123"), Ok(vec![]));
        assert_eq!(output.push(b"45"), Err(Overlong));
    }
}
