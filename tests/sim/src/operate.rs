//! Doing an operation: what it does to the storage, and what the doer's kernel says of it.

use fusion_core::stat::Kind;
use fusion_core::time::StorageTime;

use crate::name::{Name, Path};
use crate::schedule::{Action, Op};
use crate::storage::{Ino, Refused, Storage, Time};

/// What the kernel of the doing host tells the watch on a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    /// Something new stands here: made, linked or moved in.
    Appeared(Ino, Name, Ino),
    /// A file was written and is still open.
    Modified(Ino, Name),
    /// A file was closed after writing.
    Closed(Ino, Name),
    /// The stat of an entry was changed.
    Attributes(Ino, Name),
    /// The stat of the root was changed.
    RootAttributes,
    /// Something went: deleted or moved out.
    Gone(Ino, Name),
    /// Something moved; both directories are watched.
    Moved { from: (Ino, Name), to: (Ino, Name), what: Ino },
}

/// What an operation did.
#[derive(Debug, Default)]
pub(crate) struct Effect {
    /// What the kernel says, in order.
    pub(crate) happenings: Vec<Happening>,
    /// The inodes that the doing host knows afresh.
    pub(crate) touched: Vec<Ino>,
}

/// Finds a directory as the doer sees it.
pub(crate) type Finder<'a> = dyn FnMut(&Storage, &[Name]) -> Option<Ino> + 'a;

struct Place {
    dir: Ino,
    name: Name,
}

fn place(storage: &Storage, find: &mut Finder<'_>, path: &Path) -> Result<Place, Refused> {
    let (parent, name) = path.split().ok_or(Refused)?;
    let dir = find(storage, parent).ok_or(Refused)?;
    Ok(Place { dir, name })
}

/// Does it now.
pub(crate) fn perform(
    storage: &mut Storage,
    op: &Op,
    now: Time,
    find: &mut Finder<'_>,
) -> Result<Effect, Refused> {
    match &op.action {
        Action::Create(path) => create(storage, find, path, now, Kind::File, op.reuse),
        Action::Mkdir(path) => create(storage, find, path, now, Kind::Directory, op.reuse),
        Action::Symlink(path) => create(storage, find, path, now, Kind::Symlink, op.reuse),
        Action::Rename(from, to) => rename(storage, find, from, to, now),
        Action::Exchange(one, two) => exchange(storage, find, one, two, now),
        Action::Link(from, to) => {
            let (from, to) = (place(storage, find, from)?, place(storage, find, to)?);
            let ino = storage.child(from.dir, from.name).ok_or(Refused)?;
            storage.link(now, ino, to.dir, to.name)?;
            let happenings = vec![Happening::Appeared(to.dir, to.name, ino)];
            Ok(Effect { happenings, touched: vec![to.dir, ino] })
        }
        Action::Unlink(path) => {
            let Place { dir, name } = place(storage, find, path)?;
            let ino = storage.unlink(now, dir, name)?;
            Ok(Effect { happenings: vec![Happening::Gone(dir, name)], touched: vec![dir, ino] })
        }
        _ => change(storage, find, &op.action, now),
    }
}

fn create(
    storage: &mut Storage,
    find: &mut Finder<'_>,
    path: &Path,
    now: Time,
    kind: Kind,
    reuse: bool,
) -> Result<Effect, Refused> {
    let Place { dir, name } = place(storage, find, path)?;
    let ino = storage.create(now, dir, name, kind, reuse)?;
    let happenings = vec![Happening::Appeared(dir, name, ino)];
    Ok(Effect { happenings, touched: vec![dir, ino] })
}

fn rename(
    storage: &mut Storage,
    find: &mut Finder<'_>,
    from: &Path,
    to: &Path,
    now: Time,
) -> Result<Effect, Refused> {
    let (from, to) = (place(storage, find, from)?, place(storage, find, to)?);
    let (from, to) = ((from.dir, from.name), (to.dir, to.name));
    let over = storage.child(to.0, to.1);
    let what = storage.rename(now, from, to)?;
    let mut touched = vec![from.0, to.0, what];
    touched.extend(over);
    Ok(Effect { happenings: vec![Happening::Moved { from, to, what }], touched })
}

/// inotify tells an exchange as two moves.
fn exchange(
    storage: &mut Storage,
    find: &mut Finder<'_>,
    one: &Path,
    two: &Path,
    now: Time,
) -> Result<Effect, Refused> {
    let (one, two) = (place(storage, find, one)?, place(storage, find, two)?);
    let (one, two) = ((one.dir, one.name), (two.dir, two.name));
    let (first, second) = storage.exchange(now, one, two)?;
    let happenings = vec![
        Happening::Moved { from: one, to: two, what: first },
        Happening::Moved { from: two, to: one, what: second },
    ];
    Ok(Effect { happenings, touched: vec![one.0, two.0, first, second] })
}

/// What changes an inode and no directory.
fn change(
    storage: &mut Storage,
    find: &mut Finder<'_>,
    action: &Action,
    now: Time,
) -> Result<Effect, Refused> {
    let (Action::Write(path, _)
    | Action::Close(path)
    | Action::SetMtime(path, _)
    | Action::Chmod(path, _)) = action
    else {
        return Err(Refused);
    };
    let (ino, attributes) = match place(storage, find, path) {
        Ok(Place { dir, name }) => {
            (storage.child(dir, name).ok_or(Refused)?, Happening::Attributes(dir, name))
        }
        Err(Refused) if path.is_root() => (crate::storage::ROOT, Happening::RootAttributes),
        Err(refused) => return Err(refused),
    };
    let happening = match (action, attributes) {
        (Action::Write(_, grow), Happening::Attributes(dir, name)) => {
            storage.write(now, ino, *grow)?;
            Happening::Modified(dir, name)
        }
        (Action::Close(_), Happening::Attributes(dir, name)) if !storage.is_dir(ino) => {
            Happening::Closed(dir, name)
        }
        (Action::SetMtime(_, mtime), _) => {
            storage.set_mtime(now, ino, StorageTime::from_nanos(*mtime))?;
            attributes
        }
        (Action::Chmod(_, mode), _) => {
            storage.chmod(now, ino, *mode)?;
            attributes
        }
        _ => return Err(Refused),
    };
    Ok(Effect { happenings: vec![happening], touched: vec![ino] })
}
