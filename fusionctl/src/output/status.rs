//! The server at a glance, its sessions and settings, and what `doctor` found.

use fusion_core::session::{Role, SessionState};
use fusion_core::time::ServerTime;
use fusion_proto::convert::admin::{ConfigChange, EngineGuarantee};
use fusion_proto::convert::session::SessionInfo;
use fusion_proto::views::{Freshness, ViewInfo};
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use super::table::owner_text;
use super::{Printer, json, rfc3339};
use crate::commands::{Finding, Picture, server_json, spoken};
use crate::exit::Failure;

impl Printer {
    /// What a server logs.
    pub(crate) fn log_filter(&mut self, filter: &str) -> Result<(), Failure> {
        if self.is_json() {
            return self.document(&json!({ "log_filter": filter }));
        }
        self.text(filter)
    }

    /// What changed of a server's configuration, a line each.
    pub(crate) fn changes_of_config(&mut self, changes: &[ConfigChange]) -> Result<(), Failure> {
        if self.is_json() {
            return changes.iter().try_for_each(|ConfigChange { key, before, after }| {
                self.document(&json!({ "key": key, "before": before, "after": after }))
            });
        }
        if changes.is_empty() {
            return self.text("nothing changed");
        }
        let shown = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        changes.iter().try_for_each(|ConfigChange { key, before, after }| {
            self.text(&format!("{key}: {} -> {}", shown(before), shown(after)))
        })
    }

    /// The head of a table of sessions; nothing in JSON.
    pub(crate) fn sessions_head(&mut self) -> Result<(), Failure> {
        self.head(&format!(
            "{:<36}  {:<16}  {:<16}  {:<8}  {:<16}  {:>12}  {:>6}  {:>10}",
            "SESSION", "VIEW", "AGENT", "ROLE", "HOST", "WATCHED", "QUEUE", "SPOOL"
        ))
    }

    /// One session.
    pub(crate) fn session(&mut self, session: &SessionInfo) -> Result<(), Failure> {
        if self.is_json() {
            return self.document(&session_json(session));
        }
        let id = session.session.map(|id| id.to_string()).unwrap_or_default();
        let status = session.status.as_ref();
        let figure = |figure: Option<String>| figure.unwrap_or_else(|| "-".to_owned());
        self.text(&format!(
            "{id:<36}  {:<16}  {:<16}  {:<8}  {:<16}  {:>12}  {:>6}  {:>10}",
            session.view.as_str(),
            session.agent.as_str(),
            role_text(session),
            session.client.hostname,
            figure(status.map(|it| HumanCount(it.watched_directories).to_string())),
            figure(status.map(|it| HumanCount(it.queue_depth).to_string())),
            figure(status.map(|it| HumanBytes(it.spool_bytes).to_string())),
        ))
    }

    /// The whole server.
    pub(crate) fn picture(&mut self, picture: &Picture) -> Result<(), Failure> {
        if self.is_json() {
            return self.document(&picture_json(picture));
        }
        let server = &picture.server;
        let now = server.server_time;
        let up = spoken(now.since(server.started_at));
        self.text(&format!("server {}", picture.url))?;
        self.text(&format!("  fusion-server {}, up {up}, id {}", server.version, server.server))?;
        let place = if server.data_dir.is_empty() { "memory" } else { &server.data_dir };
        self.text(&format!("  {} in {place}", HumanBytes(server.data_bytes)))?;
        for (what, kept) in [("log", &server.log), ("state", &server.state)] {
            let Some(EngineGuarantee { engine, survives, note }) = kept else { continue };
            let dash = if note.is_empty() { "" } else { "; " };
            self.text(&format!("  {what}: {engine}, outlives {}{dash}{note}", survives.as_str()))?;
        }
        self.text(&format!(
            "  {} of {} views, {} of {} sessions",
            server.views, server.limits.max_views, server.sessions, server.limits.max_sessions
        ))?;
        picture.servers.iter().try_for_each(|one| self.listed_server(one))?;
        for (view, sessions) in &picture.views {
            self.view_lines(view, sessions, now)?;
        }
        Ok(())
    }

    fn view_lines(
        &mut self,
        view: &ViewInfo,
        sessions: &[SessionInfo],
        now: ServerTime,
    ) -> Result<(), Failure> {
        let Freshness { reasons, revision, last_snapshot, last_audit, horizon, .. } =
            &view.freshness;
        let (state, coverage) = (view.freshness.state_text(), view.freshness.coverage_text());
        self.text(&format!("\nview {}: {state}, {coverage}, revision {revision}", view.name))?;
        for reason in reasons {
            self.text(&format!("  ! {reason}"))?;
        }
        if let Some(ownership) = &view.ownership {
            self.text(&format!("  owner {}", owner_text(ownership)))?;
        }
        let totals = &view.totals;
        self.text(&format!(
            "  {} files, {} directories, {}; {} suspects, {} blind",
            HumanCount(totals.files),
            HumanCount(totals.directories),
            HumanBytes(totals.bytes),
            HumanCount(totals.suspects),
            HumanCount(totals.blind),
        ))?;
        let ago = |at: Option<ServerTime>| {
            at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", spoken(now.since(at))))
        };
        let lag = horizon.map_or_else(
            || "not known: not every witness is heard".to_owned(),
            |at| format!("{} behind", spoken(now.since(at))),
        );
        self.text(&format!(
            "  first scan {}, last audit {}; horizon {lag}",
            ago(*last_snapshot),
            ago(*last_audit)
        ))?;
        if sessions.is_empty() {
            return self.text("  no agent");
        }
        sessions.iter().try_for_each(|session| self.agent_line(session, now))
    }

    fn agent_line(&mut self, session: &SessionInfo, now: ServerTime) -> Result<(), Failure> {
        let heard = spoken(now.since(session.last_heartbeat));
        let role = role_text(session);
        let begin = format!(
            "  {role:<8}  {} on {}, heard {heard} ago",
            session.agent, session.client.hostname
        );
        let Some(status) = &session.status else {
            return self.text(&format!("{begin}, has not said how it is"));
        };
        let watches = match (status.realtime_ready, status.watch_limit) {
            (false, _) => "does not watch".to_owned(),
            (true, None) => "watches the whole mount".to_owned(),
            (true, Some(limit)) => {
                let watched = HumanCount(status.watched_directories);
                format!("watches {watched} of at most {} directories", HumanCount(limit))
            }
        };
        let unwatched = match status.unwatched_directories {
            0 => String::new(),
            more => format!(" ({} not watched)", HumanCount(more)),
        };
        let (queue, spool) = (HumanCount(status.queue_depth), HumanBytes(status.spool_bytes));
        self.text(&format!("{begin}, {watches}{unwatched}, queue {queue}, spool {spool}"))?;
        if let Some(scan) = &status.scan {
            let (directories, entries) = (HumanCount(scan.directories), HumanCount(scan.entries));
            self.text(&format!("            scans: {directories} directories, {entries} entries"))?;
        }
        status.errors.iter().try_for_each(|error| self.text(&format!("            ! {error}")))
    }

    /// What is wrong, and what to do.
    pub(crate) fn findings(&mut self, findings: &[Finding]) -> Result<(), Failure> {
        if self.is_json() {
            return findings.iter().try_for_each(|finding| {
                let Finding { is_wrong, about, says, next } = finding;
                let level = if *is_wrong { "wrong" } else { "note" };
                self.document(
                    &json!({ "level": level, "about": about, "says": says, "next": next }),
                )
            });
        }
        if findings.is_empty() {
            return self.text("all is well");
        }
        for Finding { is_wrong, about, says, next } in findings {
            let mark = if *is_wrong { "!" } else { "-" };
            self.text(&format!("{mark} {about}: {says}"))?;
            self.text(&format!("    {next}"))?;
        }
        Ok(())
    }
}

fn picture_json(picture: &Picture) -> Value {
    let server = &picture.server;
    let views: Vec<Value> = picture
        .views
        .iter()
        .map(|(view, sessions)| {
            let mut document = json::view(view);
            document["agents"] = sessions.iter().map(session_json).collect();
            document
        })
        .collect();
    let kept = |kept: &Option<EngineGuarantee>| {
        kept.as_ref().map(|kept| {
            json!({ "engine": kept.engine, "survives": kept.survives.as_str(), "note": kept.note })
        })
    };
    let mut document = json!({
        "server": picture.url,
        "version": server.version,
        "server_id": server.server.to_string(),
        "started_at": rfc3339(server.started_at.as_nanos()),
        "server_time": rfc3339(server.server_time.as_nanos()),
        "data_dir": server.data_dir,
        "data_bytes": server.data_bytes,
        "log": kept(&server.log),
        "state": kept(&server.state),
        "sessions": server.sessions,
        "max_sessions": server.limits.max_sessions,
        "max_views": server.limits.max_views,
        "views": views,
    });
    // A server that is alone has nothing to say of others.
    if let Some(member) = server.member {
        document["member_id"] = json!(member.to_string());
        document["servers"] = picture.servers.iter().map(server_json).collect();
    }
    document
}

fn session_json(session: &SessionInfo) -> Value {
    let status = session.status.as_ref().map(|status| {
        json!({
            "realtime_ready": status.realtime_ready,
            "watched_directories": status.watched_directories,
            "watch_limit": status.watch_limit,
            "unwatched_directories": status.unwatched_directories,
            "queue_depth": status.queue_depth,
            "spool_bytes": status.spool_bytes,
            "oldest_unacknowledged_seconds":
                status.oldest_unacknowledged.map(|age| age.as_secs_f64()),
            "errors": status.errors,
            "scan_directories": status.scan.map(|scan| scan.directories),
            "scan_entries": status.scan.map(|scan| scan.entries),
        })
    });
    json!({
        "session_id": session.session.map(|id| id.to_string()),
        "view": session.view.as_str(),
        "agent_id": session.agent.as_str(),
        "host": session.client.hostname,
        "state": state_text(session.state),
        "role": role_text(session),
        "leader_epoch": session.epoch.0,
        "created_at": rfc3339(session.created_at.as_nanos()),
        "last_heartbeat": rfc3339(session.last_heartbeat.as_nanos()),
        "root_uri": session.root_uri,
        "status": status,
    })
}

fn role_text(session: &SessionInfo) -> &'static str {
    match session.role {
        Role::Leader => "leader",
        Role::Follower => "follower",
    }
}

fn state_text(state: SessionState) -> &'static str {
    match state {
        SessionState::Active => "ACTIVE",
        SessionState::Ended => "ENDED",
        SessionState::Expired => "EXPIRED",
        SessionState::Superseded => "SUPERSEDED",
        SessionState::Evicted => "EVICTED",
        SessionState::Reset => "RESET",
    }
}
