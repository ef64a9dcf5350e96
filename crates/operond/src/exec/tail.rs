//! The end of what a program wrote to its standard error, fit for the message of an error.

use std::collections::VecDeque;

use operond_core::limits::ERROR_MESSAGE_BYTES_MAX;

/// The last bytes that were written. Escaping only makes them more, so that more are never needed.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    cut: bool,
}

impl Tail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let surplus = self.bytes.len().saturating_sub(ERROR_MESSAGE_BYTES_MAX);
        self.bytes.drain(..surplus);
        self.cut |= surplus > 0;
    }

    /// The end of it in at most `bytes_max` bytes, control characters escaped; begins with an
    /// ellipsis when it is not all of it.
    pub(super) fn text(&self, bytes_max: usize) -> String {
        let text = self.lossy();
        let characters: Vec<String> = text.trim_end().chars().map(escaped).collect();
        if !self.cut && characters.iter().map(String::len).sum::<usize>() <= bytes_max {
            return characters.concat();
        }
        let room = bytes_max.saturating_sub(ELLIPSIS.len());
        let mut begin = characters.len();
        let mut size = 0;
        while let Some(before) = begin.checked_sub(1)
            && size + characters[before].len() <= room
        {
            size += characters[before].len();
            begin = before;
        }
        ELLIPSIS.to_owned() + &characters[begin..].concat()
    }

    /// As text, without what is left of a character whose beginning was cut off.
    fn lossy(&self) -> String {
        let mut bytes = self.bytes.clone();
        while self.cut && bytes.front().is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {
            bytes.pop_front();
        }
        String::from_utf8_lossy(bytes.make_contiguous()).into_owned()
    }
}

/// As it may stand in a message that goes to logs and terminals.
pub(super) fn escaped(character: char) -> String {
    if character.is_control() { character.escape_default().to_string() } else { character.to_string() }
}

const ELLIPSIS: &str = "…";

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(pieces: &[&[u8]]) -> Tail {
        let mut tail = Tail::default();
        for piece in pieces {
            tail.push(piece);
        }
        tail
    }

    #[test]
    fn a_short_one_is_told_whole_without_the_end_of_its_last_line() {
        assert_eq!(tail(&[b"no such ", b"file\n"]).text(100), "no such file");
        assert_eq!(tail(&[]).text(100), "");
        assert_eq!(tail(&[b"\n\n"]).text(100), "");
    }

    #[test]
    fn control_characters_are_escaped_and_letters_are_not() {
        let said = "\x1b[31mж\x07\r\nrow\t2\0".as_bytes();
        assert_eq!(tail(&[said]).text(100), r"\u{1b}[31mж\u{7}\r\nrow\t2\u{0}");
        assert_eq!(tail(&[b"a\xffb"]).text(100), "a\u{fffd}b");
    }

    #[test]
    fn a_long_one_is_cut_at_its_beginning_between_two_characters() {
        let check = |said: &str, bytes_max: usize, expected: &str| {
            let text = tail(&[said.as_bytes()]).text(bytes_max);
            assert_eq!(text, expected);
            assert!(text.len() <= bytes_max, "{} bytes", text.len());
        };
        check("abcdefghi", 8, "…efghi");
        check("жжжж", 7, "…жж");
        check("жжжж", 8, "жжжж");
        // An escape is whole or not there.
        check("xyzw\x1bbcd", 11, "…bcd");
        check("xyzw\x1bbcd", 12, "…\\u{1b}bcd");
        check("xyzw\x1bbcd", 13, "xyzw\\u{1b}bcd");
        check("abc", 3, "abc");
        check("abcd", 3, "…");
    }

    #[test]
    fn what_was_dropped_long_ago_is_missed_and_leaves_no_half_character() {
        let said = "ж".repeat(ERROR_MESSAGE_BYTES_MAX);
        let mut odd = tail(&[said.as_bytes()]);
        odd.push(b"!");
        let text = odd.text(ERROR_MESSAGE_BYTES_MAX);
        assert!(text.starts_with("…ж") && text.ends_with("ж!"), "{text}");
        assert!(!text.contains('\u{fffd}'));
        assert!(text.len() > ERROR_MESSAGE_BYTES_MAX - 4, "{} bytes", text.len());
    }
}
