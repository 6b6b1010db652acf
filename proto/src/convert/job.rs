//! Jobs, both ways: what is asked for, and what is told. The core's types are the plain ones.

use fusion_core::id::{AgentId, CorrelationId, ViewName};
use fusion_core::job::{
    AgentResult, Job, JobOrigin, JobState, Plan, Step, StepKind, StepSpec, StepState,
};
use fusion_core::path::TreePath;
use fusion_core::session::Principal;
use uuid::Uuid;

use super::stat::{path_from_text, path_to_text};
use super::time::{needed_time_in, server_time_to_pb, time_in};
use super::view::{Page, page};
use super::{ConvertError, InField as _, event};
use crate::pb;

/// What `CreateJob` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateJob {
    /// What to do.
    pub plan: Plan,
    /// Of jobs that wait those with the larger number go first.
    pub priority: i32,
}

/// What `CancelJob` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CancelJob {
    /// The job.
    pub job: Uuid,
    /// The version that it must have; `None`: any.
    pub expected_version: Option<u64>,
}

/// What `ListJobs` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListJobs {
    /// Which page.
    pub page: Page,
    /// Only those in this state.
    pub state: Option<JobState>,
    /// Only those of this chain.
    pub correlation: Option<CorrelationId>,
    /// Only those of this origin.
    pub origin: Option<JobOrigin>,
    /// Not what nobody made as a job and is complete.
    pub hide_routine: bool,
}

/// The id of a job in a request.
///
/// # Errors
/// It is no UUID.
pub fn job_id(text: &str) -> Result<Uuid, ConvertError> {
    match Uuid::try_parse(text) {
        Ok(id) if text.len() == 36 => Ok(id),
        _ => Err(ConvertError::invalid("job_id", "must be a hyphenated UUID")),
    }
}

impl TryFrom<pb::CreateJobRequest> for CreateJob {
    type Error = ConvertError;

    fn try_from(request: pb::CreateJobRequest) -> Result<Self, ConvertError> {
        let pb::CreateJobRequest { steps, priority } = request;
        let steps = steps.into_iter().enumerate().map(|(at, step)| {
            spec_from_pb(step).map_err(|error| error.within(format_args!("steps[{at}]")))
        });
        let plan = Plan::new(steps.collect::<Result<_, _>>()?)
            .map_err(|error| ConvertError::invalid("steps", error.to_string()))?;
        Ok(Self { plan, priority })
    }
}

impl From<&CreateJob> for pb::CreateJobRequest {
    fn from(asked: &CreateJob) -> Self {
        let CreateJob { plan, priority } = asked;
        Self { steps: plan.steps().iter().map(spec_to_pb).collect(), priority: *priority }
    }
}

impl TryFrom<pb::CancelJobRequest> for CancelJob {
    type Error = ConvertError;

    fn try_from(request: pb::CancelJobRequest) -> Result<Self, ConvertError> {
        let pb::CancelJobRequest { job_id: job, expected_version } = request;
        let expected_version = (expected_version != 0).then_some(expected_version);
        Ok(Self { job: job_id(&job)?, expected_version })
    }
}

impl From<&CancelJob> for pb::CancelJobRequest {
    fn from(asked: &CancelJob) -> Self {
        let CancelJob { job, expected_version } = *asked;
        Self { job_id: job.to_string(), expected_version: expected_version.unwrap_or(0) }
    }
}

impl TryFrom<pb::ListJobsRequest> for ListJobs {
    type Error = ConvertError;

    fn try_from(request: pb::ListJobsRequest) -> Result<Self, ConvertError> {
        let pb::ListJobsRequest {
            page_size,
            page_token,
            state,
            correlation_id,
            origin,
            hide_routine,
        } = request;
        let origin = (origin != 0).then(|| origin_from_pb(origin)).transpose()?;
        let state = (state != 0).then(|| job_state_from_pb(state)).transpose()?;
        let correlation = event::chain("correlation_id", &correlation_id)?;
        let page = page(page_size, &page_token)?;
        Ok(Self { page, state, correlation, origin, hide_routine })
    }
}

impl From<&ListJobs> for pb::ListJobsRequest {
    fn from(asked: &ListJobs) -> Self {
        let ListJobs { page, state, correlation, origin, hide_routine } = asked;
        Self {
            page_size: i32::try_from(page.size).unwrap_or(i32::MAX),
            page_token: page.token.clone(),
            state: state.map_or(0, |state| job_state_to_pb(state).into()),
            correlation_id: correlation.as_ref().map(ToString::to_string).unwrap_or_default(),
            origin: origin.map_or(0, |origin| origin_to_pb(origin).into()),
            hide_routine: *hide_routine,
        }
    }
}

/// A job as it is told.
#[must_use]
pub fn job_to_pb(job: &Job) -> pb::Job {
    pb::Job {
        job_id: job.id.to_string(),
        principal: job.principal.as_str().to_owned(),
        correlation_id: job.correlation.as_str().to_owned(),
        retry_of: job.retry_of.map(|id| id.to_string()).unwrap_or_default(),
        priority: job.priority,
        state: job_state_to_pb(job.state).into(),
        version: job.version,
        progress: job.progress.into(),
        created_at: Some(server_time_to_pb(job.created_at)),
        started_at: job.started_at.map(server_time_to_pb),
        updated_at: Some(server_time_to_pb(job.updated_at)),
        ended_at: job.ended_at.map(server_time_to_pb),
        why: job.why.clone(),
        steps: job.steps.iter().map(step_to_pb).collect(),
        origin: origin_to_pb(job.origin).into(),
    }
}

/// A job as it was told. When it last came further is not told: it counts from its last change.
///
/// # Errors
/// A field that breaks the contract.
pub fn job_from_pb(job: pb::Job) -> Result<Job, ConvertError> {
    let updated_at = needed_time_in("updated_at", job.updated_at.as_ref())?;
    let retry_of = (!job.retry_of.is_empty()).then(|| job_id(&job.retry_of)).transpose();
    let steps = job.steps.into_iter().enumerate().map(|(at, step)| {
        step_from_pb(step).map_err(|error| error.within(format_args!("steps[{at}]")))
    });
    Ok(Job {
        id: job_id(&job.job_id)?,
        origin: match job.origin {
            // Of a server of before there were others.
            0 => JobOrigin::Request,
            origin => origin_from_pb(origin)?,
        },
        principal: Principal::new(&job.principal),
        correlation: CorrelationId::new(&job.correlation_id).in_field("correlation_id")?,
        retry_of: retry_of.map_err(|_| ConvertError::invalid("retry_of", "must be a UUID"))?,
        priority: job.priority,
        state: job_state_from_pb(job.state)?,
        version: job.version,
        created_at: needed_time_in("created_at", job.created_at.as_ref())?,
        started_at: time_in("started_at", job.started_at.as_ref())?,
        updated_at,
        progressed_at: updated_at,
        ended_at: time_in("ended_at", job.ended_at.as_ref())?,
        why: job.why,
        progress: percent(job.progress)?,
        steps: steps.collect::<Result<_, _>>()?,
    })
}

fn percent(number: u32) -> Result<u8, ConvertError> {
    u8::try_from(number)
        .ok()
        .filter(|number| *number <= 100)
        .ok_or_else(|| ConvertError::invalid("progress", "must be 0 to 100"))
}

fn spec_to_pb(spec: &StepSpec) -> pb::JobStepSpec {
    let StepSpec { id, kind, view, path, recursive, agents, depends_on } = spec;
    pb::JobStepSpec {
        step_id: id.clone(),
        kind: kind_to_pb(*kind).into(),
        view: view.to_string(),
        path: path_to_text(path.as_ref()),
        recursive: *recursive,
        agent_ids: agents.iter().map(AgentId::to_string).collect(),
        depends_on: depends_on.clone(),
    }
}

fn spec_from_pb(spec: pb::JobStepSpec) -> Result<StepSpec, ConvertError> {
    let pb::JobStepSpec { step_id: id, kind, view, path, recursive, agent_ids, depends_on } = spec;
    let path = if path.is_empty() { TreePath::root() } else { path_from_text("path", &path)? };
    let agents = agent_ids.iter().map(|agent| AgentId::new(agent)).collect::<Result<_, _>>();
    Ok(StepSpec {
        id,
        kind: kind_from_pb(kind)?,
        view: ViewName::new(&view).in_field("view")?,
        path,
        recursive,
        agents: agents.in_field("agent_ids")?,
        depends_on,
    })
}

fn step_to_pb(step: &Step) -> pb::JobStep {
    let Step { spec, state, progress, results } = step;
    pb::JobStep {
        spec: Some(spec_to_pb(spec)),
        state: step_state_to_pb(*state).into(),
        progress: (*progress).into(),
        results: results.iter().map(result_to_pb).collect(),
    }
}

fn step_from_pb(step: pb::JobStep) -> Result<Step, ConvertError> {
    let pb::JobStep { spec, state, progress, results } = step;
    Ok(Step {
        spec: spec_from_pb(spec.ok_or_else(|| ConvertError::missing("spec"))?)?,
        state: step_state_from_pb(state)?,
        progress: percent(progress)?,
        results: results.into_iter().map(result_from_pb).collect::<Result<_, _>>()?,
    })
}

fn result_to_pb(result: &AgentResult) -> pb::JobAgentResult {
    let AgentResult { agent, state, entries, errors, started_at, ended_at, why } = result;
    pb::JobAgentResult {
        agent_id: agent.to_string(),
        state: step_state_to_pb(*state).into(),
        entries: *entries,
        errors: *errors,
        started_at: Some(server_time_to_pb(*started_at)),
        ended_at: ended_at.map(server_time_to_pb),
        why: why.clone(),
    }
}

fn result_from_pb(result: pb::JobAgentResult) -> Result<AgentResult, ConvertError> {
    let pb::JobAgentResult { agent_id, state, entries, errors, started_at, ended_at, why } = result;
    Ok(AgentResult {
        agent: AgentId::new(&agent_id).in_field("agent_id")?,
        state: step_state_from_pb(state)?,
        entries,
        errors,
        started_at: needed_time_in("started_at", started_at.as_ref())?,
        ended_at: time_in("ended_at", ended_at.as_ref())?,
        why,
    })
}

/// Pairs of what the core and what the wire calls the same thing, both ways.
macro_rules! same {
    ($to:ident, $from:ident, $core:ident, $field:literal, $($variant:ident),* $(,)?) => {
        #[doc = concat!("A ", stringify!($core), " on the wire.")]
        #[must_use]
        pub const fn $to(value: $core) -> pb::$core {
            match value {
                $($core::$variant => pb::$core::$variant,)*
            }
        }

        #[doc = concat!("A ", stringify!($core), " from the wire.")]
        ///
        /// # Errors
        /// It is not set, or not known.
        pub fn $from(number: i32) -> Result<$core, ConvertError> {
            match pb::$core::try_from(number) {
                $(Ok(pb::$core::$variant) => Ok($core::$variant),)*
                Ok(pb::$core::Unspecified) | Err(_) => {
                    Err(ConvertError::invalid($field, "is not set, or not one that is known"))
                }
            }
        }
    };
}

same!(origin_to_pb, origin_from_pb, JobOrigin, "origin", Request, Refresh, Server, Agent);
same!(kind_to_pb, kind_from_pb, StepKind, "kind", Scan, Snapshot, Audit, ProbeSuspects);
same!(
    job_state_to_pb,
    job_state_from_pb,
    JobState,
    "state",
    Pending,
    Running,
    Completed,
    PartialFailure,
    Failed,
    Cancelled,
);
same!(
    step_state_to_pb,
    step_state_from_pb,
    StepState,
    "state",
    Waiting,
    Running,
    Complete,
    Failed,
    Skipped,
);

#[cfg(test)]
mod tests {
    use fusion_core::time::ServerTime;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::convert::arbitrary as any_of;

    prop_compose! {
        fn result()(
            state in prop::sample::select(&[StepState::Running, StepState::Complete]),
            times: [u32; 2],
            numbers: [u64; 2],
            why in ".{0,10}",
        ) -> AgentResult {
            let at = |seconds: u32| ServerTime::from_nanos(i64::from(seconds) * 1_000_000_007);
            AgentResult {
                agent: AgentId::new("a").unwrap(),
                state,
                entries: numbers[0],
                errors: numbers[1],
                started_at: at(times[0]),
                ended_at: (state == StepState::Complete).then(|| at(times[1])),
                why,
            }
        }
    }

    prop_compose! {
        fn job()(
            path in any_of::path(),
            view in any_of::view_name(),
            results in proptest::collection::vec(result(), 0..3),
            state in prop::sample::select(&JobState::ALL),
            kinds: bool,
            progress in 0..=100_u8,
            origin in prop::sample::select(&JobOrigin::ALL),
            version: u64,
            retried: Option<u128>,
        ) -> Job {
            let now = ServerTime::from_nanos(1_700_000_000_123_456_789);
            let scan = StepSpec {
                id: "one".to_owned(),
                kind: if kinds { StepKind::Scan } else { StepKind::ProbeSuspects },
                view: view.clone(),
                path,
                recursive: kinds,
                agents: vec![AgentId::new("a").unwrap()],
                depends_on: Vec::new(),
            };
            let audit = StepSpec {
                id: "two".to_owned(),
                kind: StepKind::Audit,
                view,
                path: TreePath::root(),
                recursive: true,
                agents: Vec::new(),
                depends_on: vec!["one".to_owned()],
            };
            let step = |spec| Step { spec, state: StepState::Waiting, progress, results: results.clone() };
            Job {
                id: Uuid::from_u128(7),
                origin,
                principal: Principal::anonymous(),
                correlation: CorrelationId::new("c").unwrap(),
                retry_of: retried.map(Uuid::from_u128),
                priority: -3,
                state,
                version,
                created_at: now,
                started_at: kinds.then_some(now),
                updated_at: now,
                progressed_at: now,
                ended_at: state.is_end().then_some(now),
                why: "x".to_owned(),
                progress,
                steps: vec![step(scan), step(audit)],
            }
        }
    }

    proptest! {
        #[test]
        fn jobs_survive(job in job(), bytes: Vec<u8>, version in 1..u64::MAX) {
            prop_assert_eq!(job_from_pb(job_to_pb(&job)), Ok(job.clone()));
            let specs = job.steps.iter().map(|step| step.spec.clone()).collect();
            let asked = CreateJob { plan: Plan::new(specs).unwrap(), priority: job.priority };
            prop_assert_eq!(CreateJob::try_from(pb::CreateJobRequest::from(&asked)), Ok(asked));
            let asked = CancelJob { job: job.id, expected_version: Some(version) };
            prop_assert_eq!(CancelJob::try_from(pb::CancelJobRequest::from(&asked)), Ok(asked));
            let page = Page { size: 7, token: "ab".to_owned() };
            let asked = ListJobs {
                page,
                state: Some(job.state),
                correlation: Some(job.correlation.clone()),
                origin: Some(job.origin),
                hide_routine: version % 2 == 0,
            };
            prop_assert_eq!(ListJobs::try_from(pb::ListJobsRequest::from(&asked)), Ok(asked));
            let _ = pb::Job::decode(&*bytes).map(job_from_pb);
            let _ = pb::CreateJobRequest::decode(&*bytes).map(CreateJob::try_from);
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        let step = |change: fn(&mut pb::JobStepSpec)| {
            let mut step = pb::JobStepSpec {
                step_id: "a".to_owned(),
                kind: pb::StepKind::Scan.into(),
                view: "v".to_owned(),
                ..Default::default()
            };
            change(&mut step);
            CreateJob::try_from(pb::CreateJobRequest { steps: vec![step], priority: 0 })
        };
        assert!(step(|_| {}).is_ok());
        let field = |asked: Result<CreateJob, ConvertError>| asked.unwrap_err().field.to_string();
        assert_eq!(field(step(|step| step.kind = 0)), "steps[0].kind");
        assert_eq!(field(step(|step| step.kind = 99)), "steps[0].kind");
        assert_eq!(field(step(|step| step.view.clear())), "steps[0].view");
        assert_eq!(field(step(|step| "x".clone_into(&mut step.path))), "steps[0].path");
        assert_eq!(field(step(|step| step.agent_ids.push(String::new()))), "steps[0].agent_ids");
        assert_eq!(field(step(|step| step.depends_on.push("b".to_owned()))), "steps");
        assert_eq!(job_id("7").unwrap_err().field, "job_id");
    }
}
