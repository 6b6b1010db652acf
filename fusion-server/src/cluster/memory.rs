//! How much memory this process may use: what the machine has, or less where its cgroup says so.
//!
//! Read once, at the start. Must never: take "no limit" for a number.

use std::path::{Path, PathBuf};

/// Bytes of memory that this process may use; none where the system does not say.
pub(crate) fn allowed() -> Option<u64> {
    allowed_in(Path::new("/"))
}

fn allowed_in(root: &Path) -> Option<u64> {
    let machine = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = machine.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total = total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024;
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| files(root, line)).filter_map(|file| {
        // "max" is no limit.
        std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()
    });
    limits.chain([total]).min()
}

/// The files in which a group and all around it say their limit, for a line of `/proc/self/cgroup`.
fn files(root: &Path, line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next(), parts.next(), parts.next());
    let (tree, file) = match controllers {
        Some("") => ("sys/fs/cgroup", "memory.max"),
        Some(some) if some.split(',').any(|it| it == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let group = Path::new(path.unwrap_or_default().trim_start_matches('/'));
    let top = root.join(tree);
    group.ancestors().map(|group| top.join(group).join(file)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_smallest_limit_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let put = |file: &str, text: &str| {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        assert_eq!(allowed_in(root), None);
        put("proc/meminfo", "MemTotal:       16 kB\nMemFree: 1 kB\n");
        assert_eq!(allowed_in(root), Some(16_384));
        put("proc/self/cgroup", "0::/a/b\n");
        put("sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(allowed_in(root), Some(16_384));
        put("sys/fs/cgroup/a/memory.max", "8192\n");
        assert_eq!(allowed_in(root), Some(8_192), "of a group around it");
        put("proc/self/cgroup", "5:cpu:/x\n4:memory,hugetlb:/\n");
        put("sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n");
        assert_eq!(allowed_in(root), Some(4_096), "as systems said it before");
        assert!(allowed().is_some_and(|bytes| bytes > 1 << 20), "here");
    }
}
