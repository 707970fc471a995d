//! What people write beside their things, to be shown in lists: one line, of so many characters.

/// Whether this is one line of at most so many characters. None of them controls anything, so a terminal shows them as
/// they are.
pub fn is_line(text: &str, most: usize) -> bool {
    text.chars().count() <= most && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_count_not_bytes() {
        assert!(is_line("", 0));
        assert!(is_line("ßß", 2));
        assert!(!is_line("ßßß", 2));
    }

    #[test]
    fn nothing_controls_a_terminal() {
        for text in ["a\nb", "a\n", "\u{1b}[2J", "\u{7f}", "\u{9b}2J"] {
            assert!(!is_line(text, 10), "{text:?}");
        }
    }
}
