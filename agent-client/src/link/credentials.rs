//! What the agent shows with every call: its token, and the trace that the call belongs to.

use std::time::Duration;

use fusion_proto::client::{Bearer, CallHook};
use fusion_proto::limits::TRACEPARENT_KEY;
use tracing::Span;

use super::{LinkConfig, LinkError};
use crate::ops::telemetry::traceparent;

/// Between two looks at the file of the token.
const LOOK: Duration = Duration::from_secs(5);

/// A cheap handle.
#[derive(Debug, Clone)]
pub(super) struct Credentials(Option<Bearer>);

impl Credentials {
    /// Reads the token, if there is to be one.
    pub(super) fn of(config: &LinkConfig) -> Result<Self, LinkError> {
        let file = config.token_file.as_deref();
        let first = &config.servers.list()[0];
        let bearer = file.map(|file| Bearer::for_server(first.as_str(), file)).transpose();
        bearer.map(Self).map_err(|fault| LinkError::Refused(fault.to_string()))
    }

    /// Writes them onto a call, with the trace context of the span in which it is made, if traces are
    /// exported.
    pub(super) fn hook(&self) -> CallHook {
        let bearer = self.0.clone();
        CallHook::new(move |metadata| {
            if let Some(value) = traceparent(&Span::current()) {
                metadata.set(TRACEPARENT_KEY, &value);
            }
            if let Some(bearer) = &bearer {
                bearer.show(metadata);
            }
        })
    }
}

/// Follows the file of the token: one that was renewed is shown without a restart. Ends at once if there
/// is no token.
pub(super) async fn follow(Credentials(bearer): Credentials) {
    let Some(bearer) = bearer else { return };
    let mut trouble = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let this = bearer.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || this.reread()).await else { return };
        match &read {
            Ok(true) => tracing::info!("the token has changed and is shown from now on"),
            Ok(false) => {}
            Err(fault) if trouble.as_ref() == Some(fault) => {}
            Err(fault) => tracing::error!("token: {fault}; the one before is shown"),
        }
        trouble = read.err();
    }
}
