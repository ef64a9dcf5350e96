use operond_proto::google::rpc::{Code, ErrorInfo, Status};
use operond_proto::operond::v1::{self, operation};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    Any, DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    OneofDescriptorProto, Timestamp,
};

use super::*;

const URL: &str = "type.googleapis.com/google.protobuf";

#[test]
fn operation_is_printed_as_proto3_json() {
    let at = Some(Timestamp { seconds: 1_767_225_600, nanos: 5_000_000 });
    let operation = v1::Operation {
        id: "o1".into(),
        created_at: at,
        kind: "render".into(),
        state: operation::State::Cancelling.into(),
        labels: [("b".into(), "2".into()), ("a".into(), "1".into())].into(),
        progress: Some(v1::Progress { done: Some(0.0), total: Some(2.5), ..Default::default() }),
        max_attempts: 3,
        cancellable: true,
        cancel_requested: Some(v1::CancelRequested { at, by: "me".into(), reason: String::new() }),
        events: vec![v1::Event { what: "created".into(), ..Default::default() }],
        ..Default::default()
    };
    assert_eq!(
        Types::builtin().to_json(&operation).unwrap(),
        concat!(
            r#"{"id":"o1","createdAt":"2026-01-01T00:00:00.005Z","done":false,"kind":"render","#,
            r#""state":"CANCELLING","labels":{"a":"1","b":"2"},"progress":{"done":0,"total":2.5},"#,
            r#""maxAttempts":3,"cancellable":true,"#,
            r#""cancelRequested":{"at":"2026-01-01T00:00:00.005Z","by":"me"},"events":[{"what":"created"}]}"#
        )
    );
}

#[test]
fn only_listed_members_are_printed_with_their_default() {
    let types = Types::builtin();
    assert_eq!(types.to_json(&v1::Operation::default()).unwrap(), r#"{"done":false}"#);
    let yandex = operond_proto::yandex::cloud::operation::Operation::default();
    assert_eq!(types.to_json(&yandex).unwrap(), r#"{"done":false}"#);
    assert_eq!(types.to_json(&v1::ClaimResponse::default()).unwrap(), r#"{"claims":[]}"#);
    assert_eq!(types.to_json(&v1::ListResponse::default()).unwrap(), r#"{"operations":[]}"#);
    assert_eq!(types.to_json(&v1::HeartbeatResponse::default()).unwrap(), "{}");
    assert_eq!(types.to_json(&()).unwrap(), "{}");
}

#[test]
fn always_printed_members_exist() {
    for (message, field) in print::ALWAYS_PRINTED {
        let descriptor = Types::builtin().message(message).unwrap();
        assert!(descriptor.get_field_by_name(field).is_some(), "{message}.{field}");
    }
}

#[test]
fn every_kind_of_member_goes_both_ways() {
    #[track_caller]
    fn check(written: &str, printed: &str) {
        let types = every_kind();
        assert_eq!(reprinted(&types, "t.Every", written).as_deref(), Ok(printed), "of {written}");
        assert_eq!(reprinted(&types, "t.Every", printed).as_deref(), Ok(printed), "of {printed}");
    }
    fn same(text: &str) {
        check(text, text);
    }

    same("{}");
    same(r#"{"aDouble":3}"#);
    same(r#"{"plain":-0.0}"#);
    same(r#"{"aDouble":9007199254740992}"#);
    check(r#"{"aDouble":1e300}"#, r#"{"aDouble":1e+300}"#);
    same(r#"{"aDouble":"NaN"}"#);
    same(r#"{"aDouble":"-Infinity"}"#);
    check(r#"{"aDouble":"1.5"}"#, r#"{"aDouble":1.5}"#);
    same(r#"{"aFloat":0.1}"#);
    same(r#"{"aFloat":"Infinity"}"#);
    check(r#"{"aFloat":3.0}"#, r#"{"aFloat":3}"#);
    same(r#"{"anInt32":-2147483648}"#);
    check(r#"{"anInt32":1e2}"#, r#"{"anInt32":100}"#);
    check(r#"{"anInt32":"7"}"#, r#"{"anInt32":7}"#);
    same(r#"{"aUint32":4294967295}"#);
    same(r#"{"anInt64":"-9223372036854775808"}"#);
    check(r#"{"anInt64":9007199254740993}"#, r#"{"anInt64":"9007199254740993"}"#);
    same(r#"{"aUint64":"18446744073709551615"}"#);
    check(r#"{"aUint64":18446744073709551615}"#, r#"{"aUint64":"18446744073709551615"}"#);
    same(r#"{"aBool":true}"#);
    same(r#"{"aString":"\u0001\"ж\n"}"#);
    same(r#"{"aBytes":"+/8="}"#);
    check(r#"{"aBytes":"-_8"}"#, r#"{"aBytes":"+/8="}"#);
    same(r#"{"anEnum":"RED"}"#);
    check(r#"{"anEnum":1}"#, r#"{"anEnum":"RED"}"#);
    same(r#"{"anEnum":77}"#);
    same(r#"{"inner":{"inner":{}}}"#);
    same(r#"{"many":["1","2"]}"#);
    check(r#"{"many":[]}"#, "{}");
    same(r#"{"byNumber":{"-1":{},"2":{"aBool":true}}}"#);
    same(r#"{"byBool":{"false":"x","true":"y"}}"#);
    same(r#"{"left":""}"#);
    same(r#"{"right":0}"#);
    check(r#"{"left":null,"right":1}"#, r#"{"right":1}"#);
    same(r#"{"time":"0001-01-01T00:00:00Z"}"#);
    check(r#"{"time":"2026-01-01T01:00:00.1+01:00"}"#, r#"{"time":"2026-01-01T00:00:00.100Z"}"#);
    same(r#"{"time":"2026-01-01T00:00:00.000000001Z"}"#);
    same(r#"{"duration":"30s"}"#);
    same(r#"{"duration":"-1.500s"}"#);
    same(r#"{"mask":"aB,c.dE"}"#);
    same(r#"{"struct":{"a":[1,null,{"b":true}],"c":2.5}}"#);
    same(r#"{"plain":null}"#);
    same(r#"{"plain":[[],{},"x"]}"#);
    same(r#"{"plains":[null,1]}"#);
    same(r#"{"plainList":[null]}"#);
    same(r#"{"null":null}"#);
    same(r#"{"wrapped":"5"}"#);
    same(r#"{"wrapped":"0"}"#);
    same(r#"{"wrappedBytes":"AA=="}"#);
    check(r#"{"wrapped":null,"aBool":null,"many":null,"inner":null,"anEnum":null,"time":null}"#, "{}");
    check(r#"{"a_bool":true,"byNumber":{}}"#, r#"{"aBool":true}"#);
}

#[test]
fn wrong_json_is_refused_with_path_and_expectation() {
    #[track_caller]
    fn check(text: &str, path: &str, problem: &str) {
        let error = reprinted(&every_kind(), "t.Every", text).unwrap_err();
        assert_eq!((&*error.path, &*error.problem), (path, problem), "of {text}");
    }

    check("[]", "", "expected an object, got an array");
    check("", "", "not valid JSON: EOF while parsing a value at line 1 column 0");
    check("{} x", "", "not valid JSON: trailing characters at line 1 column 4");
    check(r#"{"aBool":true"#, "", "not valid JSON: EOF while parsing an object at line 1 column 13");
    check(r#"{"nope":1}"#, "nope", "t.Every has no such member");
    check(
        r#"{"inner":{"many":[1,"x"]}}"#,
        "inner.many[1]",
        "expected a whole number from -9223372036854775808 to 9223372036854775807, got \"x\"",
    );
    check(r#"{"byNumber":{"1":{"aBool":0}}}"#, "byNumber.1.aBool", "expected true or false, got a number");
    check(
        r#"{"byNumber":{"1.5":{}}}"#,
        "byNumber.1.5",
        "expected a whole number from -2147483648 to 2147483647, got 1.5",
    );
    check(r#"{"byBool":{"yes":"x"}}"#, "byBool.yes", "expected true or false, got a string");
    check(r#"{"byNumber":{"1":{},"1":{}}}"#, "byNumber.1", "given twice");
    check(r#"{"aBool":true,"aBool":true}"#, "aBool", "given twice");
    check(r#"{"aBool":true,"a_bool":true}"#, "a_bool", "given twice");
    check(r#"{"struct":{"a":{"b":1,"b":1}}}"#, "struct.a.b", "given twice");
    check(r#"{"left":"","right":1}"#, "right", "expected only one of left, right");
    check(
        r#"{"anInt32":2147483648}"#,
        "anInt32",
        "expected a whole number from -2147483648 to 2147483647, got 2147483648",
    );
    check(r#"{"aUint32":-1}"#, "aUint32", "expected a whole number from 0 to 4294967295, got -1");
    check(
        r#"{"aUint64":18446744073709551616}"#,
        "aUint64",
        "expected a whole number from 0 to 18446744073709551615, got 1.8446744073709552e+19",
    );
    check(r#"{"anInt32":" 1"}"#, "anInt32", "expected a whole number from -2147483648 to 2147483647, got \" 1\"");
    check(r#"{"aFloat":1e39}"#, "aFloat", "expected a number in the range of 32-bit floats");
    check(r#"{"aDouble":1e999}"#, "", "not valid JSON: number out of range at line 1 column 16");
    check(r#"{"aDouble":"x"}"#, "aDouble", "expected a number, got \"x\"");
    check(r#"{"aString":1}"#, "aString", "expected a string, got a number");
    check(r#"{"aBytes":"*"}"#, "aBytes", "expected bytes in base64: Invalid symbol 42, offset 0.");
    check(r#"{"anEnum":"BLUE"}"#, "anEnum", "expected one of NONE, RED, got \"BLUE\"");
    check(r#"{"many":{}}"#, "many", "expected an array, got an object");
    check(
        r#"{"many":[null]}"#,
        "many[0]",
        "expected a whole number from -9223372036854775808 to 9223372036854775807, got null",
    );
    check(
        r#"{"time":"2026-01-01"}"#,
        "time",
        "expected an RFC 3339 time such as \"2026-01-31T12:00:00Z\", got \"2026-01-01\"",
    );
    check(r#"{"duration":"30"}"#, "duration", "expected a duration in seconds such as \"30s\" or \"1.5s\", got \"30\"");
    check(r#"{"duration":30}"#, "duration", "expected a duration in seconds such as \"30s\" or \"1.5s\", got a number");
    check(
        r#"{"any":{"@type":""}}"#,
        "any.@type",
        "expected a type URL such as \"type.googleapis.com/google.protobuf.Empty\"",
    );
    check(r#"{"any":{"@type":"a/b","@type":"a/b"}}"#, "any.@type", "given twice");
    check(
        r#"{"any":{"@type":"a/B"}}"#,
        "any",
        "expected \"value\" beside \"@type\" in an Any of \"a/B\", which is not known here,",
    );
}

#[test]
fn invalid_utf8_and_lone_surrogates_are_refused() {
    for text in [&b"{\"kind\":\"\xff\"}"[..], br#"{"kind":"\ud800"}"#] {
        let error = Types::builtin().from_json::<v1::CreateRequest>(text).unwrap_err();
        assert!(error.problem.starts_with("not valid JSON: "), "{error}");
    }
}

#[test]
fn errors_do_not_echo_without_bounds() {
    let long = "ж".repeat(100_000);
    let nested = format!("{{\"{long}\":").repeat(30);
    for text in [
        format!("{{\"{long}\":1}}"),
        format!("{{\"aBytes\":\"{long}\"}}"),
        format!("{{\"anEnum\":\"{long}\"}}"),
        format!("{{\"time\":\"{long}\"}}"),
        format!("{{\"any\":{{\"@type\":\"{long}\"}}}}"),
        format!("{{\"struct\":{nested}{{\"a\":1,\"a\":1}}{}}}", "}".repeat(30)),
    ] {
        let error = reprinted(&every_kind(), "t.Every", &text).unwrap_err();
        assert!(error.to_string().len() < 1_500, "{error}");
    }
}

#[test]
fn nesting_is_limited() {
    // One level is the request itself.
    let deepest = |levels: usize, open: &str, close: &str| {
        format!("{{\"kind\":\"k\",\"input\":{}1{}}}", open.repeat(levels - 1), close.repeat(levels - 1))
    };
    let types = Types::builtin();
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let text = deepest(NESTING_MAX, open, close);
        let request: v1::CreateRequest = types.from_json(text.as_bytes()).unwrap();
        let printed = types.to_json(&request).unwrap();
        assert!(printed.contains(&format!("{open}1{close}")), "not readable again: {printed}");

        let text = deepest(NESTING_MAX + 1, open, close);
        let error = types.from_json::<v1::CreateRequest>(text.as_bytes()).unwrap_err();
        assert!(error.problem.starts_with("objects and arrays are nested more than 32 levels deep"), "{error}");
    }
    // Far beyond what a stack holds.
    let text = deepest(1_000_000, "[", "]");
    types.from_json::<v1::CreateRequest>(text.as_bytes()).unwrap_err();
}

#[test]
fn any_of_a_known_type_goes_both_ways() {
    #[track_caller]
    fn check(text: &str, expected: &Any) {
        let types = Types::builtin();
        assert_eq!(types.from_json::<Any>(text.as_bytes()).as_ref(), Ok(expected), "of {text}");
        assert_eq!(types.to_json(expected).as_deref(), Ok(text));
    }
    let wkt = |name: &str, value: Vec<u8>| Any { type_url: format!("{URL}.{name}"), value };
    let text = |name: &str, value: &str| format!(r#"{{"@type":"{URL}.{name}","value":{value}}}"#);

    check(&format!(r#"{{"@type":"{URL}.Empty"}}"#), &wkt("Empty", vec![]));
    check(&text("Timestamp", r#""1970-01-01T00:00:01Z""#), &wkt("Timestamp", vec![8, 1]));
    check(&text("Duration", r#""1s""#), &wkt("Duration", vec![8, 1]));
    check(&text("FieldMask", r#""a""#), &wkt("FieldMask", b"\x0a\x01a".to_vec()));
    check(&text("Struct", "{}"), &wkt("Struct", vec![]));
    check(&text("ListValue", "[]"), &wkt("ListValue", vec![]));
    check(&text("Value", "null"), &wkt("Value", vec![8, 0]));
    check(&text("BoolValue", "true"), &wkt("BoolValue", vec![8, 1]));
    check(&text("BytesValue", r#""AA==""#), &wkt("BytesValue", vec![10, 1, 0]));
    check(&text("DoubleValue", "0"), &wkt("DoubleValue", vec![]));
    check(&text("FloatValue", r#""NaN""#), &wkt("FloatValue", b"\x0d\0\0\xc0\x7f".to_vec()));
    check(&text("Int32Value", "5"), &wkt("Int32Value", vec![8, 5]));
    check(&text("Int64Value", r#""5""#), &wkt("Int64Value", vec![8, 5]));
    check(&text("UInt32Value", "5"), &wkt("UInt32Value", vec![8, 5]));
    check(&text("UInt64Value", r#""5""#), &wkt("UInt64Value", vec![8, 5]));
    check(&text("StringValue", r#""x""#), &wkt("StringValue", b"\x0a\x01x".to_vec()));
    let empty = wkt("Empty", vec![]);
    check(&text("Any", &format!(r#"{{"@type":"{URL}.Empty"}}"#)), &wkt("Any", empty.encode_to_vec()));
    check(
        r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"R","metadata":{"k":"v"}}"#,
        &Any::from_msg(&ErrorInfo {
            reason: "R".into(),
            domain: String::new(),
            metadata: [("k".into(), "v".into())].into(),
        })
        .unwrap(),
    );
}

#[test]
fn empty_is_read_in_both_spellings() {
    let types = Types::builtin();
    let written = |rest: &str| types.from_json::<Any>(format!(r#"{{"@type":"{URL}.Empty"{rest}}}"#).as_bytes());
    let expected = Any { type_url: format!("{URL}.Empty"), value: vec![] };
    assert_eq!(written(""), Ok(expected.clone()));
    assert_eq!(written(r#","value":{}"#), Ok(expected));
    assert_eq!(written(r#","value":{"a":1}"#).unwrap_err().path, "value.a");
    assert_eq!(written(r#","other":{}"#).unwrap_err().path, "other");
}

#[test]
fn any_without_a_type_is_plain_json() {
    #[track_caller]
    fn check(plain: &str, name: &str) {
        let types = Types::builtin();
        let text = format!(r#"{{"kind":"k","input":{plain}}}"#);
        let request: v1::CreateRequest = types.from_json(text.as_bytes()).unwrap();
        let typed = format!(r#"{{"kind":"k","input":{{"@type":"{URL}.{name}","value":{plain}}}}}"#);
        assert_eq!(types.to_json(&request).unwrap(), typed);
    }
    check(r#"{"pages":3}"#, "Struct");
    check("{}", "Struct");
    check(r#"{"value":"AA=="}"#, "Struct");
    check("[1]", "Value");
    check(r#""x""#, "Value");
    check("2.5", "Value");
    check("false", "Value");

    let absent: v1::CreateRequest = Types::builtin().from_json(br#"{"input":null}"#).unwrap();
    assert_eq!(absent.input, None);
}

#[test]
fn bytes_of_an_unknown_type_are_preserved() {
    let types = Types::builtin();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..300_usize {
        let value: Vec<u8> = (0..round).map(|_| random.byte()).collect();
        for type_url in ["type.googleapis.com/acme.v1.Disk", "without a slash", "google.protobuf.Empty", "a/b/", "\"\n"]
        {
            let any = Any { type_url: type_url.into(), value: value.clone() };
            let status = Status { code: 5, message: "m".into(), details: vec![any.clone()] };
            assert_eq!(types.from_json(types.to_json(&any).unwrap().as_bytes()), Ok(any));
            assert_eq!(types.from_json(types.to_json(&status).unwrap().as_bytes()), Ok(status));
        }
    }
    let printed = types.to_json(&Any { type_url: "x/Y".into(), value: vec![255] }).unwrap();
    assert_eq!(printed, r#"{"@type":"x/Y","value":"/w=="}"#);
}

#[test]
fn any_that_has_no_json_is_printed_as_bytes() {
    #[track_caller]
    fn check(name: &str, value: &[u8], base64: &str) {
        let broken = Any { type_url: format!("{URL}.{name}"), value: value.into() };
        let error = Status { code: 13, message: "m".into(), details: vec![broken] };
        let operation = v1::Operation { result: Some(operation::Result::Error(error)), ..Default::default() };
        let expected = format!(
            r#"{{"done":false,"error":{{"code":13,"message":"m","details":[{{"@type":"{URL}.{name}","value":"{base64}"}}]}}}}"#
        );
        assert_eq!(Types::builtin().to_json(&operation).as_deref(), Ok(&*expected));
    }
    // Not the wire format, a year past 9999, a NaN in a Value, text that is not UTF-8.
    check("Empty", &[0xff], "/w==");
    check("Timestamp", &[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], "CP///////38=");
    check("Value", b"\x11\0\0\0\0\0\0\xf8\x7f", "EQAAAAAAAPh/");
    check("StringValue", b"\x0a\x01\xff", "CgH/");
}

#[test]
fn only_the_innermost_any_without_json_is_printed_as_bytes() {
    let broken = Any { type_url: format!("{URL}.Empty"), value: vec![0xff] };
    let outer = Any::from_msg(&Status { code: 1, message: String::new(), details: vec![broken] }).unwrap();
    assert_eq!(
        Types::builtin().to_json(&outer).unwrap(),
        format!(
            r#"{{"@type":"type.googleapis.com/google.rpc.Status","code":1,"details":[{{"@type":"{URL}.Empty","value":"/w=="}}]}}"#
        )
    );
}

#[test]
fn any_without_json_does_not_spoil_those_after_it() {
    let broken = Any { type_url: format!("{URL}.Timestamp"), value: vec![8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f] };
    let good = Any { type_url: format!("{URL}.Duration"), value: vec![8, 1] };
    let mut details = vec![broken; 2 * print::NESTING_MAX];
    details.push(good);
    let printed = Types::builtin().to_json(&Status { code: 1, message: String::new(), details }).unwrap();
    assert!(printed.ends_with(r#".Duration","value":"1s"}]}"#), "{printed}");
}

#[test]
fn random_bytes_in_any_known_type_can_be_read() {
    let types = Types::builtin();
    let mut random = Random(42);
    let messages: Vec<_> = types.pool.all_messages().map(|message| message.full_name().to_owned()).collect();
    for name in &messages {
        for length in 0..40 {
            let value = (0..length).map(|_| random.byte() & 0x3f).collect();
            let printed = types.to_json(&Any { type_url: format!("x/{name}"), value }).unwrap();
            serde_json::from_str::<serde_json::Value>(&printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
        }
    }
}

#[test]
fn any_nested_without_end_is_printed_as_bytes_at_some_depth() {
    let mut any = Any { type_url: format!("{URL}.Empty"), value: vec![] };
    for _ in 0..5_000 {
        any = Any { type_url: "/google.protobuf.Any".into(), value: any.encode_to_vec() };
    }
    let printed = Types::builtin().to_json(&any).unwrap();
    assert_eq!(printed.matches("@type").count(), print::NESTING_MAX + 1);
    serde_json::from_str::<serde_json::Value>(&printed).unwrap();
}

#[test]
fn pairs_of_text_are_read_as_members() {
    let types = Types::builtin();
    let get: v1::GetOperationRequest = types.from_pairs([("id", "o1"), ("view", "FULL"), ("wait", "30s")]).unwrap();
    assert_eq!(get.view(), operation::View::Full);
    assert_eq!(get.wait.unwrap().seconds, 30);
    let list: v1::ListRequest = types.from_pairs([("pageSize", "7"), ("page_token", "t")]).unwrap();
    assert_eq!((list.page_size, &*list.page_token), (7, "t"));

    let error = types.from_pairs::<v1::ListRequest, _, _>([("pageSize", "x")]).unwrap_err();
    assert_eq!(error.to_string(), "pageSize: expected a whole number from -2147483648 to 2147483647, got \"x\"");
    assert_eq!(types.from_pairs::<v1::ListRequest, _, _>([("filter", ""), ("filter", "")]).unwrap_err().path, "filter");
}

#[test]
fn status_of_a_call_is_printed_with_its_details() {
    let info = ErrorInfo { reason: "EXPIRED".into(), domain: "operond.dev".into(), ..Default::default() };
    let status =
        Status { code: Code::NotFound.into(), message: "gone".into(), details: vec![Any::from_msg(&info).unwrap()] };
    assert_eq!(
        Types::builtin().to_json(&status).unwrap(),
        concat!(
            r#"{"code":5,"message":"gone","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","#,
            r#""reason":"EXPIRED","domain":"operond.dev"}]}"#
        )
    );
}

/// Parses and prints again.
fn reprinted(types: &Types, name: &str, text: &str) -> Result<String, Error> {
    let descriptor = types.message(name).unwrap();
    print::message(types, &parse::message(types, &descriptor, read::read(text.as_bytes())?)?)
}

/// The built-in types and `t.Every`, which has a member of every kind.
fn every_kind() -> Types {
    static EVERY: LazyLock<Types> = LazyLock::new(|| {
        let mut pool = Types::builtin().pool;
        pool.add_file_descriptor_proto(every_kind_file()).unwrap();
        Types { pool }
    });
    EVERY.clone()
}

fn every_kind_file() -> FileDescriptorProto {
    let mut fields = vec![
        scalar_field("a_double", 1, Type::Double),
        scalar_field("a_float", 2, Type::Float),
        scalar_field("an_int32", 3, Type::Int32),
        scalar_field("a_uint32", 4, Type::Fixed32),
        scalar_field("an_int64", 5, Type::Sint64),
        scalar_field("a_uint64", 6, Type::Uint64),
        scalar_field("a_bool", 7, Type::Bool),
        scalar_field("a_string", 8, Type::String),
        scalar_field("a_bytes", 9, Type::Bytes),
        typed_field("an_enum", 10, Type::Enum, ".t.Colour"),
        typed_field("inner", 11, Type::Message, ".t.Every"),
        repeated(scalar_field("many", 12, Type::Int64)),
        repeated(typed_field("by_number", 13, Type::Message, ".t.Every.ByNumberEntry")),
        repeated(typed_field("by_bool", 14, Type::Message, ".t.Every.ByBoolEntry")),
        FieldDescriptorProto { oneof_index: Some(0), ..scalar_field("left", 15, Type::String) },
        FieldDescriptorProto { oneof_index: Some(0), ..scalar_field("right", 16, Type::Int32) },
        repeated(typed_field("plains", 17, Type::Message, ".google.protobuf.Value")),
        FieldDescriptorProto {
            oneof_index: Some(1),
            ..typed_field("null", 18, Type::Enum, ".google.protobuf.NullValue")
        },
    ];
    let well_known = [
        ("time", "Timestamp"),
        ("duration", "Duration"),
        ("mask", "FieldMask"),
        ("struct", "Struct"),
        ("plain", "Value"),
        ("plain_list", "ListValue"),
        ("wrapped", "Int64Value"),
        ("wrapped_bytes", "BytesValue"),
        ("any", "Any"),
    ];
    for (number, (field, message)) in (20..).zip(well_known) {
        fields.push(typed_field(field, number, Type::Message, &format!(".google.protobuf.{message}")));
    }
    let every = DescriptorProto {
        name: Some("Every".into()),
        field: fields,
        nested_type: vec![
            map_entry("ByNumberEntry", Type::Int32, typed_field("value", 2, Type::Message, ".t.Every")),
            map_entry("ByBoolEntry", Type::Bool, scalar_field("value", 2, Type::String)),
        ],
        oneof_decl: ["side", "nothing"]
            .map(|name| OneofDescriptorProto { name: Some(name.into()), options: None })
            .into(),
        ..Default::default()
    };
    let value =
        |name: &str, number| EnumValueDescriptorProto { name: Some(name.into()), number: Some(number), options: None };
    let colour = EnumDescriptorProto {
        name: Some("Colour".into()),
        value: vec![value("NONE", 0), value("RED", 1)],
        ..Default::default()
    };
    let imports = ["any", "duration", "field_mask", "struct", "timestamp", "wrappers"];
    FileDescriptorProto {
        name: Some("t.proto".into()),
        package: Some("t".into()),
        syntax: Some("proto3".into()),
        dependency: imports.map(|file| format!("google/protobuf/{file}.proto")).into(),
        message_type: vec![every],
        enum_type: vec![colour],
        ..Default::default()
    }
}

fn scalar_field(name: &str, number: i32, kind: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        r#type: Some(kind.into()),
        label: Some(Label::Optional.into()),
        ..Default::default()
    }
}

fn typed_field(name: &str, number: i32, kind: Type, type_name: &str) -> FieldDescriptorProto {
    FieldDescriptorProto { type_name: Some(type_name.into()), ..scalar_field(name, number, kind) }
}

fn repeated(field: FieldDescriptorProto) -> FieldDescriptorProto {
    FieldDescriptorProto { label: Some(Label::Repeated.into()), ..field }
}

fn map_entry(name: &str, key: Type, value: FieldDescriptorProto) -> DescriptorProto {
    DescriptorProto {
        name: Some(name.into()),
        field: vec![scalar_field("key", 1, key), value],
        options: Some(prost_types::MessageOptions { map_entry: Some(true), ..Default::default() }),
        ..Default::default()
    }
}

/// An xorshift generator: the same bytes in every run.
struct Random(u64);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.to_le_bytes()[3]
    }
}
