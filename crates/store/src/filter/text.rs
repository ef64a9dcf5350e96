//! Tests of texts.

use super::Comparator;

/// A test of a text that is there.
#[derive(Clone, Debug)]
pub(super) enum TextTest {
    Equal(Pattern),
    Different(Pattern),
    /// In lower case, as what it is looked for in.
    Contains(Box<str>),
    /// The same, at the start.
    Begins(Box<str>),
    NotEmpty,
    /// By Unicode scalar values, which is the order of bytes.
    Compares(Comparator, Box<str>),
}

/// A text, or what is left of one between a `*` at the start and one at the end.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    middle: Box<str>,
    open_start: bool,
    open_end: bool,
}

impl TextTest {
    pub(super) fn new(comparator: Comparator, value: &str) -> Self {
        match comparator {
            Comparator::Equal => Self::Equal(Pattern::new(value)),
            Comparator::NotEqual => Self::Different(Pattern::new(value)),
            Comparator::Has if value == ANYTHING => Self::NotEmpty,
            Comparator::Has => match value.strip_suffix('*') {
                Some(start) => Self::Begins(start.to_lowercase().into()),
                None => Self::Contains(value.to_lowercase().into()),
            },
            Comparator::Less | Comparator::LessOrEqual | Comparator::Greater | Comparator::GreaterOrEqual => {
                Self::Compares(comparator, value.into())
            }
        }
    }

    pub(super) fn holds(&self, text: &str) -> bool {
        match self {
            Self::Equal(pattern) => pattern.fits(text),
            Self::Different(pattern) => !pattern.fits(text),
            Self::Contains(part) => text.to_lowercase().contains(&**part),
            Self::Begins(start) => text.to_lowercase().starts_with(&**start),
            Self::NotEmpty => !text.is_empty(),
            Self::Compares(comparator, value) => comparator.accepts(text.cmp(value)),
        }
    }

    /// The one text that passes, if it is only one.
    pub(super) fn only(&self) -> Option<&str> {
        match self {
            Self::Equal(Pattern { middle, open_start: false, open_end: false }) => Some(middle),
            _ => None,
        }
    }
}

impl Pattern {
    fn new(value: &str) -> Self {
        let (open_start, rest) = value.strip_prefix('*').map_or((false, value), |rest| (true, rest));
        let (open_end, middle) = rest.strip_suffix('*').map_or((false, rest), |middle| (true, middle));
        Self { middle: middle.into(), open_start, open_end }
    }

    fn fits(&self, text: &str) -> bool {
        match (self.open_start, self.open_end) {
            (false, false) => text == &*self.middle,
            (false, true) => text.starts_with(&*self.middle),
            (true, false) => text.ends_with(&*self.middle),
            (true, true) => text.contains(&*self.middle),
        }
    }
}

/// The value that asks behind `:` whether anything is there.
pub(super) const ANYTHING: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(comparator: Comparator, value: &str, pass: &[&str], fail: &[&str]) {
        let test = TextTest::new(comparator, value);
        for text in pass {
            assert!(test.holds(text), "{comparator:?} {value:?} {text:?}");
        }
        for text in fail {
            assert!(!test.holds(text), "{comparator:?} {value:?} {text:?}");
        }
    }

    #[test]
    fn equal_is_exact_but_for_a_star_at_either_end() {
        check(Comparator::Equal, "ab", &["ab"], &["", "a", "abc", "AB", "*"]);
        check(Comparator::Equal, "ab*", &["ab", "abc"], &["a", "cab", "Ab"]);
        check(Comparator::Equal, "*ab", &["ab", "cab"], &["abc"]);
        check(Comparator::Equal, "*ab*", &["ab", "cab", "abc"], &["a b"]);
        check(Comparator::Equal, "a*b", &["a*b"], &["ab", "axb"]);
        check(Comparator::Equal, "*", &["", "a"], &[]);
        check(Comparator::Equal, "", &[""], &["a"]);
        check(Comparator::NotEqual, "ab*", &["a", "cab"], &["ab", "abc"]);
    }

    #[test]
    fn has_finds_a_part_or_a_start_in_either_case() {
        check(Comparator::Has, "Éa", &["éa", "xÉAx"], &["ea", "é a"]);
        check(Comparator::Has, "ab*", &["AB", "abc"], &["cab"]);
        check(Comparator::Has, "*", &["a", " "], &[""]);
        check(Comparator::Has, "", &["", "a"], &[]);
    }

    #[test]
    fn order_is_that_of_unicode_scalar_values() {
        check(Comparator::Less, "b", &["", "a", "azz", "B"], &["b", "c", "ж"]);
        check(Comparator::LessOrEqual, "b", &["b", "a"], &["ba"]);
        check(Comparator::Greater, "\u{ffff}", &["\u{10000}"], &["\u{ffff}", "z"]);
        check(Comparator::GreaterOrEqual, "b", &["b", "ba"], &["a"]);
    }

    #[test]
    fn only_a_text_without_stars_is_the_only_one() {
        assert_eq!(TextTest::new(Comparator::Equal, "a*b").only(), Some("a*b"));
        for (comparator, value) in [(Comparator::Equal, "a*"), (Comparator::NotEqual, "a"), (Comparator::Has, "a")] {
            assert_eq!(TextTest::new(comparator, value).only(), None);
        }
    }
}
