//! What is opened before an agent runs: root and spool; and the names of things.

use std::path::Path;
use std::time::Duration;

use fusion_core::evidence::RootIdentity;
use fusion_core::id::{AgentId, InstanceId};
use rustix::io::Errno;
use tokio::task::JoinError;

use super::AgentError;
use crate::clock::SharedClock;
use crate::config::AgentConfig;
use crate::ids::SharedIds;
use crate::link::ClientInfo;
use crate::scan::{Root, RootOptions};
use crate::spool::{
    BootId, Claim, Opened, Owner, Recovery, Spool, SpoolError, SpoolOptions, Takeover,
};

/// Longest that opening the root may take before it counts as hung.
const ROOT_LIMIT: Duration = Duration::from_secs(10);

/// What becomes of who opens a root that does not answer.
#[derive(Clone, Copy)]
pub(crate) enum Patience<'a> {
    /// It fails.
    Ends,
    /// It waits for as long as that takes, so that who tries again and again leaves no more than one call
    /// that hangs; this is told.
    Waits(&'a (dyn Fn(AgentError) + Sync)),
}

/// Opens the root and looks what it is.
pub(super) async fn root(
    config: &AgentConfig,
    patience: Patience<'_>,
) -> Result<(Root, RootIdentity), AgentError> {
    let failed = |why| AgentError::Root { path: config.root.clone(), why };
    let (path, call_limit) = (config.root.clone(), config.call_limit);
    let mut open = tokio::task::spawn_blocking(move || {
        let options = RootOptions { call_limit, ..RootOptions::default() };
        Root::open(&path, options).map_err(|error| error.errno)
    });
    let hung = || failed("does not answer; is its storage hung?".to_owned());
    let opened = match (tokio::time::timeout(ROOT_LIMIT, &mut open).await, patience) {
        (Ok(opened), _) => opened,
        (Err(_), Patience::Ends) => return Err(hung()),
        (Err(_), Patience::Waits(tell)) => {
            tell(hung());
            open.await
        }
    };
    let root = said(opened).map_err(failed)?;
    let looked = root.clone();
    let look = tokio::task::spawn_blocking(move || looked.identity_in_time());
    let identity = said(look.await).map_err(failed)?;
    Ok((root, identity))
}

/// What the system said, for people.
fn said<T>(result: Result<Result<T, Errno>, JoinError>) -> Result<T, String> {
    let result = result.map_err(|error| error.to_string())?;
    result.map_err(|errno| std::io::Error::from(errno).to_string())
}

/// A spool as it was found.
pub(super) struct OpenedSpool {
    pub(super) spool: Spool,
    pub(super) boot: BootId,
    pub(super) max_bytes: u64,
    /// Evidence in it was lost, and the server is to be told.
    pub(super) lost: bool,
    /// What was wrong with it, for the metrics.
    pub(super) found: Vec<&'static str>,
}

/// Opens the spool, and mends what can be mended.
pub(super) async fn spool(
    config: &AgentConfig,
    host: &str,
    instance: InstanceId,
    clock: &SharedClock,
    ids: &SharedIds,
) -> Result<OpenedSpool, AgentError> {
    let claim = Claim { host: host.to_owned(), instance_id: instance, since: clock.wall() };
    let options = SpoolOptions::with_max_bytes(config.spool_bytes);
    let (folder, ids) = (config.spool.clone(), ids.clone());
    let open = tokio::task::spawn_blocking(move || {
        let boot = BootId::of_this_boot()
            .map_err(|source| SpoolError::Io { doing: "read the boot id".into(), source })?;
        let mut draw = || ids.uuid();
        let Opened { mut spool, takeover, recovery } =
            Spool::open(&folder, options, &claim, &mut draw)?;
        if let Some(takeover) = &takeover {
            let before = owner_before(takeover);
            tracing::warn!(spool = %folder.display(), "spool taken over from {before}");
        }
        if recovery.torn_bytes > 0 {
            tracing::warn!(bytes = recovery.torn_bytes, "the spool's last frame was torn: cut off");
        }
        if recovery.rolled_back {
            tracing::warn!("the spool holds less than was acknowledged: it gets a new id");
            spool.renumber(&mut draw)?;
        }
        let mut found = what_was_found(takeover.is_some(), &recovery);
        let lost = recovery.rolled_back || recovery.identity_lost || recovery.lost_frames > 0;
        if lost {
            tracing::error!(?recovery, "evidence in the spool was lost");
        }
        if forget_other_boots(&mut spool, boot)? {
            found.push("other_boot");
        }
        Ok(OpenedSpool { spool, boot, max_bytes: options.max_bytes, lost, found })
    });
    let opened: Result<OpenedSpool, SpoolError> =
        open.await.map_err(|error| AgentError::Internal(error.to_string()))?;
    Ok(opened?)
}

/// What was wrong with a spool, as the metrics name it.
fn what_was_found(taken_over: bool, recovery: &Recovery) -> Vec<&'static str> {
    let all = [
        ("taken_over", taken_over),
        ("torn", recovery.torn_bytes > 0),
        ("frames_lost", recovery.lost_frames > 0),
        ("identity_lost", recovery.identity_lost),
        ("rolled_back", recovery.rolled_back),
    ];
    all.into_iter().filter_map(|(what, is)| is.then_some(what)).collect()
}

/// From whom a spool was taken over, for people.
fn owner_before(takeover: &Takeover) -> String {
    let owner =
        |owner: &Owner| format!("pid {} on {} since {}", owner.pid, owner.host, owner.since);
    match takeover {
        Takeover::Dead(dead) => {
            format!("an agent that died without releasing it ({})", owner(dead))
        }
        Takeover::Abandoned(left, _) => format!("an agent that let go of it ({})", owner(left)),
        Takeover::Broken(_) => "somebody whose record cannot be read".to_owned(),
    }
}

/// The times of another boot cannot be told in the server's: its evidence counts as lost, which the
/// server sees from the hole in the sequences (R10). Gives whether there was any.
fn forget_other_boots(spool: &mut Spool, boot: BootId) -> Result<bool, SpoolError> {
    let mut at = spool.first_held();
    while at < spool.next() {
        let frames = spool.read_from(at, 1 << 20)?;
        let others = frames.iter().take_while(|frame| frame.boot != boot).count();
        at += others as u64;
        if others < frames.len() || frames.is_empty() {
            break;
        }
    }
    if at == spool.first_held() {
        return Ok(false);
    }
    tracing::warn!(batches = at - spool.first_held(), "evidence of another boot counts as lost");
    spool.acknowledge(at - 1)?;
    Ok(true)
}

/// The agent's name: as configured, else HOSTNAME-XXXXXXXX.
pub(super) fn agent_id(
    config: &AgentConfig,
    host: &str,
    suffix: &str,
) -> Result<AgentId, AgentError> {
    if let Some(configured) = &config.agent_id {
        return Ok(configured.clone());
    }
    let allowed = |letter: char| {
        if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '-' }
    };
    let host: String = host.chars().map(allowed).take(100).collect();
    AgentId::new(&format!("{host}-{suffix}"))
        .map_err(|error| AgentError::Internal(error.to_string()))
}

/// This host's name.
pub(super) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// This program, for people.
pub(super) fn client(host: &str) -> ClientInfo {
    let system = rustix::system::uname();
    let os =
        format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy());
    ClientInfo {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: cut(host, fusion_proto::limits::HOSTNAME_MAX),
        os: cut(&os, fusion_proto::limits::CLIENT_TEXT_MAX),
    }
}

/// The root as `file://HOST/PATH`, for people.
pub(super) fn root_uri(host: &str, root: &Path) -> String {
    let absolute = std::path::absolute(root).unwrap_or_else(|_| root.to_path_buf());
    cut(&format!("file://{host}{}", absolute.display()), fusion_proto::limits::ROOT_URI_MAX)
}

fn cut(text: &str, most: usize) -> String {
    let fits = |(at, letter): &(usize, char)| at + letter.len_utf8() <= most;
    text.char_indices().take_while(fits).map(|(_, letter)| letter).collect()
}
