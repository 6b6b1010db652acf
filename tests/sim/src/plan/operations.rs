//! What people and programs do to a storage, as runs of primitive operations.

use crate::name::{KEEP, Name, Path};
use crate::schedule::Action;
use crate::storage::{BEGIN, HOUR, Ino, SEC};

use super::Planner;

/// Directories below this depth get no directories.
const DEPTH: usize = 3;

impl Planner {
    /// The tree that stands before any agent looks.
    pub(super) fn settle_in(&mut self) {
        self.act(Action::Mkdir(Path::root().join(KEEP)), false);
        for _ in 0..self.chance.between(1, 6) {
            self.now += self.chance.between(0, 2 * SEC);
            if self.chance.percent(50) {
                self.make_directory();
            } else {
                self.create();
            }
        }
        self.now += self.chance.between(0, 5 * SEC);
    }

    /// One operation, as a person would count them.
    pub(super) fn operation(&mut self) {
        match self.chance.below(100) {
            0..16 => self.create(),
            16..23 => self.write(0),
            23..29 => self.write(7),
            29..36 => self.make_directory(),
            36..40 => self.make_path_with_files(),
            40..50 => self.delete(),
            50..58 => self.recreate(),
            58..75 => self.rename(),
            75..79 => self.swap(),
            79..83 => self.there_and_back(),
            83..87 => self.link(),
            87..91 => self.copy_with_times(),
            91..94 => self.restore_directory_times(),
            94..97 => self.touch(),
            _ => self.chmod(),
        }
    }

    fn is_dir(&self, ino: Ino) -> bool {
        self.storage.is_dir(ino)
    }

    /// A directory to put something into.
    fn some_directory(&mut self) -> Path {
        let dirs: Vec<Path> = self
            .entries()
            .into_iter()
            .filter(|(path, ino)| self.is_dir(*ino) && path.names().len() < DEPTH)
            .map(|(path, _)| path)
            .collect();
        if dirs.is_empty() || self.chance.percent(30) {
            return Path::root();
        }
        dirs[self.chance.index(dirs.len())].clone()
    }

    fn some_name(&mut self) -> Name {
        loop {
            let name = Name(self.chance.below(Name::COUNT as u64) as u8);
            if name != KEEP {
                return name;
            }
        }
    }

    fn some_place(&mut self) -> Path {
        let name = self.some_name();
        self.some_directory().join(name)
    }

    fn some_entry(&mut self, wanted: impl Fn(&Self, Ino) -> bool) -> Option<Path> {
        let keep = Path::root().join(KEEP);
        let fitting: Vec<Path> = self
            .entries()
            .into_iter()
            .filter(|(path, ino)| *path != keep && wanted(self, *ino))
            .map(|(path, _)| path)
            .collect();
        if fitting.is_empty() {
            None
        } else {
            Some(fitting[self.chance.index(fitting.len())].clone())
        }
    }

    fn some_file(&mut self) -> Option<Path> {
        self.some_entry(|planner, ino| !planner.is_dir(ino))
    }

    fn create(&mut self) {
        let path = self.some_place();
        if self.chance.percent(8) {
            return self.act(Action::Symlink(path), false);
        }
        self.write_new(path, false);
    }

    /// Makes a file, writes it, and mostly closes it.
    fn write_new(&mut self, path: Path, reuse: bool) {
        self.act(Action::Create(path.clone()), reuse);
        if self.chance.percent(60) {
            self.moment();
            let bytes = self.chance.below(1000);
            self.act(Action::Write(path.clone(), bytes), false);
        }
        if self.chance.percent(85) {
            self.moment();
            self.act(Action::Close(path), false);
        }
    }

    fn write(&mut self, grow: u64) {
        let Some(path) = self.some_file() else { return self.create() };
        self.act(Action::Write(path.clone(), grow), false);
        if self.chance.percent(80) {
            self.moment();
            self.act(Action::Close(path), false);
        }
    }

    fn make_directory(&mut self) {
        let path = self.some_place();
        self.act(Action::Mkdir(path), false);
    }

    /// `mkdir -p` and files in it, faster than anybody can watch.
    fn make_path_with_files(&mut self) {
        let mut path = self.some_place();
        let reuse = self.chance.percent(30);
        self.act(Action::Mkdir(path.clone()), reuse);
        if self.chance.percent(50) {
            path = path.join(self.some_name());
            self.moment();
            self.act(Action::Mkdir(path.clone()), false);
        }
        for _ in 0..self.chance.between(1, 3) {
            self.moment();
            let name = self.some_name();
            self.write_new(path.join(name), false);
        }
    }

    fn delete(&mut self) {
        let Some(path) = self.some_entry(|_, _| true) else { return };
        self.delete_tree(&path);
    }

    /// `rm -r`: children before their directory, with time between them.
    fn delete_tree(&mut self, path: &Path) {
        let mut below: Vec<Path> = self
            .entries()
            .into_iter()
            .filter(|(entry, _)| entry.is_within(path))
            .map(|(entry, _)| entry)
            .collect();
        below.sort_by_key(|entry| std::cmp::Reverse(entry.names().len()));
        for entry in below {
            self.act(Action::Unlink(entry), false);
            self.moment();
        }
    }

    /// The same name again, perhaps with the same number, perhaps as another kind.
    fn recreate(&mut self) {
        let Some(path) = self.some_entry(|_, _| true) else { return self.create() };
        self.delete_tree(&path);
        if self.chance.percent(40) {
            self.pause();
        }
        let reuse = self.chance.percent(60);
        if self.chance.percent(35) {
            self.act(Action::Mkdir(path), reuse);
        } else {
            self.write_new(path, reuse);
        }
    }

    fn rename(&mut self) {
        let Some(from) = self.some_entry(|_, _| true) else { return self.create() };
        let to = if self.chance.percent(35) {
            self.some_entry(|_, _| true)
        } else {
            Some(self.some_place())
        };
        if let Some(to) = to.filter(|to| !to.is_within(&from)) {
            self.act(Action::Rename(from, to), false);
        }
    }

    fn swap(&mut self) {
        let (Some(one), Some(two)) = (self.some_entry(|_, _| true), self.some_entry(|_, _| true))
        else {
            return;
        };
        if one.is_within(&two) || two.is_within(&one) {
            return;
        }
        if self.chance.percent(40) {
            return self.act(Action::Exchange(one, two), false);
        }
        let aside = self.some_place();
        if aside.is_within(&one) || aside.is_within(&two) {
            return;
        }
        self.act(Action::Rename(one.clone(), aside.clone()), false);
        self.moment();
        self.act(Action::Rename(two.clone(), one), false);
        self.moment();
        self.act(Action::Rename(aside, two), false);
    }

    /// Out of its place and back into it, perhaps by another host.
    fn there_and_back(&mut self) {
        let Some(from) = self.some_entry(|_, _| true) else { return };
        let to = self.some_place();
        if to.is_within(&from) {
            return;
        }
        self.act(Action::Rename(from.clone(), to.clone()), false);
        self.pause();
        self.act(Action::Rename(to, from), false);
    }

    fn link(&mut self) {
        let Some(from) = self.some_file() else { return };
        let to = self.some_place();
        self.act(Action::Link(from, to), false);
    }

    /// `cp -p`: a new file with an old mtime.
    fn copy_with_times(&mut self) {
        let to = self.some_place();
        self.act(Action::Create(to.clone()), false);
        self.moment();
        self.act(Action::Write(to.clone(), 42), false);
        self.moment();
        let mtime = BEGIN - self.chance.between(0, 1_000 * HOUR);
        self.act(Action::SetMtime(to.clone(), mtime), false);
        self.act(Action::Close(to), false);
    }

    /// `rsync -a`: puts the mtime of a directory back after having changed what is in it.
    fn restore_directory_times(&mut self) {
        let dir = self.some_directory();
        let name = self.some_name();
        let old = self.chance.between(BEGIN - 100 * HOUR, BEGIN);
        self.act(Action::Create(dir.join(name)), false);
        self.moment();
        self.act(Action::Close(dir.join(name)), false);
        self.moment();
        self.act(Action::SetMtime(dir, old), false);
    }

    fn touch(&mut self) {
        let Some(path) = self.some_entry(|_, _| true) else { return };
        let far = self.chance.between(-2_000 * HOUR, 200_000 * HOUR);
        self.act(Action::SetMtime(path, self.now + far), false);
    }

    fn chmod(&mut self) {
        let mode = [0o600, 0o644, 0o700, 0o755][self.chance.index(4)];
        let path = self.some_entry(|_, _| true).unwrap_or_default();
        self.act(Action::Chmod(path, mode), false);
    }
}
