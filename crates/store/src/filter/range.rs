//! What indexes can do for a filter.

use std::ops::RangeInclusive;

use operond_core::{Operation, Scope, State, Timestamp};

use super::Comparator;
use super::expression::{Expression, InstantField, NANOS_PER_MICRO, Part, Test, TextField};

/// What every operation that a filter means has in common, as far as an index knows: where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Only of this tenant.
    pub tenant: Option<Box<str>>,
    /// Only of this kind.
    pub kind: Option<Box<str>>,
    /// Only in these states.
    pub states: States,
    /// Only created then.
    pub created_at: RangeInclusive<Timestamp>,
    /// All that is in the range is meant: nothing more is to be looked at.
    pub whole: bool,
}

/// Some of the states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(u8);

impl Range {
    /// Whether `operation` is in it.
    #[must_use]
    pub fn contains(&self, operation: &Operation) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| **tenant == *operation.spec.tenant.as_str())
            && self.kind.as_ref().is_none_or(|kind| **kind == *operation.spec.kind.as_str())
            && self.states.contains(operation.state())
            && self.created_at.contains(&operation.created_at)
    }

    /// What of it is in `scope`, as far as an index knows: that of a tenant's operations knows no kinds.
    #[must_use]
    pub(crate) fn within(&self, scope: &Scope) -> Self {
        let tenant: Option<Box<str>> = scope.tenant.as_ref().map(|tenant| tenant.as_str().into());
        let kind = self.kind.clone().filter(|_| tenant.is_none());
        let whole = self.whole && scope.kinds.is_none() && kind == self.kind;
        Self { tenant, kind, whole, ..self.clone() }
    }

    /// The range of a filter.
    pub(super) fn of(expression: &Expression) -> Self {
        Self::of_either(expression, false)
    }

    /// Where `expression` is true, or where it is false: a NOT cannot be taken of a range that says
    /// too much, so it is taken to the tests.
    fn of_either(expression: &Expression, negated: bool) -> Self {
        let each = |expressions: &[Expression]| -> Vec<Self> {
            expressions.iter().map(|expression| Self::of_either(expression, negated)).collect()
        };
        match (expression, negated) {
            (Expression::All(all), false) => each(all).into_iter().fold(Self::everything(), Self::and),
            (Expression::Any(any), true) => each(any).into_iter().fold(Self::everything(), Self::and),
            (Expression::Any(any), false) => each(any).into_iter().fold(Self::nothing(), Self::or),
            (Expression::All(all), true) => each(all).into_iter().fold(Self::nothing(), Self::or),
            (Expression::Not(inner), negated) => Self::of_either(inner, !negated),
            (Expression::Test(test), negated) => Self::of_test(test, negated),
        }
    }

    fn of_test(test: &Test, negated: bool) -> Self {
        let everything = Self::everything();
        match test {
            Test::State(states) => {
                let states = if negated { states.complement() } else { *states };
                Self { states, ..everything }
            }
            Test::Text(TextField::Kind, test) if !negated && test.only().is_some() => {
                Self { kind: test.only().map(Into::into), ..everything }
            }
            Test::Instant(InstantField::Created, comparator, nanos) => Self::of_creation(*comparator, *nanos, negated),
            // What is not there passes no test; whether it is there, the state tells.
            Test::Instant(InstantField::Finished, ..) if !negated => Self::partly(States::DONE),
            Test::ErrorCode(..) | Test::ErrorMessage(_) if !negated => Self::partly(States::WITH_ERROR),
            Test::Type(Part::Response, _) | Test::Member(Part::Response, ..) if !negated => {
                Self::partly(States::WITH_RESPONSE)
            }
            _ => Self { whole: false, ..everything },
        }
    }

    fn of_creation(comparator: Comparator, nanos: i128, negated: bool) -> Self {
        let (from, to) = (*Self::ALWAYS.start(), *Self::ALWAYS.end());
        // The last stored instant that is not after `nanos`, and the first one that is not before.
        let (at_most, at_least) =
            (stored(nanos.div_euclid(NANOS_PER_MICRO)), stored(-(-nanos).div_euclid(NANOS_PER_MICRO)));
        let created_at = match (comparator, negated) {
            (Comparator::Has | Comparator::Equal, false) | (Comparator::NotEqual, true) => at_least..=at_most,
            (Comparator::Has | Comparator::Equal, true) | (Comparator::NotEqual, false) => {
                return Self { whole: false, ..Self::everything() };
            }
            (Comparator::LessOrEqual, false) | (Comparator::Greater, true) => from..=at_most,
            (Comparator::Less, true) | (Comparator::GreaterOrEqual, false) => at_least..=to,
            (Comparator::Less, false) | (Comparator::GreaterOrEqual, true) => from..=step(at_least, -1),
            (Comparator::LessOrEqual, true) | (Comparator::Greater, false) => step(at_most, 1)..=to,
        };
        Self { created_at, ..Self::everything() }
    }

    /// In these states, but not all that is in them.
    fn partly(states: States) -> Self {
        Self { states, whole: false, ..Self::everything() }
    }

    fn everything() -> Self {
        Self { tenant: None, kind: None, states: States::ALL, created_at: Self::ALWAYS, whole: true }
    }

    fn nothing() -> Self {
        Self { states: States::NONE, ..Self::everything() }
    }

    fn is_nothing(&self) -> bool {
        self.states == States::NONE || self.created_at.is_empty()
    }

    fn and(self, other: Self) -> Self {
        if self.kind.is_some() && other.kind.is_some() && self.kind != other.kind {
            return Self::nothing();
        }
        let from = *self.created_at.start().max(other.created_at.start());
        let to = *self.created_at.end().min(other.created_at.end());
        Self {
            tenant: None,
            kind: self.kind.or(other.kind),
            states: self.states.intersection(other.states),
            created_at: from..=to,
            whole: self.whole && other.whole,
        }
    }

    /// The least range around both. It is whole when they differ in one respect at most, and leave no
    /// gap in it: else there is something between them that neither means.
    fn or(self, other: Self) -> Self {
        if self.is_nothing() {
            return other;
        }
        if other.is_nothing() {
            return self;
        }
        let (same_kind, same_states) = (self.kind == other.kind, self.states == other.states);
        let same_times = self.created_at == other.created_at;
        let seamless = match (same_kind, same_states, same_times) {
            (true, true, _) => self.touches(&other),
            (true, _, true) => true,
            (false, true, true) => self.kind.is_none() || other.kind.is_none(),
            _ => false,
        };
        let from = *self.created_at.start().min(other.created_at.start());
        let to = *self.created_at.end().max(other.created_at.end());
        Self {
            tenant: None,
            kind: self.kind.filter(|_| same_kind),
            states: self.states.union(other.states),
            created_at: from..=to,
            whole: self.whole && other.whole && seamless,
        }
    }

    fn touches(&self, other: &Self) -> bool {
        let near = |one: &Self, other: &Self| *one.created_at.start() <= step(*other.created_at.end(), 1);
        near(self, other) && near(other, self)
    }

    const ALWAYS: RangeInclusive<Timestamp> = Timestamp::from_micros(i64::MIN)..=Timestamp::from_micros(i64::MAX);
}

impl States {
    /// Every state.
    pub const ALL: Self = Self::of(&State::ALL);
    pub(super) const NONE: Self = Self(0);
    pub(super) const DONE: Self = Self::of(&[State::Succeeded, State::Failed, State::Cancelled]);
    pub(super) const WITH_RESPONSE: Self = Self::of(&[State::Succeeded]);
    /// As any face shows it.
    pub(super) const WITH_ERROR: Self = Self::of(&[State::Failing, State::Failed, State::Cancelled]);

    pub(super) const fn of(states: &[State]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < states.len() {
            bits |= bit(states[index]);
            index += 1;
        }
        Self(bits)
    }

    /// Whether `state` is one of them.
    #[must_use]
    pub const fn contains(self, state: State) -> bool {
        self.0 & bit(state) != 0
    }

    pub(super) const fn complement(self) -> Self {
        Self(Self::ALL.0 & !self.0)
    }

    const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

const fn bit(state: State) -> u8 {
    1 << state as u8
}

/// Years that filters can say are all within what microseconds can count.
fn stored(micros: i128) -> Timestamp {
    let most = i128::from(i64::MAX);
    Timestamp::from_micros(i64::try_from(micros.clamp(-most, most)).expect("it was cut to fit"))
}

fn step(instant: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(instant.micros().saturating_add(micros))
}
