//! docs/errors.md and the status table are one: each reason is explained, under its code.

use fusion_proto::status::Reason;

const DOC: &str = include_str!("../../docs/errors.md");

/// The reasons and the code of each row of the table.
fn rows() -> Vec<(Vec<&'static str>, &'static str)> {
    let rows = DOC.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| reason"));
    rows.map(|row| {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let reasons = cells.next().expect("reasons").split(", ").collect();
        (reasons, cells.next().expect("a code"))
    })
    .collect()
}

#[test]
fn every_reason_has_its_row_and_its_code() {
    let code = |reason: Reason| match reason.code() as i32 {
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND",
        6 => "ALREADY_EXISTS",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        9 => "FAILED_PRECONDITION",
        10 => "ABORTED",
        11 => "OUT_OF_RANGE",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        16 => "UNAUTHENTICATED",
        other => panic!("{reason} has code {other}"),
    };
    let rows = rows();
    assert!(rows.len() > 15, "{rows:?}");
    for (reasons, told) in &rows {
        for reason in reasons {
            let known = Reason::parse(reason).unwrap_or_else(|| panic!("no reason: {reason}"));
            assert!(told.contains(code(known)) || *told == "the same", "{reason}: {told}");
        }
    }
    let (_, unused) = DOC.split_once("Not used by this version").expect("what is not used");
    for reason in Reason::ALL {
        let explained = rows.iter().any(|(reasons, _)| reasons.contains(&reason.as_str()));
        assert!(explained || unused.contains(reason.as_str()), "{reason} is not explained");
    }
}
