//! Jobs.

use fusion_core::job::{AgentResult, Job, JobOrigin, Step};
use fusion_core::path::notation;
use indicatif::HumanCount;
use serde_json::{Value, json};

use super::{Printer, rfc3339, table};
use crate::exit::Failure;

impl Printer {
    /// The head of a table of jobs; nothing in JSON.
    pub(crate) fn jobs_head(&mut self) -> Result<(), Failure> {
        self.head(&format!(
            "{:<36}  {:<15}  {:>4}  {:<19}  {:<20}  STEPS",
            "JOB", "STATE", "DONE", "CREATED (UTC)", "BY"
        ))
    }

    /// One job in a row of a table.
    pub(crate) fn job_row(&mut self, job: &Job) -> Result<(), Failure> {
        if self.is_json() {
            return self.document(&document(job));
        }
        let at = table::short_time(job.created_at.as_nanos());
        let kinds: Vec<&str> =
            job.steps.iter().take(3).map(|step| step.spec.kind.as_str()).collect();
        let more = if job.steps.len() > kinds.len() { ", …" } else { "" };
        self.text(&format!(
            "{}  {:<15}  {:>3}%  {at}  {:<20}  {}: {}{more}",
            job.id,
            job.state.as_str(),
            job.progress,
            whose(job),
            job.steps.len(),
            kinds.join(", ")
        ))
    }

    /// One job with all that is known of it.
    pub(crate) fn job(&mut self, job: &Job) -> Result<(), Failure> {
        if self.is_json() {
            return self.document(&document(job));
        }
        self.text(&format!("job          {}", job.id))?;
        self.text(&format!("state        {}, {} %", job.state.as_str(), job.progress))?;
        if !job.why.is_empty() {
            self.text(&format!("because      {}", job.why))?;
        }
        self.text(&format!("by           {}, chain {}", whose(job), job.correlation))?;
        let times = [("created", Some(job.created_at)), ("started", job.started_at)];
        for (name, time) in times.into_iter().chain([("ended", job.ended_at)]) {
            if let Some(time) = time {
                self.text(&format!("{name:<11}  {}", rfc3339(time.as_nanos())))?;
            }
        }
        job.steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&mut self, step: &Step) -> Result<(), Failure> {
        let Step { spec, state, progress, results } = step;
        let path = notation::to_text(spec.path.as_bytes());
        self.text(&format!(
            "step {}: {} of {path} in {}: {}, {progress} %",
            spec.id,
            spec.kind.as_str(),
            spec.view,
            state.as_str()
        ))?;
        results.iter().try_for_each(|result| {
            let AgentResult { agent, state, entries, errors, why, .. } = result;
            let because = if why.is_empty() { String::new() } else { format!(": {why}") };
            self.text(&format!(
                "  {agent}: {}, {} entries, {} errors{because}",
                state.as_str(),
                HumanCount(*entries),
                HumanCount(*errors)
            ))
        })
    }
}

/// Whose wish a job is.
fn whose(job: &Job) -> String {
    match job.origin {
        JobOrigin::Request => job.principal.as_str().to_owned(),
        JobOrigin::Refresh => format!("{} (refresh)", job.principal.as_str()),
        JobOrigin::Server => "the server".to_owned(),
        JobOrigin::Agent => {
            let of = job.steps.first().and_then(|step| step.results.last());
            of.map_or_else(|| "an agent".to_owned(), |of| format!("agent {}", of.agent))
        }
    }
}

pub(super) fn document(job: &Job) -> Value {
    let time = |time: fusion_core::time::ServerTime| rfc3339(time.as_nanos());
    json!({
        "job_id": job.id.to_string(),
        "state": job.state.as_str(),
        "progress": job.progress,
        "version": job.version,
        "why": job.why,
        "priority": job.priority,
        "origin": job.origin.as_str(),
        "principal": job.principal.as_str(),
        "correlation_id": job.correlation.as_str(),
        "retry_of": job.retry_of.map(|id| id.to_string()),
        "created_at": time(job.created_at),
        "started_at": job.started_at.map(time),
        "updated_at": time(job.updated_at),
        "ended_at": job.ended_at.map(time),
        "steps": job.steps.iter().map(step_document).collect::<Vec<_>>(),
    })
}

fn step_document(step: &Step) -> Value {
    let Step { spec, state, progress, results } = step;
    json!({
        "step_id": spec.id,
        "kind": spec.kind.as_str(),
        "view": spec.view.as_str(),
        "path": notation::to_text(spec.path.as_bytes()),
        "recursive": spec.recursive,
        "agent_ids": spec.agents.iter().map(|agent| agent.as_str()).collect::<Vec<_>>(),
        "depends_on": spec.depends_on,
        "state": state.as_str(),
        "progress": progress,
        "results": results.iter().map(result_document).collect::<Vec<_>>(),
    })
}

pub(super) fn result_document(result: &AgentResult) -> Value {
    let time = |time: fusion_core::time::ServerTime| rfc3339(time.as_nanos());
    json!({
        "agent_id": result.agent.as_str(),
        "state": result.state.as_str(),
        "entries": result.entries,
        "errors": result.errors,
        "started_at": time(result.started_at),
        "ended_at": result.ended_at.map(time),
        "why": result.why,
    })
}
