//! Trace context in the metadata of calls.

use fusion_proto::limits::TRACEPARENT_KEY;
use tracing::Span;

use crate::ops::telemetry::traceparent;

/// A call that carries the trace context of a span, if traces are exported.
pub(crate) fn with_trace<T>(mut request: tonic::Request<T>, span: &Span) -> tonic::Request<T> {
    if let Some(value) = traceparent(span).and_then(|text| text.parse().ok()) {
        request.metadata_mut().insert(TRACEPARENT_KEY, value);
    }
    request
}
