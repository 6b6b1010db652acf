//! The one printable spelling of a path or name (3-protocol).
//!
//! Bytes that are not valid UTF-8 and control characters (0x00–0x1F, 0x7F) are `\xHH` with
//! upper-case digits, a backslash is `\\`, all else stands as it is. Reading takes exactly this
//! notation and nothing else, so that bytes have one spelling: [`parse`] of [`to_text`] is the
//! identity, and [`to_text`] of [`parse`] is too.

use std::fmt::Write as _;

/// Why a text is not in the notation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotationError {
    /// A backslash that is followed by neither a backslash nor `xHH`.
    #[error(
        "at byte {at}: a backslash is written `\\\\`, a byte that cannot be printed `\\xHH` with upper-case digits"
    )]
    BadEscape {
        /// Offset of the backslash in the text.
        at: usize,
    },
    /// `\xHH` for what stands as it is, or a control character that stands as it is.
    #[error("the text is not in its one spelling; write it as `{canonical}`")]
    NotCanonical {
        /// The spelling that is accepted.
        canonical: String,
    },
}

/// Writes bytes in the notation.
#[must_use]
pub fn to_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '\0'..='\x1f' | '\x7f' => push_hex(&mut text, character as u8),
                _ => text.push(character),
            }
        }
        for &byte in chunk.invalid() {
            push_hex(&mut text, byte);
        }
    }
    text
}

/// Reads bytes from the notation.
///
/// # Errors
/// A wrong escape, or a spelling other than the one that [`to_text`] gives.
pub fn parse(text: &str) -> Result<Vec<u8>, NotationError> {
    let raw = text.as_bytes();
    let mut bytes = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        if raw[at] != b'\\' {
            bytes.push(raw[at]);
            at += 1;
            continue;
        }
        match raw.get(at + 1..) {
            Some([b'\\', ..]) => {
                bytes.push(b'\\');
                at += 2;
            }
            Some([b'x', high, low, ..]) => {
                let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
                    return Err(NotationError::BadEscape { at });
                };
                bytes.push(high << 4 | low);
                at += 4;
            }
            _ => return Err(NotationError::BadEscape { at }),
        }
    }
    let canonical = to_text(&bytes);
    if canonical == text { Ok(bytes) } else { Err(NotationError::NotCanonical { canonical }) }
}

fn push_hex(text: &mut String, byte: u8) {
    let _ = write!(text, "\\x{byte:02X}");
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spelled_as_specified() {
        assert_eq!(to_text(b"/a\\b"), r"/a\\b");
        assert_eq!(to_text(b"/a\xff\n"), r"/a\xFF\x0A");
        assert_eq!(to_text("/ä\x7f".as_bytes()), r"/ä\x7F");
        assert_eq!(parse(r"/a\xFF").unwrap(), b"/a\xff");
    }

    #[test]
    fn one_spelling_only() {
        for bad in [r"\", r"\n", r"\x4", r"\xfF", r"\xFG"] {
            assert!(matches!(parse(bad), Err(NotationError::BadEscape { at: 0 })), "{bad}");
        }
        for bad in [r"\x41", "a\nb", r"\xC3\xA4"] {
            assert!(matches!(parse(bad), Err(NotationError::NotCanonical { .. })), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn bytes_survive(bytes: Vec<u8>) {
            prop_assert_eq!(parse(&to_text(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn an_accepted_text_is_what_we_would_write(text in "[\\\\x0-9A-Fa\u{0}-\u{7f}]{0,12}") {
            if let Ok(bytes) = parse(&text) {
                prop_assert_eq!(to_text(&bytes), text);
            }
        }
    }
}
