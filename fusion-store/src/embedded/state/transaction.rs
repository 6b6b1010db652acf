//! Writes as one transaction of the engine.

use fusion_core::time::ServerTime;
use redb::{Database, ReadableTable as _, Table};

use super::{EXPIRY, LAST_VERSION, META, VALUES, value};
use crate::error::Malformed;
use crate::ports::{Expect, Swap, Version};

/// A write; the place is the space and the key.
#[derive(Debug)]
pub(super) enum Write {
    Put {
        place: Vec<u8>,
        value: Vec<u8>,
        expires_at: Option<ServerTime>,
    },
    PutAll(Vec<(Vec<u8>, Vec<u8>, Option<ServerTime>)>),
    Swap {
        place: Vec<u8>,
        expect: Expect,
        value: Vec<u8>,
        expires_at: Option<ServerTime>,
        now: ServerTime,
    },
    Delete {
        place: Vec<u8>,
    },
    Expire {
        now: ServerTime,
        limit: usize,
    },
}

/// What came of it.
#[derive(Debug, Clone)]
pub(super) enum Done {
    Swapped(Swap),
    Count(usize),
}

struct Tables<'a> {
    values: Table<'a, &'static [u8], &'static [u8]>,
    expiry: Table<'a, (i64, &'static [u8]), ()>,
    last: u64,
}

/// What a step gives: the engine's error, or that what is stored is damaged.
type Step<T> = Result<Result<T, Malformed>, redb::Error>;

/// Runs writes in order; all of them are durable when it returns, or none happened.
pub(super) fn run(database: &Database, writes: &[Write]) -> Step<Vec<Done>> {
    let mut transaction = database.begin_write()?;
    // Or what is damaged in the last transaction would be taken for one that a crash tore, and the
    // one before would count: two syncs instead of one.
    transaction.set_two_phase_commit(true);
    let outcome = {
        let mut meta = transaction.open_table(META)?;
        let last = meta.get(LAST_VERSION)?.map_or(0, |last| last.value());
        let (values, expiry) = (transaction.open_table(VALUES)?, transaction.open_table(EXPIRY)?);
        let mut tables = Tables { values, expiry, last };
        let mut all = Vec::with_capacity(writes.len());
        let mut damaged = None;
        for write in writes {
            match tables.run(write)? {
                Ok(done) => all.push(done),
                Err(malformed) => damaged = damaged.or(Some(malformed)),
            }
        }
        meta.insert(LAST_VERSION, tables.last)?;
        damaged.map_or(Ok(all), Err)
    };
    match outcome {
        Ok(_) => transaction.commit()?,
        Err(_) => transaction.abort()?,
    }
    Ok(outcome)
}

impl Tables<'_> {
    fn run(&mut self, write: &Write) -> Step<Done> {
        match write {
            Write::Put { place, value, expires_at } => self.put(place, value, *expires_at),
            Write::PutAll(puts) => {
                for (place, value, expires_at) in puts {
                    if let Err(malformed) = self.put(place, value, *expires_at)? {
                        return Ok(Err(malformed));
                    }
                }
                Ok(Ok(Done::Count(puts.len())))
            }
            Write::Swap { place, expect, value, expires_at, now } => {
                self.swap(place, *expect, value, *expires_at, *now)
            }
            Write::Delete { place } => {
                let removed = self.remove(place)?;
                Ok(removed.map(|was_there| Done::Count(usize::from(was_there))))
            }
            Write::Expire { now, limit } => Ok(Ok(Done::Count(self.expire(*now, *limit)?))),
        }
    }

    fn put(&mut self, place: &[u8], value: &[u8], expires_at: Option<ServerTime>) -> Step<Done> {
        if let Err(malformed) = self.remove(place)? {
            return Ok(Err(malformed));
        }
        let version = self.insert(place, value, expires_at)?;
        Ok(Ok(Done::Swapped(Swap::Done(version))))
    }

    fn swap(
        &mut self,
        place: &[u8],
        expect: Expect,
        value: &[u8],
        expires_at: Option<ServerTime>,
        now: ServerTime,
    ) -> Step<Done> {
        let there = self.values.get(place)?.map(|found| value::decode(place, found.value()));
        let there = match there.transpose() {
            Ok(there) => there.filter(|item| item.is_there(now)),
            Err(malformed) => return Ok(Err(malformed)),
        };
        if !expect.agrees(there.as_ref()) {
            return Ok(Ok(Done::Swapped(Swap::Conflict(there))));
        }
        if let Err(malformed) = self.remove(place)? {
            return Ok(Err(malformed));
        }
        Ok(Ok(Done::Swapped(Swap::Done(self.insert(place, value, expires_at)?))))
    }

    fn insert(
        &mut self,
        place: &[u8],
        value: &[u8],
        expires_at: Option<ServerTime>,
    ) -> Result<Version, redb::Error> {
        self.last += 1;
        let version = Version(self.last);
        self.values.insert(place, &*value::encode(place, version, expires_at, value))?;
        if let Some(at) = expires_at {
            self.expiry.insert((at.as_nanos(), place), ())?;
        }
        Ok(version)
    }

    /// Removes a value and what stands of it in the table of expiry.
    fn remove(&mut self, place: &[u8]) -> Step<bool> {
        let removed = self.values.remove(place)?.map(|old| value::decode(place, old.value()));
        let old = match removed {
            None => return Ok(Ok(false)),
            Some(Err(malformed)) => return Ok(Err(malformed)),
            Some(Ok(old)) => old,
        };
        if let Some(at) = old.expires_at {
            self.expiry.remove((at.as_nanos(), place))?;
        }
        Ok(Ok(true))
    }

    fn expire(&mut self, now: ServerTime, limit: usize) -> Result<usize, redb::Error> {
        let mut due = Vec::new();
        for entry in self.expiry.iter()?.take(limit) {
            let (key, _) = entry?;
            let (at, place) = key.value();
            if at > now.as_nanos() {
                break;
            }
            due.push((at, place.to_vec()));
        }
        for (at, place) in &due {
            self.expiry.remove((*at, &**place))?;
            self.values.remove(&**place)?;
        }
        Ok(due.len())
    }
}
