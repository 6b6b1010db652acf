//! `GetBreakdown` and `CompareViews`.

use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_core::path::PathRef;
use fusion_proto::convert::stat::entry_to_pb;
use fusion_proto::convert::view::{CompareViews, GetBreakdown, GetPath, ViewError, totals_to_pb};
use fusion_proto::pb;
use fusion_proto::status::Refusal;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::super::out::Out;
use super::super::{Services, about};
use crate::service::breakdown::Counting;
use crate::service::compare::{self, Row};
use crate::task::view::Operator;

/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(100);

pub(super) type Stream = ReceiverStream<Result<pb::GetBreakdownResponse, Status>>;

type Answer = Out<pb::GetBreakdownResponse>;

impl Services {
    pub(super) fn breakdown(&self, asked: GetBreakdown) -> Result<Stream, Refusal> {
        about(Some(&asked.view), None);
        let counting = Counting::begin(&self.views, self.ids.clone(), asked)?;
        let (out, answer) = Out::new(1);
        self.tasks.spawn("breakdown", tell(self.clone(), counting, out));
        Ok(ReceiverStream::new(answer))
    }

    pub(super) async fn compare(
        &self,
        asked: &CompareViews,
        by: Operator,
    ) -> Result<pb::CompareViewsResponse, Refusal> {
        let names = compare::names(&self.views, asked)?;
        // All at once: with FRESH each waits for a scan of its own.
        let answers = names.into_iter().map(|view| self.answer(asked, view, by.clone()));
        let mut rows = futures_util::future::join_all(answers).await;
        compare::rank(asked.rank, &mut rows);
        let told = |row| self.compared(asked.path.as_ref(), row);
        let views = rows.into_iter().map(told).collect::<Result<_, _>>()?;
        Ok(pb::CompareViewsResponse { views })
    }

    async fn answer(&self, asked: &CompareViews, view: ViewName, by: Operator) -> Row {
        let fresh = self.fresh(asked.class, &view, &asked.path, true, by).await;
        let answer = fresh.and_then(|()| {
            let (view, path) = (view.clone(), asked.path.clone());
            self.views.entry(&GetPath { view, path, class: asked.class })
        });
        (view, answer)
    }

    fn compared(&self, path: PathRef<'_>, row: Row) -> Result<pb::ViewComparison, Refusal> {
        let (view, answer) = row;
        let view = view.to_string();
        Ok(match answer {
            Ok((entry, worth)) => pb::ViewComparison {
                view,
                entry: Some(entry_to_pb(path, &entry.stat, entry.suspect, entry.blind)),
                totals: Some(totals_to_pb(&entry.totals.unwrap_or_default())),
                freshness: self.freshness(&worth)?,
                error: None,
            },
            Err(refusal) => {
                let error = Some((&ViewError::from(&refusal)).into());
                pb::ViewComparison { view, error, ..Default::default() }
            }
        })
    }
}

/// Counts until all is counted.
async fn tell(services: Services, mut counting: Counting, out: Answer) {
    let told = async |out: &Answer| {
        let last = count(&services, &mut counting, out).await?;
        // If the client is gone by now, nobody is to be told.
        let _ = out.send(last).await;
        Ok::<_, Refusal>(())
    };
    out.tell(&services, told).await;
}

/// Counts, and tells progress on the way; gives the last message.
async fn count(
    services: &Services,
    counting: &mut Counting,
    out: &Answer,
) -> Result<pb::GetBreakdownResponse, Refusal> {
    let mut told_at = services.clock.now();
    loop {
        let whole = counting.next().await?;
        let (looked_at, expected) = counting.progress();
        let progress = pb::GetBreakdownResponse { looked_at, expected, ..Default::default() };
        if let Some(whole) = whole {
            let breakdown = Some(services.sendable((&whole).try_into())?);
            let freshness = services.freshness(&counting.worth())?;
            return Ok(pb::GetBreakdownResponse { breakdown, freshness, ..progress });
        }
        let now = services.clock.now();
        if now.as_nanos().saturating_sub(told_at.as_nanos()) >= PROGRESS.as_nanos() as i64 {
            told_at = now;
            // Who does not take it yet is told more later.
            out.offer(progress);
        }
    }
}
