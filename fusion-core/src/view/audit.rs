//! The rotating deep audit (R9): which silent directories an audit lists in full.
//!
//! An audit that skips silent directories never sees a file that a blind host rewrote in place.
//! So every audit lists one in K of them all the same, chosen by the path and the audit's number;
//! after K audits every directory has been listed. Called by the agent that leads; the number comes
//! from the view. Must never: depend on the process, the machine or the version. Tested below.

use crate::path::PathRef;

use super::confirm::fnv;

/// R9: whether the audit with this number lists a silent directory in full. `one_in` is K.
#[must_use]
pub fn lists_in_full(dir: PathRef<'_>, audit: u64, one_in: u32) -> bool {
    let one_in = u64::from(one_in.max(1));
    // FNV's low bits are weak in short paths: fold the high ones in.
    let hash = fnv(dir.as_bytes());
    (hash ^ hash >> 32) % one_in == audit % one_in
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_k_audits_every_directory_was_listed_once() {
        let mut per_audit = [0; 4];
        for number in 0..1000 {
            let text = format!("/dir/{number}");
            let path = PathRef::new(text.as_bytes()).unwrap();
            let listed: Vec<u64> = (7..11).filter(|audit| lists_in_full(path, *audit, 4)).collect();
            assert_eq!(listed.len(), 1, "{text}");
            per_audit[(listed[0] % 4) as usize] += 1;
        }
        assert!(per_audit.iter().all(|count| (150..350).contains(count)), "{per_audit:?}");
    }
}
