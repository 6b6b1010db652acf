//! Texts cut to a length in bytes, at a whole character.

const ELLIPSIS: &str = "...";

/// As many whole characters as fit into `max` bytes.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The text if it fits into `max` bytes, else as much of it as does with `...` after it. `max` is
/// at least 3.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    format!("{}{ELLIPSIS}", cut(text, max.saturating_sub(ELLIPSIS.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_at_whole_characters() {
        assert_eq!(cut("aéb", 0), "");
        assert_eq!(cut("aéb", 2), "a");
        assert_eq!(cut("aéb", 3), "aé");
        assert_eq!(cut("aéb", 9), "aéb");
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abc...");
        assert_eq!(shorten("ééé", 5), "é...");
    }
}
