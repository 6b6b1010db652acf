//! The tokens in force: those of the file, as it was when it was last in order.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use fusion_proto::tls;

use crate::access::tokens::{TokenFaults, TokenFile, Tokens};
use crate::reload::Followed;

/// A cheap handle.
#[derive(Clone)]
pub(crate) struct Keyring {
    file: Arc<PathBuf>,
    in_force: Arc<RwLock<Arc<Tokens>>>,
}

/// What the file says, or why it cannot be read.
pub(crate) type Text = Result<String, String>;

/// Whether a file of tokens is in order.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn check(file: &Path) -> Result<(), TokenFaults> {
    make(&read(file)).map(drop)
}

fn read(file: &Path) -> Text {
    let bytes = tls::read(file).map_err(|problem| format!("it {problem}"))?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

fn make(text: &Text) -> Result<Tokens, TokenFaults> {
    match text {
        Ok(text) => Tokens::of(&TokenFile::parse(text)?),
        Err(problem) => Err(TokenFaults(vec![problem.clone()])),
    }
}

impl Keyring {
    /// Reads the file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn open(file: PathBuf) -> Result<(Self, Text), TokenFaults> {
        let text = read(&file);
        let in_force = Arc::new(RwLock::new(Arc::new(make(&text)?)));
        Ok((Self { file: Arc::new(file), in_force }, text))
    }

    /// The tokens that a call that begins now is held against.
    pub(crate) fn in_force(&self) -> Arc<Tokens> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Followed for Keyring {
    type Contents = Text;
    const WHAT: &'static str = "tokens";

    fn read(&self) -> Text {
        read(&self.file)
    }

    fn take(&self, text: &Text) -> Result<(), Vec<String>> {
        let tokens = make(text).map_err(|TokenFaults(faults)| faults)?;
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tokens);
        Ok(())
    }
}
