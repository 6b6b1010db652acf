//! What is kept of a job: JSON, so that an operator can read it where the store shows values.
//!
//! Version 1 had no `progressed_at_ns`: a job counted as silent since it changed last. Before version 3 there
//! was no `origin`: every job had been made as one. They are read, and written back in the newest form when the
//! job changes.

use fusion_core::id::{AgentId, CorrelationId, ViewName};
use fusion_core::job::{
    AgentResult, Job, JobOrigin, JobState, Step, StepKind, StepSpec, StepState,
};
use fusion_core::path::{TreePath, notation};
use fusion_core::session::Principal;
use fusion_core::time::ServerTime;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::stores::{RecordError, check_version};

/// The version that is written; every one up to it is read.
const VERSION: u32 = 3;

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    id: Uuid,
    /// Since version 3.
    origin: Option<StoredOrigin>,
    principal: String,
    correlation: String,
    retry_of: Option<Uuid>,
    priority: i32,
    state: StoredState,
    version: u64,
    created_at_ns: i64,
    started_at_ns: Option<i64>,
    updated_at_ns: i64,
    /// Since version 2.
    progressed_at_ns: Option<i64>,
    ended_at_ns: Option<i64>,
    why: String,
    progress: u8,
    steps: Vec<StoredStep>,
}

#[derive(Serialize, Deserialize)]
struct StoredStep {
    id: String,
    kind: StoredKind,
    view: String,
    path: String,
    recursive: bool,
    agents: Vec<String>,
    depends_on: Vec<String>,
    state: StoredStepState,
    progress: u8,
    results: Vec<StoredResult>,
}

#[derive(Serialize, Deserialize)]
struct StoredResult {
    agent: String,
    state: StoredStepState,
    entries: u64,
    errors: u64,
    started_at_ns: i64,
    ended_at_ns: Option<i64>,
    why: String,
}

/// A stored enum beside the core's, and the ways between them.
macro_rules! stored {
    ($stored:ident, $core:ident, $($variant:ident),* $(,)?) => {
        #[derive(Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum $stored {
            $($variant,)*
        }

        impl From<$core> for $stored {
            fn from(value: $core) -> Self {
                match value {
                    $($core::$variant => Self::$variant,)*
                }
            }
        }

        impl From<$stored> for $core {
            fn from(value: $stored) -> Self {
                match value {
                    $($stored::$variant => Self::$variant,)*
                }
            }
        }
    };
}

stored!(StoredOrigin, JobOrigin, Request, Refresh, Server, Agent);
stored!(StoredState, JobState, Pending, Running, Completed, PartialFailure, Failed, Cancelled);
stored!(StoredKind, StepKind, Scan, Snapshot, Audit, ProbeSuspects);
stored!(StoredStepState, StepState, Waiting, Running, Complete, Failed, Skipped);

/// The form that is stored.
pub(super) fn to_bytes(job: &Job) -> Vec<u8> {
    let stored = Stored {
        v: VERSION,
        id: job.id,
        origin: Some(job.origin.into()),
        principal: job.principal.as_str().to_owned(),
        correlation: job.correlation.as_str().to_owned(),
        retry_of: job.retry_of,
        priority: job.priority,
        state: job.state.into(),
        version: job.version,
        created_at_ns: job.created_at.as_nanos(),
        started_at_ns: job.started_at.map(ServerTime::as_nanos),
        updated_at_ns: job.updated_at.as_nanos(),
        progressed_at_ns: Some(job.progressed_at.as_nanos()),
        ended_at_ns: job.ended_at.map(ServerTime::as_nanos),
        why: job.why.clone(),
        progress: job.progress,
        steps: job.steps.iter().map(step_out).collect(),
    };
    // Of such a value `serde_json` refuses nothing: it has no map and no key that is no string.
    serde_json::to_vec(&stored).unwrap_or_default()
}

/// Reads what was stored, by this version or an earlier one.
pub(super) fn from_bytes(bytes: &[u8]) -> Result<Job, RecordError> {
    check_version(bytes, VERSION)?;
    let stored: Stored = serde_json::from_slice(bytes)?;
    let time = ServerTime::from_nanos;
    Ok(Job {
        id: stored.id,
        origin: stored.origin.map_or(JobOrigin::Request, JobOrigin::from),
        principal: Principal::new(&stored.principal),
        correlation: CorrelationId::new(&stored.correlation)?,
        retry_of: stored.retry_of,
        priority: stored.priority,
        state: stored.state.into(),
        version: stored.version,
        created_at: time(stored.created_at_ns),
        started_at: stored.started_at_ns.map(time),
        updated_at: time(stored.updated_at_ns),
        progressed_at: time(stored.progressed_at_ns.unwrap_or(stored.updated_at_ns)),
        ended_at: stored.ended_at_ns.map(time),
        why: stored.why,
        progress: stored.progress,
        steps: stored.steps.into_iter().map(step_in).collect::<Result<_, _>>()?,
    })
}

fn step_out(step: &Step) -> StoredStep {
    let Step { spec, state, progress, results } = step;
    StoredStep {
        id: spec.id.clone(),
        kind: spec.kind.into(),
        view: spec.view.as_str().to_owned(),
        path: notation::to_text(spec.path.as_bytes()),
        recursive: spec.recursive,
        agents: spec.agents.iter().map(|agent| agent.as_str().to_owned()).collect(),
        depends_on: spec.depends_on.clone(),
        state: (*state).into(),
        progress: *progress,
        results: results.iter().map(result_out).collect(),
    }
}

fn step_in(stored: StoredStep) -> Result<Step, RecordError> {
    let path = notation::parse(&stored.path)
        .map_err(malformed)
        .and_then(|bytes| TreePath::new(bytes).map_err(malformed))?;
    let agents = stored.agents.iter().map(|agent| AgentId::new(agent));
    let spec = StepSpec {
        id: stored.id,
        kind: stored.kind.into(),
        view: ViewName::new(&stored.view)?,
        path,
        recursive: stored.recursive,
        agents: agents.collect::<Result<_, _>>()?,
        depends_on: stored.depends_on,
    };
    let results = stored.results.into_iter().map(result_in).collect::<Result<_, _>>()?;
    Ok(Step { spec, state: stored.state.into(), progress: stored.progress, results })
}

fn result_out(result: &AgentResult) -> StoredResult {
    let AgentResult { agent, state, entries, errors, started_at, ended_at, why } = result;
    StoredResult {
        agent: agent.as_str().to_owned(),
        state: (*state).into(),
        entries: *entries,
        errors: *errors,
        started_at_ns: started_at.as_nanos(),
        ended_at_ns: ended_at.map(ServerTime::as_nanos),
        why: why.clone(),
    }
}

fn result_in(stored: StoredResult) -> Result<AgentResult, RecordError> {
    Ok(AgentResult {
        agent: AgentId::new(&stored.agent)?,
        state: stored.state.into(),
        entries: stored.entries,
        errors: stored.errors,
        started_at: ServerTime::from_nanos(stored.started_at_ns),
        ended_at: stored.ended_at_ns.map(ServerTime::from_nanos),
        why: stored.why,
    })
}

fn malformed(why: impl std::fmt::Display) -> RecordError {
    RecordError::Malformed(serde::de::Error::custom(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN_V1: &[u8] = include_bytes!("../../../tests/golden/job-v1.json");
    const GOLDEN_V2: &[u8] = include_bytes!("../../../tests/golden/job-v2.json");
    const GOLDEN_V3: &[u8] = include_bytes!("../../../tests/golden/job-v3.json");

    fn job() -> Job {
        let at = |seconds: i64| ServerTime::from_nanos(seconds * 1_000_000_000);
        let spec = StepSpec {
            id: "one".to_owned(),
            kind: StepKind::ProbeSuspects,
            view: ViewName::new("v").unwrap(),
            path: TreePath::new(*b"/a\n").unwrap(),
            recursive: true,
            agents: vec![AgentId::new("a").unwrap()],
            depends_on: vec!["two".to_owned()],
        };
        let result = AgentResult {
            agent: AgentId::new("a").unwrap(),
            state: StepState::Running,
            entries: 3,
            errors: 1,
            started_at: at(11),
            ended_at: None,
            why: String::new(),
        };
        Job {
            id: Uuid::from_u128(9),
            origin: JobOrigin::Refresh,
            principal: Principal::anonymous(),
            correlation: CorrelationId::new("c").unwrap(),
            retry_of: Some(Uuid::from_u128(8)),
            priority: 5,
            state: JobState::Running,
            version: 4,
            created_at: at(10),
            started_at: Some(at(11)),
            updated_at: at(13),
            progressed_at: at(12),
            ended_at: None,
            why: String::new(),
            progress: 40,
            steps: vec![Step {
                spec,
                state: StepState::Running,
                progress: 40,
                results: vec![result],
            }],
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_the_form_does_not_drift() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned();
        assert_eq!(text(&to_bytes(&job())), text(GOLDEN_V3));
        assert_eq!(from_bytes(GOLDEN_V3).unwrap(), job());
    }

    #[test]
    fn earlier_versions_are_read_and_written_back_as_the_newest() {
        let of_v2 = Job { origin: JobOrigin::Request, ..job() };
        let of_v1 = Job { progressed_at: job().updated_at, ..of_v2.clone() };
        for (golden, migrated) in [(GOLDEN_V1, of_v1), (GOLDEN_V2, of_v2)] {
            let read = from_bytes(golden).unwrap();
            assert_eq!(read, migrated);
            assert_eq!(from_bytes(&to_bytes(&read)).unwrap(), migrated);
            assert!(to_bytes(&read).starts_with(b"{\"v\":3,"));
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for bad in [&b"{\"v\":4}"[..], b"{\"v\":3}", b""] {
            assert!(from_bytes(bad).is_err());
        }
    }
}
