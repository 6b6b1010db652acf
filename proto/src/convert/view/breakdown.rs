//! What the files below a path are made of.

use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_core::path::TreePath;
use fusion_core::view::Totals;

use super::{
    Entry, Freshness, ReadClass, entry_from_pb, freshness_from_pb, read_class_from_pb,
    read_class_to_pb, totals_from_pb, totals_to_pb, view_name,
};
use crate::convert::stat::{path_from_text, path_to_text};
use crate::convert::time::{duration_from_pb, duration_to_pb};
use crate::convert::{ConvertError, InField as _, Unsendable};
use crate::{limits, pb};

/// What `GetBreakdown` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetBreakdown {
    /// The view.
    pub view: ViewName,
    /// The directory below which to look.
    pub path: TreePath,
    /// What to demand of the view.
    pub class: ReadClass,
    /// Most rows of a list, 1 to [`limits::TOP_MAX`].
    pub top: usize,
}

/// Files and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Regular files; each hard link counts.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
}

impl Tally {
    /// One more file.
    pub fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes = self.bytes.wrapping_add(bytes);
    }
}

/// The files of a class of ages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgeTally {
    /// The least age; `None` for files from the future.
    pub least_age: Option<Duration>,
    /// Files and bytes.
    pub tally: Tally,
}

/// What was counted. Lists are in the order of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breakdown {
    /// All files.
    pub all: Tally,
    /// By owner.
    pub owners: Vec<(u32, Tally)>,
    /// Of all other owners.
    pub other_owners: Tally,
    /// By extension, in the notation of answers; empty is none.
    pub extensions: Vec<(String, Tally)>,
    /// With all other extensions.
    pub other_extensions: Tally,
    /// There were more owners or extensions than are told apart.
    pub others_mixed: bool,
    /// By age.
    pub ages: Vec<AgeTally>,
    /// By least size.
    pub sizes: Vec<(u64, Tally)>,
    /// The largest files.
    pub largest_files: Vec<Entry>,
    /// The directories with the most bytes below them.
    pub largest_directories: Vec<(Entry, Totals)>,
    /// The directories with the newest mtime of their own.
    pub newest_directories: Vec<Entry>,
}

/// A message of the count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakdownPart {
    /// Entries that were looked at.
    pub looked_at: u64,
    /// Entries that there were at first.
    pub expected: u64,
    /// The whole, in the last message.
    pub whole: Option<(Breakdown, Freshness)>,
}

impl TryFrom<pb::GetBreakdownRequest> for GetBreakdown {
    type Error = ConvertError;

    fn try_from(request: pb::GetBreakdownRequest) -> Result<Self, ConvertError> {
        let pb::GetBreakdownRequest { view, path, read_class, top } = request;
        let top = match usize::try_from(top) {
            Ok(0) => limits::TOP_DEFAULT,
            Ok(top) if top <= limits::TOP_MAX => top,
            _ => {
                let why = format!("must be at most {}", limits::TOP_MAX);
                return Err(ConvertError::invalid("top", why));
            }
        };
        Ok(Self {
            view: view_name(&view)?,
            path: path_from_text("path", &path)?,
            class: read_class_from_pb(read_class)?,
            top,
        })
    }
}

impl From<&GetBreakdown> for pb::GetBreakdownRequest {
    fn from(asked: &GetBreakdown) -> Self {
        let GetBreakdown { view, path, class, top } = asked;
        Self {
            view: view.to_string(),
            path: path_to_text(path.as_ref()),
            read_class: read_class_to_pb(*class).into(),
            top: u32::try_from(*top).unwrap_or(u32::MAX),
        }
    }
}

fn tally_to_pb(tally: Tally) -> Option<pb::Tally> {
    let Tally { files, bytes } = tally;
    Some(pb::Tally { files, bytes })
}

fn tally_from_pb(tally: Option<pb::Tally>) -> Tally {
    // A tally in which nothing was counted may as well be absent.
    let pb::Tally { files, bytes } = tally.unwrap_or_default();
    Tally { files, bytes }
}

impl TryFrom<&Breakdown> for pb::Breakdown {
    type Error = Unsendable;

    fn try_from(breakdown: &Breakdown) -> Result<Self, Unsendable> {
        let Breakdown {
            all,
            owners,
            other_owners,
            extensions,
            other_extensions,
            others_mixed,
            ages,
            sizes,
            largest_files,
            largest_directories,
            newest_directories,
        } = breakdown;
        let owner = |&(uid, tally)| pb::OwnerTally { uid, tally: tally_to_pb(tally) };
        let extension = |(extension, tally): &(String, Tally)| pb::ExtensionTally {
            extension: extension.clone(),
            tally: tally_to_pb(*tally),
        };
        let age = |age: &AgeTally| {
            let least_age =
                age.least_age.map(|age| duration_to_pb("least_age", age)).transpose()?;
            Ok(pb::AgeTally { least_age, tally: tally_to_pb(age.tally) })
        };
        let size = |&(least_size, tally)| pb::SizeTally { least_size, tally: tally_to_pb(tally) };
        let directory = |(entry, totals): &(Entry, Totals)| pb::DirectoryTotals {
            entry: Some(entry.into()),
            totals: Some(totals_to_pb(totals)),
        };
        Ok(Self {
            all: tally_to_pb(*all),
            owners: owners.iter().map(owner).collect(),
            other_owners: tally_to_pb(*other_owners),
            extensions: extensions.iter().map(extension).collect(),
            other_extensions: tally_to_pb(*other_extensions),
            others_mixed: *others_mixed,
            ages: ages.iter().map(age).collect::<Result<_, Unsendable>>()?,
            sizes: sizes.iter().map(size).collect(),
            largest_files: largest_files.iter().map(pb::Entry::from).collect(),
            largest_directories: largest_directories.iter().map(directory).collect(),
            newest_directories: newest_directories.iter().map(pb::Entry::from).collect(),
        })
    }
}

impl TryFrom<pb::Breakdown> for Breakdown {
    type Error = ConvertError;

    fn try_from(breakdown: pb::Breakdown) -> Result<Self, ConvertError> {
        let pb::Breakdown {
            all,
            owners,
            other_owners,
            extensions,
            other_extensions,
            others_mixed,
            ages,
            sizes,
            largest_files,
            largest_directories,
            newest_directories,
        } = breakdown;
        let entries = |entries: Vec<pb::Entry>| {
            entries.into_iter().map(entry_from_pb).collect::<Result<Vec<_>, _>>()
        };
        let owner = |row: pb::OwnerTally| (row.uid, tally_from_pb(row.tally));
        let extension = |row: pb::ExtensionTally| (row.extension, tally_from_pb(row.tally));
        let size = |row: pb::SizeTally| (row.least_size, tally_from_pb(row.tally));
        Ok(Self {
            all: tally_from_pb(all),
            owners: owners.into_iter().map(owner).collect(),
            other_owners: tally_from_pb(other_owners),
            extensions: extensions.into_iter().map(extension).collect(),
            other_extensions: tally_from_pb(other_extensions),
            others_mixed,
            ages: ages.into_iter().map(age_from_pb).collect::<Result<_, _>>()?,
            sizes: sizes.into_iter().map(size).collect(),
            largest_files: entries(largest_files)?,
            largest_directories: largest_directories
                .into_iter()
                .map(directory_from_pb)
                .collect::<Result<_, _>>()?,
            newest_directories: entries(newest_directories)?,
        })
    }
}

fn age_from_pb(age: pb::AgeTally) -> Result<AgeTally, ConvertError> {
    let pb::AgeTally { least_age, tally } = age;
    let least_age = least_age.as_ref().map(duration_from_pb).transpose().in_field("least_age")?;
    Ok(AgeTally { least_age, tally: tally_from_pb(tally) })
}

fn directory_from_pb(directory: pb::DirectoryTotals) -> Result<(Entry, Totals), ConvertError> {
    let pb::DirectoryTotals { entry, totals } = directory;
    Ok((
        entry_from_pb(entry.ok_or(ConvertError::missing("entry"))?)?,
        totals_from_pb(totals.ok_or(ConvertError::missing("totals"))?)?,
    ))
}

impl TryFrom<pb::GetBreakdownResponse> for BreakdownPart {
    type Error = ConvertError;

    fn try_from(part: pb::GetBreakdownResponse) -> Result<Self, ConvertError> {
        let pb::GetBreakdownResponse { looked_at, expected, breakdown, freshness } = part;
        let whole = match breakdown {
            None => None,
            Some(breakdown) => Some((
                breakdown.try_into()?,
                freshness_from_pb(freshness.ok_or(ConvertError::missing("freshness"))?)?,
            )),
        };
        Ok(Self { looked_at, expected, whole })
    }
}
