//! A client of `JobService` in plain types.

use fusion_core::job::Job;
use tonic::transport::Channel;
use tonic::{Request, Streaming};
use uuid::Uuid;

use super::{CallError, CallHook, HookedChannel};
use crate::convert::job::{CancelJob, CreateJob, ListJobs, job_from_pb};
use crate::pb::job_service_client::JobServiceClient;
use crate::{limits, pb};

/// Makes jobs, shows, follows and ends them.
#[derive(Debug, Clone)]
pub struct JobsClient(JobServiceClient<HookedChannel>);

/// A job that is followed.
#[derive(Debug)]
pub struct FollowedJob(Streaming<pb::WatchJobResponse>);

impl JobsClient {
    /// A client on a channel.
    #[must_use]
    pub fn on(channel: Channel, hook: CallHook) -> Self {
        let client = JobServiceClient::with_interceptor(channel, hook);
        Self(client.max_decoding_message_size(limits::MESSAGE_BYTES))
    }

    /// Makes a job. Whoever repeats the call under the same key, a UUID drawn for it, makes no second one.
    ///
    /// # Errors
    /// VIEW_NOT_FOUND, QUOTA_EXCEEDED, STORE_UNAVAILABLE, or no server.
    pub async fn create(&mut self, asked: &CreateJob, key: Uuid) -> Result<Job, CallError> {
        let request = under(pb::CreateJobRequest::from(asked), key)?;
        told(self.0.create_job(request).await?.into_inner().job)
    }

    /// One job.
    ///
    /// # Errors
    /// JOB_NOT_FOUND, or no server.
    pub async fn get(&mut self, job: Uuid) -> Result<Job, CallError> {
        let request = pb::GetJobRequest { job_id: job.to_string() };
        told(self.0.get_job(request).await?.into_inner().job)
    }

    /// A page of jobs, the newest first, and the token of the next; empty if this is the last.
    ///
    /// # Errors
    /// A token of another list, or no server.
    pub async fn list(&mut self, asked: &ListJobs) -> Result<(Vec<Job>, String), CallError> {
        let request = pb::ListJobsRequest::from(asked);
        let pb::ListJobsResponse { jobs, next_page_token } =
            self.0.list_jobs(request).await?.into_inner();
        let jobs = jobs.into_iter().map(job_from_pb).collect::<Result<_, _>>()?;
        Ok((jobs, next_page_token))
    }

    /// Follows a job.
    ///
    /// # Errors
    /// JOB_NOT_FOUND, or no server.
    pub async fn watch(&mut self, job: Uuid) -> Result<FollowedJob, CallError> {
        let request = pb::WatchJobRequest { job_id: job.to_string() };
        Ok(FollowedJob(self.0.watch_job(request).await?.into_inner()))
    }

    /// Calls a job off.
    ///
    /// # Errors
    /// JOB_NOT_FOUND, ILLEGAL_TRANSITION if it is over, VERSION_MISMATCH, or no server.
    pub async fn cancel(&mut self, asked: &CancelJob) -> Result<Job, CallError> {
        let request = pb::CancelJobRequest::from(asked);
        told(self.0.cancel_job(request).await?.into_inner().job)
    }

    /// Makes a new job of what did not complete.
    ///
    /// # Errors
    /// JOB_NOT_FOUND, ILLEGAL_TRANSITION if it is not over or complete, QUOTA_EXCEEDED, or no server.
    pub async fn retry(&mut self, job: Uuid, key: Uuid) -> Result<Job, CallError> {
        let request = under(pb::RetryJobRequest { job_id: job.to_string() }, key)?;
        told(self.0.retry_job(request).await?.into_inner().job)
    }
}

impl FollowedJob {
    /// How the job is now; waits until it changes. `None` after it was over.
    ///
    /// # Errors
    /// SERVER_DRAINING, or the server is gone.
    pub async fn next(&mut self) -> Result<Option<Job>, CallError> {
        match self.0.message().await? {
            Some(message) => told(message.job).map(Some),
            None => Ok(None),
        }
    }
}

fn told(job: Option<pb::Job>) -> Result<Job, CallError> {
    Ok(job_from_pb(job.ok_or_else(|| CallError::missing("job"))?)?)
}

fn under<T>(message: T, key: Uuid) -> Result<Request<T>, CallError> {
    let mut request = Request::new(message);
    let key = key.to_string().parse();
    let key = key.map_err(|error| CallError::malformed(limits::IDEMPOTENCY_KEY, error))?;
    request.metadata_mut().insert(limits::IDEMPOTENCY_KEY, key);
    Ok(request)
}
