//! Taking events in: each changes the table, or marks names to look at. No I/O but the removal of
//! watches that are of no use any more.

use fusion_core::path::check_name;
use fusion_core::time::Monotonic;
use inotify::EventMask;

use super::failed::FailedLook;
use super::interpreter::Interpreter;
use super::moves::{End, Half, Rename};
use super::pending::Marks;
use super::places::Held;
use super::reader::RawEvent;
use super::table::{Content, NodeId, ROOT};

impl Interpreter {
    /// Takes in one event. `since`: it did not happen before; `now`: when it was read.
    pub(super) fn take_in(
        &mut self,
        event: RawEvent,
        name: &[u8],
        since: Monotonic,
        now: Monotonic,
    ) {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            self.lose(since);
            return;
        }
        let shared = std::sync::Arc::clone(&self.shared);
        let mut held = shared.places.lock();
        let Some(node) = held.table.by_watch(event.watch) else { return };
        if event.mask.contains(EventMask::IGNORED) {
            held.ended(event.watch);
            self.check_root |= node == ROOT;
            return;
        }
        held.table.use_at(node, now);
        let at = Event { mask: event.mask, cookie: event.cookie, node, since, now };
        if name.is_empty() {
            self.take_in_own(&held, &at);
        } else if check_name(name).is_ok() {
            self.take_in_name(&mut held, &at, name);
        } else {
            self.shared.counters.failed_looks.count(FailedLook::Name);
        }
    }

    /// An event of a watched directory itself.
    fn take_in_own(&mut self, held: &Held, event: &Event) {
        if event.node == ROOT {
            let gone = EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::UNMOUNT;
            self.check_root |= event.mask.intersects(gone);
            self.touch(held, event, ROOT);
            return;
        }
        let Some((parent, name)) = held.table.parent(event.node) else { return };
        // What the parent's watch tells of as well is told there, under its name.
        if event.mask.contains(EventMask::DELETE_SELF) {
            let marks = Marks { is_removed: true, is_own: true, ..Marks::default() };
            self.pending.mark(parent, &name, marks, event.now, event.since);
        } else if !held.kernel.tells_by_parent() || held.table.watch_of(parent).is_none() {
            let is_removed = event.mask.contains(EventMask::MOVE_SELF);
            let marks = Marks { is_removed, is_own: true, ..Marks::default() };
            let due = if is_removed { event.now } else { self.later(event) };
            self.pending.mark(parent, &name, marks, due, event.since);
        }
    }

    /// An event of a name in a watched directory.
    fn take_in_name(&mut self, held: &mut Held, event: &Event, name: &[u8]) {
        let is_directory = event.mask.contains(EventMask::ISDIR);
        let own = Marks { is_own: true, ..Marks::default() };
        let (marks, due) = match kind_of(event.mask) {
            Some(EventMask::MOVED_FROM) => {
                self.take_in_half(held, event, name, is_directory);
                return self.touch(held, event, event.node);
            }
            Some(EventMask::MOVED_TO) => {
                self.take_in_arrival(held, event, name, is_directory);
                return self.touch(held, event, event.node);
            }
            Some(EventMask::CREATE) if is_directory => {
                (Marks { is_made: true, has_appeared: true, ..own }, event.now)
            }
            // Its close follows; if it is a hard link or no file, none does.
            Some(EventMask::CREATE) => {
                (Marks { is_made: true, is_open: true, ..own }, self.later(event))
            }
            Some(EventMask::DELETE) => (Marks { is_removed: true, ..own }, event.now),
            Some(EventMask::CLOSE_WRITE) => (Marks { is_closed: true, ..own }, event.now),
            Some(EventMask::MODIFY) => (Marks { is_open: true, ..own }, self.later(event)),
            Some(_) => (own, self.later(event)),
            None => return,
        };
        self.pending.mark(event.node, name, marks, due, event.since);
        if event.mask.intersects(EventMask::CREATE | EventMask::DELETE) {
            self.touch(held, event, event.node);
        }
    }

    /// The first half of a rename: its directory, with all below, is nowhere until the second comes.
    fn take_in_half(&mut self, held: &mut Held, event: &Event, name: &[u8], is_directory: bool) {
        let from = end(held, event.node, name);
        let child = held.table.child(event.node, name).filter(|_| is_directory);
        if let Some(child) = child {
            if held.table.is_due(event.node) {
                held.table.set_content(child, Content::Due);
            }
            held.table.detach(child);
        }
        let carried = self.pending.take(event.node, name).map(|pending| pending.marks);
        self.moves.push_half(Half {
            cookie: event.cookie,
            from,
            child,
            carried,
            since: event.since,
            taken_at: event.now,
        });
    }

    /// The second half of a rename, or something that came from elsewhere.
    fn take_in_arrival(&mut self, held: &mut Held, event: &Event, name: &[u8], is_directory: bool) {
        let to = end(held, event.node, name);
        // What stood there stands there no more.
        if let Some(replaced) = held.table.child(event.node, name) {
            held.remove(replaced);
        }
        self.pending.take(event.node, name);
        let arrived = Marks { has_appeared: is_directory, is_own: true, ..Marks::default() };
        let Some(half) = self.moves.take_half(event.cookie) else {
            self.pending.mark(event.node, name, arrived, event.now, event.since);
            return;
        };
        if let Some(child) = half.child
            && !held.table.attach(child, event.node, name)
        {
            held.remove(child);
        }
        let (child, carried, since) = (half.child, half.carried, half.since);
        let rename = Rename { from: half.from, to, child, is_directory, carried, since };
        if let Some(between) = self.moves.push_rename(rename) {
            let marks = Marks { is_removed: true, is_displaced: true, ..arrived };
            self.pending.mark(between.node, &between.name, marks, event.now, since);
        }
    }

    /// Names changed in a directory, so its own stat did.
    fn touch(&mut self, held: &Held, event: &Event, node: NodeId) {
        let due = self.later(event);
        if node == ROOT {
            self.pending.mark_root(due, event.since);
        } else if let Some((parent, name)) = held.table.parent(node) {
            self.pending.mark(parent, &name, Marks::default(), due, event.since);
        }
    }

    fn later(&self, event: &Event) -> Monotonic {
        event.now.plus(self.shared.options.merge_window)
    }
}

/// An event whose watch is known.
struct Event {
    mask: EventMask,
    cookie: u32,
    node: NodeId,
    since: Monotonic,
    now: Monotonic,
}

/// The one thing that an event says.
fn kind_of(mask: EventMask) -> Option<EventMask> {
    [
        EventMask::CREATE,
        EventMask::DELETE,
        EventMask::MODIFY,
        EventMask::CLOSE_WRITE,
        EventMask::ATTRIB,
        EventMask::MOVED_FROM,
        EventMask::MOVED_TO,
    ]
    .into_iter()
    .find(|kind| mask.contains(*kind))
}

fn end(held: &Held, node: NodeId, name: &[u8]) -> End {
    let path = held.table.path(node).and_then(|path| path.join(name).ok());
    End { node, name: name.into(), path }
}
