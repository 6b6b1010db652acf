//! Finding entries below a path: in slices, beside the writer, only as fast as they are taken.
//!
//! A slice looks at a bounded number of entries on the runtime's blocking pool and gives back what
//! it found; between slices nothing is held, so neither the view nor a thread waits for a client.

use fusion_core::stat::Stat;
use fusion_core::view::{FindCursor, Needle, ViewReader};
use fusion_proto::convert::view::FindEntries;
use fusion_proto::status::Refusal;
use globset::{GlobBuilder, GlobMatcher};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use super::views::{Views, Worth, unread, wanted, worth};
use crate::ids::Ids;
use crate::task::view::ViewHandle;

/// Entries looked at while the tree is locked once.
const STEP: usize = 2_048;
/// Steps of a slice at most.
const STEPS: usize = 32;
/// Entries of a message at most.
const CHUNK_ROWS: usize = 512;
/// Bytes of the paths of a message at most.
const CHUNK_BYTES: usize = 256 * 1024;

/// An entry that was found: its path and stat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: Vec<u8>,
    pub(crate) stat: Stat,
    pub(crate) suspect: bool,
    pub(crate) blind: bool,
}

/// A search that is under way.
pub(crate) struct Search {
    views: Views,
    view: ViewHandle,
    ids: Arc<dyn Ids>,
    walk: Option<Walk>,
    root: FindEntries,
}

struct Walk {
    reader: ViewReader,
    cursor: FindCursor,
    filter: Arc<Filter>,
    left: u64,
}

struct Filter {
    glob: Option<GlobMatcher>,
    /// What all names have that the glob matches.
    needle: Option<Needle>,
    request: FindEntries,
}

impl Search {
    /// Begins to search.
    pub(crate) fn begin(
        views: &Views,
        ids: Arc<dyn Ids>,
        request: FindEntries,
    ) -> Result<Self, Refusal> {
        let glob = request.name_glob.as_deref().map(compile).transpose()?;
        let (view, _) = views.demand(&request.view, request.class)?;
        let reader = view.reader().clone();
        let cursor = reader
            .find(request.path.as_ref())
            .map_err(|error| unread(error, &request.view, request.path.as_ref()))?;
        let left = request.limit.unwrap_or(u64::MAX);
        let needle = request.name_glob.as_deref().and_then(needle);
        let filter = Arc::new(Filter { glob, needle, request: request.clone() });
        let walk = Some(Walk { reader, cursor, filter, left });
        Ok(Self { views: views.clone(), view, ids, walk, root: request })
    }

    /// The next chunks of what is found; `None` when all of it was.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Vec<Found>>>, Refusal> {
        let Some(walk) = self.walk.take() else { return Ok(None) };
        let slice = tokio::task::spawn_blocking(move || slice(walk));
        let (walk, chunks) = slice.await.map_err(|error| super::internal(&*self.ids, &error))?;
        self.walk = walk;
        Ok(Some(chunks))
    }

    /// What the whole answer is worth, at its end.
    pub(crate) fn worth(&self) -> Worth {
        let status = self.views.status(&self.view);
        let totals = self.view.reader().totals(self.root.path.as_ref()).unwrap_or_default();
        worth(status, totals.last_change)
    }
}

fn compile(glob: &str) -> Result<GlobMatcher, Refusal> {
    GlobBuilder::new(glob)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| Refusal::invalid("name_glob", error.to_string()))
}

/// The longest literal that every name has that a glob matches: the view passes over names without
/// it many at a time. What comes after a class or an alternative is not looked at.
fn needle(glob: &str) -> Option<Needle> {
    let (mut best, mut run) = (Vec::new(), Vec::new());
    let mut bytes = glob.bytes();
    loop {
        let next = bytes.next();
        let literal = match next {
            Some(b'\\') => bytes.next(),
            Some(b'*' | b'?' | b'[' | b'{') | None => None,
            other => other,
        };
        if let Some(byte) = literal {
            run.push(byte);
            continue;
        }
        if run.len() > best.len() {
            std::mem::swap(&mut best, &mut run);
        }
        run.clear();
        if !matches!(next, Some(b'*' | b'?')) {
            return Needle::new(&best);
        }
    }
}

/// Walks on until a chunk is full or the slice is over; the walk comes back if there is more of it.
fn slice(mut walk: Walk) -> (Option<Walk>, Vec<Vec<Found>>) {
    let mut chunks = Chunks::default();
    for _ in 0..STEPS {
        let filter = Arc::clone(&walk.filter);
        let left = &mut walk.left;
        let done = walk.reader.find_next_with(
            &mut walk.cursor,
            STEP,
            filter.needle.as_ref(),
            |name, stat| filter.matches(name, stat),
            |path, entry| {
                if *left > 0 {
                    *left -= 1;
                    let (suspect, blind) = (entry.suspect, entry.blind);
                    chunks.push(Found { path: path.to_vec(), stat: entry.stat, suspect, blind });
                }
            },
        );
        if done || walk.left == 0 {
            return (None, chunks.done);
        }
        if chunks.done.len() > 1 {
            break;
        }
    }
    (Some(walk), chunks.done)
}

impl Filter {
    fn matches(&self, name: &[u8], stat: &Stat) -> bool {
        wanted(&self.request.kinds, stat.kind)
            && self
                .glob
                .as_ref()
                .is_none_or(|glob| glob.is_match(Path::new(OsStr::from_bytes(name))))
    }
}

/// What was found, cut into messages.
#[derive(Debug, Default)]
struct Chunks {
    done: Vec<Vec<Found>>,
    bytes: usize,
}

impl Chunks {
    fn push(&mut self, found: Found) {
        self.bytes += found.path.len();
        match self.done.last_mut() {
            Some(last) if last.len() < CHUNK_ROWS && self.bytes <= CHUNK_BYTES => last.push(found),
            _ => {
                self.bytes = found.path.len();
                self.done.push(vec![found]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_needle_is_what_every_match_has() {
        let cases = [
            ("*.dat", ".dat"),
            ("run42*", "run42"),
            ("a*bcd?ef", "bcd"),
            ("\\*x\\?*y", "*x?"),
            ("*.[ch]pp", "."),
            ("img{1,22}.jpeg", "img"),
            ("é*", "é"),
        ];
        for (glob, literal) in cases {
            assert_eq!(needle(glob), Needle::new(literal.as_bytes()), "{glob}");
        }
        for glob in ["*", "", "[ab]c", "{a,b}c", "?*?"] {
            assert_eq!(needle(glob), None, "{glob}");
        }
    }

    #[test]
    fn no_name_that_matches_is_without_the_needle() {
        let alphabet = b"ab*?[]{,}\\-!";
        let mut random = 7_u64;
        let mut draw = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % below as u64) as usize
        };
        let mut matched = 0;
        for _ in 0..20_000 {
            let glob: String =
                (0..draw(7)).map(|_| char::from(alphabet[draw(alphabet.len())])).collect();
            let (Ok(matcher), needle) = (compile(&glob), needle(&glob)) else { continue };
            for _ in 0..20 {
                let name: Vec<u8> = (0..draw(5)).map(|_| alphabet[draw(alphabet.len())]).collect();
                if matcher.is_match(Path::new(OsStr::from_bytes(&name))) {
                    matched += 1;
                    let found = needle.as_ref().is_none_or(|it| it.find(&name, 0).is_some());
                    assert!(found, "{glob} matches {name:?}");
                }
            }
        }
        assert!(matched > 1_000, "{matched}");
    }
}
