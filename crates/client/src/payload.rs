//! Payloads: what an input, metadata or a response holds.
//!
//! operond stores payloads as they are and asks nobody for their type. A message of your own goes in
//! by [`pack`] and comes out by [`unpack`]; plain JSON goes in by [`from_json`] and comes out, like
//! every other well-known type, by [`json::plain`](crate::json::plain).
//!
//! ```
//! use operond_client::{json, payload};
//! use serde_json::json;
//!
//! let input = payload::from_json(json!({"pages": 3}));
//! assert_eq!(input.type_url, "type.googleapis.com/google.protobuf.Struct");
//! assert_eq!(json::plain(&input), json!({"pages": 3}));
//! ```

use std::time::Duration;

use prost::{DecodeError, Message, Name};
use prost_types::value::Kind;
use prost_types::{Any, ListValue, Struct, Value};
use serde_json::{Map, Number, Value as Json};

/// A message as an Any.
#[must_use]
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// The message in an Any; `None` when it holds another type.
///
/// # Errors
/// It claims to hold this type, but its bytes are none.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<Option<M>, DecodeError> {
    let name = any.type_url.rsplit_once('/').map_or(any.type_url.as_str(), |(_, name)| name);
    if name != M::full_name() {
        return Ok(None);
    }
    M::decode(any.value.as_slice()).map(Some)
}

/// `google.protobuf.Empty`: there is nothing to say.
#[must_use]
pub fn empty() -> Any {
    pack(&())
}

/// A text, as `google.protobuf.Value`.
pub fn text(text: impl Into<String>) -> Any {
    from_json(Json::String(text.into()))
}

/// JSON: an object as `google.protobuf.Struct`, anything else as `google.protobuf.Value` (the rule
/// of the REST face, CONTRACT §4). Numbers become doubles.
#[must_use]
pub fn from_json(json: Json) -> Any {
    match json {
        Json::Object(members) => well_known("Struct", &struct_from_json(members)),
        other => well_known("Value", &value_from_json(other)),
    }
}

/// A JSON object as `google.protobuf.Struct`.
#[must_use]
pub fn struct_from_json(members: Map<String, Json>) -> Struct {
    Struct { fields: members.into_iter().map(|(name, json)| (name, value_from_json(json))).collect() }
}

/// Any JSON as `google.protobuf.Value`.
#[must_use]
pub fn value_from_json(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(bool) => Kind::BoolValue(bool),
        // Every number that JSON can hold has a nearest double.
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(string) => Kind::StringValue(string),
        Json::Array(items) => Kind::ListValue(ListValue { values: items.into_iter().map(value_from_json).collect() }),
        Json::Object(members) => Kind::StructValue(struct_from_json(members)),
    };
    Value { kind: Some(kind) }
}

/// The JSON object in a `google.protobuf.Struct`.
#[must_use]
pub fn struct_to_json(message: &Struct) -> Json {
    Json::Object(message.fields.iter().map(|(name, value)| (name.clone(), value_to_json(value))).collect())
}

/// The JSON in a `google.protobuf.Value`. A number that JSON has no form for (NaN, infinity) becomes
/// a string, as proto3 JSON writes it.
#[must_use]
pub fn value_to_json(message: &Value) -> Json {
    match &message.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(bool)) => Json::Bool(*bool),
        Some(Kind::NumberValue(number)) => number_to_json(*number),
        Some(Kind::StringValue(string)) => Json::String(string.clone()),
        Some(Kind::ListValue(list)) => Json::Array(list.values.iter().map(value_to_json).collect()),
        Some(Kind::StructValue(members)) => struct_to_json(members),
    }
}

/// A double as JSON: whole numbers without a fraction as far as doubles count exactly, NaN and
/// infinity as strings.
pub(crate) fn number_to_json(number: f64) -> Json {
    #[expect(clippy::cast_possible_truncation, reason = "only whole numbers below 2^53 get here")]
    if number.fract() == 0.0 && number.abs() < EXACT_BELOW && !(number == 0.0 && number.is_sign_negative()) {
        return Json::from(number as i64);
    }
    match Number::from_f64(number) {
        Some(number) => Json::Number(number),
        None if number.is_nan() => Json::from("NaN"),
        None if number > 0.0 => Json::from("Infinity"),
        None => Json::from("-Infinity"),
    }
}

/// A span of time for the wire, cut to what it can hold.
pub(crate) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

/// An Any of one of the well-known types that prost gives no name to.
fn well_known(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/google.protobuf.{name}"), value: message.encode_to_vec() }
}

/// 2^53.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use operond_proto::google::rpc::Status;
    use serde_json::json;

    use super::*;

    #[test]
    fn json_survives_the_way_through_a_value() {
        let check = |json: Json| assert_eq!(value_to_json(&value_from_json(json.clone())), json);
        check(json!(null));
        check(json!(true));
        check(json!(3));
        check(json!(-2.5));
        check(json!("ж"));
        check(json!([1, [], {}]));
        check(json!({"a": {"b": [null]}}));
    }

    #[test]
    fn numbers_beyond_doubles_and_beyond_json_are_told_as_near_as_can_be() {
        assert_eq!(value_to_json(&value_from_json(json!(9_007_199_254_740_993_u64))), json!(9_007_199_254_740_992.0));
        assert_eq!(number_to_json(f64::NAN), json!("NaN"));
        assert_eq!(number_to_json(f64::NEG_INFINITY), json!("-Infinity"));
        assert_eq!(number_to_json(1e300), json!(1e300));
        assert_eq!(number_to_json(-0.0).to_string(), "-0.0");
    }

    #[test]
    fn objects_become_structs_and_the_rest_values() {
        assert!(from_json(json!({})).type_url.ends_with(".Struct"));
        assert!(from_json(json!([])).type_url.ends_with(".Value"));
        assert!(text("done").type_url.ends_with(".Value"));
        assert_eq!(empty(), Any { type_url: "type.googleapis.com/google.protobuf.Empty".into(), value: vec![] });
    }

    #[test]
    fn a_message_is_unpacked_as_what_it_is_only() {
        let status = Status { code: 5, message: "gone".into(), details: vec![] };
        let any = pack(&status);
        assert_eq!(unpack::<Status>(&any), Ok(Some(status)));
        assert_eq!(unpack::<()>(&any), Ok(None));
        assert!(unpack::<Status>(&Any { value: vec![0xff], ..any }).is_err());
    }
}
