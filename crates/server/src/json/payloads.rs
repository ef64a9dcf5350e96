//! What filters of lists see of payloads: the members that JSON shows, by the same names.

use std::collections::HashMap;

use operond_store::{Decoded, Payloads, Value};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value as Wire};

use super::{NESTING_MAX, Types, any, scalar};

impl Payloads for Types {
    fn decode(&self, payload: &operond_core::Any) -> Option<Box<dyn Decoded>> {
        let message = self.decode_any(&payload.type_url, &payload.value)?;
        Some(Box::new(Payload { types: self.clone(), message }))
    }
}

impl Types {
    fn decode_any(&self, type_url: &str, value: &[u8]) -> Option<DynamicMessage> {
        DynamicMessage::decode(any::known_type(self, type_url)?, value).ok()
    }
}

struct Payload {
    types: Types,
    message: DynamicMessage,
}

impl Decoded for Payload {
    fn values(&self, path: &[Box<str>]) -> Vec<Value> {
        let values = self.at(path);
        match path {
            // Where JSON has no members to put beside `@type`, it has all in `value`.
            [first, rest @ ..] if values.is_empty() && **first == *any::VALUE => self.at(rest),
            _ => values,
        }
    }
}

impl Payload {
    fn at(&self, path: &[Box<str>]) -> Vec<Value> {
        let mut walk = Walk { types: &self.types, anys_left: NESTING_MAX, found: Vec::new() };
        walk.message(&self.message, path);
        walk.found
    }
}

/// Goes down to the end of a path, everywhere at once where members are repeated.
struct Walk<'a> {
    types: &'a Types,
    /// An Any may hold an Any, and so on: each is decoded anew, so there is an end to it.
    anys_left: usize,
    found: Vec<Value>,
}

impl Walk<'_> {
    fn message(&mut self, message: &DynamicMessage, path: &[Box<str>]) {
        let descriptor = message.descriptor();
        match descriptor.full_name() {
            "google.protobuf.Any" => self.any(message, path),
            "google.protobuf.Struct" if path.is_empty() => self.found.push(Value::Present),
            "google.protobuf.Struct" => self.only_member(message, path),
            "google.protobuf.Value" | "google.protobuf.ListValue" => self.only_member(message, path),
            "google.protobuf.Timestamp" if path.is_empty() => self.found.push(Value::Instant(nanos(message))),
            "google.protobuf.Duration" if path.is_empty() => self.found.push(Value::Duration(nanos(message))),
            name if path.is_empty() && any::is_wrapper(name) => self.wrapped(message),
            _ => match path {
                [] => self.found.push(Value::Present),
                [name, rest @ ..] => {
                    let by_name = descriptor.get_field_by_name(name);
                    if let Some(field) = by_name.or_else(|| descriptor.get_field_by_json_name(name)) {
                        self.member(message, &field, rest);
                    }
                }
            },
        }
    }

    /// The member that a message consists of, if it is there.
    fn only_member(&mut self, message: &DynamicMessage, path: &[Box<str>]) {
        for (field, value) in message.fields() {
            self.value(&field, value, path);
        }
    }

    /// A scalar in a message: it is there also when it is the default.
    fn wrapped(&mut self, message: &DynamicMessage) {
        if let Some(field) = message.descriptor().get_field_by_name(any::VALUE) {
            self.scalar(&field.kind(), &message.get_field(&field));
        }
    }

    fn member(&mut self, message: &DynamicMessage, field: &FieldDescriptor, path: &[Box<str>]) {
        if !field.supports_presence() || message.has_field(field) {
            self.value(field, &message.get_field(field), path);
        }
    }

    fn value(&mut self, field: &FieldDescriptor, value: &Wire, path: &[Box<str>]) {
        match value {
            Wire::List(elements) => {
                for element in elements {
                    self.single(&field.kind(), element, path);
                }
            }
            Wire::Map(entries) => self.entry(field, entries, path),
            single => self.single(&field.kind(), single, path),
        }
    }

    fn entry(&mut self, field: &FieldDescriptor, entries: &HashMap<MapKey, Wire>, path: &[Box<str>]) {
        let kind = field.kind();
        let entry = kind.as_message().expect("the kind of a map field is its entry message");
        match path {
            [] if entries.is_empty() => {}
            [] => self.found.push(Value::Present),
            [key, rest @ ..] => {
                let key = scalar::map_key(&entry.map_entry_key_field().kind(), key).ok();
                if let Some(value) = key.and_then(|key| entries.get(&key)) {
                    self.single(&entry.map_entry_value_field().kind(), value, rest);
                }
            }
        }
    }

    fn single(&mut self, kind: &Kind, value: &Wire, path: &[Box<str>]) {
        match value {
            Wire::Message(message) => self.message(message, path),
            scalar if path.is_empty() => self.scalar(kind, scalar),
            _ => {}
        }
    }

    fn scalar(&mut self, kind: &Kind, value: &Wire) {
        let value = match value {
            Wire::Bool(value) => Value::Bool(*value),
            Wire::I32(value) => Value::Int((*value).into()),
            Wire::I64(value) => Value::Int(*value),
            Wire::U32(value) => Value::Uint((*value).into()),
            Wire::U64(value) => Value::Uint(*value),
            // As it is printed: 0.1, and not the double next to what the float is.
            Wire::F32(value) => Value::Float(value.to_string().parse().expect("a float prints as a number")),
            Wire::F64(value) => Value::Float(*value),
            Wire::String(text) => Value::Text(text.clone()),
            Wire::Bytes(bytes) if bytes.is_empty() => return,
            Wire::EnumNumber(number) => match kind.as_enum() {
                Some(descriptor) if descriptor.full_name() == scalar::NULL_ENUM => return,
                descriptor => {
                    let named = descriptor.and_then(|descriptor| descriptor.get_value(*number));
                    Value::Enum { name: named.map_or_else(String::new, |value| value.name().into()), number: *number }
                }
            },
            Wire::Bytes(_) | Wire::Message(_) | Wire::List(_) | Wire::Map(_) => Value::Present,
        };
        self.found.push(value);
    }

    fn any(&mut self, message: &DynamicMessage, path: &[Box<str>]) {
        let member = |name| message.get_field_by_name(name);
        let (Some(type_url), Some(value)) = (member("type_url"), member(any::VALUE)) else { return };
        let (Some(type_url), Some(value)) = (type_url.as_str(), value.as_bytes()) else { return };
        match path {
            [] => self.found.push(Value::Present),
            [only] if **only == *any::TYPE => self.found.push(Value::Text(type_url.into())),
            path => {
                let Some(left) = self.anys_left.checked_sub(1) else { return };
                if let Some(inner) = self.types.decode_any(type_url, value) {
                    self.anys_left = left;
                    self.message(&inner, path);
                    self.anys_left = left + 1;
                }
            }
        }
    }
}

/// Of a Timestamp or a Duration, whose members have the same names.
fn nanos(message: &DynamicMessage) -> i128 {
    let member = |name| message.get_field_by_name(name);
    let seconds = member("seconds").and_then(|seconds| seconds.as_i64()).unwrap_or_default();
    let nanos = member("nanos").and_then(|nanos| nanos.as_i32()).unwrap_or_default();
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;
    use prost_types::field_descriptor_proto::{Label, Type};
    use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};

    use super::*;

    /// The values at a path (its names parted by spaces) in an Any that is written as JSON.
    fn values(json: &str, path: &str) -> Vec<Value> {
        let types = Types::builtin();
        let any: prost_types::Any = types.from_json(json.as_bytes()).unwrap();
        let payload = operond_core::Any::new(any.type_url, any.value);
        let path: Vec<Box<str>> = path.split(' ').map(Into::into).collect();
        types.decode(&payload).map_or_else(Vec::new, |decoded| decoded.values(&path))
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn plain_json_has_its_own_types() {
        let json = r#"{"a":{"b":[1,"x",true,null,{"c":2},[3]]},"value":4,"e":{}}"#;
        let (one, two) = (Value::Float(1.0), Value::Float(2.0));
        assert_eq!(values(json, "a b"), [one, text("x"), Value::Bool(true), Value::Present, Value::Float(3.0)]);
        assert_eq!(values(json, "a b c"), [two]);
        assert_eq!(values(json, "value"), [Value::Float(4.0)]);
        assert_eq!(values(json, "e"), [Value::Present]);
        for nothing in ["x", "a x", "a b c d", "value x", "e x"] {
            assert_eq!(values(json, nothing), [], "{nothing}");
        }
        assert_eq!(values(r#"{"a":7}"#, "value a"), [Value::Float(7.0)], "as it is printed");
    }

    #[test]
    fn wrappers_instants_and_durations_are_what_they_hold() {
        let of = |name: &str, json: &str| {
            let json = format!(r#"{{"@type":"type.googleapis.com/google.protobuf.{name}","value":{json}}}"#);
            values(&json, "value")
        };
        assert_eq!(of("Int64Value", "\"-5\""), [Value::Int(-5)]);
        assert_eq!(of("UInt64Value", "\"18446744073709551615\""), [Value::Uint(u64::MAX)]);
        assert_eq!(of("Int32Value", "0"), [Value::Int(0)], "a default that is there");
        assert_eq!(of("FloatValue", "0.1"), [Value::Float(0.1)]);
        assert_eq!(of("StringValue", r#""x""#), [text("x")]);
        assert_eq!(of("BytesValue", r#""eA==""#), [Value::Present]);
        assert_eq!(of("Duration", r#""-1.5s""#), [Value::Duration(-1_500_000_000)]);
        assert_eq!(of("Timestamp", r#""1970-01-01T00:00:01.000000001Z""#), [Value::Instant(1_000_000_001)]);
        assert_eq!(of("Value", "true"), [Value::Bool(true)]);
        assert_eq!(of("ListValue", "[1,[2]]"), [Value::Float(1.0), Value::Float(2.0)]);
    }

    #[test]
    fn members_of_messages_go_by_either_name_and_maps_by_their_keys() {
        let json = r#"{"@type":"type.googleapis.com/operond.v1.Operation","createdBy":"me","state":"RUNNING",
            "labels":{"a.b":"x"},"createdAt":"1970-01-01T00:00:01Z","progress":{"done":0.5,"unit":"u"},
            "error":{"code":5,"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"R",
            "metadata":{"k":"v"}},{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}]}}"#;
        for name in ["createdBy", "created_by"] {
            assert_eq!(values(json, name), [text("me")]);
        }
        assert_eq!(values(json, "state"), [Value::Enum { name: "RUNNING".into(), number: 2 }]);
        assert_eq!(values(json, "labels a.b"), [text("x")]);
        assert_eq!(values(json, "labels"), [Value::Present]);
        assert_eq!(values(json, "created_at"), [Value::Instant(1_000_000_000)]);
        assert_eq!(values(json, "progress done"), [Value::Float(0.5)]);
        assert_eq!(values(json, "error details reason"), [text("R")]);
        assert_eq!(values(json, "error details metadata k"), [text("v")]);
        let types = ["type.googleapis.com/google.rpc.ErrorInfo", "type.googleapis.com/google.protobuf.Duration"];
        assert_eq!(values(json, "error details @type"), types.map(text));
        assert_eq!(values(json, "attempt"), [Value::Uint(0)], "a default without presence");
        for nothing in ["labels x", "response", "finished_at", "progress total", "nothing", "created_by x", "state x"] {
            assert_eq!(values(json, nothing), [], "{nothing}");
        }
    }

    #[test]
    fn a_wrapped_default_is_there_and_an_absent_wrapper_is_not() {
        let field = FieldDescriptorProto {
            name: Some("count".into()),
            number: Some(1),
            label: Some(Label::Optional.into()),
            r#type: Some(Type::Message.into()),
            type_name: Some(".google.protobuf.Int32Value".into()),
            ..Default::default()
        };
        let file = FileDescriptorProto {
            name: Some("t.proto".into()),
            dependency: vec!["google/protobuf/wrappers.proto".into()],
            message_type: vec![DescriptorProto { name: Some("T".into()), field: vec![field], ..Default::default() }],
            syntax: Some("proto3".into()),
            ..Default::default()
        };
        let mut pool = DescriptorPool::global();
        pool.add_file_descriptor_proto(file).unwrap();
        let mut message = DynamicMessage::new(pool.get_message_by_name("T").unwrap());
        let values = |message: &DynamicMessage| {
            let payload = Payload { types: Types::builtin(), message: message.clone() };
            payload.values(&["count".into()])
        };
        assert_eq!(values(&message), []);
        let wrapper = pool.get_message_by_name("google.protobuf.Int32Value").unwrap();
        message.set_field_by_name("count", Wire::Message(DynamicMessage::new(wrapper)));
        assert_eq!(values(&message), [Value::Int(0)]);
    }

    #[test]
    fn what_is_not_known_or_damaged_has_no_values() {
        let types = Types::builtin();
        for (url, bytes) in [("x/acme.v1.T", vec![]), ("x/google.protobuf.Struct", vec![0xff]), ("", vec![])] {
            assert!(types.decode(&operond_core::Any::new(url, bytes)).is_none(), "{url}");
        }
    }

    #[test]
    fn an_any_is_looked_into_so_deep_and_no_deeper() {
        let nested = |levels: usize| {
            let url = "type.googleapis.com/google.protobuf.Any".to_owned();
            let bottom = Types::builtin().from_json(br#"{"x":1}"#).unwrap();
            (0..levels).fold(bottom, |inner: prost_types::Any, _| prost_types::Any {
                type_url: url.clone(),
                value: prost::Message::encode_to_vec(&inner),
            })
        };
        let found = |any: prost_types::Any| {
            let decoded = Types::builtin().decode(&operond_core::Any::new(any.type_url, any.value)).unwrap();
            decoded.values(&["x".into()]).len()
        };
        assert_eq!((found(nested(NESTING_MAX)), found(nested(NESTING_MAX + 1))), (1, 0));
    }
}
