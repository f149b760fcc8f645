//! The ingress drop on real devices, in network namespaces of their own, both ways (tcx and clsact).
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{host_answers, wire, Netns};
use nix::sys::socket::{
    recvfrom, setsockopt, socket, sockopt, AddressFamily, LinkAddr, SockFlag, SockProtocol,
    SockType,
};
use nix::sys::time::{TimeVal, TimeValLike};
use rvs_kcache::{Capability, Error, ForeignHook, IngressDrop, Mode};

fn namespaces(test: &str) -> Option<(Netns, Netns)> {
    let (host, peer) = (Netns::new(test)?, Netns::new(test)?);
    wire(&host, &peer);
    Some((host, peer))
}

fn open(instance: &str, mode: Mode) -> IngressDrop {
    IngressDrop::open(instance, mode).unwrap()
}

/// Frames that an AF_PACKET socket on `ifindex` sees while `during` runs.
fn tapped(host: &Netns, ifindex: u32, during: impl FnOnce()) -> usize {
    let tap = host.run(|| {
        let (kind, all) = (SockType::Raw, SockProtocol::EthAll);
        let tap = socket(AddressFamily::Packet, kind, SockFlag::empty(), all).unwrap();
        setsockopt(&tap, sockopt::ReceiveTimeout, &TimeVal::milliseconds(50)).unwrap();
        tap
    });
    during();
    let (mut buf, mut seen) = ([0; 2048], 0);
    while let Ok((_, from)) = recvfrom::<LinkAddr>(tap.as_raw_fd(), &mut buf) {
        seen += usize::from(from.is_some_and(|f| f.ifindex() as u32 == ifindex));
    }
    seen
}

fn the_tap_sees_what_the_stack_does_not(mode: Mode, test: &str) {
    let Some((host, peer)) = namespaces(test) else {
        return;
    };
    let port = host.ifindex("port0");
    assert!(host_answers(&peer), "the wire itself");

    let drop = host.run(|| open(test, mode));
    let guard = host.run(|| drop.attach(port).unwrap());
    assert!(host.run(|| guard.is_attached().unwrap()));
    let seen = tapped(&host, port, || {
        assert!(!host_answers(&peer), "the stack answered")
    });
    assert!(seen >= 1, "the tap saw nothing");
    assert!(
        host.run(|| drop.foreign_programs(port).unwrap()).is_empty(),
        "ours is not foreign"
    );
    // One guard per port.
    let second = host.run(|| drop.attach(port).unwrap_err());
    assert!(matches!(second, Error::AlreadyAttached { .. }), "{second}");
    assert!(!host_answers(&peer));

    host.run(|| guard.detach().unwrap());
    assert!(host_answers(&peer), "after detach");
    assert_eq!(
        host.sh("tc qdisc show dev port0 clsact"),
        "",
        "the qdisc went too"
    );
    let guard = host.run(|| drop.attach(port).unwrap());
    assert!(!host_answers(&peer));
    host.run(move || std::mem::drop(guard));
    assert!(host_answers(&peer), "after the guard was dropped");
}

#[test]
fn tcx_tap_sees_what_the_stack_does_not() {
    the_tap_sees_what_the_stack_does_not(Mode::Tcx, "tcx_tap");
}

#[test]
fn clsact_tap_sees_what_the_stack_does_not() {
    the_tap_sees_what_the_stack_does_not(Mode::Clsact, "clsact_tap");
}

/// What a holder holds: the way and the port.
const HOLDS: &str = "RVS_KCACHE_HOLDER";
/// The test whose process a holder is, since this program has no other way in.
const HOLDER_ENTERS_BY: &str = "tcx_kill9_gives_the_frames_back";

/// The daemon's part, as a process of its own that can be killed.
fn hold(what: &str) {
    let (mode, port) = what.split_once(' ').unwrap();
    let mode = if mode == "clsact" {
        Mode::Clsact
    } else {
        Mode::Tcx
    };
    let drop = open("kill", mode);
    let _guard = drop.attach(port.parse().unwrap()).unwrap();
    println!("\nholding");
    loop {
        std::thread::park();
    }
}

struct Holder(Child);

impl Holder {
    /// Starts the helper in `ns` (a child is born into its parent thread's namespace) and waits until it holds the port.
    fn spawn(ns: &Netns, mode: &str, port: u32) -> Self {
        let mut child = ns.run(|| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", HOLDER_ENTERS_BY, "--nocapture"])
                .env(HOLDS, format!("{mode} {port}"))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        });
        let out = BufReader::new(child.stdout.take().unwrap());
        let ready = out
            .lines()
            .map_while(Result::ok)
            .any(|line| line == "holding");
        assert!(ready, "the holder did not start");
        Self(child)
    }

    fn kill9(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kill9_gives_the_frames_back(mode: &str, test: &str) {
    let Some((host, peer)) = namespaces(test) else {
        return;
    };
    let mut holder = Holder::spawn(&host, mode, host.ifindex("port0"));
    // The living daemon keeps the port, whatever it does not say.
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        assert!(
            !host_answers(&peer),
            "after {:?} of life",
            started.elapsed()
        );
    }
    holder.kill9();
    let killed = Instant::now();
    while !host_answers(&peer) {
        assert!(
            killed.elapsed() < Duration::from_secs(2),
            "the host is deaf after kill -9"
        );
    }
    println!(
        "{mode}: the host answers {:?} after kill -9",
        killed.elapsed()
    );
}

#[test]
fn tcx_kill9_gives_the_frames_back() {
    if let Ok(what) = std::env::var(HOLDS) {
        return hold(&what);
    }
    kill9_gives_the_frames_back("tcx", "tcx_kill9");
}

#[test]
fn clsact_kill9_gives_the_frames_back() {
    kill9_gives_the_frames_back("clsact", "clsact_kill9");
}

#[test]
fn the_next_start_removes_the_leftover_and_nothing_else() {
    let Some((host, peer)) = namespaces("leftover") else {
        return;
    };
    let port = host.ifindex("port0");
    Holder::spawn(&host, "clsact", port).kill9();
    assert!(host
        .sh("tc filter show dev port0 ingress")
        .contains("rvs-drop+qdisc:kill"));

    // Another daemon's is not a leftover but a stranger, whichever way the other uses.
    for mode in [Mode::Tcx, Mode::Clsact] {
        let other = host.run(|| open("other", mode));
        assert_eq!(host.run(|| rvs_kcache::remove_drops("other").unwrap()), 0);
        let foreign = host.run(|| other.foreign_programs(port).unwrap());
        assert_eq!(foreign.len(), 1);
        assert_eq!(foreign[0].hook, ForeignHook::Tc);
        assert_eq!(foreign[0].name.as_deref(), Some("rvs-drop+qdisc:kill"));
    }
    // The same instance cleans up, whichever way it will use.
    assert_eq!(host.run(|| rvs_kcache::remove_drops("kill").unwrap()), 1);
    assert_eq!(host.sh("tc qdisc show dev port0 clsact"), "");
    assert!(host_answers(&peer));

    // Taking the port over without a clean-up: the dead one's qdisc is inherited and goes with the guard.
    Holder::spawn(&host, "clsact", port).kill9();
    let again = host.run(|| open("kill", Mode::Clsact));
    let guard = host.run(|| again.attach(port).unwrap());
    assert_eq!(
        host.sh("tc filter show dev port0 ingress")
            .matches("rvs-drop")
            .count(),
        1
    );
    assert!(!host_answers(&peer));
    host.run(|| guard.detach().unwrap());
    assert_eq!(host.sh("tc qdisc show dev port0 clsact"), "");
    assert!(host_answers(&peer));
}

#[test]
fn a_clsact_of_somebody_else_stays() {
    let Some((host, peer)) = namespaces("foreign_clsact") else {
        return;
    };
    let port = host.ifindex("port0");
    host.sh("tc qdisc add dev port0 clsact");
    let drop = host.run(|| open("polite", Mode::Clsact));
    let guard = host.run(|| drop.attach(port).unwrap());
    assert!(!host_answers(&peer));
    host.run(|| guard.detach().unwrap());
    assert!(host.sh("tc qdisc show dev port0 clsact").contains("clsact"));

    // Our qdisc, on which somebody put a filter meanwhile: the filter keeps it.
    host.sh("tc qdisc del dev port0 clsact");
    let guard = host.run(|| drop.attach(port).unwrap());
    host.sh("tc filter add dev port0 egress pref 5 protocol ip u32 match u32 0 0 flowid 1:1");
    host.run(|| guard.detach().unwrap());
    assert!(host.sh("tc filter show dev port0 egress").contains("u32"));
    assert!(host_answers(&peer));
}

#[test]
fn strangers_on_ingress_are_named() {
    let Some((host, peer)) = namespaces("strangers") else {
        return;
    };
    let port = host.ifindex("port0");
    let drop = host.run(|| open("names", Mode::Tcx));
    assert_eq!(host.run(|| drop.foreign_programs(port).unwrap()), []);

    host.sh("tc qdisc add dev port0 clsact");
    host.sh("tc filter add dev port0 ingress pref 5 protocol ip u32 match u32 0 0 flowid 1:1");
    let u32_filter = host.run(|| drop.foreign_programs(port).unwrap());
    assert_eq!(u32_filter.len(), 1, "{u32_filter:?}");
    assert_eq!(u32_filter[0].to_string(), "tc ingress filter (u32)");
    host.sh("tc qdisc del dev port0 clsact");

    // Another daemon of ours on tcx: a stranger too, told by its program.
    let other = host.run(|| open("other", Mode::Tcx));
    let guard = host.run(|| other.attach(port).unwrap());
    let tcx = host.run(|| drop.foreign_programs(port).unwrap());
    assert_eq!(tcx.len(), 1);
    assert_eq!(tcx[0].hook, ForeignHook::Tcx);
    assert_eq!(tcx[0].name.as_deref(), Some("rvs_drop"));
    assert!(!host_answers(&peer));
    std::mem::drop(guard);
    assert_eq!(host.run(|| drop.foreign_programs(port).unwrap()), []);

    let gone = host.run(|| drop.foreign_programs(4711).unwrap_err());
    assert!(
        matches!(gone, Error::NoDevice { ifindex: 4711, .. }),
        "{gone}"
    );
}

#[test]
fn an_xdp_program_is_named() {
    let Some((host, _peer)) = namespaces("xdp") else {
        return;
    };
    let port = host.ifindex("port0");
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("pass.c");
    let code = "__attribute__((section(\"xdp\"), used)) int rvs_test_xdp(void *c) { return 2; }";
    std::fs::write(&source, code).unwrap();
    let compile = format!(
        "cd {} && clang -O2 -target bpf -c pass.c",
        dir.path().display()
    );
    if let Err(e) = host.try_sh(&compile) {
        println!("SKIPPED xdp: no clang to make a program with: {e}");
        return;
    }
    host.sh(&format!(
        "ip link set port0 xdpgeneric obj {}/pass.o sec xdp",
        dir.path().display()
    ));
    let drop = host.run(|| open("xdp", Mode::Tcx));
    let found = host.run(|| drop.foreign_programs(port).unwrap());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].hook, ForeignHook::Xdp);
    host.sh("ip link set port0 xdpgeneric off");
    assert_eq!(host.run(|| drop.foreign_programs(port).unwrap()), []);
}

fn a_lost_attachment_is_noticed(mode: Mode, test: &str) {
    let Some((host, peer)) = namespaces(test) else {
        return;
    };
    let port = host.ifindex("port0");
    let drop = host.run(|| open(test, mode));

    // Moved away and back: a tcx link follows the device, a clsact does not. Either way the port here has lost it, and
    // releasing the guard gives the frames back wherever the device is.
    let guard = host.run(|| drop.attach(port).unwrap());
    let elsewhere = Netns::new(test).unwrap();
    host.sh(&format!("ip link set port0 netns {}", elsewhere.path()));
    assert!(!host.run(|| guard.is_attached().unwrap()), "moved");
    host.run(|| guard.detach().unwrap());
    elsewhere.sh("ip addr add 10.9.0.1/24 dev port0; ip link set port0 up");
    assert!(host_answers(&peer), "after the move");

    // Deleted.
    elsewhere.sh(&format!("ip link set port0 netns {}", host.path()));
    let port = host.ifindex("port0");
    let guard = host.run(|| drop.attach(port).unwrap());
    host.sh("ip link del port0");
    assert!(!host.run(|| guard.is_attached().unwrap()), "deleted");
    host.run(|| guard.detach().unwrap());
    let gone = host.run(|| drop.attach(port).unwrap_err());
    assert!(matches!(gone, Error::NoDevice { .. }), "{gone}");
}

#[test]
fn tcx_a_lost_attachment_is_noticed() {
    a_lost_attachment_is_noticed(Mode::Tcx, "tcx_lost");
}

#[test]
fn clsact_a_lost_attachment_is_noticed() {
    a_lost_attachment_is_noticed(Mode::Clsact, "clsact_lost");
}

#[test]
fn detached_by_somebody_else_is_noticed() {
    let Some((host, peer)) = namespaces("by_else") else {
        return;
    };
    let port = host.ifindex("port0");
    let drop = host.run(|| open("by_else", Mode::Clsact));
    let guard = host.run(|| drop.attach(port).unwrap());
    host.sh("tc qdisc del dev port0 clsact");
    assert!(!host.run(|| guard.is_attached().unwrap()));
    assert!(host_answers(&peer));
    host.run(|| guard.detach().unwrap());

    let drop = host.run(|| open("by_else", Mode::Tcx));
    let guard = host.run(|| drop.attach(port).unwrap());
    let stranger = host.run(|| open("stranger", Mode::Tcx).foreign_programs(port).unwrap());
    let ours = format!("\"prog_id\":{}", stranger[0].prog_id.unwrap());
    let links = host.try_sh("bpftool -j link show").unwrap_or_default();
    let Some(link) = links
        .split('{')
        .find(|link| link.split(['}', ',']).any(|field| field == ours))
    else {
        println!("SKIPPED the tcx half of by_else: no bpftool that lists links");
        return;
    };
    let id = link
        .split("\"id\":")
        .nth(1)
        .and_then(|s| s.split(',').next())
        .unwrap();
    host.sh(&format!("bpftool link detach id {id}"));
    assert!(!host.run(|| guard.is_attached().unwrap()));
    assert!(host_answers(&peer));
    host.run(|| guard.detach().unwrap());
}

#[test]
fn the_probe_tells_the_truth() {
    match IngressDrop::probe() {
        Capability::None(reason) => {
            assert!(reason.len() > 20, "a reason that helps: {reason}");
            println!("SKIPPED the_probe_tells_the_truth: {reason}");
        }
        found => {
            assert_eq!(
                IngressDrop::open("probe", Mode::Auto).unwrap().capability(),
                found
            );
        }
    }
    let long = "x".repeat(300);
    let refused = IngressDrop::open(&long, Mode::Auto).unwrap_err();
    assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
}

#[test]
fn without_privileges_the_error_names_them() {
    for mode in ["tcx", "clsact"] {
        let out = Command::new("setpriv")
            .args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", HOLDER_ENTERS_BY, "--nocapture"])
            .env(HOLDS, format!("{mode} 1"))
            .output();
        let Ok(out) = out else {
            println!("SKIPPED without_privileges: no setpriv (util-linux)");
            return;
        };
        let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success());
        assert!(said.contains("CAP_NET_ADMIN and CAP_BPF"), "{mode}: {said}");
    }
}
