//! Mutants of the rules: the test of the tests.
//!
//! Owns the list (`mutants.txt`) and the runner: each mutant is made in a copy of the two crates that
//! it takes, and has to be missed by the text cases, the property test or schedules of the simulator.
//! Called by `fusion-sim mutants`. Must never: touch the sources that it copies from.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// A rule with something taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// The rule, as `R4.2`.
    pub rule: String,
    /// The file, below `fusion-core/src`.
    file: PathBuf,
    /// What is taken away.
    pub what: String,
    old: String,
    new: String,
}

/// Who missed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The compiler: it is no mutant.
    Unbuildable,
    /// A text case of `fusion-core/tests/cases`.
    Case,
    /// Arbitrary evidence of `fusion-core/tests/arbitrary.rs`, or another test of the core.
    Property,
    /// A schedule.
    Simulator,
    /// Nobody.
    Lives,
}

/// All mutants of the list.
///
/// # Errors
/// The list cannot be read.
pub fn list() -> Result<Vec<Mutant>> {
    let text = include_str!("../mutants.txt");
    text.split("\n== ").skip(1).map(parse).collect()
}

fn parse(text: &str) -> Result<Mutant> {
    let (head, body) = text.split_once('\n').unwrap_or((text, ""));
    let (rule, rest) = head.split_once(' ').with_context(|| format!("a rule? {head}"))?;
    let (file, what) = rest.split_once(": ").with_context(|| format!("a file? {head}"))?;
    let lines = |sign: char| {
        let lines: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix(sign)).collect();
        lines.join("\n")
    };
    let (old, new) = (lines('-'), lines('+'));
    ensure!(!old.is_empty() && old != new, "nothing is taken away: {head}");
    let file = if file == "view.rs" { file.into() } else { Path::new("view").join(file) };
    Ok(Mutant { rule: rule.to_owned(), file, what: what.to_owned(), old, new })
}

impl Mutant {
    /// The text of its file with the rule taken away.
    ///
    /// # Errors
    /// What is to be taken away is not there exactly once: the list is older than the rule.
    fn made(&self, text: &str) -> Result<String> {
        let found = text.matches(&self.old).count();
        ensure!(found == 1, "{} {}: found {found} times", self.rule, self.what);
        Ok(text.replacen(&self.old, &self.new, 1))
    }
}

/// Most mutants are built far longer than they are run; those that are left are run for longer.
const BUILT_FAST: [&str; 2] = ["--config", "profile.dev.package.fusion-core.opt-level=0"];
const RUN_FAST: [&str; 4] = [
    "--config",
    "profile.dev.package.fusion-core.opt-level=1",
    "--config",
    "profile.dev.package.fusion-sim.opt-level=1",
];

/// A copy of the crates, to be changed and tested.
struct Copy {
    root: PathBuf,
}

impl Copy {
    /// # Errors
    /// The copy cannot be written.
    fn of(source: &Path) -> Result<Self> {
        let root = std::env::temp_dir().join(format!("fusion-mutants-{}", std::process::id()));
        let copy = Self { root };
        for folder in ["fusion-core", "tests/sim"] {
            copy_folder(&source.join(folder), &copy.root.join(folder))?;
        }
        for file in ["Cargo.lock", "clippy.toml"] {
            fs::copy(source.join(file), copy.root.join(file))?;
        }
        let text = fs::read_to_string(source.join("Cargo.toml"))?;
        let members = text.lines().find(|line| line.starts_with("members")).context("members?")?;
        let ours = text.replace(members, "members = [\"fusion-core\", \"tests/sim\"]");
        fs::write(copy.root.join("Cargo.toml"), ours)?;
        Ok(copy)
    }

    fn file(&self, mutant: &Mutant) -> PathBuf {
        self.root.join("fusion-core/src").join(&mutant.file)
    }

    /// Whether `cargo` with these arguments succeeds.
    fn cargo(&self, arguments: &[&str]) -> Result<bool> {
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .arg("--offline")
            .args(arguments)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", self.root.join("target"))
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("PROPTEST_CASES", "600")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(status.success())
    }

    /// Who misses what is taken away, the quickest first.
    fn judge(&self, schedules: &str) -> Result<Verdict> {
        let core = ["test", "-p", "fusion-core"];
        let cases = [&BUILT_FAST[..], &core, &["--test", "cases"]].concat();
        if !self.cargo(&[&cases[..], &["--no-run"]].concat())? {
            return Ok(Verdict::Unbuildable);
        }
        if !self.cargo(&cases)? {
            return Ok(Verdict::Case);
        }
        let units = [&RUN_FAST[..], &core, &["--lib", "--", "--skip", "tree"]].concat();
        let others = ["--test", "arbitrary", "--test", "revisions"];
        if !self.cargo(&units)? || !self.cargo(&[&RUN_FAST[..], &core, &others].concat())? {
            return Ok(Verdict::Property);
        }
        let run = ["run", "-p", "fusion-sim", "--", "run", "--schedules", schedules];
        let run = [&RUN_FAST[..], &run].concat();
        Ok(if self.cargo(&run)? { Verdict::Lives } else { Verdict::Simulator })
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        match path.is_dir() {
            true if name == "target" || name == "fuzz" => {}
            true => copy_folder(&path, &to.join(name))?,
            false => drop(fs::copy(&path, to.join(name))?),
        }
    }
    Ok(())
}

/// Makes the mutants of a rule, or all, one by one, and tells who missed each as it goes.
///
/// # Errors
/// Without a mutant something fails, or the copy cannot be made.
pub fn run(rule: Option<&str>, schedules: u64, mut told: impl FnMut(&str)) -> Result<usize> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("a workspace")?;
    let copy = Copy::of(source)?;
    let schedules = schedules.to_string();
    if copy.judge(&schedules)? != Verdict::Lives {
        bail!("something fails without a mutant");
    }
    let (mut living, mut line) = (0, String::new());
    for mutant in list()?.iter().filter(|mutant| rule.is_none_or(|rule| mutant.rule == rule)) {
        let file = copy.file(mutant);
        let before = fs::read_to_string(&file)?;
        fs::write(&file, mutant.made(&before)?)?;
        let verdict = copy.judge(&schedules)?;
        fs::write(&file, before)?;
        living += usize::from(matches!(verdict, Verdict::Lives | Verdict::Unbuildable));
        line.clear();
        write!(line, "{:<4} {:<11} {}", mutant.rule, format!("{verdict:?}"), mutant.what)?;
        told(&line);
    }
    Ok(living)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_mutant_can_be_made_and_every_rule_has_some() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let mutants = list().unwrap();
        for mutant in &mutants {
            let file = source.join("fusion-core/src").join(&mutant.file);
            mutant.made(&fs::read_to_string(file).unwrap()).unwrap();
        }
        let rules: BTreeSet<&str> = mutants.iter().map(|mutant| &*mutant.rule).collect();
        let wanted = ["R1", "R2", "R3", "R4", "R4b", "R5", "R6", "R7", "R8", "R9", "R10", "R11"];
        assert!(wanted.iter().chain(&["R12"]).all(|rule| rules.contains(rule)), "{rules:?}");
    }
}
