//! `token`: makes, lists and revokes tokens in the file that a server follows. Talks to no server.
//!
//! The file is replaced whole, so that a server never reads half of it; comments in it are lost. Must
//! never: write a token anywhere but to standard output, or leave a file that the server would refuse.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::Path;
use std::time::Duration;

use fusion_server::access::tokens::{TokenEntry, TokenFile, issue};
use jiff::Timestamp;
use serde_json::json;

use crate::cli::{TokenCommand, TokenCreate};
use crate::exit::Failure;
use crate::output::Printer;

pub(super) fn run(command: TokenCommand, printer: &mut Printer) -> Result<(), Failure> {
    match command {
        TokenCommand::Create(asked) => create(asked, Timestamp::now(), printer)?,
        TokenCommand::List { file } => {
            let tokens = read(&file)?.unwrap_or_default().tokens;
            printer.tokens_head()?;
            tokens.iter().try_for_each(|token| printer.token(token))?;
        }
        TokenCommand::Revoke { id, file } => {
            let _alone = alone(&file)?;
            let missing = || Failure::refused(format!("{} has no token `{id}`", file.display()));
            let mut tokens = read(&file)?.ok_or_else(missing)?;
            let at = tokens.tokens.iter().position(|token| token.id == id).ok_or_else(missing)?;
            let revoked = tokens.tokens.remove(at);
            write(&file, &tokens)?;
            printer.token(&revoked)?;
        }
    }
    printer.flush()
}

fn create(asked: TokenCreate, now: Timestamp, printer: &mut Printer) -> Result<(), Failure> {
    let TokenCreate { id, file, role, principal, views, agents, path, expires_in } = asked;
    let views = match (views.is_empty(), &*role) {
        (true, "admin") => vec!["*".to_owned()],
        (true, _) => {
            return Err(Failure::usage("--for-view NAME is needed; '*' is all".to_owned()));
        }
        (false, _) => views,
    };
    if role == "agent" && agents.is_empty() {
        return Err(Failure::usage("--for-agent ID is needed; '*' is all".to_owned()));
    }
    let (token, sha256) = issue(&id)
        .map_err(|error| Failure::refused(format!("the system has no randomness: {error}")))?;
    let entry = TokenEntry {
        principal: principal.unwrap_or_else(|| id.clone()),
        id,
        sha256,
        role,
        views,
        agents,
        path,
        created: told(now),
        expires: expires_in.map(|span| end(now, span)).transpose()?,
    };
    let _alone = alone(&file)?;
    let mut tokens = read(&file)?.unwrap_or_default();
    tokens.tokens.push(entry.clone());
    write(&file, &tokens)?;
    if printer.is_json() {
        printer.document(&json!({ "id": entry.id, "token": token, "expires": entry.expires }))
    } else {
        printer.text(&token)
    }
}

fn told(time: Timestamp) -> String {
    format!("{time:.0}")
}

fn end(now: Timestamp, span: Duration) -> Result<String, Failure> {
    let end = now.checked_add(span);
    end.map(told).map_err(|_| Failure::usage("--expires-in: that is too far away".to_owned()))
}

fn failed(file: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::refused(format!("{}: {why}", file.display()))
}

/// The tokens of a file; none if it is not there.
fn read(file: &Path) -> Result<Option<TokenFile>, Failure> {
    match fs::read_to_string(file) {
        Ok(text) => TokenFile::parse(&text).map(Some).map_err(|faults| failed(file, faults)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(file, error)),
    }
}

fn dir_of(file: &Path) -> &Path {
    file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Waits until no other command changes a file of this directory, and keeps them waiting until it is dropped.
/// The file itself cannot be locked: it is another one after each change.
fn alone(file: &Path) -> Result<File, Failure> {
    let dir = dir_of(file);
    let locked = File::open(dir).and_then(|opened| opened.lock().map(|()| opened));
    locked.map_err(|error| failed(file, format!("lock {}: {error}", dir.display())))
}

/// Puts a new file in the place of the old one: whole or not at all, and still its owner's, who is to
/// read it. Nobody else may.
fn write(file: &Path, tokens: &TokenFile) -> Result<(), Failure> {
    let text = tokens.to_toml().map_err(|error| failed(file, error))?;
    TokenFile::parse(&text).map_err(|faults| Failure::usage(faults.to_string()))?;
    let dir = dir_of(file);
    let written = || -> std::io::Result<()> {
        // Made with mode 0600.
        let mut new = tempfile::NamedTempFile::new_in(dir)?;
        new.write_all(text.as_bytes())?;
        if let Ok(old) = fs::metadata(file) {
            let own = new.as_file().metadata()?;
            if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
                fchown(new.as_file(), Some(old.uid()), Some(old.gid()))?;
            }
        }
        new.as_file().sync_all()?;
        new.persist(file)?;
        File::open(dir)?.sync_all()
    };
    written().map_err(|error| failed(file, error))
}
