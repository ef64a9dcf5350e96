//! Reading descriptor sets: what strangers send, taken apart and checked file by file.

use std::collections::BTreeMap;
use std::sync::Arc;

use operond_core::limits::{TYPE_FILE_BYTES_MAX, TYPE_FILE_NAME_CHARS_MAX, TYPE_FILES_MAX};
use operond_core::{Invalid, check_size, check_text};
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, MessageOptions};

use crate::error::quote;

/// One file of message types.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) name: Arc<str>,
    /// Its descriptor as it came, options of every sort included, but without source positions.
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) proto: FileDescriptorProto,
}

/// A `google.protobuf.FileDescriptorSet` whose files are left encoded: so they can be kept as they came.
#[derive(Clone, PartialEq, Message)]
struct RawSet {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}

/// The files of an encoded descriptor set, by name.
pub(crate) fn read(set: &[u8]) -> Result<BTreeMap<Arc<str>, File>, Invalid> {
    let RawSet { files } = RawSet::decode(set)
        .map_err(|error| malformed(format!("is no encoded google.protobuf.FileDescriptorSet: {error}")))?;
    if files.is_empty() {
        return Err(malformed("has no files"));
    }
    check_size(FIELD, files.len(), TYPE_FILES_MAX, "files")?;
    let mut read: BTreeMap<Arc<str>, File> = BTreeMap::new();
    for (index, bytes) in files.iter().enumerate() {
        let file = File::read(bytes, &format!("{FIELD}.file[{index}]"))?;
        match read.get(&file.name) {
            Some(twin) if twin.bytes != file.bytes => {
                return Err(malformed(format!("has two files named {} that differ", quote(&file.name))));
            }
            _ => read.insert(Arc::clone(&file.name), file),
        };
    }
    Ok(read)
}

impl File {
    /// Reads an encoded `google.protobuf.FileDescriptorProto`; `field` is what the request calls it.
    pub(crate) fn read(bytes: &[u8], field: &str) -> Result<Self, Invalid> {
        let garbled = |error| Invalid::malformed(field, format!("is no encoded FileDescriptorProto: {error}"));
        let bytes = without_positions(bytes).map_err(garbled)?;
        let proto = FileDescriptorProto::decode(&*bytes).map_err(garbled)?;
        let name = proto.name();
        if name.is_empty() {
            return Err(Invalid::missing(format!("{field}.name")));
        }
        check_text(&format!("{field}.name"), name, TYPE_FILE_NAME_CHARS_MAX)?;
        if !["", "proto2", "proto3"].contains(&proto.syntax()) {
            let (name, syntax) = (quote(name), quote(proto.syntax()));
            return Err(malformed(format!(
                "in file {name}: the syntax {syntax} is not read here, only proto2 and proto3"
            )));
        }
        for message in &proto.message_type {
            check_members(message)
                .and_then(|()| check_maps(message))
                .map_err(|problem| malformed(format!("in file {}: {problem}", quote(name))))?;
        }
        let names: usize = message_names(&proto).iter().map(String::len).sum();
        check_size(field, bytes.len() + names, TYPE_FILE_BYTES_MAX, "bytes")?;
        Ok(Self { name: name.into(), bytes: bytes.into(), proto })
    }
}

/// The full names of all messages of a file but the entries of maps, by name.
pub(crate) fn message_names(file: &FileDescriptorProto) -> Vec<String> {
    let mut names = Vec::new();
    for message in &file.message_type {
        add_names(file.package(), message, &mut names);
    }
    names.sort_unstable();
    names
}

fn add_names(scope: &str, message: &DescriptorProto, names: &mut Vec<String>) {
    if is_map_entry(message) {
        return;
    }
    let name = inside(scope, message.name());
    for nested in &message.nested_type {
        add_names(&name, nested, names);
    }
    names.push(name);
}

/// The full name of what is called `name` in `scope`.
pub(crate) fn inside(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

/// JSON has `@type` and extensions in brackets beside members: a member that is called so would be taken for them.
fn check_members(message: &DescriptorProto) -> Result<(), String> {
    let taken = |field: &&FieldDescriptorProto| {
        field.json_name.as_ref().is_some_and(|name| name.is_empty() || name.starts_with(['@', '[']))
    };
    if let Some(field) = message.field.iter().find(taken) {
        let (field, name) = (quote(field.name()), quote(field.json_name()));
        return Err(format!("the member {field} of {} cannot be {name} in JSON", quote(message.name())));
    }
    message.nested_type.iter().try_for_each(check_members)
}

/// The reader of messages relies on what compilers make of maps: an entry has a key and a value, and no more.
fn check_maps(message: &DescriptorProto) -> Result<(), String> {
    if is_map_entry(message) && !has_key_and_value(message) {
        return Err(format!(
            "{} is the entry of a map and does not have just a key and a value",
            quote(message.name())
        ));
    }
    message.nested_type.iter().try_for_each(check_maps)
}

fn has_key_and_value(entry: &DescriptorProto) -> bool {
    let [key, value] = &entry.field[..] else { return false };
    let no_key = [Type::Double, Type::Float, Type::Group, Type::Message, Type::Bytes, Type::Enum];
    let single = |field: &FieldDescriptorProto| field.label() == Label::Optional;
    (key.number(), value.number()) == (1, 2) && single(key) && single(value) && !no_key.contains(&key.r#type())
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(MessageOptions::map_entry)
}

/// The positions in the source are most of a file, and say nothing about its types.
fn without_positions(bytes: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {
    let (mut kept, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while !rest.is_empty() {
        let before = rest;
        let (tag, wire_type) = decode_key(&mut rest)?;
        skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
        if tag != SOURCE_CODE_INFO {
            kept.extend_from_slice(&before[..before.len() - rest.len()]);
        }
    }
    Ok(kept)
}

/// What is wrong with the set as a whole.
pub(crate) fn malformed(problem: impl Into<String>) -> Invalid {
    Invalid::malformed(FIELD, problem)
}

/// The member of the request.
pub(crate) const FIELD: &str = "descriptorSet";
/// The number of `FileDescriptorProto.source_code_info`.
const SOURCE_CODE_INFO: u32 = 9;
