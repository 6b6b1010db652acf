//! What readers of class TRUSTED and FRESH were answered in a storm, held against what had been written. Pure.
//!
//! An answer to a TRUSTED read is of a view that is READY, and has all that was written up to its horizon; one to a FRESH
//! read has what was on the disk when it was asked for (4-consistency, "Readiness, horizon and freshness"). Of revisions
//! nothing more is promised: one server may give a TRUSTED answer as of less than another told before, with an earlier
//! horizon. Called by [`super::readers`] and the storm. Must never: count as judged what could not have failed.

use std::fmt;
use std::time::Duration;

use super::fleet::SERVERS;
use super::witness::Answer;

/// How far a horizon may be beside the clock that files are written by: an agent knows the time of its server to half of
/// the round trip of a heartbeat, and waits for 5 s at most for the answer to one.
pub const CLOCKS: Duration = Duration::from_millis(2_500);

/// An answer to a TRUSTED read of the folder.
#[derive(Debug, Clone, Copy)]
pub struct Trusted {
    /// By which server, when, and as of which revision.
    pub answer: Answer,
    /// The time of our clock when it had answered, in nanoseconds since 1970.
    pub at: i64,
    /// Its horizon by the owner's clock, in the same way.
    pub horizon: Option<i64>,
    /// All files below this number are in it.
    pub whole: usize,
}

/// An answer to a FRESH read of a file.
#[derive(Debug, Clone, Copy)]
pub struct Fresh {
    /// By which server.
    pub server: usize,
    /// The file; it was on the disk when it was asked for.
    pub file: usize,
    /// Whether the answer has it.
    pub found: bool,
}

/// All that was written, asked and answered.
#[derive(Debug, Default, Clone)]
pub struct Notes {
    /// When each file was on the disk, by our clock in nanoseconds since 1970; file 0 is the first.
    pub written: Vec<i64>,
    /// Answers to TRUSTED reads.
    pub trusted: Vec<Trusted>,
    /// Answers to FRESH reads.
    pub fresh: Vec<Fresh>,
    /// Reads that were refused for now, or whose server was away.
    pub refused: usize,
    /// Reads that were not answered in time.
    pub unanswered: usize,
    /// Refusals that must not be, in words.
    pub trouble: Vec<String>,
}

/// What was judged, and holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// TRUSTED answers of each server that had to have files, and had them.
    pub trusted: [usize; SERVERS],
    /// FRESH answers of each server.
    pub fresh: [usize; SERVERS],
    /// TRUSTED answers that promised no file: without a horizon, or with one before all files or by another clock.
    pub open: usize,
    /// Files that were written.
    pub files: usize,
    /// Reads that were refused for now, or whose server was away.
    pub refused: usize,
    /// Reads that were not answered in time.
    pub unanswered: usize,
}

impl Judged {
    /// Whether answers of both classes could be judged; of class FRESH alone where the owner may go by another clock until the
    /// end.
    #[must_use]
    pub fn is_of_both(&self, is_clocked: bool) -> bool {
        let has_some = |of: &[usize; SERVERS]| of.iter().any(|count| *count > 0);
        has_some(&self.fresh) && (is_clocked || has_some(&self.trusted))
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trusted, fresh, open, files, refused, unanswered } = self;
        let [trusted, fresh] = [trusted, fresh].map(|of| of.iter().sum::<usize>());
        write!(
            f,
            "of {files} files {trusted} TRUSTED and {fresh} FRESH answers \
             ({open} more promised none, {refused} refused, {unanswered} too late)"
        )
    }
}

/// What was answered, judged. `is_clocked`: the clock of a server may have been ahead of ours.
///
/// # Errors
/// What breaks a promise, in words.
pub fn judge(notes: &Notes, is_clocked: bool) -> Result<Judged, Vec<String>> {
    let (files, refused, unanswered) = (notes.written.len(), notes.refused, notes.unanswered);
    let mut judged = Judged { files, refused, unanswered, ..Judged::default() };
    let mut broken = notes.trouble.clone();
    for told in &notes.trusted {
        match told.promised(&notes.written, is_clocked) {
            Ok(0) => judged.open += 1,
            Ok(files) if told.whole >= files => judged.trusted[told.answer.server] += 1,
            Ok(files) => broken.push(format!("file {} of {files} is not in {told:?}", told.whole)),
            Err(why) => broken.push(format!("{why}: {told:?}")),
        }
    }
    for told in &notes.fresh {
        if told.found {
            judged.fresh[told.server] += 1;
        } else {
            broken.push(format!("what was on the disk before it was asked for: {told:?}"));
        }
    }
    if broken.is_empty() { Ok(judged) } else { Err(broken) }
}

impl Trusted {
    /// How many files it promises to have: those that were written up to its horizon.
    fn promised(&self, written: &[i64], is_clocked: bool) -> Result<usize, &'static str> {
        if !self.answer.ready {
            return Err("TRUSTED, and not READY");
        }
        let Some(horizon) = self.horizon else { return Ok(0) };
        let beside = i64::try_from(CLOCKS.as_nanos()).unwrap_or(i64::MAX);
        if horizon > self.at.saturating_add(beside) {
            return if is_clocked { Ok(0) } else { Err("a horizon that is yet to come") };
        }
        Ok(written.partition_point(|at| at.saturating_add(beside) <= horizon))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::now;

    const SECOND: i64 = 1_000_000_000;

    /// Files at 1, 2, … 60 s, and an answer at 60 s with a horizon in seconds and so many files.
    fn told(horizon: Option<i64>, whole: usize) -> Notes {
        let answer = Answer { server: 1, asked: now(), answered: now(), ready: true, revision: 7 };
        let (at, horizon) = (60 * SECOND, horizon.map(|seconds| seconds * SECOND));
        Notes {
            written: (1..=60).map(|second| second * SECOND).collect(),
            trusted: vec![Trusted { answer, at, horizon, whole }],
            ..Notes::default()
        }
    }

    fn trusted(notes: &Notes, is_clocked: bool) -> Result<(usize, usize), usize> {
        let judged = judge(notes, is_clocked).map_err(|broken| broken.len())?;
        Ok((judged.trusted[1], judged.open))
    }

    #[test]
    fn a_trusted_answer_has_all_that_was_written_up_to_its_horizon() {
        // 47 s and the 2.5 s of the clocks are before 50 s, 48 s are not.
        assert_eq!(trusted(&told(Some(50), 47), false), Ok((1, 0)));
        assert_eq!(trusted(&told(Some(50), 60), false), Ok((1, 0)), "more than it says");
        assert_eq!(trusted(&told(Some(50), 46), false), Err(1));
        assert_eq!(trusted(&told(Some(50), 0), false), Err(1));
    }

    #[test]
    fn what_promises_no_file_is_not_counted_as_judged() {
        assert_eq!(trusted(&told(None, 0), false), Ok((0, 1)));
        assert_eq!(trusted(&told(Some(3), 0), false), Ok((0, 1)));
    }

    #[test]
    fn some_of_both_classes_have_to_be_judged() {
        let both = Judged { trusted: [0, 0, 1], fresh: [1, 0, 0], ..Judged::default() };
        assert!(both.is_of_both(false));
        assert!(!Judged { fresh: [0; SERVERS], ..both }.is_of_both(true));
        let unsure = Judged { trusted: [0; SERVERS], ..both };
        assert!(!unsure.is_of_both(false) && unsure.is_of_both(true));
    }

    #[test]
    fn a_horizon_that_is_yet_to_come_is_another_clocks_or_a_lie() {
        assert_eq!(trusted(&told(Some(62), 60), false), Ok((1, 0)));
        assert_eq!(trusted(&told(Some(63), 60), false), Err(1));
        assert_eq!(trusted(&told(Some(3_660), 0), true), Ok((0, 1)));
    }

    #[test]
    fn a_trusted_answer_of_a_view_that_is_not_ready_is_found() {
        let mut notes = told(Some(50), 60);
        notes.trusted[0].answer.ready = false;
        assert_eq!(trusted(&notes, false), Err(1));
    }

    #[test]
    fn a_fresh_answer_has_what_was_there_before_it_was_asked_for() {
        let fresh = |found| Fresh { server: 2, file: 4, found };
        let mut notes = Notes { fresh: vec![fresh(true), fresh(true)], ..Notes::default() };
        assert_eq!(judge(&notes, false).unwrap().fresh, [0, 0, 2]);
        notes.fresh.push(fresh(false));
        assert_eq!(judge(&notes, false).unwrap_err().len(), 1);
    }

    #[test]
    fn refusals_that_must_not_be_are_told() {
        let notes = Notes { trouble: vec!["INTERNAL".to_owned()], ..Notes::default() };
        assert_eq!(judge(&notes, false), Err(vec!["INTERNAL".to_owned()]));
    }
}
