//! What runs beside the calls, for as long as the server lives.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::grpc::health::Health;
use crate::grpc::{self, Services};
use crate::ops::watchdog;
use crate::task::view::{ScanNews, ViewFailed};

/// Begins what runs beside the calls.
pub(super) fn begin(
    services: &Services,
    health: &Health,
    failures: mpsc::UnboundedReceiver<ViewFailed>,
    scans: mpsc::UnboundedReceiver<ScanNews>,
    health_listener: Option<(TcpListener, SocketAddr)>,
) {
    let Services { sessions, views, tasks, .. } = services.clone();
    if let Some((listener, _)) = health_listener {
        tasks.spawn("health listener", grpc::health::serve(listener, health.clone()));
    }
    tasks.spawn("session timer", sessions.clone().run_timer());
    tasks.spawn("jobs", services.jobs.clone().run());
    tasks.spawn("observed scans", services.jobs.clone().observe(scans));
    tasks.spawn("view health", health.clone().follow(views.clone()));
    let (metrics, clock) = (services.metrics.clone(), Arc::clone(&services.clock));
    tasks.spawn("watchdog", watchdog::run(views, health.clone(), metrics, clock));
    tasks.spawn("view supervisor", sessions.restart_views(tasks.clone(), failures));
}
