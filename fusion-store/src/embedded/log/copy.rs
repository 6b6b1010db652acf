//! The log of a view, copied beside who appends to it.
//!
//! Of each segment the frames that are whole, which every frame is that was acknowledged. A segment is
//! used again after it was trimmed, in place; so each is looked for after it was copied, and if it
//! is there no longer the copy begins after it. The newest is copied first: so what is trimmed
//! meanwhile is always the front, save a segment that a failing disk left with nothing in it.

use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use super::frame::{FRAME_HEAD, FrameReader};
use super::mark;
use super::segment::{SEGMENT_HEAD, Segment};
use crate::disk::{Disk as _, RealDisk};
use crate::embedded::backup::{Held, hold, make_dir, make_file, sync_dir};
use crate::error::{Malformed, StoreError};
use crate::ports::LogPoint;

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::embedded) struct Copied {
    /// The place after which the copy begins.
    pub(in crate::embedded) start: LogPoint,
    pub(in crate::embedded) bytes: u64,
}

/// Copies the log of one view, if it has one; `None` if all of it went meanwhile.
pub(in crate::embedded) fn copy(from: &Path, to: &Path) -> Result<Option<Copied>, StoreError> {
    // Before the segments: what was closed then is in them.
    let marked = mark::read(&RealDisk, from)?;
    let held = hold(from, |name| Segment::number(name).is_some())?;
    if held.is_empty() {
        return Ok(Some(Copied::default()));
    }
    make_dir(to)?;
    let mut copied: Option<Copied> = None;
    for held in held.into_iter().rev() {
        let target = to.join(held.path.file_name().unwrap_or_default());
        let segment = copy_segment(&held, &target);
        if !held.is_there()? {
            RealDisk.remove(&target).map_err(StoreError::io("remove", &target))?;
            continue;
        }
        let (start, end, bytes) = segment?;
        if copied.is_some_and(|next| next.start.record > end.record) {
            let why = Malformed::Broken("a frame is damaged");
            return Err(StoreError::corrupt(held.path.display(), bytes)(why));
        }
        copied = Some(Copied { start, bytes: copied.map_or(0, |later| later.bytes) + bytes });
    }
    if marked > LogPoint::default() {
        mark::write(&RealDisk, to, marked)?;
    }
    sync_dir(to)?;
    Ok(copied)
}

/// Copies the frames that are whole; the places before and after them, and how many bytes it has.
fn copy_segment(held: &Held, to: &Path) -> Result<(LogPoint, LogPoint, u64), StoreError> {
    let mut copy = make_file(to)?;
    let io = || StoreError::io("copy", &held.path);
    let mut head = [0; SEGMENT_HEAD];
    held.file.read_exact_at(&mut head, 0).map_err(io())?;
    let segment = Segment::of(&held.path, &head)?;
    copy.write_all(&head).map_err(io())?;
    let file = held.file.try_clone().map_err(io())?;
    let mut frames = FrameReader::new(Arc::new(file), segment.seed, SEGMENT_HEAD as u64);
    let (mut end, mut bytes) = (segment.head.base, SEGMENT_HEAD as u64);
    loop {
        let at = frames.at();
        let Some((head, payload)) = frames.next().map_err(io())? else { break };
        let mut start = [0; FRAME_HEAD];
        held.file.read_exact_at(&mut start, at).map_err(io())?;
        let written = copy.write_all(&start).and_then(|()| copy.write_all(payload));
        written.map_err(io())?;
        bytes += head.bytes() as u64;
        end = head.point;
    }
    copy.sync_data().map_err(StoreError::io("sync", to))?;
    Ok((segment.head.base, end, bytes))
}
