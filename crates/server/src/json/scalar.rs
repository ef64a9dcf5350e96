//! Members that are not messages, both ways.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use prost_reflect::{EnumDescriptor, Kind, MapKey, Value};
use serde_json::Number;

use super::parse::mismatch;
use super::read::Node;
use super::{Error, quoted};

/// Parses a value of any kind but a message.
pub(super) fn parse(kind: &Kind, node: Node) -> Result<Value, Error> {
    Ok(match kind {
        Kind::Double => Value::F64(float(node, "a number")?),
        Kind::Float => Value::F32(single(node)?),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(integer(node)?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(integer(node)?),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(integer(node)?),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(integer(node)?),
        Kind::Bool => match node {
            Node::Bool(value) => Value::Bool(value),
            node => return Err(mismatch("true or false", &node)),
        },
        Kind::String => match node {
            Node::String(text) => Value::String(text),
            node => return Err(mismatch("a string", &node)),
        },
        Kind::Bytes => Value::Bytes(bytes(node)?.into()),
        Kind::Enum(descriptor) => Value::EnumNumber(enum_number(descriptor, node)?),
        Kind::Message(descriptor) => {
            unreachable!("{} is parsed as a message", descriptor.full_name())
        }
    })
}

/// Parses the name of a member as the key of a map.
pub(super) fn map_key(kind: &Kind, name: &str) -> Result<MapKey, Error> {
    let node = match (kind, name) {
        (Kind::Bool, "true") => Node::Bool(true),
        (Kind::Bool, "false") => Node::Bool(false),
        _ => Node::String(name.into()),
    };
    let key = parse(kind, node)?.into_map_key();
    Ok(key.expect("protobuf allows only such kinds as map keys"))
}

/// Bytes in base64: standard or URL-safe, padded or not.
pub(super) fn bytes(node: Node) -> Result<Vec<u8>, Error> {
    const EXPECTED: &str = "bytes in base64";
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const PLAIN: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

    let Node::String(text) = node else {
        return Err(mismatch(EXPECTED, &node));
    };
    let decoded = PLAIN.decode(&text).or_else(|_| URL_SAFE.decode(&text));
    decoded.map_err(|error| Error::new(format!("expected {EXPECTED}: {error}")))
}

/// Whether null is a value of this kind, and not the absence of one.
pub(super) fn takes_null(kind: &Kind) -> bool {
    match kind {
        Kind::Message(descriptor) => descriptor.full_name() == "google.protobuf.Value",
        Kind::Enum(descriptor) => descriptor.full_name() == NULL_ENUM,
        _ => false,
    }
}

/// Prints a value of any kind but a message.
pub(super) fn print(out: &mut Vec<u8>, kind: &Kind, value: &Value) {
    match (value, kind) {
        (Value::Bool(value), _) => json(out, value),
        (Value::I32(value), _) => json(out, value),
        (Value::U32(value), _) => json(out, value),
        (Value::I64(value), _) => json(out, &value.to_string()),
        (Value::U64(value), _) => json(out, &value.to_string()),
        (Value::F32(value), _) if value.is_finite() && value.fract() != 0.0 => json(out, value),
        (Value::F32(value), _) => print_float(out, f64::from(*value)),
        (Value::F64(value), _) => print_float(out, *value),
        (Value::String(text), _) => json(out, text),
        (Value::Bytes(bytes), _) => json(out, &STANDARD.encode(bytes)),
        (Value::EnumNumber(_), Kind::Enum(descriptor)) if descriptor.full_name() == NULL_ENUM => json(out, &()),
        (Value::EnumNumber(number), Kind::Enum(descriptor)) => match descriptor.get_value(*number) {
            Some(known) => json(out, known.name()),
            None => json(out, number),
        },
        (Value::EnumNumber(_) | Value::Message(_) | Value::List(_) | Value::Map(_), kind) => {
            unreachable!("{kind:?} is not printed as a scalar")
        }
    }
}

/// Prints a map key as the name of a member.
pub(super) fn print_map_key(out: &mut Vec<u8>, key: &MapKey) {
    match key {
        MapKey::Bool(key) => json(out, &key.to_string()),
        MapKey::I32(key) => json(out, &key.to_string()),
        MapKey::I64(key) => json(out, &key.to_string()),
        MapKey::U32(key) => json(out, &key.to_string()),
        MapKey::U64(key) => json(out, &key.to_string()),
        MapKey::String(key) => json(out, key),
    }
}

/// Prints whole numbers without a fraction, as people wrote them: programs that get `3.0` for the
/// `3` somebody sent may fail on it.
pub(super) fn print_float(out: &mut Vec<u8>, value: f64) {
    /// Up to here every whole number has its own float.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let negative_zero = value == 0.0 && value.is_sign_negative();
    if value.is_nan() {
        json(out, "NaN");
    } else if value.is_infinite() {
        json(out, if value > 0.0 { "Infinity" } else { "-Infinity" });
    } else if value.fract() == 0.0 && value.abs() <= EXACT_MAX && !negative_zero {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within ±2^53")]
        json(out, &(value as i64));
    } else {
        json(out, &value);
    }
}

/// Appends the JSON of something that always has one.
pub(super) fn json(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("scalars have JSON and memory takes it");
}

fn integer<T: TryFrom<i128> + Bounded>(node: Node) -> Result<T, Error> {
    let expected = || format!("a whole number from {} to {}", T::MIN, T::MAX);
    let number = number(node, &expected())?;
    whole(&number)
        .and_then(|whole| T::try_from(whole).ok())
        .ok_or_else(|| Error::new(format!("expected {}, got {number}", expected())))
}

fn whole(number: &Number) -> Option<i128> {
    if let Some(whole) = number.as_i128() {
        return Some(whole);
    }
    let float = number.as_f64()?;
    // Whatever the saturating cast makes of larger ones is out of every range, too.
    #[expect(clippy::cast_possible_truncation, reason = "whole; saturates")]
    (float.fract() == 0.0).then_some(float as i128)
}

fn single(node: Node) -> Result<f32, Error> {
    const EXPECTED: &str = "a number in the range of 32-bit floats";
    let wide = float(node, EXPECTED)?;
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what a float is for")]
    let value = wide as f32;
    if value.is_infinite() && wide.is_finite() {
        return Err(Error::new(format!("expected {EXPECTED}")));
    }
    Ok(value)
}

fn float(node: Node, expected: &str) -> Result<f64, Error> {
    if let Node::String(text) = &node {
        match &**text {
            "NaN" => return Ok(f64::NAN),
            "Infinity" => return Ok(f64::INFINITY),
            "-Infinity" => return Ok(f64::NEG_INFINITY),
            _ => {}
        }
    }
    let number = number(node, expected)?;
    Ok(number.as_f64().expect("every JSON number read here is finite"))
}

/// A number, or the text of one.
fn number(node: Node, expected: &str) -> Result<Number, Error> {
    match node {
        Node::Number(number) => Ok(number),
        Node::String(text) => {
            text.parse().map_err(|_| Error::new(format!("expected {expected}, got {}", quoted(&text))))
        }
        node => Err(mismatch(expected, &node)),
    }
}

fn enum_number(descriptor: &EnumDescriptor, node: Node) -> Result<i32, Error> {
    match node {
        Node::Null if descriptor.full_name() == NULL_ENUM => Ok(0),
        Node::String(name) => match descriptor.get_value_by_name(&name) {
            Some(value) => Ok(value.number()),
            None => {
                let names: Vec<_> =
                    descriptor.values().take(ENUM_NAMES_MAX).map(|value| value.name().to_owned()).collect();
                let problem = format!("expected one of {}, got {}", names.join(", "), quoted(&name));
                Err(Error::new(problem))
            }
        },
        node => integer(node),
    }
}

/// The integers of protobuf.
trait Bounded: std::fmt::Display {
    const MIN: Self;
    const MAX: Self;
}

macro_rules! bounded {
    ($($integer:ty),*) => {$(
        impl Bounded for $integer {
            const MIN: Self = <$integer>::MIN;
            const MAX: Self = <$integer>::MAX;
        }
    )*};
}

bounded!(i32, i64, u32, u64);

/// How many names of an enum an error message lists.
const ENUM_NAMES_MAX: usize = 20;
pub(super) const NULL_ENUM: &str = "google.protobuf.NullValue";
