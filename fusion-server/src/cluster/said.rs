//! What a server says of its views in its member record: what nobody can replay from the log.
//!
//! JSON, so that an operator can read it. Of a view that it owns: how far the view can be believed, as of a revision; of
//! one that it follows: how far it is. What is too much is cut: the texts of reasons first.

use fusion_core::id::{Revision, ViewName};
use fusion_core::time::ServerTime;
use fusion_core::view::{Coverage, ViewState};
use fusion_store::{OwnerEpoch, SAID_MAX, ViewId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::stores::{RecordError, check_version};

const VERSION: u32 = 1;
/// Reasons that are told of a view, and the length of each.
const REASONS: usize = 4;
const REASON: usize = 200;

/// All that a server says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Said {
    /// When, by its own server time.
    pub(crate) at: ServerTime,
    /// It gives its views away, and takes none.
    pub(crate) draining: bool,
    /// Of each of its views.
    pub(crate) views: Vec<SaidOfView>,
}

/// What it says of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SaidOfView {
    pub(crate) view: ViewId,
    /// For people.
    pub(crate) name: ViewName,
    /// The revision that it is as of.
    pub(crate) revision: Revision,
    /// Only of a view that it owns.
    pub(crate) owned: Option<SaidAsOwner>,
}

/// What only an owner knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SaidAsOwner {
    pub(crate) epoch: OwnerEpoch,
    pub(crate) state: ViewState,
    pub(crate) reasons: Vec<String>,
    pub(crate) coverage: Coverage,
    pub(crate) horizon: Option<ServerTime>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    at_ns: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    draining: bool,
    views: Vec<StoredView>,
}

#[derive(Serialize, Deserialize)]
struct StoredView {
    id: Uuid,
    name: String,
    revision: u64,
    #[serde(flatten)]
    owned: Option<StoredOwned>,
}

#[derive(Serialize, Deserialize)]
struct StoredOwned {
    epoch: u64,
    state: State,
    reasons: Vec<String>,
    coverage: Covered,
    horizon_ns: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ViewState", rename_all = "snake_case")]
enum StateOf {
    Empty,
    Snapshotting,
    Ready,
    Degraded,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Coverage", rename_all = "snake_case")]
enum CoverageOf {
    RealtimeAndAudit,
    AuditOnly,
    WatchDegraded,
}

#[derive(Serialize, Deserialize)]
struct State(#[serde(with = "StateOf")] ViewState);

#[derive(Serialize, Deserialize)]
struct Covered(#[serde(with = "CoverageOf")] Coverage);

impl Said {
    /// The form that is stored; it fits into a member record.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        for reasons in [REASONS, 1, 0] {
            let bytes = self.with_reasons(reasons);
            if bytes.len() <= SAID_MAX {
                return bytes;
            }
        }
        // More views than a record has room for: those that are owned come first.
        let mut views = self.views.clone();
        views.sort_by_key(|view| view.owned.is_none());
        let mut cut = Self { views, ..*self };
        loop {
            cut.views.truncate(cut.views.len() / 2);
            let bytes = cut.with_reasons(0);
            if bytes.len() <= SAID_MAX {
                tracing::error!(views = self.views.len(), "too many views to tell others of all");
                return bytes;
            }
        }
    }

    fn with_reasons(&self, most: usize) -> Vec<u8> {
        let views = self.views.iter().map(|view| view.stored(most)).collect();
        let (at_ns, draining) = (self.at.as_nanos(), self.draining);
        let stored = Stored { v: VERSION, at_ns, draining, views };
        // Of such a value `serde_json` refuses nothing: it has no key that is no string.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// Reads what was stored, by this version or an earlier one.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        check_version(bytes, VERSION)?;
        let Stored { v: _, at_ns, draining, views } = serde_json::from_slice(bytes)?;
        let views = views.into_iter().map(SaidOfView::read).collect::<Result<_, _>>()?;
        Ok(Self { at: ServerTime::from_nanos(at_ns), draining, views })
    }

    /// What it says of a view.
    pub(super) fn of(&self, view: ViewId) -> Option<&SaidOfView> {
        self.views.iter().find(|said| said.view == view)
    }
}

impl SaidOfView {
    fn stored(&self, reasons: usize) -> StoredView {
        let owned = self.owned.as_ref().map(|owned| StoredOwned {
            epoch: owned.epoch.0,
            state: State(owned.state),
            reasons: owned.reasons.iter().take(reasons).map(|reason| cut(reason)).collect(),
            coverage: Covered(owned.coverage),
            horizon_ns: owned.horizon.map(ServerTime::as_nanos),
        });
        let (name, revision) = (self.name.as_str().to_owned(), self.revision.0);
        StoredView { id: self.view.0, name, revision, owned }
    }

    fn read(stored: StoredView) -> Result<Self, RecordError> {
        let owned = stored.owned.map(|owned| SaidAsOwner {
            epoch: OwnerEpoch(owned.epoch),
            state: owned.state.0,
            reasons: owned.reasons,
            coverage: owned.coverage.0,
            horizon: owned.horizon_ns.map(ServerTime::from_nanos),
        });
        Ok(Self {
            view: ViewId(stored.id),
            name: ViewName::new(&stored.name)?,
            revision: Revision(stored.revision),
            owned,
        })
    }
}

fn cut(text: &str) -> String {
    text.chars().take(REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN_V1: &[u8] = include_bytes!("../../tests/golden/said-v1.json");

    fn of_view(number: u128, owned: bool) -> SaidOfView {
        let owned = owned.then(|| SaidAsOwner {
            epoch: OwnerEpoch(3),
            state: ViewState::Degraded,
            reasons: vec!["the root is away at agent a".to_owned()],
            coverage: Coverage::WatchDegraded,
            horizon: Some(ServerTime::from_nanos(17)),
        });
        let (view, name) = (ViewId(Uuid::from_u128(number)), ViewName::new("v").unwrap());
        SaidOfView { view, name, revision: Revision(9), owned }
    }

    #[test]
    fn what_is_written_is_read_back_and_the_form_does_not_drift() {
        let at = ServerTime::from_nanos(1_700_000_000_000_000_001);
        let views = vec![of_view(1, true), of_view(2, false)];
        let said = Said { at, draining: false, views };
        let bytes = said.to_bytes();
        assert_eq!(
            String::from_utf8(bytes),
            String::from_utf8(GOLDEN_V1.trim_ascii_end().to_vec())
        );
        assert_eq!(Said::read(GOLDEN_V1).unwrap(), said);
        let draining = Said { draining: true, ..said };
        assert_eq!(Said::read(&draining.to_bytes()).unwrap(), draining);
        let future = Said::read(b"{\"v\":2}");
        assert!(matches!(future, Err(RecordError::FromTheFuture { found: 2, known: 1 })));
        for bad in [&b"{\"v\":1}"[..], b""] {
            assert!(Said::read(bad).is_err());
        }
    }

    #[test]
    fn what_is_too_much_is_cut() {
        let mut views: Vec<_> = (0..9_000).map(|number| of_view(number, false)).collect();
        views.extend((9_000..11_000).map(|number| of_view(number, true)));
        let bytes = Said { views, ..Said::default() }.to_bytes();
        assert!(bytes.len() <= SAID_MAX);
        let told = Said::read(&bytes).unwrap().views;
        assert_eq!(told.iter().filter(|view| view.owned.is_some()).count(), 2_000);
    }
}
