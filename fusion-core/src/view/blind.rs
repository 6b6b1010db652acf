//! Blind entries below a path (R8), found by the aggregates: a subtree without one is not entered.
//!
//! Owns where such a look is, so that it can go on from slice to slice and from page to page: after a
//! path, in the order of a walk (a directory before what is in it, names by bytes). Used by the
//! server's list of blind spots, beside the writer. An entry that stays where it is, and blind, is
//! seen exactly once. Must never: keep a lock between two directories. Tested below.

use std::collections::VecDeque;

use crate::path::{PathRef, TreePath};
use crate::time::ServerTime;

use super::read::{EntryInfo, ReadError, ViewReader};
use super::tree::{BlockId, Child, Flags, Tree};

/// Children that are read of a directory under one hold of its lock.
const CHUNK: usize = 512;

/// Where a look for blind entries is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlindPlace {
    /// The last entry that was looked at.
    pub path: TreePath,
    /// What is in it comes next; else what comes after it and all that is in it.
    pub enters: bool,
}

/// A blind entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlindEntry {
    /// Where.
    pub path: TreePath,
    /// What is known of it.
    pub info: EntryInfo,
    /// When its directory was last listed; absent if it was found otherwise.
    pub listed_at: Option<ServerTime>,
}

/// One directory on the way down.
struct Frame {
    block: BlockId,
    path: TreePath,
    listed_at: Option<ServerTime>,
    after: Option<Vec<u8>>,
    /// What was read of it and is still to be looked at.
    ahead: VecDeque<(Vec<u8>, Child)>,
    more: bool,
}

impl Frame {
    fn new(tree: &Tree, block: BlockId, path: TreePath, after: Option<Vec<u8>>) -> Self {
        let listed_at = tree.meta(block).and_then(|meta| meta.listed_at);
        Self { block, path, listed_at, after, ahead: VecDeque::new(), more: true }
    }

    /// Reads on; how many children were passed.
    fn read(&mut self, tree: &Tree, limit: usize) -> usize {
        let mut passed = 0;
        let (ahead, after) = (&mut self.ahead, &mut self.after);
        let mut last = Vec::new();
        let more = tree.children(self.block, after.as_deref(), limit, |name, child| {
            passed += 1;
            last.clear();
            last.extend_from_slice(name);
            if child.block.is_some() || child.flags.has(Flags::BLIND) {
                ahead.push_back((name.to_vec(), *child));
            }
        });
        if passed > 0 {
            *after = Some(last);
        }
        self.more = more == Some(true);
        passed
    }
}

impl ViewReader {
    /// Looks for blind entries at a path and below it, those after a place, over about `budget`
    /// entries, and hands at most `limit` to `found`. Where to go on; `None` if that was all.
    ///
    /// # Errors
    /// [`ReadError::NotFound`]: nothing is known at the path.
    pub fn blind_within(
        &self,
        path: PathRef<'_>,
        after: Option<&BlindPlace>,
        limit: usize,
        budget: usize,
        mut found: impl FnMut(BlindEntry),
    ) -> Result<Option<BlindPlace>, ReadError> {
        let tree = self.tree();
        let top = tree.entry(path).ok_or(ReadError::NotFound)?;
        let (mut limit, mut budget) = (limit, budget);
        if after.is_none() && top.flags.has(Flags::BLIND) {
            let dir = path.split_last().and_then(|(dir, _)| tree.dir(dir));
            let listed_at = dir.and_then(|dir| tree.meta(dir)).and_then(|meta| meta.listed_at);
            found(BlindEntry { path: path.to_owned(), info: self.told(&top), listed_at });
            limit = limit.saturating_sub(1);
        }
        let start = BlindPlace { path: path.to_owned(), enters: true };
        let mut place = after.unwrap_or(&start).clone();
        let mut frames = way_to(tree, path, &place);
        while let Some(frame) = frames.last_mut() {
            if limit == 0 {
                return Ok(Some(place));
            }
            let Some((name, child)) = frame.ahead.pop_front() else {
                if !frame.more {
                    frames.pop();
                    continue;
                }
                if budget == 0 {
                    return Ok(Some(place));
                }
                budget -= frame.read(tree, budget.min(CHUNK)).min(budget);
                if let (true, Some(after)) = (frame.ahead.is_empty(), &frame.after)
                    && let Ok(path) = frame.path.join(after)
                {
                    place = BlindPlace { path, enters: false };
                }
                continue;
            };
            let Ok(path) = frame.path.join(&name) else { continue };
            let within = child.block.filter(|block| has_blind(tree, *block));
            place = BlindPlace { path: path.clone(), enters: within.is_some() };
            if child.flags.has(Flags::BLIND) {
                limit -= 1;
                let listed_at = frame.listed_at;
                found(BlindEntry { path: path.clone(), info: self.told(&child), listed_at });
            }
            if let Some(block) = within {
                frames.push(Frame::new(tree, block, path, None));
            }
        }
        Ok(None)
    }
}

fn has_blind(tree: &Tree, block: BlockId) -> bool {
    tree.totals(block).is_some_and(|totals| totals.blind > 0)
}

/// The directories from the top down to a place; as far as they are there.
fn way_to(tree: &Tree, top: PathRef<'_>, place: &BlindPlace) -> Vec<Frame> {
    let mut frames = Vec::new();
    let Some(block) = tree.dir(top).filter(|block| has_blind(tree, *block)) else { return frames };
    let mut next = Some((block, top.to_owned()));
    let depth = top.names().count();
    for name in place.path.as_ref().names().skip(depth) {
        let Some((block, path)) = next.take() else { break };
        let below = path.join(name).ok();
        frames.push(Frame::new(tree, block, path, Some(name.to_vec())));
        next = below.and_then(|below| Some((tree.dir(below.as_ref())?, below)));
    }
    if let Some((block, path)) = next.filter(|_| place.enters) {
        frames.push(Frame::new(tree, block, path, None));
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stat::{Kind, Stat};
    use crate::time::StorageTime;
    use crate::view::tree::{Entry, TreeWriter};

    fn put(tree: &mut TreeWriter, text: &str, kind: Kind, blind: bool) {
        let path = TreePath::new(text.as_bytes()).unwrap();
        let time = StorageTime::from_nanos(1);
        let stat = Stat {
            kind,
            size: 1,
            mtime: time,
            ctime: time,
            inode: 1,
            mode: 0,
            uid: 0,
            gid: 0,
            nlink: 1,
        };
        let flags = Flags::NONE.set(Flags::BLIND, blind);
        let (dir, name) = tree.slot(path.as_ref()).unwrap();
        tree.put(dir, name, &Entry { stat, flags, seen_in: None }, ServerTime::from_nanos(1))
            .unwrap();
    }

    /// `/` with `/b`, `/b c` and `/d`; every third of 1,000 files of `/b c/x` is blind.
    fn tree() -> TreeWriter {
        let mut tree = TreeWriter::new();
        put(&mut tree, "/", Kind::Directory, false);
        for dir in ["/b", "/b c", "/b c/x", "/d", "/d/e"] {
            put(&mut tree, dir, Kind::Directory, dir == "/b c" || dir == "/d/e");
        }
        for number in 0..1_000 {
            put(&mut tree, &format!("/b/f{number}"), Kind::File, false);
            put(&mut tree, &format!("/b c/x/f{number:03}"), Kind::File, number % 3 == 0);
        }
        put(&mut tree, "/d/e/last", Kind::File, true);
        tree
    }

    fn pages(reader: &ViewReader, top: &str, limit: usize, budget: usize) -> (Vec<String>, usize) {
        let top = TreePath::new(top.as_bytes()).unwrap();
        let (mut seen, mut pages, mut place) = (Vec::new(), 0, None);
        loop {
            let each = |found: BlindEntry| {
                assert!(found.info.blind);
                seen.push(String::from_utf8_lossy(found.path.as_bytes()).into_owned());
            };
            let next = reader.blind_within(top.as_ref(), place.as_ref(), limit, budget, each);
            pages += 1;
            assert!(pages < 10_000, "it goes on: {place:?}");
            place = next.unwrap();
            if place.is_none() {
                return (seen, pages);
            }
        }
    }

    #[test]
    fn every_blind_entry_once_however_it_is_cut() {
        let tree = tree();
        let reader = ViewReader::new(tree.share());
        let (whole, one) = pages(&reader, "/", usize::MAX, usize::MAX);
        assert_eq!((whole.len(), one), (337, 1));
        assert_eq!(whole[..2], ["/b c", "/b c/x/f000"]);
        assert_eq!(whole[335..], ["/d/e", "/d/e/last"]);
        for (limit, budget) in [(1, usize::MAX), (7, 100), (1_000, 1), (2, 600)] {
            assert_eq!(pages(&reader, "/", limit, budget).0, whole, "{limit} {budget}");
        }
        assert_eq!(pages(&reader, "/b", 10, 10), (vec![], 1), "nothing blind: it is not entered");
        assert_eq!(pages(&reader, "/d/e", 1, 10).0, whole[335..]);
        assert_eq!(pages(&reader, "/d/e/last", 1, 10).0, whole[336..]);
        let nowhere = TreePath::new(&b"/no"[..]).unwrap();
        let refused = reader.blind_within(nowhere.as_ref(), None, 1, 1, |_| {});
        assert_eq!(refused, Err(ReadError::NotFound));
    }

    #[test]
    fn what_goes_meanwhile_stops_nothing() {
        let mut tree = tree();
        let reader = ViewReader::new(tree.share());
        let at = TreePath::new(&b"/b c/x/f300"[..]).unwrap();
        let place = BlindPlace { path: at, enters: false };
        let after = |reader: &ViewReader| {
            let mut seen = 0;
            let end =
                reader.blind_within(PathRef::ROOT, Some(&place), 1_000, 10_000, |_| seen += 1);
            assert_eq!(end, Ok(None));
            seen
        };
        assert_eq!(after(&reader), 233 + 2);
        let dir = tree.dir(PathRef::new(b"/b c").unwrap()).unwrap();
        let gone = tree.detach(dir, b"x", ServerTime::from_nanos(2)).unwrap();
        let mut purge = gone.into_purge();
        while !tree.purge(&mut purge, 100) {}
        assert_eq!(after(&reader), 2);
    }
}
