//! Every metric of the agent: one file of names.
//!
//! An [`Exposition`] per process of agents, so that server and agent can share one; each agent's
//! [`Metrics`] in it have its view as a label, and outlive the agent's restarts. Label sets are bounded:
//! view (as configured), lane, source, role, cause; never a path, a session or a text of somebody else.

use fusion_core::evidence::Source;
use fusion_core::id::ViewName;
use prometheus::{
    CounterVec, Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::role::{Role, word};

/// Upper bounds in seconds of what the event loop is late by; those of the server's calls.
const EVENT_LOOP: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 2.5, 10.0];

/// All metrics of a process.
#[derive(Debug, Clone)]
pub struct Exposition {
    registry: Registry,
    /// By how much timers of the process are late.
    pub(crate) event_loop_lag: Histogram,
}

impl Exposition {
    /// Nothing yet but what is running.
    ///
    /// # Errors
    /// A name is malformed: a bug that the test below finds.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let opts = Opts::new("fusion_build_info", "1; the labels say what is running.");
        let info = IntGaugeVec::new(opts, &["program", "version"])?;
        registry.register(Box::new(info.clone()))?;
        info.with_label_values(&["agent-client", env!("CARGO_PKG_VERSION")]).set(1);
        let opts = HistogramOpts::new(
            "fusion_agent_event_loop_lag_seconds",
            "By how much a timer of the agent was late, tried once a second.",
        );
        let event_loop_lag = Histogram::with_opts(opts.buckets(EVENT_LOOP.to_vec()))?;
        registry.register(Box::new(event_loop_lag.clone()))?;
        Ok(Self { registry, event_loop_lag })
    }

    /// All metrics as Prometheus reads them.
    ///
    /// # Errors
    /// A metric cannot be written: a bug.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// The agent's metrics; the field names are the metrics' names without `fusion_agent_` and suffix.
#[allow(missing_docs, reason = "each is described where it is made, for people who scrape it")]
pub struct Metrics {
    pub watched_directories: IntGauge,
    pub watch_limit: IntGauge,
    pub unwatched_directories: IntGauge,
    pub kernel_overflows: IntCounter,
    pub failed_looks: IntCounterVec,
    pub event_queue: IntGauge,
    pub event_queue_age: Gauge,
    pub spool_batches: IntGauge,
    pub spool_bytes: IntGauge,
    pub spool_oldest: Gauge,
    pub spool_full: IntCounter,
    pub spool_recoveries: IntCounterVec,
    pub file_stats: IntCounter,
    pub scans: IntCounterVec,
    pub scan_running: IntGaugeVec,
    pub scan_directories: IntCounterVec,
    pub scan_entries: IntCounterVec,
    pub scan_errors: IntCounterVec,
    pub scan_rate: GaugeVec,
    pub scan_paused: CounterVec,
    pub storage_call: Gauge,
    pub hung_calls: IntGauge,
    pub role: IntGaugeVec,
    pub leader_epoch: IntGauge,
    pub session_recoveries: IntCounterVec,
    pub reconnects: IntCounterVec,
    pub heartbeats: IntCounterVec,
    pub batches_sent: IntCounterVec,
    pub batches_acknowledged: IntCounterVec,
    pub batches_resent: IntCounterVec,
    pub unacknowledged: IntGaugeVec,
    pub rows_rejected: IntCounterVec,
    pub acknowledgement: HistogramVec,
    pub commands: IntCounterVec,
    pub restarts: IntCounterVec,
}

impl Metrics {
    /// All metrics of the agent of a view, at zero.
    ///
    /// # Errors
    /// The view has some already; or two metrics have one name, or a name is malformed: a bug that the
    /// test below finds.
    #[expect(clippy::too_many_lines, reason = "one table; split up it could not be read as one")]
    pub fn new(shown: &Exposition, view: &ViewName) -> Result<Self, prometheus::Error> {
        let make = Maker(&shown.registry, view);
        let metrics = Self {
            watched_directories: make.gauge("watched_directories", "Directories watched.")?,
            watch_limit: make.gauge(
                "watch_limit",
                "Most directories that may be watched; 0 where no watch per directory is needed.",
            )?,
            unwatched_directories: make.gauge(
                "unwatched_directories",
                "Directories that should be watched but cannot be.",
            )?,
            kernel_overflows: make
                .counter("kernel_overflows_total", "Times that events were lost.")?,
            failed_looks: make.counters(
                "failed_looks_total",
                "Names that an event gave reason to look at, and whose first look gave no answer.",
                &["why"],
            )?,
            event_queue: make
                .gauge("event_queue", "Events read from the kernel and not yet made evidence.")?,
            event_queue_age: make.gauge_f64(
                "event_queue_age_seconds",
                "For how long, at most, something waits to be made evidence that the kernel told of.",
            )?,
            spool_batches: make.gauge("spool_batches", "Batches in the spool.")?,
            spool_bytes: make.gauge("spool_bytes", "Bytes in the spool, not yet acknowledged.")?,
            spool_oldest: make
                .gauge_f64("spool_oldest_age_seconds", "Age of the oldest batch in the spool.")?,
            spool_full: make.counter("spool_full_total", "Times that the spool was full.")?,
            spool_recoveries: make.counters(
                "spool_recoveries_total",
                "What was found wrong with the spool when it was opened, and mended.",
                &["what"],
            )?,
            file_stats: make.counter(
                "file_stats_total",
                "Files looked at, one stat each, by scans and events.",
            )?,
            scans: make.counters("scans_total", "Scans that ended.", &["source", "outcome"])?,
            scan_running: make.gauges("scan_running", "1 while a scan runs.", &["source"])?,
            scan_directories: make.counters(
                "scan_directories_total",
                "Directories listed.",
                &["source"],
            )?,
            scan_entries: make.counters(
                "scan_entries_total",
                "Entries seen by scans.",
                &["source"],
            )?,
            scan_errors: make.counters(
                "scan_errors_total",
                "Directories and entries that could not be read.",
                &["source"],
            )?,
            scan_rate: make.gauges_f64(
                "scan_entries_per_second",
                "Entries per second of the running or latest scan.",
                &["source"],
            )?,
            scan_paused: make.counters_f64(
                "scan_paused_seconds_total",
                "Time that workers of scans waited: for the rate, because calls of the storage are \
                 slow, or for something more urgent; summed over workers.",
                &["why"],
            )?,
            storage_call: make.gauge_f64(
                "storage_call_seconds",
                "What a call of the storage took lately, the mean of 256 that scans made.",
            )?,
            hung_calls: make.gauge(
                "hung_calls",
                "Calls of the storage that have not come back within the limit.",
            )?,
            role: make.gauges("role", "1 for the role that the agent has.", &["role"])?,
            leader_epoch: make
                .gauge("leader_epoch", "The leadership that the agent holds or follows.")?,
            session_recoveries: make.counters(
                "session_recoveries_total",
                "New sessions after an obsolete one, by why that was obsolete.",
                &["cause"],
            )?,
            reconnects: make.counters(
                "reconnects_total",
                "Streams that were opened again in the same session.",
                &["lane"],
            )?,
            heartbeats: make.counters(
                "heartbeats_total",
                "Heartbeats by outcome.",
                &["outcome"],
            )?,
            batches_sent: make.counters(
                "batches_sent_total",
                "Batches sent, repeats included.",
                &["lane"],
            )?,
            batches_acknowledged: make.counters(
                "batches_acknowledged_total",
                "Batches acknowledged.",
                &["lane"],
            )?,
            batches_resent: make.counters(
                "batches_resent_total",
                "Batches sent again.",
                &["lane"],
            )?,
            unacknowledged: make.gauges(
                "unacknowledged_batches",
                "Batches sent and not yet acknowledged.",
                &["lane"],
            )?,
            rows_rejected: make.counters(
                "rows_rejected_total",
                "Rows that the server refused.",
                &["lane"],
            )?,
            acknowledgement: make.seconds(
                "acknowledgement_seconds",
                "From sending a batch to its acknowledgement.",
                &["lane"],
            )?,
            commands: make.counters(
                "commands_total",
                "Commands of the server by outcome.",
                &["outcome"],
            )?,
            restarts: make.counters(
                "part_restarts_total",
                "Parts of the agent that failed and were started again.",
                &["part"],
            )?,
        };
        metrics.without_session();
        Ok(metrics)
    }

    /// There is no session: neither role, and that is said from the beginning.
    pub fn without_session(&self) {
        for role in [Role::Leader, Role::Follower] {
            self.role.with_label_values(&[word(role)]).set(0);
        }
    }
}

/// The label of a scan's source.
#[must_use]
pub const fn source_label(source: Source) -> &'static str {
    match source {
        Source::Snapshot => "snapshot",
        Source::Audit => "audit",
        Source::OnDemand => "on_demand",
        Source::Discovery => "discovery",
    }
}

/// For gauges that show a count; a count beyond i64 is a bug that a metric need not show.
#[must_use]
pub fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Makes metrics of a view and registers them.
struct Maker<'a>(&'a Registry, &'a ViewName);

type Made<T> = Result<T, prometheus::Error>;

impl Maker<'_> {
    fn register<T: prometheus::core::Collector + Clone + 'static>(&self, metric: T) -> Made<T> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(format!("fusion_agent_{name}"), help).const_label("view", self.1.as_str())
    }

    fn gauge(&self, name: &str, help: &str) -> Made<IntGauge> {
        self.register(IntGauge::with_opts(self.opts(name, help))?)
    }

    fn gauge_f64(&self, name: &str, help: &str) -> Made<Gauge> {
        self.register(Gauge::with_opts(self.opts(name, help))?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Made<IntGaugeVec> {
        self.register(IntGaugeVec::new(self.opts(name, help), labels)?)
    }

    fn gauges_f64(&self, name: &str, help: &str, labels: &[&str]) -> Made<GaugeVec> {
        self.register(GaugeVec::new(self.opts(name, help), labels)?)
    }

    fn counter(&self, name: &str, help: &str) -> Made<IntCounter> {
        self.register(IntCounter::with_opts(self.opts(name, help))?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Made<IntCounterVec> {
        self.register(IntCounterVec::new(self.opts(name, help), labels)?)
    }

    fn counters_f64(&self, name: &str, help: &str, labels: &[&str]) -> Made<CounterVec> {
        self.register(CounterVec::new(self.opts(name, help), labels)?)
    }

    fn seconds(&self, name: &str, help: &str, labels: &[&str]) -> Made<HistogramVec> {
        let buckets = prometheus::exponential_buckets(0.000_25, 2.0, 16)?;
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(buckets);
        self.register(HistogramVec::new(opts, labels)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_well_formed_and_each_view_has_its_own() {
        let shown = Exposition::new().unwrap();
        let view = |name| ViewName::new(name).unwrap();
        let lab = Metrics::new(&shown, &view("lab")).unwrap();
        let home = Metrics::new(&shown, &view("home")).unwrap();
        lab.file_stats.inc();
        home.reconnects.with_label_values(&["scan"]).inc();
        let text = shown.text().unwrap();
        for line in [
            "fusion_agent_file_stats_total{view=\"lab\"} 1",
            "fusion_agent_file_stats_total{view=\"home\"} 0",
            "fusion_agent_reconnects_total{lane=\"scan\",view=\"home\"} 1",
            "fusion_build_info{",
        ] {
            assert!(text.contains(line), "no {line} in {text}");
        }
        let help = text.matches("# HELP fusion_agent_file_stats_total").count();
        assert_eq!(help, 1, "one family of both");
        assert!(Metrics::new(&shown, &view("lab")).is_err());
    }
}
