//! Random scripts of frames, configuration and time: properties P2 and P3.
//!
//! P2, cache transparency: the same script through no cache, tier 1, tier 2 and both gives the same frames, and loses the
//! same frames for the same reasons. P3, convergence: after every change, before any other frame is looked at, every cached
//! entry is what a fresh translation gives. Each frame is also held against the naive interpreter.

use std::time::Duration;

use rvs_datapath::Caches;
use rvs_flow::testing::{frame, matching, mutated_frame, Entropy};
use rvs_flow::{Match, OfPort, PipelineKey};
use rvs_l2::{BundleId, Flush};
use rvs_openflow::Action;
use rvs_packet::{EtherType, MacAddr, VlanId};
use rvs_testkit::config::{and, map};
use rvs_testkit::oracle::Sent;
use rvs_testkit::seed::for_each_seed;
use rvs_testkit::{Packet, Setup, TestSwitch};
use serde_json::{json, Value};

use crate::vlan::{random_mode, random_tags};

const PORTS: usize = 5;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Frame(usize, Vec<u8>),
    AddPort(usize, Value),
    DelPort(usize),
    SetPort(usize, Value),
    SetBridge(Value),
    Link(usize, bool),
    /// The device is deleted and made again.
    Replug(usize),
    FlushMacs(Flush),
    AddFlow(u16, Box<Match<PipelineKey>>, Vec<Action>),
    ClearFlows,
    FlushFlows,
    VlanLimit(u8),
    Pass(Duration),
}

fn port(n: usize) -> String {
    format!("p{n}")
}

fn is_open(s: &TestSwitch, n: usize) -> bool {
    let db = s.switch.database().table("Port").unwrap();
    db.find("name", port(n).as_str()).is_some()
}

fn apply(s: &mut TestSwitch, step: &Step) -> Option<Sent> {
    match step {
        Step::Frame(n, bytes) if is_open(s, *n) => return Some(s.judge(&port(*n), bytes)),
        Step::AddPort(n, columns) if !is_open(s, *n) => {
            s.add_port("br", &port(*n), columns.clone())
        }
        Step::DelPort(n) if is_open(s, *n) => s.del_port("br", &port(*n)),
        Step::SetPort(n, columns) if is_open(s, *n) => s.set_port(&port(*n), columns.clone()),
        Step::SetBridge(columns) => s.set_bridge("br", columns.clone()),
        Step::Link(n, up) if is_open(s, *n) => s.set_link(&port(*n), *up),
        Step::Replug(n) if is_open(s, *n) => {
            s.vanish(&port(*n));
            s.assert_converged();
            s.appear(&port(*n));
        }
        Step::FlushMacs(what) => {
            let br = s.uuid("Bridge", "br");
            s.switch.flush_macs(br, *what);
        }
        Step::AddFlow(priority, m, actions) => s.add_match("br", *priority, m, actions.clone()),
        Step::ClearFlows => {
            s.clear_flows("br");
            s.add_flow("br", 0, "", [Action::output(OfPort::NORMAL)]);
        }
        Step::FlushFlows => s.switch.flush_flows(),
        Step::VlanLimit(n) => s.set_vlan_limit(*n),
        Step::Pass(time) => s.advance(*time),
        _ => {}
    }
    None
}

/// A frame between few hosts in few VLANs, so that addresses are learned, move and are found.
fn familiar(e: &mut Entropy<'_>) -> Vec<u8> {
    let host = |e: &mut Entropy<'_>| 1 + e.below(4) as u8;
    let (src, dst) = (host(e), host(e));
    let base = if e.one_in(4) {
        Packet::between(rvs_testkit::packet::mac(src), MacAddr::BROADCAST)
    } else {
        Packet::eth(src, dst)
    };
    let tagged = random_tags(e)
        .iter()
        .fold(base, |p, (tpid, tci)| p.tag(*tpid, *tci));
    match e.below(4) {
        0 => tagged.arp_request(src, dst),
        1 => tagged.tcp(
            src,
            dst,
            e.pick(&[80, 1000]),
            e.pick(&[80, 1000]),
            e.pick(&[2, 16, 24]),
        ),
        2 => tagged.udp(src, dst, 53, e.pick(&[53, 1000])),
        _ => tagged.ping(src, dst),
    }
    .build()
}

fn any_frame(e: &mut Entropy<'_>) -> Step {
    let bytes = match e.below(8) {
        0 => mutated_frame(e),
        1 => frame(e),
        _ => familiar(e),
    };
    Step::Frame(e.below(PORTS), bytes)
}

fn columns(e: &mut Entropy<'_>) -> Value {
    let protected = e.one_in(5);
    and(random_mode(e), json!({"protected": protected}))
}

fn action(e: &mut Entropy<'_>) -> Action {
    match e.below(9) {
        0..=2 => Action::output(OfPort::NORMAL),
        3 => Action::output(OfPort::FLOOD),
        4 | 5 => Action::output(OfPort(1 + e.below(PORTS) as u32)),
        6 => Action::SetEthDst(rvs_testkit::packet::mac(e.u8() & 3)),
        7 => Action::PushVlan(EtherType::VLAN),
        _ => Action::PopVlan,
    }
}

fn flow(e: &mut Entropy<'_>) -> Step {
    let actions = (0..e.below(4)).map(|_| action(e)).collect();
    Step::AddFlow(1 + e.u16() % 100, Box::new(matching(e)), actions)
}

fn change(e: &mut Entropy<'_>, flows: bool, small: bool) -> Step {
    let n = e.below(PORTS);
    match e.below(if flows { 16 } else { 13 }) {
        0..=2 => Step::SetPort(n, columns(e)),
        3 => Step::DelPort(n),
        4 | 5 => Step::AddPort(n, columns(e)),
        6 => Step::Link(n, e.one_in(2)),
        7 => Step::Replug(n),
        8 => Step::FlushMacs(Flush {
            port: e.one_in(2).then_some(BundleId(n as u32)),
            vlan: e.one_in(2).then_some(VlanId::new(10).unwrap()),
            statics: false,
        }),
        9 => {
            let flooded = rvs_testkit::config::set(&[e.pick(&[10u16, 20, 4095])]);
            let pairs = [
                ("forward-bpdu", e.pick(&["true", "false"])),
                ("mac-table-size", if small { "3" } else { "100" }),
            ];
            Step::SetBridge(json!({"flood_vlans": flooded, "other_config": map(&pairs)}))
        }
        10 => Step::VlanLimit(e.pick(&[1, 2])),
        11 => Step::FlushFlows,
        12 => Step::Pass(Duration::from_millis(
            e.pick(&[10, 600, 3000, 11_000, 400_000]),
        )),
        13 if e.one_in(4) => Step::ClearFlows,
        _ => flow(e),
    }
}

/// `small`: now and then the MAC table is too small for the hosts. Then what is known of them depends on when cached traffic
/// was last credited, and so on the caches.
fn script(e: &mut Entropy<'_>, len: usize, small: bool) -> Vec<Step> {
    let flows = e.one_in(2);
    let mut steps: Vec<Step> = (0..PORTS).map(|n| Step::AddPort(n, columns(e))).collect();
    for _ in 0..len {
        steps.push(if e.one_in(6) {
            change(e, flows, small)
        } else {
            any_frame(e)
        });
    }
    steps
}

fn switch(caches: Caches, workers: usize) -> TestSwitch {
    let setup = Setup {
        workers,
        ..Setup::with(caches)
    };
    let mut s = setup.build();
    s.add_bridge("br");
    s
}

#[test]
fn caches_change_nothing_p2() {
    for_each_seed("transparency", 24, |_, e| {
        let steps = script(e, 150, false);
        let workers = 1 + e.below(3);
        let mut switches = Caches::ALL.map(|c| switch(c, workers));
        for (at, step) in steps.iter().enumerate() {
            let mut outcomes = Vec::new();
            for s in &mut switches {
                let sent = apply(s, step);
                let c = s.counters();
                let losses: Vec<_> =
                    c.0.into_iter()
                        .filter(|(n, _)| n.starts_with("drop_"))
                        .collect();
                outcomes.push((sent, losses));
            }
            for (o, caches) in outcomes.iter().zip(Caches::ALL).skip(1) {
                assert_eq!(o, &outcomes[0], "{caches:?} at step {at}: {step:?}");
            }
        }
    });
}

#[test]
fn every_entry_is_true_after_every_change_p3() {
    for_each_seed("convergence", 80, |_, e| {
        let mut s = switch(Caches::Both, 2);
        for step in script(e, 150, true) {
            let frame = matches!(step, Step::Frame(..));
            // Of the script of a case that fails, the test harness shows what is printed.
            println!("{step:?}");
            apply(&mut s, &step);
            if !frame {
                s.assert_converged();
            }
        }
        s.assert_converged();
    });
}
