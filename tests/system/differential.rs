//! Random rules and packets through this switch, through Open vSwitch and through the naive interpreter: three votes on what
//! leaves.
//!
//! Ours is the simulated switch with all its caches, which the interpreter judges frame by frame. Open vSwitch is the stock
//! daemon with dummy devices: frames go in by `netdev-dummy/receive` and come out in capture files. Rules that this switch
//! refuses are left out; Open vSwitch has to take the rest. Where the two forward differently on purpose the generator stays
//! away, and [`left_out`] says from what and why.
//!
//! `RVS_CASES=100 cargo test -p rvs-tests --test system random_rules` tries a hundred times as much; `RVS_SEED` repeats a case.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rvs_flow::testing::{self, Entropy};
use rvs_flow::{extract, DpPort, ParseLimits, Present};
use rvs_ofproto::agent::ConnKind;
use rvs_openflow::message::{FlowCommand, GroupCommand};
use rvs_openflow::text::{parse_flow, parse_group, Words};
use rvs_openflow::{Message, Version};
use rvs_packet::view::Link;
use rvs_packet::Frame;
use rvs_pipeline::reference::interpret;
use rvs_testkit::openflow::Controller;
use rvs_testkit::oracle::by_port;
use rvs_testkit::seed::for_each_seed;
use rvs_testkit::TestSwitch;
use rvs_tests::Lab;
use serde_json::{json, Value};

use crate::ofctl_peer::Theirs;

const PORTS: u32 = 3;
const RULES: usize = 30;
const FRAMES: usize = 40;

/// Frames on each port, sorted: switches may flood in any order.
type Sent = BTreeMap<u32, Vec<Vec<u8>>>;

/// Open vSwitch, its control socket, and how far each capture was read.
struct Dummy<'a> {
    ovs: Theirs<'a>,
    control: UnixStream,
    captures: Vec<File>,
}

impl<'a> Dummy<'a> {
    fn start(lab: &'a Lab) -> Self {
        let ovs = Theirs::with_ports(lab, PORTS);
        let dir = lab.path("ovs");
        let socket = dir.join(format!("ovs-vswitchd.{}.ctl", ovs.pid()));
        let control = UnixStream::connect(socket).unwrap();
        let capture = |n| -> PathBuf { dir.join(format!("p{n}.pcap")) };
        let captures = (1..=PORTS)
            .map(|n| {
                let mut f = File::open(capture(n)).unwrap();
                f.seek(SeekFrom::Start(24)).unwrap();
                f
            })
            .collect();
        Self {
            ovs,
            control,
            captures,
        }
    }

    /// A command of `ovs-appctl`, without a process for each.
    fn command(&mut self, method: &str, params: &[&str]) {
        let request = json!({"id": 1, "method": method, "params": params});
        self.control
            .write_all(request.to_string().as_bytes())
            .unwrap();
        let mut reply = serde_json::Deserializer::from_reader(&self.control).into_iter::<Value>();
        let reply = reply.next().unwrap().unwrap();
        assert!(reply["error"].is_null(), "{method} {params:?}: {reply}");
    }

    fn load(&mut self, rules: &[String]) {
        let file = |name: &str, text: String| {
            let path = self.ovs.lab.path(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let rules = file("rules", rules.join("\n"));
        let groups = file("groups", GROUPS.join("\n"));
        self.ovs.ofctl("-O OpenFlow15 del-flows br1");
        self.ovs.ofctl("-O OpenFlow15 del-groups br1");
        self.ovs
            .ofctl(&format!("-O OpenFlow15 add-groups br1 {groups}"));
        self.ovs
            .ofctl(&format!("-O OpenFlow15 add-flows br1 {rules}"));
        self.command("fdb/flush", &["br1"]);
        // Its barrier does not wait for its caches.
        self.command("revalidator/purge", &[]);
    }

    /// What leaves. It is waited for as long as it is not `want`: the main loop takes the frame when it comes to it.
    fn forward(&mut self, port: u32, frame: &[u8], want: &Sent) -> Sent {
        // A MAC address that a cached flow's frame has moved is learned by and by there: each frame is translated afresh.
        self.command("dpctl/del-flows", &[]);
        self.command("netdev-dummy/receive", &[&format!("p{port}"), &hex(frame)]);
        let mut sent = Sent::new();
        for _ in 0..25 {
            // Each command is a round of the main loop.
            self.command("version", &[]);
            self.command("version", &[]);
            self.read(&mut sent);
            if sent == *want {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        sent
    }

    fn read(&mut self, sent: &mut Sent) {
        for (n, capture) in (1..).zip(&mut self.captures) {
            let mut all = Vec::new();
            capture.read_to_end(&mut all).unwrap();
            let mut rest = &all[..];
            while let Some((head, tail)) = rest.split_first_chunk::<16>() {
                let len = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]) as usize;
                sent.entry(n).or_default().push(padded(&tail[..len]));
                rest = &tail[len..];
            }
        }
        sent.values_mut().for_each(|frames| frames.sort());
    }
}

/// As long as Ethernet wants it: who pads is a matter of devices.
fn padded(frame: &[u8]) -> Vec<u8> {
    let mut f = frame.to_vec();
    f.resize(f.len().max(60), 0);
    f
}

struct Ours {
    switch: TestSwitch,
    controller: Controller,
}

impl Ours {
    fn start() -> Self {
        let mut switch = TestSwitch::default();
        switch.add_bridge("br1");
        switch.set_bridge("br1", json!({"fail_mode": "secure"}));
        for n in 1..=PORTS {
            switch.add_port("br1", &format!("p{n}"), json!({}));
        }
        let controller = Controller::connect(&mut switch, "br1", ConnKind::Service, Version::Of15);
        Self { switch, controller }
    }

    /// False when it is refused.
    fn takes(&mut self, m: &Message) -> bool {
        let answers = self.controller.request(&mut self.switch, m);
        self.controller
            .request(&mut self.switch, &Message::BarrierRequest);
        answers.is_empty()
    }

    /// Rules that the switch has taken, groups too.
    fn random_rules(&mut self, e: &mut Entropy<'_>) -> Vec<String> {
        let words = Words::new(Version::Of15);
        for text in GROUPS {
            let m = parse_group(text, GroupCommand::Add, &words).unwrap();
            assert!(self.takes(&Message::GroupMod(Box::new(m))), "{text}");
        }
        let mut rules: Vec<String> = Vec::new();
        let sets = e.one_in(2);
        for n in 0..RULES {
            let text = BASE
                .get(n)
                .map_or_else(|| rule(e, n, sets), |r| (*r).to_owned());
            let taken = match parse_flow(&text, FlowCommand::Add, &words) {
                Ok(m) => self.takes(&Message::FlowMod(Box::new(m))),
                Err(_) => false,
            };
            if taken {
                rules.push(text);
            }
        }
        rules
    }

    /// The tables and rules that the frame passes, for a failure's text.
    fn trace(&mut self, port: u32, frame: &[u8]) -> String {
        let dp = self.switch.dp(&format!("p{port}"));
        let slow = self.switch.slow();
        let frame = Frame::from_slice(frame);
        let outcome = interpret(slow.world(), slow.macs(), &frame, dp);
        let rules = outcome.rules.iter();
        let rules = rules.map(|(_, table, cookie)| format!("{}:{cookie:#x}", table.0));
        format!("table:cookie {}", rules.collect::<Vec<_>>().join(" "))
    }

    /// What leaves, by the caches and by the interpreter.
    fn forward(&mut self, port: u32, frame: &[u8]) -> [Sent; 2] {
        let name = format!("p{port}");
        // Addresses that move more than ten times a second are held where they are, here alone.
        self.switch.advance(Duration::from_secs(1));
        self.switch.sent_all();
        let got = by_port(self.switch.forward(&name, frame));
        let expected = self.switch.expected(&name, frame);
        [got, expected].map(|sent| {
            let sent = sent.into_iter().map(|(name, frames)| {
                let n = name.trim_start_matches('p').parse().unwrap_or(0);
                let mut frames: Vec<_> = frames.iter().map(|f| padded(f)).collect();
                frames.sort();
                (n, frames)
            });
            sent.filter(|(n, _)| *n != 0).collect()
        })
    }
}

/// Protocols with terms that fit them and actions that they allow.
const KINDS: &[(&str, &[&str], &[&str])] = &[
    ("", &[], &[]),
    ("ip", IP, IP_ACTIONS),
    ("tcp", TCP, TCP_ACTIONS),
    ("udp", UDP, UDP_ACTIONS),
    ("icmp", ICMP, IP_ACTIONS),
    ("arp", ARP, ARP_ACTIONS),
    ("ipv6", IPV6, IPV6_ACTIONS),
    ("tcp6", TCP, TCP_ACTIONS),
    ("udp6", UDP, UDP_ACTIONS),
    ("mpls", MPLS, MPLS_ACTIONS),
];

const IP: &[&str] = &[
    "nw_src=10.0.0.1",
    "nw_dst=10.0.0.0/30",
    "nw_dst=10.0.1.0/255.0.255.1",
    "nw_tos=32",
    "nw_ecn=1",
    "nw_ttl=64",
    "nw_proto=6",
    "nw_proto=47",
    "nw_frag=no",
    "nw_frag=first",
    "nw_frag=yes",
];
const TCP: &[&str] = &[
    "tp_dst=80",
    "tp_src=0x50/0xfff0",
    "tp_dst=22",
    "tcp_flags=+syn",
    "tcp_flags=-ack",
    "nw_ttl=64",
];
const UDP: &[&str] = &["tp_dst=53", "tp_src=0/0x8000", "tp_dst=443", "nw_ecn=0"];
const ICMP: &[&str] = &["icmp_type=8", "icmp_code=0", "nw_src=10.0.0.2"];
const ARP: &[&str] = &[
    "arp_op=1",
    "arp_spa=10.0.0.1",
    "arp_tpa=10.0.0.0/24",
    "arp_sha=02:00:00:00:00:01",
];
const IPV6: &[&str] = &[
    "ipv6_src=2001::1",
    "ipv6_dst=fe80::/16",
    "ipv6_dst=::1/::f",
    "ipv6_label=0",
    "nw_proto=58",
    "nw_ttl=255",
];
const MPLS: &[&str] = &["mpls_bos=1", "mpls_label=16", "mpls_tc=0", "mpls_ttl=64"];
/// Of any frame.
const LINK: &[&str] = &[
    "in_port=1",
    "in_port=2",
    "dl_src=02:00:00:00:00:01",
    "dl_dst=02:00:00:00:00:02",
    "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00",
    "vlan_tci=0/0x1fff",
    "vlan_tci=0x1000/0x1000",
    "dl_vlan=10",
    "dl_vlan=100",
    "dl_vlan_pcp=3",
    "reg0=1",
    "reg0=0x20/0xf0",
    "metadata=5",
    "xreg1=0x100000002",
];

const ACTIONS: &[&str] = &[
    "output:1",
    "output:2",
    "output:3",
    "in_port",
    "all",
    "flood",
    "NORMAL",
    "drop",
    "set_field:02:00:00:00:00:02->eth_dst",
    "set_field:02:00:00:00:00:09->eth_src",
    "load:1->NXM_NX_REG0[]",
    "load:2->NXM_NX_REG0[4..7]",
    "move:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15]",
    "move:NXM_OF_ETH_SRC[0..7]->NXM_NX_REG0[0..7]",
    "set_field:5->metadata",
    "set_field:0x100000002->xreg1",
    "output:NXM_NX_REG0[0..3]",
    "pop_vlan",
    "push_vlan:0x8100,set_field:4106->vlan_vid,set_field:3->vlan_pcp",
    "push_vlan:0x88a8,set_field:4196->vlan_vid,set_field:0->vlan_pcp",
    "set_field:4107->vlan_vid",
    "set_field:2->vlan_pcp",
    "resubmit(,1)",
    "resubmit(,2)",
    "resubmit(2,1)",
    "clone(set_field:02:00:00:00:00:0c->eth_dst,output:2)",
    "push:NXM_NX_REG0[],load:9->NXM_NX_REG0[],pop:NXM_NX_REG0[]",
    "group:1",
    "group:2",
    "group:3",
];
const IP_ACTIONS: &[&str] = &[
    "set_field:10.0.0.2->ip_dst",
    "set_field:10.0.1.9->ip_src",
    "mod_nw_tos:96",
    "set_field:2->nw_ecn",
    "dec_ttl",
    "set_field:64->nw_ttl",
    "push_mpls:0x8847,set_field:18->mpls_label,set_field:1->mpls_tc",
    "move:NXM_OF_IP_DST[0..7]->NXM_NX_REG0[0..7]",
    "move:NXM_OF_IP_SRC[]->NXM_OF_IP_DST[]",
];
const IPV6_ACTIONS: &[&str] = &[
    "set_field:2001::2->ipv6_dst",
    "set_field:2001::9->ipv6_src",
    "set_field:5->ipv6_label",
    "dec_ttl",
    "push_mpls:0x8847,set_field:19->mpls_label,set_field:0->mpls_tc",
    "mod_nw_tos:96",
];
const TCP_ACTIONS: &[&str] = &[
    "set_field:80->tcp_dst",
    "set_field:1000->tcp_src",
    "dec_ttl",
    "move:NXM_OF_TCP_SRC[0..3]->NXM_NX_REG0[0..3]",
];
const UDP_ACTIONS: &[&str] = &[
    "set_field:53->udp_dst",
    "set_field:1000->udp_src",
    "dec_ttl",
];
const ARP_ACTIONS: &[&str] = &[
    "set_field:2->arp_op",
    "set_field:10.0.0.9->arp_spa",
    "move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[]",
    "move:NXM_OF_ARP_SPA[]->NXM_NX_REG0[]",
];
const MPLS_ACTIONS: &[&str] = &[
    "set_field:17->mpls_label",
    "set_field:2->mpls_tc",
    "dec_mpls_ttl",
    "set_mpls_ttl(9)",
    "pop_mpls:0x0800,resubmit(,2)",
    "pop_mpls:0x0800",
];

/// Rules of every set, so that most frames go through several tables.
const BASE: &[&str] = &[
    "table=0,priority=1,actions=resubmit(,1),resubmit(,2)",
    "table=1,priority=2,in_port=1,actions=set_field:1->reg0,output:3",
    "table=1,priority=1,actions=NORMAL",
    "table=2,priority=1,actions=move:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15],output:2",
];

const GROUPS: &[&str] = &[
    "group_id=1,type=all,bucket=output:1,bucket=set_field:02:00:00:00:00:0a->eth_dst,output:2",
    "group_id=2,type=indirect,bucket=set_field:02:00:00:00:00:0b->eth_src,output:3",
    "group_id=3,type=all,bucket=actions=group:2,bucket=actions=output:2",
];

/// Rule `n` of a set: no two have the same priority, for which of them matches would be undefined.
fn rule(e: &mut Entropy<'_>, n: usize, sets: bool) -> String {
    let (kind, terms, actions) = e.pick(KINDS);
    let table = e.below(3);
    let priority = 10 + e.below(100) * RULES + n;
    let mut text = format!("cookie={n:#x},table={table},priority={priority}");
    let mut add = |term: &str| {
        text.push(',');
        text.push_str(term);
    };
    if !kind.is_empty() {
        add(kind);
    }
    let mut used: Vec<&str> = Vec::new();
    for _ in 0..e.below(3) {
        let list = if e.one_in(2) && !terms.is_empty() {
            terms
        } else {
            LINK
        };
        let term = e.pick(list);
        let name = term.split(['=', '/']).next().unwrap_or_default();
        // A field is named once, however it is written.
        let family = |n: &str| if n.contains("vlan") { "vlan" } else { n }.to_owned();
        if used.iter().all(|u| family(u) != family(name)) {
            used.push(name);
            add(term);
        }
    }
    let mut list = Vec::new();
    for _ in 0..1 + e.below(4) {
        let own = e.one_in(2) && !actions.is_empty();
        let action = e.pick(if own { actions } else { ACTIONS });
        // Later tables only, so that the limits end nothing.
        let back = (0..=table).any(|t| action.contains(&format!(",{t})")));
        let back = back || sets && action.starts_with("clone");
        if !back && (action != "drop" || list.is_empty()) {
            list.push(action);
        }
        if action == "drop" {
            break;
        }
    }
    let list = if list.is_empty() {
        "drop".to_owned()
    } else {
        list.join(",")
    };
    if sets && e.one_in(4) && table < 2 && !list.contains("drop") {
        return format!(
            "{text},actions=write_actions({}),goto_table:{}",
            "output:2",
            table + 1
        );
    }
    format!("{text},actions={list}")
}

/// Frames that the two treat differently on purpose, with the reason (docs/compatibility.md). Of actions the generator leaves out:
/// `push_vlan` without a `set_field` of VID and priority behind it (the specification copies those of the outer tag, Open vSwitch
/// pushes zeros); `push_mpls` without a `set_field` of label and TC (zeros here, an explicit null and the DSCP's class there); `output` with `max_len`, which Open vSwitch measures before the tags that it has still to push; `exit`,
/// after which it forgets the action set, against its own manual; `clone` where there are action sets, which it executes at the end
/// of the clone too; what it lacks.
fn left_out(frame: &[u8]) -> Option<&'static str> {
    let key = extract(&Frame::from_slice(frame), DpPort(1), ParseLimits::new(2));
    let p = key.present;
    if p.any(Present::BAD_L2 | Present::BAD_L3) {
        return Some("a malformed header makes its layer absent here, and zeros there");
    }
    let l4 = Present::TCP | Present::UDP | Present::SCTP | Present::ICMP;
    if matches!(key.nw_proto, 6 | 17 | 132 | 1 | 58) && p.any(Present::IP) && !p.any(l4) {
        return Some("a cut transport header is absent here, and ports of 0 there");
    }
    let tags = [key.vlan0_tci.get(), key.vlan1_tci.get()];
    if tags.iter().any(|t| t & 0x1fff == 0x1000 && t & 0xe000 != 0) {
        return Some("NORMAL takes priority tags off here, as Open vSwitch's manual says (Port, other_config:priority-tags); it keeps those whose priority is not 0");
    }
    let dei = |at: usize| frame.get(at).is_some_and(|b| b & 0x10 != 0);
    if p.has(Present::VLAN0) && dei(14) || p.has(Present::VLAN1) && dei(18) {
        return Some("DEI survives a set-field of the tag here, and is 0 after it there");
    }
    if Link::new(frame).is_some_and(|l| l.is_802_3()) {
        return Some("a label behind SNAP has its type there and the length stays true here; there it goes before LLC");
    }
    if p.has(Present::MPLS1) {
        return Some("pop_mpls to IP pops one label here, as the specification says; Open vSwitch pops all of them (pop_mpls(0x8847),pop_mpls(0x800) among its datapath actions)");
    }
    if p.has(Present::ARP) && key.dl_dst == [0xff; 6] {
        return Some("what a gratuitous ARP teaches is locked for five seconds there");
    }
    if p.any(Present::IP) && key.nw_ttl < 2 {
        return Some("after dec_ttl of an expired packet the action set is executed there; push_mpls of a TTL of 0 makes it 64 there");
    }
    if key.nw_frag != 0 {
        return Some(
            "ports of fragments: those that are there are matched here, as the specification says; Open vSwitch has 0 for them in every fragment, the first too (ovs-ofctl(8), set-frags)",
        );
    }
    if p.has(Present::PBB) {
        return Some("Open vSwitch does not know 802.1ah");
    }
    if p.has(Present::EXTHDR) {
        return Some("extension headers beyond those that Open vSwitch skips");
    }
    None
}

fn frame(e: &mut Entropy<'_>) -> Vec<u8> {
    loop {
        let f = padded(&testing::frame(e));
        if left_out(&f).is_none() {
            return f;
        }
    }
}

pub fn random_rules_agree_with_open_vswitch(lab: &Lab) {
    let mut dummy = Dummy::start(lab);
    let (mut frames, mut forwarded, mut taken) = (0, 0, 0);
    let mut odd = Vec::new();
    for_each_seed("differential", 12, |seed, e| {
        let mut ours = Ours::start();
        let rules = ours.random_rules(e);
        taken += rules.len();
        dummy.load(&rules);
        for _ in 0..FRAMES {
            let (port, f) = (1 + e.below(PORTS as usize) as u32, frame(e));
            let [us, naive] = ours.forward(port, &f);
            let them = dummy.forward(port, &f, &us);
            frames += 1;
            forwarded += usize::from(!us.is_empty());
            if us == naive && us.values().flatten().any(|f| tags(f) > 2) {
                // Open vSwitch keeps two tags of a frame: a third that is pushed costs the innermost.
                continue;
            }
            if us != them || us != naive {
                odd.push(format!(
                    "seed {seed:#x}: {} on p{port}\n  ours   {}\n  naive  {}\n  theirs {}\n{}\n{}",
                    hex(&f),
                    shown(&us),
                    shown(&naive),
                    shown(&them),
                    ours.trace(port, &f),
                    rules.join("\n")
                ));
                break;
            }
        }
    });
    println!("{taken} rules, {frames} frames, of which {forwarded} went somewhere");
    assert!(
        odd.is_empty(),
        "{} rule sets differ\n{}",
        odd.len(),
        odd.iter().take(5).cloned().collect::<Vec<_>>().join("\n\n")
    );
    assert!(forwarded * 10 > frames, "the rules drop nearly everything");
    assert!(
        taken * 4 > frames / FRAMES * RULES,
        "most rules are refused"
    );
}

/// VLAN tags in a row behind the addresses.
fn tags(frame: &[u8]) -> usize {
    let words = frame.get(12..).unwrap_or_default().chunks_exact(4);
    words
        .take_while(|w| matches!(w[..2], [0x81, 0x00] | [0x88, 0xa8]))
        .count()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn shown(sent: &Sent) -> String {
    let each = |(port, frames): (&u32, &Vec<Vec<u8>>)| {
        let frames: Vec<_> = frames.iter().map(|f| hex(f)).collect();
        format!("p{port}: {}", frames.join(" "))
    };
    sent.iter()
        .map(each)
        .collect::<Vec<_>>()
        .join("\n         ")
}
