//! From a JSON tree to a message.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use prost_types::value::Kind as Plain;
use serde::de::{DeserializeSeed, IntoDeserializer};

use super::read::Node;
use super::{Error, Types, any, quoted, scalar};

/// Parses a message of any type, well-known or not.
pub(super) fn message(types: &Types, descriptor: &MessageDescriptor, node: Node) -> Result<DynamicMessage, Error> {
    let mut message = DynamicMessage::new(descriptor.clone());
    match descriptor.full_name() {
        "google.protobuf.Any" => {
            let any = any::parse(types, node)?;
            message.set_field_by_number(1, Value::String(any.type_url));
            message.set_field_by_number(2, Value::Bytes(any.value.into()));
        }
        "google.protobuf.Timestamp" => {
            return text(descriptor, node, r#"an RFC 3339 time such as "2026-01-31T12:00:00Z""#);
        }
        "google.protobuf.Duration" => {
            return text(descriptor, node, r#"a duration in seconds such as "30s" or "1.5s""#);
        }
        "google.protobuf.FieldMask" => {
            return text(descriptor, node, r#"names with commas between such as "user.displayName,photo""#);
        }
        "google.protobuf.Struct" => transcode(&mut message, &plain_struct(object(node)?)?)?,
        "google.protobuf.ListValue" => transcode(&mut message, &plain_list(array(node)?)?)?,
        "google.protobuf.Value" => transcode(&mut message, &plain(node)?)?,
        name if any::is_wrapper(name) => {
            let field = descriptor.get_field(1).expect("every wrapper has the field 1");
            message.set_field(&field, value(types, &field.kind(), node)?);
        }
        _ => members(types, &mut message, object(node)?)?,
    }
    Ok(message)
}

/// Sets the members of an ordinary message.
pub(super) fn members(types: &Types, message: &mut DynamicMessage, members: Vec<(String, Node)>) -> Result<(), Error> {
    let descriptor = prost_reflect::ReflectMessage::descriptor(message);
    let mut seen = HashSet::new();
    for (name, node) in members {
        let Some(field) = descriptor.get_field_by_json_name(&name).or_else(|| descriptor.get_field_by_name(&name))
        else {
            let problem = format!("{} has no such member", descriptor.full_name());
            return Err(Error::new(problem).in_member(&name));
        };
        if !seen.insert(field.number()) {
            return Err(Error::new("given twice").in_member(&name));
        }
        if matches!(node, Node::Null) && (field.is_list() || field.is_map() || !scalar::takes_null(&field.kind())) {
            continue;
        }
        field_of(types, message, &field, node).map_err(|error| error.in_member(&name))?;
    }
    Ok(())
}

fn field_of(types: &Types, message: &mut DynamicMessage, field: &FieldDescriptor, node: Node) -> Result<(), Error> {
    if let Some(oneof) = field.containing_oneof()
        && oneof.fields().any(|other| message.has_field(&other))
    {
        let names: Vec<_> = oneof.fields().map(|field| field.json_name().to_owned()).collect();
        return Err(Error::new(format!("expected only one of {}", names.join(", "))));
    }
    let parsed = if field.is_list() {
        list(types, &field.kind(), array(node)?)?
    } else if field.is_map() {
        map(types, &field.kind(), object(node)?)?
    } else {
        value(types, &field.kind(), node)?
    };
    message.try_set_field(field, parsed).map_err(|error| Error::new(error.to_string()))
}

fn list(types: &Types, kind: &Kind, nodes: Vec<Node>) -> Result<Value, Error> {
    let values: Result<_, _> = nodes
        .into_iter()
        .enumerate()
        .map(|(index, node)| value(types, kind, node).map_err(|error| error.in_element(index)))
        .collect();
    Ok(Value::List(values?))
}

fn map(types: &Types, kind: &Kind, members: Vec<(String, Node)>) -> Result<Value, Error> {
    let entry = kind.as_message().expect("the kind of a map field is its entry message");
    let key_kind = entry.map_entry_key_field().kind();
    let value_kind = entry.map_entry_value_field().kind();
    let mut entries: HashMap<MapKey, Value> = HashMap::with_capacity(members.len());
    for (name, node) in members {
        let parsed = scalar::map_key(&key_kind, &name).and_then(|key| Ok((key, value(types, &value_kind, node)?)));
        let (key, value) = parsed.map_err(|error| error.in_member(&name))?;
        if entries.insert(key, value).is_some() {
            return Err(Error::new("given twice").in_member(&name));
        }
    }
    Ok(Value::Map(entries))
}

fn value(types: &Types, kind: &Kind, node: Node) -> Result<Value, Error> {
    match kind {
        Kind::Message(descriptor) => message(types, descriptor, node).map(Value::Message),
        kind => scalar::parse(kind, node),
    }
}

/// A well-known type whose JSON is a string, parsed by the reflection library.
fn text(descriptor: &MessageDescriptor, node: Node, expected: &str) -> Result<DynamicMessage, Error> {
    let Node::String(text) = node else {
        return Err(mismatch(expected, &node));
    };
    let deserializer = IntoDeserializer::<serde::de::value::Error>::into_deserializer(&*text);
    descriptor
        .clone()
        .deserialize(deserializer)
        .map_err(|_| Error::new(format!("expected {expected}, got {}", quoted(&text))))
}

/// JSON as it is.
pub(super) fn plain(node: Node) -> Result<prost_types::Value, Error> {
    let kind = match node {
        Node::Null => Plain::NullValue(0),
        Node::Bool(value) => Plain::BoolValue(value),
        Node::Number(number) => Plain::NumberValue(number.as_f64().expect("every JSON number read here is finite")),
        Node::String(text) => Plain::StringValue(text),
        Node::Array(nodes) => Plain::ListValue(plain_list(nodes)?),
        Node::Object(members) => Plain::StructValue(plain_struct(members)?),
    };
    Ok(prost_types::Value { kind: Some(kind) })
}

fn plain_list(nodes: Vec<Node>) -> Result<prost_types::ListValue, Error> {
    let values: Result<_, _> = nodes
        .into_iter()
        .enumerate()
        .map(|(index, node)| plain(node).map_err(|error| error.in_element(index)))
        .collect();
    Ok(prost_types::ListValue { values: values? })
}

pub(super) fn plain_struct(members: Vec<(String, Node)>) -> Result<prost_types::Struct, Error> {
    let mut fields = BTreeMap::new();
    for (name, node) in members {
        let value = plain(node).map_err(|error| error.in_member(&name))?;
        if fields.contains_key(&name) {
            return Err(Error::new("given twice").in_member(&name));
        }
        fields.insert(name, value);
    }
    Ok(prost_types::Struct { fields })
}

fn transcode(message: &mut DynamicMessage, value: &impl prost::Message) -> Result<(), Error> {
    message.transcode_from(value).map_err(|error| Error::new(error.to_string()))
}

fn object(node: Node) -> Result<Vec<(String, Node)>, Error> {
    match node {
        Node::Object(members) => Ok(members),
        node => Err(mismatch("an object", &node)),
    }
}

fn array(node: Node) -> Result<Vec<Node>, Error> {
    match node {
        Node::Array(nodes) => Ok(nodes),
        node => Err(mismatch("an array", &node)),
    }
}

pub(super) fn mismatch(expected: &str, node: &Node) -> Error {
    Error::new(format!("expected {expected}, got {}", node.noun()))
}
