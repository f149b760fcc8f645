//! Tier 0 from one daemon's life to the next: what is gone on with, and what must not be.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::sender::Sender;
use common::switch::{mac, now, Switch};
use rvs_kcache::{KernelCache, Mode, Pins};
use rvs_packet::MacAddr;
use tempfile::TempDir;

/// A bpf file system of a test's own.
struct Bpffs(TempDir);

impl Bpffs {
    fn mount() -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        let mount = ["-t", "bpf", "none"];
        let done = Command::new("mount").args(mount).arg(this.path()).status();
        assert!(done.unwrap().success());
        this
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

/// While no daemon lived nobody looked whether ports may be direct: a shaper may have come, or a capture.
#[test]
fn a_dead_daemons_direct_ports_are_direct_no_more() {
    let Some(mut s) = Switch::new("revived", 2, Mode::Tcx) else {
        return;
    };
    let bpffs = Bpffs::mount();
    let pins = Pins::open(bpffs.path(), "revived").unwrap();
    s.cache.pin(&pins).unwrap();
    s.join();
    let Some(mut sender) = Sender::new(&s.hosts[0], "eth0") else {
        return;
    };
    let mut frame = [mac(2), mac(1)].concat();
    frame.extend([0x88, 0xb6]);
    frame.resize(60, 7);
    let mut through = |s: &Switch| {
        let before = s.sent(2);
        sender.send(&frame);
        std::thread::sleep(Duration::from_millis(50));
        s.sent(2) - before
    };
    s.guards[1].set_direct(Some(MacAddr(mac(2))));
    assert_eq!(through(&s), 0);
    s.cache.beat(now() - Duration::from_secs(10));
    assert_eq!(through(&s), 1, "silent for too long to know");
    let found = KernelCache::inherit("revived", &pins, now()).unwrap();
    let (cache, _) = found.expect("it can be gone on with");
    cache.beat(now());
    assert_eq!(through(&s), 1);
    assert_eq!(cache.orphans().len(), 4);
    drop(cache);
    pins.remove().unwrap();
}
