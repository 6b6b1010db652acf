//! One path on several views: who has the fullest copy?

use std::cmp::Reverse;

use fusion_core::id::ViewName;
use fusion_core::time::StorageTime;
use fusion_core::view::{EntryInfo, Totals, ViewState};
use fusion_proto::convert::view::{CompareViews, ViewRank};
use fusion_proto::limits;
use fusion_proto::status::Refusal;

use super::views::{Views, Worth};

/// A view of a comparison: its name, and the path on it or why there is no answer.
pub(crate) type Row = (ViewName, Result<(EntryInfo, Worth), Refusal>);

/// The views that are asked for.
///
/// # Errors
/// All views are asked for, and there are too many.
pub(crate) fn names(views: &Views, asked: &CompareViews) -> Result<Vec<ViewName>, Refusal> {
    if !asked.views.is_empty() {
        return Ok(asked.views.clone());
    }
    let names: Vec<ViewName> = views.all().iter().map(|view| view.name().clone()).collect();
    if names.len() > limits::COMPARED_MAX {
        let why = format!("the server has {}: name at most {}", names.len(), limits::COMPARED_MAX);
        return Err(Refusal::invalid("views", why));
    }
    Ok(names)
}

/// Puts the best first; those without an answer last, by name.
pub(crate) fn rank(rank: ViewRank, rows: &mut [Row]) {
    rows.sort_by_cached_key(|(name, answer)| {
        // An error is greater than any answer.
        let score = answer.as_ref().map(|answer| Reverse(score(rank, answer)));
        (score.map_err(|_| ()), name.clone())
    });
}

/// What is more, the more it is.
fn score(rank: ViewRank, (entry, worth): &(EntryInfo, Worth)) -> (u64, Reverse<u64>, u64) {
    let totals = entry.totals.unwrap_or_default();
    let of = |number| (number, Reverse(0), 0);
    match rank {
        ViewRank::Completeness => {
            let state = match worth.status.state {
                ViewState::Ready => 3,
                ViewState::Degraded => 2,
                ViewState::Snapshotting => 1,
                ViewState::Empty => 0,
            };
            let suspects = totals.suspects + u64::from(entry.suspect);
            (state, Reverse(suspects), entries(&totals))
        }
        ViewRank::Files => of(totals.files),
        ViewRank::Bytes => of(totals.bytes),
        ViewRank::Newest => {
            let newest = totals.newest_mtime.unwrap_or(StorageTime::from_nanos(i64::MIN));
            of(super::best::ordered(newest.max(entry.stat.mtime).as_nanos()))
        }
    }
}

fn entries(totals: &Totals) -> u64 {
    totals.files.wrapping_add(totals.directories).wrapping_add(totals.others)
}
