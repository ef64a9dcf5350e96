//! What the grammar reads, how it joins it, and what it refuses where.

use operond_core::limits::{FILTER_CHARS_MAX, FILTER_DEPTH_MAX};

use super::expression::{Expression, Test};
use super::*;

/// An expression of restrictions `kind = x`, each as its value.
fn shape(expression: &Expression) -> String {
    let joined = |expressions: &[Expression], joint: &str| {
        let shapes: Vec<_> = expressions.iter().map(shape).collect();
        format!("({})", shapes.join(joint))
    };
    match expression {
        Expression::All(all) => joined(all, " & "),
        Expression::Any(any) => joined(any, " | "),
        Expression::Not(negated) => format!("!{}", shape(negated)),
        Expression::Test(Test::Text(_, test)) => test.only().expect("it is compared by =").into(),
        Expression::Test(test) => format!("{test:?}"),
    }
}

#[track_caller]
fn reads(text: &str, expected: &str) {
    let filter = Filter::parse(text, Face::Native).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(shape(&filter.expression), expected, "{text}");
}

#[track_caller]
fn refuses(text: &str, position: usize, problem: &str) {
    let error = Filter::parse(text, Face::Native).expect_err(text);
    assert_eq!(error.position, position, "{text}: {error}");
    assert!(error.problem.contains(problem), "{text}: {error}");
}

#[test]
fn or_binds_tighter_than_and_and_a_space_is_an_and() {
    reads("", "()");
    reads(" \t\n", "()");
    reads("kind=a", "a");
    reads("kind=a AND kind=b", "(a & b)");
    reads("kind=a kind=b", "(a & b)");
    reads("kind=a OR kind=b", "(a | b)");
    reads("kind=a AND kind=b OR kind=c", "(a & (b | c))");
    reads("kind=a OR kind=b AND kind=c OR kind=d", "((a | b) & (c | d))");
    reads("kind=a kind=b OR kind=c kind=d", "(a & (b | c) & d)");
    reads("kind=a kind=b AND kind=c kind=d", "(a & b & c & d)");
    reads("(kind=a AND kind=b) OR kind=c", "((a & b) | c)");
    reads("((kind=a))", "a");
    reads("( kind = a )OR( kind = b )AND(kind=c)", "((a | b) & c)");
}

#[test]
fn not_and_minus_negate_the_next_term_alone() {
    reads("NOT kind=a", "!a");
    reads("-kind=a", "!a");
    reads("NOT kind=a AND kind=b", "(!a & b)");
    reads("-kind=a OR NOT kind=b", "(!a | !b)");
    reads("NOT (kind=a OR kind=b)", "!(a | b)");
    reads("NOT(kind=a)", "!a");
    reads("-(-kind=a)", "!!a");
    refuses("NOT", 4, "expected a field");
    refuses("NOT NOT kind=a", 5, "got NOT");
    refuses("kind=a - kind=b AND", 20, "expected a field");
}

#[test]
fn values_need_quotation_marks_only_for_what_the_grammar_uses() {
    reads("kind=type.googleapis.com/a.B", "type.googleapis.com/a.B");
    reads("kind = 2026-11-22T10:00:00+02:00", "2026-11-22T10:00:00+02:00");
    reads("kind = -5", "-5");
    reads("kind=me@x.org_~#", "me@x.org_~#");
    reads("kind = жук", "жук");
    reads(r#"kind = "a b""#, "a b");
    reads("kind = 'a \"b\" c'", "a \"b\" c");
    reads(r#"kind = "a\"b\\c\n""#, "a\"b\\cn");
    reads("kind = ''", "");
    reads(r#"kind = "AND" AND kind="(" "#, "(AND & ()");
    reads(r#""kind"=a"#, "a");
    reads("kind=ANDY AND kind=ORDER", "(ANDY & ORDER)");
}

#[test]
fn every_comparator_is_told_apart_from_its_neighbours() {
    for (text, comparator) in [
        ("<=", Comparator::LessOrEqual),
        ("<", Comparator::Less),
        (">=", Comparator::GreaterOrEqual),
        (">", Comparator::Greater),
        ("!=", Comparator::NotEqual),
        ("=", Comparator::Equal),
    ] {
        for text in [format!("error.code{text}5"), format!("error.code  {text}\t5")] {
            let filter = Filter::parse(&text, Face::Native).unwrap();
            let Expression::Test(Test::ErrorCode(found, 5)) = filter.expression else { panic!("{text}") };
            assert_eq!((found, comparator.as_str()), (comparator, found.as_str()), "{text}");
        }
    }
}

#[test]
fn what_is_not_of_the_grammar_is_refused_where_it_stands() {
    refuses("kind", 1, "stands alone");
    refuses("kind = a render", 10, "stands alone");
    refuses("'a b'", 1, "stands alone");
    refuses("kind = a and kind = b", 10, "and is written AND");
    refuses("kind = a AND", 13, "expected a field");
    refuses("kind = a AND AND kind = b", 14, "got AND");
    refuses("AND kind = a", 1, "got AND");
    refuses("OR", 1, "got OR");
    refuses("kind = a OR", 12, "expected a field");
    refuses("kind =", 7, "expected a value behind `=`, got the end");
    refuses("kind = AND", 8, "quotation marks");
    refuses("kind = = a", 8, "got \"=\"");
    refuses("kind == a", 7, "got \"=\"");
    refuses("kind ! a", 6, "expected a comparator");
    refuses("= a", 1, "expected a field");
    refuses("жук = a", 1, "there is no field \"жук\"");
    refuses("kind = 'ж' жж = 1", 12, "there is no field");
    refuses("kind = \"a", 8, "never closed");
    refuses("kind = 'a\\'", 8, "never closed");
    refuses("kind = 'a'kind = b", 11, "a space");
    refuses("(kind=a)(kind=b)", 9, "a space");
    refuses("kind = (a OR b)", 8, "several values");
    refuses("kind = lower(a)", 8, "function");
    refuses("contains(kind, a)", 1, "function");
    refuses("(kind = a", 10, "`)`");
    refuses("kind = a)", 9, "or the end");
    refuses("()", 2, "expected a field");
    refuses("kind.=a", 6, "behind the `.`");
    refuses("kind = a, kind = b", 9, "got \",\"");
}

#[test]
fn fields_are_known_by_name_type_and_comparator() {
    for both in ["created_at", "createdAt", "modified_at", "modifiedAt", "started_at", "startedAt", "finishedAt"] {
        assert!(Filter::parse(&format!("{both} < 2026-01-01T00:00:00Z"), Face::Native).is_ok(), "{both}");
    }
    reads("created_by = a createdBy = b", "(a & b)");
    reads("name = operations/a OR name = x/operations/b OR name = c", "(a | b | c)");
    refuses("Kind = a", 1, "there is no field \"Kind\"");
    refuses("kind = a kind.x = b", 10, "there is no field \"kind.x\"");
    refuses("error.details = x", 1, "there is no field");
    refuses("done = maybe", 8, "true or false");
    refuses("done > false", 1, "compared by = != :");
    refuses("state = DONE", 9, "one of QUEUED, RUNNING");
    refuses("state = Queued", 9, "one of QUEUED");
    refuses("state < QUEUED", 1, "compared by");
    refuses("created_at : 2026-01-01T00:00:00Z", 1, "or `:*`");
    refuses("created_at > 2026-01-01", 14, "with an offset");
    refuses("created_at > 2026-01-01T00:00:00", 14, "with an offset");
    refuses("error = x", 1, "error.code or error.message");
    refuses("error.code = nope", 14, "google.rpc code");
    refuses("metadata = x", 1, "metadata.@type");
    refuses("response:x", 1, "response.@type");
    refuses("labels = x", 1, "labels.KEY");
    refuses("labels.a.b = x", 10, "quotation marks");
    refuses("metadata.a.'' = x", 12, "has a name");
    refuses("input:*", 1, "there is no field");
}

#[test]
fn what_is_wrong_is_told_shortly_however_long_it_is() {
    let long = "x".repeat(900);
    for text in [long.clone(), format!("{long} = 1"), format!("done = {long}"), format!("kind = {long}(")] {
        let error = Filter::parse(&text, Face::Native).unwrap_err();
        assert!(error.problem.len() < 400, "{error}");
    }
    refuses("\u{1b}[31m = 1", 1, r"\u{1b}");
}

#[test]
fn a_filter_of_a_thousand_characters_is_read_and_one_more_is_refused() {
    let padded = |characters: usize| format!("kind='{}'", "ж".repeat(characters - 7));
    assert!(Filter::parse(&padded(FILTER_CHARS_MAX), Face::Native).is_ok());
    refuses(&padded(FILTER_CHARS_MAX + 1), FILTER_CHARS_MAX + 1, "at most 1000 characters");
    refuses("kind = 'a\0'", 10, "NUL");
}

#[test]
fn parentheses_are_nested_fifty_deep_and_no_deeper() {
    let nested = |depth: usize| format!("{}kind=a{}", "(".repeat(depth), ")".repeat(depth));
    reads(&nested(FILTER_DEPTH_MAX), "a");
    refuses(&nested(FILTER_DEPTH_MAX + 1), FILTER_DEPTH_MAX + 1, "at most 50 deep");
    refuses(&"(".repeat(500), FILTER_DEPTH_MAX + 1, "at most 50 deep");
    refuses(&"-(".repeat(500), 2 * FILTER_DEPTH_MAX + 2, "at most 50 deep");
    let wide = "(kind=a) ".repeat(100);
    assert!(Filter::parse(&wide, Face::Native).is_ok(), "closed ones do not count");
}

#[test]
fn ranges_take_from_a_filter_what_an_index_knows() {
    let range = |text: &str| Filter::parse(text, Face::Native).unwrap().range().clone();
    let states = |text: &str| {
        let range = range(text);
        let names: Vec<_> =
            operond_core::State::ALL.into_iter().filter(|state| range.states.contains(*state)).collect();
        (names.len(), range.whole)
    };
    let kind = |text: &str| {
        let range = range(text);
        (range.kind.map(String::from).unwrap_or_default(), range.whole)
    };
    assert_eq!(states(""), (7, true));
    assert_eq!(states("state = QUEUED"), (1, true));
    assert_eq!(states("-state = QUEUED"), (6, true));
    assert_eq!(states("done = true OR state = RUNNING"), (4, true));
    assert_eq!(states("NOT (done = true OR state = RUNNING)"), (3, true));
    assert_eq!(states("done = true AND state = RUNNING"), (0, true));
    assert_eq!(states("error:*"), (3, true));
    assert_eq!(states("NOT error:*"), (4, true));
    assert_eq!(states("error.code = 5"), (3, false));
    assert_eq!(states("NOT error.code = 5"), (7, false));
    assert_eq!(states("response.x = 5"), (1, false));
    assert_eq!(states("finished_at > 2026-01-01T00:00:00Z"), (3, false));
    assert_eq!(kind("kind = a"), ("a".into(), true));
    assert_eq!(kind("kind = a AND state = QUEUED"), ("a".into(), true));
    assert_eq!(kind("kind = a AND description = x"), ("a".into(), false));
    assert_eq!(kind("kind = a OR kind = b"), (String::new(), false));
    assert_eq!(kind("kind = a OR kind = a"), ("a".into(), true));
    assert_eq!(kind("kind = a state = QUEUED OR kind = a state = RUNNING"), ("a".into(), false));
    assert_eq!(kind("(kind = a state = QUEUED) OR (kind = a state = RUNNING)"), ("a".into(), true));
    assert_eq!(kind("(kind = a state = QUEUED) OR (kind = b state = RUNNING)"), (String::new(), false));
    for inexact in ["kind = a*", "kind != a", "NOT kind = a", "kind:a"] {
        assert_eq!(kind(inexact), (String::new(), false), "{inexact}");
    }
}

#[test]
fn ranges_of_creation_are_cut_between_microseconds() {
    let range = |text: &str| {
        let text = text.replace('@', "1970-01-01T00:00:00").replace(" OR ", "Z OR ").replace(" AND ", "Z AND ") + "Z";
        let range = Filter::parse(&text, Face::Native).unwrap().range().clone();
        (range.created_at.start().micros(), range.created_at.end().micros(), range.whole)
    };
    let (first, last) = (i64::MIN, i64::MAX);
    assert_eq!(range("created_at >= @.000005"), (5, last, true));
    assert_eq!(range("created_at > @.000005"), (6, last, true));
    assert_eq!(range("created_at <= @.000005"), (first, 5, true));
    assert_eq!(range("created_at < @.000005"), (first, 4, true));
    assert_eq!(range("created_at = @.000005"), (5, 5, true));
    assert_eq!(range("created_at >= @.0000055"), (6, last, true));
    assert_eq!(range("created_at > @.0000055"), (6, last, true));
    assert_eq!(range("created_at <= @.0000055"), (first, 5, true));
    assert_eq!(range("created_at < @.0000055"), (first, 5, true));
    assert_eq!(range("created_at = @.0000055"), (6, 5, true));
    assert_eq!(range("created_at != @.000005"), (first, last, false));
    assert_eq!(range("NOT created_at < @.000005"), (5, last, true));
    assert_eq!(range("created_at > @.000005 AND created_at < @.000009"), (6, 8, true));
    assert_eq!(range("created_at < @.000005 OR created_at >= @.000005"), (first, last, true));
    assert_eq!(range("created_at < @.000005 OR created_at > @.000005"), (first, last, false));
}
