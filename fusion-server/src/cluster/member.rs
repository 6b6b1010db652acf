//! The thread that keeps a server a member: it renews its record and reads those of all.
//!
//! The only one that writes the lease; what it says of itself another may say, too, when it must be known at once. It
//! may wait for the engine as long as that takes: meanwhile the lease runs out, and what others said becomes too old to
//! be believed, both by themselves. Must never: count a renewal from when it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use fusion_core::time::Clock as _;
use fusion_store::{Member, Roll, StoreError};

use super::{Cluster, Said};

/// Keeps a server a member; ends, and strikes it off, when it is dropped or told to.
pub(crate) struct Membered {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the server says of its views, now.
type Say = Box<dyn Fn() -> Said + Send>;

impl Cluster {
    /// Begins to be a member. Must be called within a tokio runtime, whose clock it is read by.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn join(&self, say: Say) -> std::io::Result<Membered> {
        let (stop, cluster) = (Arc::<AtomicBool>::default(), self.clone());
        let (stopped, runtime) = (Arc::clone(&stop), tokio::runtime::Handle::current());
        let thread = std::thread::Builder::new().name("member".to_owned()).spawn(move || {
            let _clock = runtime.enter();
            let (mut told, mut lapses) = (None, 0);
            while !stopped.load(Ordering::Acquire) {
                let looked = cluster.look(&say, &mut told);
                cluster.count_lapses(&mut lapses);
                cluster.pause(looked);
                // One that is over with the next renewal is counted, too.
                cluster.count_lapses(&mut lapses);
            }
        })?;
        Ok(Membered { stop, thread: Some(thread) })
    }

    /// Renews, and reads what there is to know.
    fn look(&self, say: &Say, told: &mut Option<String>) -> Result<(), StoreError> {
        let looked = self.renew(say).and_then(|()| self.read());
        let trouble = looked.as_ref().err().map(ToString::to_string);
        if *told != trouble {
            match &trouble {
                Some(error) => {
                    tracing::error!(error, "the other servers cannot be reached through the engine")
                }
                None => tracing::info!("the other servers are reached again"),
            }
            *told = trouble;
        }
        looked
    }

    fn renew(&self, say: &Say) -> Result<(), StoreError> {
        let begun = self.shared.clock.monotonic();
        let put = self.put(&say());
        match &put {
            Ok(()) => self.shared.lease.renewed(begun),
            Err(_) => self.shared.metrics.renewal_failures.with_label_values::<&str>(&[]).inc(),
        }
        put
    }

    /// Counts what has not been counted yet.
    fn count_lapses(&self, counted: &mut u64) {
        let lapses = self.shared.lease.lapses();
        let more = lapses.saturating_sub(*counted);
        self.shared.metrics.lease_lapses.with_label_values::<&str>(&[]).inc_by(more);
        *counted = lapses;
    }

    /// Puts this server's record.
    pub(super) fn put(&self, said: &Said) -> Result<(), StoreError> {
        let shared = &*self.shared;
        let member = Member {
            id: shared.id,
            address: shared.membership.address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            memory: shared.membership.memory,
            said: said.to_bytes(),
        };
        shared.membership.ownership.renew(&member)?;
        shared.said_draining.store(said.draining, Ordering::Release);
        Ok(())
    }

    fn read(&self) -> Result<(), StoreError> {
        let shared = &*self.shared;
        let begun = shared.clock.monotonic();
        let roll: Roll = shared.membership.ownership.roll()?;
        let before = Arc::clone(&shared.known.borrow());
        let (known, gone) = before.after(roll, begun, shared.membership.lease);
        shared.known.send_replace(Arc::new(known));
        for (server, stamp) in gone {
            // Of several that do this one succeeds.
            if shared.membership.ownership.strike(server, stamp)? {
                tracing::info!(%server, "a server that is gone was struck off");
            }
        }
        Ok(())
    }

    /// Until the next renewal is due, or a claim was written.
    fn pause(&self, looked: Result<(), StoreError>) {
        let shared = &*self.shared;
        let stamp = shared.known.borrow().stamp;
        let waited = looked.and_then(|()| shared.membership.ownership.wait(stamp, self.period()));
        if waited.is_err() {
            std::thread::sleep(self.period());
        }
    }

    /// Strikes this server off: nobody waits for its lease.
    fn leave(&self) {
        let shared = &*self.shared;
        let mine = |roll: Roll| roll.members.into_iter().find(|member| member.it.id == shared.id);
        let struck = shared.membership.ownership.roll().map(mine).and_then(|mine| match mine {
            Some(mine) => shared.membership.ownership.strike(shared.id, mine.stamp),
            None => Ok(false),
        });
        if let Err(error) = struck {
            tracing::warn!(%error, "this server was not struck off; others wait for its lease");
        }
    }
}

impl Membered {
    /// Ends it: no renewal comes after this. Blocks for as long as the engine takes.
    pub(crate) fn end(mut self, cluster: &Cluster) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic of it was told where it happened.
            let _ = thread.join();
        }
        cluster.leave();
    }
}

impl Drop for Membered {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}
