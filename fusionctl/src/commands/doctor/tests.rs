//! What is found, and that nothing is found where all is well.

use fusion_core::id::{AgentId, LeaderEpoch, ViewName};
use fusion_core::session::{Role, SessionState};
use fusion_core::time::StorageTime;
use fusion_core::view::{Coverage, Totals};
use fusion_proto::convert::admin::{EngineGuarantee, ServerInfo, ServerLimits, Survival};
use fusion_proto::convert::session::ClientInfo;
use fusion_proto::convert::session::agent::AgentStatus;
use uuid::Uuid;

use super::*;

const NOW: ServerTime = ServerTime::from_nanos(1_800_000_000_000_000_000);

fn agent() -> SessionInfo {
    SessionInfo {
        session: None,
        view: ViewName::new("v").unwrap(),
        agent: AgentId::new("a").unwrap(),
        client: ClientInfo::default(),
        state: SessionState::Active,
        role: Role::Leader,
        epoch: LeaderEpoch(1),
        created_at: NOW,
        last_heartbeat: NOW,
        timeout: Duration::from_secs(30),
        root_uri: "file://host/tree".to_owned(),
        status: Some(AgentStatus {
            realtime_ready: true,
            watched_directories: 10,
            watch_limit: Some(100),
            unwatched_directories: 0,
            queue_depth: 0,
            spool_bytes: 0,
            oldest_unacknowledged: None,
            root_state: RootState::Available,
            errors: Vec::new(),
            scan: None,
            file_stats: 0,
            left_out: Vec::new(),
        }),
    }
}

fn well() -> Picture {
    let freshness = Freshness {
        state: ViewState::Ready,
        reasons: Vec::new(),
        revision: 1,
        watermark: Some(StorageTime::from_nanos(NOW.as_nanos())),
        calibrated: true,
        coverage: Coverage::RealtimeAndAudit,
        last_snapshot: Some(NOW),
        last_audit: None,
        horizon: Some(NOW),
        quiet_for: None,
    };
    let view = ViewInfo {
        name: ViewName::new("v").unwrap(),
        totals: Totals::default(),
        freshness,
        leader_agent_id: "a".to_owned(),
        leader_epoch: 1,
        sessions: 1,
        created_at: Some(NOW),
        ownership: None,
    };
    let limits = ServerLimits { max_views: 9, max_sessions: 9, ..ServerLimits::default() };
    let server = ServerInfo {
        version: "1".to_owned(),
        server: Uuid::nil(),
        started_at: NOW,
        server_time: NOW,
        data_dir: "/data".to_owned(),
        data_bytes: 0,
        views: 1,
        sessions: 1,
        log_filter: "info".to_owned(),
        limits,
        state: Some(EngineGuarantee {
            engine: "embedded".to_owned(),
            survives: Survival::Power,
            note: String::new(),
        }),
        member: None,
        log: None,
    };
    let url = "http://here:1".to_owned();
    Picture { url, server, servers: Vec::new(), views: vec![(view, vec![agent()])], here: NOW }
}

/// The one finding about a picture that was well before `spoil`.
#[track_caller]
fn found(is_wrong: bool, about: &str, says: &str, next: &str, spoil: impl Fn(&mut Picture)) {
    let mut picture = well();
    spoil(&mut picture);
    match &diagnose(&picture)[..] {
        [finding] => {
            assert_eq!((finding.is_wrong, finding.about.as_str()), (is_wrong, about));
            assert!(finding.says.contains(says), "{finding:?}");
            assert!(finding.next.contains(next), "{finding:?}");
        }
        other => panic!("{says}: {other:#?}"),
    }
}

fn status(picture: &mut Picture) -> &mut AgentStatus {
    picture.views[0].1[0].status.as_mut().unwrap()
}

fn freshness(picture: &mut Picture) -> &mut Freshness {
    &mut picture.views[0].0.freshness
}

#[test]
fn nothing_is_wrong_where_all_is_well() {
    assert_eq!(diagnose(&well()), []);
}

#[test]
fn what_is_wrong_with_a_server() {
    found(true, "server", "no view", "agent-client", |it| it.views.clear());
    found(true, "server", "sessions", "session.max", |it| it.server.sessions = 9);
    found(false, "server", "views", "max_views", |it| it.server.views = 9);
    found(false, "server", "memory", "--data-dir", |it| it.server.data_dir.clear());
    found(false, "server", "processes", "docs/store.md", |it| {
        it.server.state.as_mut().unwrap().survives = Survival::Processes;
    });
    for here in [NOW.plus(Duration::from_secs(60)), NOW.minus(Duration::from_secs(60))] {
        found(false, "server", "1m apart", "NTP", |it| it.here = here);
    }
}

#[test]
fn what_is_wrong_with_a_view() {
    let reasons = [
        ("no agent leads this view", "start an agent"),
        ("events of agent a were lost: its session was lost", "an audit"),
        ("the leader does not answer a relist", "leader's log"),
        ("the root is another tree; an operator has to accept it", "accept-root"),
        ("the store cannot be written: no space", "disk"),
        ("something new", "log"),
    ];
    for (reason, next) in reasons {
        found(true, "view v", reason, next, |it| {
            freshness(it).state = ViewState::Degraded;
            freshness(it).reasons = vec![reason.to_owned()];
        });
    }
    found(false, "view v", "first scan", "wait", |it| {
        freshness(it).state = ViewState::Snapshotting;
        freshness(it).reasons = vec!["the first scan is running".to_owned()];
    });
    found(true, "view v", "10m old", "late", |it| {
        freshness(it).horizon = Some(NOW.minus(Duration::from_secs(600)));
    });
    found(false, "view v", "storage's clock is 1h", "NTP", |it| {
        let off = NOW.minus(Duration::from_secs(3_600)).as_nanos();
        freshness(it).watermark = Some(StorageTime::from_nanos(off));
    });
    found(true, "view v", "nobody", "agents", |it| it.views[0].1.clear());
}

#[test]
fn what_is_wrong_with_an_agent() {
    found(true, "agent a", "does not watch", "log", |it| status(it).realtime_ready = false);
    found(true, "agent a", "10 of 100 directories", "max_user_watches", |it| {
        status(it).unwatched_directories = 5;
    });
    found(true, "agent a", "not there", "mount", |it| {
        status(it).root_state = RootState::Unavailable;
    });
    found(true, "agent a", "another tree", "accept-root", |it| {
        status(it).root_state = RootState::Doubtful;
    });
    found(true, "agent a", "2m", "network", |it| {
        status(it).oldest_unacknowledged = Some(Duration::from_secs(120));
    });
    found(true, "agent a", "watch: no", "log", |it| status(it).errors = vec!["watch: no".into()]);
    found(false, "agent a", "not said", "heartbeat", |it| it.views[0].1[0].status = None);
}
