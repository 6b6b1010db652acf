//! Suspects, blind spots and the trash: what is asked for, and what is told, both ways.

use fusion_core::change::{Cause, TrashId};
use fusion_core::id::{AgentId, ViewName};
use fusion_core::path::TreePath;
use fusion_core::stat::Stat;
use fusion_core::time::ServerTime;
use fusion_core::view::Totals;

use super::answer::{Entry, entry_from_pb, totals_from_pb, totals_to_pb};
use super::{Page, page, page_to_pb, view_name};
use crate::convert::stat::{path_from_text, path_to_text, stat_from_pb, stat_to_pb};
use crate::convert::time::{needed_time_in, server_time_to_pb, time_in};
use crate::convert::{ConvertError, InField as _};
use crate::pb;

/// What the lists of a view ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListWithin {
    /// The view.
    pub view: ViewName,
    /// Only what is at this path and below it.
    pub path: TreePath,
    /// Which page.
    pub page: Page,
}

/// A record of the trash that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashRef {
    /// The view.
    pub view: ViewName,
    /// The record.
    pub id: TrashId,
}

/// Why an entry is suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SuspectCause {
    /// An agent saw it being written, and has not seen it closed.
    Written,
    /// A scan or a look found it changed too recently, or it was restored.
    Found,
}

/// An entry that may be unfinished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuspectInfo {
    /// The entry.
    pub entry: Entry,
    /// Why.
    pub cause: SuspectCause,
    /// When it is suspect no longer, if it stays as it is.
    pub quiet_at: ServerTime,
    /// Who last told of it by an event, and when that looked; `None` if nobody did lately.
    pub confirmed: Option<(AgentId, ServerTime)>,
}

/// Something that happened where no agent watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlindSpot {
    /// Something was made or changed.
    Entry {
        /// It.
        entry: Entry,
        /// When its directory was last listed.
        listed_at: Option<ServerTime>,
    },
    /// Something went.
    Deletion(TrashInfo),
}

/// A subtree that went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashInfo {
    /// Its number.
    pub id: TrashId,
    /// Where it stood, in the notation of answers.
    pub path: String,
    /// Its last stat.
    pub stat: Stat,
    /// When it was found gone.
    pub deleted_at: ServerTime,
    /// When the view learned of that.
    pub learned_at: ServerTime,
    /// When it is dropped.
    pub expires_at: ServerTime,
    /// Why it went.
    pub cause: Cause,
    /// Whose evidence it was; `None` if nobody's.
    pub agent: Option<AgentId>,
    /// A scan found it gone, and no agent told.
    pub blind: bool,
    /// What went with it, itself included.
    pub totals: Totals,
}

const fn cause_to_pb(cause: Cause) -> pb::TrashCause {
    match cause {
        Cause::Realtime => pb::TrashCause::Realtime,
        Cause::Baseline => pb::TrashCause::Baseline,
        Cause::Audit => pb::TrashCause::Audit,
        Cause::Probe => pb::TrashCause::Probe,
        Cause::RenamedOver => pb::TrashCause::RenamedOver,
        Cause::Expiry => pb::TrashCause::Expiry,
        Cause::Operator => pb::TrashCause::Operator,
    }
}

fn cause_from_pb(number: i32) -> Result<Cause, ConvertError> {
    match pb::TrashCause::try_from(number) {
        Ok(pb::TrashCause::Realtime) => Ok(Cause::Realtime),
        Ok(pb::TrashCause::Baseline) => Ok(Cause::Baseline),
        Ok(pb::TrashCause::Audit) => Ok(Cause::Audit),
        Ok(pb::TrashCause::Probe) => Ok(Cause::Probe),
        Ok(pb::TrashCause::RenamedOver) => Ok(Cause::RenamedOver),
        Ok(pb::TrashCause::Expiry) => Ok(Cause::Expiry),
        Ok(pb::TrashCause::Operator) => Ok(Cause::Operator),
        Ok(pb::TrashCause::Unspecified) | Err(_) => Err(ConvertError::unknown("cause", number)),
    }
}

/// A request for a page of a list, both ways.
macro_rules! list_request {
    ($($name:ident)*) => {$(
        impl TryFrom<pb::$name> for ListWithin {
            type Error = ConvertError;

            fn try_from(request: pb::$name) -> Result<Self, ConvertError> {
                let pb::$name { view, path, page_size, page_token } = request;
                Ok(Self {
                    view: view_name(&view)?,
                    path: path_from_text("path", &path)?,
                    page: page(page_size, &page_token)?,
                })
            }
        }

        impl From<&ListWithin> for pb::$name {
            fn from(asked: &ListWithin) -> Self {
                let ListWithin { view, path, page } = asked;
                let (page_size, page_token) = page_to_pb(page);
                let path = path_to_text(path.as_ref());
                Self { view: view.to_string(), path, page_size, page_token }
            }
        }
    )*};
}

list_request! { ListSuspectsRequest ListBlindSpotsRequest ListTrashRequest }

/// A request about one record, both ways.
macro_rules! trash_request {
    ($($name:ident)*) => {$(
        impl TryFrom<pb::$name> for TrashRef {
            type Error = ConvertError;

            fn try_from(request: pb::$name) -> Result<Self, ConvertError> {
                let pb::$name { view, trash_id } = request;
                let view = view_name(&view)?;
                if trash_id == 0 {
                    return Err(ConvertError::missing("trash_id"));
                }
                Ok(Self { view, id: TrashId(trash_id) })
            }
        }

        impl From<&TrashRef> for pb::$name {
            fn from(asked: &TrashRef) -> Self {
                let TrashRef { view, id } = asked;
                Self { view: view.to_string(), trash_id: id.0 }
            }
        }
    )*};
}

trash_request! { RestoreTrashRequest PurgeTrashRequest }

impl From<&SuspectInfo> for pb::Suspect {
    fn from(suspect: &SuspectInfo) -> Self {
        let SuspectInfo { entry, cause, quiet_at, confirmed } = suspect;
        let cause = match cause {
            SuspectCause::Written => pb::SuspectCause::Written,
            SuspectCause::Found => pb::SuspectCause::Found,
        };
        Self {
            entry: Some(entry.into()),
            cause: cause.into(),
            quiet_at: Some(server_time_to_pb(*quiet_at)),
            agent_id: confirmed.as_ref().map(|(by, _)| by.to_string()).unwrap_or_default(),
            confirmed_at: confirmed.as_ref().map(|(_, at)| server_time_to_pb(*at)),
        }
    }
}

impl TryFrom<pb::Suspect> for SuspectInfo {
    type Error = ConvertError;

    fn try_from(suspect: pb::Suspect) -> Result<Self, ConvertError> {
        let pb::Suspect { entry, cause, quiet_at, agent_id, confirmed_at } = suspect;
        let cause = match pb::SuspectCause::try_from(cause) {
            Ok(pb::SuspectCause::Written) => SuspectCause::Written,
            Ok(pb::SuspectCause::Found) => SuspectCause::Found,
            Ok(pb::SuspectCause::Unspecified) | Err(_) => {
                return Err(ConvertError::unknown("cause", cause));
            }
        };
        let confirmed_at = time_in("confirmed_at", confirmed_at.as_ref())?;
        Ok(Self {
            entry: entry_from_pb(entry.ok_or(ConvertError::missing("entry"))?)?,
            cause,
            quiet_at: needed_time_in("quiet_at", quiet_at.as_ref())?,
            confirmed: agent(&agent_id)?.zip(confirmed_at),
        })
    }
}

impl From<&BlindSpot> for pb::BlindSpot {
    fn from(blind: &BlindSpot) -> Self {
        use pb::blind_spot::Spot;
        let spot = match blind {
            BlindSpot::Entry { entry, listed_at } => Spot::Entry(pb::BlindEntry {
                entry: Some(entry.into()),
                listed_at: listed_at.map(server_time_to_pb),
            }),
            BlindSpot::Deletion(record) => Spot::Deletion(record.into()),
        };
        Self { spot: Some(spot) }
    }
}

impl TryFrom<pb::BlindSpot> for BlindSpot {
    type Error = ConvertError;

    fn try_from(blind: pb::BlindSpot) -> Result<Self, ConvertError> {
        use pb::blind_spot::Spot;
        let pb::BlindSpot { spot } = blind;
        Ok(match spot.ok_or(ConvertError::missing("spot"))? {
            Spot::Entry(pb::BlindEntry { entry, listed_at }) => Self::Entry {
                entry: entry_from_pb(entry.ok_or(ConvertError::missing("entry"))?)?,
                listed_at: time_in("listed_at", listed_at.as_ref())?,
            },
            Spot::Deletion(record) => Self::Deletion(record.try_into()?),
        })
    }
}

impl From<&TrashInfo> for pb::TrashRecord {
    fn from(record: &TrashInfo) -> Self {
        let TrashInfo {
            id,
            path,
            stat,
            deleted_at,
            learned_at,
            expires_at,
            cause,
            agent,
            blind,
            totals,
        } = record;
        Self {
            trash_id: id.0,
            path: path.clone(),
            stat: Some(stat_to_pb(stat)),
            deleted_at: Some(server_time_to_pb(*deleted_at)),
            learned_at: Some(server_time_to_pb(*learned_at)),
            expires_at: Some(server_time_to_pb(*expires_at)),
            cause: cause_to_pb(*cause).into(),
            agent_id: agent.as_ref().map(AgentId::to_string).unwrap_or_default(),
            blind: *blind,
            totals: Some(totals_to_pb(totals)),
        }
    }
}

impl TryFrom<pb::TrashRecord> for TrashInfo {
    type Error = ConvertError;

    fn try_from(record: pb::TrashRecord) -> Result<Self, ConvertError> {
        let pb::TrashRecord {
            trash_id,
            path,
            stat,
            deleted_at,
            learned_at,
            expires_at,
            cause,
            agent_id,
            blind,
            totals,
        } = record;
        let stat = stat.ok_or(ConvertError::missing("stat"))?;
        Ok(Self {
            id: TrashId(trash_id),
            path,
            stat: stat_from_pb(&stat).map_err(|error| error.within("stat"))?,
            deleted_at: needed_time_in("deleted_at", deleted_at.as_ref())?,
            learned_at: needed_time_in("learned_at", learned_at.as_ref())?,
            expires_at: needed_time_in("expires_at", expires_at.as_ref())?,
            cause: cause_from_pb(cause)?,
            agent: agent(&agent_id)?,
            blind,
            totals: totals_from_pb(totals.ok_or(ConvertError::missing("totals"))?)?,
        })
    }
}

/// An agent that may be absent.
pub(super) fn agent(text: &str) -> Result<Option<AgentId>, ConvertError> {
    (!text.is_empty()).then(|| AgentId::new(text).in_field("agent_id")).transpose()
}
