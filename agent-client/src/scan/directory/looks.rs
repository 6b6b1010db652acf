//! Looking at the names of one directory: their stats, in the order of their inodes.

use std::collections::HashSet;
use std::ffi::CStr;
use std::ops::{ControlFlow, Range};

use fusion_core::change::Version;
use fusion_core::path::TreePath;
use fusion_core::stat::Stat;
use rustix::fd::OwnedFd;
use rustix::fs::{RawDir, SeekFrom, StatxAttributes, seek, statx};
use rustix::io::Errno;

use super::names::Row;
use super::{DirectoryReader, Listing, Rules, stop_if};
use crate::scan::look::is_absence;
use crate::scan::{ScanCounters, stat, stat_of};

/// What a look at a name gave.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) stat: Stat,
    pub(super) is_mount: bool,
}

/// From so many rows on, looking in the order of inodes is worth its sort.
const INODE_ORDER_FROM: usize = 32;

impl DirectoryReader {
    /// Fills `looks` for these rows; gives whether every name was looked at.
    pub(super) fn look_at(
        &mut self,
        rules: &Rules<'_>,
        fd: &OwnedFd,
        listing: &Listing<'_>,
        rows: Range<usize>,
    ) -> ControlFlow<(), bool> {
        let count = rows.len();
        let from = rows.start;
        self.looks.clear();
        self.looks.resize(count, None);
        self.order.clear();
        self.order.extend((0..count).filter_map(|at| u32::try_from(at).ok()));
        if count >= INODE_ORDER_FROM {
            let rows = &self.rows;
            self.order.sort_unstable_by_key(|&at| rows[from + at as usize].inode);
        }
        let (mut all_told, mut vanished) = (true, Vec::new());
        let mut saturated = 0;
        for index in 0..self.order.len() {
            stop_if(rules.cancel.is_set())?;
            let at = self.order[index] as usize;
            let row = self.rows[from + at];
            match self.look(rules, fd, listing, row) {
                Ok((found, times)) => {
                    self.looks[at] = Some(found);
                    saturated += times;
                }
                Err(errno) if is_absence(errno) => vanished.push(from + at),
                Err(_) if rules.pulse.is_abandoned() => return ControlFlow::Break(()),
                Err(errno) => {
                    all_told = false;
                    let child = child_of(listing, row.name(&self.names));
                    self.soft_error(rules, child, errno);
                }
            }
        }
        if !vanished.is_empty() && !self.are_gone(rules, fd, listing, &vanished) {
            stop_if(rules.pulse.is_abandoned())?;
            all_told = false;
            self.soft_error(rules, listing.path.clone(), Errno::STALE);
        }
        ScanCounters::add(&rules.counters.file_stats, count);
        if saturated > 0 {
            ScanCounters::add(&rules.counters.saturated_times, saturated);
        }
        ControlFlow::Continue(all_told)
    }

    /// Whether rows that were read as names, and that nobody knows, are gone since: then they are not in this version of the
    /// directory or a later one. There is a later one, or within a tick of the storage's clock at least they are shown no
    /// more. A directory that goes on showing a name that it does not know is storage that went away in this moment, or a
    /// cache: to believe it would remove what is there.
    fn are_gone(
        &mut self,
        rules: &Rules<'_>,
        fd: &OwnedFd,
        listing: &Listing<'_>,
        rows: &[usize],
    ) -> bool {
        if listing.by_itself {
            let Ok(fd) = fd.try_clone() else { return false };
            let now = rules.root.in_time(listing.path, move |_| stat_of(&fd));
            return now.is_ok_and(|(_, now)| is_another(&now, listing));
        }
        match rules.pulse.call(|| stat_of(fd)) {
            Ok((_, now)) if is_another(&now, listing) => true,
            Ok(_) => rules.pulse.call(|| self.shows_any(rules, fd, rows)).is_ok_and(|shows| !shows),
            Err(_) => false,
        }
    }

    /// Reads the names once more; whether one of these rows is among them.
    fn shows_any(
        &mut self,
        rules: &Rules<'_>,
        fd: &OwnedFd,
        rows: &[usize],
    ) -> Result<bool, Errno> {
        let names: HashSet<&[u8]> =
            rows.iter().map(|&row| self.rows[row].name(&self.names)).collect();
        seek(fd, SeekFrom::Start(0))?;
        let mut entries = RawDir::new(fd, self.raw.spare_capacity_mut());
        loop {
            if entries.is_buffer_empty() && !rules.pulse.beat() {
                return Err(Errno::CANCELED);
            }
            let Some(entry) = entries.next() else { return Ok(false) };
            if names.contains(entry?.file_name().to_bytes()) {
                return Ok(true);
            }
        }
    }

    /// Looks at one name. One that hangs is given up: by itself, or with whoever reads.
    pub(super) fn look(
        &self,
        rules: &Rules<'_>,
        fd: &OwnedFd,
        listing: &Listing<'_>,
        row: Row,
    ) -> Result<(Look, usize), Errno> {
        let name = row.c_name(&self.names);
        if !listing.by_itself {
            return rules.pulse.call(|| look(fd, name));
        }
        let (fd, name) = (fd.try_clone().map_err(|_| Errno::MFILE)?, name.to_owned());
        let child = child_of(listing, name.to_bytes());
        rules.root.in_time(&child, move |_| look(&fd, &name))
    }
}

/// Whether a directory is in another version than when it was looked at first.
fn is_another(now: &Stat, listing: &Listing<'_>) -> bool {
    Version::of(now) != Version::of(&listing.dir_stat)
}

/// The path of a name, or of its directory where it is longer than a path can be.
fn child_of(listing: &Listing<'_>, name: &[u8]) -> TreePath {
    listing.path.join(name).unwrap_or_else(|_| listing.path.clone())
}

fn look(fd: &OwnedFd, name: &CStr) -> Result<(Look, usize), Errno> {
    let looked = statx(fd, name, stat::NAME, stat::MASK)?;
    let (found, saturated) = stat::convert(&looked);
    let is_mount = looked.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok((Look { stat: found, is_mount }, saturated))
}
