//! `JobService`.

use fusion_core::id::CorrelationId;
use fusion_core::job::Job;
use fusion_proto::convert::job::{CancelJob, CreateJob, ListJobs, job_id, job_to_pb};
use fusion_proto::pb;
use fusion_proto::pb::job_service_server::JobService;
use fusion_proto::status::Refusal;
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::Services;
use super::authenticate::caller;
use super::out::Out;
use crate::access::Caller;
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

    /// A job, if its caller may see all that it is about: else it does not exist.
    async fn seen(&self, caller: &Caller, id: Uuid) -> Result<Job, Refusal> {
        let job = self.0.jobs.get(id).await?;
        if is_seen(caller, &job) {
            Ok(job)
        } else {
            Err(Refusal::JobNotFound { job: id.to_string() })
        }
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
        let caller = caller(&request);
        let asked = CreateJob::try_from(request.into_inner())?;
        let (reach, steps) = (&caller.reach, asked.plan.steps());
        if let Some(step) = steps.iter().find(|step| !reach.views.has(&step.view)) {
            return Err(Refusal::ViewNotFound { view: step.view.clone() }.into());
        }
        steps.iter().try_for_each(|step| reach.admit(step.path.as_ref()))?;
        let job = self.0.jobs.create(asked, call, caller.principal, correlation).await?;
        Ok(Response::new(pb::CreateJobResponse { job: Some(job_to_pb(&job)) }))
    }

    async fn get_job(
        &self,
        request: Request<pb::GetJobRequest>,
    ) -> Result<Response<pb::GetJobResponse>, Status> {
        let caller = caller(&request);
        let job = self.seen(&caller, job_id(&request.into_inner().job_id)?).await?;
        Ok(Response::new(pb::GetJobResponse { job: Some(job_to_pb(&job)) }))
    }

    async fn list_jobs(
        &self,
        request: Request<pb::ListJobsRequest>,
    ) -> Result<Response<pb::ListJobsResponse>, Status> {
        let caller = caller(&request);
        let asked = ListJobs::try_from(request.into_inner())?;
        let (rows, next_page_token) = self.0.jobs.list(&asked, &caller.reach).await?;
        let jobs = rows.iter().map(job_to_pb).collect();
        Ok(Response::new(pb::ListJobsResponse { jobs, next_page_token }))
    }

    type WatchJobStream = ReceiverStream<Result<pb::WatchJobResponse, Status>>;

    async fn watch_job(
        &self,
        request: Request<pb::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let caller = caller(&request);
        let id = job_id(&request.into_inner().job_id)?;
        self.seen(&caller, id).await?;
        let followed = self.0.jobs.follow(id).await?;
        let (out, answer) = Out::new(1);
        self.0.tasks.spawn("watch job", tell(self.0.clone(), followed, out));
        Ok(Response::new(ReceiverStream::new(answer)))
    }

    async fn cancel_job(
        &self,
        request: Request<pb::CancelJobRequest>,
    ) -> Result<Response<pb::CancelJobResponse>, Status> {
        let call = self.identity(&request);
        let caller = caller(&request);
        let asked = CancelJob::try_from(request.into_inner())?;
        self.seen(&caller, asked.job).await?;
        let job = self.0.jobs.cancel(&asked, call).await?;
        Ok(Response::new(pb::CancelJobResponse { job: Some(job_to_pb(&job)) }))
    }

    async fn retry_job(
        &self,
        request: Request<pb::RetryJobRequest>,
    ) -> Result<Response<pb::RetryJobResponse>, Status> {
        let call = self.identity(&request);
        let caller = caller(&request);
        let of = job_id(&request.into_inner().job_id)?;
        self.seen(&caller, of).await?;
        let job = self.0.jobs.retry(of, call, caller.principal).await?;
        Ok(Response::new(pb::RetryJobResponse { job: Some(job_to_pb(&job)) }))
    }
}

fn is_seen(caller: &Caller, job: &Job) -> bool {
    job.steps.iter().all(|step| caller.reach.has(&step.spec.view, step.spec.path.as_ref()))
}

type Answer = Out<pb::WatchJobResponse>;

/// Tells how a job is, as fast as it is taken, until it is over.
async fn tell(services: Services, followed: Followed, out: Answer) {
    let told = async |out: &Answer| match followed {
        Followed::Over(job) => tell_one(&services, out, &job).await.map(drop),
        Followed::Open(mut told) => {
            while tell_next(&services, &mut told, out).await? {}
            Ok(())
        }
    };
    out.tell(&services, told).await;
}

/// Whether there may be more.
async fn tell_next(
    services: &Services,
    told: &mut watch::Receiver<Job>,
    out: &Answer,
) -> Result<bool, Refusal> {
    let job = told.borrow_and_update().clone();
    let may_go_on = tell_one(services, out, &job).await? && !job.state.is_end();
    Ok(may_go_on && told.changed().await.is_ok())
}

/// Tells of a job, of its end once that is durable; whether the client is there.
async fn tell_one(services: &Services, out: &Answer, job: &Job) -> Result<bool, Refusal> {
    services.jobs.is_kept(job).await?;
    Ok(out.send(pb::WatchJobResponse { job: Some(job_to_pb(job)) }).await.is_ok())
}
