//! Values of filters, and what they mean beside a value of a payload, whose type decides.

use std::cmp::Ordering;

use super::Comparator;
use super::payloads::Value;
use super::text::{ANYTHING, TextTest};

/// A comparison with a value of a payload, read as every type that it could be of.
#[derive(Clone, Debug)]
pub(super) struct Literal {
    comparator: Comparator,
    word: Box<str>,
    text: TextTest,
    number: Option<Number>,
    instant: Option<i128>,
    duration: Option<i128>,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Whole(i128),
    Fraction(f64),
}

impl Literal {
    pub(super) fn new(comparator: Comparator, word: &str) -> Self {
        Self {
            comparator,
            word: word.into(),
            text: TextTest::new(comparator, word),
            number: Number::parse(word),
            instant: instant(word),
            duration: duration(word),
        }
    }

    pub(super) fn holds(&self, value: &Value) -> bool {
        let anything = self.comparator == Comparator::Has && &*self.word == ANYTHING;
        match value {
            Value::Text(text) => self.text.holds(text),
            _ if anything => true,
            Value::Bool(value) => self.accepts(boolean(&self.word), |literal| Some(value.cmp(&literal))),
            Value::Int(value) => self.number(Number::Whole((*value).into())),
            Value::Uint(value) => self.number(Number::Whole((*value).into())),
            Value::Float(value) => self.number(Number::Fraction(*value)),
            Value::Enum { name, number } => self.enumerated(name, *number),
            Value::Instant(nanos) => self.accepts(self.instant, |literal| Some(nanos.cmp(&literal))),
            Value::Duration(nanos) => self.accepts(self.duration, |literal| Some(nanos.cmp(&literal))),
            Value::Present => false,
        }
    }

    fn number(&self, value: Number) -> bool {
        self.accepts(self.number, |literal| value.compare(literal))
    }

    /// Names are equal or not; numbers have an order, too.
    fn enumerated(&self, name: &str, number: i32) -> bool {
        if self.number.is_some() {
            return self.number(Number::Whole(number.into()));
        }
        match self.comparator {
            Comparator::Equal | Comparator::Has => name.eq_ignore_ascii_case(&self.word),
            Comparator::NotEqual => !name.eq_ignore_ascii_case(&self.word),
            Comparator::Less | Comparator::LessOrEqual | Comparator::Greater | Comparator::GreaterOrEqual => false,
        }
    }

    /// False where the literal is not of the type, or nothing compares with it (NaN).
    fn accepts<T>(&self, literal: Option<T>, compare: impl FnOnce(T) -> Option<Ordering>) -> bool {
        literal.and_then(compare).is_some_and(|ordering| self.comparator.accepts(ordering))
    }
}

impl Number {
    fn parse(word: &str) -> Option<Self> {
        if let Ok(whole) = word.parse() {
            return Some(Self::Whole(whole));
        }
        // Rust reads `inf` and `nan`, too.
        let fraction = word.parse().ok().filter(|fraction: &f64| fraction.is_finite());
        fraction.map(Self::Fraction)
    }

    /// Exact among whole numbers; else as floats compare.
    fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => Some(one.cmp(&other)),
            (one, other) => one.float().partial_cmp(&other.float()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "it is compared with a float, which has no more precision")]
    fn float(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Fraction(fraction) => fraction,
        }
    }
}

pub(super) fn boolean(word: &str) -> Option<bool> {
    match word {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// An instant with an offset (RFC 3339), in nanoseconds since the Unix epoch.
pub(super) fn instant(word: &str) -> Option<i128> {
    // Other spellings of ISO 8601 are read there, too; no face prints them.
    matches!(word.as_bytes().get(10), Some(b'T' | b't')).then_some(())?;
    Some(word.parse::<jiff::Timestamp>().ok()?.as_nanosecond())
}

/// Seconds as proto3 JSON has them, such as `1.5s`, in nanoseconds.
fn duration(word: &str) -> Option<i128> {
    let seconds = word.strip_suffix('s')?;
    let (negative, seconds) = seconds.strip_prefix('-').map_or((false, seconds), |seconds| (true, seconds));
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > NANO_DIGITS {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u32 = format!("{fraction:0<NANO_DIGITS$}").parse().ok()?;
    let nanos = i128::from(whole) * NANOS_PER_SECOND + i128::from(fraction);
    Some(if negative { -nanos } else { nanos })
}

const NANO_DIGITS: usize = 9;
const NANOS_PER_SECOND: i128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Comparator; 7] = [
        Comparator::Has,
        Comparator::Equal,
        Comparator::NotEqual,
        Comparator::Less,
        Comparator::LessOrEqual,
        Comparator::Greater,
        Comparator::GreaterOrEqual,
    ];

    /// The comparators that accept `value` beside `word`.
    fn accepted(value: &Value, word: &str) -> String {
        let accepted = ALL.into_iter().filter(|comparator| Literal::new(*comparator, word).holds(value));
        accepted.map(Comparator::as_str).collect::<Vec<_>>().join(" ")
    }

    const EQUAL: &str = ": = <= >=";
    const LESS: &str = "!= < <=";
    const GREATER: &str = "!= > >=";

    #[test]
    fn a_value_of_a_payload_is_compared_as_what_it_is() {
        let named = |name: &str, number| Value::Enum { name: name.into(), number };
        for (value, word, expected) in [
            (Value::Bool(true), "true", EQUAL),
            (Value::Bool(false), "true", LESS),
            (Value::Bool(true), "TRUE", ""),
            (Value::Int(-3), "-3", EQUAL),
            (Value::Int(3), "3.5", LESS),
            (Value::Int(i64::MAX), "9223372036854775806", GREATER),
            (Value::Uint(u64::MAX), "18446744073709551615", EQUAL),
            (Value::Float(2.5), "2", GREATER),
            (Value::Float(2.5), "2.5e0", EQUAL),
            (Value::Float(f64::NAN), "1", ""),
            (Value::Float(1.0), "nan", ""),
            (Value::Float(1.0), "inf", ""),
            (Value::Int(1), "one", ""),
            (Value::Text("b".into()), "b", EQUAL),
            (Value::Text("10".into()), "9", LESS),
            (named("RED", 2), "red", ": ="),
            (named("RED", 2), "BLUE", "!="),
            (named("RED", 2), "2", EQUAL),
            (named("RED", 2), "1", GREATER),
            (Value::Instant(1_500_000_000), "1970-01-01T00:00:01.5Z", EQUAL),
            (Value::Instant(0), "1970-01-01T02:00:00+02:00", EQUAL),
            (Value::Instant(0), "1970-01-01T00:00:00", ""),
            (Value::Instant(0), "1970-01-01 00:00:00Z", ""),
            (Value::Duration(1_500_000_000), "1.5s", EQUAL),
            (Value::Duration(-1), "-0.000000001s", EQUAL),
            (Value::Duration(0), "1s", LESS),
            (Value::Duration(0), "0.0000000001s", ""),
            (Value::Duration(0), "s", ""),
            (Value::Duration(0), "+1s", ""),
            (Value::Duration(0), "99999999999999999999s", ""),
            (Value::Present, "x", ""),
        ] {
            assert_eq!(accepted(&value, word), expected, "{value:?} {word}");
        }
    }

    #[test]
    fn anything_is_there_but_an_empty_text() {
        for value in [Value::Bool(false), Value::Int(0), Value::Instant(0), Value::Present, Value::Text("x".into())] {
            assert!(Literal::new(Comparator::Has, "*").holds(&value), "{value:?}");
        }
        assert!(!Literal::new(Comparator::Has, "*").holds(&Value::Text(String::new())));
        assert!(!Literal::new(Comparator::Equal, "*").holds(&Value::Present));
    }
}
