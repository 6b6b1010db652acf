//! A thread beside a storm, which notes what it sees until it is told to end.
//!
//! Must never: outlive who began it for longer than one look, or have its notes locked across an await.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// The running thread, with its notes; told to end when it is dropped.
#[derive(Debug)]
pub struct Aside<T> {
    book: Book<T>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread has of it; a cheap handle.
#[derive(Debug)]
pub struct Book<T> {
    stop: Arc<AtomicBool>,
    notes: Arc<Mutex<T>>,
}

impl<T> Clone for Book<T> {
    fn clone(&self) -> Self {
        Self { stop: Arc::clone(&self.stop), notes: Arc::clone(&self.notes) }
    }
}

impl<T> Book<T> {
    /// Whether the thread is to go on.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// The notes.
    ///
    /// # Panics
    /// Somebody panicked while they were held.
    pub fn notes(&self) -> MutexGuard<'_, T> {
        self.notes.lock().expect("no panic while they are held")
    }
}

impl<T: Default + Send + 'static> Aside<T> {
    /// Begins a thread of this name that does this.
    ///
    /// # Panics
    /// There is no thread.
    #[must_use]
    pub fn begin(name: &str, work: impl FnOnce(Book<T>) + Send + 'static) -> Self {
        let book = Book { stop: Arc::default(), notes: Arc::default() };
        let its = book.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(its));
        Self { book, thread: Some(thread.expect("a thread")) }
    }

    /// The same of what waits for others, on a runtime of the thread's own.
    ///
    /// # Panics
    /// There is no thread.
    #[must_use]
    pub fn begin_waiting<W: Future<Output = ()>>(
        name: &str,
        work: impl FnOnce(Book<T>) -> W + Send + 'static,
    ) -> Self {
        Self::begin(name, move |book| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(work(book));
        })
    }
}

impl<T> Aside<T> {
    /// What it noted so far.
    pub fn notes(&self) -> MutexGuard<'_, T> {
        self.book.notes()
    }

    /// Ends it; gives what it noted.
    ///
    /// # Panics
    /// The thread panicked.
    #[must_use]
    pub fn end(mut self) -> T
    where
        T: Default,
    {
        self.book.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it ends once").join().expect("a thread beside the storm");
        std::mem::take(&mut *self.book.notes())
    }
}

impl<T> Drop for Aside<T> {
    fn drop(&mut self) {
        self.book.stop.store(true, Ordering::Relaxed);
    }
}
