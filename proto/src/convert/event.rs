//! Events: what the server tells of a change, as its envelope has it.
//!
//! Owns how a change of the core becomes an [`Event`], seen from a path ([`Side`]), and its one id.
//! Called by the server for whoever watches or asks what changed, and by clients to read it back.
//! Must never: tell the same change under two ids.

mod relevance;
mod wire;

#[cfg(test)]
mod tests;

use fusion_core::change::{Cause, Change, ChangeKind, TrashId};
use fusion_core::id::{AgentId, CorrelationId, Revision, SessionId, ViewName};
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::ServerTime;
use uuid::{Builder, Uuid};

use super::stat::path_to_text;

pub use relevance::{Side, names_outside};
pub(in crate::convert) use wire::chain;
pub use wire::{event_from_pb, event_type_from_pb, event_type_to_pb};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// The view learned of an entry that it did not know.
    EntryCreated,
    /// The stat of an entry changed.
    EntryModified,
    /// A subtree moved within the path asked for.
    EntryMoved,
    /// A subtree moved into it.
    EntryMovedIn,
    /// A subtree moved out of it.
    EntryMovedOut,
    /// A subtree went to the trash.
    NodeSoftDeleted,
    /// A subtree came back from it.
    NodeRestored,
    /// A record of the trash is gone for good.
    NodePermanentlyDeleted,
    /// The view was reset.
    ViewReset,
}

/// All types, each in the word of the contract.
pub const EVENT_TYPES: [(EventType, &str); 9] = [
    (EventType::EntryCreated, "ENTRY_CREATED"),
    (EventType::EntryModified, "ENTRY_MODIFIED"),
    (EventType::EntryMoved, "ENTRY_MOVED"),
    (EventType::EntryMovedIn, "ENTRY_MOVED_IN"),
    (EventType::EntryMovedOut, "ENTRY_MOVED_OUT"),
    (EventType::NodeSoftDeleted, "NODE_SOFT_DELETED"),
    (EventType::NodeRestored, "NODE_RESTORED"),
    (EventType::NodePermanentlyDeleted, "NODE_PERMANENTLY_DELETED"),
    (EventType::ViewReset, "VIEW_RESET"),
];

impl EventType {
    /// The word of the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        EVENT_TYPES.iter().find(|(known, _)| *known == self).map_or("", |(_, text)| text)
    }

    /// Reads the word of the contract.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        EVENT_TYPES.iter().find(|(_, known)| *known == text).map(|(kind, _)| *kind)
    }
}

/// On whose account, and in which chain of cause and effect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// The name under which a person or program was let in.
    pub principal: Option<String>,
    /// The agent.
    pub agent: Option<AgentId>,
    /// Its session.
    pub session: Option<SessionId>,
    /// The chain.
    pub correlation: Option<CorrelationId>,
    /// What in it caused this.
    pub causation: Option<CorrelationId>,
}

/// The view that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    /// Its id, which goes into the ids of its events.
    pub id: Uuid,
    /// Its name.
    pub name: ViewName,
}

/// One change as it is told. Paths are in the notation of answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The same whenever it is told.
    pub id: Uuid,
    /// What happened.
    pub event_type: EventType,
    /// On whose account.
    pub account: Account,
    /// The view.
    pub view: ViewName,
    /// To which entry; empty if to the whole view.
    pub path: String,
    /// When the view learned of it.
    pub time: ServerTime,
    /// The view's revision.
    pub revision: Revision,
    /// Why.
    pub cause: Cause,
    /// What became of the entry; absent if it is about the whole view.
    pub entry: Option<EntryChange>,
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EntryChange {
    /// Its stat before.
    pub before: Option<Stat>,
    /// Its stat after.
    pub after: Option<Stat>,
    /// Where it was and where it is, if it moved.
    pub moved: Option<(String, String)>,
    /// Maybe unfinished.
    pub suspect: bool,
    /// Known only by scanning.
    pub blind: bool,
    /// The record of the trash.
    pub trash: Option<TrashId>,
}

impl Event {
    /// The event of one change as [`Change::entries`] tells it, seen from a side; `None` if it is one
    /// of those that no reader sees.
    #[must_use]
    pub fn of(view: &EventView, account: &Account, change: &Change, side: Side) -> Option<Self> {
        let (path, entry) = entry_of(change, side)?;
        let mut account = account.clone();
        if let Some(witness) = &change.by {
            (account.agent, account.session) = (Some(witness.agent.clone()), Some(witness.session));
        }
        Some(Self {
            id: event_id(view.id, change.revision, change.at),
            event_type: event_type(&change.kind, side)?,
            account,
            view: view.name.clone(),
            path,
            time: change.at,
            revision: change.revision,
            cause: change.cause,
            entry,
        })
    }
}

/// The type of the event of a change, seen from a side.
#[must_use]
pub fn event_type(kind: &ChangeKind, side: Side) -> Option<EventType> {
    Some(match kind {
        ChangeKind::Created { .. } => EventType::EntryCreated,
        ChangeKind::Modified { .. } => EventType::EntryModified,
        ChangeKind::Moved { .. } => match side {
            Side::Within => EventType::EntryMoved,
            Side::In => EventType::EntryMovedIn,
            Side::Out => EventType::EntryMovedOut,
        },
        ChangeKind::Removed { .. } => EventType::NodeSoftDeleted,
        ChangeKind::Restored { .. } => EventType::NodeRestored,
        ChangeKind::Purged { .. } => EventType::NodePermanentlyDeleted,
        ChangeKind::Reset => EventType::ViewReset,
        ChangeKind::Touched { .. }
        | ChangeKind::Listed(_)
        | ChangeKind::Buried { .. }
        | ChangeKind::Noted(_) => return None,
    })
}

/// What kind of entry a change is about; `None` if it is about the whole view or told to nobody.
#[must_use]
pub fn kind_of(kind: &ChangeKind) -> Option<Kind> {
    match kind {
        ChangeKind::Created { stat, .. }
        | ChangeKind::Removed { stat, .. }
        | ChangeKind::Moved { stat, .. }
        | ChangeKind::Restored { stat, .. }
        | ChangeKind::Purged { stat, .. }
        | ChangeKind::Modified { after: stat, .. } => Some(stat.kind),
        _ => None,
    }
}

fn entry_of(change: &Change, side: Side) -> Option<(String, Option<EntryChange>)> {
    let text = |path: &fusion_core::path::TreePath| path_to_text(path.as_ref());
    let none = EntryChange::default();
    let (path, entry) = match &change.kind {
        ChangeKind::Created { path, stat, facts } => {
            let suspect = facts.suspect_until.is_some();
            (text(path), EntryChange { after: Some(*stat), suspect, blind: facts.blind, ..none })
        }
        ChangeKind::Modified { path, before, after, facts } => {
            let (before, after) = (Some(*before), Some(*after));
            let suspect = facts.suspect_until.is_some();
            (text(path), EntryChange { before, after, suspect, blind: facts.blind, ..none })
        }
        ChangeKind::Moved { from, to, before, stat, facts, .. } => {
            let (before, after) = (Some(*before), Some(*stat));
            let (from, to) = (text(from), text(to));
            let path = if side == Side::Out { from.clone() } else { to.clone() };
            let (suspect, moved) = (facts.suspect_until.is_some(), Some((from, to)));
            let blind = facts.blind;
            (path, EntryChange { before, after, moved, suspect, blind, trash: None })
        }
        ChangeKind::Removed { path, stat, blind, .. } => {
            let (before, trash) = (Some(*stat), Some(TrashId(change.revision.0)));
            (text(path), EntryChange { before, blind: *blind, trash, ..none })
        }
        ChangeKind::Restored { path, stat, trash, .. } => {
            let (after, trash) = (Some(*stat), Some(*trash));
            (text(path), EntryChange { after, suspect: true, trash, ..none })
        }
        ChangeKind::Purged { path, stat, trash } => {
            (text(path), EntryChange { before: Some(*stat), trash: Some(*trash), ..none })
        }
        ChangeKind::Reset => return Some((String::new(), None)),
        ChangeKind::Touched { .. }
        | ChangeKind::Listed(_)
        | ChangeKind::Buried { .. }
        | ChangeKind::Noted(_) => return None,
    };
    Some((path, Some(entry)))
}

/// The id of the event of a change: a UUID v7 of its time with 74 bits of a hash of view and revision.
/// For one view no two revisions have the same hash, because each step can be undone.
#[must_use]
pub fn event_id(view: Uuid, revision: Revision, at: ServerTime) -> Uuid {
    let (high, low) = view.as_u64_pair();
    let seed = mixed(low ^ mixed(high));
    let hash = mixed(revision.0 ^ seed);
    let millis = u64::try_from(at.as_nanos() / 1_000_000).unwrap_or(0);
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&hash.to_be_bytes());
    // Four bits of byte 0 and two of byte 2 give way to version and variant: they go to the end.
    let lost = (bytes[0] >> 4) << 2 | bytes[2] >> 6;
    bytes[8] = lost << 2 | (seed >> 62) as u8;
    bytes[9] = seed as u8;
    Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
}

/// The finaliser of `SplitMix64`: spreads every bit over all, and can be undone.
fn mixed(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
