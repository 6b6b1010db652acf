//! What is kept of a session, and of a view's leadership, over a restart: JSON, so that an operator
//! can read it where the store shows values.
//!
//! Every record carries the version of its form. One from a later version of the server is refused,
//! never guessed at. Golden files are in `fusion-server/tests/golden`.

use std::time::Duration;

use fusion_core::evidence::RootState;
use fusion_core::id::{AgentId, InstanceId, LeaderEpoch, Revision, SessionId, SpoolId, ViewName};
use fusion_core::session::{Principal, SavedSession, SessionState};
use fusion_core::time::ServerTime;
use fusion_core::view::AgentReport;
use fusion_proto::convert::session::{ClientInfo, Withheld};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::stores::{RecordError, check_version};

/// The version that is written; every one up to it is read.
const VERSION: u32 = 1;

/// All that is kept of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionRecord {
    pub(super) session: SavedSession,
    pub(super) client: ClientInfo,
    pub(super) root_uri: String,
    /// What its agent was told that nothing may be told of.
    pub(super) told: Told,
    /// What its view goes by until it is heard again.
    pub(super) report: AgentReport,
    /// Up to where it had reported all directories that it cannot have seen appear; absent in what an
    /// earlier version wrote.
    pub(super) reported: Option<Revision>,
    /// How and when it ended, if it did.
    pub(super) ended: Option<(SessionState, ServerTime)>,
}

/// What agents are to keep to themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Told {
    pub(super) exclude: Vec<String>,
    pub(super) withheld: Withheld,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    id: Uuid,
    view: String,
    principal: String,
    agent: String,
    instance: Uuid,
    spool: Uuid,
    host: String,
    epoch: u64,
    timeout_ms: u64,
    created_at_ns: i64,
    standing: u64,
    client: StoredClient,
    root_uri: String,
    #[serde(default, skip_serializing_if = "StoredTold::is_nothing")]
    told: StoredTold,
    report: StoredReport,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reported: Option<u64>,
    ended: Option<StoredEnd>,
}

#[derive(Serialize, Deserialize, Default)]
struct StoredTold {
    exclude: Vec<String>,
    withhold_owner: bool,
    withhold_mode: bool,
}

impl StoredTold {
    fn is_nothing(&self) -> bool {
        self.exclude.is_empty() && !self.withhold_owner && !self.withhold_mode
    }
}

#[derive(Serialize, Deserialize)]
struct StoredClient {
    name: String,
    version: String,
    hostname: String,
    os: String,
}

#[derive(Serialize, Deserialize)]
struct StoredReport {
    realtime_ready: bool,
    unwatched_directories: u64,
    root: StoredRoot,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredRoot {
    Available,
    Unavailable,
    Doubtful,
}

#[derive(Serialize, Deserialize)]
struct StoredEnd {
    state: StoredState,
    at_ns: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredState {
    Ended,
    Expired,
    Superseded,
    Evicted,
    Reset,
}

impl SessionRecord {
    /// The form that is stored.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Self { session, client, root_uri, told, report, reported, ended } = self;
        let stored = Stored {
            v: VERSION,
            id: session.id.uuid(),
            view: session.view.as_str().to_owned(),
            principal: session.principal.as_str().to_owned(),
            agent: session.agent.as_str().to_owned(),
            instance: session.instance.uuid(),
            spool: session.spool.uuid(),
            host: session.host.clone(),
            epoch: session.epoch.0,
            timeout_ms: u64::try_from(session.timeout.as_millis()).unwrap_or(u64::MAX),
            created_at_ns: session.created_at.as_nanos(),
            standing: session.standing,
            client: client_out(client),
            root_uri: root_uri.clone(),
            told: StoredTold {
                exclude: told.exclude.clone(),
                withhold_owner: told.withheld.owner,
                withhold_mode: told.withheld.mode,
            },
            report: StoredReport {
                realtime_ready: report.realtime_ready,
                unwatched_directories: report.unwatched_directories,
                root: root_out(report.root),
            },
            reported: reported.map(|revision| revision.0),
            ended: ended.and_then(|(state, at)| {
                Some(StoredEnd { state: state_out(state)?, at_ns: at.as_nanos() })
            }),
        };
        // Of such a value `serde_json` refuses nothing: it has no map and no key that is no string.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// Reads what was stored, by this version or an earlier one.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        check_version(bytes, VERSION)?;
        let stored: Stored = serde_json::from_slice(bytes)?;
        Ok(Self {
            session: SavedSession {
                id: SessionId::new(stored.id),
                view: ViewName::new(&stored.view)?,
                principal: Principal::new(&stored.principal),
                agent: AgentId::new(&stored.agent)?,
                instance: InstanceId::new(stored.instance),
                spool: SpoolId::new(stored.spool),
                host: stored.host,
                epoch: LeaderEpoch(stored.epoch),
                timeout: Duration::from_millis(stored.timeout_ms),
                created_at: ServerTime::from_nanos(stored.created_at_ns),
                standing: stored.standing,
            },
            client: client_in(stored.client),
            root_uri: stored.root_uri,
            told: Told {
                exclude: stored.told.exclude,
                withheld: Withheld {
                    owner: stored.told.withhold_owner,
                    mode: stored.told.withhold_mode,
                },
            },
            report: AgentReport {
                // What it has delivered since is not known: only its next heartbeat tells.
                delivered_through: None,
                realtime_ready: stored.report.realtime_ready,
                unwatched_directories: stored.report.unwatched_directories,
                root: root_in(&stored.report.root),
            },
            reported: stored.reported.map(Revision),
            ended: stored
                .ended
                .map(|end| (state_in(&end.state), ServerTime::from_nanos(end.at_ns))),
        })
    }
}

fn client_out(client: &ClientInfo) -> StoredClient {
    let ClientInfo { name, version, hostname, os } = client.clone();
    StoredClient { name, version, hostname, os }
}

fn client_in(client: StoredClient) -> ClientInfo {
    let StoredClient { name, version, hostname, os } = client;
    ClientInfo { name, version, hostname, os }
}

fn root_out(root: RootState) -> StoredRoot {
    match root {
        RootState::Available => StoredRoot::Available,
        RootState::Unavailable => StoredRoot::Unavailable,
        RootState::Doubtful => StoredRoot::Doubtful,
    }
}

fn root_in(root: &StoredRoot) -> RootState {
    match root {
        StoredRoot::Available => RootState::Available,
        StoredRoot::Unavailable => RootState::Unavailable,
        StoredRoot::Doubtful => RootState::Doubtful,
    }
}

fn state_out(state: SessionState) -> Option<StoredState> {
    match state {
        SessionState::Active => None,
        SessionState::Ended => Some(StoredState::Ended),
        SessionState::Expired => Some(StoredState::Expired),
        SessionState::Superseded => Some(StoredState::Superseded),
        SessionState::Evicted => Some(StoredState::Evicted),
        SessionState::Reset => Some(StoredState::Reset),
    }
}

fn state_in(state: &StoredState) -> SessionState {
    match state {
        StoredState::Ended => SessionState::Ended,
        StoredState::Expired => SessionState::Expired,
        StoredState::Superseded => SessionState::Superseded,
        StoredState::Evicted => SessionState::Evicted,
        StoredState::Reset => SessionState::Reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first version as it was written; it must be read for ever.
    const GOLDEN_V1: &[u8] = include_bytes!("../../../tests/golden/session-v1.json");

    fn record() -> SessionRecord {
        let id = Uuid::from_u128;
        SessionRecord {
            session: SavedSession {
                id: SessionId::new(id(1)),
                view: ViewName::new("projects").unwrap(),
                principal: Principal::anonymous(),
                agent: AgentId::new("host-a").unwrap(),
                instance: InstanceId::new(id(2)),
                spool: SpoolId::new(id(3)),
                host: "host.example".to_owned(),
                epoch: LeaderEpoch(7),
                timeout: Duration::from_secs(30),
                created_at: ServerTime::from_nanos(1_700_000_000_000_000_001),
                standing: 12,
            },
            client: ClientInfo {
                name: "agent-client".to_owned(),
                version: "0.1.0".to_owned(),
                hostname: "host.example".to_owned(),
                os: "linux".to_owned(),
            },
            root_uri: "file://host.example/srv".to_owned(),
            told: Told::default(),
            report: AgentReport {
                delivered_through: None,
                realtime_ready: true,
                unwatched_directories: 3,
                root: RootState::Doubtful,
            },
            reported: None,
            ended: Some((SessionState::Evicted, ServerTime::from_nanos(1_700_000_001_000_000_000))),
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_the_form_does_not_drift() {
        let states = [
            SessionState::Ended,
            SessionState::Expired,
            SessionState::Superseded,
            SessionState::Evicted,
            SessionState::Reset,
        ];
        for ended in states.map(|state| Some((state, ServerTime::from_nanos(-5)))) {
            let record = SessionRecord { ended, ..record() };
            assert_eq!(SessionRecord::from_bytes(&record.to_bytes()).unwrap(), record);
        }
        let live = SessionRecord { ended: None, ..record() };
        assert_eq!(SessionRecord::from_bytes(&live.to_bytes()).unwrap(), live);
        let reported = SessionRecord { reported: Some(Revision(9)), ..record() };
        assert_eq!(SessionRecord::from_bytes(&reported.to_bytes()).unwrap(), reported);
        let (owner, mode) = (true, false);
        for exclude in [vec![], vec!["*.key".to_owned()]] {
            let told = Told { exclude, withheld: Withheld { owner, mode } };
            let told = SessionRecord { told, ..record() };
            assert_eq!(SessionRecord::from_bytes(&told.to_bytes()).unwrap(), told);
        }
        assert_eq!(SessionRecord::from_bytes(GOLDEN_V1).unwrap(), record());
        let golden: serde_json::Value = serde_json::from_slice(GOLDEN_V1).unwrap();
        let written: serde_json::Value = serde_json::from_slice(&record().to_bytes()).unwrap();
        assert_eq!(written, golden);
    }

    #[test]
    fn a_record_of_the_future_or_of_nonsense_is_refused() {
        let text = String::from_utf8(record().to_bytes()).unwrap();
        let future = text.replacen("\"v\":1", "\"v\":2", 1);
        let refused = SessionRecord::from_bytes(future.as_bytes()).unwrap_err();
        assert!(matches!(refused, RecordError::FromTheFuture { found: 2, known: 1 }), "{refused}");
        for bad in [text.replacen("projects", "No View", 1), "{}".to_owned(), String::new()] {
            assert!(SessionRecord::from_bytes(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
