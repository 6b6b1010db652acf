//! `/metrics`, `/livez` and `/readyz`, where asked for; and the address file.
//!
//! Alive means that the process answers. Ready means that the agent of every tree has a session: all
//! take part; which do not is said.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use fusion_core::id::ViewName;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::metrics::Exposition;
use crate::progress::{LinkState, Progress};

/// What the endpoints show.
#[derive(Clone)]
pub struct Shown {
    /// For `/metrics`.
    pub metrics: Exposition,
    /// For `/readyz`: each tree.
    pub trees: Vec<(ViewName, watch::Receiver<Progress>)>,
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
    let (mut status, mut body) = (StatusCode::OK, String::new());
    for (view, progress) in &shown.trees {
        let progress = progress.borrow().clone();
        let (state, takes_part) = match progress.link {
            LinkState::Joining => ("joining", false),
            LinkState::Leading => ("leading", true),
            LinkState::Following => ("following", true),
            LinkState::Lost => ("lost", false),
            LinkState::Stopped => ("stopped", false),
        };
        if !takes_part {
            status = StatusCode::SERVICE_UNAVAILABLE;
        }
        let Progress { realtime_ready, watched_directories, trouble, .. } = progress;
        let trouble = trouble.as_deref().unwrap_or("none");
        body += &format!(
            "view: {view}\nlink: {state}\nrealtime_ready: {realtime_ready}\n\
             watched_directories: {watched_directories}\ntrouble: {trouble}\n",
        );
    }
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
