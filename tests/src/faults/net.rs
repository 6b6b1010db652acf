//! Two network namespaces with one wire between them, for partitions as they are: packets vanish.
//!
//! The *near* one has the server and, once it has [entered](Net::enter), the calling thread and all
//! that it starts; the *far* one has an agent. Nothing outside of the two is touched. Needs root, as
//! the kernel does.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fd::AsFd as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Address of the near end.
pub const NEAR: &str = "10.254.77.1";
/// Address of the far end.
pub const FAR: &str = "10.254.77.2";

static MADE: AtomicU32 = AtomicU32::new(0);

/// The two namespaces; dropping it removes them and brings the thread back.
#[derive(Debug)]
pub struct Net {
    near: String,
    far: String,
    home: Option<File>,
}

impl Net {
    /// Makes them.
    ///
    /// # Panics
    /// `ip` is not there, or this is not root.
    #[must_use]
    pub fn make() -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = |end| format!("fusion-{}-{number}-{end}", std::process::id());
        let net = Self { near: name("near"), far: name("far"), home: None };
        for space in [&net.near, &net.far] {
            run(&["ip", "netns", "add", space]);
            run(&["ip", "-n", space, "link", "set", "lo", "up"]);
        }
        run(&[
            "ip", "-n", &net.near, "link", "add", "wire", "type", "veth", "peer", "name", "wire",
            "netns", &net.far,
        ]);
        for (space, address) in [(&net.near, NEAR), (&net.far, FAR)] {
            let address = format!("{address}/30");
            run(&["ip", "-n", space, "address", "add", &address, "dev", "wire"]);
            run(&["ip", "-n", space, "link", "set", "wire", "up"]);
        }
        net
    }

    /// Moves the calling thread, and what it starts from now on, into the near one.
    ///
    /// # Panics
    /// The kernel refuses.
    pub fn enter(&mut self) {
        self.home = Some(own_namespace());
        move_into(&File::open(format!("/run/netns/{}", self.near)).expect("the near end"));
    }

    /// What makes a program start in the far one: it execs what follows.
    #[must_use]
    pub fn far(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.far]
    }

    /// From now on every packet of the far end vanishes, either way.
    ///
    /// # Panics
    /// `iptables` is not there.
    pub fn cut(&self) {
        self.rules("-A");
    }

    /// The wire works again.
    ///
    /// # Panics
    /// `iptables` is not there.
    pub fn heal(&self) {
        self.rules("-D");
    }

    fn rules(&self, change: &str) {
        for (chain, way) in [("INPUT", "-i"), ("OUTPUT", "-o")] {
            let [ip, netns, exec, space] = self.far();
            run(&[ip, netns, exec, space, "iptables", change, chain, way, "wire", "-j", "DROP"]);
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            move_into(&home);
        }
        for space in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", space]).status();
        }
    }
}

/// The namespace that the calling thread is in.
pub(crate) fn own_namespace() -> File {
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let own = format!("/proc/{}/task/{thread}/ns/net", std::process::id());
    File::open(own).expect("our own namespace")
}

/// Moves the calling thread.
pub(crate) fn move_into(space: &File) {
    let moved = move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network));
    moved.expect("root may change its namespace");
}

/// Runs a program to its end.
///
/// # Panics
/// It cannot be run, or fails.
pub fn run(words: &[&str]) {
    let done = Command::new(words[0]).args(&words[1..]).output();
    let done = done.unwrap_or_else(|error| panic!("{}: {error} (.ci/install has it)", words[0]));
    assert!(
        done.status.success(),
        "{words:?} (needs root): {}",
        String::from_utf8_lossy(&done.stderr)
    );
}
