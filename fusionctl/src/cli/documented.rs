//! docs/cli.md is what the command line says of itself. `FUSION_WRITE_DOCS=1 cargo test -p fusionctl`
//! writes it.

use std::path::Path;

use clap::{Command, CommandFactory as _};

use super::Args;

const HEAD: &str = "\
# The command line of fusionctl

Made of `fusionctl --help` by a test, which also checks it: `FUSION_WRITE_DOCS=1 cargo test -p fusionctl`
writes it anew. `fusionctl completions SHELL` and `fusionctl man --dir DIR` are made of the same.
";

fn told(command: &mut Command, name: &str, depth: usize, text: &mut String) {
    // Fixed, whatever the terminal of whoever runs this. What every command takes is told once.
    let mut shown = command.clone().term_width(100);
    if name.contains(' ') {
        for option in ["server", "profile", "correlation_id", "output", "help"] {
            shown = shown.mut_arg(option, |arg| arg.hide(true));
        }
    }
    let help = shown.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let heading = "#".repeat(depth + 1);
    text.push_str(&format!("\n{heading} {name}\n\n```text\n{}\n```\n", lines.join("\n").trim()));
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for sub in names.iter().filter(|sub| *sub != "help") {
        if let Some(command) = command.find_subcommand_mut(sub) {
            told(command, &format!("{name} {sub}"), 2, text);
        }
    }
}

#[test]
fn the_documentation_is_what_the_command_line_says() {
    let mut command = Args::command();
    command.build();
    let mut text = HEAD.to_owned();
    told(&mut command, "fusionctl", 1, &mut text);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    if std::env::var_os("FUSION_WRITE_DOCS").is_some() {
        std::fs::write(&file, &text).expect("docs/cli.md is written");
    }
    let documented = std::fs::read_to_string(&file).expect("docs/cli.md");
    assert!(
        documented == text,
        "docs/cli.md is not what the command line says: FUSION_WRITE_DOCS=1 cargo test -p fusionctl"
    );
}
