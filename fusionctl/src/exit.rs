//! Exit codes: 0 done (no match is done too); 1 refused, not found, unreachable or incomplete;
//! 2 usage or configuration. The one place where they are made.

use std::io::Write as _;
use std::process::ExitCode;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Refused, not found, unreachable or incomplete.
    Refused(String),
    /// The command line or the configuration is wrong.
    Usage(String),
    /// Whoever read our output is gone: no failure of ours.
    OutputClosed,
}

impl Failure {
    /// Refused, not found, unreachable or incomplete.
    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }

    /// The command line or the configuration is wrong.
    pub(crate) fn usage(why: impl Into<String>) -> Self {
        Self::Usage(why.into())
    }

    /// Says it on standard error.
    pub(crate) fn report(self) -> ExitCode {
        let (text, code) = match self {
            Self::Refused(text) => (text, 1),
            Self::Usage(text) => (text, 2),
            Self::OutputClosed => return ExitCode::SUCCESS,
        };
        note(&text);
        ExitCode::from(code)
    }
}

/// Says something beside the answer on standard error. Nobody there to read it changes nothing.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "fusionctl: {text}");
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Refused(format!("write the answer: {error}"))
        }
    }
}

/// Help and version are answers; anything else that the parser says is wrong usage.
pub(crate) fn from_clap(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}
