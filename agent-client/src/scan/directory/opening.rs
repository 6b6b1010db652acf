//! Opening a directory, and what is told of one that is not read.

use std::ops::ControlFlow;

use fusion_core::path::TreePath;
use fusion_core::stat::Stat;
use fusion_core::time::Monotonic;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::{Reading, Rules};
use crate::scan::look::is_absence;
use crate::scan::root::{FileId, Reached, stat_of};
use crate::scan::{Found, LeftOut, ScanCounters, Unreadable, WhyLeftOut};

/// Opens a directory and looks at it.
pub(super) fn open(
    rules: &Rules<'_>,
    path: &TreePath,
    parent: Option<(&Reached, &[u8])>,
    by_itself: bool,
) -> Result<((FileId, Stat), OwnedFd), Errno> {
    let looked = |fd: OwnedFd| Ok((stat_of(&fd)?, fd));
    if by_itself {
        let of = path.clone();
        return rules.root.in_time(path, move |root| looked(root.open_to_read(of.as_ref())?));
    }
    rules.pulse.call(|| match parent {
        Some((parent, name)) => looked(rules.root.open_child(parent, name)?),
        None => looked(rules.root.open_to_read(path.as_ref())?),
    })
}

/// Says that a directory cannot be read, if it is one.
pub(super) fn refuse(
    rules: &Rules<'_>,
    path: &TreePath,
    errno: Errno,
    looked_at: Monotonic,
    emit: &mut dyn FnMut(Found) -> ControlFlow<()>,
) -> Reading {
    if rules.pulse.is_abandoned() {
        return Reading::Abandoned;
    }
    if is_absence(errno) {
        return Reading::Gone;
    }
    if errno == Errno::XDEV {
        return leave_out(path.clone(), WhyLeftOut::MountPoint, emit);
    }
    ScanCounters::add(&rules.counters.errors, 1);
    let errno = errno.raw_os_error();
    match emit(Found::Unreadable(Unreadable { dir: path.clone(), errno, looked_at })) {
        ControlFlow::Continue(()) => Reading::Unreadable,
        ControlFlow::Break(()) => Reading::Stopped,
    }
}

/// Says that a directory is not entered.
pub(super) fn leave_out(
    dir: TreePath,
    why: WhyLeftOut,
    emit: &mut dyn FnMut(Found) -> ControlFlow<()>,
) -> Reading {
    match emit(Found::LeftOut(LeftOut { dir, why })) {
        ControlFlow::Continue(()) => Reading::LeftOut,
        ControlFlow::Break(()) => Reading::Stopped,
    }
}
