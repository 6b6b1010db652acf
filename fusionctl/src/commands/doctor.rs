//! `doctor`: finds what is wrong, and says what to do.
//!
//! Judges the same picture that `status` shows. Each finding says what is the matter, with what, and
//! the next step. Exit status 1 if anything is wrong; a note alone is no trouble.

use std::time::Duration;

use fusion_core::evidence::RootState;
use fusion_core::time::ServerTime;
use fusion_core::view::ViewState;
use fusion_proto::convert::admin::Survival;
use fusion_proto::convert::session::SessionInfo;
use fusion_proto::views::{Freshness, ViewInfo};

use super::picture::Picture;
use super::{connect_all, explain};
use crate::exit::Failure;
use crate::output::Printer;
use crate::profile::Profile;

/// Evidence that waits longer than this to be acknowledged piles up.
const SPOOL_OLD: Duration = Duration::from_secs(60);
/// Clocks further apart than this make times on the screen wrong.
const CLOCK_OFF: Duration = Duration::from_secs(5);
/// A storage clock further off than this makes hot files look old, or old ones hot.
const STORAGE_OFF: Duration = Duration::from_secs(600);
/// A horizon further behind than this means that a witness is late.
const HORIZON_LATE: Duration = Duration::from_secs(120);

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// It keeps Fusion from doing its work; else it is a note.
    pub(crate) is_wrong: bool,
    /// What it is about: `server`, `view NAME`, `agent ID`.
    pub(crate) about: String,
    /// What is the matter.
    pub(crate) says: String,
    /// What to do.
    pub(crate) next: String,
}

pub(super) async fn run(server: &Profile, printer: &mut Printer) -> Result<(), Failure> {
    let picture = Picture::take(&mut connect_all(server)?).await;
    let picture = picture.map_err(|error| explain(&error, &server.server))?;
    let findings = diagnose(&picture);
    printer.findings(&findings)?;
    printer.flush()?;
    match findings.iter().filter(|finding| finding.is_wrong).count() {
        0 => Ok(()),
        1 => Err(Failure::refused("one thing is wrong")),
        many => Err(Failure::refused(format!("{many} things are wrong"))),
    }
}

/// What is the matter with what the picture shows.
fn diagnose(picture: &Picture) -> Vec<Finding> {
    let mut findings = Vec::new();
    of_server(picture, &mut findings);
    for (view, sessions) in &picture.views {
        of_view(view, sessions, picture.server.server_time, &mut findings);
        for session in sessions {
            of_agent(session, &mut findings);
        }
    }
    findings
}

fn of_server(picture: &Picture, findings: &mut Vec<Finding>) {
    let server = &picture.server;
    let mut find = |is_wrong, says: String, next: &str| {
        let (about, next) = ("server".to_owned(), next.to_owned());
        findings.push(Finding { is_wrong, about, says, next });
    };
    let off = apart(picture.here, server.server_time);
    if off > CLOCK_OFF {
        let says = format!("its clock and this machine's are {} apart", spoken(off));
        find(false, says, "set both by NTP; what the view believes does not depend on it");
    }
    if picture.views.is_empty() {
        let says = "it has no view".to_owned();
        find(true, says, "start an agent: agent-client --server URL --view NAME --root DIR");
    }
    if server.sessions >= server.limits.max_sessions {
        let says = format!("it has as many sessions as it may: {}", server.sessions);
        find(true, says, "raise session.max in its configuration");
    }
    if server.views >= server.limits.max_views {
        let says = format!("it has as many views as it may: {}", server.views);
        find(false, says, "raise max_views in its configuration before the next one");
    }
    let state = server.state.as_ref().filter(|_| !server.data_dir.is_empty());
    if let Some(state) = state.filter(|state| state.survives != Survival::Power) {
        let (engine, survives) = (&state.engine, state.survives.as_str());
        let note = if state.note.is_empty() { "" } else { ": " };
        let says =
            format!("its state in {engine} outlives {survives}, not power{note}{}", state.note);
        find(false, says, "docs/store.md says how the engine is set up to lose nothing");
    }
    if server.data_dir.is_empty() {
        let says = "it keeps all in memory: a restart lists every tree anew".to_owned();
        find(false, says, "give it a data directory: --data-dir");
    }
}

fn of_view(
    view: &ViewInfo,
    sessions: &[SessionInfo],
    now: ServerTime,
    findings: &mut Vec<Finding>,
) {
    let Freshness { state, reasons, horizon, calibrated, watermark, .. } = &view.freshness;
    let mut find = |is_wrong, says: String, next: &str| {
        let (about, next) = (format!("view {}", view.name), next.to_owned());
        findings.push(Finding { is_wrong, about, says, next });
    };
    for reason in reasons {
        // A scan that runs is not wrong; it takes its time.
        find(*state != ViewState::Snapshotting, reason.clone(), step_for(reason));
    }
    if *state != ViewState::Ready && reasons.is_empty() {
        let says = format!("it is {}", view.freshness.state_text());
        find(true, says, "look at the server's log");
    }
    let lag = horizon.map(|horizon| now.since(horizon)).filter(|lag| *lag > HORIZON_LATE);
    if let Some(lag) = lag {
        let says = format!("what is known of its agents is {} old", spoken(lag));
        find(true, says, "an agent is late: look for a full spool, or one that is lost, below");
    }
    if *calibrated && let Some(watermark) = watermark {
        let off = apart(ServerTime::from_nanos(watermark.as_nanos()), now);
        if off > STORAGE_OFF {
            let says = format!("the storage's clock is {} off the server's", spoken(off));
            find(false, says, "set the storage's clock by NTP; mtimes there are off by as much");
        }
    }
    if sessions.is_empty() && *state == ViewState::Ready {
        find(true, "nobody watches it".to_owned(), "start its agents");
    }
}

fn of_agent(session: &SessionInfo, findings: &mut Vec<Finding>) {
    let mut find = |is_wrong, says: String, next: &str| {
        let (about, next) = (format!("agent {}", session.agent), next.to_owned());
        findings.push(Finding { is_wrong, about, says, next });
    };
    let Some(status) = &session.status else {
        let says = "it has not said yet how it is".to_owned();
        return find(false, says, "wait for its next heartbeat");
    };
    if !status.realtime_ready {
        let says = "it does not watch: changes on its host are found by audits only".to_owned();
        find(
            true,
            says,
            "look at its errors here and in its log; it is no trouble while it starts",
        );
    }
    if status.unwatched_directories > 0 {
        let limit = status.watch_limit.map_or_else(String::new, |limit| format!(" of {limit}"));
        let says = format!(
            "it watches {}{limit} directories and would watch {} more",
            status.watched_directories, status.unwatched_directories
        );
        let next =
            "raise fs.inotify.max_user_watches on its host, or give it CAP_SYS_ADMIN for fanotify";
        find(true, says, next);
    }
    match status.root_state {
        RootState::Available => {}
        RootState::Unavailable => {
            let says = format!("its root {} is not there", session.root_uri);
            find(true, says, "mount it, or mend the mount that hangs");
        }
        RootState::Doubtful => {
            let says = format!("its root {} is another tree than the view's", session.root_uri);
            let next =
                "mount the right one; if the storage was moved: fusionctl views accept-root VIEW";
            find(true, says, next);
        }
    }
    if let Some(age) = status.oldest_unacknowledged.filter(|age| *age > SPOOL_OLD) {
        let says = format!(
            "{} bytes of evidence wait in its spool, the oldest for {}",
            status.spool_bytes,
            spoken(age)
        );
        find(true, says, "look at the network between it and the server, and at the server's disk");
    }
    for error in &status.errors {
        find(true, error.clone(), "its log has more");
    }
}

/// What to do about a reason of a view.
fn step_for(reason: &str) -> &'static str {
    const STEPS: [(&str, &str); 13] = [
        ("no agent leads", "start an agent of this view, or look at why none gets a session"),
        ("nothing has been scanned", "start an agent: its first scan fills the view"),
        ("the first scan is running", "wait: `fusionctl status` shows how far it is"),
        ("events of agent", "nothing: an audit that the view has ordered ends it"),
        (
            "the leader does not answer",
            "look at the leader's log; ending its session promotes another",
        ),
        ("the root is away", "mount it again on that host, or mend the mount that hangs"),
        ("the root may be another", "look at what is mounted on the agents' hosts"),
        ("the root is another", "mount the right one, or: fusionctl views accept-root VIEW"),
        ("the store cannot", "free or mend the disk of the server's data directory"),
        ("the store is behind", "the disk of the data directory is too slow for the evidence"),
        ("agent ", "look at the agent below"),
        ("and ", "look at the agents: fusionctl sessions"),
        ("", "look at the server's log"),
    ];
    STEPS.iter().find(|(begins, _)| reason.starts_with(begins)).map_or("", |(_, step)| step)
}

fn apart(one: ServerTime, other: ServerTime) -> Duration {
    one.since(other).max(other.since(one))
}

/// A span in whole seconds, for people.
pub(crate) fn spoken(span: Duration) -> String {
    humantime::format_duration(Duration::from_secs(span.as_secs())).to_string()
}

#[cfg(test)]
mod tests;
