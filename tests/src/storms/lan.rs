//! A network of namespaces on one bridge: each server has a host of its own there, so have the agents and the
//! engines. What passes between two hosts can be cut, in one direction or both.
//!
//! The *near* namespace has the bridge, the engines and, once it has [entered](Lan::enter), the calling thread and
//! all that it starts. Nothing outside is touched. Needs root, as the kernel does.

use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::faults::net::{move_into, own_namespace, run};

/// The address of the engines, which are in the near namespace.
pub const ENGINES: &str = "10.254.78.2";

/// A host's own address, by its number.
#[must_use]
pub fn address(host: usize) -> String {
    format!("10.254.78.{}", 10 + host)
}

/// Which packets vanish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Those that come.
    In,
    /// Those that go.
    Out,
    /// Both.
    Both,
}

static MADE: AtomicU32 = AtomicU32::new(0);

/// Whether a network can be made here; if not, says so, and that `test` did nothing. With `FUSION_ENGINES=required` that
/// is a failure.
///
/// # Panics
/// It is one.
#[must_use]
pub fn is_possible(test: &str) -> bool {
    let Some(why) = hindrance() else { return true };
    let required = std::env::var_os("FUSION_ENGINES").is_some_and(|value| value == "required");
    assert!(!required, "{test}: {why}, and engines are required");
    println!("{test}: NOT RUN, {why} (it needs root, and what .ci/install installs)");
    false
}

/// Why a network cannot be made, found by making one.
fn hindrance() -> Option<String> {
    let name = format!("storm-{}-try", std::process::id());
    let near = |words: &[&'static str]| [&["ip", "netns", "exec", &name], words].concat();
    let all = [
        vec!["ip", "netns", "add", &name],
        vec!["ip", "-n", &name, "link", "add", "lan", "type", "bridge"],
        near(&["iptables", "-L"]),
    ];
    let hindrance = all.iter().find_map(|words| {
        let done = Command::new(words[0]).args(&words[1..]).output();
        let why = match done {
            Ok(done) if done.status.success() => return None,
            Ok(done) => String::from_utf8_lossy(&done.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        Some(format!("no network of namespaces can be made: {}: {why}", words.join(" ")))
    });
    let _ = Command::new("ip").args(["netns", "del", &name]).stderr(Stdio::null()).status();
    hindrance
}

/// The namespaces; dropping it removes them and brings the thread back.
#[derive(Debug)]
pub struct Lan {
    near: String,
    hosts: Vec<String>,
    home: Option<File>,
}

impl Lan {
    /// Makes one with so many hosts.
    ///
    /// # Panics
    /// `ip` is not there, or this is not root.
    #[must_use]
    pub fn make(hosts: usize) -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = |end: &str| format!("storm-{}-{number}-{end}", std::process::id());
        let mut lan = Self { near: name("near"), hosts: Vec::new(), home: None };
        let near = lan.near.clone();
        run(&["ip", "netns", "add", &near]);
        run(&["ip", "-n", &near, "link", "set", "lo", "up"]);
        run(&["ip", "-n", &near, "link", "add", "lan", "type", "bridge"]);
        for address in ["10.254.78.1/24", &format!("{ENGINES}/24")] {
            run(&["ip", "-n", &near, "address", "add", address, "dev", "lan"]);
        }
        run(&["ip", "-n", &near, "link", "set", "lan", "up"]);
        for host in 0..hosts {
            lan.add(name(&host.to_string()), host);
        }
        lan
    }

    fn add(&mut self, space: String, host: usize) {
        let (near, port) = (self.near.clone(), format!("h{host}"));
        run(&["ip", "netns", "add", &space]);
        self.hosts.push(space.clone());
        run(&[
            "ip", "-n", &near, "link", "add", &port, "type", "veth", "peer", "name", "wire",
            "netns", &space,
        ]);
        run(&["ip", "-n", &near, "link", "set", &port, "master", "lan", "up"]);
        let address = format!("{}/24", address(host));
        run(&["ip", "-n", &space, "address", "add", &address, "dev", "wire"]);
        run(&["ip", "-n", &space, "link", "set", "lo", "up"]);
        run(&["ip", "-n", &space, "link", "set", "wire", "up"]);
    }

    /// Moves the calling thread, and what it starts from now on, into the near one.
    ///
    /// # Panics
    /// The kernel refuses.
    pub fn enter(&mut self) {
        self.home = Some(own_namespace());
        move_into(&space(&self.near));
    }

    /// What makes a program start on a host: it execs what follows.
    #[must_use]
    pub fn on(&self, host: usize) -> [&str; 4] {
        ["ip", "netns", "exec", &self.hosts[host]]
    }

    /// Does this on a host: threads and sockets that it makes belong there.
    pub fn do_on<T>(&self, host: usize, work: impl FnOnce() -> T) -> T {
        let here = own_namespace();
        move_into(&space(&self.hosts[host]));
        let done = work();
        move_into(&here);
        done
    }

    /// From now on packets between a host and an address vanish.
    ///
    /// # Panics
    /// `iptables` is not there.
    pub fn cut(&self, host: usize, other: &str, way: Way) {
        let rule = |chain, end| {
            let [ip, netns, exec, space] = self.on(host);
            run(&[ip, netns, exec, space, "iptables", "-A", chain, end, other, "-j", "DROP"]);
        };
        if way != Way::Out {
            rule("INPUT", "-s");
        }
        if way != Way::In {
            rule("OUTPUT", "-d");
        }
    }

    /// All passes again.
    ///
    /// # Panics
    /// `iptables` is not there.
    pub fn heal(&self, host: usize) {
        let [ip, netns, exec, space] = self.on(host);
        run(&[ip, netns, exec, space, "iptables", "-F"]);
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            move_into(&home);
        }
        for space in self.hosts.iter().chain([&self.near]) {
            let _ = Command::new("ip").args(["netns", "del", space]).status();
        }
    }
}

fn space(name: &str) -> File {
    File::open(format!("/run/netns/{name}")).expect("a namespace of ours")
}
