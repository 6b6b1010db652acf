//! What a call was about and what it changed, as its request and its answer have it: one row for each
//! changing method.

use fusion_core::id::ViewName;
use fusion_core::session::Principal;
use fusion_proto::convert::audit::{AuditTarget, ValueChange};
use fusion_proto::convert::stat::path_from_text;
use fusion_proto::pb;
use prost::Message;

use super::super::idempotency::FRAME_HEAD;
use super::digest_of;
use crate::access::Reach;

/// What is told of a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) target: AuditTarget,
    pub(super) version: u64,
    pub(super) changes: Vec<ValueChange>,
}

impl Told {
    /// What a request is about, whether or not it makes sense; nothing, if it is no message.
    pub(super) fn asked(method: &str, principal: &Principal, request: &[u8]) -> Self {
        Self { target: target(method, principal, request).unwrap_or_default(), ..Self::default() }
    }

    /// Takes up what the answer to it says.
    pub(super) fn answered(&mut self, method: &str, answer: &[u8]) {
        // The server made the answer: it is a message.
        let _ = self.take(method, answer);
    }

    fn take(&mut self, method: &str, answer: &[u8]) -> Option<()> {
        match last(method) {
            "RestoreTrash" => {
                let pb::RestoreTrashResponse { record, freshness } = message(answer)?;
                self.trash(record, freshness, ["trashed", "restored"]);
            }
            "PurgeTrash" => {
                let pb::PurgeTrashResponse { record, freshness } = message(answer)?;
                self.trash(record, freshness, ["trashed", ""]);
            }
            "RefreshPath" => self.refreshed(&message(answer)?),
            "CreateJob" => self.job(message::<pb::CreateJobResponse>(answer)?.job?, ""),
            "CancelJob" => {
                let job = message::<pb::CancelJobResponse>(answer)?.job?;
                let before = if job.started_at.is_some() { "RUNNING" } else { "PENDING" };
                self.job(job, before);
            }
            "RetryJob" => {
                let job = message::<pb::RetryJobResponse>(answer)?.job?;
                let (old, new) = (self.target.id.clone(), job.job_id.clone());
                self.job(job, "");
                self.target.id = old;
                self.change("retried_as", "", new);
            }
            "EvictSession" => self.evicted(message::<pb::EvictSessionResponse>(answer)?.session?),
            "ResetView" => {
                let reset: pb::ResetViewResponse = message(answer)?;
                self.version = reset.revision;
                self.change("view.leader_epoch", reset.leader_epoch.to_string(), "");
                self.change("sessions_ended", "", reset.sessions_ended.to_string());
            }
            "AcceptRoot" => self.version = message::<pb::AcceptRootResponse>(answer)?.revision,
            "MoveView" => {
                let owner = message::<pb::MoveViewResponse>(answer)?.owner_id;
                let next = self.target.id.clone();
                self.change("view.owner", owner, next);
            }
            "DrainServer" => {
                let was = message::<pb::DrainServerResponse>(answer)?.was_draining;
                self.change("server.was_draining", was.to_string(), "");
            }
            "DeleteIdempotencyKey" => {
                let existed = message::<pb::DeleteIdempotencyKeyResponse>(answer)?.existed;
                self.change("answer", if existed { "kept" } else { "" }, "");
            }
            "SetLogFilter" => {
                let pb::SetLogFilterResponse { filter, previous_filter } = message(answer)?;
                self.change("log.filter", previous_filter, filter);
            }
            "ReloadConfig" => {
                let pb::ReloadConfigResponse { changes } = message(answer)?;
                for pb::ConfigChange { key, previous_value, value } in changes {
                    self.change(&key, previous_value, value);
                }
            }
            _ => {}
        }
        Some(())
    }

    fn evicted(&mut self, session: pb::Session) {
        // No state but ACTIVE leads to another.
        self.change("session.state", "ACTIVE", enum_name(session.state().as_str_name()));
        self.change("session.agent", "", session.agent_id);
        self.target.view = session.view;
    }

    pub(super) fn change(
        &mut self,
        name: &str,
        before: impl Into<String>,
        after: impl Into<String>,
    ) {
        let (name, before, after) = (name.to_owned(), before.into(), after.into());
        self.changes.push(ValueChange { name, before, after });
    }

    fn trash(
        &mut self,
        record: Option<pb::TrashRecord>,
        freshness: Option<pb::Freshness>,
        [before, after]: [&str; 2],
    ) {
        self.version = freshness.map_or(0, |freshness| freshness.revision);
        self.change("subtree", before, after);
        let Some(record) = record else { return };
        self.target.path = record.path;
        let totals = record.totals.unwrap_or_default();
        self.change("files", "", totals.files.to_string());
        self.change("bytes", "", totals.bytes.to_string());
    }

    fn refreshed(&mut self, refreshed: &pb::RefreshPathResponse) {
        self.version = refreshed.freshness.as_ref().map_or(0, |freshness| freshness.revision);
        self.change("looked_by", "", &refreshed.agent_id);
        self.change("directories", "", refreshed.directories.to_string());
        self.change("entries", "", refreshed.entries.to_string());
        self.change("complete", "", refreshed.complete.to_string());
    }

    fn job(&mut self, job: pb::Job, before: &str) {
        self.change("job.state", before, enum_name(job.state().as_str_name()));
        let specs = job.steps.into_iter().filter_map(|step| step.spec).collect::<Vec<_>>();
        self.of_steps(&specs);
        self.target.id = job.job_id;
        self.version = job.version;
    }

    fn of_steps(&mut self, specs: &[pb::JobStepSpec]) {
        (self.target.view, self.target.path) = common(specs);
        for spec in specs {
            let (kind, path) = (enum_name(spec.kind().as_str_name()), path_of(spec));
            self.change("step", "", format!("{} {kind} {}:{path}", spec.step_id, spec.view));
        }
    }
}

/// Whether all that a call and its answer are about is within somebody's reach. A method that is not named here
/// is for those who see everything.
pub(in super::super) fn shows(reach: &Reach, method: &str, request: &[u8], answer: &[u8]) -> bool {
    *reach == Reach::ALL
        || places(method, request, answer).is_some_and(|places| {
            places.iter().all(|(view, path)| {
                let path = path_from_text("path", path);
                let view = ViewName::new(view);
                view.is_ok_and(|view| path.is_ok_and(|path| reach.has(&view, path.as_ref())))
            })
        })
}

/// The views, and the paths in them, that a call and its answer are about.
fn places(method: &str, request: &[u8], answer: &[u8]) -> Option<Vec<(String, String)>> {
    let of_job = |job: Option<pb::Job>| {
        let specs = job?.steps.into_iter().filter_map(|step| step.spec);
        Some(specs.map(|spec| (spec.view.clone(), path_of(&spec).to_owned())).collect())
    };
    // An answer without a record tells nothing of it.
    let of_record = |view: String, record: Option<pb::TrashRecord>| {
        Some(record.map(|record| (view, record.path)).into_iter().collect())
    };
    match last(method) {
        "RestoreTrash" => {
            let record = message::<pb::RestoreTrashResponse>(answer)?.record;
            of_record(message::<pb::RestoreTrashRequest>(request)?.view, record)
        }
        "PurgeTrash" => {
            let record = message::<pb::PurgeTrashResponse>(answer)?.record;
            of_record(message::<pb::PurgeTrashRequest>(request)?.view, record)
        }
        "RefreshPath" => {
            let pb::RefreshPathRequest { view, path, .. } = message(request)?;
            Some(vec![(view, path)])
        }
        "CreateJob" => of_job(message::<pb::CreateJobResponse>(answer)?.job),
        "CancelJob" => of_job(message::<pb::CancelJobResponse>(answer)?.job),
        "RetryJob" => of_job(message::<pb::RetryJobResponse>(answer)?.job),
        // Of the caller's own keys.
        "DeleteIdempotencyKey" => Some(Vec::new()),
        _ => None,
    }
}

fn target(method: &str, principal: &Principal, request: &[u8]) -> Option<AuditTarget> {
    let none = AuditTarget::default();
    Some(match last(method) {
        "RestoreTrash" => {
            let pb::RestoreTrashRequest { view, trash_id } = message(request)?;
            AuditTarget { view, id: trash_id.to_string(), ..none }
        }
        "PurgeTrash" => {
            let pb::PurgeTrashRequest { view, trash_id } = message(request)?;
            AuditTarget { view, id: trash_id.to_string(), ..none }
        }
        "RefreshPath" => {
            let pb::RefreshPathRequest { view, path, .. } = message(request)?;
            AuditTarget { view, path, ..none }
        }
        "CreateJob" => {
            let (view, path) = common(&message::<pb::CreateJobRequest>(request)?.steps);
            AuditTarget { view, path, ..none }
        }
        "CancelJob" => AuditTarget { id: message::<pb::CancelJobRequest>(request)?.job_id, ..none },
        "RetryJob" => AuditTarget { id: message::<pb::RetryJobRequest>(request)?.job_id, ..none },
        "EvictSession" => {
            AuditTarget { id: message::<pb::EvictSessionRequest>(request)?.session_id, ..none }
        }
        "ResetView" => AuditTarget { view: message::<pb::ResetViewRequest>(request)?.view, ..none },
        "AcceptRoot" => {
            AuditTarget { view: message::<pb::AcceptRootRequest>(request)?.view, ..none }
        }
        "MoveView" => {
            let pb::MoveViewRequest { view, server_id } = message(request)?;
            AuditTarget { view, id: server_id, ..none }
        }
        "DrainServer" => {
            AuditTarget { id: message::<pb::DrainServerRequest>(request)?.server_id, ..none }
        }
        "DeleteIdempotencyKey" => {
            let pb::DeleteIdempotencyKeyRequest { method, key } = message(request)?;
            AuditTarget { id: digest_of(principal, &method, &key), ..none }
        }
        "SetLogFilter" => {
            message::<pb::SetLogFilterRequest>(request)?;
            AuditTarget { id: "log.filter".to_owned(), ..none }
        }
        "ReloadConfig" => {
            message::<pb::ReloadConfigRequest>(request)?;
            AuditTarget { id: "configuration".to_owned(), ..none }
        }
        _ => none,
    })
}

/// View and path of all steps, where they have the same.
fn common(specs: &[pb::JobStepSpec]) -> (String, String) {
    let Some(first) = specs.first() else { return Default::default() };
    let (view, path) = (&first.view, path_of(first));
    if specs.iter().any(|spec| spec.view != *view) {
        return Default::default();
    }
    let is_one = specs.iter().all(|spec| path_of(spec) == path);
    (view.clone(), if is_one { path.to_owned() } else { String::new() })
}

fn path_of(spec: &pb::JobStepSpec) -> &str {
    if spec.path.is_empty() { "/" } else { &spec.path }
}

/// `EVICTED` of `SESSION_STATE_EVICTED`.
fn enum_name(full: &str) -> &str {
    let heads = ["SESSION_STATE_", "JOB_STATE_", "STEP_KIND_"];
    heads.iter().find_map(|head| full.strip_prefix(head)).unwrap_or(full)
}

fn last(method: &str) -> &str {
    method.rsplit_once('/').map_or(method, |(_, last)| last)
}

/// The message in a frame.
fn message<M: Message + Default>(frame: &[u8]) -> Option<M> {
    M::decode(frame.get(FRAME_HEAD..)?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::super::methods;
    use super::*;

    fn framed(message: &impl Message) -> Vec<u8> {
        [&[0; FRAME_HEAD][..], &message.encode_to_vec()].concat()
    }

    #[test]
    fn every_changing_method_has_its_row() {
        let principal = Principal::anonymous();
        // A field 1 that is a text: each of them has one that says what the call is about, or steps.
        let text = framed(&pb::ResetViewRequest { view: "v".to_owned() });
        let steps = framed(&pb::CreateJobRequest {
            steps: vec![pb::JobStepSpec { view: "v".to_owned(), ..Default::default() }],
            priority: 0,
        });
        for method in methods::changing() {
            let request = if method.ends_with("CreateJob") { &steps } else { &text };
            let told = Told::asked(method, &principal, request);
            assert_ne!(told.target, AuditTarget::default(), "{method}");
            assert_eq!(Told::asked(method, &principal, b"\0\0\0\0\0\xff"), Told::default());
        }
    }

    #[test]
    fn a_job_is_about_what_all_its_steps_are_about() {
        let step = |view: &str, path: &str| pb::JobStepSpec {
            view: view.to_owned(),
            path: path.to_owned(),
            ..Default::default()
        };
        let common = |steps: &[pb::JobStepSpec]| common(steps);
        let pair = |view: &str, path: &str| (view.to_owned(), path.to_owned());
        assert_eq!(common(&[]), pair("", ""));
        assert_eq!(common(&[step("v", ""), step("v", "/")]), pair("v", "/"));
        assert_eq!(common(&[step("v", "/a"), step("v", "/b")]), pair("v", ""));
        assert_eq!(common(&[step("v", "/a"), step("w", "/a")]), pair("", ""));
    }
}
