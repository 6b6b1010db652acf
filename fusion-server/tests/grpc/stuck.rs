//! A view whose thread does not turn: who asks learns of it, and others do not suffer.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use fusion_core::time::{Clock, Monotonic, ServerTime};
use fusion_proto::pb;
use fusion_proto::status::Refusal;
use fusion_server::clock::RuntimeClock;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::evidence::{batch, file, root, scan_finished, scan_started};
use crate::harness::{TestServer, VIEW, advance, asks, config, refusal, start_on};
use crate::telling::{Lane, opening};

/// Holds up who passes while it is shut; open at first.
#[derive(Default)]
struct Gate {
    is_shut: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn shut(&self, is_shut: bool) {
        *self.is_shut.lock().unwrap() = is_shut;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let is_shut = self.is_shut.lock().unwrap();
        drop(self.opened.wait_while(is_shut, |is_shut| *is_shut).unwrap());
    }
}

/// A clock at which the thread of the view `v` hangs while the gate is shut.
struct Gated {
    clock: RuntimeClock,
    gate: Arc<Gate>,
}

impl Clock for Gated {
    fn now(&self) -> ServerTime {
        if std::thread::current().name() == Some("view v") {
            self.gate.pass();
        }
        self.clock.now()
    }

    fn monotonic(&self) -> Monotonic {
        self.clock.monotonic()
    }
}

/// The server with the view `v`, which is READY, and a view beside it.
struct Rig {
    server: TestServer,
    sessions: [String; 2],
    lane: Lane,
}

impl Rig {
    async fn start(gate: &Arc<Gate>) -> Self {
        let clock = Gated { clock: RuntimeClock::new(), gate: Arc::clone(gate) };
        let mut server = start_on(config(), Arc::new(clock)).await;
        let leader = server.join("a").await;
        let scan = opening(pb::Lane::Scan, &leader.session_id, "");
        let (mut scan, _) = Lane::open(&mut server, scan).await.unwrap();
        let whole = batch(1, vec![scan_started(), scan_finished()]);
        scan.send(pb::EvidenceBatch { leader_epoch: leader.leader_epoch, ..whole }).await;
        scan.acknowledged(1).await.unwrap();
        let lane = Lane::realtime(&mut server, &leader.session_id, "a").await;
        let other = pb::CreateSessionRequest { view: "other".to_owned(), ..asks("b") };
        let other = server.sessions.create_session(other).await.unwrap().into_inner();
        Self { server, sessions: [leader.session_id, other.session_id], lane }
    }

    async fn health(&self) -> ServingStatus {
        let ask = HealthCheckRequest { service: "fusion.v1.view/v".to_owned() };
        let told = HealthClient::new(self.server.channel.clone()).check(ask).await;
        // Until somebody has told of it there is no such service.
        told.map_or(ServingStatus::Unknown, |told| told.into_inner().status())
    }

    /// Lets time pass, a second at a time, until the health is this; how many seconds that took. The sessions
    /// of both views are told of all the while, and must live.
    async fn until(&mut self, wanted: ServingStatus) -> u32 {
        for seconds in 0..60 {
            if self.health().await == wanted {
                return seconds;
            }
            for session_id in self.sessions.clone() {
                // An agent that does not say that it watches would have the view DEGRADED.
                let status = Some(pb::AgentStatus {
                    realtime_ready: true,
                    root_state: pb::RootState::Available.into(),
                    ..Default::default()
                });
                let beat = pb::HeartbeatRequest { session_id, status, ..Default::default() };
                self.server.sessions.heartbeat(beat).await.unwrap();
            }
            advance(Duration::from_secs(1)).await;
        }
        panic!("never {wanted:?}: {:?}", self.read().await);
    }

    async fn read(&mut self) -> Result<(), Refusal> {
        let trusted = pb::ReadClass::Trusted.into();
        let ask = pb::GetEntryRequest {
            view: VIEW.to_owned(),
            path: "/".to_owned(),
            read_class: trusted,
        };
        match self.server.views.get_entry(ask).await {
            Ok(_) => Ok(()),
            refused => match refusal(refused) {
                // That there is nothing is an answer, and a trusted one.
                Refusal::PathNotFound { .. } => Ok(()),
                other => Err(other),
            },
        }
    }

    async fn metric(&self, series: &str) -> f64 {
        let metrics = self.server.get("/metrics").await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series));
        value.unwrap_or_else(|| panic!("no {series} in {metrics}")).trim().parse().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_that_is_stuck_is_seen_and_is_well_again_when_it_turns() {
    let gate = Arc::<Gate>::default();
    let mut rig = Rig::start(&gate).await;
    rig.until(ServingStatus::Serving).await;
    rig.read().await.unwrap();
    assert_eq!(rig.metric("fusion_view_remembered{view=\"v\",what=\"relists\"}").await, 0.0);

    gate.shut(true);
    rig.lane.send(batch(1, vec![root(), file("/f", 1)])).await;
    let seconds = rig.until(ServingStatus::NotServing).await;
    assert!((10..=15).contains(&seconds), "told after {seconds} s");
    match rig.read().await.unwrap_err() {
        Refusal::ViewNotReady { reasons, .. } => {
            assert!(reasons.iter().any(|why| why.contains("at one turn for")), "{reasons:?}");
        }
        other => panic!("{other:?}"),
    }
    let turn = |view| format!("fusion_view_turn_seconds{{view=\"{view}\"}}");
    assert!(rig.metric(&turn("v")).await >= 10.0);
    assert!(rig.metric(&turn("other")).await < 10.0);
    // The thread has one batch in its hands; another waits.
    rig.lane.send(batch(2, vec![file("/g", 1)])).await;
    let age = "fusion_ingest_queue_age_seconds{lane=\"realtime\",view=\"v\"}";
    for _ in 0..5 {
        rig.health().await;
        advance(Duration::from_secs(1)).await;
    }
    let waits = rig.metric(age).await;
    assert!(waits >= 1.0, "{waits} s");
    assert!(rig.metric("fusion_event_loop_lag_seconds_count").await >= 10.0);

    gate.shut(false);
    rig.lane.acknowledged(2).await.unwrap();
    rig.until(ServingStatus::Serving).await;
    rig.read().await.unwrap();
    assert_eq!(rig.metric(age).await, 0.0);
}
