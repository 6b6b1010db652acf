//! A view as text, all of it: what two views are compared by.
//!
//! Used by tests, the simulator and for support. Says everything that must survive: entries with
//! what is remembered of them, tombstones, trash, agendas, suspects, held evidence, losses, clock.
//! Does not say what need not: when the leader was last asked, numbers of blocks. Must never: depend
//! on hash order.

use std::fmt::Write as _;

use crate::path::PathRef;
use crate::path::notation::to_text;
use crate::stat::Stat;
use crate::time::ServerTime;

use super::View;
use super::confirm::Confirmation;
use super::tree::{BlockId, Child, Flags, Version};

impl View {
    /// The whole view as text, one fact a line.
    #[must_use]
    pub fn dump(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "revision {}", self.state.revision.0);
        if let Some(root) = self.state.tree.root() {
            self.dump_entry(&mut out, "entry", b"/", BlockId::ANCHOR, b"", &root);
        }
        self.dump_memory(&mut out);
        self.dump_agendas(&mut out);
        self.dump_frames(&mut out);
        out
    }

    fn dump_entry(
        &self,
        out: &mut String,
        what: &str,
        path: &[u8],
        dir: BlockId,
        name: &[u8],
        child: &Child,
    ) {
        let mut todo = vec![(path.to_vec(), dir, Box::<[u8]>::from(name), *child)];
        while let Some((path, dir, name, child)) = todo.pop() {
            let confirmed = self.state.confirmation(dir, &name, &child);
            let _ = write!(out, "{what} {} {}", to_text(&path), stat_text(&child.stat));
            let _ = write!(out, "{}", remembered(&child, confirmed));
            let Some(block) = child.block else {
                out.push('\n');
                continue;
            };
            let meta = self.state.tree.meta(block).unwrap_or_default();
            let listed_in = version_text(meta.listed_in);
            let totals = self.state.tree.totals(block).unwrap_or_default();
            let _ = writeln!(
                out,
                " listed={}@{listed_in} complete={} settled={} {totals:?}",
                opt(meta.listed_at),
                meta.complete,
                meta.settled
            );
            let mut children = Vec::new();
            self.state.tree.children(block, None, usize::MAX, |name, child| {
                let stem: &[u8] = if path.len() == 1 { b"" } else { &path };
                children.push(([stem, b"/", name].concat(), block, name.into(), *child));
            });
            todo.extend(children.into_iter().rev());
        }
    }

    fn dump_memory(&self, out: &mut String) {
        let ledger = &self.state.ledger;
        for (dir, name, tomb) in ledger.tombstones.iter() {
            let (dir, name) = (to_text(dir), to_text(name));
            let seen_in = version_text(tomb.seen_in);
            let (at, since) = (time(tomb.deleted_at), time(tomb.since));
            let _ = writeln!(out, "tombstone {dir} {name} at={at} seen={seen_in} since={since}");
        }
        for record in ledger.trash.after(None) {
            let _ = writeln!(out, "trash {record:?}");
            let Some(subtree) = ledger.trash.subtree(record.id) else { continue };
            let child = Child {
                stat: subtree.stat,
                flags: subtree.flags.without(Flags::CONFIRMED),
                seen_in: subtree.seen_in,
                block: subtree.block(),
            };
            self.dump_entry(out, "trashed", record.path.as_bytes(), BlockId::ANCHOR, b"", &child);
        }
        for (path, end) in ledger.suspects.iter() {
            let _ = writeln!(out, "suspect {} until={}", to_text(path), time(end));
        }
        for (path, errno) in ledger.unreadable.iter() {
            let _ = writeln!(out, "unreadable {} errno={errno}", to_text(path));
        }
    }

    fn dump_agendas(&self, out: &mut String) {
        let ledger = &self.state.ledger;
        for (what, agenda) in [("relist", &ledger.relists), ("probe", &ledger.probes)] {
            for (path, waiting) in agenda.iter() {
                let (due, floor) = (time(waiting.due), time(waiting.floor));
                let level = waiting.level;
                let _ =
                    writeln!(out, "{what} {} due={due} floor={floor} level={level}", to_text(path));
            }
        }
        for (number, row) in ledger.held.iter() {
            let _ = writeln!(out, "held {number} {row:?}");
        }
    }

    fn dump_frames(&self, out: &mut String) {
        let ledger = &self.state.ledger;
        for scan in ledger.scans.iter() {
            let _ = writeln!(out, "scan {scan:?}");
        }
        for (dir, parts) in ledger.parts.iter() {
            let _ = writeln!(out, "parts {} {parts:?}", to_text(dir));
        }
        for loss in ledger.losses.iter() {
            let _ = writeln!(out, "loss {loss:?}");
        }
        let (samples, mode, least) = ledger.clock.figures();
        let _ = writeln!(out, "clock samples={samples} mode={mode}s least={least:?}");
        let _ = writeln!(out, "root {:?}", ledger.root);
        let _ = writeln!(out, "operated {:?}", ledger.operated);
        let _ = writeln!(
            out,
            "scanned snapshot={} audit={} whole={} audits={} reset={}",
            opt(ledger.last_snapshot),
            opt(ledger.last_audit),
            opt(ledger.last_whole_began),
            ledger.audits,
            opt(ledger.reset_at)
        );
        let [young, old] = ledger.confirmations.shared().map(|generation| generation.len());
        let _ = writeln!(
            out,
            "due time={} sweep={} turn={} expiry={} held={} confirmed={young}+{old}",
            time(self.state.time),
            opt(ledger.tombstones.next_sweep()),
            opt(ledger.confirmations.next_turn()),
            opt(ledger.trash.first_expiry()),
            ledger.held.next_number(),
        );
    }

    /// One entry as text, as [`View::dump`] tells it, without its totals.
    #[must_use]
    pub fn describe(&mut self, path: PathRef<'_>) -> Option<String> {
        let found = self.state.find(path)?;
        let agent = found.confirmed.and_then(|c| self.state.ledger.agents.agent(c.agent));
        let by = agent.map(|agent| format!(" by={agent}")).unwrap_or_default();
        let facts = remembered(&found.child, found.confirmed);
        Some(format!("{}{facts}{by}", stat_text(&found.child.stat)))
    }
}

fn stat_text(stat: &Stat) -> String {
    format!(
        "{:?} i={} c={} m={} size={} mode={:o} own={}:{} n={}",
        stat.kind,
        stat.inode,
        stat.ctime.as_nanos(),
        stat.mtime.as_nanos(),
        stat.size,
        stat.mode,
        stat.uid,
        stat.gid,
        stat.nlink
    )
}

fn remembered(child: &Child, confirmed: Option<Confirmation>) -> String {
    let mut text = format!(" seen={}", version_text(child.seen_in));
    if let Some(confirmed) = confirmed {
        let _ = write!(text, " confirmed={}#{}", time(confirmed.at), confirmed.agent);
    }
    for (flag, name) in [(Flags::SUSPECT, " suspect"), (Flags::BLIND, " blind")] {
        if child.flags.has(flag) {
            text.push_str(name);
        }
    }
    text
}

fn version_text(version: Option<Version>) -> String {
    version.map_or_else(|| "-".to_owned(), |v| format!("{}:{}", v.inode, v.ctime.as_nanos()))
}

fn opt(at: Option<ServerTime>) -> String {
    at.map_or_else(|| "-".to_owned(), time)
}

fn time(at: ServerTime) -> String {
    at.as_nanos().to_string()
}
