//! The second opinion: `ovs-ofctl parse-pcap` of Open vSwitch 3.1 on the same frames.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use rvs_packet::view::exthdr;

use super::*;
use crate::key::{Mask, PipelineKey};
use crate::matching::Match;
use crate::testing::{frame, mutated_frame, Entropy};

/// Open vSwitch's text for each frame, or `None` (said aloud) where it is not installed.
fn parse_pcap(frames: &[Vec<u8>]) -> Option<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("frames.pcap");
    let mut pcap = Vec::new();
    for v in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        pcap.extend(v.to_le_bytes());
    }
    for f in frames {
        let len = f.len() as u32;
        for v in [0, 0, len, len] {
            pcap.extend(v.to_le_bytes());
        }
        pcap.extend(f);
    }
    fs::write(&path, pcap).unwrap();
    let Ok(out) = Command::new("ovs-ofctl")
        .arg("parse-pcap")
        .arg(&path)
        .output()
    else {
        eprintln!(
            "SKIPPED: ovs-ofctl is not installed, so extract() was not compared with Open vSwitch"
        );
        return None;
    };
    let text = String::from_utf8(out.stdout).unwrap();
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    assert_eq!(
        lines.len(),
        frames.len(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    Some(lines)
}

/// `key` as Open vSwitch prints a packet's flow: all fields of the layers that the types announce.
fn open_vswitch_text(key: &FlowKey) -> String {
    let (f, exact) = (key, Mask::<PipelineKey>::exact().0.flow);
    let mut m = FlowKey {
        dl_src: exact.dl_src,
        dl_dst: exact.dl_dst,
        dl_type: exact.dl_type,
        vlan0_tci: exact.vlan0_tci,
        ..FlowKey::default()
    };
    if f.present.has(Present::VLAN0) {
        m.vlan1_tci = exact.vlan1_tci;
    }
    match EtherType(f.dl_type.get()) {
        EtherType::IPV4 => (m.nw_src, m.nw_dst) = (exact.nw_src, exact.nw_dst),
        EtherType::IPV6 => {
            (m.ipv6_src, m.ipv6_dst) = (exact.ipv6_src, exact.ipv6_dst);
            m.ipv6_label = 0xf_ffff.into();
        }
        EtherType::ARP | EtherType::RARP => {
            (m.nw_src, m.nw_dst) = (exact.nw_src, exact.nw_dst);
            (m.arp_sha, m.arp_tha) = (exact.arp_sha, exact.arp_tha);
            m.nw_proto = exact.nw_proto;
        }
        EtherType::MPLS | EtherType::MPLS_MC => {
            for (i, lse) in f.mpls_lse.iter().enumerate() {
                m.mpls_lse[i] = exact.mpls_lse[i];
                if lse.get() & Lse::BOS != 0 {
                    break;
                }
            }
        }
        _ => {}
    }
    if matches!(
        EtherType(f.dl_type.get()),
        EtherType::IPV4 | EtherType::IPV6
    ) {
        (m.nw_proto, m.nw_tos, m.nw_ttl) = (0xff, 0xff, 0xff);
        m.nw_frag = FRAG_ANY | FRAG_LATER;
        if f.nw_frag & FRAG_LATER == 0 {
            transport_mask(f, &mut m);
        }
    }
    let key = PipelineKey {
        flow: *f,
        of_port: crate::OfPort::ANY.0,
        ..PipelineKey::default()
    };
    let mask = Mask(PipelineKey {
        flow: m,
        of_port: u32::MAX,
        ..PipelineKey::default()
    });
    Match::new(&key, mask).to_string()
}

fn transport_mask(f: &FlowKey, m: &mut FlowKey) {
    let v6 = f.dl_type.get() == EtherType::IPV6.0;
    match IpProto(f.nw_proto) {
        IpProto::TCP => {
            (m.tp_src, m.tp_dst) = (u16::MAX.into(), u16::MAX.into());
            m.tcp_flags = 0xfff.into();
        }
        IpProto::UDP | IpProto::SCTP => (m.tp_src, m.tp_dst) = (u16::MAX.into(), u16::MAX.into()),
        IpProto::ICMP if !v6 => (m.tp_src, m.tp_dst) = (u16::MAX.into(), u16::MAX.into()),
        IpProto::ICMPV6 if v6 => {
            (m.tp_src, m.tp_dst) = (u16::MAX.into(), u16::MAX.into());
            let kind = f.tp_src.get() as u8;
            if matches!(kind, Nd::SOLICITATION | Nd::ADVERTISEMENT) && f.tp_dst.get() == 0 {
                m.nd_target = [0xff; 16];
                (m.arp_sha, m.arp_tha) = ([0xff; 6], [0xff; 6]);
            }
        }
        _ => {}
    }
}

/// Where we differ on purpose: the part of the text that must still agree, and why the rest need not.
fn common_part<'t>(key: &FlowKey, text: &'t str) -> (&'t str, &'static str) {
    let between = |from: &str, to: &[&str]| {
        let start = text.find(from).unwrap_or(0);
        let end = to.iter().filter_map(|t| text[start..].find(t)).min();
        &text[start..end.map_or(text.len(), |e| start + e)]
    };
    let l3 = [",nw_", ",ipv6_", ",arp_", ",mpls_"];
    let l4 = [",tp_", ",icmp_", ",nd_", ",tcp_"];
    if key.present.has(Present::BAD_L3) {
        let why = "of a network header that contradicts the frame they keep what came before the contradiction";
        (between("in_port", &l3), why)
    } else if key.ipv6_exthdr.get() & exthdr::FRAG != 0 && key.nw_frag == 0 {
        let why =
            "reserved bits of a fragment header make a fragment there, only offset and M do here";
        (between("", &[",nw_frag"]), why)
    } else if key.present.has(Present::BAD_L4 | Present::ICMP) {
        (
            between("", &[",nd_"]),
            "of a neighbour message with a broken option they keep the target",
        )
    } else if key.present.has(Present::BAD_L4) {
        (
            between("", &l4),
            "they take the ports of a datagram that lies about its length",
        )
    } else if key.present.any(Present::IP) && key.nw_proto == IpProto::IGMP.0 {
        let why = "they keep IGMP type and code where ports are; OpenFlow has no field for them";
        (between("", &l4), why)
    } else if key.present.has(Present::IPV6) && key.nw_proto == IpProto::ICMP.0
        || key.present.has(Present::IPV4) && key.nw_proto == IpProto::ICMPV6.0
    {
        (between("", &l4), "they read the other IP version's ICMP")
    } else if key.dl_type.get() == 0x894f {
        (between("in_port", &[",nsh_"]), "they parse NSH")
    } else {
        (text, "")
    }
}

#[test]
fn agrees_with_open_vswitch() {
    let mut frames: Vec<_> = (0..6_000).map(|s| frame(&mut Entropy::seed(s))).collect();
    frames.extend((0..14_000).map(|s| mutated_frame(&mut Entropy::seed(s))));
    // Open vSwitch's reader of captures takes no empty frame.
    frames.retain(|f| !f.is_empty());
    let Some(theirs) = parse_pcap(&frames) else {
        return;
    };
    let mut excused: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = 0;
    for (frame, theirs) in frames.iter().zip(&theirs) {
        let key = extract_bytes(frame, DpPort(1), ParseLimits::new(2));
        let ours = open_vswitch_text(&key);
        if ours == *theirs {
            continue;
        }
        let (part, why) = common_part(&key, &ours);
        if !why.is_empty() && part == common_part(&key, theirs).0 {
            *excused.entry(why).or_default() += 1;
            continue;
        }
        wrong += 1;
        eprintln!(
            "{:?} of {frame:02x?}\n  ours   {ours}\n  theirs {theirs}",
            key.present
        );
    }
    eprintln!(
        "{} frames, differences on purpose: {excused:#?}",
        frames.len()
    );
    assert_eq!(wrong, 0);
}
