//! `jobs` and `audit`: long work, made, followed and called off.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use fusion_core::id::AgentId;
use fusion_core::job::{Job, JobOrigin, JobState, Plan, StepKind, StepSpec};
use fusion_proto::client::{CallError, Client};
use fusion_proto::convert::job::{CancelJob, CreateJob, ListJobs, job_id};
use fusion_proto::convert::view::Page;
use fusion_proto::views::live::may_go_on;
use uuid::Uuid;

use super::once::once;
use super::pages::pages;
use super::{Target, connect_all, explain};
use crate::cli::{How, JobKind, JobOriginArg, JobStateArg, JobsCommand, ViewArg};
use crate::exit::Failure;
use crate::output::Printer;
use crate::profile::Profile;

pub(super) async fn run(
    server: &Profile,
    command: JobsCommand,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut jobs = Jobs { client: connect_all(server)?, server };
    match command {
        JobsCommand::List { all, origin, state, limit } => {
            let asked = ListJobs {
                page: Page { size: limit.min(10_000) as usize, token: String::new() },
                state: state.map(state_of),
                correlation: None,
                origin: origin.map(origin_of),
                // An hourly audit of each of many views would be most of the list.
                hide_routine: !all && origin.is_none(),
            };
            jobs.list(asked, limit, printer).await?;
        }
        JobsCommand::Show { id } => {
            let job = jobs.client.jobs.get(parse_id(&id)?).await.map_err(jobs.failed())?;
            printer.job(&job)?;
        }
        JobsCommand::Watch { id } => return jobs.follow(parse_id(&id)?, printer).await,
        JobsCommand::Cancel { id, if_version } => {
            let asked = CancelJob { job: parse_id(&id)?, expected_version: if_version };
            let job = once(async || jobs.client.jobs.cancel(&asked).await).await;
            let job = job.map_err(jobs.failed())?;
            printer.job(&job)?;
        }
        JobsCommand::Retry { id, how } => {
            let (id, key) = (parse_id(&id)?, Uuid::new_v4());
            let made = once(async || jobs.client.jobs.retry(id, key).await).await;
            let job = made.map_err(jobs.failed())?;
            return jobs.made(&job, how, printer).await;
        }
        JobsCommand::Run { kind, path, recursive, agents, priority, how, view } => {
            let target = Target::resolve(server, &path, &view).await?;
            let agents = agents.iter().map(|agent| {
                AgentId::new(agent).map_err(|error| Failure::usage(format!("--agent: {error}")))
            });
            let step = StepSpec {
                id: "only".to_owned(),
                kind: kind_of(kind),
                view: target.view,
                path: target.path,
                recursive,
                agents: agents.collect::<Result<_, _>>()?,
                depends_on: Vec::new(),
            };
            return jobs.make(step, priority, how, printer).await;
        }
    }
    printer.flush()
}

/// `audit`: an audit of a view, now.
pub(super) async fn audit(
    server: &Profile,
    view: &ViewArg,
    how: How,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let target = Target::resolve(server, "/", view).await?;
    let mut jobs = Jobs { client: connect_all(server)?, server };
    let step = StepSpec {
        id: "audit".to_owned(),
        kind: StepKind::Audit,
        view: target.view,
        path: target.path,
        recursive: true,
        agents: Vec::new(),
        depends_on: Vec::new(),
    };
    jobs.make(step, 0, how, printer).await
}

/// The jobs of a server.
struct Jobs<'a> {
    client: Client,
    server: &'a Profile,
}

impl Jobs<'_> {
    fn failed(&self) -> impl Fn(CallError) -> Failure {
        let server = self.server.server.clone();
        move |error| explain(&error, &server)
    }

    async fn list(
        &mut self,
        mut asked: ListJobs,
        limit: u32,
        printer: &mut Printer,
    ) -> Result<(), Failure> {
        let mut left = limit as usize;
        printer.jobs_head()?;
        let listed = pages(async |token| {
            asked.page.token = token;
            let (jobs, next) = self.client.jobs.list(&asked).await.map_err(self.failed())?;
            jobs.iter().take(left).try_for_each(|job| printer.job_row(job))?;
            left = left.saturating_sub(jobs.len());
            Ok(if left == 0 { String::new() } else { next })
        });
        listed.await
    }

    async fn make(
        &mut self,
        step: StepSpec,
        priority: i32,
        how: How,
        printer: &mut Printer,
    ) -> Result<(), Failure> {
        let plan = Plan::new(vec![step]).map_err(|error| Failure::usage(error.to_string()))?;
        let asked = CreateJob { plan, priority };
        let key = Uuid::new_v4();
        let made = once(async || self.client.jobs.create(&asked, key).await).await;
        let job = made.map_err(self.failed())?;
        self.made(&job, how, printer).await
    }

    async fn made(&mut self, job: &Job, how: How, printer: &mut Printer) -> Result<(), Failure> {
        if how.detach {
            printer.job(job)?;
            return printer.flush();
        }
        self.follow(job.id, printer).await
    }

    /// Follows a job to its end, over restarts of the server, and prints it.
    async fn follow(&mut self, id: Uuid, printer: &mut Printer) -> Result<(), Failure> {
        let mut progress = Progress(std::io::stderr().is_terminal());
        let mut followed = self.client.jobs.watch(id).await.map_err(self.failed())?;
        let job = loop {
            match followed.next().await {
                Ok(Some(job)) if job.state.is_end() => break job,
                Ok(Some(job)) => progress.show(&job),
                Ok(None) => followed = self.again(id, Duration::from_secs(1)).await?,
                Err(error) => {
                    let pause = may_go_on(&error).ok_or_else(|| (self.failed())(error))?;
                    followed = self.again(id, pause).await?;
                }
            }
        };
        progress.clear();
        printer.job(&job)?;
        printer.flush()?;
        match job.state {
            JobState::Completed => Ok(()),
            _ => Err(Failure::refused(format!("the job is not complete: {}", job.why))),
        }
    }

    async fn again(
        &mut self,
        id: Uuid,
        mut pause: Duration,
    ) -> Result<fusion_proto::client::FollowedJob, Failure> {
        loop {
            tokio::time::sleep(pause).await;
            match self.client.jobs.watch(id).await {
                Ok(followed) => return Ok(followed),
                Err(error) => pause = may_go_on(&error).ok_or_else(|| (self.failed())(error))?,
            }
        }
    }
}

/// A line on a terminal that says how far a job is.
struct Progress(bool);

impl Progress {
    fn show(&mut self, job: &Job) {
        if !self.0 {
            return;
        }
        let bar: String = (0..20).map(|at| if at * 5 < job.progress { '█' } else { '░' }).collect();
        let at_work: Vec<String> = job
            .at_work()
            .map(|(step, agent)| {
                let step = &job.steps[step];
                format!("{}: {} % by {agent}", step.spec.id, step.progress)
            })
            .collect();
        let what =
            if at_work.is_empty() { "waits for an agent".to_owned() } else { at_work.join(", ") };
        let mut out = std::io::stderr();
        // That nobody can be told how far it is changes nothing.
        let _ = write!(out, "\r\x1b[2K{bar} {:>3} %  {what}", job.progress);
        let _ = out.flush();
    }

    fn clear(&mut self) {
        if self.0 {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

fn parse_id(text: &str) -> Result<Uuid, Failure> {
    job_id(text).map_err(|_| {
        Failure::usage(format!("job `{text}`: an id is a UUID; `fusionctl jobs list` shows them"))
    })
}

fn origin_of(origin: JobOriginArg) -> JobOrigin {
    match origin {
        JobOriginArg::Request => JobOrigin::Request,
        JobOriginArg::Refresh => JobOrigin::Refresh,
        JobOriginArg::Server => JobOrigin::Server,
        JobOriginArg::Agent => JobOrigin::Agent,
    }
}

fn kind_of(kind: JobKind) -> StepKind {
    match kind {
        JobKind::Scan => StepKind::Scan,
        JobKind::Snapshot => StepKind::Snapshot,
        JobKind::Audit => StepKind::Audit,
        JobKind::ProbeSuspects => StepKind::ProbeSuspects,
    }
}

fn state_of(state: JobStateArg) -> JobState {
    match state {
        JobStateArg::Pending => JobState::Pending,
        JobStateArg::Running => JobState::Running,
        JobStateArg::Completed => JobState::Completed,
        JobStateArg::PartialFailure => JobState::PartialFailure,
        JobStateArg::Failed => JobState::Failed,
        JobStateArg::Cancelled => JobState::Cancelled,
    }
}
