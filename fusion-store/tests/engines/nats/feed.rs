//! Appends to a log and remembers what: so that it can be seen afterwards what is there.

use std::time::Duration;

use fusion_store::engines::nats::{Nats, NatsSettings};
use fusion_store::{
    ChangeLog, LogPoint, ReadFrom, StoreError, StoredRecord, Ticket, ViewRef, sample,
};

/// How often it is looked, and for how long at most.
const STEP: Duration = Duration::from_millis(20);
const PATIENCE: u32 = 3_000;

/// Numbers that follow from a seed.
#[derive(Debug)]
pub struct Seeded(pub u64);

impl Seeded {
    /// The next one, below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What was appended to the log of a view.
pub struct Feed {
    pub view: ViewRef,
    pub after: LogPoint,
    pub records: Vec<StoredRecord>,
    pub tickets: Vec<Ticket>,
}

impl Feed {
    /// Opens the log of a view.
    pub fn open(log: &dyn ChangeLog, view: ViewRef) -> Self {
        let after = log.open(&view).unwrap().end;
        Self { view, after, records: Vec::new(), tickets: Vec::new() }
    }

    /// Appends one record with so many changes.
    pub fn try_append(&mut self, log: &dyn ChangeLog, size: u64) -> Result<(), StoreError> {
        let head = sample::full_head();
        let changes = sample::batch(self.after, size);
        let ticket = log.append(self.view.id, self.after, &head, &changes)?;
        self.after = ticket.point();
        self.records.push(StoredRecord { point: self.after, head, changes });
        self.tickets.push(ticket);
        Ok(())
    }

    /// Appends records of these sizes.
    pub fn append(&mut self, log: &dyn ChangeLog, sizes: impl IntoIterator<Item = u64>) {
        sizes.into_iter().for_each(|size| self.try_append(log, size).unwrap());
    }

    /// How many are acknowledged. Those that are, are the first ones.
    pub fn acknowledged(&self) -> usize {
        // From the last to the first: what becomes so meanwhile is no hole.
        let durable: Vec<_> = self.tickets.iter().rev().map(Ticket::is_durable).collect();
        assert!(durable.is_sorted(), "out of order");
        durable.iter().filter(|is| **is).count()
    }

    /// Waits until all are acknowledged.
    pub fn wait(&self, log: &dyn ChangeLog) {
        wait_for("all to be acknowledged", || self.acknowledged() == self.tickets.len());
        let status = log.status(self.view.id).unwrap();
        assert_eq!((status.durable, status.waiting), (self.after, 0));
        wait_for("the log to be well", || log.status(self.view.id).unwrap().health.is_well());
    }

    /// Whether what a server finds that comes anew is what was appended: all that was acknowledged,
    /// each once, in order, and nothing that was not appended. More may be written meanwhile.
    pub fn check(&self, settings: &NatsSettings) {
        let acknowledged = self.acknowledged();
        // Three servers that have lost their first may take 9 s until they have another.
        let timeout = Duration::from_secs(60);
        let fresh = Nats::connect(NatsSettings { timeout, ..settings.clone() }).unwrap();
        let log = fresh.log();
        let opened = log.open(&self.view).unwrap();
        let read: Result<Vec<_>, _> = log.read(self.view.id, ReadFrom::Start).unwrap().collect();
        let read = read.unwrap();
        assert!(read.len() >= acknowledged, "what was acknowledged is there");
        assert!(read.len() <= self.records.len(), "nothing is there twice");
        assert!(read == self.records[..read.len()], "it is what was appended");
        assert!(opened.end <= read.last().map_or(LogPoint::default(), |last| last.point));
    }
}

/// Waits until something is so.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..PATIENCE {
        if is_so() {
            return;
        }
        std::thread::sleep(STEP);
    }
    panic!("waited in vain for {what}");
}
