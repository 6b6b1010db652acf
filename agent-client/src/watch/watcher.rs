//! Starting and ending a watcher, and what others may ask of it.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use fusion_core::path::{PathRef, TreePath};
use fusion_core::stat::Stat;
use fusion_core::time::Monotonic;
use rustix::fd::BorrowedFd;
use tokio::sync::oneshot;

use super::counters::{Counters, read};
use super::discover::DiscoveryTurn;
use super::gate::Gate;
use super::interpreter::Interpreter;
use super::kernel;
use super::places::Places;
use super::reader::{self, Message};
use super::{Shared, WatchCounts, WatchError, WatchOptions, WatchSink};
use crate::clock::SharedClock;
use crate::scan::{Cancel, FileId, Placer, Pulse, Root};
use crate::spawn::spawn_thread;

/// A running watcher. Dropping it ends its threads without waiting for them; [`Watcher::stop`] waits.
pub struct Watcher {
    handle: WatchHandle,
    threads: Vec<JoinHandle<()>>,
    messages: Sender<Message>,
}

/// What the rest of the agent asks of a watcher; cheap to clone, and harmless after its end.
#[derive(Clone)]
pub struct WatchHandle(pub(super) Arc<Shared>);

impl Watcher {
    /// Starts the threads. Nothing is watched yet: watches are placed by a scan that has
    /// [`Watcher::handle`] as its placer, or after a loss by the watcher itself.
    ///
    /// # Errors
    /// The kernel gives no way to hear of changes, or no thread.
    pub fn start(
        root: Arc<Root>,
        options: WatchOptions,
        clock: SharedClock,
        sink: Box<dyn WatchSink>,
    ) -> Result<Self, WatchError> {
        let (queue, placing) = kernel::open(&root, &options)?;
        let to_ask = queue.duplicate().map_err(WatchError::Instance)?;
        let limit = match placing.has_limit() {
            true => options.max_watches.unwrap_or(u64::MAX).min(kernel_limit()),
            false => u64::MAX,
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let part = placing.has_limit().then(|| options.part.begin(limit));
        let wall_ahead = clock.wall().as_nanos().saturating_sub(clock.monotonic().as_nanos());
        let (messages, inbox) = crossbeam_channel::unbounded();
        let shared = Arc::new(Shared {
            wall_ahead,
            places: Places::new(placing, limit, part),
            gate: Gate::new(to_ask, clock.monotonic()),
            counters: Counters::default(),
            cancel: Cancel::new(),
            pulse: Pulse::default(),
            place: Mutex::default(),
            turn: DiscoveryTurn::default(),
            messages: messages.clone(),
            stop_reader: Arc::new(tokio::sync::Notify::new()),
            root,
            options,
            clock,
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(WatchError::Thread)?;
        if let Some(since) = shared.options.lost_since {
            // It can be sent: its receiver is here.
            let _ = messages.send(Message::Lost(since));
        }
        let handle = WatchHandle(Arc::clone(&shared));
        let mut watcher = Self { handle, threads: Vec::new(), messages: messages.clone() };
        let interpreter = Interpreter::new(Arc::clone(&shared), inbox, messages.clone(), sink);
        // A panic of either ends both: a watcher that is half there would be taken for a whole one.
        let over = Arc::clone(&shared);
        let tell = move || {
            let _ended = OnDrop(|| {
                over.cancel.set();
                over.stop_reader.notify_one();
            });
            interpreter.run();
        };
        let read = move || {
            let _ended = OnDrop(|| drop(messages.send(Message::End)));
            if let Err(error) = reader::run(queue, shared, messages.clone(), &runtime) {
                tracing::error!(%error, "the watcher cannot read events any more");
            }
        };
        watcher.spawn("fusion-watch-tell", tell)?;
        watcher.spawn("fusion-watch-read", read)?;
        Ok(watcher)
    }

    /// What the rest of the agent asks of it.
    #[must_use]
    pub fn handle(&self) -> &WatchHandle {
        &self.handle
    }

    /// Whether it still watches: the kernel or the sink may have ended it, or a thread broke off.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.handle.is_running() && !self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Ends the threads and waits for them. A sink that blocks must be broken off before.
    pub fn stop(mut self) {
        self.end();
        for thread in std::mem::take(&mut self.threads) {
            let _ = thread.join();
        }
    }

    fn end(&self) {
        self.handle.0.cancel.set();
        self.handle.0.stop_reader.notify_one();
        let _ = self.messages.send(Message::End);
    }

    fn spawn(
        &mut self,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<(), WatchError> {
        self.threads.push(spawn_thread(name, body).map_err(WatchError::Thread)?);
        Ok(())
    }
}

/// Done however a thread ends.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.end();
    }
}

impl WatchHandle {
    /// What was counted. Waits for nothing, whatever the storage does.
    #[must_use]
    pub fn counts(&self) -> WatchCounts {
        let Shared { counters, gate, places, .. } = &*self.0;
        let held = places.counts();
        WatchCounts {
            events: read(&counters.events),
            file_stats: read(&counters.file_stats) + counters.discovery.read().file_stats,
            discovered: read(&counters.discovered),
            watched: held.watched,
            unwatched: held.unwatched,
            limit: held.limit,
            method: held.method,
            overflows: read(&counters.overflows),
            queued: gate.queued() as u64,
            dropped_watches: read(&counters.dropped_watches),
            failed_looks: counters.failed_looks.read(),
        }
    }

    /// The moment up to which everything that the kernel told of is in the sink: what
    /// `delivered_through` (4-consistency §5) begins with. It goes on while nothing happens.
    #[must_use]
    pub fn seen_through(&self) -> Monotonic {
        self.0.gate.seen_through(self.0.clock.monotonic())
    }

    /// Watches a directory that another host made, and all below it, then reads it: source DISCOVERY.
    /// The answer comes when what was read is in the sink, and none if the watcher ends before.
    #[must_use]
    pub fn watch_made(&self, path: TreePath) -> oneshot::Receiver<()> {
        let (read, answer) = oneshot::channel();
        // A watcher that has ended drops it, as it does what it did not come to.
        let _ = self.0.messages.send(Message::Made(path, read));
        answer
    }

    /// Whether the watcher still watches: it ends by itself if the kernel or the sink breaks off, or
    /// one of its threads panics.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.0.cancel.is_set()
    }

    /// Ends the watcher as if it had broken off.
    #[cfg(test)]
    pub(crate) fn break_off_for_test(&self) {
        self.0.cancel.set();
        self.0.stop_reader.notify_one();
    }

    /// Holds the table of watches, as a call that hangs with the storage would, until the channel says
    /// so or is closed. `hangs` is called once it does.
    #[cfg(test)]
    pub(crate) fn hang_for_test(
        &self,
        until: &std::sync::mpsc::Receiver<()>,
        hangs: impl FnOnce(),
    ) {
        let _held = self.0.places.lock();
        hangs();
        let _ = until.recv();
    }

    /// To be called before a walk that places watches on the whole tree: `unwatched` is counted anew.
    /// May wait as long as the storage hangs.
    pub fn begin_walk(&self) {
        self.0.places.lock().begin_round();
    }

    /// To be called when it came by all directories. May wait as long.
    pub fn end_walk(&self) {
        self.0.places.lock().end_round();
    }
}

impl Placer for WatchHandle {
    fn place(&self, path: PathRef<'_>, directory: BorrowedFd<'_>, id: FileId, stat: &Stat) {
        self.0.place(path, directory, id, stat);
    }
}

/// Most watches of one user, as the kernel is set up; no limit if it does not say.
fn kernel_limit() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX)
}
