#![allow(clippy::unwrap_used)]
//! Whole networks of bridges on virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use rvs_packet::{MacAddr, Now};

use super::*;

/// A segment (true) or a bridge.
type Node = (bool, usize);

/// Bridges and the segments between their ports.
struct Net {
    now: Now,
    bridges: Vec<SpanningTree>,
    /// Ports (bridge, port) of each segment.
    segments: Vec<Vec<(usize, u32)>>,
    cut: BTreeSet<usize>,
    flushes: usize,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rapid: Vec<bool> = self.bridges.iter().map(|b| b.config().rapid).collect();
        write!(f, "rapid {rapid:?}, segments {:?}", self.segments)
    }
}

impl Net {
    fn new(rapid: &[bool], segments: Vec<Vec<(usize, u32)>>) -> Self {
        let bridges = rapid.iter().enumerate().map(|(n, rapid)| {
            // The later bridges are the better roots, so that everybody has to change its mind.
            let mac = MacAddr([2, 0, 0, 0, 0, 200 - n as u8]);
            SpanningTree::new(Config::new(BridgeId::new(0x8000, mac), *rapid))
        });
        let mut net = Self {
            now: Now::ZERO,
            bridges: bridges.collect(),
            segments,
            cut: BTreeSet::new(),
            flushes: 0,
        };
        for s in 0..net.segments.len() {
            net.set_segment(s, true);
        }
        net
    }

    fn set_segment(&mut self, segment: usize, up: bool) {
        if up {
            self.cut.remove(&segment);
        } else {
            self.cut.insert(segment);
        }
        let point_to_point = self.segments[segment].len() <= 2;
        for (bridge, port) in self.segments[segment].clone() {
            let cfg = PortConfig {
                id: PortId::new(128, port as u16),
                path_cost: 10 + (bridge as u32 * 7 + port * 3) % 5,
                enabled: up,
                admin_edge: false,
                auto_edge: true,
                point_to_point,
            };
            assert!(self.bridges[bridge].set_port(self.now, port, cfg));
        }
        self.deliver();
    }

    /// Carries BPDUs until none is under way.
    fn deliver(&mut self) {
        let mut wire = VecDeque::new();
        loop {
            for (b, bridge) in self.bridges.iter_mut().enumerate() {
                for event in bridge.take_events() {
                    match event {
                        Event::Flush { .. } => self.flushes += 1,
                        Event::Send { port, bpdu } => wire.push_back((b, port, bpdu)),
                    }
                }
            }
            let Some((b, port, bpdu)) = wire.pop_front() else {
                break;
            };
            let frame = to_frame(MacAddr::ZERO, &bpdu);
            let bpdu = in_frame(&frame).unwrap();
            for (n, segment) in self.segments.iter().enumerate() {
                if self.cut.contains(&n) || !segment.contains(&(b, port)) {
                    continue;
                }
                for (to, at) in segment.iter().filter(|end| **end != (b, port)) {
                    let heard = self.bridges[*to].receive(self.now, *at, bpdu);
                    assert!(matches!(heard, Ok(()) | Err(BadBpdu::Expired)));
                }
            }
        }
    }

    fn seconds(&mut self, n: usize) {
        for _ in 0..n {
            self.now = self.now + Duration::from_secs(1);
            for b in 0..self.bridges.len() {
                self.bridges[b].run(self.now);
                self.deliver();
            }
        }
    }

    fn forwards(&self, bridge: usize, port: u32) -> bool {
        let mut states = self.bridges[bridge].states();
        states.any(|(p, _, state)| p == port && state == Forwarding::Forwarding)
    }

    /// Bridges and segments as one graph, with an edge where a port forwards: true when frames could go in circles.
    fn loops(&self) -> bool {
        let mut group: BTreeMap<Node, Node> = BTreeMap::new();
        fn find(g: &BTreeMap<Node, Node>, mut x: Node) -> Node {
            while let Some(up) = g.get(&x) {
                x = *up;
            }
            x
        }
        for (s, ports) in self.segments.iter().enumerate() {
            if self.cut.contains(&s) {
                continue;
            }
            for (bridge, port) in ports {
                if !self.forwards(*bridge, *port) {
                    continue;
                }
                let (a, b) = (find(&group, (false, *bridge)), find(&group, (true, s)));
                if a == b {
                    return true;
                }
                group.insert(a, b);
            }
        }
        false
    }

    /// Which bridges frames reach from bridge 0, over ports that forward, or over all that have a link.
    fn reached(&self, all: bool) -> BTreeSet<usize> {
        let mut seen = BTreeSet::from([0]);
        loop {
            let before = seen.len();
            for (s, ports) in self.segments.iter().enumerate() {
                let open: Vec<usize> = ports
                    .iter()
                    .filter(|(b, p)| !self.cut.contains(&s) && (all || self.forwards(*b, *p)))
                    .map(|(b, _)| *b)
                    .collect();
                if open.iter().any(|b| seen.contains(b)) {
                    seen.extend(open);
                }
            }
            if seen.len() == before {
                return seen;
            }
        }
    }

    fn assert_tree(&self) {
        assert!(!self.loops(), "frames can go in circles");
        assert_eq!(self.reached(false), self.reached(true), "a part is cut off");
        assert!(self.bridges.iter().all(|b| b.unsettled() == 0));
    }
}

/// Seconds after which the old protocol is sure to have converged: what was said of a root that is gone may go round until it
/// is as old as `max_age` (some 40 seconds in these networks), then come two forward delays.
const OLD: usize = 100;

/// Every bridge has its own ports on its segments, numbered from 1. Some segments join more than two.
fn nets(rapid: impl Strategy<Value = Vec<bool>>) -> impl Strategy<Value = Net> {
    let ends = prop::collection::vec(prop::collection::vec(0..7usize, 2..4), 1..14);
    (rapid, ends).prop_map(|(rapid, ends)| {
        let mut ports = vec![0; rapid.len()];
        let mut port = |bridge: usize| {
            let bridge = bridge % rapid.len();
            ports[bridge] += 1;
            (bridge, ports[bridge])
        };
        let segments = ends
            .into_iter()
            .map(|s| s.into_iter().map(&mut port).collect());
        let segments: Vec<Vec<_>> = segments.collect();
        Net::new(&rapid, segments)
    })
}

fn mixed() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(any::<bool>(), 2..7)
}

fn uniform(rapid: bool) -> impl Strategy<Value = Vec<bool>> {
    (2..7usize).prop_map(move |n| vec![rapid; n])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_network_becomes_a_tree_without_ever_having_a_loop(mut net in nets(mixed())) {
        for _ in 0..OLD {
            net.seconds(1);
            prop_assert!(!net.loops(), "frames can go in circles after {}", net.now.0);
        }
        net.assert_tree();
    }

    #[test]
    fn what_is_cut_is_routed_around_and_what_comes_back_makes_no_loop(
        mut net in nets(mixed()), which in any::<prop::sample::Index>(),
    ) {
        net.seconds(OLD);
        let which = which.index(net.segments.len());
        net.set_segment(which, false);
        net.seconds(OLD);
        net.assert_tree();
        net.set_segment(which, true);
        for _ in 0..OLD {
            net.seconds(1);
            prop_assert!(!net.loops());
        }
        net.assert_tree();
    }

    #[test]
    fn the_old_protocol_never_loops_whatever_is_cut(
        mut net in nets(uniform(false)), cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..5),
    ) {
        for cut in cuts {
            let cut = cut.index(net.segments.len());
            let up = net.cut.contains(&cut);
            net.set_segment(cut, up);
            for _ in 0..20 {
                net.seconds(1);
                prop_assert!(!net.loops());
            }
        }
        net.seconds(OLD);
        net.assert_tree();
    }

    #[test]
    fn any_bytes_are_survived(
        rapid in any::<bool>(),
        frames in prop::collection::vec((1..4u32, prop::collection::vec(any::<u8>(), 0..40), any::<u8>()), 1..60),
    ) {
        let mut net = Net::new(&[rapid], vec![vec![(0, 1)], vec![(0, 2)], vec![(0, 3)]]);
        for (port, mut bytes, kind) in frames {
            let head = match kind % 4 { 0 => [0, 0, 0, 0], 1 => [0, 0, 2, 2], 2 => [0, 0, 0, 0x80], _ => [kind; 4] };
            if bytes.len() >= 4 {
                bytes[..4].copy_from_slice(&head);
            }
            let _ = net.bridges[0].receive(net.now, port, &bytes);
            let _ = net.bridges[0].take_events();
            net.seconds(usize::from(kind > 200));
            prop_assert_eq!(net.bridges[0].unsettled(), 0);
        }
    }

    #[test]
    fn bpdus_are_read_as_they_were_written(
        flags in any::<[bool; 6]>(), role in 0..4usize, rapid in any::<bool>(), ids in any::<(u64, u32, u64, u16)>(),
        times in any::<(u16, u16, u16, u16)>(),
    ) {
        let role = [Says::Unknown, Says::AlternateOrBackup, Says::Root, Says::Designated][role];
        let body = Body {
            rapid,
            role: if rapid { role } else { Says::Designated },
            priority: Vector { root: BridgeId(ids.0), cost: ids.1, bridge: BridgeId(ids.2), port: PortId(ids.3) },
            times: Times { message_age: times.0, max_age: times.1, hello: times.2, forward_delay: times.3 },
            topology_change: flags[0],
            topology_change_ack: flags[1],
            proposal: rapid && flags[2],
            agreement: rapid && flags[3],
            learning: rapid && flags[4],
            forwarding: rapid && flags[5],
        };
        let read = Bpdu::decode(&Bpdu::Body(body).encode());
        if !rapid && times.0 >= times.1 {
            prop_assert_eq!(read, Err(BadBpdu::Expired));
        } else {
            prop_assert_eq!(read, Ok(Bpdu::Body(body)));
        }
    }
}

/// Three bridges, each with a link to the two others.
fn triangle(rapid: bool) -> Net {
    let segments = vec![
        vec![(0, 1), (1, 1)],
        vec![(1, 2), (2, 1)],
        vec![(2, 2), (0, 2)],
    ];
    Net::new(&[rapid; 3], segments)
}

fn show(net: &Net, bridge: usize) -> Vec<(Role, Forwarding)> {
    let ports = net.bridges[bridge].ports(net.now);
    ports.iter().map(|p| (p.role, p.state)).collect()
}

#[test]
fn a_triangle_of_old_bridges_listens_and_learns_for_a_forward_delay_each() {
    let mut net = triangle(false);
    net.seconds(1);
    let d = |state| (Role::Designated, state);
    assert_eq!(show(&net, 2), [d(Forwarding::Discarding); 2], "the root");
    assert_eq!(
        show(&net, 0)
            .iter()
            .filter(|p| p.0 == Role::Alternate)
            .count()
            + show(&net, 1)
                .iter()
                .filter(|p| p.0 == Role::Alternate)
                .count(),
        1
    );
    net.seconds(13);
    assert_eq!(show(&net, 2), [d(Forwarding::Discarding); 2]);
    net.seconds(2);
    assert_eq!(show(&net, 2), [d(Forwarding::Learning); 2]);
    net.seconds(13);
    assert_eq!(show(&net, 2), [d(Forwarding::Learning); 2]);
    net.seconds(2);
    assert_eq!(show(&net, 2), [d(Forwarding::Forwarding); 2]);
    net.assert_tree();
    net.seconds(60);
    net.flushes = 0;
    net.seconds(100);
    assert_eq!(net.flushes, 0, "a quiet network forgets nothing");
    assert_eq!(
        net.bridges[0].root().priority.root,
        net.bridges[2].config().id
    );
}

#[test]
fn rapid_bridges_need_no_time_and_fail_over_at_once() {
    let mut net = triangle(true);
    net.seconds(1);
    net.assert_tree();
    net.seconds(10);
    net.flushes = 0;
    // The link of a root port: an alternate takes over, and addresses are forgotten.
    let link = if net.bridges[0].root().port == Some(2) {
        2
    } else {
        0
    };
    net.set_segment(link, false);
    net.assert_tree();
    assert!(net.flushes > 0);
}

#[test]
fn a_port_to_a_host_forwards_after_three_seconds_and_one_to_itself_blocks() {
    let mut net = Net::new(&[true], vec![vec![(0, 1)], vec![(0, 2), (0, 3)]]);
    net.seconds(4);
    assert!(net.forwards(0, 1));
    assert!(net.bridges[0].port(net.now, 1).unwrap().edge);
    let roles: Vec<Role> = show(&net, 0).iter().map(|p| p.0).collect();
    assert_eq!(roles, [Role::Designated, Role::Designated, Role::Backup]);
    net.seconds(30);
    net.assert_tree();
}

#[test]
fn a_rapid_bridge_speaks_the_old_protocol_with_an_old_one() {
    let mut net = Net::new(
        &[true, false],
        vec![vec![(0, 1), (1, 1)], vec![(0, 2), (1, 2)]],
    );
    net.seconds(OLD);
    net.assert_tree();
    assert_eq!(net.bridges[0].ports(net.now)[0].counters.errors, 0);
    // The old one is replaced by a rapid one.
    let id = net.bridges[1].config().id;
    net.bridges[1].configure(net.now, Config::new(id, true));
    net.bridges[0].check_protocol(net.now, 1);
    net.bridges[0].check_protocol(net.now, 2);
    net.seconds(OLD);
    net.assert_tree();
}

#[test]
fn time_in_which_nobody_looked_opens_no_port() {
    let mut tree = SpanningTree::new(Config::new(BridgeId::new(1, MacAddr([2; 6])), false));
    let cfg = PortConfig {
        id: PortId::new(128, 1),
        path_cost: 2,
        enabled: true,
        admin_edge: false,
        auto_edge: false,
        point_to_point: true,
    };
    assert!(tree.set_port(Now::ZERO, 1, cfg));
    let late = Now::ZERO + Duration::from_secs(3600);
    tree.run(late);
    assert_eq!(
        tree.states().next(),
        Some((1, Role::Designated, Forwarding::Discarding))
    );
    assert_eq!(tree.next_run(), Some(late + Duration::from_secs(1)));
}

#[test]
fn no_more_bpdus_leave_than_the_hold_count_allows() {
    let mut net = Net::new(&[true], vec![vec![(0, 1)]]);
    let _ = net.bridges[0].take_events();
    for n in 0..100u64 {
        let better = Body {
            rapid: true,
            role: Says::Designated,
            priority: Vector {
                root: BridgeId(100 - n),
                cost: 0,
                bridge: BridgeId(5),
                port: PortId(1),
            },
            times: Times::new(20, 2, 15),
            topology_change: true,
            topology_change_ack: false,
            proposal: true,
            agreement: false,
            learning: false,
            forwarding: false,
        };
        net.bridges[0]
            .receive(net.now, 1, &Bpdu::Body(better).encode())
            .unwrap();
    }
    let sent = net.bridges[0].take_events();
    let sent = sent
        .iter()
        .filter(|e| matches!(e, Event::Send { .. }))
        .count();
    assert!(sent <= usize::from(Config::DEFAULT_TRANSMIT_HOLD), "{sent}");
}
