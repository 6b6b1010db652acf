//! Real trees: an archive of sources that others wrote is unpacked, moved, removed and unpacked again; and
//! a million generated files are scanned, written, moved, removed and made again. After each the view
//! equals the disk, and nothing is scanned again for it (see [`crate::bursts`]).
//!
//! In long (`soak trees`) the archive is Debian's linux-source-6.1, in short the headers of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bursts::{Burst, files, run, spread};

/// What Debian's package `linux-source-6.1` installs.
const SOURCES: &str = "usr/src/linux-source-6.1.tar.xz";

/// The archive of the kernel's sources: where its package is installed, that; else it is fetched into
/// `folder`, which needs Debian's packages.
///
/// # Panics
/// It cannot be had.
#[must_use]
pub fn kernel_sources(folder: &Path) -> PathBuf {
    let installed = Path::new("/").join(SOURCES);
    if installed.exists() {
        return installed;
    }
    let apt = ["-q", "-o", "APT::Sandbox::User=root", "download", "linux-source-6.1"];
    run(Command::new("apt-get").current_dir(folder).args(apt));
    let mut packages =
        fs::read_dir(folder).expect("the folder").flatten().map(|entry| entry.path());
    let package = packages.find(|path| path.extension().is_some_and(|kind| kind == "deb"));
    run(Command::new("dpkg-deb").arg("-x").arg(package.expect("a package")).arg(folder));
    folder.join(SOURCES)
}

/// Both in long.
///
/// # Panics
/// What must hold does not, or the kernel's sources cannot be had.
pub async fn long() {
    let limit = Duration::from_secs(600);
    let folder = tempfile::tempdir().expect("a temporary directory");
    archive(&kernel_sources(folder.path()), limit).await;
    generated(1_000_000, limit).await;
}

/// An archive of headers that lie on any machine on which this could be built.
///
/// # Panics
/// There are none.
#[must_use]
pub fn headers(folder: &Path) -> PathBuf {
    let archive = folder.join("headers.tar");
    run(Command::new("tar").arg("-cf").arg(&archive).args(["-C", "/usr", "include"]));
    archive
}

fn unpack(archive: &Path, at: &Path) {
    fs::create_dir_all(at).expect("a directory");
    run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(at));
}

/// An archive is unpacked, unpacked over itself, moved, removed and unpacked again. `limit`: how long the
/// view may differ after each.
///
/// # Panics
/// What must hold does not.
pub async fn archive(archive: &Path, limit: Duration) {
    let burst = Burst::within(limit, |root| files(&root.join("before"), 0..10, "x")).await;
    burst.then("unpacked", |root| unpack(archive, &root.join("src"))).await;
    burst.then("unpacked over itself", |root| unpack(archive, &root.join("src"))).await;
    burst
        .then("moved", |root| {
            fs::create_dir(root.join("deep")).expect("a directory");
            fs::rename(root.join("src"), root.join("deep/there")).expect("a rename");
        })
        .await;
    burst
        .then("removed", |root| {
            run(Command::new("rm").arg("-rf").arg(root.join("deep/there")));
        })
        .await;
    burst.then("unpacked again", |root| unpack(archive, &root.join("src"))).await;
}

/// So many files are there when the agent starts; a tenth is written again, all are moved, half is removed
/// and made again.
///
/// # Panics
/// What must hold does not.
pub async fn generated(count: usize, limit: Duration) {
    let burst = Burst::within(limit, |root| spread(&root.join("tree"), count, "x")).await;
    burst
        .then("a tenth written again", |root| spread(&root.join("tree"), count / 10, "more"))
        .await;
    burst
        .then("moved", |root| {
            fs::rename(root.join("tree"), root.join("there")).expect("a rename");
        })
        .await;
    burst
        .then("half of it removed", |root| {
            for number in 0..10 {
                let part = root.join(format!("there/{number:02}"));
                run(Command::new("rm").arg("-rf").arg(part));
            }
        })
        .await;
    burst.then("and made again", |root| spread(&root.join("there"), count, "x")).await;
}
