//! The HTTP port: `/metrics`, `/livez`, `/readyz`.
//!
//! Ready means that calls are taken: the server is not draining. No view's state makes it fail, for
//! agents could never connect to make the view ready; the body lists the views, and among several
//! servers whose each is.

mod door;

use std::fmt::Write as _;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use fusion_proto::convert::view::ViewOwnership;
use tokio_util::sync::CancellationToken;

pub(crate) use self::door::Door;
use super::metrics::Metrics;
use crate::cluster::Conductor;
use crate::service::jobs::Jobs;
use crate::service::sessions::Sessions;
use crate::service::views::Views;

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// What the probes look at.
#[derive(Clone)]
pub(crate) struct Probed {
    pub(crate) metrics: Metrics,
    pub(crate) sessions: Sessions,
    pub(crate) views: Views,
    pub(crate) jobs: Jobs,
    /// Among several servers.
    pub(crate) conductor: Option<Conductor>,
    pub(crate) draining: CancellationToken,
}

/// The routes of the HTTP port.
pub(crate) fn router(probed: Probed) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(probed)
}

async fn metrics(State(probed): State<Probed>) -> impl IntoResponse {
    probed.sessions.measure();
    probed.views.measure();
    probed.jobs.measure();
    if let Some(conductor) = &probed.conductor {
        conductor.measure();
    }
    let views = probed.views.all();
    let is_there = |name: &str| views.iter().any(|view| view.name().as_str() == name);
    match probed.metrics.encode(is_there) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, METRICS_TYPE)], text),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            let text = "metrics cannot be written; the log has more\n".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, PLAIN)], text)
        }
    }
}

async fn readyz(State(probed): State<Probed>) -> impl IntoResponse {
    let (status, mut text) = if probed.draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned())
    } else {
        (StatusCode::OK, "ok\n".to_owned())
    };
    for view in probed.views.all() {
        let state = fusion_proto::convert::view::state_to_text(*view.state().borrow());
        let whose = probed.conductor.as_ref().map(|it| whose(&it.ownership(&view)));
        let _ = writeln!(text, "view {} {state}{}", view.name(), whose.unwrap_or_default());
    }
    (status, [(header::CONTENT_TYPE, PLAIN)], text)
}

/// Whose a view is among several servers, and how far this one is with it.
fn whose(ownership: &ViewOwnership) -> String {
    let ViewOwnership { owner, epoch, owned, lag } = ownership;
    let owner = owner.as_ref().map_or("nobody", |owner| &owner.address);
    let lag = lag.map_or("unknown".to_owned(), |lag| lag.to_string());
    let role = if *owned { "owns" } else { "follows" };
    format!(" {role}, owner {owner}, epoch {epoch}, lag {lag}")
}
