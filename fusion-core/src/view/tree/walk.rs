//! Walking a subtree in slices: directories before what is in them, names by bytes.
//!
//! Owns where a walk is: the way down, and in each directory the last name that was seen. Used by
//! `find`, and by the rules over detached subtrees. An entry that stays where it is is seen exactly
//! once whatever happens beside it: a walk goes on after a name, not at a place. Must never: keep a
//! lock between slices. Tested in `tree/tests.rs` beside a writer.

use crate::path::PathRef;
use crate::stat::Stat;
use crate::time::StorageTime;

use super::body::At;
use super::needle::Needle;
use super::page::Page;
use super::{BlockId, Child, Tree};

/// What a walk goes into. A directory that it does not go into is seen all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope {
    /// Levels below where it begins, 1 for the children alone; `None` for all.
    pub depth: Option<usize>,
    /// Only what has suspects below it.
    pub suspects: bool,
    /// Only what has blind entries below it.
    pub blind: bool,
    /// Only what has an entry below it with this mtime or a later one.
    pub newest: Option<StorageTime>,
}

/// Where a walk is; carries it over from slice to slice.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    frames: Vec<Frame>,
    /// The path of the deepest directory, without a trailing `/`.
    path: Vec<u8>,
    scope: Scope,
}

/// One directory on the way down.
#[derive(Debug, Clone)]
struct Frame {
    dir: BlockId,
    /// Length of its path.
    path_len: usize,
    /// The last name that was seen; nothing before the first.
    after: Option<Vec<u8>>,
    /// Where that was, and the state of the block in which that is true.
    hint: Option<(u32, At)>,
}

/// How a look at one directory ended.
enum Stop {
    /// It has no more entries.
    End,
    /// The budget is used up.
    Budget,
    /// At a directory in it; whether that is wanted.
    Directory(Child, bool),
}

impl Walk {
    /// A walk of what is below a directory; paths that it tells begin with `path`.
    #[must_use]
    pub fn new(dir: BlockId, path: &[u8]) -> Self {
        let path = path.strip_suffix(b"/").unwrap_or(path).to_vec();
        Self { frames: vec![Frame::new(dir, path.len())], path, scope: Scope::default() }
    }

    /// The same, but it goes only into what is in the scope.
    #[must_use]
    pub fn within(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Goes on after a path that a walk from the same place told; it need not be there any longer.
    #[must_use]
    pub fn after(mut self, tree: &Tree, path: &[u8]) -> Self {
        let Some(below) = path.strip_prefix(&*self.path).and_then(|it| it.strip_prefix(b"/"))
        else {
            return self;
        };
        for name in below.split(|&byte| byte == b'/') {
            let Some(frame) = self.frames.last_mut() else { break };
            frame.after = Some(name.to_vec());
            let dir = frame.dir;
            let Some(next) = tree.link(dir, name).filter(|next| tree.is_in(&self, *next)) else {
                break;
            };
            self.path.push(b'/');
            self.path.extend_from_slice(name);
            self.frames.push(Frame::new(next, self.path.len()));
        }
        self
    }

    /// Whether nothing is left to see.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.frames.is_empty()
    }

    /// Makes the way down that of the paths again: where another directory stands at a path by now,
    /// the walk goes on in that one after the same name; where none does, it goes on above.
    pub fn mend(&mut self, tree: &Tree) {
        let mut above: Option<BlockId> = None;
        for number in 0..self.frames.len() {
            let begin = above.map_or(0, |_| self.frames[number - 1].path_len + 1);
            let path = &self.path[begin..self.frames[number].path_len];
            let dir = match above {
                Some(above) => {
                    let same = tree
                        .blocks
                        .read(self.frames[number].dir)
                        .is_some_and(|block| block.parent == above && *block.name == *path);
                    if same { Some(self.frames[number].dir) } else { tree.link(above, path) }
                }
                None => {
                    let path = if path.is_empty() { b"/" } else { path };
                    PathRef::new(path).ok().and_then(|path| tree.dir(path))
                }
            };
            let Some(dir) = dir else {
                self.frames.truncate(number);
                break;
            };
            if dir != self.frames[number].dir {
                self.frames[number].dir = dir;
                self.frames[number].hint = None;
            }
            above = Some(dir);
        }
        self.leave();
    }

    fn pop(&mut self) {
        self.frames.pop();
        self.leave();
    }

    /// The path is that of the deepest directory again.
    fn leave(&mut self) {
        self.path.truncate(self.frames.last().map_or(0, |frame| frame.path_len));
    }
}

impl Frame {
    fn new(dir: BlockId, path_len: usize) -> Self {
        Self { dir, path_len, after: None, hint: None }
    }

    fn set_after(&mut self, name: &[u8], edits: u32, next: At) {
        let after = self.after.get_or_insert_default();
        after.clear();
        after.extend_from_slice(name);
        self.hint = Some((edits, next));
    }
}

impl Tree {
    /// Walks on, over about `budget` entries, and hands those that have the needle in their name and
    /// that `matches` to `found`, with their path. Whether it is done. Both are called under the lock
    /// of a directory, so they must be short and must not look at the tree (`found` may for a
    /// directory: then no lock is held).
    pub fn walk_next(
        &self,
        walk: &mut Walk,
        budget: usize,
        needle: Option<&Needle>,
        mut matches: impl FnMut(&[u8], &Stat) -> bool,
        mut found: impl FnMut(&[u8], &Child),
    ) -> bool {
        let mut left = budget;
        while left > 0 && !walk.frames.is_empty() {
            match self.look(walk, &mut left, needle, &mut matches, &mut found) {
                Stop::Budget => break,
                Stop::End => walk.pop(),
                Stop::Directory(child, wanted) => {
                    let Some(above) = walk.frames.last() else { break };
                    walk.path.push(b'/');
                    walk.path.extend_from_slice(above.after.as_deref().unwrap_or_default());
                    if wanted {
                        found(&walk.path, &child);
                    }
                    match child.block.filter(|dir| self.is_in(walk, *dir)) {
                        Some(dir) => {
                            let frame = Frame::new(dir, walk.path.len());
                            walk.frames.push(frame);
                        }
                        None => walk.leave(),
                    }
                }
            }
        }
        walk.is_done()
    }

    /// Whether a walk that stands above a directory goes into it. The aggregates that decide it hold
    /// what is below all the time, so nothing that stays as it is is missed.
    fn is_in(&self, walk: &Walk, dir: BlockId) -> bool {
        let Scope { depth, suspects, blind, newest } = walk.scope;
        if depth.is_some_and(|depth| walk.frames.len() >= depth) {
            return false;
        }
        if !suspects && !blind && newest.is_none() {
            return true;
        }
        let Some(block) = self.blocks.read(dir) else { return false };
        (!suspects || block.sums.suspects > 0)
            && (!blind || block.sums.blind > 0)
            // An upper bound, be it stale or not.
            && newest.is_none_or(|least| block.newest() >= Some(least.as_nanos()))
    }

    /// Looks at the deepest directory from where the walk is, up to the next directory in it.
    fn look(
        &self,
        walk: &mut Walk,
        left: &mut usize,
        needle: Option<&Needle>,
        matches: &mut impl FnMut(&[u8], &Stat) -> bool,
        found: &mut impl FnMut(&[u8], &Child),
    ) -> Stop {
        let Walk { frames, path, .. } = walk;
        let Some(frame) = frames.last_mut() else { return Stop::End };
        let Some(block) = self.blocks.read(frame.dir) else { return Stop::End };
        let mut at = match frame.hint {
            Some((edits, at)) if edits == block.edits => at,
            _ => block.body.after(frame.after.as_deref()),
        };
        while let Some(page) = block.body.pages().get(at.page) {
            if at.row >= page.len() {
                at = At { page: at.page + 1, row: 0 };
                continue;
            }
            let link = page.next_link(at.row).map(|(row, _)| row);
            let files_end = link.unwrap_or(page.len()).min(at.row.saturating_add(*left));
            scan(page, at.row..files_end, needle, |row| {
                let name = page.name(row);
                if matches(name, &page.row(row).stat(&self.owners)) {
                    let len = path.len();
                    path.push(b'/');
                    path.extend_from_slice(name);
                    found(path, &self.child_at(&block, At { page: at.page, row }));
                    path.truncate(len);
                }
            });
            *left -= files_end - at.row;
            at.row = files_end;
            if *left == 0 {
                if files_end > 0 {
                    frame.set_after(page.name(files_end - 1), block.edits, at);
                }
                return Stop::Budget;
            }
            if link == Some(at.row) {
                *left -= 1;
                let (name, child) = (page.name(at.row), self.child_at(&block, at));
                let wanted = needle.is_none_or(|needle| needle.find(name, 0).is_some())
                    && matches(name, &child.stat);
                frame.set_after(name, block.edits, At { page: at.page, row: at.row + 1 });
                return Stop::Directory(child, wanted);
            }
        }
        Stop::End
    }
}

/// Calls `each` for the rows that have the needle in their name.
#[inline]
fn scan(
    page: &Page,
    rows: std::ops::Range<usize>,
    needle: Option<&Needle>,
    mut each: impl FnMut(usize),
) {
    let Some(needle) = needle else { return rows.for_each(each) };
    let mut row = rows.start;
    let names = &page.names()[..page.start(rows.end)];
    let mut at = page.start(row);
    while let Some(place) = needle.find(names, at) {
        while page.end(row) <= place {
            row += 1;
        }
        if place + needle.len() <= page.end(row) {
            each(row);
            at = page.end(row);
        } else {
            at = place + 1;
        }
    }
}
