//! Metrics: the one file of their names.
//!
//! Owns the registry of one server (two servers in one process do not share it). Labels are bounded:
//! views (at most `max_views`), lanes, tiers, outcomes, RPC methods and codes; never a path, a
//! session, or an agent's own text. Gauges of what others own are set when they are read.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricType;
use prometheus::{
    Encoder as _, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// Upper bounds in seconds, from half a millisecond to ten seconds: a call.
const CALL: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 2.5, 10.0];
/// Upper bounds in seconds, from twenty microseconds to a second: a batch.
const BATCH: &[f64] =
    &[0.000_02, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.25, 1.0];
/// For what has no buckets.
const NONE: &[f64] = &[];

/// Declares every metric once: field, kind, name, labels, buckets, help.
macro_rules! metrics {
    ($($field:ident: $kind:ty = $name:literal $labels:tt $buckets:ident, $help:literal;)*) => {
        /// The metrics of one server.
        #[derive(Debug, Clone)]
        pub struct Metrics {
            registry: Registry,
            $(pub(crate) $field: $kind,)*
        }

        impl Metrics {
            /// All metrics, at zero.
            ///
            /// # Errors
            /// A name or help text that Prometheus refuses, or a name that is taken: a bug, found
            /// by any test.
            pub fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                build_info(&registry)?;
                Ok(Self {
                    $($field: made::<$kind>(&registry, $name, $help, &$labels, $buckets)?,)*
                    registry,
                })
            }
        }
    };
}

metrics! {
    sessions: IntGaugeVec = "fusion_sessions" ["view", "role"] NONE,
        "Live sessions.";
    heartbeat_age: GaugeVec = "fusion_heartbeat_age_seconds" ["view"] NONE,
        "Time since the session of a view that was silent longest was last heard.";
    sessions_created: IntCounterVec = "fusion_sessions_created_total" ["view"] NONE,
        "Sessions begun.";
    sessions_ended: IntCounterVec = "fusion_sessions_ended_total" ["view", "state"] NONE,
        "Sessions that are over, by how they ended.";
    leader_changes: IntCounterVec = "fusion_leader_changes_total" ["view"] NONE,
        "Leaderships begun.";
    obsolete_answers: IntCounterVec = "fusion_obsolete_answers_total" ["cause"] NONE,
        "Calls and streams that were told that their session is obsolete.";
    evidence_rows: IntCounterVec = "fusion_evidence_rows_total" ["view", "tier", "outcome"] NONE,
        "Rows of evidence by what they were worth; a listing counts as its directory and children.";
    batches: IntCounterVec = "fusion_batches_total" ["view", "lane", "outcome"] NONE,
        "Batches of evidence by outcome.";
    lost_batches: IntCounterVec = "fusion_lost_batches_total" ["view"] NONE,
        "Realtime batches that an agent no longer held when the server did not have them.";
    apply_duration: HistogramVec = "fusion_apply_duration_seconds" ["view", "lane"] BATCH,
        "Time to apply a batch.";
    ack_duration: HistogramVec = "fusion_acknowledgement_duration_seconds" ["lane"] BATCH,
        "Time from the arrival of a batch to its acknowledgement.";
    queue_batches: IntGaugeVec = "fusion_ingest_queue_batches" ["view", "lane"] NONE,
        "Batches that wait to be applied.";
    queue_age: GaugeVec = "fusion_ingest_queue_age_seconds" ["view", "lane"] NONE,
        "Time for which the oldest of what waits in the lane has waited for the view's thread; 0 if nothing waits.";
    push_streams: IntGaugeVec = "fusion_push_streams" ["lane"] NONE,
        "Open streams of evidence.";
    view_entries: IntGaugeVec = "fusion_view_entries" ["view", "kind"] NONE,
        "Entries below the root of a view.";
    view_entries_limit: IntGaugeVec = "fusion_view_entries_limit" ["view"] NONE,
        "How many entries a view has at most, its root among them (`max_entries`).";
    view_bytes: IntGaugeVec = "fusion_view_bytes" ["view"] NONE,
        "Sum of the sizes of the files of a view.";
    view_state: IntGaugeVec = "fusion_view_state" ["view", "state"] NONE,
        "1 for the state that a view is in, 0 for the others.";
    view_turn: GaugeVec = "fusion_view_turn_seconds" ["view"] NONE,
        "Time that the turn of a view's thread has taken by now; 0 while it waits for work.";
    view_remembered: IntGaugeVec = "fusion_view_remembered" ["view", "what"] NONE,
        "What a view keeps beside its entries: suspects, tombstones, trash, blind_deletions, losses, directories that are short because the view was full; and what waits: relists, probes, held evidence.";
    view_skew: GaugeVec = "fusion_view_clock_skew_seconds" ["view"] NONE,
        "By how much the clock of a view's storage is behind the server's; 0 while that is not known.";
    view_owned: IntGaugeVec = "fusion_view_owned" ["view"] NONE,
        "Of several servers: 1 if this one owns the view, 0 if it follows.";
    view_owner_epoch: IntGaugeVec = "fusion_view_owner_epoch" ["view"] NONE,
        "Of several servers: the number of the view's ownership, or of the last one, as this one knows it.";
    view_lag: IntGaugeVec = "fusion_view_lag_revisions" ["view"] NONE,
        "Of several servers: revisions that this one is behind what the owner of the view said last; 0 of the owner, absent while that is not known.";
    view_lag_seconds: GaugeVec = "fusion_view_lag_seconds" ["view"] NONE,
        "Of several servers: time since this one heard the owner of the view say what it has replayed by now; 0 of the owner, absent while there is no such word. It is up to the time between two renewals, a sixth of the lease, where all is well.";
    take_overs: IntCounterVec = "fusion_view_take_overs_total" ["view"] NONE,
        "Ownerships of a view that this server of several began.";
    hand_overs: IntCounterVec = "fusion_view_hand_overs_total" ["view"] NONE,
        "Ownerships of a view that this server of several gave away for another one to have.";
    servers: IntGaugeVec = "fusion_servers" ["state"] NONE,
        "Of several servers: those that this one hears, itself among them (live), and those that said nothing for the lease and are not struck off (silent).";
    renewal_failures: IntCounterVec = "fusion_lease_renewal_failures_total" [] NONE,
        "Of several servers: renewals of this one's lease that failed; each is tried again.";
    lease_lapses: IntCounterVec = "fusion_lease_lapses_total" [] NONE,
        "Of several servers: times that this one's lease ran out, so that it owned nothing any more.";
    event_loop_lag: HistogramVec = "fusion_event_loop_lag_seconds" [] CALL,
        "By how much a timer of the server was late, tried once a second.";
    changes: IntCounterVec = "fusion_changes_total" ["view"] NONE,
        "Physical changes that a view went through.";
    commands: IntCounterVec = "fusion_commands_total" ["view", "state"] NONE,
        "Commands to leaders by what became of them: given, done, failed, lapsed; and reports refused.";
    unseen: IntGaugeVec = "fusion_unseen_directories" ["view"] NONE,
        "Directories of which agents were told because other hosts made them, and that are not reported as watched; the horizon waits for them.";
    view_panics: IntCounterVec = "fusion_view_panics_total" ["view"] NONE,
        "Views that were begun anew because their task panicked: bugs.";
    commit_duration: HistogramVec = "fusion_store_commit_duration_seconds" ["view"] BATCH,
        "Time from the append of a record to its being durable.";
    store_failing: IntGaugeVec = "fusion_store_failing" ["view"] NONE,
        "1 while the log of a view cannot be written, so that the view takes no evidence.";
    checkpoint_duration: HistogramVec = "fusion_store_checkpoint_duration_seconds" ["view"] CALL,
        "Time from the begin of a checkpoint to its being durable.";
    checkpoint_bytes: IntCounterVec = "fusion_store_checkpoint_bytes_total" ["view"] NONE,
        "Bytes of blocks and tables written by checkpoints.";
    checkpoint_failures: IntCounterVec = "fusion_store_checkpoint_failures_total" ["view"] NONE,
        "Checkpoints that were begun and not stored; each is tried again.";
    log_bytes: IntGaugeVec = "fusion_store_log_bytes" ["view"] NONE,
        "Bytes that the log of a view takes.";
    block_bytes: IntGaugeVec = "fusion_store_block_bytes" ["view"] NONE,
        "Bytes that the blocks of a view take.";
    jobs: IntGaugeVec = "fusion_jobs" ["state"] NONE,
        "Jobs that are kept, by state.";
    idempotency: IntCounterVec = "fusion_idempotency_calls_total" ["outcome"] NONE,
        "Calls under an idempotency key: first, replayed, resumed after a crash, or reused for another request.";
    audit_records: IntCounterVec = "fusion_audit_records_total" ["action", "outcome"] NONE,
        "Audit records made, by method and gRPC code of the call.";
    watchers: IntGaugeVec = "fusion_watchers" ["view", "call"] NONE,
        "Calls that watch a view or wait until a path of it is quiet.";
    watch_events: IntCounterVec = "fusion_watch_events_total" ["view"] NONE,
        "Changes told to watchers, each as often as it was told.";
    watch_reads: IntCounterVec = "fusion_watch_log_reads_total" ["view"] NONE,
        "Readings of the log for watchers that were further back than what is kept in memory.";
    watch_slow: IntCounterVec = "fusion_watchers_too_slow_total" ["view"] NONE,
        "Watchers that were ended because they did not take what they were told.";
    searches: IntGaugeVec = "fusion_searches" ["view", "call"] NONE,
        "Searches (find), counts (breakdown) and exports of a view that are under way, also those whose client does not read.";
    searched_entries: IntCounterVec = "fusion_searched_entries_total" ["view"] NONE,
        "Entries looked at for searches, counts and exports, in steps of at most 2,048.";
    connections: IntGaugeVec = "fusion_connections" [] NONE,
        "Open connections to the listener for gRPC.";
    connections_taken: IntCounterVec = "fusion_connections_total" ["outcome"] NONE,
        "Connections to the listener for gRPC: taken, refused because there are max_connections; of those that were taken silent ones that did not begin to speak; and tries that failed for lack of descriptors or memory.";
    certificate_expiry: IntGaugeVec = "fusion_tls_certificate_expiry_timestamp_seconds" [] NONE,
        "When the server's certificate expires, in seconds since 1970; absent without TLS.";
    handshakes: IntCounterVec = "fusion_tls_handshakes_total" ["outcome"] NONE,
        "TLS handshakes of clients: done, failed, timed_out, or displaced by newer ones.";
    reloads: IntCounterVec = "fusion_reloads_total" ["what", "outcome"] NONE,
        "Files that changed while the server ran, and reloads of the configuration: taken, unchanged, or refused.";
    denied: IntCounterVec = "fusion_denied_calls_total" ["reason"] NONE,
        "Calls that were not let in: no_token, malformed, unknown_token, expired_token, role, path, agent_id; and streams that ended because of their token: revoked_token.";
    quota_refusals: IntCounterVec = "fusion_quota_refusals_total" ["quota"] NONE,
        "Calls that were refused because a quota or a rate is used up, by the setting that bounds it.";
    deprecated_calls: IntCounterVec = "fusion_deprecated_calls_total" ["what"] NONE,
        "Calls that used a method or field of the contract that is deprecated, by its name.";
    rpc_requests: IntCounterVec = "fusion_rpc_requests_total" ["method", "code"] NONE,
        "RPCs that ended, by method and gRPC code.";
    rpc_duration: HistogramVec = "fusion_rpc_duration_seconds" ["method"] CALL,
        "Time from the request of an RPC to its end, streams included.";
    rpc_in_flight: IntGaugeVec = "fusion_rpc_in_flight" ["method"] NONE,
        "RPCs that have not ended.";
}

impl Metrics {
    /// All of them in Prometheus' text format, save the gauges of views that are not there any more: what they
    /// say is not so.
    ///
    /// # Errors
    /// A metric that cannot be written: a bug.
    pub(crate) fn encode(
        &self,
        is_there: impl Fn(&str) -> bool,
    ) -> Result<String, prometheus::Error> {
        let mut families = self.registry.gather();
        for family in &mut families {
            if family.get_field_type() == MetricType::GAUGE {
                family.mut_metric().retain(|metric| {
                    let view = metric.get_label().iter().find(|label| label.name() == "view");
                    view.is_none_or(|view| is_there(view.value()))
                });
            }
        }
        // A family without a metric cannot be written.
        families.retain(|family| !family.get_metric().is_empty());
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

/// Seconds as Prometheus counts them.
pub(crate) fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}

/// A count as a gauge takes it.
pub(crate) fn gauged(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn build_info(registry: &Registry) -> Result<(), prometheus::Error> {
    let opts = Opts::new("fusion_build_info", "1; the labels say what was built.")
        .const_label("version", env!("CARGO_PKG_VERSION"));
    let info = prometheus::IntGauge::with_opts(opts)?;
    info.set(1);
    registry.register(Box::new(info))
}

/// A kind of metric that can be made from its declaration.
trait Kind: Collector + Clone + Sized + 'static {
    fn make(opts: Opts, labels: &[&str], buckets: &[f64]) -> Result<Self, prometheus::Error>;
}

impl Kind for IntCounterVec {
    fn make(opts: Opts, labels: &[&str], _: &[f64]) -> Result<Self, prometheus::Error> {
        Self::new(opts, labels)
    }
}

impl Kind for IntGaugeVec {
    fn make(opts: Opts, labels: &[&str], _: &[f64]) -> Result<Self, prometheus::Error> {
        Self::new(opts, labels)
    }
}

impl Kind for GaugeVec {
    fn make(opts: Opts, labels: &[&str], _: &[f64]) -> Result<Self, prometheus::Error> {
        Self::new(opts, labels)
    }
}

impl Kind for HistogramVec {
    fn make(opts: Opts, labels: &[&str], buckets: &[f64]) -> Result<Self, prometheus::Error> {
        Self::new(HistogramOpts { common_opts: opts, buckets: buckets.to_vec() }, labels)
    }
}

fn made<K: Kind>(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Result<K, prometheus::Error> {
    let metric = K::make(Opts::new(name, help), labels, buckets)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
