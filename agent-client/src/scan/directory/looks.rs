//! Looking at the names of one directory: their stats, in the order of their inodes.

use std::ffi::CStr;
use std::ops::{ControlFlow, Range};

use fusion_core::path::TreePath;
use fusion_core::stat::Stat;
use rustix::fd::OwnedFd;
use rustix::fs::{StatxAttributes, statx};
use rustix::io::Errno;

use super::names::Row;
use super::{DirectoryReader, Listing, Rules, stop_if};
use crate::scan::look::is_absence;
use crate::scan::{ScanCounters, stat};

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
        let mut all_told = true;
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
                // Gone since the names were read: it is not in this version or a later one.
                Err(errno) if is_absence(errno) => {}
                Err(_) if rules.pulse.is_abandoned() => return ControlFlow::Break(()),
                Err(errno) => {
                    all_told = false;
                    let child = child_of(listing, row.name(&self.names));
                    self.soft_error(rules, child, errno);
                }
            }
        }
        ScanCounters::add(&rules.counters.file_stats, count);
        if saturated > 0 {
            ScanCounters::add(&rules.counters.saturated_times, saturated);
        }
        ControlFlow::Continue(all_told)
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
