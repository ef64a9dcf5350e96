//! Filters of lists: `kind = "x"` and `state = X`, joined by AND.

use std::iter::Peekable;
use std::str::CharIndices;

use operond_core::limits::FILTER_CHARS_MAX;
use operond_core::{Invalid, Kind, State, check_text};

use crate::error::{ApiError, Reason, quote};

/// What a filter asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) kind: Option<Kind>,
    pub(super) state: Option<State>,
}

/// Reads a filter; an empty one asks for nothing.
pub(super) fn parse(text: &str) -> Result<Filter, ApiError> {
    check_text("filter", text, FILTER_CHARS_MAX)?;
    let mut parser = Parser { text, tokens: text.char_indices().peekable() };
    let mut filter = Filter::default();
    if parser.next()?.is_none() {
        return Ok(filter);
    }
    parser = Parser { text, tokens: text.char_indices().peekable() };
    loop {
        parser.restriction(&mut filter)?;
        match parser.next()? {
            None => return Ok(filter),
            Some((_, Token::Word("AND"))) => {}
            Some((at, token)) => {
                return Err(parser.error(at, format!("expected AND or the end, got {}", token.shown())));
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Quoted(String),
    Sign(char),
}

impl Token<'_> {
    fn shown(&self) -> String {
        match self {
            Self::Word(word) => quote(word),
            Self::Quoted(text) => format!("the text {}", quote(text)),
            Self::Sign(sign) => quote(&sign.to_string()),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Peekable<CharIndices<'a>>,
}

impl<'a> Parser<'a> {
    fn restriction(&mut self, filter: &mut Filter) -> Result<(), ApiError> {
        let (at, field) = match self.next()? {
            Some((at, Token::Word(word @ ("kind" | "state")))) => (at, word),
            Some((at, token)) => return Err(self.error(at, format!("expected kind or state, got {}", token.shown()))),
            None => return Err(self.error(self.text.len(), "expected kind or state, got the end")),
        };
        match self.next()? {
            Some((_, Token::Sign('='))) => {}
            Some((at, token)) => {
                return Err(self.error(at, format!("expected = behind {field}, got {}", token.shown())));
            }
            None => return Err(self.error(self.text.len(), format!("expected = behind {field}, got the end"))),
        }
        let (value_at, value) = match self.next()? {
            Some((at, Token::Word(word))) => (at, word.to_owned()),
            Some((at, Token::Quoted(text))) => (at, text),
            Some((at, token)) => return Err(self.error(at, format!("expected a value, got {}", token.shown()))),
            None => return Err(self.error(self.text.len(), "expected a value, got the end")),
        };
        let twice = match field {
            "kind" => filter.kind.replace(self.kind(value_at, &value)?).is_some(),
            _ => filter.state.replace(self.state(value_at, &value)?).is_some(),
        };
        if twice { Err(self.error(at, format!("{field} is asked for twice"))) } else { Ok(()) }
    }

    fn kind(&self, at: usize, value: &str) -> Result<Kind, ApiError> {
        Kind::new(value).map_err(|invalid: Invalid| self.error(at, invalid.to_string()))
    }

    fn state(&self, at: usize, value: &str) -> Result<State, ApiError> {
        State::ALL.into_iter().find(|state| state.as_str() == value).ok_or_else(|| {
            let states = State::ALL.map(State::as_str).join(", ");
            self.error(at, format!("expected one of {states}, got {}", quote(value)))
        })
    }

    /// The next token and the byte that it begins at.
    fn next(&mut self) -> Result<Option<(usize, Token<'a>)>, ApiError> {
        while self.tokens.next_if(|(_, character)| character.is_whitespace()).is_some() {}
        let Some((at, first)) = self.tokens.next() else { return Ok(None) };
        match first {
            '"' | '\'' => Ok(Some((at, Token::Quoted(self.quoted(at, first)?)))),
            first if !is_word(first) => Ok(Some((at, Token::Sign(first)))),
            first => {
                let mut end = at + first.len_utf8();
                while let Some((start, character)) = self.tokens.next_if(|(_, character)| is_word(*character)) {
                    end = start + character.len_utf8();
                }
                Ok(Some((at, Token::Word(&self.text[at..end]))))
            }
        }
    }

    /// The text up to the closing quotation mark; a backslash takes the next character as it is.
    fn quoted(&mut self, at: usize, mark: char) -> Result<String, ApiError> {
        let mut text = String::new();
        loop {
            match self.tokens.next() {
                Some((_, character)) if character == mark => return Ok(text),
                Some((_, '\\')) => text.extend(self.tokens.next().map(|(_, character)| character)),
                Some((_, character)) => text.push(character),
                None => return Err(self.error(at, "this quotation mark is never closed")),
            }
        }
    }

    fn error(&self, byte: usize, problem: impl AsRef<str>) -> ApiError {
        let position = self.text[..byte].chars().count() + 1;
        let problem = format!("{} at character {position}", problem.as_ref());
        let message = format!("filter: {problem}; {SUPPORTED}");
        ApiError::new(Reason::InvalidFilter, message)
            .violation("filter", &problem)
            .fact("position", position.to_string())
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || "_-./@+".contains(character)
}

const SUPPORTED: &str = r#"supported are `kind = "…"` and `state = …`, joined by AND"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(text: &str, kind: Option<&str>, state: Option<State>) {
        let kind = kind.map(|kind| Kind::new(kind).unwrap());
        assert_eq!(parse(text), Ok(Filter { kind, state }), "{text}");
    }

    #[track_caller]
    fn refuses(text: &str, position: usize) {
        let error = parse(text).unwrap_err();
        assert_eq!(error.reason(), Reason::InvalidFilter, "{text}: {error:?}");
        assert!(format!("{error:?}").contains(&format!("at character {position}\"")), "{text}: {error:?}");
    }

    #[test]
    fn kind_and_state_are_read_in_any_spelling_and_order() {
        reads("", None, None);
        reads(" \t\n", None, None);
        reads(r#"kind = "render""#, Some("render"), None);
        reads(r#"kind="render""#, Some("render"), None);
        reads("kind='render'", Some("render"), None);
        reads("  kind  =  demo.render-2/x  ", Some("demo.render-2/x"), None);
        reads(r#"kind = "a \"b\" = AND""#, Some(r#"a "b" = AND"#), None);
        reads("kind = 'жж'", Some("жж"), None);
        reads("kind = AND", Some("AND"), None);
        for state in State::ALL {
            reads(&format!("state = {}", state.as_str()), None, Some(state));
            reads(&format!("state=\"{}\"", state.as_str()), None, Some(state));
        }
        reads("kind = x AND state = FAILED", Some("x"), Some(State::Failed));
        reads("state=FAILED\nAND\nkind='x'", Some("x"), Some(State::Failed));
    }

    #[test]
    fn everything_else_is_refused_with_its_position() {
        refuses("done = true", 1);
        refuses("  tenant = x", 3);
        refuses("kind", 5);
        refuses("kind x", 6);
        refuses("kind != x", 6);
        refuses("kind : x", 6);
        refuses("kind =", 7);
        refuses("kind = = x", 8);
        refuses("kind = ''", 8);
        refuses("kind = 'жж", 8);
        refuses("'жж' = kind", 1);
        refuses("kind = x OR state = FAILED", 10);
        refuses("kind = x and state = FAILED", 10);
        refuses("kind = x state = FAILED", 10);
        refuses("kind = x AND", 13);
        refuses("kind = x AND kind = x", 14);
        refuses("AND", 1);
        refuses("NOT kind = x", 1);
        refuses("-kind = x", 1);
        refuses("(kind = x)", 1);
        refuses("state = failed", 9);
        refuses("state = STATE_UNSPECIFIED", 9);
        refuses("ж", 1);
        refuses(&format!("kind = {}", "k".repeat(129)), 8);
    }

    #[test]
    fn a_filter_may_have_a_thousand_characters() {
        let padded = |characters: usize| format!("kind = x{}", " ".repeat(characters - 8));
        reads(&padded(1_000), Some("x"), None);
        assert_eq!(parse(&padded(1_001)).unwrap_err().reason(), Reason::LimitExceeded);
        assert_eq!(parse("\0").unwrap_err().reason(), Reason::InvalidField);
    }
}
