//! The thread that only reads the kernel's queue: it never looks at a file and never sends.
//!
//! The kernel keeps 16,384 events, which is 36 ms of a busy disk. They are moved into a queue of our
//! own, bounded in events; when that is full, events are read and dropped, and the batch that
//! follows says since when. Waiting is done by a runtime of one thread, because it can wait for the
//! kernel and for the end at once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use fusion_core::path::TreePath;
use fusion_core::time::Monotonic;
use inotify::EventMask;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::Shared;
use super::gate::Gate;
use super::kernel::Queue;
use super::table::WatchNumber;

/// Events of one reading, packed.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) events: Vec<RawEvent>,
    /// Names, back to back.
    pub(super) names: Vec<u8>,
    /// Nothing in here happened before this (all from before was in earlier batches).
    pub(super) since: Monotonic,
    /// All that happened before this is in here or in earlier batches.
    pub(super) through: Monotonic,
    /// Events of our own queue were dropped before this batch; all is known up to then.
    pub(super) lost_since: Option<Monotonic>,
}

/// One event; its name ends at `name_end` in the batch's names, and begins where the one before ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawEvent {
    pub(super) watch: WatchNumber,
    pub(super) mask: EventMask,
    pub(super) cookie: u32,
    pub(super) name_end: u32,
}

/// What comes to the interpreter.
pub(super) enum Message {
    /// Events.
    Batch(Batch),
    /// Events were lost since then, before there was this watcher.
    Lost(Monotonic),
    /// Watches were placed anew after a loss.
    PlacedAnew,
    /// A directory that another host made is to be watched and read; told when what was read is in the
    /// sink.
    Made(TreePath, oneshot::Sender<()>),
    /// There will be no more events.
    End,
}

const BUFFER_BYTES: usize = 128 * 1024;
/// While the interpreter is behind, events gather for this long: fewer, larger readings.
const GATHER: Duration = Duration::from_micros(200);
/// From so many events in the queue on it is behind; fewer are those of one file, whose close is not
/// to wait for them.
const BEHIND: usize = 64;
/// How often it is asked whether there is room again after events were dropped.
const ROOM_CHECK: Duration = Duration::from_millis(5);
/// Most events in one batch, so that the interpreter begins while we read on.
const BATCH_EVENTS: usize = 8_192;

struct Reader {
    kernel: AsyncFd<Queue>,
    shared: Arc<Shared>,
    out: Sender<Message>,
    buffer: Vec<u8>,
    /// Up to when all events have been read.
    through: Monotonic,
    /// Since when events are being dropped.
    lost_since: Option<Monotonic>,
}

/// Runs until it is told to stop or nobody takes its events. Gives why it broke off, if it did.
pub(super) fn run(
    queue: Queue,
    shared: Arc<Shared>,
    out: Sender<Message>,
    runtime: &tokio::runtime::Runtime,
) -> io::Result<()> {
    runtime.block_on(async {
        #[expect(
            deprecated,
            reason = "its successor is `unsafe`, which this workspace forbids; what \
            it asks for holds: the `Queue` owns its descriptor and is owned by the `AsyncFd`"
        )]
        let kernel = AsyncFd::with_interest(queue, Interest::READABLE)?;
        let through = shared.clock.monotonic();
        let buffer = vec![0; BUFFER_BYTES];
        let lost_since = None;
        Reader { kernel, shared, out, buffer, through, lost_since }.run().await
    })
}

impl Reader {
    async fn run(mut self) -> io::Result<()> {
        loop {
            let wait_for_room = self.lost_since.is_some();
            let stop = Arc::clone(&self.shared.stop_reader);
            tokio::select! {
                () = stop.notified() => return Ok(()),
                () = tokio::time::sleep(ROOM_CHECK), if wait_for_room => {}
                ready = self.kernel.readable_mut() => ready?.clear_ready(),
            }
            if self.shared.gate.queued() > BEHIND {
                // This thread has nothing else to do, and the runtime's own timer counts in ms.
                std::thread::sleep(GATHER);
            }
            self.shared.gate.set_busy(true);
            let read = self.read_all();
            self.shared.gate.set_busy(false);
            if !read? {
                return Ok(());
            }
        }
    }

    /// Reads until the kernel has no more; gives false if nobody takes the events.
    fn read_all(&mut self) -> io::Result<bool> {
        loop {
            let stamp = self.shared.clock.monotonic();
            let mut batch = Batch {
                events: Vec::new(),
                names: Vec::new(),
                since: self.through,
                through: self.through,
                lost_since: None,
            };
            let drained = loop {
                match self.kernel.get_mut().read(&mut self.buffer, &mut batch) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
                if batch.events.len() >= BATCH_EVENTS {
                    break false;
                }
            };
            if drained {
                batch.through = stamp;
                self.through = stamp;
            }
            if !self.hand_over(batch) {
                return Ok(false);
            }
            if drained {
                return Ok(true);
            }
        }
    }

    /// Puts a batch into the queue, or drops it; gives false if nobody takes it.
    fn hand_over(&mut self, mut batch: Batch) -> bool {
        let gate: &Gate = &self.shared.gate;
        let events = batch.events.len();
        super::counters::add(&self.shared.counters.events, events);
        let most = self.shared.options.queue_events.get();
        // Once events were dropped, room for half the queue is waited for: one loss, not many.
        let room = if self.lost_since.is_some() { most / 2 } else { most };
        if gate.queued() + events > room && gate.queued() > 0 {
            if events > 0 {
                self.lost_since.get_or_insert(batch.since);
            }
            return true;
        }
        batch.lost_since = self.lost_since.take();
        if events == 0 && batch.lost_since.is_none() {
            return true;
        }
        gate.add_queued(events);
        self.out.send(Message::Batch(batch)).is_ok()
    }
}

impl Batch {
    /// An event of inotify.
    pub(super) fn push_inotify(&mut self, event: &inotify::Event<&std::ffi::OsStr>) {
        let name = event.name.map_or(&b""[..], std::ffi::OsStr::as_encoded_bytes);
        self.push(event.wd.get_watch_descriptor_id(), event.mask, event.cookie, name);
    }

    /// An event; `name` is empty if it is of the directory itself.
    pub(super) fn push(&mut self, watch: WatchNumber, mask: EventMask, cookie: u32, name: &[u8]) {
        self.names.extend_from_slice(name);
        let name_end = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.events.push(RawEvent { watch, mask, cookie, name_end });
    }

    /// The events with their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RawEvent, &[u8])> {
        let mut start = 0;
        self.events.iter().map(move |event| {
            let end = event.name_end as usize;
            let name = &self.names[start..end];
            start = end;
            (*event, name)
        })
    }
}
