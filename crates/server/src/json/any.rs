//! `google.protobuf.Any`, both ways.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use prost_types::Any;

use super::print::Printer;
use super::read::Node;
use super::{Error, Types, parse, quoted, scalar};

impl Printer<'_> {
    /// Prints an Any as the JSON of what it holds, or else as its bytes: whatever was stored can be
    /// read.
    pub(super) fn any(&mut self, any: &Any) {
        if *any == Any::default() {
            self.out.extend_from_slice(b"{}");
            return;
        }
        let (text_bytes, levels_left) = (self.out.len(), self.levels_left);
        if self.known_any(any).is_err() {
            self.out.truncate(text_bytes);
            self.levels_left = levels_left;
            self.opaque_any(any);
        }
    }

    fn known_any(&mut self, any: &Any) -> Result<(), Error> {
        let descriptor = known_type(self.types, &any.type_url).ok_or_else(|| Error::new("an unknown type"))?;
        let form = Form::of(&descriptor);
        let message = DynamicMessage::decode(descriptor, &*any.value).map_err(|error| Error::new(error.to_string()))?;
        self.object(|printer, first| {
            printer.name(first, TYPE);
            scalar::json(&mut printer.out, &any.type_url);
            match form {
                Form::Empty => Ok(()),
                Form::Members => printer.members(&message, first),
                Form::Value => {
                    printer.name(first, VALUE);
                    printer.message(&message)
                }
            }
        })
    }

    fn opaque_any(&mut self, any: &Any) {
        self.out.push(b'{');
        let mut first = true;
        self.name(&mut first, TYPE);
        scalar::json(&mut self.out, &any.type_url);
        self.name(&mut first, VALUE);
        scalar::json(&mut self.out, &STANDARD.encode(&any.value));
        self.out.push(b'}');
    }
}

/// Parses an Any: what its `@type` says, or plain JSON without one.
pub(super) fn parse(types: &Types, node: Node) -> Result<Any, Error> {
    let Node::Object(mut members) = node else {
        return Ok(plain("Value", &parse::plain(node)?));
    };
    let Some(position) = members.iter().position(|(name, _)| name == TYPE) else {
        return Ok(plain("Struct", &parse::plain_struct(members)?));
    };
    let (_, type_url) = members.remove(position);
    if members.iter().any(|(name, _)| name == TYPE) {
        return Err(Error::new("given twice").in_member(TYPE));
    }
    let type_url = match type_url {
        Node::String(url) if !url.is_empty() => url,
        Node::String(_) => return Err(Error::new(EXPECTED_TYPE).in_member(TYPE)),
        node => return Err(Error::new(format!("{EXPECTED_TYPE}, got {}", node.noun())).in_member(TYPE)),
    };
    let value = match known_type(types, &type_url) {
        Some(descriptor) => known(types, &descriptor, members)?,
        None => opaque(&type_url, members)?,
    };
    Ok(Any { type_url, value })
}

/// Whether a message is one of the wrappers of scalars, which have the JSON of what they wrap.
pub(super) fn is_wrapper(full_name: &str) -> bool {
    matches!(
        full_name,
        "google.protobuf.BoolValue"
            | "google.protobuf.BytesValue"
            | "google.protobuf.DoubleValue"
            | "google.protobuf.FloatValue"
            | "google.protobuf.Int32Value"
            | "google.protobuf.Int64Value"
            | "google.protobuf.StringValue"
            | "google.protobuf.UInt32Value"
            | "google.protobuf.UInt64Value"
    )
}

/// Where in the JSON of an Any the JSON of a known type goes.
enum Form {
    /// Nowhere: `google.protobuf.Empty`. With the `{}` that the mapping of other well-known types
    /// would give it Python's parser fails (CONTRACT §4).
    Empty,
    /// Beside `@type`.
    Members,
    /// Into `value`, since it need not be an object.
    Value,
}

impl Form {
    fn of(descriptor: &MessageDescriptor) -> Self {
        match descriptor.full_name() {
            "google.protobuf.Empty" => Self::Empty,
            "google.protobuf.Any"
            | "google.protobuf.Timestamp"
            | "google.protobuf.Duration"
            | "google.protobuf.FieldMask"
            | "google.protobuf.Struct"
            | "google.protobuf.ListValue"
            | "google.protobuf.Value" => Self::Value,
            name if is_wrapper(name) => Self::Value,
            _ => Self::Members,
        }
    }
}

pub(super) fn known_type(types: &Types, type_url: &str) -> Option<MessageDescriptor> {
    let (_, full_name) = type_url.rsplit_once('/')?;
    types.message(full_name)
}

/// An Any of the well-known type that is any JSON, or any JSON object.
fn plain(name: &str, value: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/google.protobuf.{name}"), value: value.encode_to_vec() }
}

fn known(types: &Types, descriptor: &MessageDescriptor, members: Vec<(String, Node)>) -> Result<Vec<u8>, Error> {
    let message = match Form::of(descriptor) {
        Form::Members => {
            let mut message = DynamicMessage::new(descriptor.clone());
            parse::members(types, &mut message, members)?;
            message
        }
        Form::Empty if members.is_empty() => DynamicMessage::new(descriptor.clone()),
        Form::Empty | Form::Value => {
            let node = only_value(descriptor.full_name(), members)?;
            parse::message(types, descriptor, node).map_err(|error| error.in_member(VALUE))?
        }
    };
    Ok(message.encode_to_vec())
}

fn opaque(type_url: &str, members: Vec<(String, Node)>) -> Result<Vec<u8>, Error> {
    let what = format!("{}, which is not known here,", quoted(type_url));
    let node = only_value(&what, members)?;
    scalar::bytes(node).map_err(|error| error.in_member(VALUE))
}

/// The member `value`, which is all that such an Any has beside `@type`.
fn only_value(what: &str, members: Vec<(String, Node)>) -> Result<Node, Error> {
    let mut value = None;
    for (name, node) in members {
        if name != VALUE {
            let problem = format!(r#"an Any of {what} has only "{TYPE}" and "{VALUE}""#);
            return Err(Error::new(problem).in_member(&name));
        }
        if value.replace(node).is_some() {
            return Err(Error::new("given twice").in_member(VALUE));
        }
    }
    value.ok_or_else(|| Error::new(format!(r#"expected "{VALUE}" beside "{TYPE}" in an Any of {what}"#)))
}

pub(super) const TYPE: &str = "@type";
pub(super) const VALUE: &str = "value";
const EXPECTED_TYPE: &str = r#"expected a type URL such as "type.googleapis.com/google.protobuf.Empty""#;
