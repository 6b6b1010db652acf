//! Waiting for quiet: what is asked for and what is told.

use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_core::path::{TreePath, notation};
use fusion_core::time::ServerTime;
use fusion_core::view::Totals;

use crate::convert::stat::{path_from_text, path_to_text};
use crate::convert::time::{duration_from_pb, duration_to_pb, server_time_to_pb, time_in};
use crate::convert::view::{Freshness, freshness_from_pb, totals_from_pb, totals_to_pb, view_name};
use crate::convert::{ConvertError, InField as _, Unsendable, bounded};
use crate::{limits, pb};

/// What `WaitQuiet` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitQuiet {
    /// The view.
    pub view: ViewName,
    /// The file or directory.
    pub path: TreePath,
    /// How long nothing may have changed.
    pub quiet_for: Duration,
    /// Least number of files.
    pub min_files: u64,
    /// Least number of bytes.
    pub min_bytes: u64,
    /// Relative path of what must be there, as bytes without the leading `/`.
    pub marker: Option<Vec<u8>>,
    /// Between two reports.
    pub progress: Duration,
}

/// Why a path does not count as quiet yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotQuiet {
    /// The view is not READY.
    ViewNotReady,
    /// Nothing is known at the path.
    PathNotFound,
    /// Something is suspect.
    Suspects,
    /// The horizon is not far enough after the last change, or not known.
    ChangedRecently,
    /// Fewer files than asked for.
    TooFewFiles,
    /// Fewer bytes than asked for.
    TooFewBytes,
    /// The marker is not there.
    MarkerMissing,
    /// The view was told of something that it cannot place yet.
    InDoubt,
}

/// All reasons, with their numbers and words.
const REASONS: [(NotQuiet, pb::NotQuietReason, &str); 8] = [
    (NotQuiet::ViewNotReady, pb::NotQuietReason::ViewNotReady, "VIEW_NOT_READY"),
    (NotQuiet::PathNotFound, pb::NotQuietReason::PathNotFound, "PATH_NOT_FOUND"),
    (NotQuiet::Suspects, pb::NotQuietReason::Suspects, "SUSPECTS"),
    (NotQuiet::ChangedRecently, pb::NotQuietReason::ChangedRecently, "CHANGED_RECENTLY"),
    (NotQuiet::TooFewFiles, pb::NotQuietReason::TooFewFiles, "TOO_FEW_FILES"),
    (NotQuiet::TooFewBytes, pb::NotQuietReason::TooFewBytes, "TOO_FEW_BYTES"),
    (NotQuiet::MarkerMissing, pb::NotQuietReason::MarkerMissing, "MARKER_MISSING"),
    (NotQuiet::InDoubt, pb::NotQuietReason::InDoubt, "IN_DOUBT"),
];

impl NotQuiet {
    /// The word of the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        REASONS.iter().find(|(known, ..)| *known == self).map_or("", |(.., text)| text)
    }

    fn to_pb(self) -> pb::NotQuietReason {
        let found = REASONS.iter().find(|(known, ..)| *known == self);
        found.map_or(pb::NotQuietReason::Unspecified, |(_, number, _)| *number)
    }

    fn from_pb(number: i32) -> Result<Self, ConvertError> {
        let found = REASONS.iter().find(|(_, known, _)| *known as i32 == number);
        found.map(|(reason, ..)| *reason).ok_or(ConvertError::unknown("reasons", number))
    }
}

/// How far a wait is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiet {
    /// Why the path is not quiet yet; empty if it is.
    pub reasons: Vec<NotQuiet>,
    /// What lies below the path.
    pub totals: Option<Totals>,
    /// A few of the suspects, in the notation of answers.
    pub suspects: Vec<String>,
    /// Until when it is not known to have been unchanged.
    pub last_change: Option<ServerTime>,
    /// What the answer is worth.
    pub freshness: Freshness,
}

impl Quiet {
    /// Whether the path is quiet.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.reasons.is_empty()
    }
}

impl TryFrom<pb::WaitQuietRequest> for WaitQuiet {
    type Error = ConvertError;

    fn try_from(request: pb::WaitQuietRequest) -> Result<Self, ConvertError> {
        let pb::WaitQuietRequest {
            view,
            path,
            quiet_for,
            min_files,
            min_bytes,
            marker,
            progress_interval,
        } = request;
        let path = path_from_text("path", &path)?;
        let quiet_for = quiet_for.ok_or(ConvertError::missing("quiet_for"))?;
        let quiet_for = duration_from_pb(&quiet_for).in_field("quiet_for")?;
        if quiet_for.is_zero() || quiet_for > limits::QUIET_MAX {
            return Err(ConvertError::invalid("quiet_for", "must be more than 0, at most 7 days"));
        }
        let progress = progress_interval.as_ref().map(duration_from_pb).transpose();
        let progress = progress.in_field("progress_interval")?.unwrap_or(limits::PROGRESS_DEFAULT);
        if !(limits::PROGRESS_MIN..=limits::PROGRESS_MAX).contains(&progress) {
            return Err(ConvertError::invalid("progress_interval", "must be 100 ms to 1 h"));
        }
        let marker = (!marker.is_empty()).then(|| marker_from_text(&marker)).transpose()?;
        if let Some(marker) = &marker {
            below(&path, marker)?;
        }
        Ok(Self {
            view: view_name(&view)?,
            path,
            quiet_for,
            min_files,
            min_bytes,
            marker,
            progress,
        })
    }
}

fn marker_from_text(text: &str) -> Result<Vec<u8>, ConvertError> {
    bounded("marker", text, limits::PATH_TEXT_MAX)?;
    let path = TreePath::new(notation::parse(&format!("/{text}")).in_field("marker")?);
    let path = path.in_field("marker")?;
    Ok(path.as_bytes().get(1..).unwrap_or_default().to_vec())
}

/// A relative path below a path.
fn below(path: &TreePath, relative: &[u8]) -> Result<TreePath, ConvertError> {
    let root = path.as_ref().is_root();
    let stem = if root { &[][..] } else { path.as_bytes() };
    TreePath::new([stem, b"/", relative].concat()).in_field("marker")
}

impl WaitQuiet {
    /// The whole path of the marker.
    #[must_use]
    pub fn marker_path(&self) -> Option<TreePath> {
        below(&self.path, self.marker.as_ref()?).ok()
    }
}

impl TryFrom<&WaitQuiet> for pb::WaitQuietRequest {
    type Error = Unsendable;

    fn try_from(asked: &WaitQuiet) -> Result<Self, Unsendable> {
        let WaitQuiet { view, path, quiet_for, min_files, min_bytes, marker, progress } = asked;
        Ok(Self {
            view: view.to_string(),
            path: path_to_text(path.as_ref()),
            quiet_for: Some(duration_to_pb("quiet_for", *quiet_for)?),
            min_files: *min_files,
            min_bytes: *min_bytes,
            marker: marker.as_ref().map_or(String::new(), |marker| notation::to_text(marker)),
            progress_interval: Some(duration_to_pb("progress_interval", *progress)?),
        })
    }
}

impl TryFrom<&Quiet> for pb::WaitQuietResponse {
    type Error = Unsendable;

    fn try_from(told: &Quiet) -> Result<Self, Unsendable> {
        let Quiet { reasons, totals, suspects, last_change, freshness } = told;
        Ok(Self {
            quiet: told.is_quiet(),
            reasons: reasons.iter().map(|reason| reason.to_pb().into()).collect(),
            totals: totals.as_ref().map(totals_to_pb),
            suspects: suspects.clone(),
            last_change: last_change.map(server_time_to_pb),
            freshness: Some(freshness.try_into()?),
        })
    }
}

impl TryFrom<pb::WaitQuietResponse> for Quiet {
    type Error = ConvertError;

    fn try_from(told: pb::WaitQuietResponse) -> Result<Self, ConvertError> {
        let pb::WaitQuietResponse { quiet, reasons, totals, suspects, last_change, freshness } =
            told;
        if quiet != reasons.is_empty() {
            return Err(ConvertError::invalid("quiet", "contradicts `reasons`"));
        }
        let freshness = freshness.ok_or(ConvertError::missing("freshness"))?;
        Ok(Self {
            reasons: reasons.into_iter().map(NotQuiet::from_pb).collect::<Result<_, _>>()?,
            totals: totals
                .map(totals_from_pb)
                .transpose()
                .map_err(|error| error.within("totals"))?,
            suspects,
            last_change: time_in("last_change", last_change.as_ref())?,
            freshness: freshness_from_pb(freshness).map_err(|error| error.within("freshness"))?,
        })
    }
}
