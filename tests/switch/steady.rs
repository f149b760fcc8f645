//! What is installed is what was asked for, and answers from then on: nobody asks twice about a flow that keeps coming.

use std::collections::BTreeSet;
use std::time::Duration;

use rvs_datapath::Caches;
use rvs_dpif::FlowId;
use rvs_flow::testing::{matching, mutated_frame, Entropy};
use rvs_openflow::Action;
use rvs_packet::MacAddr;
use rvs_testkit::packet::mac;
use rvs_testkit::seed::for_each_seed;
use rvs_testkit::{Packet, Setup, TestSwitch};

use crate::vlan::{random_mode, random_tags};

const PORTS: usize = 4;

/// A switch with random VLAN modes and random rules above NORMAL.
fn switch(e: &mut Entropy<'_>, caches: Caches) -> TestSwitch {
    let mut s = Setup::with(caches).build();
    s.add_bridge("br");
    for n in 0..PORTS {
        s.add_port("br", &format!("p{n}"), random_mode(e));
    }
    for _ in 0..e.below(12) {
        let to = s.of(&format!("p{}", e.below(PORTS)));
        let actions = match e.below(4) {
            0 => vec![],
            1 => vec![Action::SetEthDst(mac(9)), Action::output(to)],
            2 => vec![Action::PopVlan, Action::output(to)],
            _ => vec![Action::output(to)],
        };
        s.add_match("br", 1 + e.u16() % 100, &matching(e), actions);
    }
    s
}

/// A frame of a host of port `n`: its source is seen on no other port.
fn frame(e: &mut Entropy<'_>, n: usize) -> Vec<u8> {
    let source = mac(0x10 * (n as u8 + 1) + e.below(3) as u8);
    let dst = match e.below(3) {
        0 => MacAddr::BROADCAST,
        _ => mac(0x10 * (1 + e.below(PORTS) as u8) + e.below(3) as u8),
    };
    if e.one_in(4) {
        let mut bytes = mutated_frame(e);
        // Less than a header is dropped unasked.
        bytes.resize(bytes.len().max(14), 0);
        bytes[6..12].copy_from_slice(&source.0);
        return bytes;
    }
    let tagged = random_tags(e)
        .iter()
        .fold(Packet::between(source, dst), |p, (tpid, tci)| {
            p.tag(*tpid, *tci)
        });
    let ports = [80, 1000, 1001];
    let p = match e.below(3) {
        0 => tagged.tcp(1, 2, e.pick(&ports), e.pick(&ports), e.pick(&[2, 16, 24])),
        1 => tagged.udp6(1, 2, e.pick(&ports), e.pick(&ports)),
        _ => tagged.arp_request(1, 2),
    };
    p.build()
}

/// Everything that workers hold, which must be exactly what the slow path knows under the same (key, mask).
fn held(s: &mut TestSwitch) -> BTreeSet<FlowId> {
    let mut ids = BTreeSet::new();
    for w in 0..s.workers() {
        let flows: Vec<_> = s.datapath(w).flows().iter().cloned().collect();
        for flow in flows {
            assert!(flow.mask.apply(&flow.key) == flow.key, "not canonical");
            let slow = s.slow();
            let known = slow.flows().find(&flow.key, &flow.mask);
            assert_eq!(known.map(|k| k.flow.id), Some(flow.id));
            ids.insert(flow.id);
        }
    }
    ids
}

/// B6 of Open vSwitch's record (ca4421851, 736a8111e): a mask that is installed otherwise than it was made has its entry deleted
/// and asked for again for ever. Sixty seconds of the same frames, once a second: no question and no new entry.
#[test]
fn b6_a_steady_flow_is_asked_about_once() {
    for_each_seed("steady", 30, |_, e| {
        let caches = e.pick(&[Caches::Megaflow, Caches::Both]);
        let mut s = switch(e, caches);
        let frames: Vec<(String, Vec<u8>)> = (0..20)
            .map(|_| {
                let n = e.below(PORTS);
                (format!("p{n}"), frame(e, n))
            })
            .collect();
        let round = |s: &mut TestSwitch, asked: Option<u64>| {
            for (port, bytes) in &frames {
                s.judge(port, bytes);
                if let Some(asked) = asked {
                    let text = rvs_testkit::packet::text(bytes);
                    assert_eq!(s.counters().get("misses"), asked, "{port}: {text}");
                }
            }
        };
        // Where everybody is has to be learned, and entries of before that go.
        for _ in 0..5 {
            round(&mut s, None);
            s.advance(Duration::from_secs(1));
        }
        let (asked, entries) = (s.counters().get("misses"), held(&mut s));
        for _ in 0..60 {
            s.advance(Duration::from_secs(1));
            round(&mut s, Some(asked));
        }
        assert_eq!(held(&mut s), entries);
        s.assert_converged();
    });
}
