//! The rules as text cases: every sentence of 4-consistency §4, and the traps of the field.
//!
//! A case is a list of lines. A line that begins with a time is a step: evidence, or what the server
//! or an operator does at that time; ` -> verdict` says what it must be worth. A line that begins
//! with `?` says what must then hold. After every step the invariants are checked, and at the end of
//! each case a replay of its changes must give the same view. `tests/cases/README.md` has the words.

#[path = "support/case.rs"]
mod case;

#[test]
fn every_case_holds() {
    let mut files: Vec<_> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    let (mut count, mut failed) = (0, Vec::new());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for case in case::split(&text) {
            count += 1;
            if let Err(error) = case::check(case) {
                failed.push(format!("{}: {error}", file.file_name().unwrap().to_string_lossy()));
            }
        }
    }
    println!("{count} cases");
    assert!(count > 0 && failed.is_empty(), "{} of {count}:\n{}", failed.len(), failed.join("\n"));
}
