//! Trace context in the metadata of calls.

use fusion_proto::client::CallHook;
use fusion_proto::limits::TRACEPARENT_KEY;
use tracing::Span;

use crate::ops::telemetry::traceparent;

/// Writes the trace context of the span in which a call is made onto it, if traces are exported.
pub(crate) fn hook() -> CallHook {
    CallHook::new(|metadata| {
        if let Some(value) = traceparent(&Span::current()) {
            metadata.set(TRACEPARENT_KEY, &value);
        }
    })
}
