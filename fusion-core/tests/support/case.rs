//! Reads one text case and runs it against a view.

#![allow(clippy::unwrap_used, reason = "a case that cannot be read fails its test")]

#[path = "case_claims.rs"]
mod claims;
#[path = "case_evidence.rs"]
mod evidence;
#[path = "case_words.rs"]
mod words;

use std::fmt::Write as _;
use std::time::Duration;

use fusion_core::change::{Change, LossCause};
use fusion_core::evidence::{RootState, Witness};
use fusion_core::id::LeaderEpoch;
use fusion_core::path::TreePath;
use fusion_core::view::{AgentReport, Leadership, Order, Verdict, View, ViewSettings};

use evidence::{build, columns};
use words::{Words, agent, server, session};

type Outcome = Result<(), String>;

/// The cases of a file: each begins with a line `case …`.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let starts: Vec<usize> = text.match_indices("case ").map(|(at, _)| at).collect();
    let starts: Vec<usize> =
        starts.into_iter().filter(|at| *at == 0 || text.as_bytes()[at - 1] == b'\n').collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).map(|(from, to)| &text[*from..to]).collect()
}

/// Runs one case.
pub(crate) fn check(text: &str) -> Outcome {
    let name = text.lines().next().unwrap_or_default();
    let mut world = World::new();
    for line in text.lines().skip(1) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        world.line(line).map_err(|error| format!("{name}\n    {line}\n    {error}"))?;
        world
            .view
            .check_invariants()
            .map_err(|error| format!("{name}\n    {line}\n    {error}"))?;
    }
    let mut replayed = View::new(world.view.settings().clone());
    world.changes.iter().for_each(|change| replayed.replay(change));
    let (left, right) = (world.view.dump(), replayed.dump());
    if left == right {
        Ok(())
    } else {
        Err(format!("{name}\n    replay differs:\n{}", differ(&left, &right)))
    }
}

/// The lines in which two dumps differ.
pub(crate) fn differ(left: &str, right: &str) -> String {
    let mut out = String::new();
    for line in left.lines().filter(|line| !right.lines().any(|other| other == *line)) {
        let _ = writeln!(out, "  - {line}");
    }
    for line in right.lines().filter(|line| !left.lines().any(|other| other == *line)) {
        let _ = writeln!(out, "  + {line}");
    }
    out
}

struct World {
    view: View,
    changes: Vec<Change>,
    leader: Option<String>,
    epoch: u64,
    mark: usize,
}

impl World {
    fn new() -> Self {
        let settings = ViewSettings {
            cache_horizon: Duration::from_secs(60),
            hot_threshold: Duration::from_secs(30),
            held_max: 3,
            ..ViewSettings::default()
        };
        Self { view: View::new(settings), changes: Vec::new(), leader: None, epoch: 0, mark: 0 }
    }

    fn line(&mut self, line: &str) -> Outcome {
        if let Some(claim) = line.strip_prefix('?') {
            return self.claim(claim.trim());
        }
        if line == "given tree" {
            return self.given_tree();
        }
        let (step, wanted) = match line.split_once("->") {
            Some((step, wanted)) => (step.trim(), Some(wanted.trim())),
            None => (line, None),
        };
        let (time, rest) = step.split_once(' ').ok_or("a step needs a time")?;
        let now = time.parse().map_err(|_| "a step begins with a time in seconds")?;
        let got = self.step(now, rest.trim())?;
        match wanted {
            Some(wanted) if got != wanted => Err(format!("it was: {got}")),
            _ => Ok(()),
        }
    }

    /// `/` (1:100) with `d` (10:100), in it `f` (11) and the directory `s` (12:100) with `g` (13):
    /// read by a whole snapshot of the leader `a` at 1000; `b` watches as well. Of the tree that was
    /// reset before, the view knows that the storage's clock is at least 700 s ahead: so nothing here
    /// is too young to be settled while the clock is not calibrated (R4.4).
    fn given_tree(&mut self) -> Outcome {
        for line in [
            "800 lead a",
            "800 a list / 1:1500 snapshot { }",
            "800 reset",
            "900 hear a ready through=900",
            "900 hear b ready through=900",
            "900 a scan 1 snapshot / root=d:10",
            "1000 a list / 1:100 snapshot scan=1 { d dir i=10 c=100 }",
            "1000 a list /d 10:100 snapshot scan=1 { f i=11 c=100 ; s dir i=12 c=100 }",
            "1000 a list /d/s 12:100 snapshot scan=1 { g i=13 c=100 }",
            "1000 a done 1",
        ] {
            self.line(line)?;
        }
        Ok(())
    }

    fn step(&mut self, now: i64, rest: &str) -> Result<String, String> {
        let (first, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        let words = Words::of(tail);
        match first {
            "mark" => self.mark = self.changes.len(),
            "tick" => self.view.tick(server(now), &mut self.changes),
            "lead" => self.lead(words.plain.first().copied()),
            "hear" => self.hear(&words, now),
            "lose" | "leave" => {
                let agent = agent(words.plain.first().copied().unwrap_or("a"));
                self.view.lose(&agent, first == "leave", server(now));
                self.view.tick(server(now), &mut self.changes);
            }
            "restart" | "hole" => {
                let agent = agent(words.plain.first().copied().unwrap_or("a"));
                let hole = first == "hole";
                let cause = if hole { LossCause::SequenceHole } else { LossCause::NewInstance };
                self.view.lose_events(&agent, cause, server(now));
                self.view.tick(server(now), &mut self.changes);
            }
            "give" => {
                let path = words.path(1)?;
                self.view.assign_scan(session(words.plain[0]), path);
            }
            "restore" | "purge" => return self.trash(first, &words, now),
            "join" => {
                let root = words.root().ok_or("root=?")?;
                let agrees = self.view.root_agrees(&root, server(now));
                return Ok(if agrees { "ok" } else { "root_mismatch" }.to_owned());
            }
            "any-root" => {
                let settings = self.view.settings().clone();
                self.view.set_settings(ViewSettings { accept_root: true, ..settings });
            }
            "max" => {
                let settings = self.view.settings().clone();
                let max_entries = words.plain[0].parse().map_err(|_| "max of how many?")?;
                self.view.set_settings(ViewSettings { max_entries, ..settings });
            }
            "accept" => self.view.accept_root(server(now), &mut self.changes),
            "reset" => self.view.reset(server(now), &mut self.changes),
            "orders" => return Ok(self.orders(now)),
            agent => return self.evidence(agent, tail, now),
        }
        Ok(String::new())
    }

    fn lead(&mut self, leader: Option<&str>) {
        self.epoch += 1;
        self.leader = leader.map(str::to_owned);
        let epoch = LeaderEpoch(self.epoch);
        self.view
            .set_leadership(leader.map(|leader| Leadership { session: session(leader), epoch }));
    }

    fn hear(&mut self, words: &Words<'_>, now: i64) {
        let report = AgentReport {
            delivered_through: words.number("through").map(server),
            realtime_ready: words.has("ready"),
            unwatched_directories: words.number("unwatched").unwrap_or(0) as u64,
            root: RootState::Available,
        };
        self.view.hear(&agent(words.plain[0]), &report, server(now));
    }

    fn trash(&mut self, what: &str, words: &Words<'_>, now: i64) -> Result<String, String> {
        let path = words.path(0)?;
        let wanted = |inode: u64| words.number("i").is_none_or(|wanted| wanted == inode as i64);
        let records = self.view.trash(None);
        let found =
            records.filter(|record| record.path == path && wanted(record.stat.inode)).last();
        let id = found.map(|record| record.id).ok_or("no such record")?;
        let result = match what {
            "restore" => self.view.restore(id, server(now), &mut self.changes),
            _ => self.view.purge(id, server(now), &mut self.changes),
        };
        Ok(result.map_or_else(|error| error.to_string(), |()| "ok".to_owned()))
    }

    fn orders(&mut self, now: i64) -> String {
        let mut told = Vec::new();
        for order in self.view.orders(server(now), 100) {
            let (what, paths) = match order {
                Order::Relist(paths) => ("relist", paths),
                Order::Probe(paths) => ("probe", paths),
                Order::Audit { number } => {
                    told.push(format!("audit {number}"));
                    continue;
                }
            };
            told.extend(paths.iter().map(|path| format!("{what} {path}")));
        }
        if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
    }

    fn evidence(&mut self, who: &str, rest: &str, now: i64) -> Result<String, String> {
        let (verb, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        let (head, rows) = match tail.split_once('{') {
            Some((head, rows)) => (head, rows.trim_end().trim_end_matches('}')),
            None => (tail, ""),
        };
        let words = Words::of(head);
        let leads = self.leader.as_deref() == Some(who);
        let epoch = words.number("epoch").map_or(if leads { self.epoch } else { 0 }, |e| e as u64);
        let by = Witness { agent: agent(who), session: session(who), epoch: LeaderEpoch(epoch) };
        let columns = columns(rows);
        let (path, to) = (words.path(0), words.path(1));
        let at = server(words.number("obs").unwrap_or(now));
        let text = |path: &Result<TreePath, String>| path.clone();
        let (path, to) = (text(&path), text(&to));
        let evidence = build(verb, &words, path.as_ref(), to.as_ref(), &columns, at)?;
        let verdict = self.view.apply(&by, &evidence, server(now), &mut self.changes);
        Ok(match verdict {
            Verdict::Rejected(reject) => format!("rejected {}", reject.as_str()),
            verdict => verdict.as_str().to_owned(),
        })
    }
}
