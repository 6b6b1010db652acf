//! The tokens in force: those of the file, as it was when it was last in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fusion_core::time::Clock;
use fusion_proto::tls;
use tokio::sync::watch;

use crate::access::tokens::{StandingToken, TokenFaults, TokenFile, Tokens};
use crate::reload::Followed;

/// Shortest wait until a token that expires is looked at again.
const LOOK: Duration = Duration::from_millis(100);

/// A cheap handle.
#[derive(Clone)]
pub(crate) struct Keyring {
    file: Arc<PathBuf>,
    in_force: watch::Sender<Arc<Tokens>>,
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
        let in_force = watch::Sender::new(Arc::new(make(&text)?));
        Ok((Self { file: Arc::new(file), in_force }, text))
    }

    /// The tokens that a call that begins now is held against.
    pub(crate) fn in_force(&self) -> Arc<Tokens> {
        Arc::clone(&self.in_force.borrow())
    }

    /// Comes to an end when a token is good no more: revoked, expired, or for something else than it was.
    pub(crate) async fn over(self, token: StandingToken, clock: Arc<dyn Clock>) {
        let mut changes = self.in_force.subscribe();
        loop {
            let now = clock.now();
            let Some(end) = changes.borrow_and_update().still(&token, now) else { return };
            // What is looked at again has not to be looked at in the same moment.
            let left = end.map_or(Duration::MAX, |end| end.since(now).max(LOOK));
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(left) => {}
            }
        }
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
        self.in_force.send_replace(Arc::new(tokens));
        Ok(())
    }
}
