//! Messages of a watch, whose events a server encodes once for all who watch.
//!
//! Owns the message `WatchViewResponse`, which is not generated: a thousand watchers get the same
//! events, and each would encode them anew. On the wire it is the message of the `.proto` file. Called
//! by the server, which keeps [`EncodedEvents`] and copies those that a watcher wants, and by clients,
//! which see plain events. Must never: encode otherwise than the generated code would (tested below).

use std::ops::Range;

use prost::DecodeError;
use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, message, skip_field, uint64};

use crate::convert::event::Event;
use crate::pb;

/// Some changes, in order: `fusion.v1.WatchViewResponse`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WatchViewResponse {
    /// Changes.
    pub events: Vec<pb::EventEnvelope>,
    /// More of them, after those, as bytes; nothing in a message that was received.
    pub encoded: EncodedEvents,
    /// All changes up to this revision that were asked for have been told.
    pub revision: u64,
}

/// Events as elements of the first field of a message.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EncodedEvents {
    bytes: Vec<u8>,
}

impl EncodedEvents {
    /// How many bytes they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds an event; where it is, for [`EncodedEvents::copy`].
    pub fn push(&mut self, event: Event) -> Range<usize> {
        let start = self.bytes.len();
        message::encode(1, &pb::EventEnvelope::from(event), &mut self.bytes);
        start..self.bytes.len()
    }

    /// Adds events that others have, from a range that is bounded by ranges of theirs.
    pub fn copy(&mut self, from: &Self, range: Range<usize>) {
        self.bytes.extend_from_slice(from.bytes.get(range).unwrap_or_default());
    }
}

impl Message for WatchViewResponse {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        message::encode_repeated(1, &self.events, buffer);
        buffer.put_slice(&self.encoded.bytes);
        if self.revision != 0 {
            uint64::encode(2, &self.revision, buffer);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => message::merge_repeated(wire_type, &mut self.events, buffer, context),
            2 => uint64::merge(wire_type, &mut self.revision, buffer, context),
            _ => skip_field(wire_type, tag, buffer, context),
        }
    }

    fn encoded_len(&self) -> usize {
        let revision = if self.revision == 0 { 0 } else { uint64::encoded_len(2, &self.revision) };
        message::encoded_len_repeated(1, &self.events) + self.encoded.bytes.len() + revision
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::event::{Account, EventType};
    use fusion_core::change::Cause;
    use fusion_core::id::{Revision, ViewName};
    use fusion_core::time::ServerTime;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn event(number: u64, path: &str) -> Event {
        Event {
            id: Uuid::from_u128(number.into()),
            event_type: EventType::EntryCreated,
            account: Account::default(),
            view: ViewName::new("v").unwrap(),
            path: path.to_owned(),
            time: ServerTime::from_nanos(number as i64),
            revision: Revision(number),
            cause: Cause::Audit,
            entry: None,
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_what_the_generated_code_encodes(
            rows in prop::collection::vec((1_u64.., "/[a-z]{0,300}"), 0..6), revision: u64,
        ) {
            let mut all = EncodedEvents::default();
            let events: Vec<Event> = rows.iter().map(|(number, path)| event(*number, path)).collect();
            let ranges: Vec<_> = events.iter().map(|event| all.push(event.clone())).collect();
            let mut encoded = EncodedEvents::default();
            for range in ranges {
                encoded.copy(&all, range);
            }
            prop_assert_eq!(&encoded, &all);
            let sent = WatchViewResponse { encoded, revision, ..Default::default() };
            let events = events.into_iter().map(pb::EventEnvelope::from).collect();
            let plain = WatchViewResponse { events, revision, ..Default::default() };
            let bytes = sent.encode_to_vec();
            prop_assert_eq!(&bytes, &plain.encode_to_vec());
            prop_assert_eq!(bytes.len(), sent.encoded_len());
            prop_assert_eq!(WatchViewResponse::decode(&*bytes), Ok(plain));
        }
    }
}
