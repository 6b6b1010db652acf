//! Batches in the making: rows and listings, within a budget of rows and bytes.
//!
//! Used by an agent's scan and watch. Bytes are counted by an upper bound, so that a batch never
//! exceeds its budget and nothing is measured twice. A directory that is larger than a batch is
//! split by [`ListingFeed`] into parts (R4), each but the last filling a batch.

use bytes::Bytes;
use fusion_core::evidence::{Children, Evidence, Listing, ScanId, Source};
use fusion_core::stat::Stat;
use prost::Message as _;

use super::listing::{FLAG_COMPLETE, FLAG_LAST};
use super::{WireBatch, evidence_to_pb, source_to_pb};
use crate::{limits, pb};

/// Bytes set aside for the header of a batch: three ids, two numbers and their tags.
const HEADER_BYTES: usize = 3 * (limits::TRACEPARENT_MAX + 3) + 2 * 11;
/// Bytes of the element of a scan beside its rows: tags and lengths of its columns, scan and source.
const ELEMENT_BYTES: usize = 32 * 6;
/// Most bytes of a stat in columns: kind, size, two times, inode, mode, owner, group, links.
const STAT_BYTES: usize = 1 + 10 + 2 * 8 + 10 + 3 * 5 + 5;
/// Most bytes of a child beside its name: the name's length and the stat.
const CHILD_BYTES: usize = 2 + STAT_BYTES;
/// Most bytes of a directory beside its path: lengths, stat, two times, rows, part, flags.
const DIRECTORY_BYTES: usize = 2 + STAT_BYTES + 2 * 8 + 5 + 5 + 1;

/// How much goes into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchBudget {
    rows: usize,
    bytes: usize,
}

impl BatchBudget {
    /// A budget of rows and encoded bytes, brought within the contract's limits:
    /// [`limits::BATCH_ROWS_MIN`] to [`limits::BATCH_ROWS`] and [`limits::BATCH_BYTES_MIN`] to
    /// [`limits::BATCH_BYTES`].
    #[must_use]
    pub fn new(rows: usize, bytes: usize) -> Self {
        Self {
            rows: rows.clamp(limits::BATCH_ROWS_MIN, limits::BATCH_ROWS),
            bytes: bytes.clamp(limits::BATCH_BYTES_MIN, limits::BATCH_BYTES),
        }
    }
}

impl Default for BatchBudget {
    /// The most that the contract allows.
    fn default() -> Self {
        Self { rows: limits::BATCH_ROWS, bytes: limits::BATCH_BYTES }
    }
}

/// What became of something that was to go into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Push {
    /// It is in, all of it.
    Taken,
    /// [`BatchBuilder::take`] the batch, then push the same again.
    Full,
}

/// Evidence that does not go into a batch as a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a listing travels as columns: push it as a feed")]
pub struct NotTaken;

/// Gathers evidence into one batch after the other.
#[derive(Debug)]
pub struct BatchBuilder {
    budget: BatchBudget,
    rows: usize,
    bytes: usize,
    single: Vec<pb::Evidence>,
    elements: Vec<Element>,
}

/// A listing on its way into batches: as much of it as has been taken.
#[derive(Debug)]
pub struct ListingFeed<'a> {
    listing: Listing<'a>,
    /// Children that are taken, and the bytes of their names.
    child: usize,
    name: usize,
    part: u32,
}

impl<'a> ListingFeed<'a> {
    /// A listing of which nothing has been taken. Its children are sorted by name bytes, no name
    /// twice. Its first part gets the number that the listing has, and its last part says `last` if
    /// the listing does.
    #[must_use]
    pub const fn new(listing: Listing<'a>) -> Self {
        Self { listing, child: 0, name: 0, part: listing.part }
    }

    /// How many children follow that fit into so many rows and bytes.
    fn fitting(&self, rows: usize, mut bytes: usize) -> usize {
        let lengths = &self.listing.children.name_lengths[self.child..];
        let fits = |&&length: &&u32| {
            let left = bytes.checked_sub(CHILD_BYTES + length as usize);
            bytes = left.unwrap_or(0);
            left.is_some()
        };
        lengths.iter().take(rows).take_while(fits).count()
    }

    fn left(&self) -> usize {
        self.listing.children.len() - self.child
    }

    /// The next children.
    fn next(&mut self, count: usize) -> Children<'a> {
        let (at, end, all) = (self.child, self.child + count, self.listing.children);
        let name_lengths = &all.name_lengths[at..end];
        let bytes: usize = name_lengths.iter().map(|&length| length as usize).sum();
        let names = &all.names[self.name..self.name + bytes];
        self.child = end;
        self.name += bytes;
        Children {
            names,
            name_lengths,
            kinds: &all.kinds[at..end],
            sizes: &all.sizes[at..end],
            mtimes: &all.mtimes[at..end],
            ctimes: &all.ctimes[at..end],
            inodes: &all.inodes[at..end],
            modes: &all.modes[at..end],
            uids: &all.uids[at..end],
            gids: &all.gids[at..end],
            nlinks: &all.nlinks[at..end],
        }
    }
}

impl BatchBuilder {
    /// A builder with nothing in it.
    #[must_use]
    pub const fn new(budget: BatchBudget) -> Self {
        Self { budget, rows: 0, bytes: HEADER_BYTES, single: Vec::new(), elements: Vec::new() }
    }

    /// Rows that are in.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that the batch has at most.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is in.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds a row. [`Push::Full`] if there is no room, or if listings are in: rows are applied
    /// before the listings of their batch, and only [`Evidence::Unchanged`] may overtake one. An
    /// empty batch takes any row.
    ///
    /// # Errors
    /// [`NotTaken`] for a listing.
    pub fn push(&mut self, evidence: &Evidence<'_>) -> Result<Push, NotTaken> {
        let row = evidence_to_pb(evidence).ok_or(NotTaken)?;
        let overtakes =
            !self.elements.is_empty() && !matches!(evidence, Evidence::Unchanged { .. });
        // A tag and a length of at most five bytes stand before it.
        let bytes = row.encoded_len() + 6;
        let fits = self.rows < self.budget.rows && self.bytes + bytes <= self.budget.bytes;
        if overtakes || (!fits && !self.is_empty()) {
            return Ok(Push::Full);
        }
        self.single.push(row);
        self.rows += 1;
        self.bytes += bytes;
        Ok(Push::Taken)
    }

    /// Adds a listing, or as much of it as fits into an empty batch. A directory that would fit
    /// into a batch of its own is never split. On [`Push::Full`] take the batch and push the same
    /// feed again; it goes on where it was.
    pub fn push_listing(&mut self, feed: &mut ListingFeed<'_>) -> Push {
        let Some(room) = self.room(feed) else { return Push::Full };
        let whole = room == feed.left();
        if !whole && !self.is_empty() {
            return Push::Full;
        }
        let (part, listing) = (feed.part, feed.listing);
        let children = feed.next(room);
        feed.part = feed.part.saturating_add(1);
        self.append(&Listing { part, last: whole && listing.last, children, ..listing });
        if whole { Push::Taken } else { Push::Full }
    }

    /// How many children of the feed fit beside their directory; `None` if not even that does.
    fn room(&self, feed: &ListingFeed<'_>) -> Option<usize> {
        let rows = self.budget.rows.checked_sub(self.rows + 1)?;
        let element = if self.fits_last(&feed.listing) { 0 } else { ELEMENT_BYTES };
        let directory = DIRECTORY_BYTES + feed.listing.dir.as_bytes().len();
        let bytes = self.budget.bytes.checked_sub(self.bytes + element + directory)?;
        Some(feed.fitting(rows, bytes))
    }

    fn fits_last(&self, listing: &Listing<'_>) -> bool {
        self.elements.last().is_some_and(|element| element.is_of(listing))
    }

    fn append(&mut self, listing: &Listing<'_>) {
        if !self.fits_last(listing) {
            self.elements.push(Element::new(listing.scan, listing.source));
            self.bytes += ELEMENT_BYTES;
        }
        self.rows += 1 + listing.children.len();
        self.bytes += DIRECTORY_BYTES + listing.dir.as_bytes().len();
        self.bytes += CHILD_BYTES * listing.children.len() + listing.children.names.len();
        if let Some(element) = self.elements.last_mut() {
            element.append(listing);
        }
    }

    /// Takes what was gathered, without a header, and begins anew.
    #[must_use]
    pub fn take(&mut self) -> WireBatch {
        let Self { budget, single, elements, .. } = std::mem::replace(self, Self::new(self.budget));
        self.budget = budget;
        WireBatch::from_message(pb::EvidenceBatch {
            rows: single,
            listings: elements.into_iter().map(Element::into_message).collect(),
            ..Default::default()
        })
    }
}

/// The listings of one scan, as they are gathered: what becomes [`pb::Listings`].
#[derive(Debug)]
struct Element {
    scan: ScanId,
    source: Source,
    paths: Vec<u8>,
    names: Vec<u8>,
    flags: Vec<u8>,
    directory_kinds: Vec<u8>,
    kinds: Vec<u8>,
    /// All columns that are not bytes; those that are stay empty in here until the end.
    message: pb::Listings,
    directory_stats: pb::StatColumns,
    stats: pb::StatColumns,
}

impl Element {
    fn new(scan: ScanId, source: Source) -> Self {
        let message = pb::Listings {
            scan_id: scan.0,
            source: source_to_pb(source).into(),
            ..Default::default()
        };
        Self {
            scan,
            source,
            paths: Vec::new(),
            names: Vec::new(),
            flags: Vec::new(),
            directory_kinds: Vec::new(),
            kinds: Vec::new(),
            message,
            directory_stats: pb::StatColumns::default(),
            stats: pb::StatColumns::default(),
        }
    }

    fn is_of(&self, listing: &Listing<'_>) -> bool {
        (self.scan, self.source) == (listing.scan, listing.source)
    }

    fn append(&mut self, listing: &Listing<'_>) {
        let Listing {
            dir,
            dir_stat,
            scan: _,
            source: _,
            started_at,
            finished_at,
            part,
            last,
            complete,
            children,
        } = listing;
        // Lengths are those of checked paths and of at most a batch's rows: they fit 32 bits.
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        self.paths.extend_from_slice(dir.as_bytes());
        self.message.directory_path_lengths.push(length(dir.as_bytes().len()));
        self.message.started_at_time_ns.push(started_at.as_nanos());
        self.message.finished_at_time_ns.push(finished_at.as_nanos());
        self.message.directory_rows.push(length(children.len()));
        self.message.parts.push(*part);
        let last = if *last { FLAG_LAST } else { 0 };
        self.flags.push(last | if *complete { FLAG_COMPLETE } else { 0 });
        self.append_directory_stat(dir_stat);
        self.append_children(children);
    }

    fn append_directory_stat(&mut self, stat: &Stat) {
        let Stat { kind, size, mtime, ctime, inode, mode, uid, gid, nlink } = *stat;
        self.directory_kinds.push(kind as u8);
        let columns = &mut self.directory_stats;
        columns.sizes.push(size);
        columns.mtimes_time_ns.push(mtime.as_nanos());
        columns.ctimes_time_ns.push(ctime.as_nanos());
        columns.inodes.push(inode);
        columns.modes.push(mode);
        columns.uids.push(uid);
        columns.gids.push(gid);
        columns.nlinks.push(nlink);
    }

    fn append_children(&mut self, children: &Children<'_>) {
        let Children {
            names,
            name_lengths,
            kinds,
            sizes,
            mtimes,
            ctimes,
            inodes,
            modes,
            uids,
            gids,
            nlinks,
        } = children;
        self.names.extend_from_slice(names);
        self.message.name_lengths.extend_from_slice(name_lengths);
        self.kinds.extend_from_slice(kinds);
        let columns = &mut self.stats;
        columns.sizes.extend_from_slice(sizes);
        columns.mtimes_time_ns.extend_from_slice(mtimes);
        columns.ctimes_time_ns.extend_from_slice(ctimes);
        columns.inodes.extend_from_slice(inodes);
        columns.modes.extend_from_slice(modes);
        columns.uids.extend_from_slice(uids);
        columns.gids.extend_from_slice(gids);
        columns.nlinks.extend_from_slice(nlinks);
    }

    fn into_message(self) -> pb::Listings {
        let kinds = |kinds| Bytes::from(kinds);
        pb::Listings {
            directory_paths: self.paths.into(),
            directory_flags: self.flags.into(),
            names: self.names.into(),
            directory_stats: Some(pb::StatColumns {
                kinds: kinds(self.directory_kinds),
                ..self.directory_stats
            }),
            stats: Some(pb::StatColumns { kinds: kinds(self.kinds), ..self.stats }),
            ..self.message
        }
    }
}
