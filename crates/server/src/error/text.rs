//! Strangers' text in our messages: short, on one line, and without tricks on whoever reads it.

/// `text` in quotation marks, escaped, at most 64 characters of it.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    let mut rest = text.chars();
    for character in rest.by_ref().take(QUOTE_CHARS_MAX) {
        match character {
            '\'' => quoted.push(character),
            _ => quoted.extend(character.escape_debug()),
        }
    }
    if rest.next().is_some() {
        quoted.push('…');
    }
    quoted.push('"');
    quoted
}

/// `text` with what cannot be printed escaped, at most `bytes_max` bytes of it.
pub(super) fn clip(text: &str, bytes_max: usize) -> String {
    let mut clipped = String::with_capacity(text.len().min(bytes_max));
    for character in text.chars() {
        let before = clipped.len();
        match character {
            '"' | '\'' | '\\' => clipped.push(character),
            // Escapes what is invisible or would turn the line around (ANSI sequences, direction marks).
            _ => clipped.extend(character.escape_debug()),
        }
        if clipped.len() > bytes_max {
            clipped.truncate(before);
            while clipped.len() + CUT.len() > bytes_max {
                clipped.pop();
            }
            clipped.push_str(CUT);
            break;
        }
    }
    clipped
}

const QUOTE_CHARS_MAX: usize = 64;
const CUT: &str = "…";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b47_values_are_quoted_escaped_and_cut() {
        assert_eq!(quote("a\"b\n\u{1b}[31mж"), r#""a\"b\n\u{1b}[31mж""#);
        assert_eq!(quote(&"é".repeat(64)), format!("\"{}\"", "é".repeat(64)));
        assert_eq!(quote(&"é".repeat(65)), format!("\"{}…\"", "é".repeat(64)));
    }

    #[test]
    fn b47_messages_are_escaped_and_cut_between_characters() {
        assert_eq!(clip("say \"no\"\r\n\u{202e}", 100), "say \"no\"\\r\\n\\u{202e}");
        assert_eq!(clip("жжж", 5), "ж…");
        assert_eq!(clip("жжжж", 7), "жж…");
        assert_eq!(clip("жж", 4), "жж");
        assert_eq!(clip("ab\n", 4), "ab\\n");
        assert_eq!(clip("abc\n", 4), "a…");
    }
}
