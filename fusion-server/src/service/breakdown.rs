//! Counting what the files below a path are made of: in slices, beside the writer.
//!
//! Owns the tables of one count, each bounded: classes of ages and sizes are fixed, owners and
//! extensions are told apart up to a number, and of entries only the first so many are kept. Must
//! never: hold anything of the view between two slices. Tested below, and against `find` and `sort` by
//! the system tests.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use fusion_core::id::Revision;
use fusion_core::path::notation;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::StorageTime;
use fusion_core::view::{EntryInfo, FindCursor, Totals, ViewReader, ViewStatus};
use fusion_proto::convert::view::{
    AgeTally, Breakdown, Entry, EntryOrder, EntrySort, GetBreakdown, Tally,
};
use fusion_proto::limits;
use fusion_proto::status::Refusal;

use super::best::{Best, Kept, Place, ordered};
use super::running::{Running, StillWanted};
use super::views::{Views, Worth, unread, worth};
use crate::ids::Ids;
use crate::task::view::ViewHandle;

/// Entries looked at while the tree is locked once.
const STEP: usize = 2_048;
/// Steps of a slice.
const STEPS: usize = 32;
/// Longest extension that is told apart.
const EXTENSION_MAX: usize = 16;
/// An extension, filled up with zeros.
type Extension = [u8; EXTENSION_MAX];

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
/// Least age of each class in seconds.
const AGES: [u64; 10] =
    [0, HOUR, DAY, 7 * DAY, 30 * DAY, 90 * DAY, 180 * DAY, 365 * DAY, 730 * DAY, 1_825 * DAY];

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Least size of each class in bytes.
const SIZES: [u64; 11] =
    [0, 1, 4 * KIB, 64 * KIB, MIB, 16 * MIB, 256 * MIB, GIB, 16 * GIB, 256 * GIB, 1_024 * GIB];

const LARGEST: EntryOrder = EntryOrder { by: EntrySort::Size, descending: true };

/// A count that is under way.
pub(crate) struct Counting {
    views: Views,
    view: ViewHandle,
    ids: Arc<dyn Ids>,
    request: GetBreakdown,
    /// The last revision that all of the answer holds: the one at which it began.
    since: Revision,
    expected: u64,
    looked_at: u64,
    look: Option<Look>,
    _running: Running,
}

struct Look {
    still: StillWanted,
    reader: ViewReader,
    cursor: FindCursor,
    census: Census,
}

impl Counting {
    /// Begins to count.
    pub(crate) fn begin(
        views: &Views,
        ids: Arc<dyn Ids>,
        request: GetBreakdown,
    ) -> Result<Self, Refusal> {
        let (view, status) = views.demand(&request.view, request.class)?;
        let reader = view.reader().clone();
        let path = request.path.as_ref();
        let unread = |error| unread(error, &request.view, path);
        let cursor = reader.find(path).map_err(unread)?;
        let totals = reader.totals(path).map_err(unread)?;
        let expected = totals.files.wrapping_add(totals.directories).wrapping_add(totals.others);
        let census = Census::new(request.top, status.watermark);
        let running = Running::begin(&views.deps().metrics, &request.view, "breakdown");
        let look = Some(Look { still: running.wanted(), reader, cursor, census });
        let (views, since, looked_at) = (views.clone(), status.revision, 0);
        let _running = running;
        Ok(Self { views, view, ids, request, since, expected, looked_at, look, _running })
    }

    /// Counts on; the whole when all is counted.
    pub(crate) async fn next(&mut self) -> Result<Option<Breakdown>, Refusal> {
        let Some(mut look) = self.look.take() else { return Ok(None) };
        let slice = tokio::task::spawn_blocking(move || {
            let done = (0..STEPS).any(|_| look.step());
            (look, done)
        });
        let (look, done) = slice.await.map_err(|error| super::internal(&*self.ids, &error))?;
        self.looked_at = look.census.looked_at;
        if done {
            return Ok(Some(look.census.into_breakdown()));
        }
        self.look = Some(look);
        Ok(None)
    }

    /// Entries that were looked at, and those that there were at first.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.looked_at, self.expected)
    }

    /// What the whole answer is worth, at its end.
    pub(crate) fn worth(&self) -> Worth {
        let status = ViewStatus { revision: self.since, ..self.views.status(&self.view) };
        let totals = self.view.reader().totals(self.request.path.as_ref()).unwrap_or_default();
        worth(status, totals.last_change)
    }
}

impl Look {
    /// One step; whether it was the last, as it is where nobody wants more.
    fn step(&mut self) -> bool {
        let Self { still, reader, cursor, census } = self;
        !still.step(STEP)
            || reader.find_next(cursor, STEP, |_, _| true, |path, entry| census.add(path, entry))
    }
}

/// What was counted so far.
struct Census {
    top: usize,
    watermark: StorageTime,
    looked_at: u64,
    all: Tally,
    owners: Table<u32>,
    extensions: Table<Extension>,
    future: Tally,
    ages: [Tally; AGES.len()],
    sizes: [Tally; SIZES.len()],
    largest_files: Best<EntryInfo>,
    largest_directories: Best<EntryInfo>,
    newest_directories: Best<EntryInfo>,
}

impl Census {
    fn new(top: usize, watermark: StorageTime) -> Self {
        Self {
            top,
            watermark,
            looked_at: 0,
            all: Tally::default(),
            owners: Table::default(),
            extensions: Table::default(),
            future: Tally::default(),
            ages: Default::default(),
            sizes: Default::default(),
            largest_files: Best::new(LARGEST, top),
            largest_directories: Best::new(LARGEST, top),
            newest_directories: Best::new(LARGEST, top),
        }
    }

    fn add(&mut self, path: &[u8], entry: &EntryInfo) {
        self.looked_at += 1;
        match entry.stat.kind {
            Kind::File => self.add_file(path, entry),
            Kind::Directory => {
                let bytes = entry.totals.map_or(0, |totals| totals.bytes);
                let keep = || *entry;
                self.largest_directories.offer(Place::ranked(LARGEST, bytes, path), keep);
                let newest = ordered(entry.stat.mtime.as_nanos());
                self.newest_directories.offer(Place::ranked(LARGEST, newest, path), keep);
            }
            Kind::Symlink | Kind::Other => {}
        }
    }

    fn add_file(&mut self, path: &[u8], entry: &EntryInfo) {
        let Stat { size, mtime, uid, .. } = entry.stat;
        self.all.add(size);
        self.owners.add(uid, size);
        self.extensions.add(extension(path), size);
        self.age_class(mtime).add(size);
        self.sizes[class(&SIZES, size)].add(size);
        self.largest_files.offer(Place::ranked(LARGEST, size, path), || *entry);
    }

    fn age_class(&mut self, mtime: StorageTime) -> &mut Tally {
        let age = i128::from(self.watermark.as_nanos()) - i128::from(mtime.as_nanos());
        match u128::try_from(age) {
            // At most 2^64 nanoseconds, and so fewer seconds.
            Ok(age) => &mut self.ages[class(&AGES, (age / 1_000_000_000) as u64)],
            Err(_) => &mut self.future,
        }
    }

    fn into_breakdown(self) -> Breakdown {
        let ages = AGES.map(|age| Some(Duration::from_secs(age))).into_iter().zip(self.ages);
        let ages = std::iter::once((None, self.future)).chain(ages);
        let (owners, other_owners, mixed) = self.owners.into_first(self.top);
        let (extensions, other_extensions, also_mixed) = self.extensions.into_first(self.top);
        let directory = |kept: &Kept<EntryInfo>| (told(kept), kept.row.totals.unwrap_or_default());
        let entries = |best: Best<EntryInfo>| best.into_rows().0.iter().map(told).collect();
        Breakdown {
            all: self.all,
            owners,
            other_owners,
            extensions: extensions
                .into_iter()
                .map(|(extension, tally)| (extension_text(&extension), tally))
                .collect(),
            other_extensions,
            others_mixed: mixed || also_mixed,
            ages: ages
                .filter(|(_, tally)| tally.files > 0)
                .map(|(least_age, tally)| AgeTally { least_age, tally })
                .collect(),
            sizes: SIZES.into_iter().zip(self.sizes).filter(|(_, tally)| tally.files > 0).collect(),
            largest_files: entries(self.largest_files),
            largest_directories: self
                .largest_directories
                .into_rows()
                .0
                .iter()
                .map(directory)
                .collect::<Vec<(Entry, Totals)>>(),
            newest_directories: entries(self.newest_directories),
        }
    }
}

fn told(kept: &Kept<EntryInfo>) -> Entry {
    let EntryInfo { stat, suspect, blind, totals: _ } = kept.row;
    Entry { path: notation::to_text(&kept.text), stat, suspect, blind }
}

/// The last class that begins at or below a value.
fn class(classes: &[u64], value: u64) -> usize {
    classes.partition_point(|least| *least <= value).saturating_sub(1)
}

/// The extension of the name at the end of a path, in lower case; empty if it has none.
fn extension(path: &[u8]) -> Extension {
    let mut extension = Extension::default();
    let mut parts = path.rsplitn(2, |&byte| byte == b'.');
    let (end, stem) = (parts.next().unwrap_or_default(), parts.next());
    let has_stem = stem.is_some_and(|stem| !stem.is_empty() && !stem.ends_with(b"/"));
    if let Some(room) = extension.get_mut(..end.len())
        && has_stem
        && !end.contains(&b'/')
    {
        room.copy_from_slice(end);
        room.make_ascii_lowercase();
    }
    extension
}

/// An extension as text.
fn extension_text(extension: &Extension) -> String {
    // No name has a byte 0.
    let end = extension.iter().position(|&byte| byte == 0).unwrap_or(EXTENSION_MAX);
    notation::to_text(&extension[..end])
}

/// Tallies by key, of so many keys at most.
struct Table<K> {
    rows: HashMap<K, Tally>,
    /// What came when the table was full.
    rest: Tally,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { rows: HashMap::new(), rest: Tally::default() }
    }
}

impl<K: Ord + Hash + Copy> Table<K> {
    fn add(&mut self, key: K, bytes: u64) {
        if let Some(tally) = self.rows.get_mut(&key) {
            tally.add(bytes);
        } else if self.rows.len() < limits::DISTINCT_MAX {
            self.rows.insert(key, Tally { files: 1, bytes });
        } else {
            self.rest.add(bytes);
        }
    }

    /// The first `top` by bytes, then by files, then by key; all others together; and whether some were
    /// not told apart.
    fn into_first(self, top: usize) -> (Vec<(K, Tally)>, Tally, bool) {
        let mut rows: Vec<(K, Tally)> = self.rows.into_iter().collect();
        rows.sort_by(|(a, at), (b, bt)| {
            (bt.bytes, bt.files).cmp(&(at.bytes, at.files)).then_with(|| a.cmp(b))
        });
        let mut others = self.rest;
        for (_, tally) in rows.drain(top.min(rows.len())..) {
            others.files += tally.files;
            others.bytes = others.bytes.wrapping_add(tally.bytes);
        }
        (rows, others, self.rest.files > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_their_least_value() {
        let cases = [(0, 0), (1, 1), (4_095, 1), (4_096, 2), (u64::MAX, SIZES.len() - 1)];
        for (size, expected) in cases {
            assert_eq!(class(&SIZES, size), expected, "{size}");
        }
        assert!(SIZES.is_sorted() && AGES.is_sorted());
    }

    #[test]
    fn extensions_are_short_and_of_something() {
        let cases: [(&str, &str); 9] = [
            ("/a/b.GZ", "gz"),
            ("/a/b.tar.gz", "gz"),
            ("/a.d/b", ""),
            ("/a.d/.bashrc", ""),
            ("/a/b.", ""),
            ("/a/b", ""),
            ("/a/..x", "x"),
            ("/a/b.0123456789abcdef", "0123456789abcdef"),
            ("/a/b.0123456789abcdefg", ""),
        ];
        for (path, expected) in cases {
            assert_eq!(extension_text(&extension(path.as_bytes())), expected, "{path}");
        }
    }

    #[test]
    fn a_full_table_counts_the_rest_together() {
        let mut table = Table::<u32>::default();
        for key in 0..limits::DISTINCT_MAX as u32 + 5 {
            table.add(key, 2);
            table.add(key % 3, 1);
        }
        let (first, others, mixed) = table.into_first(3);
        assert!(mixed);
        assert_eq!(first.iter().map(|row| row.0).collect::<Vec<_>>(), [0, 1, 2]);
        let files = first.iter().map(|row| row.1.files).sum::<u64>() + others.files;
        assert_eq!(files, 2 * (limits::DISTINCT_MAX as u64 + 5));
    }

    #[test]
    fn ages_are_against_the_watermark() {
        let hour = 3_600_000_000_000;
        let mut census = Census::new(1, StorageTime::from_nanos(hour));
        for mtime in [0, 1, hour, hour + 1, i64::MIN, i64::MAX] {
            census.age_class(StorageTime::from_nanos(mtime)).add(1);
        }
        assert_eq!(census.future.files, 2);
        let counts: Vec<u64> = census.ages.iter().map(|tally| tally.files).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
