//! Logs and traces: set up once by the binary, and the spans that cross processes.
//!
//! Logs are text on a terminal and JSON otherwise, on standard error. Spans go out over OTLP only
//! where `OTEL_EXPORTER_OTLP_ENDPOINT` (or its `_TRACES_` form) is set; all else about it is set by
//! the standard `OTEL_*` variables. An exporter that is down costs nothing but the spans.

use std::fmt;
use std::io::IsTerminal as _;

use fusion_core::session::Session;
use fusion_proto::convert::evidence::BatchHeader;
use fusion_proto::limits;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing::span::Record;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormattedFields;
use tracing_subscriber::fmt::format::{FormatFields, JsonFields, Writer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::log_filter::LogFilter;
use crate::config::{LogConfig, LogFormat};

/// The variables of which one must be set for spans to be exported.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
/// Whose own logs would be exported about exporting.
const SILENT: [&str; 5] = ["opentelemetry", "tonic", "h2", "hyper", "tower"];

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A log directive; configuration is checked, so this is a bug.
    #[error("set up the log filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter's variables say something that it does not take.
    #[error("set up the OTLP exporter: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Something else in this process was faster.
    #[error("set up logging: {0}")]
    Taken(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps telemetry going; sends what is left of the spans when it is shut down.
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
    filter: LogFilter,
}

impl Telemetry {
    /// Sets up logs and traces for the whole process. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`TelemetryError`].
    pub fn init(config: &LogConfig, service: &'static str) -> Result<Self, TelemetryError> {
        let (filter, filtering) = LogFilter::layered(&config.filter)?;
        let text = match config.format {
            LogFormat::Auto => std::io::stderr().is_terminal(),
            LogFormat::Text => true,
            LogFormat::Json => false,
        };
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let lines = if text {
            lines.with_ansi(std::io::stderr().is_terminal()).boxed()
        } else {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            lines.fmt_fields(AppendedJson::default()).boxed()
        };
        let provider = exporting().then(|| provider(service)).transpose()?;
        let spans = provider.as_ref().map(|provider| {
            let own = tracing_subscriber::filter::filter_fn(|metadata| {
                !SILENT.iter().any(|crate_name| metadata.target().starts_with(crate_name))
            });
            tracing_opentelemetry::layer().with_tracer(provider.tracer(service)).with_filter(own)
        });
        tracing_subscriber::registry().with(filtering).with(lines).with(spans).try_init()?;
        Ok(Self { provider, filter })
    }

    /// What is logged, to be changed while the process runs.
    #[must_use]
    pub fn filter(&self) -> LogFilter {
        self.filter.clone()
    }

    /// Sends what is left, for a bounded time. Blocks.
    pub fn shutdown(self) {
        if let Some(provider) = self.provider {
            let _ = provider.shutdown_with_timeout(std::time::Duration::from_secs(1));
        }
    }
}

/// Fields of spans as JSON, to which later ones are appended. The library's own way parses and
/// writes anew all that is there for every field that becomes known, and that was a seventh of a
/// call.
#[derive(Debug, Default)]
struct AppendedJson(JsonFields);

impl<'w> FormatFields<'w> for AppendedJson {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        self.0.format_fields(writer, fields)
    }

    fn add_fields(
        &self,
        current: &'w mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        let mut added = String::new();
        JsonFields::new().format_fields(Writer::new(&mut added), fields)?;
        append_object(&mut current.fields, &added);
        Ok(())
    }
}

/// Adds the members of a JSON object to those of another; of a name that is there twice the later
/// one counts.
fn append_object(object: &mut String, added: &str) {
    if object.len() <= "{}".len() {
        added.clone_into(object);
    } else if added.len() > "{}".len() {
        object.pop();
        object.push(',');
        object.push_str(&added[1..]);
    }
}

fn exporting() -> bool {
    ENDPOINTS.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

fn provider(service: &'static str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().build()?;
    let resource = match std::env::var_os("OTEL_SERVICE_NAME") {
        Some(_) => Resource::builder(),
        None => Resource::builder().with_service_name(service),
    };
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
    Ok(provider.build())
}

/// The span under which a batch is applied: a child of the push that its `traceparent` names, else
/// of the RPC that brought it.
pub(crate) fn apply_span(
    session: &Session,
    lane: &'static str,
    header: &BatchHeader,
    rows: usize,
) -> Span {
    let span = tracing::info_span!(
        "fusion.apply",
        otel.kind = "consumer",
        view = %session.view,
        session = %session.id,
        lane,
        sequence = header.sequence,
        rows,
        correlation_id = header.correlation.as_ref().map(|id| id.as_str()),
        causation_id = header.causation.as_ref().map(|id| id.as_str()),
    );
    adopt(&span, &OneHeader(&header.traceparent));
    span
}

/// Makes a span a child of the remote span in a carrier, if there is a valid one.
pub(crate) fn adopt(span: &Span, carrier: &dyn Extractor) {
    if span.is_disabled() {
        return;
    }
    let context = TraceContextPropagator::new().extract(carrier);
    if context.span().span_context().is_valid() {
        // Refused only where no exporter listens, and then there is nothing to be a child of.
        let _ = span.set_parent(context);
    }
}

/// The W3C trace context of a span; empty where nothing is exported.
pub(crate) fn traceparent(span: &Span) -> String {
    let mut carrier = Written(String::new());
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    carrier.0
}

struct OneHeader<'a>(&'a str);

impl Extractor for OneHeader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == limits::TRACEPARENT_KEY && !self.0.is_empty()).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![limits::TRACEPARENT_KEY]
    }
}

struct Written(String);

impl Injector for Written {
    fn set(&mut self, key: &str, value: String) {
        if key == limits::TRACEPARENT_KEY {
            self.0 = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_the_fields_that_its_span_got_later() {
        let written = Lines::default();
        let lines = written.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || lines.clone());
        let layer = layer.json().flatten_event(true).with_current_span(false);
        let layer = layer.fmt_fields(AppendedJson::default());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let empty = tracing::field::Empty;
            let of = r#"a "view" {}"#;
            let span = tracing::info_span!("rpc", method = "m", view = empty, session = empty);
            span.record("view", of);
            span.record("session", 7);
            span.record("view", "another");
            let bare = tracing::info_span!(parent: &span, "bare", late = empty);
            bare.record("late", of);
            bare.in_scope(|| tracing::info!("said"));
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["spans"][0]["method"], "m");
        assert_eq!(line["spans"][0]["view"], "another");
        assert_eq!(line["spans"][0]["session"], 7);
        assert_eq!(line["spans"][1]["late"], r#"a "view" {}"#);
    }
}
