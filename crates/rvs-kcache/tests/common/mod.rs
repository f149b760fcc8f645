//! Network namespaces for tests, without a trace outside this process: a namespace is a descriptor, and dies with it.
#![allow(dead_code)]

pub mod frames;
pub mod sender;
pub mod switch;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sched::{setns, unshare, CloneFlags};

/// An otherwise empty network namespace.
pub struct Netns {
    file: File,
}

impl Netns {
    /// `None`, said loudly, without the privilege to make one.
    pub fn new(test: &str) -> Option<Self> {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).map(|()| File::open("/proc/thread-self/ns/net"))
        });
        match made.join().unwrap() {
            Ok(file) => {
                let ns = Self {
                    file: file.unwrap(),
                };
                ns.sh("ip link set lo up");
                Some(ns)
            }
            Err(e) => {
                println!("SKIPPED {test}: needs CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_BPF: {e}");
                None
            }
        }
    }

    /// For `ip link set DEV netns`, which takes a path.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Runs `f` on a thread inside the namespace.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).unwrap();
                f()
            });
            inside.join().unwrap()
        })
    }

    /// Runs a shell command inside; panics if it fails. Returns its output.
    pub fn sh(&self, command: &str) -> String {
        let out = self.try_sh(command);
        out.unwrap_or_else(|e| panic!("{command}: {e}"))
    }

    pub fn try_sh(&self, command: &str) -> Result<String, String> {
        self.run(|| {
            let out = Command::new("sh")
                .args(["-c", command])
                .stdin(Stdio::null())
                .output();
            let out = out.unwrap();
            if out.status.success() {
                Ok(String::from_utf8_lossy(&out.stdout).into_owned())
            } else {
                Err(String::from_utf8_lossy(&out.stderr).into_owned())
            }
        })
    }

    /// Waits until a device is up and knows it.
    pub fn wait_up(&self, name: &str) {
        for _ in 0..100 {
            if self
                .sh(&format!("ip -br link show {name}"))
                .contains(" UP ")
            {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("{name} does not come up");
    }

    pub fn ifindex(&self, name: &str) -> u32 {
        self.run(|| nix::net::if_::if_nametoindex(name).unwrap())
    }
}

/// A port in `host` (10.9.0.1/24) with a neighbour in `peer` (10.9.0.2/24), joined by a veth pair.
pub fn wire(host: &Netns, peer: &Netns) {
    host.sh("ip link add port0 type veth peer name peer0");
    host.sh(&format!("ip link set peer0 netns {}", peer.path()));
    host.sh("ip addr add 10.9.0.1/24 dev port0; ip link set port0 up");
    peer.sh("ip addr add 10.9.0.2/24 dev peer0; ip link set peer0 up");
    host.wait_up("port0");
    peer.wait_up("peer0");
    // Neighbours known for good: what is tested is whether frames arrive, not how ARP retries.
    let mac = |ns: &Netns, dev: &str| {
        ns.sh(&format!("ip -br link show {dev}"))
            .split_whitespace()
            .nth(2)
            .unwrap()
            .to_owned()
    };
    let (host_mac, peer_mac) = (mac(host, "port0"), mac(peer, "peer0"));
    host.sh(&format!(
        "ip neigh replace 10.9.0.2 lladdr {peer_mac} nud permanent dev port0"
    ));
    peer.sh(&format!(
        "ip neigh replace 10.9.0.1 lladdr {host_mac} nud permanent dev peer0"
    ));
}

/// One echo request from `peer` to the host's own address, answered within half a second?
pub fn host_answers(peer: &Netns) -> bool {
    peer.try_sh("ping -n -c 1 -W 0.5 10.9.0.1").is_ok()
}
