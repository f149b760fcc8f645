//! Namespaces, devices and frames for the tests with privileges.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sched::{unshare, CloneFlags};
use rvs_netdev::packet::{self, PacketRx, PacketTx};
use rvs_netdev::rtnl::{Link, Rtnl};
use rvs_netdev::{FrameSource, PacketConfig, Received, Transmit, TxScratch};
use rvs_packet::{Frame, FramePool};

/// Runs a test in a network namespace of its own, which goes away with all its devices when the test ends, however it
/// ends. Without the privilege to make one the test is skipped, loudly.
pub fn in_namespace(name: &str, test: impl FnOnce() + Send + 'static) {
    let name = name.to_owned();
    let run = move || {
        if let Err(e) = unshare(CloneFlags::CLONE_NEWNET) {
            // Past the capture of the test runner, which would keep it to itself.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED {name}: no network namespace: {e}"
            );
            return;
        }
        silence();
        ip("link set lo up");
        test();
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Devices of this thread's namespace send nothing by themselves.
fn silence() {
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
}

/// `ip ARGS` in this thread's namespace.
pub fn ip(args: &str) {
    run("ip", args);
}

/// `tc ARGS` in this thread's namespace.
pub fn tc(args: &str) {
    run("tc", args);
}

/// `ethtool ARGS` in this thread's namespace.
pub fn ethtool(args: &str) {
    run("ethtool", args);
}

fn run(program: &str, args: &str) {
    let out = Command::new(program)
        .args(args.split_whitespace())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{program} {args}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// Another namespace, alive until this is dropped.
pub struct OtherNamespace {
    path: PathBuf,
    stop: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl OtherNamespace {
    pub fn new() -> Self {
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            silence();
            let tid = nix::unistd::gettid();
            tell.send(PathBuf::from(format!(
                "/proc/{}/task/{tid}/ns/net",
                std::process::id()
            )))
            .unwrap();
            let _ = stopped.recv();
        });
        Self {
            path: told.recv().unwrap(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// `ip ARGS` in there.
    pub fn ip(&self, args: &str) {
        let out = Command::new("nsenter")
            .arg(format!("--net={}", self.path()))
            .arg("ip")
            .args(args.split_whitespace())
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "ip {args}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}

impl Drop for OtherNamespace {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().unwrap().join();
    }
}

pub fn link(name: &str) -> Link {
    Rtnl::open().unwrap().link_by_name(name).unwrap().unwrap()
}

/// Waits until the device can carry frames: the kernel connects its queue a little after it is set up.
pub fn carrier(name: &str) {
    eventually("carrier", || link(name).has_carrier());
}

/// A port with a pool and all that sending and receiving need.
pub struct TestPort {
    pub rx: PacketRx,
    pub tx: PacketTx,
    pub pool: FramePool,
    scratch: TxScratch,
}

impl TestPort {
    pub fn open(name: &str, port: u32) -> Self {
        let config = PacketConfig {
            slots: 256,
            ..PacketConfig::default()
        };
        let (rx, tx) = packet::open(&link(name), port, &config).unwrap();
        Self {
            rx,
            tx,
            pool: FramePool::new(),
            scratch: TxScratch::default(),
        }
    }

    pub fn send(&mut self, frames: &[Frame]) {
        let mut frames = frames.to_vec();
        self.tx
            .transmit(&mut frames, &mut self.pool, &mut self.scratch);
        assert!(frames.is_empty());
    }

    /// Receives until `n` frames are there; a second without any is a failure.
    pub fn receive(&mut self, n: usize) -> Vec<Frame> {
        let mut out: Vec<Received> = Vec::new();
        while out.len() < n {
            assert!(
                readable(self.rx.fd(), 1000),
                "{} of {n} frames came",
                out.len()
            );
            self.rx.recv_batch(&mut self.pool, &mut out, 32);
        }
        assert_eq!(out.len(), n);
        out.into_iter().map(|r| r.frame).collect()
    }

    /// Sees that nothing comes for a while.
    pub fn silent(&mut self) {
        let mut out = Vec::new();
        if readable(self.rx.fd(), 50) {
            self.rx.recv_batch(&mut self.pool, &mut out, 32);
        }
        assert_eq!(out, []);
    }
}

pub fn readable(fd: BorrowedFd<'_>, millis: u16) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(millis)).unwrap() > 0
}

/// Asks until `condition` holds; two seconds are too long.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(2), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    f.extend(ethertype.to_be_bytes());
    f.extend(payload);
    f
}

/// A frame of `len` octets of a type that nobody handles, told apart by `tag`.
pub fn plain(tag: u8, len: usize) -> Frame {
    let mut bytes = ethernet(0x88b5, &vec![tag; len - 14]);
    bytes[14] = tag;
    Frame::from_slice(&bytes)
}
