//! State of which calls fail.

use std::sync::Arc;

use fusion_core::time::ServerTime;

use super::Moods;
use crate::error::StoreError;
use crate::ports::{Expect, Guarantee, Item, Page, Put, Space, State, Swap, Version};

/// State that fails as its moods say.
#[derive(Debug)]
pub struct FlakyState<S> {
    inner: Arc<S>,
    moods: Moods,
}

impl<S: State> FlakyState<S> {
    /// Wraps state.
    pub fn new(inner: Arc<S>, moods: Moods) -> Self {
        Self { inner, moods }
    }
}

impl<S: State> State for FlakyState<S> {
    fn get(&self, space: Space, key: &[u8], now: ServerTime) -> Result<Option<Item>, StoreError> {
        self.moods.call("read")?;
        self.inner.get(space, key, now)
    }

    fn put(
        &self,
        space: Space,
        key: &[u8],
        value: &[u8],
        expires_at: Option<ServerTime>,
    ) -> Result<Version, StoreError> {
        self.moods.call("write")?;
        self.inner.put(space, key, value, expires_at)
    }

    fn put_all(&self, puts: &[Put]) -> Result<(), StoreError> {
        self.moods.call("write")?;
        self.inner.put_all(puts)
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
        self.moods.call("write")?;
        self.inner.compare_and_swap(space, key, expect, value, expires_at, now)
    }

    fn delete(&self, space: Space, key: &[u8]) -> Result<bool, StoreError> {
        self.moods.call("write")?;
        self.inner.delete(space, key)
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now: ServerTime,
    ) -> Result<Page, StoreError> {
        self.moods.call("read")?;
        self.inner.scan(space, prefix, after, limit, now)
    }

    fn expire(&self, now: ServerTime, limit: usize) -> Result<usize, StoreError> {
        self.moods.call("write")?;
        self.inner.expire(now, limit)
    }

    fn guarantee(&self) -> Guarantee {
        self.inner.guarantee()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryState;

    #[test]
    fn what_fails_did_not_happen_and_what_hangs_happens_later() {
        let moods = Moods::new(2);
        let state = FlakyState::new(Arc::new(MemoryState::default()), moods.clone());
        let now = ServerTime::from_nanos(0);
        moods.fail(1000);
        assert!(state.put(Space::Job, b"k", b"1", None).unwrap_err().is_of_the_disk());
        moods.fail(0);
        assert_eq!(state.get(Space::Job, b"k", now).unwrap(), None);
        moods.hang(true);
        std::thread::scope(|scope| {
            let hanging = scope.spawn(|| state.put(Space::Job, b"k", b"2", None));
            assert!(!hanging.is_finished());
            moods.hang(false);
            hanging.join().unwrap().unwrap();
        });
        assert_eq!(state.get(Space::Job, b"k", now).unwrap().unwrap().value, b"2");
    }
}
