//! Which entries a search wants: patterns made ready once, then asked for every entry.
//!
//! Owns the compiled patterns. What needs only the name and the stat is asked under the lock of a
//! directory for each entry; what needs the path, for those that passed. Must never: take more than
//! linear time over a name or path, or more memory than is said in the contract.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use fusion_core::stat::{Kind, Stat};
use fusion_core::view::{EntryInfo, Needle, Scope};
use fusion_proto::convert::view::EntryFilter;
use fusion_proto::limits;
use fusion_proto::status::Refusal;
use globset::{GlobBuilder, GlobMatcher};
use regex::bytes::{Regex, RegexBuilder};

use super::super::views::wanted;

/// A filter, ready to be asked.
#[derive(Debug)]
pub(crate) struct Filter {
    glob: Option<GlobMatcher>,
    name: Option<Regex>,
    path: Option<Regex>,
    /// What all names have that the glob matches.
    needle: Option<Needle>,
    asked: EntryFilter,
}

impl Filter {
    /// Makes a filter ready.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: a pattern that cannot be read, or that is too large made ready.
    pub(crate) fn new(asked: EntryFilter) -> Result<Self, Refusal> {
        let regex = |field, pattern: &Option<String>| {
            pattern.as_deref().map(|pattern| compile_regex(field, pattern)).transpose()
        };
        Ok(Self {
            glob: asked.name_glob.as_deref().map(compile).transpose()?,
            name: regex("filter.name_regex", &asked.name_regex)?,
            path: regex("filter.path_regex", &asked.path_regex)?,
            needle: asked.name_glob.as_deref().and_then(needle),
            asked,
        })
    }

    /// Whether it may take long for a single entry.
    pub(crate) fn may_be_slow(&self) -> bool {
        self.name.is_some() || self.path.is_some()
    }

    /// What a walk has to go into.
    pub(crate) fn scope(&self) -> Scope {
        Scope {
            depth: self.asked.max_depth.map(|depth| depth as usize),
            suspects: self.asked.only_suspect,
            blind: self.asked.only_blind,
            newest: self.asked.mtime.as_ref().map(|range| *range.start()),
        }
    }

    /// What all wanted names have.
    pub(crate) fn needle(&self) -> Option<&Needle> {
        self.needle.as_ref()
    }

    /// Whether an entry passes all that its name and stat decide.
    pub(crate) fn by_name(&self, name: &[u8], stat: &Stat) -> bool {
        let asked = &self.asked;
        wanted(&asked.kinds, stat.kind)
            && asked
                .size
                .as_ref()
                .is_none_or(|range| stat.kind == Kind::File && range.contains(&stat.size))
            && asked.mtime.as_ref().is_none_or(|range| range.contains(&stat.mtime))
            && asked.ctime.as_ref().is_none_or(|range| range.contains(&stat.ctime))
            && (asked.uids.is_empty() || asked.uids.contains(&stat.uid))
            && (asked.gids.is_empty() || asked.gids.contains(&stat.gid))
            && self.has_extension(name)
            && self
                .glob
                .as_ref()
                .is_none_or(|glob| glob.is_match(Path::new(OsStr::from_bytes(name))))
            && self.name.as_ref().is_none_or(|regex| regex.is_match(name))
    }

    /// Whether an entry that passed by its name passes the rest. `above` is how many `/` the paths of
    /// the children of the directory have in which the search began, less one.
    pub(crate) fn by_path(&self, path: &[u8], above: usize, entry: &EntryInfo) -> bool {
        let asked = &self.asked;
        (!asked.only_suspect || entry.suspect)
            && (!asked.only_blind || entry.blind)
            && asked
                .min_depth
                .is_none_or(|least| slashes(path).saturating_sub(above) >= least as usize)
            && self.path.as_ref().is_none_or(|regex| regex.is_match(path))
    }

    fn has_extension(&self, name: &[u8]) -> bool {
        let ends = |extension: &String| {
            let stem = name.len().checked_sub(extension.len() + 1).filter(|stem| *stem > 0);
            stem.is_some_and(|stem| {
                name[stem] == b'.' && name[stem + 1..].eq_ignore_ascii_case(extension.as_bytes())
            })
        };
        self.asked.extensions.is_empty() || self.asked.extensions.iter().any(ends)
    }
}

/// How deep a path is.
pub(crate) fn slashes(path: &[u8]) -> usize {
    path.iter().filter(|&&byte| byte == b'/').count()
}

fn compile(glob: &str) -> Result<GlobMatcher, Refusal> {
    GlobBuilder::new(glob)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| Refusal::invalid("name_glob", error.to_string()))
}

fn compile_regex(field: &str, pattern: &str) -> Result<Regex, Refusal> {
    RegexBuilder::new(pattern)
        .size_limit(limits::REGEX_SIZE)
        .dfa_size_limit(limits::REGEX_SIZE)
        .build()
        .map_err(|error| {
            let why = match error {
                regex::Error::CompiledTooBig(limit) => {
                    format!("expands to more than {limit} bytes; repeat less in it")
                }
                error => error.to_string(),
            };
            Refusal::invalid(field, why)
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_core::time::StorageTime;

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

    #[test]
    fn a_regex_that_explodes_is_refused_by_its_name() {
        for pattern in ["(a{1000}){1000}", r"\w{1000}{1000}", "(", "a{2,1}"] {
            let asked = EntryFilter { path_regex: Some(pattern.to_owned()), ..Default::default() };
            match Filter::new(asked).unwrap_err() {
                Refusal::InvalidArgument { violations } => {
                    assert_eq!(violations[0].field, "filter.path_regex");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn extensions_are_ends_after_a_dot_with_something_before() {
        let extensions = vec!["gz".to_owned(), "tar.xz".to_owned()];
        let filter = Filter::new(EntryFilter { extensions, ..Default::default() }).unwrap();
        for (name, has) in [
            ("a.gz", true),
            ("a.tar.GZ", true),
            ("a.Tar.xz", true),
            ("a.xz", false),
            (".gz", false),
            ("gz", false),
            ("agz", false),
            ("a.gz.x", false),
            ("", false),
        ] {
            assert_eq!(filter.has_extension(name.as_bytes()), has, "{name}");
        }
    }

    #[test]
    fn ranges_hold_their_ends_and_sizes_are_of_files() {
        let time = StorageTime::from_nanos;
        let asked = EntryFilter {
            size: Some(1..=2),
            mtime: Some(time(-5)..=time(5)),
            uids: vec![1, 7],
            ..Default::default()
        };
        let filter = Filter::new(asked).unwrap();
        let stat = Stat {
            kind: Kind::File,
            size: 2,
            mtime: time(5),
            ctime: time(0),
            inode: 1,
            mode: 0,
            uid: 7,
            gid: 0,
            nlink: 1,
        };
        assert!(filter.by_name(b"x", &stat));
        for other in [
            Stat { size: 0, ..stat },
            Stat { size: 3, ..stat },
            Stat { kind: Kind::Symlink, ..stat },
            Stat { mtime: time(6), ..stat },
            Stat { mtime: time(-6), ..stat },
            Stat { uid: 0, ..stat },
        ] {
            assert!(!filter.by_name(b"x", &other), "{other:?}");
        }
    }
}
