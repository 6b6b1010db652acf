//! Listings from the wire: one set of columns for many directories, cut into one slice for each.
//!
//! Checked in two steps. Columns that do not agree with each other reject the whole element: nothing
//! in it can be trusted to be where it seems. Then each directory stands for itself, and each child.
//! The common case, in which all is well, looks at the columns in bulk and copies nothing.

use std::slice;

use fusion_core::evidence::{ChildColumns, Children, Evidence, Listing, ScanId, Source};
use fusion_core::path::{NAME_MAX, PathRef, check_name};
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::ServerTime;

use super::stat_columns::{StatSlices, agrees};
use super::{RejectedRow, Row, source_from_pb};
use crate::convert::{ConvertError, InField as _};
use crate::pb;

/// Bit of `directory_flags`: this is the last part.
pub(super) const FLAG_LAST: u8 = 1;
/// Bit of `directory_flags`: every name of this part was read and looked at.
pub(super) const FLAG_COMPLETE: u8 = 1 << 1;

/// One element of `listings`, checked as far as it takes to cut it up.
#[derive(Debug)]
pub(super) struct CheckedListings<'a> {
    /// Number of its first row in the batch.
    first: u32,
    rows: u32,
    /// `None` if they do not agree.
    columns: Option<Columns<'a>>,
    /// What is said instead, at the first row: how many rows belong to which directory is not known.
    fault: Option<RejectedRow>,
}

/// Columns that agree with each other.
#[derive(Debug)]
struct Columns<'a> {
    message: &'a pb::Listings,
    source: Source,
    directory_stats: StatSlices<'a>,
    stats: StatSlices<'a>,
    /// Directories with bad children, in order; almost always empty.
    repairs: Vec<Repair>,
}

/// What is left of a directory of which some children were rejected.
#[derive(Debug)]
struct Repair {
    directory: usize,
    children: ChildColumns,
    rejected: Vec<RejectedRow>,
}

impl<'a> CheckedListings<'a> {
    /// Checks an element whose first row has this number in its batch.
    pub(super) fn new(message: &'a pb::Listings, first: u32) -> Self {
        let (directories, children) =
            (message.directory_path_lengths.len(), message.name_lengths.len());
        // The batch has been counted, so it fits.
        let rows = u32::try_from(directories + children).unwrap_or(u32::MAX);
        match Columns::new(message) {
            Ok(mut columns) => {
                if !columns.is_sound() {
                    columns.repair(first);
                }
                Self { first, rows, columns: Some(columns), fault: None }
            }
            Err(error) => {
                let mut fault = RejectedRow::malformed(Some(first), &error);
                let lost = format!("; not taken: {directories} directories, {children} children");
                fault.message.push_str(&lost);
                Self { first, rows, columns: None, fault: (rows > 0).then_some(fault) }
            }
        }
    }

    /// How many rows it has, good and bad.
    pub(super) const fn rows(&self) -> u32 {
        self.rows
    }

    /// The directories in order, each followed by its rejected children; or what is wrong with all.
    pub(super) fn iter(&self) -> ListingRows<'_> {
        let message = self.columns.as_ref().map(|columns| columns.message);
        ListingRows {
            columns: self.columns.as_ref(),
            directory: 0,
            row: self.first,
            child: 0,
            paths: message.map_or(&[], |message| &message.directory_paths),
            names: message.map_or(&[], |message| &message.names),
            repairs: self.columns.as_ref().map_or(&[][..], |columns| &columns.repairs).iter(),
            rejected: self.fault.as_slice().iter(),
        }
    }
}

impl<'a> Columns<'a> {
    fn new(message: &'a pb::Listings) -> Result<Self, ConvertError> {
        let pb::Listings {
            scan_id: _,
            source,
            directory_paths,
            directory_path_lengths,
            directory_stats,
            started_at_time_ns,
            finished_at_time_ns,
            directory_rows,
            parts,
            directory_flags,
            names,
            name_lengths,
            stats,
        } = message;
        let (directories, children) = (directory_path_lengths.len(), name_lengths.len());
        agrees("started_at_time_ns", started_at_time_ns.len(), directories)?;
        agrees("finished_at_time_ns", finished_at_time_ns.len(), directories)?;
        agrees("directory_rows", directory_rows.len(), directories)?;
        agrees("parts", parts.len(), directories)?;
        agrees("directory_flags", directory_flags.len(), directories)?;
        adds_up("directory_path_lengths", directory_path_lengths, directory_paths.len())?;
        adds_up("directory_rows", directory_rows, children)?;
        adds_up("name_lengths", name_lengths, names.len())?;
        let directory_stats = StatSlices::new(directory_stats.as_ref(), directories);
        Ok(Self {
            message,
            source: source_from_pb(*source)?,
            directory_stats: directory_stats.map_err(|error| error.within("directory_stats"))?,
            stats: StatSlices::new(stats.as_ref(), children)
                .map_err(|error| error.within("stats"))?,
            repairs: Vec::new(),
        })
    }

    /// Whether every child is in order: in bulk, without looking for which one is not.
    fn is_sound(&self) -> bool {
        let message = self.message;
        // Folds, not `all`: without a way out in the middle they are compiled to wide instructions.
        let bad_bytes = message.names.iter().fold(false, |bad, &byte| bad | is_bad(byte));
        if bad_bytes || !self.stats.is_sound() {
            return false;
        }
        let (mut names, mut lengths) = (&*message.names, &*message.name_lengths);
        message.directory_rows.iter().all(|&rows| {
            let (of_directory, rest) = lengths.split_at(rows as usize);
            lengths = rest;
            are_ordered(&mut names, of_directory)
        })
    }

    /// Finds the bad children and copies the good ones of their directories. `first` is the number
    /// of the element's first row.
    fn repair(&mut self, first: u32) {
        let mut names = &*self.message.names;
        let mut row = first;
        let mut child = 0;
        for (directory, &rows) in self.message.directory_rows.iter().enumerate() {
            let mut repair =
                Repair { directory, children: ChildColumns::default(), rejected: vec![] };
            let mut previous: &[u8] = b"";
            for _ in 0..rows {
                row += 1;
                let (name, rest) = names.split_at(self.message.name_lengths[child] as usize);
                names = rest;
                match self.child(child, name, previous) {
                    Ok(stat) => {
                        repair.children.push(name, &stat);
                        previous = name;
                    }
                    Err(error) => repair.rejected.push(RejectedRow::malformed(Some(row), &error)),
                }
                child += 1;
            }
            row += 1;
            if !repair.rejected.is_empty() {
                self.repairs.push(repair);
            }
        }
    }

    /// The stat of a child that is in order and comes after `previous`.
    fn child(&self, row: usize, name: &[u8], previous: &[u8]) -> Result<Stat, ConvertError> {
        check_name(name).in_field("names")?;
        if name <= previous {
            let why = "is not sorted by bytes within its directory, or stands twice";
            return Err(ConvertError::invalid("names", why));
        }
        self.stats.stat(row).map_err(|error| error.within("stats"))
    }

    /// What is wrong with a directory, if anything is: `Ok` has its path, stat and flags.
    fn directory<'b>(
        &self,
        directory: usize,
        path: &'b [u8],
    ) -> Result<(PathRef<'b>, Stat, u8), ConvertError> {
        let stat = self.directory_stats.stat(directory);
        let stat = stat.map_err(|error| error.within("directory_stats"))?;
        if stat.kind != Kind::Directory {
            return Err(ConvertError::invalid("directory_stats", "is not the stat of a directory"));
        }
        let flags = self.message.directory_flags[directory];
        if flags & !(FLAG_LAST | FLAG_COMPLETE) != 0 {
            return Err(ConvertError::invalid("directory_flags", "only bits 0 and 1 may be set"));
        }
        Ok((PathRef::new(path).in_field("directory_paths")?, stat, flags))
    }
}

/// Walks an element.
#[derive(Debug)]
pub(super) struct ListingRows<'a> {
    columns: Option<&'a Columns<'a>>,
    /// The next directory, the number of its row, and of its first child in the columns.
    directory: usize,
    row: u32,
    child: usize,
    /// What is left of the paths and names.
    paths: &'a [u8],
    names: &'a [u8],
    repairs: slice::Iter<'a, Repair>,
    /// What is still to be said of the directory before, or of the whole element.
    rejected: slice::Iter<'a, RejectedRow>,
}

impl<'a> ListingRows<'a> {
    /// The children of the next directory as they came.
    fn take_children(&mut self, columns: &'a Columns<'a>, rows: usize) -> Children<'a> {
        let name_lengths = &columns.message.name_lengths[self.child..self.child + rows];
        let bytes = name_lengths.iter().map(|&length| length as usize).sum();
        let (names, rest) = self.names.split_at(bytes);
        self.names = rest;
        let children = columns.stats.children(self.child, names, name_lengths);
        self.child += rows;
        children
    }

    /// What is left of the children of a directory, if some were rejected.
    fn take_repair(&mut self, directory: usize) -> Option<&'a Repair> {
        self.repairs.as_slice().first().filter(|repair| repair.directory == directory)?;
        self.repairs.next()
    }
}

impl<'a> Iterator for ListingRows<'a> {
    type Item = Result<Row<'a>, RejectedRow>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(rejected) = self.rejected.next() {
            return Some(Err(rejected.clone()));
        }
        let columns = self.columns?;
        let message = columns.message;
        let (directory, number) = (self.directory, self.row);
        let &rows = message.directory_rows.get(directory)?;
        let (path, paths) = self.paths.split_at(message.directory_path_lengths[directory] as usize);
        self.paths = paths;
        self.directory += 1;
        self.row += 1 + rows;
        let children = self.take_children(columns, rows as usize);
        let repair = self.take_repair(directory);
        let (dir, dir_stat, flags) = match columns.directory(directory, path) {
            Ok(checked) => checked,
            // Its children go with it: there is no place for them, so nothing is said of each.
            Err(error) => return Some(Err(RejectedRow::malformed(Some(number), &error))),
        };
        if let Some(repair) = repair {
            self.rejected = repair.rejected.iter();
        }
        // Made in one go, where it is returned: a listing is large, and moving it costs more than
        // looking at it.
        let evidence = Evidence::Listing(Listing {
            dir,
            dir_stat,
            scan: ScanId(message.scan_id),
            source: columns.source,
            started_at: ServerTime::from_nanos(message.started_at_time_ns[directory]),
            finished_at: ServerTime::from_nanos(message.finished_at_time_ns[directory]),
            part: message.parts[directory],
            last: flags & FLAG_LAST != 0,
            complete: flags & FLAG_COMPLETE != 0 && repair.is_none(),
            children: repair.map_or(children, |repair| repair.children.as_children()),
        });
        Some(Ok(Row { number, evidence }))
    }
}

/// A byte that no name has.
const fn is_bad(byte: u8) -> bool {
    byte == 0 || byte == b'/'
}

/// Takes the names of one directory off `names`; whether each is a name (its bytes are known to
/// be good) and comes after the one before.
fn are_ordered(names: &mut &[u8], lengths: &[u32]) -> bool {
    let mut previous: &[u8] = b"";
    lengths.iter().all(|&length| {
        let (name, rest) = names.split_at(length as usize);
        *names = rest;
        // An empty name does not come after anything.
        let good = previous < name && name.len() <= NAME_MAX && name != b"." && name != b"..";
        previous = name;
        good
    })
}

fn adds_up(column: &'static str, lengths: &[u32], whole: usize) -> Result<(), ConvertError> {
    let sum: u64 = lengths.iter().map(|&length| u64::from(length)).sum();
    if u64::try_from(whole) == Ok(sum) {
        Ok(())
    } else {
        Err(ConvertError::invalid(column, format!("adds up to {sum}, not to {whole}")))
    }
}
