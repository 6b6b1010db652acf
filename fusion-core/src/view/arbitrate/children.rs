//! R4.3 and R4.4: the children of a directory, name by name.
//!
//! One pass over listing and directory (`tree::merge`); what it decides is gathered as one
//! [`Listed`] change, and what has to go or to change its kind afterwards, one by one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::change::{Listed, ROW_BLIND, ROW_SUSPECT, Tombstone, Version};
use crate::path::{PATH_MAX, PathRef};
use crate::stat::{Kind, Stat};
use crate::time::ServerTime;
use crate::view::confirm::{Confirmation, Confirmations, EntryKey};
use crate::view::ledger::Ledger;
use crate::view::settings::ViewSettings;
use crate::view::tombstones::Tombstones;
use crate::view::tree::{BlockId, Child, Flags, MergeAction, MergeCase};
use crate::view::version::{DirOrder, Known, Look, Order, dir_order, order};
use crate::view::watermark::Watermark;

use super::lay::Lay;
use super::listing::Frame;

/// What the rules are told of a listing, or of a probe as a listing of one name.
pub(super) struct Judge<'a> {
    pub(super) tombstones: Option<&'a BTreeMap<Box<[u8]>, Tombstone>>,
    /// R5: from when on the tombstones on the directory and above it let evidence pass.
    pub(super) covered: Option<ServerTime>,
    pub(super) confirmations: &'a Confirmations,
    pub(super) clock: &'a Watermark,
    pub(super) horizon: Duration,
    pub(super) hot: Duration,
    pub(super) now: ServerTime,
    /// The directory's number in the tree.
    pub(super) dir: u64,
    pub(super) listed_at: Option<ServerTime>,
    /// Directories in it that were listed themselves since, by their numbers.
    pub(super) own_listings: BTreeMap<u64, ServerTime>,
    pub(super) version: Version,
    pub(super) started_at: ServerTime,
    /// The listing is tier 3 (R8).
    pub(super) scanned: bool,
    /// It is not part of a scan that goes down (R4.5).
    pub(super) alone: bool,
    /// What is not listed is missing (R4.4).
    pub(super) complete: bool,
    /// R4.2: nothing is added and nothing removed.
    pub(super) stale: bool,
    /// The longest name of which the path would still be one.
    pub(super) room: usize,
    /// How many entries more the view has room for.
    pub(super) places: u64,
    /// Names that are listed as they are known were seen in the listed version.
    pub(super) sees: bool,
    pub(super) listed: Listed,
    pub(super) doubts: Doubts,
}

/// What is left to do after the pass.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// When the directory has to be listed again (a kept child, a ghost, an open order): the latest.
    pub(super) again_at: Option<ServerTime>,
    /// Rows dropped by R5.
    pub(super) ghosts: u64,
    /// Rows dropped because nothing could be asked of their paths.
    pub(super) too_long: u64,
    /// Rows left out because the view is full.
    pub(super) left_out: u64,
    /// Known names that are gone, with their stats.
    pub(super) gone: Vec<(Box<[u8]>, Child)>,
    /// Known names that another kind took: before and after.
    pub(super) other_kind: Vec<(Box<[u8]>, Stat, Stat)>,
    /// Names whose stat was taken, but which were seen in another version: which stays theirs.
    pub(super) seen_later: Vec<(Box<[u8]>, Version)>,
    /// New directories.
    pub(super) directories: Vec<(Box<[u8]>, Stat)>,
    /// Known directories that were shown in a newer version than was known.
    pub(super) newer: Vec<Box<[u8]>>,
    /// Known directories that were shown by what does not descend.
    pub(super) shown: Vec<BlockId>,
}

impl<'a> Judge<'a> {
    /// A judge of a listing. The caller sets `dir`, `listed_at` and `places`.
    pub(super) fn new(
        ledger: &'a Ledger,
        settings: &ViewSettings,
        frame: &Frame<'_>,
        lay: &Lay<'_>,
        now: ServerTime,
    ) -> Self {
        let (horizon, hot, at) = (settings.cache_horizon, settings.hot_threshold, frame.started_at);
        let version = Version::of(&frame.dir_stat);
        let end = now.plus(hot);
        Self {
            tombstones: ledger.tombstones.in_dir(frame.dir),
            covered: ledger.tombstones.refuse_below(frame.dir, at, horizon),
            confirmations: &ledger.confirmations,
            clock: &ledger.clock,
            horizon,
            hot,
            now,
            dir: 0,
            listed_at: None,
            own_listings: BTreeMap::new(),
            version,
            started_at: at,
            scanned: frame.scanned,
            alone: frame.alone,
            complete: lay.complete,
            stale: lay.stale,
            room: room_in(frame.dir),
            places: 0,
            sees: lay.sees,
            listed: Listed::of(frame.dir, version, at, end, &lay.range, lay.sees),
            doubts: Doubts::default(),
        }
    }
}

impl Judge<'_> {
    /// One name.
    pub(super) fn decide(&mut self, case: &MergeCase<'_>) -> MergeAction {
        match case {
            MergeCase::Known { name, listed, known, .. } => self.known(name, listed, known),
            MergeCase::New { name, listed, .. } => self.unknown(name, listed),
            MergeCase::Missing { name, known } => self.missing(name, known),
        }
    }

    fn confirmed(&self, name: &[u8], known: &Child) -> Option<Confirmation> {
        if !known.flags.has(Flags::CONFIRMED) {
            return None;
        }
        self.confirmations.get(EntryKey::new(self.dir, name))
    }

    /// R4.3: "R5 if a tombstone covers it": a row that tells of something known to be gone.
    fn is_ghost(&mut self, name: &[u8]) -> bool {
        let own = self.tombstones.and_then(|tombstones| tombstones.get(name));
        let own = own.and_then(|tomb| {
            Tombstones::refuse_child(tomb, Some(self.version), self.started_at, self.horizon)
        });
        let Some(passes_at) = own.max(self.covered) else { return false };
        self.doubts.ghosts += 1;
        self.again(passes_at);
        true
    }

    fn again(&mut self, at: ServerTime) {
        self.doubts.again_at = self.doubts.again_at.max(Some(at));
    }

    /// R4.3: "unknown: insert (BLIND if tier 3) … Hot (R7): SUSPECT".
    fn unknown(&mut self, name: &[u8], listed: &Stat) -> MergeAction {
        if name.len() > self.room {
            self.doubts.too_long += 1;
            return MergeAction::Skip;
        }
        if self.stale || self.is_ghost(name) {
            return MergeAction::Skip;
        }
        if self.places == 0 {
            self.doubts.left_out += 1;
            return MergeAction::Skip;
        }
        self.places -= 1;
        if listed.kind == Kind::Directory {
            self.doubts.directories.push((name.into(), *listed));
        }
        let suspect = self.clock.is_hot(listed.ctime, self.now, self.hot);
        MergeAction::Take(self.take(name, listed, suspect, self.scanned))
    }

    fn take(&mut self, name: &[u8], stat: &Stat, suspect: bool, blind: bool) -> Flags {
        self.listed.rows.push(name, stat);
        let flags = if suspect { ROW_SUSPECT } else { 0 } | if blind { ROW_BLIND } else { 0 };
        self.listed.flags.push(flags);
        Flags::NONE.set(Flags::SUSPECT, suspect).set(Flags::BLIND, blind)
    }

    /// R4.3: "known with the same version and the same stat: nothing; known with a newer one by §3:
    /// refresh, and BLIND if tier 3".
    fn known(&mut self, name: &[u8], listed: &Stat, known: &Child) -> MergeAction {
        let covered = self.covered.is_some() || self.tombstones.is_some();
        if covered && self.is_ghost(name) {
            return self.unseen(name);
        }
        if self.alone && listed.kind == Kind::Directory && listed.inode == known.stat.inode {
            self.doubts.shown.extend(known.block);
        }
        if *listed == known.stat {
            return self.seen(name, known);
        }
        if self.stale {
            return self.known_to_stale(name, listed, known);
        }
        let confirmed = self.confirmed(name, known);
        let own = known.block.and_then(|block| self.own_listings.get(&block.as_u64()).copied());
        let listed_at = self.listed_at.filter(|_| !known.flags.has(Flags::MARK)).max(own);
        let looked = Known { stat: known.stat, seen_in: known.seen_in, confirmed, listed_at };
        let seen_in = Some(self.version);
        let look = Look { stat: *listed, seen_in, at: self.started_at, realtime: None };
        match order(&looked, &look, self.horizon) {
            // Something else had the name in the listed version: what has it by now was not seen in that.
            Order::Older if !listed.is_same_thing(&known.stat) => self.unseen(name),
            Order::Same | Order::Older => self.seen(name, known),
            Order::Open(again_at) => {
                self.again(again_at);
                self.open(name, known)
            }
            Order::Newer if listed.kind != known.stat.kind => {
                self.doubts.other_kind.push((name.into(), known.stat, *listed));
                self.unseen(name)
            }
            Order::Newer => self.refresh(name, listed, known),
        }
    }

    /// R4.2: "entries of the same inode and kind with a larger ctime are still refreshed".
    fn known_to_stale(&mut self, name: &[u8], listed: &Stat, known: &Child) -> MergeAction {
        if listed.is_same_thing(&known.stat) && listed.ctime > known.stat.ctime {
            return self.refresh(name, listed, known);
        }
        self.unseen(name)
    }

    fn refresh(&mut self, name: &[u8], listed: &Stat, known: &Child) -> MergeAction {
        if self.stale || self.was_seen_later(known) {
            if let Some(seen_in) = known.seen_in {
                self.doubts.seen_later.push((name.into(), seen_in));
            }
            self.listed.unseen.push(name.into());
        }
        if self.alone && listed.kind == Kind::Directory {
            self.doubts.newer.push(name.into());
        }
        let hot = self.clock.is_hot(listed.ctime, self.now, self.hot);
        let suspect = hot || known.flags.has(Flags::SUSPECT);
        let blind = self.scanned || known.flags.has(Flags::BLIND);
        let row = u32::try_from(self.listed.rows.len()).unwrap_or(u32::MAX);
        self.listed.before.push((row, known.stat));
        let flags = self.take(name, listed, suspect, blind);
        MergeAction::Take(flags.set(Flags::CONFIRMED, known.flags.has(Flags::CONFIRMED)))
    }

    fn was_seen_later(&self, known: &Child) -> bool {
        dir_order(known.seen_in, Some(self.version)) == DirOrder::Newer
    }

    /// The name was there in the listed version, unless it has been seen in a newer one.
    fn seen(&mut self, name: &[u8], known: &Child) -> MergeAction {
        if !self.sees || self.was_seen_later(known) {
            return self.unseen(name);
        }
        MergeAction::Seen(known.flags.without(Flags::MARK))
    }

    fn unseen(&mut self, name: &[u8]) -> MergeAction {
        if self.sees {
            self.listed.unseen.push(name.into());
        }
        MergeAction::Skip
    }

    /// §3: a listing that cannot be ordered against an entry changes nothing there; it is not a look
    /// at it either, or the next one would win at once.
    fn open(&mut self, name: &[u8], known: &Child) -> MergeAction {
        self.listed.open.push(name.into());
        let _ = self.unseen(name);
        MergeAction::Flag(known.flags.with(Flags::MARK))
    }

    /// R4.4: a known child that is not listed.
    fn missing(&mut self, name: &[u8], known: &Child) -> MergeAction {
        if self.stale || !self.complete {
            return self.unseen(name);
        }
        let confirmed = self.confirmed(name, known);
        if self.is_gone(known, confirmed) {
            self.doubts.gone.push((name.into(), *known));
        } else {
            let later = confirmed.map_or(self.started_at, |c| c.at.max(self.started_at));
            self.again(later.plus(self.horizon));
        }
        self.unseen(name)
    }

    /// R4.4: "if both were seen in versions of the same directory inode and these differ, it is
    /// trashed if the listing's is newer and `confirmed_at < started_at`, else kept; if they are
    /// equal or cannot be compared, it is trashed if `confirmed_at + cache_horizon < started_at`, or
    /// if it was never confirmed, else kept".
    fn is_gone(&self, known: &Child, confirmed: Option<Confirmation>) -> bool {
        match dir_order(Some(self.version), known.seen_in) {
            DirOrder::Newer => confirmed.is_none_or(|c| c.at < self.started_at),
            DirOrder::Older => false,
            DirOrder::Same | DirOrder::Unknown => {
                confirmed.is_none_or(|c| c.at.plus(self.horizon) < self.started_at)
            }
        }
    }
}

/// How long a name in a directory can be: paths have a greatest length.
fn room_in(dir: PathRef<'_>) -> usize {
    let before = if dir.is_root() { 0 } else { dir.as_bytes().len() };
    PATH_MAX.saturating_sub(before + 1)
}
