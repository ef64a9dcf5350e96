//! The fields that a filter can speak of: their names, what they can be compared with, and how.

use std::fmt;

use operond_core::State;

use super::expression::{InstantField, Part, Test, TextField};
use super::grammar::Argument;
use super::literal::{Literal, boolean, instant};
use super::range::States;
use super::text::{ANYTHING, TextTest};
use super::{Comparator, Face, Wrong, quoted};

/// A field as it was written: names joined by dots, at least one.
#[derive(Clone, Debug)]
pub(super) struct Member(pub(super) Vec<Segment>);

#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// The byte that it begins at.
    pub(super) at: usize,
    /// Without quotation marks and escapes.
    pub(super) text: String,
}

impl Member {
    pub(super) fn at(&self) -> usize {
        self.0[0].at
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|segment| segment.text.as_str()).collect();
        f.write_str(&names.join("."))
    }
}

/// The test that a restriction means.
pub(super) fn resolve(member: &Member, comparator: Comparator, argument: &Argument, face: Face) -> Result<Test, Wrong> {
    let restriction = Restriction { member, comparator, argument };
    let names: Vec<_> = member.0.iter().map(|segment| segment.text.as_str()).collect();
    match names[..] {
        ["labels"] => restriction.labels(),
        ["labels", key] => restriction.label(key),
        ["labels", ..] => {
            Err(Wrong::new(member.0[2].at, "labels have no members: put a key with dots into quotation marks"))
        }
        ["error"] => restriction.presence("error.code or error.message", Test::State(with_error(face))),
        ["error", "code"] => restriction.error_code(face),
        ["error", "message"] => Ok(Test::ErrorMessage(restriction.text())),
        ["metadata"] => restriction.presence("metadata.@type or metadata.<member>", Test::HasMetadata),
        ["metadata", ..] => restriction.payload(Part::Metadata),
        ["response"] => restriction.presence("response.@type or response.<member>", Test::State(States::WITH_RESPONSE)),
        ["response", ..] => restriction.payload(Part::Response),
        [field] => restriction.plain(field),
        _ => Err(restriction.unknown()),
    }
}

struct Restriction<'a> {
    member: &'a Member,
    comparator: Comparator,
    argument: &'a Argument,
}

impl Restriction<'_> {
    /// A field without members.
    fn plain(&self, field: &str) -> Result<Test, Wrong> {
        match field {
            "done" => self.done(),
            "state" => self.state(),
            "id" => Ok(Test::Text(TextField::Id, self.text())),
            "name" => Ok(Test::Text(TextField::Id, self.id_of_name())),
            "kind" => Ok(Test::Text(TextField::Kind, self.text())),
            "tenant" => Ok(Test::Text(TextField::Tenant, self.text())),
            "created_by" | "createdBy" => Ok(Test::Text(TextField::CreatedBy, self.text())),
            "description" => Ok(Test::Text(TextField::Description, self.text())),
            "created_at" | "createdAt" => self.instant(InstantField::Created),
            "modified_at" | "modifiedAt" => self.instant(InstantField::Modified),
            "started_at" | "startedAt" => self.instant(InstantField::Started),
            "finished_at" | "finishedAt" => self.instant(InstantField::Finished),
            _ => Err(self.unknown()),
        }
    }

    fn done(&self) -> Result<Test, Wrong> {
        self.only(&[Comparator::Equal, Comparator::NotEqual, Comparator::Has])?;
        let done = boolean(&self.argument.text).ok_or_else(|| self.value("true or false"))?;
        let states = if done { States::DONE } else { States::DONE.complement() };
        Ok(Test::State(self.either_way(states)))
    }

    fn state(&self) -> Result<Test, Wrong> {
        self.only(&[Comparator::Equal, Comparator::NotEqual, Comparator::Has])?;
        let word = &self.argument.text;
        let named = |state: &State| state.as_str() == word || state.as_str().to_lowercase() == *word;
        let state = State::ALL.into_iter().find(named);
        let state = state.ok_or_else(|| self.value(&format!("one of {}", State::ALL.map(State::as_str).join(", "))))?;
        Ok(Test::State(self.either_way(States::of(&[state]))))
    }

    /// The states as they are, or the others where `!=` asks for those.
    fn either_way(&self, states: States) -> States {
        if self.comparator == Comparator::NotEqual { states.complement() } else { states }
    }

    fn text(&self) -> TextTest {
        TextTest::new(self.comparator, &self.argument.text)
    }

    /// Names end in the id, whatever stands before it.
    fn id_of_name(&self) -> TextTest {
        let name = &self.argument.text;
        let id = name.rsplit_once("operations/").map_or(name.as_str(), |(_, id)| id);
        TextTest::new(self.comparator, id)
    }

    fn labels(&self) -> Result<Test, Wrong> {
        if self.comparator != Comparator::Has {
            let problem = "labels can be compared one by one only: write `labels.KEY = value`, or `labels:KEY`";
            return Err(Wrong::new(self.member.at(), problem));
        }
        if self.argument.text == ANYTHING {
            return Ok(Test::HasLabels);
        }
        Ok(Test::HasLabel(self.argument.text.as_str().into()))
    }

    fn label(&self, key: &str) -> Result<Test, Wrong> {
        if self.asks_for_anything() { Ok(Test::HasLabel(key.into())) } else { Ok(Test::Label(key.into(), self.text())) }
    }

    fn instant(&self, field: InstantField) -> Result<Test, Wrong> {
        if self.asks_for_anything() {
            return Ok(match field {
                InstantField::Finished => Test::State(States::DONE),
                InstantField::Started => Test::HasStarted,
                InstantField::Created | InstantField::Modified => Test::State(States::ALL),
            });
        }
        if self.comparator == Comparator::Has {
            return Err(self.operator("= != < <= > >= or `:*`"));
        }
        let nanos = instant(&self.argument.text);
        let nanos = nanos.ok_or_else(|| self.value("an instant with an offset, such as 2026-11-22T10:00:00Z"))?;
        Ok(Test::Instant(field, self.comparator, nanos))
    }

    fn error_code(&self, face: Face) -> Result<Test, Wrong> {
        if self.asks_for_anything() {
            return Ok(Test::State(with_error(face)));
        }
        let word = &self.argument.text;
        let named = CODES.iter().position(|name| name == word).and_then(|code| i32::try_from(code).ok());
        let code = named.or_else(|| word.parse().ok());
        let code = code.ok_or_else(|| self.value("a number or the name of a google.rpc code, such as NOT_FOUND"))?;
        Ok(Test::ErrorCode(self.comparator, code))
    }

    fn payload(&self, part: Part) -> Result<Test, Wrong> {
        let path = &self.member.0[1..];
        if let Some(empty) = path.iter().find(|segment| segment.text.is_empty()) {
            return Err(Wrong::new(empty.at, "a member has a name"));
        }
        if let [only] = path
            && only.text == "@type"
        {
            return Ok(Test::Type(part, self.text()));
        }
        let path = path.iter().map(|segment| segment.text.as_str().into()).collect();
        Ok(Test::Member(part, path, Box::new(Literal::new(self.comparator, &self.argument.text))))
    }

    /// A field of which only can be asked whether it is there.
    fn presence(&self, members: &str, test: Test) -> Result<Test, Wrong> {
        if self.asks_for_anything() {
            return Ok(test);
        }
        let problem = format!("{} can only be asked for by `:*`; compare {members}", self.member);
        Err(Wrong::new(self.member.at(), problem))
    }

    fn asks_for_anything(&self) -> bool {
        self.comparator == Comparator::Has && self.argument.text == ANYTHING
    }

    fn only(&self, comparators: &[Comparator]) -> Result<(), Wrong> {
        if comparators.contains(&self.comparator) {
            return Ok(());
        }
        let known: Vec<_> = comparators.iter().map(|comparator| comparator.as_str()).collect();
        Err(self.operator(&known.join(" ")))
    }

    fn operator(&self, known: &str) -> Wrong {
        let problem = format!("{} is compared by {known}, not by `{}`", self.member, self.comparator.as_str());
        Wrong::new(self.member.at(), problem)
    }

    fn value(&self, expected: &str) -> Wrong {
        let problem = format!("expected {expected}, got {}", quoted(&self.argument.text));
        Wrong::new(self.argument.at, problem)
    }

    fn unknown(&self) -> Wrong {
        Wrong::new(self.member.at(), format!("there is no field {}: {FIELDS}", quoted(&self.member.to_string())))
    }
}

fn with_error(face: Face) -> States {
    match face {
        Face::Native => States::WITH_ERROR,
        Face::Google => States::of(&[State::Failed, State::Cancelled]),
    }
}

const FIELDS: &str = "known are done, state, kind, created_by, tenant, description, id, name, labels.KEY, created_at, \
                      modified_at, started_at, finished_at, error, error.code, error.message, metadata, response, and \
                      members of the last two";

/// `google.rpc.Code`, from 0 on.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
