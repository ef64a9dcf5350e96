//! A small binary form for what stores keep in one column: errors, labels, events, fingerprints.
//!
//! The first byte is the version of the form; then come counts and lengths as variable-length
//! integers, and texts and bytes as they are. Reading is total: bytes that are cut, damaged or of
//! a newer version are an error, never a panic, and never make it reserve more than they hold.

use std::fmt;
use std::sync::Arc;

use operond_core::{
    Any, Event, EventKind, Fingerprint, IdempotencyKey, Kind, Labels, OperationId, Status, Tenant, Timestamp,
};

use crate::{Bookmark, Collection, News};

/// Something that has a packed form.
pub trait Packed: Sized {
    /// Its packed form, of the newest version.
    fn pack(&self) -> Vec<u8>;

    /// Reads what [`Packed::pack`] wrote, of this version or an earlier one.
    fn unpack(bytes: &[u8]) -> Result<Self, Damaged>;
}

/// Packed bytes that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damaged {
    /// They end too early, or a length in them is wrong.
    Cut,
    /// Something follows the end.
    Overlong,
    /// They are of a version that this program does not know.
    Version(u8),
    /// A value that cannot be there.
    Value(&'static str),
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("the packed bytes end too early"),
            Self::Overlong => f.write_str("something follows the packed bytes"),
            Self::Version(version) => write!(f, "the packed bytes are of version {version}, known is {VERSION}"),
            Self::Value(what) => write!(f, "the packed bytes hold an impossible {what}"),
        }
    }
}

impl std::error::Error for Damaged {}

impl Packed for Status {
    fn pack(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.signed(i64::from(self.code));
        out.text(&self.message);
        out.count(self.details.len());
        for detail in self.details.iter() {
            out.text(&detail.type_url);
            out.bytes(&detail.value);
        }
        out.0
    }

    fn unpack(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut from = Reader::new(bytes)?;
        let code = i32::try_from(from.signed()?).map_err(|_| Damaged::Value("code"))?;
        let message = from.text()?.into();
        let details = from.many(|from| Ok(Any::new(from.text()?, from.bytes()?)))?;
        from.end(Self { code, message, details: details.into() })
    }
}

impl Packed for Labels {
    fn pack(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.count(self.iter().len());
        for (key, value) in self.iter() {
            out.text(key);
            out.text(value);
        }
        out.0
    }

    fn unpack(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut from = Reader::new(bytes)?;
        let pairs = from.many(|from| Ok((from.text()?, from.text()?)))?;
        from.end(Self::parse(pairs).map_err(|_| Damaged::Value("label"))?)
    }
}

impl Packed for Vec<Event> {
    fn pack(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.count(self.len());
        let mut previous = 0_i64;
        for event in self {
            // Neighbours are close in time: their distance takes half the bytes of the instant.
            out.signed(event.at.micros().wrapping_sub(previous));
            previous = event.at.micros();
            out.0.push(event.what.code());
            out.text(&event.by);
        }
        out.0
    }

    fn unpack(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut from = Reader::new(bytes)?;
        let mut previous = 0_i64;
        let events = from.many(|from| {
            previous = previous.wrapping_add(from.signed()?);
            let [code] = from.array()?;
            let what = EventKind::from_code(code).ok_or(Damaged::Value("event"))?;
            Ok(Event { at: Timestamp::from_micros(previous), what, by: Arc::from(from.text()?) })
        })?;
        from.end(events)
    }
}

impl Packed for News {
    fn pack(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.count(self.operations.len());
        self.operations.iter().for_each(|id| out.text(id.as_str()));
        out.count(self.claimable.len());
        self.claimable.iter().for_each(|kind| out.text(kind.as_str()));
        out.count(self.documents.len());
        out.0.extend(self.documents.iter().map(|collection| collection.code()));
        out.0.push(u8::from(self.missed));
        out.0
    }

    fn unpack(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut from = Reader::new(bytes)?;
        let id = |from: &mut Reader<'_>| OperationId::parse("id", from.text()?).map_err(|_| Damaged::Value("id"));
        let operations = from.many(id)?;
        let claimable = from.many(|from| Kind::new(from.text()?).map_err(|_| Damaged::Value("kind")))?;
        let documents = from.many(|from| {
            let [code] = from.array()?;
            Collection::from_code(code).ok_or(Damaged::Value("collection"))
        })?;
        let [missed] = from.array()?;
        from.end(Self { operations, claimable, documents, missed: missed != 0 })
    }
}

impl Packed for Fingerprint {
    fn pack(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.count(self.0.len());
        for hash in &self.0 {
            out.0.extend_from_slice(&hash.to_le_bytes());
        }
        out.0
    }

    fn unpack(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut from = Reader::new(bytes)?;
        let hashes = from.many(|from| from.array().map(u64::from_le_bytes))?;
        from.end(Self(hashes))
    }
}

impl Packed for Bookmark {
    fn pack(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Self::Operations(behind) => {
                out.tag(1);
                out.texts(behind.as_ref().map(|id| [id.as_str()]));
            }
            Self::Tombstones(behind) => {
                out.tag(2);
                out.texts(behind.as_ref().map(|id| [id.as_str()]));
            }
            Self::Keys(behind) => {
                out.tag(3);
                out.texts(behind.as_ref().map(|(tenant, key)| [tenant.as_str(), key.as_str()]));
            }
            Self::Documents(behind) => {
                out.tag(4);
                out.texts(behind.as_ref().map(|(_, name)| [&**name]));
                out.0.extend(behind.as_ref().map(|(collection, _)| collection.code()));
            }
        }
        out.0
    }

    fn unpack(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut from = Reader::new(bytes)?;
        let [table] = from.array()?;
        let texts = from.many(Reader::text)?;
        let id = |text| OperationId::parse("id", text).map_err(|_| Damaged::Value("id"));
        let place = match (table, &texts[..]) {
            (1, []) => Self::Operations(None),
            (1, [text]) => Self::Operations(Some(id(text)?)),
            (2, []) => Self::Tombstones(None),
            (2, [text]) => Self::Tombstones(Some(id(text)?)),
            (3, []) => Self::Keys(None),
            (3, [tenant, key]) => {
                let tenant = Tenant::parse("tenant", tenant).map_err(|_| Damaged::Value("tenant"))?;
                let key = IdempotencyKey::parse("key", key).map_err(|_| Damaged::Value("key"))?;
                Self::Keys(Some((tenant, key)))
            }
            (4, []) => Self::Documents(None),
            (4, [name]) => {
                let [code] = from.array()?;
                let collection = Collection::from_code(code).ok_or(Damaged::Value("collection"))?;
                Self::Documents(Some((collection, Arc::from(*name))))
            }
            _ => return Err(Damaged::Value("table")),
        };
        from.end(place)
    }
}

/// Writes a packed form.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(vec![VERSION])
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// One byte that says what follows.
    pub(crate) fn tag(&mut self, tag: u8) {
        self.0.push(tag);
    }

    /// A count and as many texts.
    fn texts<const N: usize>(&mut self, texts: Option<[&str; N]>) {
        self.count(texts.map_or(0, |texts| texts.len()));
        texts.into_iter().flatten().for_each(|text| self.text(text));
    }

    /// Seven bits a byte, the lowest first; the highest bit says that more follow.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    /// The sign goes into the lowest bit, so that small negative numbers stay short.
    pub(crate) fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
}

/// What is still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Damaged> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => Ok(Self(rest)),
            Some((&version, _)) => Err(Damaged::Version(version)),
            None => Err(Damaged::Cut),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damaged::Cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Damaged::Cut)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u64, Damaged> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damaged::Value("number"))
    }

    fn signed(&mut self) -> Result<i64, Damaged> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
    }

    fn count(&mut self) -> Result<usize, Damaged> {
        usize::try_from(self.number()?).map_err(|_| Damaged::Cut)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.count()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'a str, Damaged> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Damaged::Value("text"))
    }

    /// A count and as many items. Each takes a byte at least, which bounds what is reserved.
    fn many<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T, Damaged>) -> Result<Vec<T>, Damaged> {
        let count = self.count()?;
        if count > self.0.len() {
            return Err(Damaged::Cut);
        }
        (0..count).map(|_| item(self)).collect()
    }

    fn end<T>(&self, value: T) -> Result<T, Damaged> {
        if self.0.is_empty() { Ok(value) } else { Err(Damaged::Overlong) }
    }
}

/// The newest form. A change to a form takes the next number, and `unpack` keeps reading the old one.
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator of test values; the same seed gives the same ones.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        fn below(&mut self, end: usize) -> usize {
            usize::try_from(self.roll() % end as u64).unwrap()
        }

        fn bytes(&mut self, longest: usize) -> Vec<u8> {
            (0..self.below(longest + 1)).map(|_| self.roll().to_le_bytes()[0]).collect()
        }

        fn text(&mut self, longest: usize) -> String {
            let letters = ['a', 'ж', '\u{1f600}', '\n', '/'];
            (0..self.below(longest + 1)).map(|_| letters[self.below(letters.len())]).collect()
        }

        /// Small and huge numbers alike.
        fn number(&mut self) -> i64 {
            let shift = self.below(64);
            (self.roll() >> shift).cast_signed().wrapping_sub(1)
        }

        fn status(&mut self) -> Status {
            let details: Vec<Any> =
                (0..self.below(4)).map(|_| Any::new(self.text(9), self.bytes(200).as_slice())).collect();
            let code = i32::try_from(self.below(17)).unwrap() - 1;
            Status { code, message: self.text(300).into(), details: details.into() }
        }

        fn labels(&mut self) -> Labels {
            let pairs: Vec<_> = (0..self.below(33)).map(|n| (format!("{n}{}", self.text(9)), self.text(255))).collect();
            Labels::parse(pairs).unwrap()
        }

        fn events(&mut self) -> Vec<Event> {
            let event = |dice: &mut Self| Event {
                at: Timestamp::from_micros(dice.number()),
                what: EventKind::ALL[dice.below(EventKind::ALL.len())],
                by: dice.text(20).into(),
            };
            (0..self.below(17)).map(|_| event(self)).collect()
        }

        fn fingerprint(&mut self) -> Fingerprint {
            Fingerprint((0..self.below(16)).map(|_| self.roll()).collect())
        }
    }

    fn reads_back<T: Packed + PartialEq + fmt::Debug>(value: &T) {
        assert_eq!(T::unpack(&value.pack()).as_ref(), Ok(value));
    }

    /// Whatever happens to the bytes, reading ends, and what it accepts is a value like any other.
    fn survives_damage<T: Packed + PartialEq + fmt::Debug>(value: &T, dice: &mut Dice) {
        let good = value.pack();
        for length in 0..good.len() {
            assert!(T::unpack(&good[..length]).is_err(), "{value:?} cut to {length} bytes");
        }
        assert_eq!(T::unpack(&[good.as_slice(), &[0]].concat()), Err(Damaged::Overlong));
        assert_eq!(T::unpack(&[&[VERSION + 1], &good[1..]].concat()), Err(Damaged::Version(VERSION + 1)));
        for _ in 0..200 {
            let mut bad = good.clone();
            for _ in 0..=dice.below(3) {
                let place = dice.below(bad.len());
                bad[place] = dice.roll().to_le_bytes()[0];
            }
            if let Ok(other) = T::unpack(&bad) {
                reads_back(&other);
            }
        }
    }

    #[test]
    fn what_was_packed_reads_back() {
        let mut dice = Dice(1);
        for _ in 0..500 {
            reads_back(&dice.status());
            reads_back(&dice.labels());
            reads_back(&dice.events());
            reads_back(&dice.fingerprint());
        }
    }

    #[test]
    fn every_place_in_a_store_reads_back() {
        let id = || OperationId::generate(1, [1; 13]);
        let key = || (Tenant::parse("tenant", "t").unwrap(), IdempotencyKey::parse("key", "k").unwrap());
        for place in [
            Bookmark::Operations(Some(id())),
            Bookmark::Tombstones(Some(id())),
            Bookmark::Keys(Some(key())),
            Bookmark::Documents(Some((Collection::Kinds, "".into()))),
        ] {
            survives_damage(&place, &mut Dice(3));
            reads_back(&place);
        }
        std::iter::successors(Some(Bookmark::START), Bookmark::next_table).for_each(|place| reads_back(&place));
    }

    #[test]
    fn instants_at_the_ends_of_time_read_back() {
        let event = |at| Event { at: Timestamp::from_micros(at), what: EventKind::Created, by: "".into() };
        reads_back(&vec![event(i64::MAX), event(i64::MIN), event(0), event(-1), event(i64::MAX)]);
    }

    #[test]
    fn damaged_bytes_are_an_error_or_another_value_and_never_a_panic() {
        let mut dice = Dice(2);
        for _ in 0..20 {
            survives_damage(&dice.status(), &mut Dice(dice.0));
            survives_damage(&dice.labels(), &mut Dice(dice.0));
            survives_damage(&dice.events(), &mut Dice(dice.0));
            survives_damage(&dice.fingerprint(), &mut Dice(dice.0));
        }
    }

    #[test]
    fn a_count_beyond_the_bytes_reserves_nothing() {
        let mut out = Writer::new();
        out.number(u64::MAX);
        assert_eq!(Fingerprint::unpack(&out.0), Err(Damaged::Cut));
        assert_eq!(Labels::unpack(&out.0), Err(Damaged::Cut));
    }

    #[test]
    fn numbers_past_64_bits_and_unknown_events_are_refused() {
        let too_long = [&[VERSION][..], &[0xff; 9], &[0x02]].concat();
        assert_eq!(Fingerprint::unpack(&too_long), Err(Damaged::Value("number")));
        assert_eq!(Vec::<Event>::unpack(&[VERSION, 1, 0, 200, 0]), Err(Damaged::Value("event")));
    }
}
