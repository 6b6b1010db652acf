//! Evidence as it lies in a spool or in a scan's window: owned, and printable in a trace.

use std::fmt;
use std::rc::Rc;

use fusion_core::evidence::{
    ChildColumns, Evidence, Listing, RootIdentity, ScanId, Source, Witness,
};
use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::ServerTime;

use crate::name::{Name, Path};
use crate::storage::BEGIN;

/// A listing, whole or a part, as gathered.
#[derive(Debug)]
pub(crate) struct ListingRow {
    pub(crate) dir: TreePath,
    pub(crate) dir_stat: Stat,
    pub(crate) scan: ScanId,
    pub(crate) source: Source,
    pub(crate) started_at: ServerTime,
    pub(crate) finished_at: ServerTime,
    pub(crate) part: u32,
    pub(crate) last: bool,
    pub(crate) complete: bool,
    pub(crate) children: Vec<(Name, Stat)>,
}

/// One piece of evidence.
#[derive(Debug)]
pub(crate) enum Row {
    Upsert {
        path: TreePath,
        stat: Stat,
        parent: Option<Stat>,
        atomic: bool,
        at: ServerTime,
    },
    Remove {
        path: TreePath,
        parent: Option<Stat>,
        at: ServerTime,
    },
    Rename {
        from: TreePath,
        to: TreePath,
        stat: Stat,
        from_parent: Option<Stat>,
        to_parent: Option<Stat>,
        at: ServerTime,
    },
    Listing(ListingRow),
    Unchanged {
        dir: TreePath,
        dir_stat: Stat,
        at: ServerTime,
    },
    Probe {
        path: TreePath,
        found: Option<Stat>,
        parent: Option<Stat>,
        at: ServerTime,
    },
    ScanStarted {
        scan: ScanId,
        source: Source,
        path: TreePath,
        at: ServerTime,
        root: Option<RootIdentity>,
    },
    ScanFinished {
        scan: ScanId,
        complete: bool,
        directories: u64,
        entries: u64,
        at: ServerTime,
    },
    Unreadable {
        dir: TreePath,
        at: ServerTime,
    },
    Overflow {
        since: ServerTime,
        at: ServerTime,
    },
}

/// What is sent at once, and acknowledged at once.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) rows: Vec<Row>,
    /// Who looked; for the REALTIME lane only the agent counts, the session is that of sending.
    pub(crate) witness: Rc<Witness>,
}

impl Row {
    /// When it was looked at: what the rules go by.
    pub(crate) fn looked_at(&self) -> ServerTime {
        match self {
            Self::Upsert { at, .. }
            | Self::Remove { at, .. }
            | Self::Rename { at, .. }
            | Self::Unchanged { at, .. }
            | Self::Probe { at, .. }
            | Self::ScanStarted { at, .. }
            | Self::ScanFinished { at, .. }
            | Self::Unreadable { at, .. }
            | Self::Overflow { at, .. } => *at,
            Self::Listing(listing) => listing.started_at,
        }
    }

    /// Whether only the leader may say so (a probe may come from any agent that was asked).
    pub(crate) const fn is_leader_only(&self) -> bool {
        match self {
            Self::Listing(listing) => listing.source.is_leader_only(),
            Self::ScanStarted { source, .. } => source.is_leader_only(),
            Self::Unchanged { .. } => true,
            _ => false,
        }
    }

    /// Hands the evidence, borrowed, to `take`.
    pub(crate) fn lend<T>(
        &self,
        scratch: &mut ChildColumns,
        take: impl FnOnce(&Evidence<'_>) -> T,
    ) -> T {
        match self {
            Self::Listing(row) => take(&Evidence::Listing(row.lend(scratch))),
            Self::Upsert { .. } | Self::Remove { .. } | Self::Rename { .. } => {
                take(&self.realtime())
            }
            _ => take(&self.scanned()),
        }
    }

    /// Tier 1.
    fn realtime(&self) -> Evidence<'_> {
        let observed_at = self.looked_at();
        match self {
            Self::Upsert { path, stat, parent, atomic, .. } => Evidence::Upsert {
                path: path.as_ref(),
                stat: *stat,
                parent: *parent,
                atomic: *atomic,
                observed_at,
            },
            Self::Rename { from, to, stat, from_parent, to_parent, .. } => Evidence::Rename {
                from: from.as_ref(),
                to: to.as_ref(),
                stat: *stat,
                from_parent: *from_parent,
                to_parent: *to_parent,
                observed_at,
            },
            Self::Remove { path, parent, .. } => {
                Evidence::Remove { path: path.as_ref(), parent: *parent, observed_at }
            }
            other => other.scanned(),
        }
    }

    /// Everything else but listings.
    fn scanned(&self) -> Evidence<'_> {
        let observed_at = self.looked_at();
        match self {
            Self::Unchanged { dir, dir_stat, .. } => {
                Evidence::Unchanged { dir: dir.as_ref(), dir_stat: *dir_stat, observed_at }
            }
            Self::Probe { path, found, parent, .. } => {
                Evidence::Probe { path: path.as_ref(), found: *found, parent: *parent, observed_at }
            }
            Self::ScanStarted { scan, source, path, root, .. } => Evidence::ScanStarted {
                scan: *scan,
                source: *source,
                path: path.as_ref(),
                started_at: observed_at,
                root: root.clone(),
            },
            Self::ScanFinished { scan, complete, directories, entries, .. } => {
                Evidence::ScanFinished {
                    scan: *scan,
                    complete: *complete,
                    directories: *directories,
                    entries: *entries,
                    errors: 0,
                    finished_at: observed_at,
                }
            }
            Self::Unreadable { dir, .. } => {
                Evidence::Unreadable { dir: dir.as_ref(), errno: 5, observed_at }
            }
            Self::Overflow { since, .. } => Evidence::Overflow { since: *since, observed_at },
            other => other.realtime(),
        }
    }
}

impl ListingRow {
    fn lend<'a>(&'a self, columns: &'a mut ChildColumns) -> Listing<'a> {
        clear(columns);
        for (name, stat) in &self.children {
            columns.push(name.bytes(), stat);
        }
        Listing {
            dir: self.dir.as_ref(),
            dir_stat: self.dir_stat,
            scan: self.scan,
            source: self.source,
            started_at: self.started_at,
            finished_at: self.finished_at,
            part: self.part,
            last: self.last,
            complete: self.complete,
            children: columns.as_children(),
        }
    }
}

fn clear(columns: &mut ChildColumns) {
    columns.names.clear();
    columns.name_lengths.clear();
    columns.kinds.clear();
    columns.sizes.clear();
    columns.mtimes.clear();
    columns.ctimes.clear();
    columns.inodes.clear();
    columns.modes.clear();
    columns.uids.clear();
    columns.gids.clear();
    columns.nlinks.clear();
}

/// Seconds since the begin of the schedule.
pub(crate) fn seconds(nanos: i64) -> String {
    format!("{:.3}", (nanos - BEGIN) as f64 / 1e9)
}

/// A stat in a trace: kind, inode, ctime, size.
pub(crate) struct Brief<'a>(pub(crate) &'a Stat);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stat { kind, size, ctime, inode, nlink, .. } = self.0;
        let kind = match kind {
            Kind::File => 'f',
            Kind::Directory => 'd',
            Kind::Symlink => 'l',
            Kind::Other => 'o',
        };
        write!(f, "{kind}#{inode} c={} s={size} n={nlink}", seconds(ctime.as_nanos()))
    }
}

struct Parent<'a>(&'a Option<Stat>);

impl fmt::Display for Parent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(stat) => write!(f, "in #{}@{}", stat.inode, seconds(stat.ctime.as_nanos())),
            None => f.write_str("in none"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[looked {}] ", seconds(self.looked_at().as_nanos()))?;
        match self {
            Self::Upsert { path, stat, parent, atomic, .. } => {
                let atomic = if *atomic { "atomic" } else { "open" };
                write!(f, "Upsert {path} {} {} {atomic}", Brief(stat), Parent(parent))
            }
            Self::Remove { path, parent, .. } => write!(f, "Remove {path} {}", Parent(parent)),
            Self::Rename { from, to, stat, from_parent, to_parent, .. } => {
                let (one, two) = (Parent(from_parent), Parent(to_parent));
                write!(f, "Rename {from} ({one}) to {to} ({two}) {}", Brief(stat))
            }
            Self::Listing(listing) => listing.fmt(f),
            Self::Unchanged { dir, dir_stat, .. } => {
                write!(f, "Unchanged {dir} {}", Brief(dir_stat))
            }
            Self::Probe { path, found: Some(stat), parent, .. } => {
                write!(f, "Probe {path} {} {}", Brief(stat), Parent(parent))
            }
            Self::Probe { path, found: None, parent, .. } => {
                write!(f, "Probe {path} NOT FOUND {}", Parent(parent))
            }
            Self::ScanStarted { scan, source, path, .. } => {
                write!(f, "ScanStarted {} {source:?} {path}", scan.0)
            }
            Self::ScanFinished { scan, complete, .. } => {
                write!(f, "ScanFinished {} complete={complete}", scan.0)
            }
            Self::Unreadable { dir, .. } => write!(f, "Unreadable {dir}"),
            Self::Overflow { since, .. } => {
                write!(f, "Overflow since {}", seconds(since.as_nanos()))
            }
        }
    }
}

impl fmt::Display for ListingRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dir, dir_stat, source, part, last, complete, .. } = self;
        write!(f, "Listing {source:?} {dir} {}", Brief(dir_stat))?;
        if *part > 0 || !*last {
            write!(f, " part {part}{}", if *last { " (last)" } else { "" })?;
        }
        if !complete {
            f.write_str(" INCOMPLETE")?;
        }
        f.write_str(" {")?;
        for (name, stat) in &self.children {
            write!(f, " {name:?}={};", Brief(stat))?;
        }
        f.write_str(" }")
    }
}

/// The path of a row in the names of the simulator; the root for what has none.
pub(crate) fn path_of(path: &TreePath) -> Path {
    Path::of(path).unwrap_or_default()
}
