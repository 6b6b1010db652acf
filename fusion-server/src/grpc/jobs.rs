//! `JobService`.

use fusion_core::id::CorrelationId;
use fusion_core::job::Job;
use fusion_core::session::Principal;
use fusion_proto::convert::job::{CancelJob, CreateJob, ListJobs, job_id, job_to_pb};
use fusion_proto::pb;
use fusion_proto::pb::job_service_server::JobService;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Services, draining};
use crate::service::idempotency::CallIdentity;
use crate::service::internal;
use crate::service::jobs::Followed;

pub(super) struct Handler(pub(super) Services);

impl Handler {
    /// The id of what a call makes: the same in every try under one key.
    fn identity<T>(&self, request: &Request<T>) -> CallIdentity {
        let given = request.extensions().get::<CallIdentity>().copied();
        given.unwrap_or_else(|| CallIdentity { id: self.0.ids.draw(), is_resumed: false })
    }

    /// The chain that a call belongs to.
    fn correlation<T>(&self, request: &Request<T>, id: Uuid) -> Result<CorrelationId, Status> {
        match request.extensions().get::<CorrelationId>() {
            Some(correlation) => Ok(correlation.clone()),
            None => CorrelationId::new(&id.to_string())
                .map_err(|error| internal(&*self.0.ids, &error).into()),
        }
    }
}

#[tonic::async_trait]
impl JobService for Handler {
    async fn create_job(
        &self,
        request: Request<pb::CreateJobRequest>,
    ) -> Result<Response<pb::CreateJobResponse>, Status> {
        let call = self.identity(&request);
        let correlation = self.correlation(&request, call.id)?;
        let asked = CreateJob::try_from(request.into_inner())?;
        let job = self.0.jobs.create(asked, call, Principal::anonymous(), correlation).await?;
        Ok(Response::new(pb::CreateJobResponse { job: Some(job_to_pb(&job)) }))
    }

    async fn get_job(
        &self,
        request: Request<pb::GetJobRequest>,
    ) -> Result<Response<pb::GetJobResponse>, Status> {
        let job = self.0.jobs.get(job_id(&request.into_inner().job_id)?).await?;
        Ok(Response::new(pb::GetJobResponse { job: Some(job_to_pb(&job)) }))
    }

    async fn list_jobs(
        &self,
        request: Request<pb::ListJobsRequest>,
    ) -> Result<Response<pb::ListJobsResponse>, Status> {
        let asked = ListJobs::try_from(request.into_inner())?;
        let (rows, next_page_token) = self.0.jobs.list(&asked).await?;
        let jobs = rows.iter().map(job_to_pb).collect();
        Ok(Response::new(pb::ListJobsResponse { jobs, next_page_token }))
    }

    type WatchJobStream = ReceiverStream<Result<pb::WatchJobResponse, Status>>;

    async fn watch_job(
        &self,
        request: Request<pb::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let followed = self.0.jobs.follow(job_id(&request.into_inner().job_id)?).await?;
        let (out, answer) = mpsc::channel(1);
        let services = self.0.clone();
        self.0.tasks.spawn("watch job", async move {
            tokio::select! {
                () = tell(followed, &out) => {}
                () = out.closed() => {}
                () = services.draining.cancelled() => {
                    let _ = out.try_send(Err(draining().into()));
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answer)))
    }

    async fn cancel_job(
        &self,
        request: Request<pb::CancelJobRequest>,
    ) -> Result<Response<pb::CancelJobResponse>, Status> {
        let call = self.identity(&request);
        let asked = CancelJob::try_from(request.into_inner())?;
        let job = self.0.jobs.cancel(&asked, call).await?;
        Ok(Response::new(pb::CancelJobResponse { job: Some(job_to_pb(&job)) }))
    }

    async fn retry_job(
        &self,
        request: Request<pb::RetryJobRequest>,
    ) -> Result<Response<pb::RetryJobResponse>, Status> {
        let call = self.identity(&request);
        let of = job_id(&request.into_inner().job_id)?;
        let job = self.0.jobs.retry(of, call, Principal::anonymous()).await?;
        Ok(Response::new(pb::RetryJobResponse { job: Some(job_to_pb(&job)) }))
    }
}

type Out = mpsc::Sender<Result<pb::WatchJobResponse, Status>>;

/// Tells how a job is, as fast as it is taken, until it is over.
async fn tell(followed: Followed, out: &Out) {
    match followed {
        Followed::Over(job) => {
            let _ = send(out, &job).await;
        }
        Followed::Open(mut told) => while tell_next(&mut told, out).await {},
    }
}

/// Whether there may be more.
async fn tell_next(told: &mut watch::Receiver<Job>, out: &Out) -> bool {
    let job = told.borrow_and_update().clone();
    send(out, &job).await && !job.state.is_end() && told.changed().await.is_ok()
}

async fn send(out: &Out, job: &Job) -> bool {
    out.send(Ok(pb::WatchJobResponse { job: Some(job_to_pb(job)) })).await.is_ok()
}
