//! Values under keys in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fusion_core::time::ServerTime;

use crate::error::StoreError;
use crate::ports::{Expect, Guarantee, Item, Page, Put, Space, State, Swap, Version, check};

/// Values in memory.
#[derive(Debug, Default)]
pub struct MemoryState {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    items: BTreeMap<(Space, Vec<u8>), Item>,
    last: u64,
}

impl MemoryState {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn put(
        &mut self,
        space: Space,
        key: &[u8],
        value: &[u8],
        expires_at: Option<ServerTime>,
    ) -> Version {
        self.last += 1;
        let version = Version(self.last);
        let item = Item { key: key.to_vec(), value: value.to_vec(), version, expires_at };
        self.items.insert((space, key.to_vec()), item);
        version
    }

    fn get(&self, space: Space, key: &[u8], now: ServerTime) -> Option<&Item> {
        self.items.get(&(space, key.to_vec())).filter(|item| item.is_there(now))
    }
}

impl State for MemoryState {
    fn get(&self, space: Space, key: &[u8], now: ServerTime) -> Result<Option<Item>, StoreError> {
        Ok(self.lock().get(space, key, now).cloned())
    }

    fn put(
        &self,
        space: Space,
        key: &[u8],
        value: &[u8],
        expires_at: Option<ServerTime>,
    ) -> Result<Version, StoreError> {
        check(key, value)?;
        Ok(self.lock().put(space, key, value, expires_at))
    }

    fn put_all(&self, puts: &[Put]) -> Result<(), StoreError> {
        puts.iter().try_for_each(|put| check(&put.key, &put.value))?;
        let mut kept = self.lock();
        for Put { space, key, value, expires_at } in puts {
            kept.put(*space, key, value, *expires_at);
        }
        Ok(())
    }

    fn compare_and_swap(
        &self,
        space: Space,
        key: &[u8],
        expect: Expect,
        value: &[u8],
        expires_at: Option<ServerTime>,
        now: ServerTime,
    ) -> Result<Swap, StoreError> {
        check(key, value)?;
        let mut kept = self.lock();
        let there = kept.get(space, key, now);
        if !expect.agrees(there) {
            return Ok(Swap::Conflict(there.cloned()));
        }
        Ok(Swap::Done(kept.put(space, key, value, expires_at)))
    }

    fn delete(&self, space: Space, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.lock().items.remove(&(space, key.to_vec())).is_some())
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now: ServerTime,
    ) -> Result<Page, StoreError> {
        let kept = self.lock();
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded((space, after.to_vec())),
            _ => Bound::Included((space, prefix.to_vec())),
        };
        let mut items = kept
            .items
            .range((from, Bound::Unbounded))
            .take_while(|((other, key), _)| *other == space && key.starts_with(prefix))
            .map(|(_, item)| item)
            .filter(|item| item.is_there(now));
        let page = items.by_ref().take(limit.max(1)).cloned().collect();
        Ok(Page { items: page, more: items.next().is_some() })
    }

    fn expire(&self, now: ServerTime, limit: usize) -> Result<usize, StoreError> {
        let mut kept = self.lock();
        let gone = kept.items.iter().filter(|(_, item)| !item.is_there(now)).take(limit);
        let gone: Vec<_> = gone.map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|key| drop(kept.items.remove(key)));
        Ok(gone.len())
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::memory()
    }
}
