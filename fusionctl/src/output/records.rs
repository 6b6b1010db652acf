//! Who did what: audit records, and the links of a chain of cause and effect.

use fusion_core::job::{AgentResult, Job, StepSpec};
use fusion_core::path::notation;
use fusion_core::time::ServerTime;
use fusion_proto::convert::audit::{AuditRecord, ValueChange};
use fusion_proto::views::live::Event;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Printer, jobs, live, rfc3339};
use crate::exit::Failure;

/// What belongs to a chain.
pub(crate) enum Link {
    /// Somebody asked for something.
    Asked(AuditRecord),
    /// A job was made.
    Made(Box<Job>),
    /// An agent was given a step of a job.
    Looked {
        /// The job.
        job: Uuid,
        /// The step.
        spec: StepSpec,
        /// What came of it.
        result: AgentResult,
    },
    /// A view changed.
    Changed(Event),
}

impl Link {
    /// A job, and what agents did for it.
    pub(crate) fn of_job(job: Job) -> Vec<Self> {
        let looked = job.steps.iter().flat_map(|step| {
            let spec = &step.spec;
            step.results.iter().map(|result| Self::Looked {
                job: job.id,
                spec: spec.clone(),
                result: result.clone(),
            })
        });
        let mut links: Vec<Self> = looked.collect();
        links.push(Self::Made(Box::new(job)));
        links
    }

    /// Its place in the order of what happened; of what has the same time, the cause is first.
    pub(crate) fn place(&self) -> (ServerTime, u8, u64) {
        match self {
            Self::Asked(record) => (record.asked_at, 0, 0),
            Self::Made(job) => (job.created_at, 1, 0),
            Self::Looked { result, .. } => (result.started_at, 2, 0),
            Self::Changed(event) => (event.time, 3, event.revision.0),
        }
    }
}

impl Printer {
    /// The head of a table of records; nothing in JSON.
    pub(crate) fn records_head(&mut self) -> Result<(), Failure> {
        self.head(&format!(
            "{:<23}  {:<12}  {:<20}  {:<16}  ABOUT",
            "TIME (UTC)", "PRINCIPAL", "METHOD", "OUTCOME"
        ))
    }

    /// One record on a line.
    pub(crate) fn record(&mut self, record: &AuditRecord) -> Result<(), Failure> {
        if self.is_json() {
            return self.document(&record_document(record));
        }
        let outcome = if record.reason.is_empty() { &record.code } else { &record.reason };
        self.text(&format!(
            "{}  {:<12}  {:<20}  {outcome:<16}  {}",
            millis(record.time),
            record.principal.as_str(),
            method(record),
            about(record)
        ))
    }

    /// One link of a chain on a line.
    pub(crate) fn link(&mut self, link: &Link) -> Result<(), Failure> {
        if self.is_json() {
            return self.document(&link_document(link));
        }
        let (at, ..) = link.place();
        self.text(&format!("{}  {}", millis(at), told(link)))
    }
}

fn told(link: &Link) -> String {
    match link {
        Link::Asked(record) => {
            let outcome = if record.is_done() {
                String::from("done")
            } else {
                [&*record.code, &*record.reason].join(" ").trim_end().to_owned()
            };
            let changes: Vec<String> = record.changes.iter().map(change).collect();
            let changes = if changes.is_empty() { String::new() } else { changes.join(", ") };
            let (who, what) = (record.principal.as_str(), method(record));
            let text = format!("asked    {who}: {what} of {}: {outcome}", about(record));
            if changes.is_empty() { text } else { format!("{text} ({changes})") }
        }
        Link::Made(job) => {
            let kinds: Vec<&str> =
                job.steps.iter().take(3).map(|step| step.spec.kind.as_str()).collect();
            let more = if job.steps.len() > kinds.len() { ", …" } else { "" };
            let (kinds, state) = (kinds.join(", "), job.state.as_str());
            format!("job      {}: {kinds}{more}: {state}, {} %", job.id, job.progress)
        }
        Link::Looked { job, spec, result } => {
            let path = notation::to_text(spec.path.as_bytes());
            let AgentResult { agent, state, entries, errors, .. } = result;
            let (kind, state) = (spec.kind.as_str(), state.as_str());
            format!(
                "looked   agent {agent}: {kind} of {}:{path} for job {job}: {state}, {entries} entries, \
                 {errors} errors",
                spec.view
            )
        }
        Link::Changed(event) => changed(event),
    }
}

fn changed(event: &Event) -> String {
    let account = &event.account;
    let by = match (&account.agent, &account.principal) {
        (Some(agent), _) => format!(", seen by agent {agent}"),
        (None, Some(principal)) => format!(", by {principal}"),
        (None, None) => String::new(),
    };
    let because = match (&account.causation, &account.correlation) {
        (Some(command), Some(chain)) => format!(", for command {command} of chain {chain}"),
        (None, Some(chain)) => format!(", of chain {chain}"),
        _ => String::new(),
    };
    format!(
        "changed  {} {}:{}: revision {}, {}{by}{because}",
        event.event_type.as_str(),
        event.view,
        event.path,
        event.revision.0,
        event.cause.as_str()
    )
}

fn change(change: &ValueChange) -> String {
    let ValueChange { name, before, after } = change;
    match (before.is_empty(), after.is_empty()) {
        (false, false) => format!("{name} {before} to {after}"),
        (true, _) => format!("{name} {after}"),
        (false, true) => format!("{name} was {before}"),
    }
}

/// `EvictSession` of `fusion.v1.AdminService/EvictSession`.
fn method(record: &AuditRecord) -> &str {
    record.method.rsplit_once('/').map_or(&record.method, |(_, last)| last)
}

/// `view:/path id`.
fn about(record: &AuditRecord) -> String {
    let target = &record.target;
    let place = match (target.view.is_empty(), target.path.is_empty()) {
        (_, true) => target.view.clone(),
        (_, false) => format!("{}:{}", target.view, target.path),
    };
    let parts: Vec<&str> =
        [place.as_str(), target.id.as_str()].into_iter().filter(|it| !it.is_empty()).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(" ") }
}

/// A time to the millisecond.
fn millis(time: ServerTime) -> String {
    let full = rfc3339(time.as_nanos());
    full.get(..23).unwrap_or(&full).replace('T', " ")
}

fn record_document(record: &AuditRecord) -> Value {
    let change = |change: &ValueChange| json!({ "name": change.name, "before": change.before, "after": change.after });
    json!({
        "event_id": record.id.to_string(),
        "event_type": "CALL_RECORDED",
        "time": rfc3339(record.time.as_nanos()),
        "asked_at": rfc3339(record.asked_at.as_nanos()),
        "principal": record.principal.as_str(),
        "method": record.method,
        "view": record.target.view,
        "path": record.target.path,
        "id": record.target.id,
        "version": record.version,
        "correlation_id": record.correlation.as_ref().map(ToString::to_string),
        "key_digest": record.key_digest,
        "resumed": record.resumed,
        "code": record.code,
        "reason": record.reason,
        "changes": record.changes.iter().map(change).collect::<Vec<_>>(),
    })
}

fn link_document(link: &Link) -> Value {
    let (kind, mut document) = match link {
        Link::Asked(record) => ("asked", record_document(record)),
        Link::Made(job) => ("job", jobs::document(job)),
        Link::Looked { job, spec, result } => {
            let mut document = jobs::result_document(result);
            document["job_id"] = job.to_string().into();
            document["step_id"] = spec.id.as_str().into();
            document["step_kind"] = spec.kind.as_str().into();
            document["view"] = spec.view.as_str().into();
            document["path"] = notation::to_text(spec.path.as_bytes()).into();
            ("looked", document)
        }
        Link::Changed(event) => ("changed", live::event_json(event)),
    };
    document["link"] = kind.into();
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_core::id::CorrelationId;
    use fusion_core::session::Principal;
    use fusion_proto::convert::audit::AuditTarget;

    fn record() -> AuditRecord {
        let change = |before: &str, after: &str| ValueChange {
            name: "n".to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
        };
        AuditRecord {
            id: Uuid::nil(),
            time: ServerTime::from_nanos(2_000_000_000),
            asked_at: ServerTime::from_nanos(1_000_000_000),
            principal: Principal::anonymous(),
            method: "fusion.v1.ViewService/RefreshPath".to_owned(),
            target: AuditTarget { view: "v".to_owned(), path: "/a".to_owned(), id: String::new() },
            version: 3,
            correlation: Some(CorrelationId::new("c").unwrap()),
            key_digest: String::new(),
            resumed: false,
            code: "OK".to_owned(),
            reason: String::new(),
            changes: vec![change("", "x"), change("x", "y"), change("y", "")],
        }
    }

    #[test]
    fn a_call_says_who_asked_for_what_and_what_came_of_it() {
        let done = told(&Link::Asked(record()));
        let expected = "asked    anonymous: RefreshPath of v:/a: done (n x, n x to y, n was y)";
        assert_eq!(done, expected);
        let refused = AuditRecord {
            code: "NOT_FOUND".to_owned(),
            reason: "VIEW_NOT_FOUND".to_owned(),
            changes: Vec::new(),
            target: AuditTarget::default(),
            ..record()
        };
        let expected = "asked    anonymous: RefreshPath of -: NOT_FOUND VIEW_NOT_FOUND";
        assert_eq!(told(&Link::Asked(refused)), expected);
        assert_eq!(millis(record().time), "1970-01-01 00:00:02.000");
        assert_eq!(link_document(&Link::Asked(record()))["link"], "asked");
    }
}
