//! Operations on the storage, with the times and link counts that POSIX asks for.

use fusion_core::stat::Kind;
use fusion_core::time::StorageTime;

use crate::name::Name;

use super::{Binding, Ino, Refused, Storage, Time};

impl Storage {
    fn bind(&mut self, now: Time, dir: Ino, name: Name, inode: Ino) {
        let binding = Binding { name, inode, from: now, until: Time::MAX };
        self.inodes[dir.0 as usize].bindings.push(binding);
        if self.is_dir(inode) {
            self.inodes[inode.0 as usize].parent = Some(dir);
        }
    }

    fn unbind(&mut self, now: Time, dir: Ino, name: Name) {
        let open = |binding: &&mut Binding| binding.name == name && binding.until == Time::MAX;
        let bindings = &mut self.inodes[dir.0 as usize].bindings;
        if let Some(binding) = bindings.iter_mut().rev().find(open) {
            binding.until = now;
        }
    }

    fn touch_dir(&mut self, now: Time, dir: Ino, subdirectories: i32) {
        self.change(now, dir, true, |stat| {
            stat.nlink = stat.nlink.saturating_add_signed(subdirectories);
        });
    }

    fn usable(&self, dir: Ino) -> Result<(), Refused> {
        if self.is_alive(dir) && self.is_dir(dir) { Ok(()) } else { Err(Refused) }
    }

    /// Makes a new entry; `reuse` takes the number that was freed last.
    pub(crate) fn create(
        &mut self,
        now: Time,
        dir: Ino,
        name: Name,
        kind: Kind,
        reuse: bool,
    ) -> Result<Ino, Refused> {
        self.usable(dir)?;
        if self.child(dir, name).is_some() {
            return Err(Refused);
        }
        let stat = self.fresh_stat(now, kind, reuse);
        let ino = self.add_inode(now, stat, Some(dir));
        self.bind(now, dir, name, ino);
        self.touch_dir(now, dir, i32::from(kind == Kind::Directory));
        Ok(ino)
    }

    /// Gives a file one more name.
    pub(crate) fn link(
        &mut self,
        now: Time,
        ino: Ino,
        dir: Ino,
        name: Name,
    ) -> Result<(), Refused> {
        self.usable(dir)?;
        if self.is_dir(ino) || !self.is_alive(ino) || self.child(dir, name).is_some() {
            return Err(Refused);
        }
        self.bind(now, dir, name, ino);
        self.touch_dir(now, dir, 0);
        self.change(now, ino, false, |stat| stat.nlink += 1);
        Ok(())
    }

    /// Takes a name away: a file's, or an empty directory's.
    pub(crate) fn unlink(&mut self, now: Time, dir: Ino, name: Name) -> Result<Ino, Refused> {
        self.usable(dir)?;
        let ino = self.child(dir, name).ok_or(Refused)?;
        if self.is_dir(ino) && !self.is_empty(ino) {
            return Err(Refused);
        }
        self.unbind(now, dir, name);
        self.touch_dir(now, dir, -i32::from(self.is_dir(ino)));
        self.drop_link(now, ino);
        Ok(ino)
    }

    fn drop_link(&mut self, now: Time, ino: Ino) {
        let directory = self.is_dir(ino);
        self.change(now, ino, false, |stat| {
            stat.nlink = if directory { 0 } else { stat.nlink - 1 };
        });
        let inode = &mut self.inodes[ino.0 as usize];
        if inode.stat.nlink == 0 {
            inode.died = now;
            self.free.push(inode.stat.inode);
        }
    }

    /// Moves an entry, over what stands there if POSIX allows it. What moved.
    pub(crate) fn rename(
        &mut self,
        now: Time,
        (from_dir, from): (Ino, Name),
        (to_dir, to): (Ino, Name),
    ) -> Result<Ino, Refused> {
        self.usable(from_dir)?;
        self.usable(to_dir)?;
        let moved = self.child(from_dir, from).ok_or(Refused)?;
        let directory = self.is_dir(moved);
        if directory && self.is_below(to_dir, moved) {
            return Err(Refused);
        }
        if let Some(over) = self.child(to_dir, to) {
            let fits = self.is_dir(over) == directory && (!directory || self.is_empty(over));
            if over == moved || !fits {
                return Err(Refused);
            }
            self.unbind(now, to_dir, to);
            self.drop_link(now, over);
            self.change(now, to_dir, true, |stat| stat.nlink -= u32::from(directory));
        }
        self.unbind(now, from_dir, from);
        self.touch_dir(now, from_dir, -i32::from(directory));
        self.bind(now, to_dir, to, moved);
        self.touch_dir(now, to_dir, i32::from(directory));
        self.touch_moved(now, moved);
        Ok(moved)
    }

    fn touch_moved(&mut self, now: Time, moved: Ino) {
        if self.rename_touches {
            self.change(now, moved, false, |_| ());
        }
    }

    /// Exchanges two entries at once (`RENAME_EXCHANGE`). What stood at the first and the second.
    pub(crate) fn exchange(
        &mut self,
        now: Time,
        (one_dir, one): (Ino, Name),
        (two_dir, two): (Ino, Name),
    ) -> Result<(Ino, Ino), Refused> {
        self.usable(one_dir)?;
        self.usable(two_dir)?;
        let first = self.child(one_dir, one).ok_or(Refused)?;
        let second = self.child(two_dir, two).ok_or(Refused)?;
        let loops = (self.is_dir(first) && self.is_below(two_dir, first))
            || (self.is_dir(second) && self.is_below(one_dir, second));
        if first == second || loops {
            return Err(Refused);
        }
        let links = i32::from(self.is_dir(second)) - i32::from(self.is_dir(first));
        self.unbind(now, one_dir, one);
        self.unbind(now, two_dir, two);
        self.bind(now, one_dir, one, second);
        self.bind(now, two_dir, two, first);
        self.touch_dir(now, one_dir, links);
        self.touch_dir(now, two_dir, -links);
        self.touch_moved(now, first);
        self.touch_moved(now, second);
        Ok((first, second))
    }

    /// Writes into a file: in place (same size) or at its end.
    pub(crate) fn write(&mut self, now: Time, ino: Ino, grow: u64) -> Result<(), Refused> {
        if !self.is_alive(ino) || self.stat(ino).kind != Kind::File {
            return Err(Refused);
        }
        self.change(now, ino, true, |stat| stat.size += grow);
        Ok(())
    }

    /// Sets the mtime, as `touch`, `cp -p` and `rsync -a` do.
    pub(crate) fn set_mtime(
        &mut self,
        now: Time,
        ino: Ino,
        mtime: StorageTime,
    ) -> Result<(), Refused> {
        if !self.is_alive(ino) {
            return Err(Refused);
        }
        self.change(now, ino, false, |stat| stat.mtime = mtime);
        Ok(())
    }

    /// Sets the permission bits.
    pub(crate) fn chmod(&mut self, now: Time, ino: Ino, mode: u32) -> Result<(), Refused> {
        if !self.is_alive(ino) {
            return Err(Refused);
        }
        self.change(now, ino, false, |stat| stat.mode = mode);
        Ok(())
    }
}
