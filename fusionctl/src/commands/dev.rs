//! `dev`: a server and an agent on one directory, in this process, until Ctrl-C; or several servers on one NATS.
//!
//! Uses the same `build` as the two binaries; only the configuration is made here: free ports if
//! the usual ones are taken, a temporary directory for state unless one is given.

mod nats;
mod pair;
mod progress;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fusion_core::id::ViewName;
use fusion_proto::views::{ViewInfo, ViewsClient};
use serde_json::json;

use crate::cli::AccessArgs;
use crate::exit::Failure;
use crate::output::Printer;
use crate::profile::Profile;

use pair::{Interrupts, Pair};

/// What was typed.
pub(super) struct Request {
    pub(super) dir: PathBuf,
    pub(super) view: Option<String>,
    pub(super) data_dir: Option<PathBuf>,
    /// How many servers.
    pub(super) servers: u8,
}

/// How often the view is asked whether it is ready.
const POLL: Duration = Duration::from_millis(20);

pub(super) async fn run(request: Request, printer: &mut Printer) -> Result<(), Failure> {
    let started = now();
    let mut interrupts = Interrupts::listen()?;
    let view = view_name(&request)?;
    let mut pair = Pair::start(&request, &view).await?;
    let done = watch(&mut pair, &mut interrupts, &view, &request.dir, started, printer).await;
    let ended = pair.end().await;
    done.and(ended)
}

/// Shows progress until the view is ready, says how to ask, and waits for the end.
async fn watch(
    pair: &mut Pair,
    interrupts: &mut Interrupts,
    view: &ViewName,
    dir: &Path,
    started: Instant,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let own = Profile::load(Some(pair.url.clone()), AccessArgs::default(), None)?;
    let mut client = super::connect(&own)?;
    tokio::select! {
        ready = until_ready(&mut client, view, pair.progress.clone()) => {
            let info = ready?;
            say_ready(pair, dir, &info, started.elapsed(), printer)?;
        }
        failure = pair.failed() => return Err(failure),
        () = interrupts.next() => return Ok(()),
    }
    tokio::select! {
        failure = pair.failed() => Err(failure),
        () = interrupts.next() => Ok(()),
    }
}

async fn until_ready(
    client: &mut ViewsClient,
    view: &ViewName,
    agent: progress::AgentProgress,
) -> Result<ViewInfo, Failure> {
    let bar = progress::Bar::new();
    loop {
        bar.show(&agent.borrow());
        // Until the agent has a session there is no view: that is no failure.
        if let Ok(info) = client.view(view).await
            && info.freshness.is_ready()
        {
            bar.finish();
            return Ok(info);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn say_ready(
    pair: &Pair,
    dir: &Path,
    info: &ViewInfo,
    took: Duration,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let totals = &info.totals;
    let (grpc, http) = pair.listens[0];
    if printer.is_json() {
        printer.document(&json!({
            "view": info.name.as_str(),
            "state": info.freshness.state_text(),
            "grpc": grpc.to_string(),
            "http": http.to_string(),
            "servers": pair.listens.iter().map(|(grpc, _)| grpc.to_string()).collect::<Vec<_>>(),
            "files": totals.files,
            "directories": totals.directories,
            "others": totals.others,
            "bytes": totals.bytes,
            "seconds": took.as_secs_f64(),
        }))?;
        return printer.flush();
    }
    let entries = totals.files + totals.directories + totals.others;
    let rate = entries as f64 / took.as_secs_f64().max(1e-9);
    printer.text(&format!(
        "READY: {dir} is view {view}\n  \
         {files} files, {directories} directories, {others} others, {bytes} bytes\n  \
         in {seconds:.2} s from start ({rate:.0} entries/s)\n\n\
         ask from another terminal:\n  \
         fusionctl {at}ls /\n  \
         fusionctl {at}du /\n  \
         fusionctl {at}find '*.log' /\n\
         gRPC {grpc}, metrics http://{http}/metrics; the view stays live until Ctrl-C{beside}",
        dir = dir.display(),
        view = info.name,
        files = totals.files,
        directories = totals.directories,
        others = totals.others,
        bytes = totals.bytes,
        seconds = took.as_secs_f64(),
        at = pair.flag(),
        beside = beside(pair),
    ))?;
    printer.flush()
}

/// The other servers, if there are some.
fn beside(pair: &Pair) -> String {
    let others = pair.listens.iter().skip(1).map(|(grpc, _)| format!("http://{grpc}"));
    match others.collect::<Vec<_>>() {
        none if none.is_empty() => String::new(),
        some => format!("\nthe same from {}, which share a NATS", some.join(", ")),
    }
}

/// The name that was asked for, or one made of the directory's.
fn view_name(request: &Request) -> Result<ViewName, Failure> {
    if let Some(name) = &request.view {
        return ViewName::new(name).map_err(|error| Failure::usage(format!("--view: {error}")));
    }
    let dir = request.dir.canonicalize().unwrap_or_else(|_| request.dir.clone());
    let name = dir.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let label: String = name
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .take(63)
        .collect();
    let label = label.trim_matches('-');
    ViewName::new(if label.is_empty() { "dev" } else { label })
        .map_err(|error| Failure::usage(format!("--view: {error}")))
}

#[expect(clippy::disallowed_methods, reason = "how long a person waited, shown and not acted on")]
fn now() -> Instant {
    Instant::now()
}
