//! A table that a checkpoint can hold on to while the rules go on changing it.
//!
//! Owns one value behind an `Arc`. To share it costs nothing; the first change while it is shared
//! copies it, and every change after it was stored gives it another address, which is how a checkpoint
//! knows what it need not write again. Must never: be edited for nothing (look first). Tested below.

use std::any::Any;
use std::ops::Deref;
use std::sync::{Arc, Weak};

/// A value that is copied only if it is changed while somebody holds it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Shared<T>(Arc<T>);

/// That a value was stored.
pub(super) type Mark = Weak<dyn Any + Send + Sync>;

/// The mark of what was never stored.
pub(super) fn no_mark() -> Mark {
    Weak::<()>::new()
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> Shared<T> {
    /// The value, to change it.
    pub(super) fn edit(&mut self) -> &mut T {
        // A value that bears a mark moves to another address: the mark does not fit it any longer.
        Arc::make_mut(&mut self.0)
    }
}

impl<T: Default> Shared<T> {
    /// Takes the value and leaves nothing.
    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

impl<T: Any + Send + Sync> Shared<T> {
    /// A mark that is the same until the value changes; compare by `Weak::ptr_eq`.
    pub(super) fn mark(&self) -> Mark {
        let value: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(&self.0);
        Arc::downgrade(&value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_the_same_until_the_value_changes() {
        let has = |value: &Shared<Vec<u32>>, mark: &Mark| Weak::ptr_eq(&value.mark(), mark);
        let mut value = Shared::<Vec<u32>>::default();
        assert!(!has(&value, &no_mark()));
        value.edit().push(1);
        let mark = value.mark();
        assert!(has(&value, &mark));
        value.edit().push(2);
        assert!(!has(&value, &mark));
        let mark = value.mark();
        assert_eq!((has(&value, &mark), value.len()), (true, 2));
        let taken = value.take();
        assert!(has(&taken, &mark) && !has(&value, &mark));
    }

    #[test]
    fn who_holds_it_keeps_it_as_it_was() {
        let mut value = Shared::<Vec<u32>>::default();
        value.edit().push(1);
        let held = value.clone();
        value.edit().push(2);
        assert_eq!((held.len(), value.len()), (1, 2));
    }
}
