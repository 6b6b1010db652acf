//! What a case says must hold: the lines that begin with `?`.

use fusion_core::change::{Change, ChangeKind};
use fusion_core::path::TreePath;
use fusion_core::time::ServerTime;

use super::words::{SECOND, Words, server};
use super::{Outcome, World};

impl World {
    pub(super) fn claim(&mut self, claim: &str) -> Outcome {
        let (verb, tail) = claim.split_once(' ').unwrap_or((claim, ""));
        let words = Words::of(tail);
        let truth = match verb {
            "there" => return self.claim_there(&words),
            "gone" => self.view.describe(words.path(0)?.as_ref()).is_none(),
            "tombstone" => self.view.tombstone(words.path(0)?.as_ref()).is_some_and(|tomb| {
                words.number("at").is_none_or(|at| tomb.deleted_at == server(at))
            }),
            "buried" => self.view.tombstone(words.path(0)?.as_ref()).is_some(),
            "unburied" => self.view.tombstone(words.path(0)?.as_ref()).is_none(),
            "relist" => waits(self.view.relists(), &words)?,
            "probe" => waits(self.view.probes(), &words)?,
            "unlisted" => !waits(self.view.relists(), &words)?,
            "unprobed" => !waits(self.view.probes(), &words)?,
            "trash" => self.claim_trash(&words)?,
            "untrashed" => !self.claim_trash(&words)?,
            "doubt" => self.claim_doubt(&words)?,
            "certain" => !self.claim_doubt(&words)?,
            "held" => words.has(&self.view.figures().held.to_string()),
            "suspects" => words.has(&self.view.figures().suspects.to_string()),
            "short" => words.has(&self.view.figures().short.to_string()),
            "losses" => words.has(&self.view.figures().losses.to_string()),
            "blindspots" => words.has(&self.view.figures().blind_deletions.to_string()),
            "audit" => words.has(&self.view.audit_number().to_string()),
            "unmoved" => self.changes.len() == self.mark,
            "told" => return self.claim_told(&words),
            "totals" => return self.claim_totals(&words),
            "unreadable" => {
                let path = words.path(0)?;
                self.view.unreadable_directories().any(|(dir, _)| dir == path.as_bytes())
            }
            "state" | "horizon" | "watermark" | "coverage" => {
                return self.claim_status(verb, &words);
            }
            _ => return Err(format!("what is `{verb}`?")),
        };
        if truth { Ok(()) } else { Err(format!("it is not so\n{}", self.view.dump())) }
    }

    fn claim_doubt(&self, words: &Words<'_>) -> Result<bool, String> {
        let now = words.number("now").ok_or("in doubt when?")?;
        Ok(self.view.in_doubt(words.path(0)?.as_ref(), server(now)))
    }

    fn claim_there(&mut self, words: &Words<'_>) -> Outcome {
        let path = words.path(0)?;
        let text = self.view.describe(path.as_ref()).ok_or("nothing is there")?;
        for (key, value) in &words.keyed {
            let scaled = match *key {
                "c" | "m" | "confirmed" => {
                    value.parse::<i64>().map_or(0, |v| v * SECOND).to_string()
                }
                _ => (*value).to_owned(),
            };
            let is = |told: &str| {
                let (known, told) = told.split_once('=').unwrap_or_default();
                known == *key && told.split('#').next() == Some(&scaled)
            };
            if !text.split_whitespace().any(is) {
                return Err(format!("it is: {text}"));
            }
        }
        for word in &words.plain[1..] {
            let (flag, wanted) =
                word.strip_prefix("not-").map_or((*word, true), |flag| (flag, false));
            let flag = if flag == "dir" { "Directory" } else { flag };
            if text.split_whitespace().any(|told| told == flag) != wanted {
                return Err(format!("it is: {text}"));
            }
        }
        Ok(())
    }

    /// The changes since the mark tell of a path in this way.
    fn claim_told(&self, words: &Words<'_>) -> Outcome {
        let (wanted, path) = (words.plain.first().ok_or("told of what?")?, words.path(1)?);
        let changes = &self.changes[self.mark..];
        let told: Vec<&str> = changes
            .iter()
            .flat_map(Change::entries)
            .filter_map(|change| told_of(&change.kind, &path))
            .collect();
        if told.contains(wanted) { Ok(()) } else { Err(format!("told: {told:?}")) }
    }

    fn claim_totals(&self, words: &Words<'_>) -> Outcome {
        let path = words.path(0)?;
        let totals = self.view.reader().totals(path.as_ref()).map_err(|error| error.to_string())?;
        let told = |key: &str| {
            Some(match key {
                "files" => totals.files as i64,
                "dirs" => totals.directories as i64,
                "others" => totals.others as i64,
                "bytes" => totals.bytes as i64,
                "suspects" => totals.suspects as i64,
                "blind" => totals.blind as i64,
                "newest" => totals.newest_mtime?.as_nanos() / SECOND,
                "changed" => totals.last_change?.as_nanos() / SECOND,
                _ => return None,
            })
        };
        let right = |(key, value): (&&str, &&str)| value.parse().ok() == told(key);
        let all = !words.keyed.is_empty() && words.keyed.iter().all(right);
        if all { Ok(()) } else { Err(format!("it is: {totals:?}")) }
    }

    fn claim_trash(&self, words: &Words<'_>) -> Result<bool, String> {
        let path = words.path(0)?;
        Ok(self.view.trash(None).any(|record| {
            record.path == path
                && words
                    .keyed
                    .get("cause")
                    .is_none_or(|cause| format!("{:?}", record.cause).to_lowercase() == *cause)
                && words.keyed.get("by").is_none_or(|by| {
                    record.by.as_ref().is_some_and(|witness| witness.agent.as_str() == *by)
                })
                && (!words.has("blind") || record.blind)
                && words.number("i").is_none_or(|inode| record.stat.inode == inode as u64)
                && words.number("size").is_none_or(|size| record.stat.size == size as u64)
                && words.number("gone").is_none_or(|at| record.deleted_at == server(at))
        }))
    }

    fn claim_status(&mut self, what: &str, words: &Words<'_>) -> Outcome {
        let now = words.number("now").unwrap_or(1000);
        let status = self.view.status(server(now));
        let told = match what {
            "state" => format!("{:?}", status.state).to_lowercase(),
            "coverage" => format!("{:?}", status.coverage).to_lowercase(),
            "watermark" if status.calibrated => (status.watermark.as_nanos() / SECOND).to_string(),
            "watermark" => "uncalibrated".to_owned(),
            _ => {
                status.horizon.map_or("none".to_owned(), |at| (at.as_nanos() / SECOND).to_string())
            }
        };
        let because = words
            .keyed
            .get("because")
            .is_none_or(|word| status.reasons.iter().any(|reason| reason.contains(word)));
        let right = words.plain.first().is_some_and(|word| *word == told) && because;
        if right { Ok(()) } else { Err(format!("it is {told}: {:?}", status.reasons)) }
    }
}

/// What a change says of a path, if it is the one that it is about.
fn told_of(kind: &ChangeKind, about: &TreePath) -> Option<&'static str> {
    let (path, told) = match kind {
        ChangeKind::Created { path, .. } => (path, "created"),
        ChangeKind::Modified { path, .. } => (path, "modified"),
        ChangeKind::Removed { path, .. } => (path, "removed"),
        ChangeKind::Moved { to, .. } => (to, "moved"),
        ChangeKind::Restored { path, .. } => (path, "restored"),
        ChangeKind::Purged { path, .. } => (path, "purged"),
        _ => return None,
    };
    (path == about).then_some(told)
}

fn waits<'a, T>(
    mut agenda: impl Iterator<Item = (&'a [u8], T)>,
    words: &Words<'_>,
) -> Result<bool, String>
where
    T: Into<Due>,
{
    let Ok(path) = words.path(0) else { return Ok(agenda.next().is_some()) };
    let found = agenda.find(|(known, _)| *known == path.as_bytes()).map(|(_, due)| due.into().0);
    Ok(found.is_some_and(|due| words.number("at").is_none_or(|at| due == server(at))))
}

/// When something that waits is due.
struct Due(ServerTime);

impl From<fusion_core::view::Waiting> for Due {
    fn from(waiting: fusion_core::view::Waiting) -> Self {
        Self(waiting.from())
    }
}
