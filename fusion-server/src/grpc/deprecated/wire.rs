//! Finds deprecated fields in requests as they come: frames of gRPC, and the tags of protobuf in them.
//!
//! Values are skipped, not decoded. What is malformed ends the look: the handler refuses it.

use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use fusion_proto::limits::MESSAGE_BYTES;

use super::contract::Contract;

/// How deep messages may lie in each other; as prost's own limit.
const DEPTH: usize = 100;
/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Reads the messages of one call.
pub(super) struct Reader {
    contract: Arc<Contract>,
    message: usize,
    waiting: BytesMut,
    is_over: bool,
}

impl Reader {
    /// Of requests that are this message of the contract.
    pub(super) fn new(contract: Arc<Contract>, message: usize) -> Self {
        Self { contract, message, waiting: BytesMut::new(), is_over: false }
    }

    /// What is in the messages that end with these bytes.
    pub(super) fn read(&mut self, bytes: &Bytes) -> Vec<usize> {
        let mut found = Vec::new();
        if self.is_over {
            return found;
        }
        self.waiting.extend_from_slice(bytes);
        while let Some((prefix, rest)) = self.waiting.split_at_checked(PREFIX) {
            let length = (&prefix[1..]).get_u32() as usize;
            if prefix[0] != 0 || length > MESSAGE_BYTES {
                // Refused, unread.
                (self.is_over, self.waiting) = (true, BytesMut::new());
                break;
            }
            let Some(message) = rest.get(..length) else { break };
            look(&self.contract, self.message, message, DEPTH, &mut found);
            self.waiting.advance(PREFIX + length);
        }
        found
    }
}

/// Looks through a message; nothing if it is malformed from some place on.
fn look(
    contract: &Contract,
    message: usize,
    mut bytes: &[u8],
    depth: usize,
    found: &mut Vec<usize>,
) -> Option<()> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let field = contract.field(message, u32::try_from(key >> 3).ok()?);
        found.extend(field.itself);
        let length = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (value, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        if let (Some(message), 2, 1..) = (field.message, key & 7, depth) {
            look(contract, message, value, depth - 1, found)?;
        }
    }
    Some(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
