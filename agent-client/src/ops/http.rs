//! `/metrics`, `/livez` and `/readyz`, where asked for; and the address file.
//!
//! Alive means that the process answers. Ready means that the agent has a session: it takes part.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::metrics::Metrics;
use crate::progress::{LinkState, Progress};

/// What the endpoints show.
#[derive(Clone)]
pub struct Shown {
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For `/readyz`.
    pub progress: watch::Receiver<Progress>,
}

/// Serves until the task that runs it is dropped.
///
/// # Errors
/// The listener broke.
pub async fn serve(listener: TcpListener, shown: Shown) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(shown);
    axum::serve(listener, router).await
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    match shown.metrics.text() {
        Ok(text) => (StatusCode::OK, kind, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, kind, error.to_string()),
    }
}

async fn readyz(State(shown): State<Shown>) -> impl IntoResponse {
    let progress = shown.progress.borrow().clone();
    let status = match progress.link {
        LinkState::Leading | LinkState::Following => StatusCode::OK,
        LinkState::Joining | LinkState::Lost | LinkState::Stopped => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    let state = match progress.link {
        LinkState::Joining => "joining",
        LinkState::Leading => "leading",
        LinkState::Following => "following",
        LinkState::Lost => "lost",
        LinkState::Stopped => "stopped",
    };
    let body = format!(
        "link: {state}\nrealtime_ready: {}\nwatched_directories: {}\ntrouble: {}\n",
        progress.realtime_ready,
        progress.watched_directories,
        progress.trouble.as_deref().unwrap_or("none"),
    );
    (status, body)
}

/// Writes the address file so that nobody ever reads half of it.
///
/// # Errors
/// It cannot be written.
pub fn write_address_file(path: &Path, address: SocketAddr) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, format!("http={address}\n"))?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_file_appears_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("address");
        write_address_file(&path, "127.0.0.1:7702".parse().unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "http=127.0.0.1:7702\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
