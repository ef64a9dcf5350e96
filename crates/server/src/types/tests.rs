//! Descriptor sets, good and bad, over the types that are known.

use operond_core::Problem;
use operond_core::limits::{TYPE_BYTES_MAX, TYPE_FILE_BYTES_MAX, TYPE_FILE_NAME_CHARS_MAX, TYPE_FILES_MAX};
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MessageOptions, ServiceDescriptorProto, SourceCodeInfo,
};

use super::{Conflict, TypesError, merge, message_names, set};
use crate::error::{ApiError, Reason};
use crate::json::Types;

fn file(name: &str, messages: Vec<DescriptorProto>) -> FileDescriptorProto {
    FileDescriptorProto {
        name: Some(name.into()),
        package: Some("acme".into()),
        message_type: messages,
        syntax: Some("proto3".into()),
        ..Default::default()
    }
}

fn message(name: &str, field: Vec<FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto { name: Some(name.into()), field, ..Default::default() }
}

fn field(name: &str, number: i32, r#type: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(r#type.into()),
        ..Default::default()
    }
}

fn of_type(name: &str, number: i32, r#type: Type, type_name: &str) -> FieldDescriptorProto {
    FieldDescriptorProto { type_name: Some(type_name.into()), ..field(name, number, r#type) }
}

fn r#enum(name: &str, values: &[(&str, i32)]) -> EnumDescriptorProto {
    let value = |(name, number): &(&str, i32)| EnumValueDescriptorProto {
        name: Some((*name).into()),
        number: Some(*number),
        ..Default::default()
    };
    let aliases = prost_types::EnumOptions { allow_alias: Some(true), ..Default::default() };
    EnumDescriptorProto {
        name: Some(name.into()),
        value: values.iter().map(value).collect(),
        options: Some(aliases),
        ..Default::default()
    }
}

fn importing(file: FileDescriptorProto, imports: &[&str]) -> FileDescriptorProto {
    FileDescriptorProto { dependency: imports.iter().map(|&import| import.into()).collect(), ..file }
}

fn encoded(files: Vec<FileDescriptorProto>) -> Vec<u8> {
    FileDescriptorSet { file: files }.encode_to_vec()
}

fn add(types: &Types, files: Vec<FileDescriptorProto>) -> Result<Types, TypesError> {
    types.with_descriptor_set(&encoded(files))
}

/// What is wrong with bringing `new` where `old` is known.
#[track_caller]
fn conflict(old: FileDescriptorProto, new: FileDescriptorProto) -> (String, String, String) {
    match add(&add(&Types::builtin(), vec![old]).unwrap(), vec![new]).map(drop) {
        Err(TypesError::Conflict(Conflict { symbol, file, problem })) => (symbol, file, problem),
        other => panic!("{other:?}"),
    }
}

/// What is wrong with a set as such.
#[track_caller]
fn refused(files: Vec<FileDescriptorProto>) -> String {
    match add(&Types::builtin(), files).map(drop) {
        Err(TypesError::Invalid(invalid)) => invalid.to_string(),
        other => panic!("{other:?}"),
    }
}

fn frame(fields: Vec<FieldDescriptorProto>) -> FileDescriptorProto {
    file("frame.proto", vec![message("Frame", fields)])
}

#[test]
fn what_a_set_brings_is_known_then() {
    let any = prost_types::Any { type_url: "type.googleapis.com/acme.Frame".into(), value: vec![8, 3] };
    let before = Types::builtin();
    let types = add(&before, vec![frame(vec![field("pages", 1, Type::Int32)])]).unwrap();
    assert_eq!(types.to_json(&any).unwrap(), r#"{"@type":"type.googleapis.com/acme.Frame","pages":3}"#);
    assert_eq!(before.to_json(&any).unwrap(), r#"{"@type":"type.googleapis.com/acme.Frame","value":"CAM="}"#);
    let wrong = br#"{"kind":"k","input":{"@type":"type.googleapis.com/acme.Frame","pages":"many"}}"#;
    let error = types.from_json::<operond_proto::operond::v1::CreateRequest>(wrong).unwrap_err();
    assert_eq!(error.path, "input.pages", "{error}");
}

#[test]
fn a_newer_version_may_add_and_leave_out() {
    let one = frame(vec![field("a", 1, Type::String), field("b", 2, Type::String)]);
    let types = add(&Types::builtin(), vec![one]).unwrap();
    let two = frame(vec![field("b", 2, Type::String), field("c", 3, Type::Bool)]);
    let types = add(&types, vec![two]).unwrap();
    let message = types.pool().get_message_by_name("acme.Frame").unwrap();
    assert_eq!(message.fields().map(|field| field.number()).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn a_message_may_move_to_another_file() {
    let types = add(&Types::builtin(), vec![frame(vec![field("a", 1, Type::String)])]).unwrap();
    let moved = file("other.proto", vec![message("Frame", vec![field("a", 1, Type::String)])]);
    assert!(add(&types, vec![file("frame.proto", vec![]), moved]).is_ok());
    let changed = file("other.proto", vec![message("Frame", vec![field("a", 1, Type::Bytes)])]);
    let Err(TypesError::Conflict(conflict)) = add(&types, vec![file("frame.proto", vec![]), changed]) else {
        panic!("its type is another one");
    };
    assert_eq!((&*conflict.symbol, &*conflict.file), ("acme.Frame.a", "other.proto"));
}

#[test]
fn a_field_that_means_something_else_is_a_conflict() {
    let check = |new: FieldDescriptorProto, problem: &str| {
        let found = conflict(frame(vec![field("a", 1, Type::String)]), frame(vec![new]));
        assert_eq!(found, ("acme.Frame.a".into(), "frame.proto".into(), problem.into()));
    };
    check(field("b", 1, Type::String), r#"with the number 1 is called "b" now"#);
    check(field("a", 2, Type::String), "had the number 1, and has 2");
    check(field("a", 1, Type::Bytes), "was string, and is bytes");
    check(of_type("a", 1, Type::Message, ".acme.Frame"), "was string, and is acme.Frame");
    let repeated = FieldDescriptorProto { label: Some(Label::Repeated.into()), ..field("a", 1, Type::String) };
    check(repeated, "was string, and is repeated string");
}

#[test]
fn a_field_of_another_message_type_is_a_conflict() {
    let two = |of: &str| {
        let holder = message("Holder", vec![of_type("held", 1, Type::Message, of)]);
        file("two.proto", vec![message("A", vec![]), message("B", vec![]), holder])
    };
    let (symbol, _, problem) = conflict(two(".acme.A"), two(".acme.B"));
    assert_eq!((&*symbol, &*problem), ("acme.Holder.held", "was acme.A, and is acme.B"));
}

#[test]
fn a_value_of_an_enum_that_means_something_else_is_a_conflict() {
    let states = |values: &[(&str, i32)]| {
        let nested = DescriptorProto { enum_type: vec![r#enum("State", values)], ..message("Frame", vec![]) };
        file("state.proto", vec![nested])
    };
    let old = || states(&[("ZERO", 0), ("ONE", 1), ("EIN", 1), ("TWO", 2)]);
    let found = |values| {
        let (symbol, file, problem) = conflict(old(), states(values));
        assert_eq!(file, "state.proto");
        (symbol, problem)
    };
    let symbol = |value: &str| format!("acme.Frame.State.{value}");
    let renamed = found(&[("ZERO", 0), ("ONE", 1), ("ZWO", 2)]);
    assert_eq!(renamed, (symbol("TWO"), r#"with the number 2 is called "ZWO" now"#.into()));
    let moved = found(&[("ZERO", 0), ("ONE", 1), ("TWO", 3)]);
    assert_eq!(moved, (symbol("TWO"), "had the number 2, and has 3".into()));
    let types = add(&Types::builtin(), vec![old()]).unwrap();
    // One of two names of a number went, another number went, and one came.
    assert!(add(&types, vec![states(&[("ZERO", 0), ("EIN", 1), ("FIVE", 5)])]).is_ok());
}

#[test]
fn a_name_that_turns_into_something_else_is_a_conflict() {
    let old = frame(vec![]);
    let enums = FileDescriptorProto { enum_type: vec![r#enum("Frame", &[("A", 0)])], ..file("frame.proto", vec![]) };
    let (symbol, file, problem) = conflict(old.clone(), enums.clone());
    assert_eq!((&*symbol, &*file, &*problem), ("acme.Frame", "frame.proto", "was a message, and is an enum"));
    assert_eq!(conflict(enums, old.clone()).2, "was an enum, and is a message");
    let service = ServiceDescriptorProto { name: Some("Frame".into()), ..Default::default() };
    let services = FileDescriptorProto { service: vec![service], ..self::file("frame.proto", vec![]) };
    assert_eq!(conflict(old, services).2, "was a message, and is a service");
}

#[test]
fn a_name_that_two_files_define_is_a_conflict() {
    let twin = file("twin.proto", vec![message("Frame", vec![])]);
    let found = conflict(frame(vec![]), twin);
    assert_eq!(found, ("acme.Frame".into(), "twin.proto".into(), r#"is defined in file "frame.proto", too"#.into()));
    let status =
        FileDescriptorProto { package: Some("google.rpc".into()), ..file("s.proto", vec![message("Status", vec![])]) };
    let Err(TypesError::Conflict(conflict)) = add(&Types::builtin(), vec![status]) else { panic!("it is built in") };
    assert_eq!((&*conflict.symbol, &*conflict.file), ("google.rpc.Status", "s.proto"));
}

#[test]
fn a_conflict_is_told_with_its_symbol_and_file() {
    let conflict = Conflict::new("acme.Frame", "frame.proto", "was a message, and is an enum".into());
    let error = ApiError::from(conflict);
    assert_eq!(error.reason(), Reason::TypesConflict);
    let told = format!("{error:?}");
    for part in [r#"("symbol", "acme.Frame")"#, r#"("file", "frame.proto")"#, "was a message, and is an enum"] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_built_in_file_is_left_out_unless_it_says_something_else() {
    let builtin = Types::builtin();
    let ours = builtin.pool().get_file_by_name("google/rpc/status.proto").unwrap().file_descriptor_proto().clone();
    let user =
        importing(frame(vec![of_type("s", 1, Type::Message, ".google.rpc.Status")]), &["google/rpc/status.proto"]);
    let mut newer = ours.clone();
    newer.options = None;
    newer.message_type[0].field.push(field("added", 100, Type::String));
    let types = add(&builtin, vec![newer, user]).unwrap();
    let status = types.pool().get_message_by_name("google.rpc.Status").unwrap();
    assert!(status.get_field(100).is_none(), "ours stays");
    assert!(types.pool().get_message_by_name("acme.Frame").is_some());

    let mut other = ours;
    other.message_type[0].field[0].r#type = Some(Type::String.into());
    let Err(TypesError::Conflict(conflict)) = add(&builtin, vec![other]) else { panic!("the code is a text") };
    assert_eq!((&*conflict.symbol, &*conflict.file), ("google.rpc.Status.code", "google/rpc/status.proto"));
}

#[test]
fn a_set_that_is_not_whole_is_refused_with_the_reason() {
    let used = of_type("b", 1, Type::Message, ".acme.B");
    let lacking = importing(file("a.proto", vec![message("A", vec![used.clone()])]), &["b.proto"]);
    assert_eq!(refused(vec![lacking]), r#"descriptorSet lacks the file "b.proto", which "a.proto" imports: add it"#);
    let unresolved = refused(vec![file("a.proto", vec![message("A", vec![used])])]);
    assert!(unresolved.starts_with(r#"descriptorSet is not consistent in file "a.proto": "#), "{unresolved}");
    assert!(unresolved.contains("acme.B"), "{unresolved}");
    let itself = importing(file("a.proto", vec![]), &["a.proto"]);
    assert_eq!(refused(vec![itself]), r#"descriptorSet has a cycle of imports with the file "a.proto""#);
    let ring = [("a.proto", "b.proto"), ("b.proto", "c.proto"), ("c.proto", "b.proto")];
    let ring = ring.map(|(name, import)| importing(file(name, vec![]), &[import])).to_vec();
    assert_eq!(refused(ring), r#"descriptorSet has a cycle of imports with the file "a.proto""#);
    let twins = vec![frame(vec![]), frame(vec![field("a", 1, Type::Bool)])];
    assert_eq!(refused(twins), r#"descriptorSet has two files named "frame.proto" that differ"#);
    assert!(add(&Types::builtin(), vec![frame(vec![]), frame(vec![])]).is_ok(), "the same twice is one");
    let edition = FileDescriptorProto { syntax: Some("editions".into()), ..frame(vec![]) };
    let problem = r#"in file "frame.proto": the syntax "editions" is not read here, only proto2 and proto3"#;
    assert_eq!(refused(vec![edition]), format!("descriptorSet {problem}"));
    assert_eq!(refused(vec![]), "descriptorSet has no files");
    assert_eq!(refused(vec![file("", vec![])]), "descriptorSet.file[0].name is required");
    assert_eq!(refused(vec![file("a\0", vec![])]), "descriptorSet.file[0].name contains a NUL character");
}

#[test]
fn a_long_chain_of_imports_is_no_cycle() {
    let name = |n: usize| format!("{n}.proto");
    let chain = (0..TYPE_FILES_MAX).map(|n| match n {
        0 => file(&name(0), vec![]),
        n => importing(file(&name(n), vec![]), &[&name(n - 1)]),
    });
    assert!(add(&Types::builtin(), chain.collect()).is_ok());
}

#[test]
fn a_set_that_was_cut_or_garbled_is_refused_and_breaks_nothing() {
    let set = encoded(vec![
        frame(vec![field("a", 1, Type::String), of_type("f", 2, Type::Message, ".acme.Frame")]),
        importing(file("b.proto", vec![message("B", vec![field("b", 1, Type::Bytes)])]), &["frame.proto"]),
    ]);
    let types = Types::builtin();
    assert!(types.with_descriptor_set(&set).is_ok());
    let mut refused = 0;
    for cut in 0..set.len() {
        refused += usize::from(types.with_descriptor_set(&set[..cut]).is_err());
    }
    assert!(refused >= set.len() - 1, "{refused} of {}: only a cut between two files leaves a set", set.len());
    for at in 0..set.len() {
        for bit in 0..8 {
            let mut garbled = set.clone();
            garbled[at] ^= 1 << bit;
            // Many are another good set; none may panic, and none may be known and yet not be read.
            if let Ok(types) = types.with_descriptor_set(&garbled) {
                let any = prost_types::Any { type_url: "t/acme.Frame".into(), value: vec![10, 1, b'x', 18, 0] };
                assert!(types.to_json(&any).is_ok());
            }
        }
    }
}

#[test]
fn a_map_without_key_and_value_is_refused() {
    let options = Some(MessageOptions { map_entry: Some(true), ..Default::default() });
    let entry = |fields| DescriptorProto { options: options.clone(), ..message("MapEntry", fields) };
    let with = |entry| {
        let mut map = of_type("map", 1, Type::Message, ".acme.Frame.MapEntry");
        map.label = Some(Label::Repeated.into());
        let outer = DescriptorProto { nested_type: vec![entry], ..message("Frame", vec![map]) };
        add(&Types::builtin(), vec![file("map.proto", vec![outer])])
    };
    let (key, value) = (field("key", 1, Type::String), field("value", 2, Type::Int32));
    let types = with(entry(vec![key.clone(), value.clone()])).unwrap();
    let any = prost_types::Any { type_url: "t/acme.Frame".into(), value: vec![10, 5, 10, 1, b'a', 16, 7] };
    assert_eq!(types.to_json(&any).unwrap(), r#"{"@type":"t/acme.Frame","map":{"a":7}}"#);
    let broken = [
        vec![],
        vec![key.clone()],
        vec![value.clone(), key.clone()],
        vec![field("key", 1, Type::Double), value.clone()],
        vec![of_type("key", 1, Type::Message, ".acme.Frame"), value.clone()],
        vec![key.clone(), FieldDescriptorProto { label: Some(Label::Repeated.into()), ..value.clone() }],
        vec![key, value, field("more", 3, Type::Bool)],
    ];
    for fields in broken {
        let Err(TypesError::Invalid(invalid)) = with(entry(fields.clone())) else { panic!("{fields:?}") };
        assert!(invalid.to_string().contains(r#""MapEntry" is the entry of a map"#), "{invalid}");
    }
}

#[test]
fn positions_are_left_out_and_options_are_kept() {
    let plain = frame(vec![field("a", 1, Type::String)]);
    let with_positions = FileDescriptorProto { source_code_info: Some(SourceCodeInfo::default()), ..plain.clone() };
    let mut bytes = with_positions.encode_to_vec();
    // A member that nobody knows here, as the options of another compiler.
    bytes.extend([0xfa, 0x3f, 1, 7]);
    let read = set::File::read(&bytes, "f").unwrap();
    assert_eq!(*read.bytes, [plain.encode_to_vec().as_slice(), &[0xfa, 0x3f, 1, 7]].concat());
}

#[test]
fn messages_are_named_in_full_without_the_entries_of_maps() {
    let options = Some(MessageOptions { map_entry: Some(true), ..Default::default() });
    let inner = DescriptorProto { nested_type: vec![message("Deep", vec![])], ..message("Inner", vec![]) };
    let entry = DescriptorProto { options, ..message("XEntry", vec![]) };
    let outer = DescriptorProto { nested_type: vec![inner, entry], ..message("Outer", vec![]) };
    let names = message_names(&file("f", vec![outer, message("A", vec![])]));
    assert_eq!(names, ["acme.A", "acme.Outer", "acme.Outer.Inner", "acme.Outer.Inner.Deep"]);
    let bare = FileDescriptorProto { package: None, ..file("f", vec![message("A", vec![])]) };
    assert_eq!(message_names(&bare), ["A"]);
}

fn over(error: Result<Types, TypesError>, unit: &str) -> (u64, u64) {
    match error.map(drop) {
        Err(TypesError::Invalid(invalid)) => match invalid.problem {
            Problem::TooLarge { size, limit, unit: found } if found.starts_with(unit) => (size, limit),
            problem => panic!("{problem:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn there_are_a_thousand_files_at_most() {
    let files = |n: usize| (0..n).map(|n| file(&format!("{n}.proto"), vec![])).collect::<Vec<_>>();
    let types = add(&Types::builtin(), files(TYPE_FILES_MAX)).unwrap();
    assert_eq!(over(add(&types, vec![frame(vec![])]), "files"), (1_001, 1_000));
    assert_eq!(over(add(&Types::builtin(), files(TYPE_FILES_MAX + 1)), "files"), (1_001, 1_000));
    assert!(add(&types, files(1)).is_ok(), "what is known counts once");
}

#[test]
fn a_file_name_has_256_characters_at_most() {
    let named = |characters| add(&Types::builtin(), vec![file(&"ж".repeat(characters), vec![])]);
    assert!(named(TYPE_FILE_NAME_CHARS_MAX).is_ok());
    assert_eq!(over(named(TYPE_FILE_NAME_CHARS_MAX + 1), "characters"), (257, 256));
}

/// A file of `bytes` with the name of its message.
fn large(name: &str, message_name: &str, bytes: usize) -> FileDescriptorProto {
    let with = |padding: usize| {
        let filled = DescriptorProto { reserved_name: vec!["x".repeat(padding)], ..message(message_name, vec![]) };
        file(name, vec![filled])
    };
    let names = "acme.".len() + message_name.len();
    let framing = with(bytes / 2).encoded_len() - bytes / 2 + names;
    with(bytes - framing)
}

#[test]
fn a_file_has_a_mebibyte_at_most_with_the_names_of_its_messages() {
    let of = |bytes| add(&Types::builtin(), vec![large("large.proto", "Large", bytes)]);
    assert!(of(TYPE_FILE_BYTES_MAX).is_ok());
    assert_eq!(over(of(TYPE_FILE_BYTES_MAX + 1), "bytes"), (1 << 20 | 1, 1 << 20));
    let mut deep = message("M", vec![]);
    for _ in 0..90 {
        deep = DescriptorProto { nested_type: vec![deep], ..message(&"N".repeat(255), vec![]) };
    }
    let (size, _) = over(add(&Types::builtin(), vec![file("deep.proto", vec![deep])]), "bytes");
    assert!(size > 1 << 20, "few bytes can have long names");
}

#[test]
fn all_files_have_sixteen_mebibytes_at_most() {
    let full = || {
        (0..16).map(|n| {
            let name = format!("M{n:02}");
            // Names of messages count for a file alone.
            let mut file = large(&format!("{n:02}.proto"), &name, TYPE_FILE_BYTES_MAX);
            file.dependency = vec![];
            file
        })
    };
    let bytes: usize = full().map(|file| file.encoded_len()).sum();
    let types = add(&Types::builtin(), full().collect()).unwrap();
    let rest = |bytes| vec![large("rest.proto", "Rest", bytes + "acme.Rest".len())];
    assert!(add(&types, rest(TYPE_BYTES_MAX - bytes)).is_ok());
    assert_eq!(over(add(&types, rest(TYPE_BYTES_MAX - bytes + 1)), "bytes"), ((16 << 20) + 1, 16 << 20));
}

#[test]
fn built_in_files_are_told_by_name() {
    assert!(merge::is_builtin("google/protobuf/any.proto"));
    assert!(merge::is_builtin("operond/v1/types.proto"));
    assert!(!merge::is_builtin("frame.proto"));
}

#[test]
fn a_member_cannot_be_called_in_json_what_json_has_for_itself() {
    for name in ["", "@type", "[a.b]"] {
        let spoof = FieldDescriptorProto { json_name: Some(name.into()), ..field("x", 1, Type::Int32) };
        let nested = DescriptorProto { nested_type: vec![message("N", vec![spoof])], ..message("M", Vec::new()) };
        let problem = refused(vec![file("a.proto", vec![nested])]);
        assert!(problem.contains("cannot be"), "{problem}");
    }
}
