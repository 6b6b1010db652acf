//! What every RPC gets: a span, a correlation id, its deadline, and its place in the metrics.
//!
//! The code of a call is known at its very end, in the trailers, so the answer's body is wrapped
//! ([`super::body`]). ABORTED on a session is an answer, not an error of the server.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fusion_core::id::CorrelationId;
use fusion_core::time::{Clock, Monotonic};
use fusion_proto::limits::CORRELATION_ID_KEY;
use fusion_proto::status::Refusal;
use http::{HeaderMap, HeaderValue, Request, Response};
use opentelemetry::propagation::Extractor;
use prometheus::{Histogram, IntCounter, IntGauge};
use tokio::sync::watch;
use tokio::time::Sleep;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};

use super::body::{Ending, WatchedBody};
use super::{Services, methods};
use crate::access::quotas::Held;
use crate::ids::Ids;
use crate::ops::metrics::Metrics;
use crate::ops::telemetry;

/// What methods are told of by that are not served, so that callers cannot make labels.
const UNKNOWN: &str = "unknown";

/// By how much a deadline of ours comes before the library's, at most.
const EARLIER: Duration = Duration::from_millis(3);

#[derive(Clone)]
pub(super) struct RpcLayer {
    shared: Arc<Shared>,
}

struct Shared {
    metrics: Metrics,
    /// One for each of [`methods::all`], and one for all else.
    methods: Vec<MethodMetrics>,
    ids: Arc<dyn Ids>,
    clock: Arc<dyn Clock>,
    busy: watch::Sender<usize>,
}

impl RpcLayer {
    pub(super) fn new(services: &Services) -> Self {
        let Services { metrics, ids, clock, busy, .. } = services.clone();
        let names = methods::all().iter().map(|method| method.name).chain([UNKNOWN]);
        let methods = names.map(|name| MethodMetrics::new(&metrics, name)).collect();
        Self { shared: Arc::new(Shared { metrics, methods, ids, clock, busy }) }
    }
}

/// The metrics of a method, looked up once.
struct MethodMetrics {
    name: &'static str,
    in_flight: IntGauge,
    succeeded: IntCounter,
    duration: Histogram,
}

impl MethodMetrics {
    fn new(metrics: &Metrics, name: &'static str) -> Self {
        let ok = code_name(tonic::Code::Ok);
        Self {
            name,
            in_flight: metrics.rpc_in_flight.with_label_values(&[name]),
            succeeded: metrics.rpc_requests.with_label_values(&[name, ok]),
            duration: metrics.rpc_duration.with_label_values(&[name]),
        }
    }
}

impl<S> Layer<S> for RpcLayer {
    type Service = RpcService<S>;

    fn layer(&self, inner: S) -> RpcService<S> {
        RpcService { inner, shared: Arc::clone(&self.shared) }
    }
}

#[derive(Clone)]
pub(super) struct RpcService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Request<Body>> for RpcService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<WatchedBody>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let number = methods::number(request.uri().path()).unwrap_or(methods::all().len());
        let method = self.shared.methods[number].name;
        let correlation = correlation(request.headers(), &*self.shared.ids);
        let span = span(method, request.headers(), correlation.as_ref().ok());
        let call = Call::begin(Arc::clone(&self.shared), number, span.clone());
        let correlation = match correlation {
            Ok(correlation) => correlation,
            Err(refusal) => {
                let refused = refusal.into_status().into_http::<Body>();
                return Box::pin(async move { Ok(call.answer(refused, None)) });
            }
        };
        let deadline = time_left(request.headers()).map(|left| Box::pin(tokio::time::sleep(left)));
        // For what a handler does on the caller's account.
        request.extensions_mut().insert(correlation.clone());
        let inner = self.inner.call(request);
        let answered = async move {
            let mut response = match deadline {
                None => call.answer(inner.await?, None),
                Some(mut deadline) => tokio::select! {
                    biased;
                    response = inner => call.answer(response?, Some(deadline)),
                    () = &mut deadline => {
                        let refused = Refusal::DeadlineExceeded.into_status().into_http::<Body>();
                        call.answer(refused, None)
                    }
                },
            };
            if let Ok(mut value) = HeaderValue::from_str(correlation.as_str()) {
                // It is another one in every answer: the tables of header compression are spared.
                value.set_sensitive(true);
                response.headers_mut().insert(CORRELATION_ID_KEY, value);
            }
            Ok(response)
        };
        Box::pin(answered.instrument(span))
    }
}

/// A call that has begun; counted when it ends, however it ends.
struct Call {
    shared: Arc<Shared>,
    /// Index of its method among [`Shared::methods`].
    method: usize,
    begun: Monotonic,
    span: Span,
    code: Option<tonic::Code>,
    /// The place that it has.
    held: Option<Held>,
}

impl Call {
    fn begin(shared: Arc<Shared>, method: usize, span: Span) -> Self {
        shared.methods[method].in_flight.inc();
        if is_waited_for(shared.methods[method].name) {
            shared.busy.send_modify(|calls| *calls += 1);
        }
        let begun = shared.clock.monotonic();
        Self { shared, method, begun, span, code: None, held: None }
    }

    fn answer(
        self,
        response: Response<Body>,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> Response<WatchedBody> {
        let (mut head, body) = response.into_parts();
        let mut ending = Box::new(self);
        ending.held = head.extensions.remove();
        if let Some(code) = code_of(&head.headers) {
            ending.ended(code);
        }
        Response::from_parts(head, WatchedBody::new(body, ending, deadline))
    }
}

impl Ending for Call {
    fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(code) = code_of(trailers) {
            self.ended(code);
        }
    }
}

impl Call {
    fn ended(&mut self, code: tonic::Code) {
        self.code = Some(code);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // A client that leaves before the trailers has cancelled the call.
        let code = self.code.unwrap_or(tonic::Code::Cancelled);
        let method = &self.shared.methods[self.method];
        if is_waited_for(method.name) {
            self.shared.busy.send_modify(|calls| *calls = calls.saturating_sub(1));
        }
        let took = self.shared.clock.monotonic().since(self.begun);
        let name = code_name(code);
        method.in_flight.dec();
        match code {
            tonic::Code::Ok => method.succeeded.inc(),
            _ => self.shared.metrics.rpc_requests.with_label_values(&[method.name, name]).inc(),
        }
        method.duration.observe(took.as_secs_f64());
        self.span.record("rpc.response.status_code", name);
        if is_server_error(code) {
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

/// Whether a call keeps the server from ending: ours do, and they end; a health watch or a
/// reflection stream would stay for ever.
fn is_waited_for(method: &str) -> bool {
    method.starts_with("fusion.v1.")
}

fn span(method: &'static str, headers: &HeaderMap, correlation: Option<&CorrelationId>) -> Span {
    let span = tracing::info_span!(
        "rpc",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = tracing::field::Empty,
        correlation_id = correlation.map(CorrelationId::as_str),
        view = tracing::field::Empty,
        session = tracing::field::Empty,
    );
    telemetry::adopt(&span, &Headers(headers));
    span
}

/// How long the caller waits, as `grpc-timeout` says: up to eight digits and a unit. The library
/// looks at it too and calls the end CANCELLED, so we are a little earlier.
fn time_left(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    let left = match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    };
    Some(left.saturating_sub(EARLIER.min(left / 10)))
}

/// The correlation id that came with the call, or a new one.
fn correlation(headers: &HeaderMap, ids: &dyn Ids) -> Result<CorrelationId, Refusal> {
    let text = match headers.get(CORRELATION_ID_KEY) {
        None => ids.draw().to_string(),
        Some(value) => value.to_str().unwrap_or("\u{fffd}").to_owned(),
    };
    CorrelationId::new(&text).map_err(|error| Refusal::invalid(CORRELATION_ID_KEY, error.allowed))
}

pub(super) fn code_of(headers: &HeaderMap) -> Option<tonic::Code> {
    headers.get("grpc-status").map(|value| tonic::Code::from_bytes(value.as_bytes()))
}

/// Codes that say that the server failed, and not its caller, as the RPC conventions have it.
fn is_server_error(code: tonic::Code) -> bool {
    use tonic::Code;
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

pub(super) fn code_name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
