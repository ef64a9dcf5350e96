//! Filters of lists and counts: what they see, what they look at, and when they stop.

use std::sync::Arc;

use operond_core::limits::SCAN_BYTES_MAX;
use operond_core::{
    Any, Command, Completion, Description, Heartbeat, Labels, NewOperation, Operation, OperationId, Spec, State,
    Timestamp,
};

use super::Subject;
use super::lists::{filtered, one_of_each_state, read_pages, reversed, set, some};
use super::make::{
    SECOND, any, complete_with, filter, kind, lease, new_operation, principal, report_failure, status, tenant,
};
use super::rig::{Rig, ids, query};
use crate::filter::{Decoded, Face, Filter, Payloads, Value};
use crate::list::{Count, CountQuery, Cursor, ListQuery, Order, payload_bytes};

pub fn a_list_is_filtered_by_kind(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let kinds = ["a", "b", "A", "a%", "a"].map(|kind| (kind, rig.create(kind).id.clone()));
    for wanted in ["a", "b", "A", "a%", "nothing"] {
        let of_kind = kinds.iter().filter(|(kind, _)| *kind == wanted).map(|(_, id)| id.clone());
        let found = rig.list(&filtered(&format!("kind = \"{wanted}\""))).operations;
        assert_eq!(set(ids(&found)), set(of_kind), "{wanted}");
    }
}

pub fn a_list_is_filtered_by_every_state(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let shown = one_of_each_state(&rig);
    for (state, operation) in State::ALL.into_iter().zip(&shown) {
        assert_eq!(operation.state(), state);
        let found = rig.list(&filtered(&format!("state = {}", state.as_str()))).operations;
        assert_eq!(found, [Arc::clone(operation)], "{}", state.as_str());
    }
}

pub fn a_list_is_filtered_by_kind_and_state_together(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let (a, _) = (rig.create("a"), rig.create("b"));
    rig.start("a");
    assert_eq!(rig.list(&filtered("kind = a AND state = QUEUED")).operations, [a]);
    assert_eq!(rig.list(&filtered("kind = b AND state = RUNNING")).operations, []);
}

pub fn a_filter_follows_changes(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    rig.create("work");
    let leased = rig.claim_one("work");
    let of = |state: State| ids(&rig.list(&filtered(&format!("state = {}", state.as_str()))).operations);
    assert_eq!((of(State::Queued), of(State::Running)), (vec![], ids([&leased])));
    rig.accept(&leased.id, report_failure(&leased, status(9, "no")));
    assert_eq!((of(State::Running), of(State::Failing)), (vec![], ids([&leased])));
}

pub fn f21_filtered_pages_hold_everything_once(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made = some(&rig, 30);
    let wanted = |id: &OperationId| rig.read(id).spec.kind.as_str() == "kind 1";
    let expected: Vec<OperationId> = made.into_iter().filter(wanted).collect();
    for text in
        ["kind = 'kind 1'", "kind = 'kind 1' AND state = QUEUED", "kind:'D 1'", "kind = '*1' AND NOT done = true"]
    {
        let some = ListQuery { limit: 3, order: Order::OldestFirst, ..filtered(text) };
        assert_eq!(read_pages(&rig, &some, |_| {}), expected, "{text}");
    }
}

pub fn a_page_ends_after_looking_at_its_limit_and_is_gone_on_with(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made = some(&rig, 30);
    let wanted = |id: &OperationId| rig.read(id).spec.kind.as_str() == "kind 2";
    let expected: Vec<OperationId> = made.iter().filter(|id| wanted(id)).cloned().collect();
    for scan_max in [1, 2, 7, 29, 30, 31] {
        let some = ListQuery { scan_max, order: Order::OldestFirst, ..filtered("kind:'D 2'") };
        let first = rig.list(&some);
        let looked_at = &made[..scan_max.min(made.len())];
        let found: Vec<_> = looked_at.iter().filter(|id| expected.contains(id)).cloned().collect();
        assert_eq!(ids(&first.operations), found, "the first {scan_max}");
        let last = (scan_max < made.len()).then(|| Cursor::of(&rig.read(&made[scan_max - 1])));
        assert_eq!(first.next, last, "behind the first {scan_max}");
        assert_eq!(read_pages(&rig, &some, |_| {}), expected, "by {scan_max}");
        let newest = ListQuery { scan_max, ..filtered("kind:'D 2'") };
        assert_eq!(read_pages(&rig, &newest, |_| {}), reversed(&expected), "by {scan_max}, newest first");
    }
}

pub fn what_an_index_leaves_out_is_not_looked_at(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let made = some(&rig, 30);
    rig.advance(SECOND);
    let started = rig.start("kind 1");
    let only = |text: &str| {
        let page = rig.list(&ListQuery { scan_max: 1, ..filtered(text) });
        (ids(&page.operations), page.next)
    };
    assert_eq!(only("state = RUNNING AND kind:'D 1'"), (ids([&started]), None));
    let from = started.created_at;
    let text = format!("created_at >= {} AND kind:'D 1'", instant(from));
    assert!(made.iter().all(|id| rig.read(id).created_at < from));
    assert_eq!(only(&text), (ids([&started]), None));
    assert_eq!(only(&format!("created_at > {}", instant(from))), (vec![], None));
}

pub fn a_page_stops_looking_when_it_has_seen_enough_bytes(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let response = Any::new("type.googleapis.com/x.Heavy", vec![7; 900 << 10]);
    let made: Vec<_> = (0..20)
        .map(|_| {
            rig.advance(SECOND);
            let started = rig.start("work");
            rig.accept(&started.id, complete_with(&started, Completion::Response(response.clone())))
        })
        .collect();
    let each = payload_bytes(&made[0]);
    let looked_at = SCAN_BYTES_MAX.div_ceil(each);
    assert!(looked_at < made.len());
    let none = ListQuery { order: Order::OldestFirst, ..filtered("description = x") };
    let page = rig.list(&none);
    assert_eq!((page.operations.len(), page.next), (0, Some(Cursor::of(&made[looked_at - 1]))));
    assert_eq!(read_pages(&rig, &none, |_| {}), []);
    let asks_thrice =
        ListQuery { order: Order::OldestFirst, ..filtered("response.a = 1 OR response.b = 1 metadata.c = 1") };
    let looked_at = SCAN_BYTES_MAX.div_ceil(3 * each);
    assert_eq!(rig.list(&asks_thrice).next, Some(Cursor::of(&made[looked_at - 1])), "each member is looked for");
    assert_eq!(rig.list(&query()).operations.len(), made.len(), "nothing is looked at without a filter");
}

pub fn a_filter_asks_about_every_field(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let spec = Spec {
        tenant: tenant("acme"),
        created_by: principal("bob@acme"),
        description: Description::parse("description", "Make Films").expect("short"),
        labels: Labels::parse([("team", "Core"), ("a.b", "")]).expect("short"),
        ..Spec::new(kind("render"))
    };
    let queued = rig.create_new(NewOperation { metadata: Some(any("m")), ..new_operation(spec) });
    rig.advance(SECOND);
    let others = one_of_each_state(&rig);
    for (text, native, google) in fields(&queued, &others[0]) {
        for (face, expected) in [(Face::Native, native), (Face::Google, google)] {
            let filter = Filter::parse(&text, face).unwrap_or_else(|error| panic!("{text}: {error}"));
            let found = rig.list(&ListQuery { filter: Arc::new(filter), order: Order::OldestFirst, ..query() });
            let all = std::iter::once(&queued).chain(&others).zip("*QRXGSEC".chars());
            let expected = all.filter(|(_, letter)| expected.contains(*letter)).map(|(operation, _)| operation);
            assert_eq!(set(ids(&found.operations)), set(ids(expected)), "{text} ({face:?})");
        }
    }
}

/// Filters, and whom they mean on either face: `*` the rich one, then one of each state (queued,
/// running, cancelling, failing, succeeded, failed, cancelled).
fn fields(rich: &Operation, next: &Operation) -> Vec<(String, &'static str, &'static str)> {
    const ALL: &str = "*QRXGSEC";
    let (created, then) = (instant(rich.created_at), instant(next.created_at));
    let both = |text: &str, whom: &'static str| (text.to_owned(), whom, whom);
    vec![
        both("kind = render", "*"),
        both("kind != render", "QRXGSEC"),
        both("kind = 'r*'", "*"),
        both("kind > render", "QRXGSEC"),
        both("tenant = acme", "*"),
        both("createdBy:BOB", "*"),
        both("created_by:a*", "QRXGSEC"),
        both("description = 'Make *'", "*"),
        both("description:films", "*"),
        both("description:*", "*"),
        both("description = ''", "QRXGSEC"),
        both("labels.team = Core", "*"),
        both("labels.team != Core", ""),
        both("NOT labels.team = Core", "QRXGSEC"),
        both("labels:team", "*"),
        both("labels.team:*", "*"),
        both("labels.'a.b' = ''", "*"),
        both("labels.'a.b':*", "*"),
        both("labels:*", "*"),
        both(&format!("id = {}", rich.id), "*"),
        both(&format!("name = operations/{}", rich.id), "*"),
        both(&format!("name = 'x/y/operations/{}*'", &rich.id.as_str()[..31]), "*"),
        both("name:*", ALL),
        both(&format!("created_at = {created}"), "*"),
        both(&format!("created_at < {then}"), "*"),
        both(&format!("created_at >= {then}"), "QRXGSEC"),
        both(&format!("modifiedAt <= {created}"), "*"),
        both("created_at:*", ALL),
        both("started_at:*", "RXGSEC"),
        both(&format!("started_at >= {then}"), "RXGSEC"),
        both("finished_at:*", "SEC"),
        both(&format!("finished_at > {created}"), "SEC"),
        both(&format!("NOT finished_at > {created}"), "*QRXG"),
        both("state = CANCELLING", "X"),
        both("state != failing", "*QRXSEC"),
        both("done = true", "SEC"),
        both("done != true", "*QRXG"),
        ("error:*".into(), "GEC", "EC"),
        ("NOT error:*".into(), "*QRXS", "*QRXGS"),
        ("error.code = 9".into(), "GE", "E"),
        ("error.code:FAILED_PRECONDITION".into(), "GE", "E"),
        ("error.code != 1".into(), "GE", "E"),
        ("error.code < 9".into(), "C", "C"),
        ("error.code:*".into(), "GEC", "EC"),
        ("error.message = no".into(), "GE", "E"),
        ("NOT error.message = no".into(), "*QRXSC", "*QRXGSC"),
        both("metadata:*", "*"),
        both("metadata.@type = google.protobuf.StringValue", "*"),
        both("metadata.@type = type.googleapis.com/google.protobuf.StringValue", "*"),
        both("metadata.@type != google.protobuf.StringValue", ""),
        both("metadata.@type:stringvalue", "*"),
        both("response:*", "S"),
        both("response.@type = google.protobuf.Empty", "S"),
        both("response.@type != google.protobuf.Duration", "S"),
        both("metadata.x = 1", ""),
        both("NOT metadata.x = 1", ALL),
        both("kind = render OR state = RUNNING state != QUEUED", "R"),
        both("-(kind = render OR done = true)", "QRXG"),
    ]
}

pub fn members_of_payloads_are_read_by_who_asks(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let started = rig.start("work");
    let metadata = Some(any("7"));
    let report = Heartbeat { lease: lease(&started), duration: None, metadata, progress: None };
    let told = rig.accept(&started.id, Command::Heartbeat(report));
    let (silent, done) = (rig.start("work"), rig.start("work"));
    let done = rig.accept(&done.id, complete_with(&done, Completion::Response(any("8"))));
    let found = |text: &str| {
        let page = rig.list(&ListQuery { payloads: Arc::new(Texts), order: Order::OldestFirst, ..filtered(text) });
        set(ids(&page.operations))
    };
    assert_eq!(found("metadata.value = 7"), set(ids([&told])));
    assert_eq!(found("metadata.value != 7"), set([]));
    assert_eq!(found("metadata.value:* OR response.value > 7"), set(ids([&told, &done])));
    assert_eq!(found("NOT metadata.value = 7"), set(ids([&silent, &done])));
    assert_eq!(found("metadata.other = 7"), set([]));
}

/// Reads payloads whose bytes are a text as messages with one member, `value`.
#[derive(Debug)]
struct Texts;

impl Payloads for Texts {
    fn decode(&self, payload: &Any) -> Option<Box<dyn Decoded>> {
        Some(Box::new(OneText(std::str::from_utf8(&payload.value).ok()?.into())))
    }
}

struct OneText(String);

impl Decoded for OneText {
    fn values(&self, path: &[Box<str>]) -> Vec<Value> {
        let is_value = path.len() == 1 && &*path[0] == "value";
        if is_value { vec![Value::Text(self.0.clone())] } else { Vec::new() }
    }
}

pub fn a_count_is_that_of_the_list(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    some(&rig, 30);
    one_of_each_state(&rig);
    for (text, expected) in
        [("", 37), ("kind = 'kind 1'", 10), ("done = true", 3), ("kind:KIND", 30), ("kind = nothing", 0)]
    {
        let exact = Count { count: expected, more: false };
        assert_eq!(rig.count(&CountQuery { filter: filter(text), ..CountQuery::default() }), exact, "{text}");
        assert_eq!(rig.list(&filtered(text)).operations.len() as u64, expected, "{text}");
    }
}

pub fn a_count_says_when_there_may_be_more(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    some(&rig, 30);
    let by_index = |count_max| {
        let count = rig.count(&CountQuery { count_max, scan_max: 1, ..CountQuery::default() });
        (count.count, count.more)
    };
    assert_eq!((by_index(29), by_index(30), by_index(0)), ((29, true), (30, false), (0, true)));
    let by_looking = |scan_max| {
        let count =
            rig.count(&CountQuery { filter: filter("kind:1"), count_max: 1, scan_max, ..CountQuery::default() });
        (count.count, count.more)
    };
    assert_eq!((by_looking(29).1, by_looking(30), by_looking(31)), (true, (10, false), (10, false)));
}

/// As a filter says it.
fn instant(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.micros()).expect("within the years that people count").to_string()
}
