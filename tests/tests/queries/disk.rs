//! What programs of others say of the disk: `find`, with `sort` and `head` behind it.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Paths below a directory that `find` finds by these words, relative to it, sorted.
pub(crate) fn find(below: &Path, words: &[&str]) -> Vec<Vec<u8>> {
    let mut found = lines(&run(below, words, "%P\\0", None));
    found.sort();
    found
}

/// `find … -printf FORMAT`, sorted by `sort` with these keys; the first `most`, without what stands before
/// the first blank.
pub(crate) fn sorted(
    below: &Path,
    words: &[&str],
    format: &str,
    keys: &[&str],
    most: u64,
) -> Vec<Vec<u8>> {
    let rows = lines(&run(below, words, format, Some((keys, most))));
    let path = |row: &Vec<u8>| {
        let blank = row.iter().position(|&byte| byte == b' ').expect("a blank");
        row[blank + 1..].to_vec()
    };
    rows.iter().map(path).collect()
}

/// Rows of `find … -printf FORMAT` with a zero byte after each.
pub(crate) fn rows(below: &Path, words: &[&str], format: &str) -> Vec<Vec<u8>> {
    lines(&run(below, words, format, None))
}

fn run(below: &Path, words: &[&str], format: &str, sort: Option<(&[&str], u64)>) -> Vec<u8> {
    let mut find = Command::new("find");
    // All options in bytes: what is matched is not text.
    find.env("LC_ALL", "C").arg(below).args(["-regextype", "posix-extended"]);
    let (global, tests): (Vec<_>, Vec<_>) = split(words);
    find.args(["-mindepth", "1"]).args(global).args(tests).args(["-printf", format]);
    let Some((keys, most)) = sort else {
        let output = find.output().expect("find runs");
        assert!(output.status.success(), "{output:?}");
        return output.stdout;
    };
    let mut find = find.stdout(Stdio::piped()).spawn().expect("find runs");
    let mut sort = Command::new("sort")
        .env("LC_ALL", "C")
        .arg("-z")
        .args(keys)
        .stdin(find.stdout.take().expect("a pipe"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("sort runs");
    let output = Command::new("head")
        .args(["-z", "-n", &most.to_string()])
        .stdin(sort.stdout.take().expect("a pipe"))
        .output()
        .expect("head runs");
    assert!(find.wait().is_ok_and(|status| status.success()));
    let _ = sort.wait();
    output.stdout
}

/// `find` wants its global options before its tests.
fn split<'a>(words: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut global, mut tests) = (Vec::new(), Vec::new());
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        if word == "-maxdepth" || word == "-mindepth" {
            global.push(word);
            global.extend(words.next());
        } else {
            tests.push(word);
        }
    }
    (global, tests)
}

fn lines(output: &[u8]) -> Vec<Vec<u8>> {
    output.split(|&byte| byte == 0).filter(|row| !row.is_empty()).map(<[u8]>::to_vec).collect()
}

/// The path on disk of a path in the view.
pub(crate) fn place(root: &Path, path: &str) -> std::path::PathBuf {
    let relative = path.trim_start_matches('/');
    root.join(std::ffi::OsStr::from_bytes(relative.as_bytes()))
}
