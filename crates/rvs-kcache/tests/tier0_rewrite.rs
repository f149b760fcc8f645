//! The program's rewrites against `rvs_packet::edit`, octet by octet, checksums included. Needs CAP_BPF, CAP_NET_ADMIN
//! and CAP_SYS_ADMIN (a namespace).
//!
//! RVS_REWRITE_FRAMES sets the number of frames (20,000 without it).
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::frames::{can_run, corpus, Random};
use common::Netns;
use rvs_dpif::{DpAction, FlowId, FlowStats, Masked, Megaflow, SetField};
use rvs_flow::extract::{extract_bytes, ParseLimits};
use rvs_flow::{DpPort, FlowKey, Mask, Present};
use rvs_kcache::tier0::{Options, OutPort, PuntRate};
use rvs_kcache::KernelCache;
use rvs_packet::edit::Edit;
use rvs_packet::{Frame, MacAddr, Now};

/// A flow for everything that comes in on port 1.
fn flow(fields: &[SetField]) -> Megaflow {
    let all = FlowKey {
        in_port: u32::MAX,
        ..FlowKey::default()
    };
    let mut actions: Vec<DpAction> = fields.iter().copied().map(DpAction::Set).collect();
    actions.push(DpAction::Output(DpPort(2)));
    Megaflow {
        id: FlowId(1),
        key: FlowKey {
            in_port: 1,
            ..FlowKey::default()
        },
        mask: Mask(all),
        actions: actions.into(),
        drop: None,
        stats: Arc::new(FlowStats::default()),
        version: 1,
    }
}

/// What user space makes of it.
fn edited(frame: &[u8], fields: &[SetField]) -> Vec<u8> {
    let mut frame = Frame::from_slice(frame);
    let mut e = Edit::new(&mut frame);
    for field in fields {
        match *field {
            SetField::EthSrc(m) => e.set_eth_src(m.value, m.mask),
            SetField::EthDst(m) => e.set_eth_dst(m.value, m.mask),
            SetField::Ipv4Src(m) => e.set_ipv4_src(m.value.into(), m.mask.into()),
            SetField::Ipv4Dst(m) => e.set_ipv4_dst(m.value.into(), m.mask.into()),
            SetField::Ipv6Src(m) => e.set_ipv6_src(m.value.into(), m.mask.into()),
            SetField::Ipv6Dst(m) => e.set_ipv6_dst(m.value.into(), m.mask.into()),
            SetField::Ipv6Label(m) => e.set_ipv6_flow_label(m.value, m.mask),
            SetField::NwTos(m) => {
                e.set_ipv4_tos(m.value, m.mask) || e.set_ipv6_tclass(m.value, m.mask)
            }
            SetField::NwTtl(v) => e.set_ipv4_ttl(v, 0xff) || e.set_ipv6_hop_limit(v, 0xff),
            SetField::TpSrc(m) => e.set_tcp_src(m.value, m.mask) || e.set_udp_src(m.value, m.mask),
            SetField::TpDst(m) => e.set_tcp_dst(m.value, m.mask) || e.set_udp_dst(m.value, m.mask),
            SetField::IcmpType(m) => {
                e.set_icmp_type(m.value, m.mask) || e.set_icmpv6_type(m.value, m.mask)
            }
            SetField::IcmpCode(m) => {
                e.set_icmp_code(m.value, m.mask) || e.set_icmpv6_code(m.value, m.mask)
            }
            SetField::ArpOp(v) => e.set_arp_op(v, 0xffff),
            SetField::ArpSpa(m) => e.set_arp_spa(m.value.into(), m.mask.into()),
            SetField::ArpTpa(m) => e.set_arp_tpa(m.value.into(), m.mask.into()),
            SetField::ArpSha(m) => e.set_arp_sha(m.value, m.mask),
            SetField::ArpTha(m) => e.set_arp_tha(m.value, m.mask),
            other => unreachable!("{other:?} is not rewritten here"),
        };
    }
    frame.bytes().to_vec()
}

fn any<const N: usize>(r: &mut Random) -> [u8; N] {
    std::array::from_fn(|_| r.next() as u8)
}

/// Canonical, and often all or nothing.
fn masked<const N: usize>(r: &mut Random) -> Masked<[u8; N]> {
    let mask = match r.below(3) {
        0 => any(r),
        _ => [0xff; N],
    };
    let value: [u8; N] = any(r);
    Masked::new(std::array::from_fn(|i| value[i] & mask[i]), mask)
}

fn field(r: &mut Random) -> SetField {
    let mac = |r: &mut Random| {
        let m = masked::<6>(r);
        Masked::new(MacAddr(m.value), MacAddr(m.mask))
    };
    let byte = |r: &mut Random| {
        let m = masked::<1>(r);
        Masked::new(m.value[0], m.mask[0])
    };
    let half = |r: &mut Random| {
        let m = masked::<2>(r);
        Masked::new(u16::from_be_bytes(m.value), u16::from_be_bytes(m.mask))
    };
    match r.below(18) {
        0 => SetField::EthSrc(mac(r)),
        1 => SetField::EthDst(mac(r)),
        2 => SetField::Ipv4Src(masked(r)),
        3 => SetField::Ipv4Dst(masked(r)),
        4 => SetField::Ipv6Src(masked(r)),
        5 => SetField::Ipv6Dst(masked(r)),
        6 => {
            let mask = 0x000f_ffff;
            SetField::Ipv6Label(Masked::new(r.next() as u32 & mask, mask))
        }
        7 => SetField::NwTos(byte(r)),
        8 => SetField::NwTtl(r.next() as u8),
        9 => SetField::TpSrc(half(r)),
        10 => SetField::TpDst(half(r)),
        11 => SetField::IcmpType(byte(r)),
        12 => SetField::IcmpCode(byte(r)),
        13 => SetField::ArpOp(r.next() as u16),
        14 => SetField::ArpSpa(masked(r)),
        15 => SetField::ArpTpa(masked(r)),
        16 => SetField::ArpSha(mac(r)),
        _ => SetField::ArpTha(mac(r)),
    }
}

#[test]
fn rewritten_frames_are_the_same() {
    let Some(ns) = Netns::new("rewrite") else {
        return;
    };
    ns.sh("ip link add port1 type veth peer name port2");
    let ifindex = ns.ifindex("port1");
    let frames = std::env::var("RVS_REWRITE_FRAMES")
        .ok()
        .and_then(|n| n.parse().ok());
    let corpus = corpus();
    ns.run(|| {
        let options = Options {
            flows: 1024,
            survive: Duration::from_secs(3600),
            ..Options::default()
        };
        let clock = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
        let now = Now(clock.tv_sec() as u64 * 1_000_000_000);
        let mut cache = KernelCache::open("rewrite", &options, [5, 6], now).unwrap();
        cache.set_vlan_limit(2);
        let _guard = cache
            .attach(ifindex, DpPort(1), PuntRate::default())
            .unwrap();
        let mut r = Random(7);
        let (mut changed, mut same) = (0, 0);
        for n in 0..frames.unwrap_or(20_000) {
            let mut frame = corpus[r.below(corpus.len())].clone();
            // Checksums, right or wrong, and sometimes none: what counts is by how much they change.
            for at in 14..frame.len().min(90) {
                if r.below(3) == 0 {
                    frame[at] = [0, 0xff, r.next() as u8][r.below(3)];
                }
            }
            let key = extract_bytes(&frame, DpPort(1), ParseLimits::new(2));
            // User space's editor takes ICMPv6 of 4 to 7 octets for a header; the key, and this tier, do not.
            let short_icmp6 = key.nw_proto == 58 && key.present.has(Present::BAD_L4);
            if !can_run(&frame) || key.present.has(Present::SCTP) || short_icmp6 {
                continue;
            }
            let fields: Vec<SetField> = (0..1 + r.below(2)).map(|_| field(&mut r)).collect();
            let _ = cache.remove(FlowId(1));
            if n % 500 == 0 {
                cache.reap().unwrap();
            }
            let out = |_: DpPort| {
                Some(OutPort {
                    ifindex,
                    mtu: 65_535,
                })
            };
            if cache.install(&flow(&fields), out).is_err() {
                continue;
            }
            let hits = cache.counters().hit;
            let run = cache.run(&frame, ifindex, 1).unwrap();
            if cache.counters().hit == hits {
                // Left to user space by the parser.
                continue;
            }
            assert!(run.redirected, "{fields:?} {frame:02x?}");
            let want = edited(&frame, &fields);
            assert_eq!(
                run.frame, want,
                "{n}: {fields:?}\nbefore {frame:02x?}\n{key:?}"
            );
            if want == frame {
                same += 1;
            } else {
                changed += 1;
            }
        }
        println!("{changed} frames rewritten alike, {same} left alone alike");
        assert!(changed > 1000);
        assert_eq!(cache.counters().error, 0);
    });
}

/// A rewritten port of SCTP would need another CRC.
#[test]
fn sctp_ports_are_user_spaces() {
    let Some(ns) = Netns::new("sctp") else { return };
    ns.sh("ip link add port1 type veth peer name port2");
    let ifindex = ns.ifindex("port1");
    ns.run(|| {
        let options = Options {
            flows: 16,
            survive: Duration::from_secs(3600),
            ..Options::default()
        };
        let clock = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
        let now = Now(clock.tv_sec() as u64 * 1_000_000_000);
        let mut cache = KernelCache::open("sctp", &options, [5, 6], now).unwrap();
        let _guard = cache
            .attach(ifindex, DpPort(1), PuntRate::default())
            .unwrap();
        let out = |_: DpPort| {
            Some(OutPort {
                ifindex,
                mtu: 65_535,
            })
        };
        cache
            .install(&flow(&[SetField::TpDst(Masked::new(80, 0xffff))]), out)
            .unwrap();
        let is_sctp = |f: &&Vec<u8>| {
            extract_bytes(f, DpPort(1), ParseLimits::new(1))
                .present
                .has(Present::SCTP)
        };
        let frame = corpus().iter().find(is_sctp).unwrap().clone();
        cache.run(&frame, ifindex, 1).unwrap();
        let c = cache.counters();
        assert_eq!((c.hit, c.unparsed), (0, 1));
        cache.install(&flow(&[SetField::NwTtl(9)]), out).unwrap();
        let run = cache.run(&frame, ifindex, 1).unwrap();
        assert_eq!(run.frame, edited(&frame, &[SetField::NwTtl(9)]));
        assert_eq!(cache.counters().hit, 1);
    });
}
