//! Logs and traces of the process: set up once by `main`.
//!
//! Logs go to standard error, as text on a terminal and as JSON otherwise. Traces go over OTLP/gRPC
//! if an endpoint is set in the environment, by the standard `OTEL_*` variables. Only our own spans
//! are exported: those of the libraries below the exporter would feed it with itself.

use std::io::IsTerminal as _;

use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// What `main` holds until the end: it sends the last spans.
#[must_use]
pub struct Telemetry(Option<SdkTracerProvider>);

/// Logs or traces cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter is malformed.
    #[error("log filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter cannot be made.
    #[error("OTLP exporter: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Somebody else set it up before.
    #[error("{0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up logs by `filter`, and traces if `export` is set. Needs a runtime around it if so.
///
/// # Errors
/// The filter is malformed, the exporter cannot be made, or this was done before.
pub fn init(filter: &str, export: bool) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::try_new(format!("{filter},opentelemetry=off,opentelemetry_sdk=off"))?;
    let stderr = std::io::stderr;
    let lines = if stderr().is_terminal() {
        tracing_subscriber::fmt::layer().with_writer(stderr).with_filter(filter).boxed()
    } else {
        let json = tracing_subscriber::fmt::layer().json().flatten_event(true);
        json.with_writer(stderr).with_filter(filter).boxed()
    };
    let provider = if export { Some(provider()?) } else { None };
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer().with_tracer(provider.tracer("agent-client")).with_filter(
            filter_fn(|metadata| {
                metadata.is_span()
                    && metadata.target().starts_with("agent_client")
                    && *metadata.level() <= tracing::Level::INFO
            }),
        )
    });
    tracing_subscriber::registry().with(lines).with(spans).try_init()?;
    Ok(Telemetry(provider))
}

impl Telemetry {
    /// Sends what is left. Blocks, at most as long as the exporter's own limit.
    pub fn shutdown(self) {
        if let Some(provider) = self.0 {
            // An exporter that is down at the end loses its last spans, and that is all.
            let _ = provider.shutdown_with_timeout(std::time::Duration::from_millis(500));
        }
    }
}

/// The W3C trace context of a span; `None` unless traces are exported.
#[must_use]
pub fn traceparent(span: &Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| {
        let flags = context.trace_flags().to_u8();
        format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id())
    })
}

fn provider() -> Result<SdkTracerProvider, opentelemetry_otlp::ExporterBuildError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().build()?;
    let mut resource = Resource::builder();
    // OTEL_SERVICE_NAME is read by the builder and goes over our name.
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("agent-client");
    }
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build())
}
