//! `completions` and `man`: made of the command line's own description.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Args;
use crate::exit::Failure;
use crate::output::Printer;

pub(super) fn completions(shell: Shell, printer: &mut Printer) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "fusionctl", &mut script);
    printer.text(String::from_utf8_lossy(&script).trim_end())?;
    printer.flush()
}

pub(super) fn man(dir: &Path, printer: &mut Printer) -> Result<(), Failure> {
    let written = std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Args::command(), dir))
        .map_err(|error| format!("write the manual pages to {}: {error}", dir.display()));
    written.map_err(Failure::refused)?;
    printer.text(&format!("the manual pages are in {}", dir.display()))?;
    printer.flush()
}
