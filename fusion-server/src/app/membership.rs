//! Being one of several servers: begun after all else, ended when nothing is acted on any more.

use std::time::Duration;

use tokio::time::Instant;

use super::{ServerError, not_started};
use crate::cluster::{Busy, Cluster, Conductor, Membered};
use crate::service::jobs::Jobs;
use crate::service::sessions::Sessions;
use crate::service::views::Views;
use crate::spawn::Tasks;
use crate::stores::Stores;

/// Who conducts the views.
pub(super) fn conductor(
    cluster: Cluster,
    (views, sessions, jobs, stores, tasks): (&Views, &Sessions, &Jobs, &Stores, &Tasks),
) -> Conductor {
    Conductor {
        cluster,
        views: views.clone(),
        sessions: sessions.clone(),
        jobs: jobs.clone(),
        stores: stores.clone(),
        tasks: tasks.clone(),
        busy: Busy::default(),
    }
}

/// Begins to be one of several servers.
pub(super) fn begin(conductor: Conductor) -> Result<Membered, ServerError> {
    let (cluster, says) = (conductor.cluster.clone(), conductor.clone());
    let membered = cluster.join(Box::new(move || says.says())).map_err(not_started)?;
    conductor.tasks.clone().spawn("conductor", conductor.run());
    Ok(membered)
}

/// Gives the views away, while calls are still taken and sent on; begun before all else that ends.
pub(super) async fn leave(conductor: Option<&Conductor>, limit: Duration) {
    if let Some(conductor) = conductor {
        conductor.leave(limit).await;
    }
}

/// Ends to be one of several servers: others need not wait for its lease.
pub(super) async fn end(membered: Membered, cluster: Cluster, end_at: Instant) {
    let ended = tokio::task::spawn_blocking(move || membered.end(&cluster));
    if tokio::time::timeout_at(end_at, ended).await.is_err() {
        tracing::warn!("other servers wait for the lease of this one");
    }
}
