//! Page tokens: where a page ended, of which view, for which request.
//!
//! A token is the last row's key, the id of the view (or of the server, for lists that are of no
//! view) and a hash of the request less its page size, in hexadecimal. It grants nothing: the call
//! is checked anew. Anything else in it is INVALID_ARGUMENT.

use fusion_core::time::ServerTime;
use fusion_proto::status::Refusal;
use uuid::Uuid;

/// The form of a token.
const VERSION: u8 = 1;
const HEAD: usize = 1 + 16 + 8;

/// What a token must be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageOf {
    owner: Uuid,
    request: u64,
}

impl PageOf {
    /// The list of `owner` that `request` (its fields without page size and token) asks for.
    pub(crate) fn new(owner: Uuid, request: &[&[u8]]) -> Self {
        Self { owner, request: hash(request) }
    }

    /// The token of the page after the row with this key.
    pub(crate) fn token(self, key: &[u8]) -> String {
        let head = [&[VERSION][..], self.owner.as_bytes(), &self.request.to_be_bytes()].concat();
        let mut token = String::with_capacity((HEAD + key.len()) * 2);
        for byte in head.iter().chain(key) {
            token.push(digit(byte >> 4));
            token.push(digit(byte & 15));
        }
        token
    }

    /// The key after which a page begins; `None` for the first page.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: the token is not one that this list gave for this request.
    pub(crate) fn key(self, token: &str) -> Result<Option<Vec<u8>>, Refusal> {
        if token.is_empty() {
            return Ok(None);
        }
        let refused = || {
            Refusal::invalid(
                "page_token",
                "is not a token of this list and this request; begin again without one",
            )
        };
        let bytes = unhex(token.as_bytes()).ok_or_else(refused)?;
        let (head, key) = bytes.split_at_checked(HEAD).ok_or_else(refused)?;
        let expected =
            [&[VERSION][..], self.owner.as_bytes(), &self.request.to_be_bytes()].concat();
        if head == expected && !key.is_empty() { Ok(Some(key.to_vec())) } else { Err(refused()) }
    }
}

/// A bound in time as a field of a request; `None` is no bound, and no time that could be asked for.
pub(crate) fn time_field(time: Option<ServerTime>) -> [u8; 8] {
    time.map_or(i64::MIN, ServerTime::as_nanos).to_be_bytes()
}

/// FNV-1a over the fields, each with its length. Tells requests apart, and defends nothing.
fn hash(fields: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut mix = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for field in fields {
        (field.len() as u64).to_be_bytes().into_iter().for_each(&mut mix);
        field.iter().copied().for_each(&mut mix);
    }
    hash
}

fn digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('0')
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_list_and_request_only() {
        let (owner, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let list = PageOf::new(owner, &[b"v", b"/a"]);
        let token = list.token(b"name\xff");
        assert_eq!(list.key(&token).unwrap().unwrap(), b"name\xff");
        assert_eq!(list.key("").unwrap(), None);
        let strangers = [
            PageOf::new(other, &[b"v", b"/a"]),
            PageOf::new(owner, &[b"v", b"/b"]),
            PageOf::new(owner, &[b"v/", b"a"]),
        ];
        for stranger in strangers {
            assert!(stranger.key(&token).is_err());
        }
        let cut = &token[..token.len() - 1];
        for bad in [cut, &token[..20], &token[2..], "zz", &token.to_uppercase(), &list.token(b"")] {
            assert!(list.key(bad).is_err(), "{bad}");
        }
    }
}
