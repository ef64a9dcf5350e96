//! The grammar of AIP-160, as far as it speaks of fields:
//!
//! ```text
//! filter      = [expression]
//! expression  = sequence {"AND" sequence}
//! sequence    = factor {space factor}
//! factor      = term {"OR" term}
//! term        = ["NOT" space | "-"] (restriction | "(" expression ")")
//! restriction = member comparator value
//! member      = segment {"." segment}
//! comparator  = "<=" | "<" | ">=" | ">" | "!=" | "=" | ":"
//! ```
//!
//! Nothing is read twice but the word in which a keyword may hide, so that time is linear.

use operond_core::limits::FILTER_DEPTH_MAX;
use winnow::Parser;
use winnow::combinator::{alt, opt, peek};
use winnow::error::ParserError;
use winnow::stream::{LocatingSlice, Location, Stateful, Stream};
use winnow::token::{any, take_while};

use super::expression::Expression;
use super::field::{self, Member, Segment};
use super::{Comparator, Face, Wrong, quoted};

/// Reads a whole filter.
pub(super) fn parse(text: &str, face: Face) -> Result<Expression, Wrong> {
    let mut input = Stateful { input: LocatingSlice::new(text), state: Reading { face, depth: 0 } };
    space(&mut input)?;
    if input.input.is_empty() {
        return Ok(Expression::All(Vec::new()));
    }
    let expression = expression(&mut input)?;
    if input.input.is_empty() { Ok(expression) } else { Err(unexpected(&input, "AND, OR, or the end")) }
}

/// A value behind a comparator.
#[derive(Clone, Debug)]
pub(super) struct Argument {
    /// The byte that it begins at.
    pub(super) at: usize,
    /// Without quotation marks and escapes.
    pub(super) text: String,
}

type Input<'a> = Stateful<LocatingSlice<&'a str>, Reading>;

#[derive(Clone, Copy, Debug)]
struct Reading {
    face: Face,
    /// Parentheses that are open.
    depth: usize,
}

impl<'a> ParserError<Input<'a>> for Wrong {
    type Inner = Self;

    fn from_input(input: &Input<'a>) -> Self {
        // Where something is optional; whoever demands it says what was expected.
        Self::new(input.current_token_start(), "not of the grammar")
    }

    fn into_inner(self) -> Result<Self::Inner, Self> {
        Ok(self)
    }
}

/// Sequences need no level of their own: both they and what joins them mean AND.
fn expression(input: &mut Input<'_>) -> Result<Expression, Wrong> {
    let mut all = vec![factor(input)?];
    loop {
        let apart = space(input)?;
        if input.input.is_empty() || input.input.starts_with(')') {
            return Ok(Expression::all(all));
        }
        if !keyword(input, "AND")? && !apart {
            return Err(unexpected(input, "AND, OR, or a space"));
        }
        all.push(factor(input)?);
    }
}

fn factor(input: &mut Input<'_>) -> Result<Expression, Wrong> {
    let mut any = vec![term(input)?];
    loop {
        let before = input.checkpoint();
        space(input)?;
        if !keyword(input, "OR")? {
            input.reset(&before);
            return Ok(Expression::any(any));
        }
        any.push(term(input)?);
    }
}

fn term(input: &mut Input<'_>) -> Result<Expression, Wrong> {
    space(input)?;
    let negated = keyword(input, "NOT")? || opt('-').parse_next(input)?.is_some();
    if negated {
        return Ok(Expression::Not(Box::new(simple(input)?)));
    }
    simple(input)
}

fn simple(input: &mut Input<'_>) -> Result<Expression, Wrong> {
    space(input)?;
    let at = input.current_token_start();
    if opt('(').parse_next(input)?.is_none() {
        return restriction(input);
    }
    if input.state.depth == FILTER_DEPTH_MAX {
        return Err(Wrong::new(at, format!("parentheses are nested at most {FILTER_DEPTH_MAX} deep")));
    }
    input.state.depth += 1;
    let nested = expression(input)?;
    if opt(')').parse_next(input)?.is_none() {
        return Err(unexpected(input, "AND, OR, or `)`"));
    }
    input.state.depth -= 1;
    Ok(nested)
}

fn restriction(input: &mut Input<'_>) -> Result<Expression, Wrong> {
    let member = member(input)?;
    space(input)?;
    let Some(comparator) = opt(comparator).parse_next(input)? else {
        return Err(alone(input, &member));
    };
    space(input)?;
    let argument = argument(input, comparator)?;
    field::resolve(&member, comparator, &argument, input.state.face).map(Expression::Test)
}

fn member(input: &mut Input<'_>) -> Result<Member, Wrong> {
    let mut segments = vec![segment(input, "a field, such as `kind` or `metadata.x`")?];
    while opt('.').parse_next(input)?.is_some() {
        segments.push(segment(input, "a name behind the `.`")?);
    }
    Ok(Member(segments))
}

fn segment(input: &mut Input<'_>, expected: &str) -> Result<Segment, Wrong> {
    let at = input.current_token_start();
    if let Some(text) = string(input)? {
        return Ok(Segment { at, text });
    }
    let word = take_while(0.., in_name).parse_next(input)?;
    if word.is_empty() || KEYWORDS.contains(&word) {
        let got = if word.is_empty() { got(input) } else { word.into() };
        return Err(Wrong::new(at, format!("expected {expected}, got {got}")));
    }
    Ok(Segment { at, text: word.into() })
}

fn comparator(input: &mut Input<'_>) -> Result<Comparator, Wrong> {
    alt((
        "<=".value(Comparator::LessOrEqual),
        "<".value(Comparator::Less),
        ">=".value(Comparator::GreaterOrEqual),
        ">".value(Comparator::Greater),
        "!=".value(Comparator::NotEqual),
        "=".value(Comparator::Equal),
        ":".value(Comparator::Has),
    ))
    .parse_next(input)
}

fn argument(input: &mut Input<'_>, comparator: Comparator) -> Result<Argument, Wrong> {
    let at = input.current_token_start();
    if let Some(text) = string(input)? {
        return Ok(Argument { at, text });
    }
    if input.input.starts_with('(') {
        let problem = format!("several values behind one `{}` are not supported: ", comparator.as_str());
        return Err(Wrong::new(at, problem + "write each with its field, joined by AND or OR"));
    }
    let word = take_while(0.., in_value).parse_next(input)?;
    if word.is_empty() {
        return Err(unexpected(input, &format!("a value behind `{}`", comparator.as_str())));
    }
    if KEYWORDS.contains(&word) {
        let problem = format!("expected a value behind `{}`, got {word}: ", comparator.as_str());
        return Err(Wrong::new(at, problem + "put it into quotation marks if it is meant"));
    }
    if input.input.starts_with('(') {
        return Err(call(at, word));
    }
    Ok(Argument { at, text: word.into() })
}

/// A text in quotation marks, if one begins here; a backslash takes the next character as it is.
fn string(input: &mut Input<'_>) -> Result<Option<String>, Wrong> {
    let at = input.current_token_start();
    let Some(mark) = opt(alt(('"', '\''))).parse_next(input)? else { return Ok(None) };
    let mut text = String::new();
    loop {
        match opt(any).parse_next(input)? {
            Some(end) if end == mark => return Ok(Some(text)),
            Some('\\') => text.extend(opt(any).parse_next(input)?),
            Some(character) => text.push(character),
            None => return Err(Wrong::new(at, "this quotation mark is never closed")),
        }
    }
}

/// Takes `word` when it is the next one.
fn keyword(input: &mut Input<'_>, word: &str) -> Result<bool, Wrong> {
    let found = peek(take_while(0.., in_name)).parse_next(input)? == word;
    if found {
        input.next_slice(word.len());
    }
    Ok(found)
}

/// Skips space; says whether there was any.
fn space(input: &mut Input<'_>) -> Result<bool, Wrong> {
    Ok(!take_while(0.., char::is_whitespace).parse_next(input)?.is_empty())
}

/// A name, and nothing behind it that makes a restriction of it.
fn alone(input: &Input<'_>, member: &Member) -> Wrong {
    if input.input.starts_with('(') {
        return call(member.at(), &member.to_string());
    }
    if input.input.starts_with('!') {
        return unexpected(input, "a comparator (= != < <= > >= :)");
    }
    let name = member.to_string();
    let problem = match name.as_str() {
        "and" | "or" | "not" => format!("{name} is written {}", name.to_uppercase()),
        _ => format!("{} stands alone: write `field = value`, such as `description:word`", quoted(&name)),
    };
    Wrong::new(member.at(), problem)
}

fn call(at: usize, name: &str) -> Wrong {
    Wrong::new(at, format!("{} is called like a function, and there are none", quoted(name)))
}

fn unexpected(input: &Input<'_>, expected: &str) -> Wrong {
    Wrong::new(input.current_token_start(), format!("expected {expected}, got {}", got(input)))
}

fn got(input: &Input<'_>) -> String {
    match input.input.chars().next() {
        Some(character) => quoted(&character.to_string()),
        None => "the end".into(),
    }
}

/// Characters of names: what no comparator, parenthesis or quotation mark begins.
fn in_name(character: char) -> bool {
    !character.is_whitespace() && !".()<>=!:,\"'\\".contains(character)
}

/// Characters of values without quotation marks: instants and type URLs need none.
fn in_value(character: char) -> bool {
    in_name(character) || ".:".contains(character)
}

const KEYWORDS: [&str; 3] = ["AND", "OR", "NOT"];
