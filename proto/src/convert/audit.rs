//! Audit records, both ways: what is asked for, and what is told, in the envelope of all events.

use fusion_core::id::{CorrelationId, ViewName};
use fusion_core::path::TreePath;
use fusion_core::session::Principal;
use fusion_core::time::ServerTime;
use uuid::Uuid;

use super::stat::{path_from_text, path_to_text};
use super::time::{needed_time_in, server_time_to_pb, time_in};
use super::view::{Page, page, page_to_pb, view_name};
use super::{ConvertError, bounded, event};
use crate::{limits, pb};

/// A changing or administrative call, and what came of it. What its caller wrote is here as it was
/// written, right or wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// UUID v7.
    pub id: Uuid,
    /// When the call was over.
    pub time: ServerTime,
    /// When it came.
    pub asked_at: ServerTime,
    /// Who made it.
    pub principal: Principal,
    /// Its method in full.
    pub method: String,
    /// What it was about.
    pub target: AuditTarget,
    /// The revision of the view, or the version of the job, that it led to; 0 if neither.
    pub version: u64,
    /// The chain of cause and effect that it belongs to.
    pub correlation: Option<CorrelationId>,
    /// What tells its idempotency key from others; empty if it had none.
    pub key_digest: String,
    /// An earlier try under its key may have been done.
    pub resumed: bool,
    /// `OK`, or the name of its gRPC code.
    pub code: String,
    /// Why it was refused; empty if it was not.
    pub reason: String,
    /// What it changed.
    pub changes: Vec<ValueChange>,
}

/// What a call was about; empty where it was about none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditTarget {
    /// The view.
    pub view: String,
    /// The path in it, in the notation of answers.
    pub path: String,
    /// A job, a session, a record of the trash, a key.
    pub id: String,
}

/// Something small that a call changed or brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueChange {
    /// What.
    pub name: String,
    /// Its value before; empty if there was none, or it is not known.
    pub before: String,
    /// Its value after; empty if it is gone.
    pub after: String,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOutcome {
    /// With OK.
    Done,
    /// With any other code.
    Failed,
}

/// What `ListAuditRecords` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListAuditRecords {
    /// Only calls of this principal; empty: of any.
    pub principal: String,
    /// Only calls of this method, in full or its last part; empty: of any.
    pub method: String,
    /// Only calls about this view.
    pub view: Option<ViewName>,
    /// Only calls about this path or one below it.
    pub path: Option<TreePath>,
    /// Only calls of this chain.
    pub correlation: Option<CorrelationId>,
    /// Only calls that ended so.
    pub outcome: Option<AuditOutcome>,
    /// Only calls that were over then or later.
    pub since: Option<ServerTime>,
    /// Only calls that were over before then.
    pub until: Option<ServerTime>,
    /// Which page.
    pub page: Page,
}

impl ListAuditRecords {
    /// Asks for all that are kept.
    #[must_use]
    pub fn all() -> Self {
        Self {
            principal: String::new(),
            method: String::new(),
            view: None,
            path: None,
            correlation: None,
            outcome: None,
            since: None,
            until: None,
            page: Page::default(),
        }
    }
}

impl AuditRecord {
    /// Whether the call was answered OK.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.code == "OK"
    }
}

impl TryFrom<pb::ListAuditRecordsRequest> for ListAuditRecords {
    type Error = ConvertError;

    fn try_from(request: pb::ListAuditRecordsRequest) -> Result<Self, ConvertError> {
        let pb::ListAuditRecordsRequest {
            principal,
            method,
            view,
            path,
            correlation_id,
            outcome,
            since,
            until,
            page_size,
            page_token,
        } = request;
        bounded("principal", &principal, limits::HOSTNAME_MAX)?;
        bounded("method", &method, limits::ID_TEXT_MAX)?;
        let (since, until) = (time_in("since", since.as_ref())?, time_in("until", until.as_ref())?);
        if since.zip(until).is_some_and(|(since, until)| until <= since) {
            return Err(ConvertError::invalid("until", "must be later than `since`"));
        }
        Ok(Self {
            principal,
            method,
            view: (!view.is_empty()).then(|| view_name(&view)).transpose()?,
            path: (!path.is_empty()).then(|| path_from_text("path", &path)).transpose()?,
            correlation: event::chain("correlation_id", &correlation_id)?,
            outcome: outcome_from_pb(outcome)?,
            since,
            until,
            page: page(page_size, &page_token)?,
        })
    }
}

impl From<&ListAuditRecords> for pb::ListAuditRecordsRequest {
    fn from(asked: &ListAuditRecords) -> Self {
        let ListAuditRecords {
            principal,
            method,
            view,
            path,
            correlation,
            outcome,
            since,
            until,
            page,
        } = asked;
        let (page_size, page_token) = page_to_pb(page);
        Self {
            principal: principal.clone(),
            method: method.clone(),
            view: view.as_ref().map(ToString::to_string).unwrap_or_default(),
            path: path.as_ref().map(|path| path_to_text(path.as_ref())).unwrap_or_default(),
            correlation_id: correlation.as_ref().map(ToString::to_string).unwrap_or_default(),
            outcome: outcome_to_pb(*outcome).into(),
            since: since.map(server_time_to_pb),
            until: until.map(server_time_to_pb),
            page_size,
            page_token,
        }
    }
}

fn outcome_from_pb(number: i32) -> Result<Option<AuditOutcome>, ConvertError> {
    match pb::AuditOutcome::try_from(number) {
        Ok(pb::AuditOutcome::Unspecified) => Ok(None),
        Ok(pb::AuditOutcome::Done) => Ok(Some(AuditOutcome::Done)),
        Ok(pb::AuditOutcome::Failed) => Ok(Some(AuditOutcome::Failed)),
        Err(_) => Err(ConvertError::unknown("outcome", number)),
    }
}

fn outcome_to_pb(outcome: Option<AuditOutcome>) -> pb::AuditOutcome {
    match outcome {
        None => pb::AuditOutcome::Unspecified,
        Some(AuditOutcome::Done) => pb::AuditOutcome::Done,
        Some(AuditOutcome::Failed) => pb::AuditOutcome::Failed,
    }
}

impl From<AuditRecord> for pb::EventEnvelope {
    fn from(record: AuditRecord) -> Self {
        let AuditRecord {
            id,
            time,
            asked_at,
            principal,
            method,
            target: AuditTarget { view, path, id: target },
            version,
            correlation,
            key_digest,
            resumed,
            code,
            reason,
            changes,
        } = record;
        let changes = changes.into_iter().map(|change| {
            let ValueChange { name, before, after } = change;
            pb::ValueChange { name, before, after }
        });
        let changes = changes.collect();
        let asked_at = Some(server_time_to_pb(asked_at));
        let call = pb::AuditedCall { method, code, reason, key_digest, resumed, changes, asked_at };
        let principal = principal.as_str().to_owned();
        Self {
            event_id: id.to_string(),
            event_type: pb::EventType::CallRecorded.into(),
            actor: Some(pb::EventActor { principal, ..pb::EventActor::default() }),
            target: Some(pb::EventTarget { view, path, id: target }),
            time: Some(server_time_to_pb(time)),
            version,
            correlation_id: correlation.map(|id| id.to_string()).unwrap_or_default(),
            causation_id: String::new(),
            cause: pb::ChangeCause::Unspecified.into(),
            payload: Some(pb::event_envelope::Payload::Call(call)),
        }
    }
}

/// An audit record from the wire.
///
/// # Errors
/// The first field that is missing or malformed.
pub fn audit_record_from_pb(event: pb::EventEnvelope) -> Result<AuditRecord, ConvertError> {
    let pb::EventEnvelope {
        event_id,
        event_type: _,
        actor,
        target,
        time,
        version,
        correlation_id,
        causation_id: _,
        cause: _,
        payload,
    } = event;
    let Some(pb::event_envelope::Payload::Call(call)) = payload else {
        return Err(ConvertError::missing("call"));
    };
    let pb::AuditedCall { method, code, reason, key_digest, resumed, changes, asked_at } = call;
    let pb::EventTarget { view, path, id: target } =
        target.ok_or(ConvertError::missing("target"))?;
    let actor = actor.ok_or(ConvertError::missing("actor"))?;
    let id = Uuid::try_parse(&event_id)
        .map_err(|error| ConvertError::invalid("event_id", error.to_string()))?;
    let changes = changes.into_iter().map(|change| {
        let pb::ValueChange { name, before, after } = change;
        ValueChange { name, before, after }
    });
    Ok(AuditRecord {
        id,
        time: needed_time_in("time", time.as_ref())?,
        asked_at: needed_time_in("call.asked_at", asked_at.as_ref())?,
        principal: Principal::new(&actor.principal),
        method,
        target: AuditTarget { view, path, id: target },
        version,
        correlation: event::chain("correlation_id", &correlation_id)?,
        key_digest,
        resumed,
        code,
        reason,
        changes: changes.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::arbitrary;
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use prost::Message as _;

    fn record() -> impl Strategy<Value = AuditRecord> {
        let change = (".{0,9}", ".{0,9}", ".{0,9}").prop_map(|(name, before, after)| ValueChange {
            name,
            before,
            after,
        });
        let ids =
            (arbitrary::uuid(), arbitrary::server_time(), option::of(arbitrary::correlation_id()));
        let texts = vec(".{0,20}", 8);
        (ids, texts, any::<u64>(), any::<bool>(), vec(change, 0..3)).prop_map(
            |((id, time, correlation), texts, version, resumed, changes)| {
                let text = |at: usize| texts[at].clone();
                AuditRecord {
                    id,
                    time,
                    asked_at: time,
                    principal: Principal::new(&texts[0]),
                    method: text(1),
                    target: AuditTarget { view: text(2), path: text(3), id: text(4) },
                    version,
                    correlation,
                    key_digest: text(5),
                    resumed,
                    code: text(6),
                    reason: text(7),
                    changes,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn records_go_there_and_back(record in record()) {
            let event = pb::EventEnvelope::from(record.clone());
            let bytes = event.encode_to_vec();
            let read = pb::EventEnvelope::decode(&*bytes).unwrap();
            prop_assert_eq!(audit_record_from_pb(read).unwrap(), record);
            prop_assert!(event::event_from_pb(event).is_err(), "it is no change of a view");
        }

        #[test]
        fn questions_go_there_and_back(
            texts in ("[a-z]{0,9}", "[a-z]{0,9}"),
            view in option::of(arbitrary::view_name()),
            path in option::of(arbitrary::path()),
            correlation in option::of(arbitrary::correlation_id()),
            outcome in 0..3_i32,
            size in 1..limits::PAGE_MAX,
        ) {
            let asked = ListAuditRecords {
                principal: texts.0,
                method: texts.1,
                view,
                path,
                correlation,
                outcome: outcome_from_pb(outcome).unwrap(),
                since: Some(ServerTime::from_nanos(1)),
                until: Some(ServerTime::from_nanos(2)),
                page: Page { size, token: "t".to_owned() },
            };
            let read = ListAuditRecords::try_from(pb::ListAuditRecordsRequest::from(&asked));
            prop_assert_eq!(read.unwrap(), asked);
        }

        #[test]
        fn nothing_that_arrives_panics(bytes in vec(any::<u8>(), 0..200)) {
            if let Ok(asked) = pb::ListAuditRecordsRequest::decode(&*bytes) {
                let _ = ListAuditRecords::try_from(asked);
            }
            if let Ok(event) = pb::EventEnvelope::decode(&*bytes) {
                let _ = audit_record_from_pb(event);
            }
        }
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused_by_name() {
        let good = pb::ListAuditRecordsRequest::default();
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let bad = [
            (
                "principal",
                pb::ListAuditRecordsRequest { principal: "p".repeat(256), ..good.clone() },
            ),
            ("method", pb::ListAuditRecordsRequest { method: "m".repeat(129), ..good.clone() }),
            ("view", pb::ListAuditRecordsRequest { view: "V".into(), ..good.clone() }),
            ("path", pb::ListAuditRecordsRequest { path: "a".into(), ..good.clone() }),
            (
                "correlation_id",
                pb::ListAuditRecordsRequest { correlation_id: " ".into(), ..good.clone() },
            ),
            ("outcome", pb::ListAuditRecordsRequest { outcome: 7, ..good.clone() }),
            (
                "until",
                pb::ListAuditRecordsRequest { since: time(2), until: time(2), ..good.clone() },
            ),
            ("page_size", pb::ListAuditRecordsRequest { page_size: -1, ..good.clone() }),
        ];
        for (field, request) in bad {
            assert_eq!(ListAuditRecords::try_from(request).unwrap_err().field, field);
        }
        assert!(ListAuditRecords::try_from(good).is_ok());
    }
}
