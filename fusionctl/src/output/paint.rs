//! Colours: on a terminal only, and not where `NO_COLOR` is set (<https://no-color.org>).

use std::fmt;
use std::io::IsTerminal as _;

use fusion_core::stat::Kind;

/// Whether and how to colour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    /// Colours, if standard output is a terminal that wants them.
    pub(super) fn on_terminal() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self { on: std::io::stdout().is_terminal() && !unwanted && !dumb }
    }

    /// A name or path in the colour of its kind, as `ls` has them.
    pub(super) fn kind<T: fmt::Display>(self, kind: Kind, shown: T) -> String {
        match kind {
            Kind::Directory => self.with("1;34", shown),
            Kind::Symlink => self.with("36", shown),
            Kind::Other => self.with("33", shown),
            Kind::File => shown.to_string(),
        }
    }

    /// What stands in the background.
    pub(super) fn faint<T: fmt::Display>(self, shown: T) -> String {
        self.with("2", shown)
    }

    /// What is good.
    pub(super) fn good<T: fmt::Display>(self, shown: T) -> String {
        self.with("32", shown)
    }

    /// What is not.
    pub(super) fn bad<T: fmt::Display>(self, shown: T) -> String {
        self.with("31", shown)
    }

    fn with<T: fmt::Display>(self, code: &str, shown: T) -> String {
        if self.on { format!("\x1b[{code}m{shown}\x1b[0m") } else { shown.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_terminal_gets_no_colours() {
        assert_eq!(Paint { on: false }.kind(Kind::Directory, "d"), "d");
        assert_eq!(Paint { on: true }.kind(Kind::Directory, "d"), "\x1b[1;34md\x1b[0m");
        assert_eq!(Paint { on: true }.kind(Kind::File, "f"), "f");
    }
}
