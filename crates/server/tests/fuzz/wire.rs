//! Protocol buffers as bytes: made up after a descriptor, and changed where fields begin and end.

use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::mutate;
use crate::random::Random;

/// A message of this type with some of its fields; texts are most often among `words`.
pub(crate) fn made_up(random: &mut Random, message: &MessageDescriptor, words: &[String], depth: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for field in message.fields() {
        let times = if field.is_list() || field.is_map() { random.below(4) } else { random.below(2) };
        for _ in 0..times {
            push_field(random, &mut out, &field, words, depth);
        }
    }
    out
}

/// One change to a message, somewhere in its tree of fields.
pub(crate) fn mutate(random: &mut Random, message: &mut Vec<u8>, other: &[u8]) {
    let fields = fields(message);
    if fields.is_empty() || random.one_in(5) {
        return mutate::bytes(random, message, other);
    }
    let Field { start, value, end, number, wire } = *random.pick(&fields);
    if wire == 2 && random.one_in(2) {
        let mut inner = message[value..end].to_vec();
        if random.one_in(8) {
            mutate::bytes(random, &mut inner, other);
        } else {
            mutate(random, &mut inner, other);
        }
        return replace(message, (start, end), number, &inner);
    }
    if random.one_in(2_000) {
        // About as large as a payload may be, so that a page of them is too large.
        let size = (1 << 20) - random.below(64);
        return replace(message, (start, end), number, &vec![b'a'; size]);
    }
    match random.below(8) {
        0 => drop(message.drain(start..end)),
        1 => message.extend_from_within(start..end),
        2 => message[start] ^= 1 << random.below(3),
        3 => {
            let key = key(*random.pick(&[0, 1, 2, 19_000, (1 << 29) - 1]), random.below(8));
            message.splice(start..value, key);
        }
        4 => {
            let length = *random.pick(&[0, 1, 0x7f, 4 << 20, u64::from(u32::MAX), u64::MAX]);
            let head = [key(number, 2), varint(length)].concat();
            message.splice(start..value, head);
        }
        5 => {
            let depth = random.length(2_000);
            let inner = nested(random, depth);
            replace(message, (start, end), number, &inner);
        }
        6 => {
            let value = *random.pick(&[0, 1, u64::MAX, 1 << 31, i64::MAX.cast_unsigned(), i64::MIN.cast_unsigned()]);
            message.splice(start..end, [key(number, 0), varint(value)].concat());
        }
        _ => {
            // Groups: begun, and not always ended.
            let depth = random.length(500);
            let begin = key(number, 3).repeat(depth);
            let ends = key(number, 4).repeat(random.below(depth + 2));
            message.splice(start..end, [begin, ends].concat());
        }
    }
}

pub(crate) fn varint(value: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(10);
    encode_varint(value, &mut out);
    out
}

fn push_field(random: &mut Random, out: &mut Vec<u8>, field: &FieldDescriptor, words: &[String], depth: usize) {
    let number = field.number();
    match field.kind() {
        Kind::Message(_) if depth == 0 => {}
        Kind::Message(message) => {
            let inner = made_up(random, &message, words, depth - 1);
            push_bytes(out, number, &inner);
        }
        Kind::String | Kind::Bytes if random.one_in(8) => push_bytes(out, number, mutate::word(random).as_bytes()),
        Kind::String | Kind::Bytes => push_bytes(out, number, random.pick(words).as_bytes()),
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => {
            encode_key(number, WireType::SixtyFourBit, out);
            out.extend(random.next().to_le_bytes());
        }
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => {
            encode_key(number, WireType::ThirtyTwoBit, out);
            out.extend(random.bytes(4));
        }
        _ => {
            encode_key(number, WireType::Varint, out);
            let any = random.next() >> random.below(64);
            encode_varint(*random.pick(&[0, 1, 2, 3, any, u64::MAX]), out);
        }
    }
}

fn push_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend(bytes);
}

fn replace(message: &mut Vec<u8>, (start, end): (usize, usize), number: u32, inner: &[u8]) {
    let mut field = Vec::with_capacity(inner.len() + 12);
    push_bytes(&mut field, number, inner);
    message.splice(start..end, field);
}

/// A Struct, ListValue or Any in another, many times: the outermost first.
fn nested(random: &mut Random, depth: usize) -> Vec<u8> {
    let layers: &[&[u32]] = &[&[1, 2, 5], &[1, 6], &[2], &[1]];
    let numbers = *random.pick(layers);
    let mut reversed = Vec::new();
    for level in 0..depth {
        let length = varint(reversed.len() as u64);
        reversed.extend(length.iter().rev());
        reversed.extend(key(numbers[level % numbers.len()], 2).iter().rev());
    }
    reversed.reverse();
    reversed
}

fn key(number: u32, wire: usize) -> Vec<u8> {
    varint(u64::from(number) << 3 | wire as u64)
}

#[derive(Clone, Copy)]
struct Field {
    start: usize,
    /// Where its value begins, behind the length.
    value: usize,
    end: usize,
    number: u32,
    wire: u64,
}

/// The fields of a message as far as they can be told apart.
fn fields(message: &[u8]) -> Vec<Field> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(field) = field_at(message, at) {
        at = field.end;
        found.push(field);
    }
    found
}

fn field_at(message: &[u8], start: usize) -> Option<Field> {
    let (key, mut value) = varint_at(message, start)?;
    let (number, wire) = (u32::try_from(key >> 3).ok().filter(|number| (1..1 << 29).contains(number))?, key & 7);
    let end = match wire {
        0 => varint_at(message, value)?.1,
        1 => value + 8,
        5 => value + 4,
        2 => {
            let (length, begin) = varint_at(message, value)?;
            value = begin;
            begin.checked_add(usize::try_from(length).ok()?)?
        }
        _ => return None,
    };
    (end <= message.len()).then_some(Field { start, value, end, number, wire })
}

fn varint_at(message: &[u8], start: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, byte) in message.get(start..)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(index).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, start + index + 1));
        }
    }
    None
}
