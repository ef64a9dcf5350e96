//! From a message to JSON text.

use std::collections::HashMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};
use prost_types::value::Kind as Plain;
use serde::Serialize;

use super::{Error, Types, any, scalar};

/// Prints a message of any type, well-known or not.
pub(super) fn message(types: &Types, message: &DynamicMessage) -> Result<String, Error> {
    let mut printer = Printer { types, out: Vec::new(), levels_left: NESTING_MAX };
    printer.message(message)?;
    Ok(String::from_utf8(printer.out).expect("only JSON text was appended"))
}

/// How deep objects and arrays of an answer may be nested: what readers commonly allow. A deeper
/// Any is printed as bytes.
pub(super) const NESTING_MAX: usize = 100;

/// Members that are printed also when they have their default, by message and field. The rest is
/// omitted then.
pub(super) const ALWAYS_PRINTED: [(&str, &str); 7] = [
    // CONTRACT §4: clients read it without asking whether it is there.
    ("operond.v1.Operation", "done"),
    ("yandex.cloud.operation.Operation", "done"),
    ("google.longrunning.Operation", "done"),
    // So that scripts can loop over an empty answer.
    ("operond.v1.ClaimResponse", "claims"),
    ("operond.v1.ListResponse", "operations"),
    ("google.longrunning.ListOperationsResponse", "operations"),
    ("operond.v1.CountResponse", "count"),
];

/// Text in the making. After an error its end is unfinished: the caller cuts it off or gives up.
pub(super) struct Printer<'a> {
    pub(super) types: &'a Types,
    pub(super) out: Vec<u8>,
    pub(super) levels_left: usize,
}

impl Printer<'_> {
    pub(super) fn message(&mut self, message: &DynamicMessage) -> Result<(), Error> {
        let descriptor = message.descriptor();
        match descriptor.full_name() {
            "google.protobuf.Any" => {
                let any = transcode::<prost_types::Any>(message)?;
                self.any(&any);
                Ok(())
            }
            "google.protobuf.Timestamp" | "google.protobuf.Duration" | "google.protobuf.FieldMask" => message
                .serialize(&mut serde_json::Serializer::new(&mut self.out))
                .map_err(|error| Error::new(error.to_string())),
            "google.protobuf.Struct" => self.plain_struct(&transcode(message)?),
            "google.protobuf.ListValue" => self.plain_list(&transcode(message)?),
            "google.protobuf.Value" => self.plain(&transcode(message)?),
            name if any::is_wrapper(name) => {
                let field = descriptor.get_field(1).expect("every wrapper has the field 1");
                self.value(&field.kind(), &message.get_field(&field))
            }
            _ => self.object(|printer, first| printer.members(message, first)),
        }
    }

    /// Prints the members of an ordinary message into an object that is open.
    pub(super) fn members(&mut self, message: &DynamicMessage, first: &mut bool) -> Result<(), Error> {
        let descriptor = message.descriptor();
        for field in descriptor.fields() {
            let always = ALWAYS_PRINTED.contains(&(descriptor.full_name(), field.name()));
            if !always && !message.has_field(&field) {
                continue;
            }
            self.name(first, field.json_name());
            self.field(&field, &message.get_field(&field)).map_err(|error| error.in_member(field.json_name()))?;
        }
        Ok(())
    }

    /// Prints an object whose members the closure prints; it is handed what [`name`](Self::name)
    /// wants.
    pub(super) fn object(
        &mut self,
        members: impl FnOnce(&mut Self, &mut bool) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.nested(b"{}", |printer| members(printer, &mut true))
    }

    /// Prints the name of the next member of an object.
    pub(super) fn name(&mut self, first: &mut bool, name: &str) {
        self.separate(first);
        scalar::json(&mut self.out, name);
        self.out.push(b':');
    }

    fn field(&mut self, field: &FieldDescriptor, value: &Value) -> Result<(), Error> {
        match value {
            Value::List(values) => self.list(values, |printer, value| printer.value(&field.kind(), value)),
            Value::Map(entries) => self.map(field, entries),
            value => self.value(&field.kind(), value),
        }
    }

    fn map(&mut self, field: &FieldDescriptor, entries: &HashMap<MapKey, Value>) -> Result<(), Error> {
        let kind = field.kind();
        let entry = kind.as_message().expect("the kind of a map field is its entry message");
        let value_kind = entry.map_entry_value_field().kind();
        let mut sorted: Vec<_> = entries.iter().collect();
        sorted.sort_by_key(|(key, _)| *key);
        self.object(|printer, first| {
            for (key, value) in sorted {
                printer.separate(first);
                scalar::print_map_key(&mut printer.out, key);
                printer.out.push(b':');
                printer.value(&value_kind, value)?;
            }
            Ok(())
        })
    }

    fn value(&mut self, kind: &Kind, value: &Value) -> Result<(), Error> {
        match value {
            Value::Message(message) => self.message(message),
            value => {
                scalar::print(&mut self.out, kind, value);
                Ok(())
            }
        }
    }

    fn plain(&mut self, value: &prost_types::Value) -> Result<(), Error> {
        match &value.kind {
            None | Some(Plain::NullValue(_)) => scalar::json(&mut self.out, &()),
            Some(Plain::BoolValue(value)) => scalar::json(&mut self.out, value),
            Some(Plain::NumberValue(value)) if !value.is_finite() => {
                return Err(Error::new(format!("google.protobuf.Value has no JSON for {value}")));
            }
            Some(Plain::NumberValue(value)) => scalar::print_float(&mut self.out, *value),
            Some(Plain::StringValue(value)) => scalar::json(&mut self.out, value),
            Some(Plain::ListValue(list)) => self.plain_list(list)?,
            Some(Plain::StructValue(members)) => self.plain_struct(members)?,
        }
        Ok(())
    }

    fn plain_list(&mut self, list: &prost_types::ListValue) -> Result<(), Error> {
        self.list(&list.values, Self::plain)
    }

    fn plain_struct(&mut self, members: &prost_types::Struct) -> Result<(), Error> {
        self.object(|printer, first| {
            for (name, value) in &members.fields {
                printer.name(first, name);
                printer.plain(value)?;
            }
            Ok(())
        })
    }

    fn list<T>(
        &mut self,
        elements: &[T],
        mut print: impl FnMut(&mut Self, &T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.nested(b"[]", |printer| {
            let mut first = true;
            for (index, element) in elements.iter().enumerate() {
                printer.separate(&mut first);
                print(printer, element).map_err(|error| error.in_element(index))?;
            }
            Ok(())
        })
    }

    fn nested(
        &mut self,
        brackets: &[u8; 2],
        content: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let outer = self.levels_left;
        self.levels_left = outer
            .checked_sub(1)
            .ok_or_else(|| Error::new(format!("objects and arrays are nested more than {NESTING_MAX} levels deep")))?;
        self.out.push(brackets[0]);
        content(self)?;
        self.out.push(brackets[1]);
        self.levels_left = outer;
        Ok(())
    }

    fn separate(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push(b',');
        }
    }
}

fn transcode<M: prost::Message + Default>(message: &DynamicMessage) -> Result<M, Error> {
    message.transcode_to().map_err(|error| Error::new(error.to_string()))
}
