//! The conformance suite: what every adapter of a port must do, as functions that assert it.
//!
//! An adapter's tests hand in a way to make a store and to open it again. Must never: know which
//! adapter it is.

#![allow(clippy::unwrap_used, reason = "a suite of tests: what fails is told by the panic")]

mod blocks;
mod log;
mod ownership;
mod state;

use crate::ports::State;

pub use blocks::blocks;
pub use log::change_log;
pub use ownership::ownership;
pub use state::state;

/// A store under test that can be opened again.
pub trait Reopen<Port: ?Sized> {
    /// The port.
    fn port(&self) -> &Port;

    /// Closes it and opens it again. What is durable is there after it.
    fn reopen(&mut self);
}

/// A store that keeps nothing but in memory: opening it again is nothing.
#[derive(Debug, Default)]
pub struct Kept<T>(pub T);

/// State that is closed and opened by a function.
#[derive(Debug)]
pub struct Anew<S, F> {
    open: F,
    state: Option<S>,
}

impl<S, F: FnMut() -> S> Anew<S, F> {
    /// Opens it.
    pub fn new(mut open: F) -> Self {
        let state = Some(open());
        Self { open, state }
    }
}

impl<S: State + 'static, F: FnMut() -> S> Reopen<dyn State> for Anew<S, F> {
    fn port(&self) -> &(dyn State + 'static) {
        self.state.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        // One at a time.
        self.state = None;
        self.state = Some((self.open)());
    }
}

macro_rules! kept {
    ($port:path, $adapter:ty) => {
        impl Reopen<dyn $port> for Kept<$adapter> {
            fn port(&self) -> &(dyn $port + 'static) {
                &self.0
            }

            fn reopen(&mut self) {}
        }
    };
}

kept!(crate::ports::ChangeLog, crate::memory::MemoryLog);
kept!(crate::ports::Blocks, crate::memory::MemoryBlocks);
kept!(crate::ports::Ownership, crate::memory::MemoryOwnership);
kept!(crate::ports::State, crate::memory::MemoryState);
