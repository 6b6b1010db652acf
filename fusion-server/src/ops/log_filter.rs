//! What is logged, changed while the server runs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::reload;
use tracing_subscriber::{EnvFilter, Registry};

/// The filter of a process' log lines and spans; a cheap handle.
#[derive(Clone)]
pub struct LogFilter {
    shared: Arc<Shared>,
}

struct Shared {
    configured: Mutex<String>,
    now: Mutex<String>,
    /// Nothing where the process logs through something else.
    handle: Option<reload::Handle<EnvFilter, Registry>>,
}

impl LogFilter {
    /// A filter, and the layer that it rules.
    pub(super) fn layered(
        text: &str,
    ) -> Result<(Self, reload::Layer<EnvFilter, Registry>), ParseError> {
        let (layer, handle) = reload::Layer::new(EnvFilter::try_new(text)?);
        Ok((Self::of(text, Some(handle)), layer))
    }

    /// One that rules nothing: the text is checked and kept.
    #[must_use]
    pub fn detached(text: &str) -> Self {
        Self::of(text, None)
    }

    fn of(text: &str, handle: Option<reload::Handle<EnvFilter, Registry>>) -> Self {
        let (configured, now) = (Mutex::new(text.to_owned()), Mutex::new(text.to_owned()));
        Self { shared: Arc::new(Shared { configured, now, handle }) }
    }

    /// The filter in force.
    #[must_use]
    pub fn text(&self) -> String {
        self.shared.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets another one, or for an empty text the one of the configuration; gives the one before.
    ///
    /// # Errors
    /// It is no filter; nothing changed.
    pub fn set(&self, text: &str) -> Result<String, ParseError> {
        let Shared { configured, now, handle } = &*self.shared;
        let configured = configured.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = if text.is_empty() { &configured } else { text };
        let filter = EnvFilter::try_new(text)?;
        let mut now = now.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handle {
            // Fails only where the layer is gone, and with it all logging.
            let _ = handle.reload(filter);
        }
        Ok(std::mem::replace(&mut *now, text.to_owned()))
    }
}

impl LogFilter {
    /// Takes the one of a configuration that changed, and sets it.
    ///
    /// # Errors
    /// It is no filter; nothing changed.
    pub(crate) fn configure(&self, text: &str) -> Result<(), ParseError> {
        self.set(text)?;
        let configured = &self.shared.configured;
        text.clone_into(&mut configured.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogFilter").field(&self.text()).finish()
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn what_is_set_counts_at_once_and_the_configured_one_comes_back() {
        let (filter, layer) = LogFilter::layered("warn").unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        let is_on = || tracing::enabled!(target: "fusion", tracing::Level::DEBUG);
        tracing::subscriber::with_default(subscriber, || {
            assert!(!is_on());
            assert_eq!(filter.set("fusion=debug").unwrap(), "warn");
            assert!(is_on());
            assert!(filter.set("fusion=loud").is_err());
            assert!(is_on(), "a bad filter changes nothing");
            assert_eq!(filter.set("").unwrap(), "fusion=debug");
            assert!(!is_on());
            assert_eq!(filter.text(), "warn");
        });
    }
}
