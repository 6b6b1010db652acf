//! One path on several views.

use fusion_core::id::ViewName;
use fusion_core::path::TreePath;
use fusion_core::view::Totals;

use super::find::distinct;
use super::{
    Entry, Freshness, ReadClass, ViewError, entry_from_pb, freshness_from_pb, read_class_from_pb,
    read_class_to_pb, totals_from_pb,
};
use crate::convert::stat::{path_from_text, path_to_text};
use crate::convert::{ConvertError, InField as _};
use crate::{limits, pb};

/// What `CompareViews` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompareViews {
    /// The views, none twice; empty is all.
    pub views: Vec<ViewName>,
    /// The path.
    pub path: TreePath,
    /// What to demand of each view.
    pub class: ReadClass,
    /// What to rank by.
    pub rank: ViewRank,
}

/// What views are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ViewRank {
    /// State, then fewest suspects, then most entries.
    #[default]
    Completeness,
    /// Most files.
    Files,
    /// Most bytes.
    Bytes,
    /// Newest mtime of the path or of anything below it.
    Newest,
}

/// A view of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedView {
    /// Its name.
    pub view: ViewName,
    /// The path on it, or why there is no answer.
    pub answer: Result<Compared, ViewError>,
}

/// A path on one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// The entry at the path.
    pub entry: Entry,
    /// What lies below it.
    pub totals: Totals,
    /// What the answer is worth.
    pub freshness: Freshness,
}

impl TryFrom<pb::CompareViewsRequest> for CompareViews {
    type Error = ConvertError;

    fn try_from(request: pb::CompareViewsRequest) -> Result<Self, ConvertError> {
        let pb::CompareViewsRequest { views, path, read_class, rank } = request;
        Ok(Self {
            views: distinct("views", &views, limits::COMPARED_MAX)?,
            path: path_from_text("path", &path)?,
            class: read_class_from_pb(read_class)?,
            rank: match pb::ViewRank::try_from(rank) {
                Ok(pb::ViewRank::Unspecified | pb::ViewRank::Completeness) => {
                    ViewRank::Completeness
                }
                Ok(pb::ViewRank::Files) => ViewRank::Files,
                Ok(pb::ViewRank::Bytes) => ViewRank::Bytes,
                Ok(pb::ViewRank::Newest) => ViewRank::Newest,
                Err(_) => return Err(ConvertError::unknown("rank", rank)),
            },
        })
    }
}

impl From<&CompareViews> for pb::CompareViewsRequest {
    fn from(asked: &CompareViews) -> Self {
        let CompareViews { views, path, class, rank } = asked;
        let rank = match rank {
            ViewRank::Completeness => pb::ViewRank::Completeness,
            ViewRank::Files => pb::ViewRank::Files,
            ViewRank::Bytes => pb::ViewRank::Bytes,
            ViewRank::Newest => pb::ViewRank::Newest,
        };
        Self {
            views: views.iter().map(ViewName::to_string).collect(),
            path: path_to_text(path.as_ref()),
            read_class: read_class_to_pb(*class).into(),
            rank: rank.into(),
        }
    }
}

impl TryFrom<pb::ViewComparison> for ComparedView {
    type Error = ConvertError;

    fn try_from(view: pb::ViewComparison) -> Result<Self, ConvertError> {
        let pb::ViewComparison { view, entry, totals, freshness, error } = view;
        let view = ViewName::new(&view).in_field("view")?;
        if let Some(error) = error {
            return Ok(Self { view, answer: Err(error.into()) });
        }
        let answer = Compared {
            entry: entry_from_pb(entry.ok_or(ConvertError::missing("entry"))?)?,
            totals: totals_from_pb(totals.ok_or(ConvertError::missing("totals"))?)?,
            freshness: freshness_from_pb(freshness.ok_or(ConvertError::missing("freshness"))?)?,
        };
        Ok(Self { view, answer: Ok(answer) })
    }
}
