//! Owners by name: what this machine's /etc/passwd and /etc/group say.
//!
//! Only those files are read: a directory service may know more, and then numbers are shown.

use std::collections::HashMap;

use crate::exit::Failure;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// An owner that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Owner {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

impl Owner {
    /// USER, USER:GROUP, :GROUP; each by name or number.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        if user.is_empty() && group.is_empty() {
            return Err(Failure::usage("--owner names neither a user nor a group"));
        }
        Ok(Self { uid: number(user, PASSWD)?, gid: number(group, GROUP)? })
    }
}

fn number(name: &str, file: &str) -> Result<Option<u32>, Failure> {
    if name.is_empty() {
        return Ok(None);
    }
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let names = read(file);
    let found = names.into_iter().find(|(_, known)| known == name);
    match found {
        Some((number, _)) => Ok(Some(number)),
        None => Err(Failure::usage(format!(
            "--owner: {file} of this machine does not know `{name}`; give the number"
        ))),
    }
}

/// The names of users by number.
pub(super) fn users() -> HashMap<u32, String> {
    read(PASSWD)
}

fn read(file: &str) -> HashMap<u32, String> {
    parse(&std::fs::read_to_string(file).unwrap_or_default())
}

/// `name:password:number:…` a line; of a number that has several names the first is taken.
fn parse(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(number))) = (fields.next(), fields.nth(1).map(str::parse)) {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_files() {
        let names = parse("root:x:0:0:root:/root:/bin/sh\n# no\ntoor:x:0:\nu:x:7:7\nbad:x:y\n");
        assert_eq!(names.len(), 2);
        assert_eq!((&names[&0][..], &names[&7][..]), ("root", "u"));
    }

    #[test]
    fn owners_are_names_or_numbers() {
        assert_eq!(Owner::parse("0").ok(), Some(Owner { uid: Some(0), gid: None }));
        assert_eq!(Owner::parse("1:2").ok(), Some(Owner { uid: Some(1), gid: Some(2) }));
        assert_eq!(Owner::parse(":2").ok(), Some(Owner { uid: None, gid: Some(2) }));
        for bad in ["", ":", "no such user", "-1"] {
            assert!(Owner::parse(bad).is_err(), "{bad}");
        }
    }
}
