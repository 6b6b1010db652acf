//! `find`: what lies below a path and matches, as it is found.

use crate::exit::Failure;
use crate::output::Printer;

use super::{Target, warn_unless_ready};

/// Tells PATTERN from PATH: a first argument that begins with `/` is PATH.
pub(super) fn arguments(
    first: Option<String>,
    second: Option<String>,
) -> Result<(Option<String>, String), Failure> {
    match (first, second) {
        (Some(path), None) if path.starts_with('/') => Ok((None, path)),
        (Some(path), Some(extra)) if path.starts_with('/') => Err(Failure::usage(format!(
            "find: `{path}` begins with `/` and so is PATH; what is `{extra}`? \
             The pattern comes first: find PATTERN PATH"
        ))),
        (pattern, path) => Ok((pattern, path.unwrap_or_else(|| "/".to_owned()))),
    }
}

pub(super) async fn run(
    target: &mut Target,
    pattern: Option<String>,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let found = target.client.find(&target.view, &target.path, pattern.as_deref()).await;
    let mut found = found.map_err(|error| target.explain(&error))?;
    let mut whole = false;
    while let Some(part) = found.next().await.map_err(|error| target.explain(&error))? {
        for entry in &part.entries {
            printer.entry(entry, false)?;
        }
        if let Some(freshness) = part.freshness {
            warn_unless_ready(&target.view, &freshness);
            whole = true;
        }
    }
    printer.flush()?;
    if whole { Ok(()) } else { Err(Failure::refused("the server broke off: not all was found")) }
}

#[cfg(test)]
mod tests {
    use super::arguments;

    #[test]
    fn pattern_and_path_are_told_apart() {
        let told = |first: &[&str]| {
            let mut words = first.iter().map(|word| (*word).to_owned());
            arguments(words.next(), words.next()).ok()
        };
        let all = |path: &str| Some((None, path.to_owned()));
        assert_eq!(told(&[]), all("/"));
        assert_eq!(told(&["/a"]), all("/a"));
        assert_eq!(told(&["*.c"]), Some((Some("*.c".to_owned()), "/".to_owned())));
        assert_eq!(told(&["*.c", "/a"]), Some((Some("*.c".to_owned()), "/a".to_owned())));
        assert_eq!(told(&["/a", "*.c"]), None);
    }
}
