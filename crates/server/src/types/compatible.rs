//! Whether what was written by an older version of a type is read right by a newer one.

use std::collections::HashMap;

use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
};

use super::Conflict;
use crate::error::quote;

/// Refuses when something in the file `old` has another meaning among the types of `new`. What is not there any
/// more is no conflict: nothing is read wrong by it.
pub(super) fn check(old: &FileDescriptor, new: &DescriptorPool) -> Result<(), Conflict> {
    old.messages().try_for_each(|message| check_message(&message, new))?;
    old.enums().try_for_each(|old| check_enum(&old, new))
}

fn check_message(old: &MessageDescriptor, pool: &DescriptorPool) -> Result<(), Conflict> {
    if let Some(new) = pool.get_message_by_name(old.full_name()) {
        old.fields().try_for_each(|field| check_field(&field, &new))?;
    }
    old.child_messages().try_for_each(|message| check_message(&message, pool))?;
    old.child_enums().try_for_each(|old| check_enum(&old, pool))
}

fn check_field(old: &FieldDescriptor, message: &MessageDescriptor) -> Result<(), Conflict> {
    let conflict = |problem| Err(Conflict::new(old.full_name(), message.parent_file().name(), problem));
    let number = old.number();
    if let Some(new) = message.get_field_by_name(old.name())
        && new.number() != number
    {
        return conflict(format!("had the number {number}, and has {}", new.number()));
    }
    let Some(new) = message.get_field(number) else { return Ok(()) };
    if new.name() != old.name() {
        return conflict(format!("with the number {number} is called {} now", quote(new.name())));
    }
    let (was, is) = (type_of(old), type_of(&new));
    if was != is {
        return conflict(format!("was {was}, and is {is}"));
    }
    Ok(())
}

/// Its type and whether there can be many of it, in words.
fn type_of(field: &FieldDescriptor) -> String {
    let name = match field.kind() {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(r#enum) => r#enum.full_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    };
    if field.cardinality() == Cardinality::Repeated { format!("repeated {name}") } else { name }
}

fn check_enum(old: &EnumDescriptor, pool: &DescriptorPool) -> Result<(), Conflict> {
    let Some(new) = pool.get_enum_by_name(old.full_name()) else { return Ok(()) };
    let numbers: HashMap<String, i32> = new.values().map(|value| (value.name().to_owned(), value.number())).collect();
    for value in old.values() {
        let number = value.number();
        // Of several names of one number, some may go.
        let kept = || old.values().any(|twin| twin.number() == number && numbers.get(twin.name()) == Some(&number));
        let problem = match numbers.get(value.name()) {
            Some(other) if *other != number => Some(format!("had the number {number}, and has {other}")),
            Some(_) => None,
            None if kept() => None,
            None => {
                new.get_value(number).map(|new| format!("with the number {number} is called {} now", quote(new.name())))
            }
        };
        if let Some(problem) = problem {
            let symbol = format!("{}.{}", old.full_name(), value.name());
            return Err(Conflict::new(&symbol, new.parent_file().name(), problem));
        }
    }
    Ok(())
}
