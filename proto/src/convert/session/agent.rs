//! What an agent says of itself.

use std::time::Duration;

use fusion_core::evidence::{RootState, Source};
use fusion_core::path::TreePath;
use fusion_core::time::ServerTime;

use crate::convert::evidence::{source_from_pb, source_to_pb};
use crate::convert::root::{root_state_from_pb, root_state_to_pb};
use crate::convert::stat::{path_from_text, path_to_text};
use crate::convert::time::{duration_from_pb, duration_to_pb, needed_time_in, server_time_to_pb};
use crate::convert::{ConvertError, InField as _, Unsendable, bounded};
use crate::text::cut;
use crate::{limits, pb};

/// What an agent can do now, and what troubles it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentStatus {
    /// Its watches are in place: from now on it misses nothing that it can see.
    pub realtime_ready: bool,
    /// Directories watched.
    pub watched_directories: u64,
    /// Most directories that it may watch; `None` where it needs no watch per directory.
    pub watch_limit: Option<u64>,
    /// Directories that it would watch but cannot.
    pub unwatched_directories: u64,
    /// Events read from the kernel and not yet made into evidence.
    pub queue_depth: u64,
    /// Bytes of evidence not yet acknowledged.
    pub spool_bytes: u64,
    /// Age of the oldest evidence not yet acknowledged; `None` if there is none.
    pub oldest_unacknowledged: Option<Duration>,
    /// How it finds its root.
    pub root_state: RootState,
    /// What is broken, one line each. Sent are at most [`limits::STATUS_LINES_MAX`], cut to
    /// [`limits::STATUS_LINE_MAX`] bytes; of more, the last line says how many.
    pub errors: Vec<String>,
    /// Its running scan.
    pub scan: Option<ScanProgress>,
    /// Files looked at since it started, one stat each.
    pub file_stats: u64,
    /// Directories that it leaves out. Sent are at most [`limits::STATUS_LINES_MAX`].
    pub left_out: Vec<TreePath>,
}

/// How far a scan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanProgress {
    /// What kind of scan.
    pub source: Source,
    /// When it began.
    pub started_at: ServerTime,
    /// Directories listed.
    pub directories: u64,
    /// Entries seen.
    pub entries: u64,
    /// Directories and entries that could not be read.
    pub errors: u64,
    /// How long workers of scans have waited since it began, for limits and for what is more urgent,
    /// summed over them; zero where it was not told.
    pub paused: Duration,
    /// What a call of the storage takes lately; zero where it was not told.
    pub call_latency: Duration,
}

/// A status on the wire.
///
/// # Errors
/// A span that cannot be told.
pub fn agent_status_to_pb(status: &AgentStatus) -> Result<pb::AgentStatus, Unsendable> {
    let AgentStatus {
        realtime_ready,
        watched_directories,
        watch_limit,
        unwatched_directories,
        queue_depth,
        spool_bytes,
        oldest_unacknowledged,
        root_state,
        errors,
        scan,
        file_stats,
        left_out,
    } = status;
    Ok(pb::AgentStatus {
        realtime_ready: *realtime_ready,
        watched_directories: *watched_directories,
        watch_limit: watch_limit.unwrap_or(0),
        unwatched_directories: *unwatched_directories,
        queue_depth: *queue_depth,
        spool_bytes: *spool_bytes,
        oldest_unacknowledged: oldest_unacknowledged
            .map(|age| duration_to_pb("oldest_unacknowledged", age))
            .transpose()?,
        root_state: root_state_to_pb(*root_state).into(),
        errors: error_lines(errors),
        scan: scan.as_ref().map(scan_to_pb).transpose()?,
        file_stats: *file_stats,
        left_out: left_out
            .iter()
            .take(limits::STATUS_LINES_MAX)
            .map(|path| path_to_text(path.as_ref()))
            .collect(),
    })
}

/// A status from the wire.
///
/// # Errors
/// A root state that is none, a malformed time or path, or more lines than are sent.
pub fn agent_status_from_pb(status: pb::AgentStatus) -> Result<AgentStatus, ConvertError> {
    let pb::AgentStatus {
        realtime_ready,
        watched_directories,
        watch_limit,
        unwatched_directories,
        queue_depth,
        spool_bytes,
        oldest_unacknowledged,
        root_state,
        errors,
        scan,
        file_stats,
        left_out,
    } = status;
    few("errors", errors.len())?;
    few("left_out", left_out.len())?;
    errors.iter().try_for_each(|line| bounded("errors", line, limits::STATUS_LINE_MAX))?;
    Ok(AgentStatus {
        realtime_ready,
        watched_directories,
        watch_limit: (watch_limit != 0).then_some(watch_limit),
        unwatched_directories,
        queue_depth,
        spool_bytes,
        oldest_unacknowledged: oldest_unacknowledged
            .map(|age| duration_from_pb(&age).in_field("oldest_unacknowledged"))
            .transpose()?,
        root_state: root_state_from_pb("root_state", root_state)?,
        errors,
        scan: scan.map(scan_from_pb).transpose().map_err(|error| error.within("scan"))?,
        file_stats,
        left_out: left_out
            .iter()
            .map(|path| path_from_text("left_out", path))
            .collect::<Result<_, _>>()?,
    })
}

fn scan_to_pb(scan: &ScanProgress) -> Result<pb::ScanProgress, Unsendable> {
    let ScanProgress { source, started_at, directories, entries, errors, paused, call_latency } =
        *scan;
    Ok(pb::ScanProgress {
        source: source_to_pb(source).into(),
        started_at: Some(server_time_to_pb(started_at)),
        directories,
        entries,
        errors,
        paused: Some(duration_to_pb("scan.paused", paused)?),
        call_latency: Some(duration_to_pb("scan.call_latency", call_latency)?),
    })
}

fn scan_from_pb(scan: pb::ScanProgress) -> Result<ScanProgress, ConvertError> {
    let pb::ScanProgress { source, started_at, directories, entries, errors, paused, call_latency } =
        scan;
    let span = |field, span: Option<prost_types::Duration>| {
        let span = span.map(|span| duration_from_pb(&span).in_field(field)).transpose()?;
        Ok::<_, ConvertError>(span.unwrap_or_default())
    };
    Ok(ScanProgress {
        paused: span("paused", paused)?,
        call_latency: span("call_latency", call_latency)?,
        source: source_from_pb(source)?,
        started_at: needed_time_in("started_at", started_at.as_ref())?,
        directories,
        entries,
        errors,
    })
}

/// Lines as they are sent: a heartbeat must not be refused because much is broken.
fn error_lines(errors: &[String]) -> Vec<String> {
    let fits = if errors.len() > limits::STATUS_LINES_MAX {
        limits::STATUS_LINES_MAX - 1
    } else {
        errors.len()
    };
    let (told, left_out) = errors.split_at(fits);
    let mut lines: Vec<String> =
        told.iter().map(|line| cut(line, limits::STATUS_LINE_MAX).to_owned()).collect();
    if !left_out.is_empty() {
        lines.push(format!("{} more errors", left_out.len()));
    }
    lines
}

fn few(field: &'static str, count: usize) -> Result<(), ConvertError> {
    if count <= limits::STATUS_LINES_MAX {
        Ok(())
    } else {
        let max = limits::STATUS_LINES_MAX;
        Err(ConvertError::invalid(field, format!("has {count} lines, at most {max} may be")))
    }
}
