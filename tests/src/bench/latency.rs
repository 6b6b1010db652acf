//! Row 5: from the close of a file until a query on another connection has it, everything durable, beside
//! inotify alone. Otherwise nothing happens.

use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fusion_proto::pb;
use fusion_proto::pb::view_service_client::ViewServiceClient;
use rustix::fs::inotify;
use tonic::Code;
use tonic::transport::Channel;

use crate::pair::World;
use crate::process::now;

use super::{Line, Options, part};

/// Pause between two files: what the one before caused is over.
const PAUSE: Duration = Duration::from_millis(10);
const LIMIT: Duration = Duration::from_secs(30);

pub(super) async fn row(options: &Options) -> Result<Line> {
    let world = World::start();
    let _agent = world.start_ready_agent("bench").await;
    let channel = fusion_proto::client::lazy_channel(&world.url()).context("our address")?;
    let mut views = ViewServiceClient::new(channel);
    let files = (options.seconds * 50 * options.rounds as u64).max(20);
    let mut ours = Vec::new();
    for number in 0..files {
        tokio::time::sleep(PAUSE).await;
        let name = format!("ours-{number:06}");
        let closed = write(&world.root().join(&name))?;
        ours.push(until_told(&mut views, &world, &name, closed).await?);
    }
    let mut theirs = alone(files)?;
    ours.sort_unstable();
    theirs.sort_unstable();
    let (p99, their_p99) = (part(&ours, 99), part(&theirs, 99));
    Ok(Line {
        row: 5,
        what: "close of a file until a query has it, p50",
        ours: part(&ours, 50),
        yardstick: "inotify alone",
        theirs: part(&theirs, 50),
        unit: "ms",
        note: format!(
            "{files} files; p99 {p99:.2} ms beside {their_p99:.2} ms; goal p50 ≤ 2 ms, p99 ≤ 5 ms"
        ),
    })
}

/// Writes a file; when it was closed.
fn write(path: &Path) -> Result<Instant> {
    fs::write(path, b"written once").with_context(|| format!("write {}", path.display()))?;
    Ok(now())
}

/// Asks until the file is there as it was written; how long that was after it was closed.
async fn until_told(
    views: &mut ViewServiceClient<Channel>,
    world: &World,
    name: &str,
    closed: Instant,
) -> Result<Duration> {
    loop {
        let asked = pb::GetEntryRequest {
            view: world.view().to_string(),
            path: format!("/{name}"),
            ..Default::default()
        };
        match views.get_entry(asked).await {
            Ok(told) => {
                let entry = told.into_inner().entry.context("an entry")?;
                // Between its creation and its close it is suspect.
                if !entry.suspect && entry.stat.is_some_and(|stat| stat.size == 12) {
                    return Ok(closed.elapsed());
                }
            }
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(status.into()),
        }
        ensure!(closed.elapsed() < LIMIT, "{name} is not told of");
    }
}

/// How long after the close of a file its event is read.
fn alone(files: u64) -> Result<Vec<Duration>> {
    let folder = tempfile::tempdir()?;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watch, folder.path(), inotify::WatchFlags::CLOSE_WRITE)?;
    let (out, closed) = std::sync::mpsc::channel();
    let reading = std::thread::Builder::new().name("inotify".to_owned()).spawn(move || {
        let mut room = [MaybeUninit::uninit(); 4_096];
        let mut events = inotify::Reader::new(&watch, &mut room);
        // Whoever has heard enough drops the other end.
        while events.next().is_ok() && out.send(now()).is_ok() {}
    })?;
    let mut times = Vec::new();
    for number in 0..files {
        std::thread::sleep(PAUSE);
        let written = write(&folder.path().join(format!("theirs-{number:06}")))?;
        let heard = closed.recv_timeout(LIMIT).context("no event")?;
        times.push(heard.saturating_duration_since(written));
    }
    drop(closed);
    write(&folder.path().join("last"))?;
    reading.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
    Ok(times)
}
