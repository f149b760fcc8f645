//! Tier 0 changes frames on real devices: tags, addresses, ports, with checksums that nobody has computed yet.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::IpAddr;

use common::switch::{l2, mac, output, Switch};
use rvs_dpif::{DpAction, FlowId, Masked, SetField};
use rvs_flow::{DpPort, FlowKey, Mask, Present};
use rvs_kcache::Mode;
use rvs_packet::{EtherType, VlanTci};

/// `steps` for both hosts' unicasts and broadcasts that come in on `port` with `tag`.
fn relay(s: &mut Switch, id: u64, port: u32, tag: Option<u16>, steps: &[DpAction]) {
    for (n, (src, dst)) in [(1, 2), (2, 1), (1, 0xff), (2, 0xff)]
        .into_iter()
        .enumerate()
    {
        let dst = if dst == 0xff { [0xff; 6] } else { mac(dst) };
        let flow = l2(port, mac(src), dst, tag);
        s.try_install(id * 10 + n as u64, flow, steps, 1600)
            .unwrap();
    }
}

fn push(tpid: EtherType, tci: u16) -> DpAction {
    DpAction::PushVlan {
        tpid,
        tci: VlanTci(tci),
    }
}

/// Host 1 - access port 1 - VLAN 100 with priority 5 - trunk 3/4 - rewritten to 200 - trunk 5/6 - access port 2 - host 2.
#[test]
fn tags_are_pushed_rewritten_and_popped() {
    let Some(mut s) = Switch::new("vlan", 2, Mode::Auto) else {
        return;
    };
    s.add_trunk(1500);
    s.add_trunk(1500);
    let vid = |v: u16| DpAction::Set(SetField::Vlan(Masked::new(v, 0xfff)));
    relay(
        &mut s,
        1,
        1,
        None,
        &[push(EtherType::VLAN, 0xa064), output(3)],
    );
    relay(&mut s, 4, 4, Some(0xa064), &[vid(200), output(5)]);
    relay(&mut s, 6, 6, Some(0xa0c8), &[DpAction::PopVlan, output(2)]);
    relay(&mut s, 2, 2, None, &[push(EtherType::VLAN, 200), output(6)]);
    relay(&mut s, 5, 5, Some(200), &[vid(100), output(4)]);
    relay(&mut s, 3, 3, Some(100), &[DpAction::PopVlan, output(1)]);
    assert!(
        s.ping(1, 2, "") && s.ping(2, 1, "-s 1472 -M do"),
        "full-size frames too"
    );
    s.tcp("10.9.0.2", ("10.9.0.2", 5001), 8);
    assert!(s.punted().is_empty());
    assert_eq!(s.cache.counters().error, 0);

    // An untagged frame on the trunk is another flow; so is another VLAN.
    relay(&mut s, 1, 1, None, &[output(3)]);
    assert!(!s.ping(1, 2, ""));
    relay(
        &mut s,
        1,
        1,
        None,
        &[push(EtherType::VLAN, 0xa065), output(3)],
    );
    assert!(!s.ping(1, 2, ""));
    let up = s.punted();
    assert!(
        !up.is_empty() && up.iter().all(|(p, _)| p.in_port == DpPort(4)),
        "{up:?}"
    );
}

/// The same with a customer tag inside a service tag, which leave one after the other.
#[test]
fn two_tags_are_seen_and_taken_off_in_turn() {
    let Some(mut s) = Switch::new("qinq", 2, Mode::Auto) else {
        return;
    };
    s.cache.set_vlan_limit(2);
    s.add_trunk(1600);
    s.add_trunk(1600);
    let (c, service) = (push(EtherType::VLAN, 7), push(EtherType::QINQ, 100));
    relay(&mut s, 1, 1, None, &[c.clone(), service.clone(), output(3)]);
    relay(&mut s, 6, 6, Some(7), &[DpAction::PopVlan, output(2)]);
    relay(&mut s, 2, 2, None, &[c, output(6)]);
    relay(&mut s, 5, 5, Some(7), &[service, output(4)]);
    relay(
        &mut s,
        3,
        3,
        Some(100),
        &[DpAction::PopVlan, DpAction::PopVlan, output(1)],
    );
    // On port 4 both tags count.
    for (n, dst) in [mac(2), [0xff; 6]].into_iter().enumerate() {
        let (mut key, mut mask) = l2(4, mac(1), dst, Some(100));
        mask.0.present |= Present::VLAN1;
        mask.0.vlan1_tci = u16::MAX.into();
        mask.0.vlan0_tpid = u16::MAX.into();
        key.present |= Present::VLAN1;
        key.vlan1_tci = 0x1007.into();
        key.vlan0_tpid = EtherType::QINQ.0.into();
        s.try_install(
            40 + n as u64,
            (key, mask),
            &[DpAction::PopVlan, output(5)],
            1600,
        )
        .unwrap();
    }
    assert!(s.ping(1, 2, "") && s.ping(2, 1, "-s 1472 -M do"));
    s.tcp("10.9.0.2", ("10.9.0.2", 5001), 8);
    assert!(s.punted().is_empty());
    assert_eq!(s.cache.counters().error, 0);
}

/// Packets that come in on `port` for an address, TCP or anything else, with rewrites.
fn translate(
    s: &mut Switch,
    id: u64,
    port: u32,
    dst: &str,
    tcp: bool,
    fields: &[SetField],
    to: u32,
) {
    let (mut key, mut mask) = (FlowKey::default(), FlowKey::default());
    let ip = match dst.parse().unwrap() {
        IpAddr::V4(dst) => {
            (key.nw_dst, mask.nw_dst) = (dst.octets(), [0xff; 4]);
            Present::IPV4
        }
        IpAddr::V6(dst) => {
            (key.ipv6_dst, mask.ipv6_dst) = (dst.octets(), [0xff; 16]);
            Present::IPV6
        }
    };
    (key.in_port, mask.in_port) = (port, u32::MAX);
    key.present = if tcp { ip | Present::TCP } else { ip };
    mask.present = Present::VLAN0 | Present::IPV4 | Present::IPV6 | Present::TCP;
    let mut actions: Vec<DpAction> = fields.iter().copied().map(DpAction::Set).collect();
    actions.push(output(to));
    s.install(id, (key, Mask(mask)), &actions);
}

/// Host 1 knows host 2 as .9, host 2 knows host 1 as .8; TCP port 6001 of .9 is 5001 of .2. Super-frames whose checksums
/// nobody has computed yet go through all that.
#[test]
fn addresses_and_ports_are_translated() {
    use SetField::{Ipv4Dst, Ipv4Src, Ipv6Dst, Ipv6Src, NwTtl, TpDst, TpSrc};
    let Some(mut s) = Switch::new("nat", 2, Mode::Auto) else {
        return;
    };
    for (n, alias, other) in [(1, 9, 2), (2, 8, 1)] {
        let host = &s.hosts[n - 1];
        host.sh(&format!("ip addr add fd00::{n}/64 dev eth0 nodad"));
        for net in ["10.9.0.", "fd00::"] {
            host.sh(&format!(
                "ip neigh replace {net}{alias} lladdr 02:00:00:00:00:0{other} nud permanent dev eth0"
            ));
        }
    }
    let v4 = |n: u8| Masked::new([10, 9, 0, n], [0xff; 4]);
    let v6 = |n: u8| {
        let mut address = [0; 16];
        (address[0], address[15]) = (0xfd, n);
        Masked::new(address, [0xff; 16])
    };
    let port = |p: u16| Masked::new(p, 0xffff);
    for (id, tcp) in [(10, true), (20, false)] {
        let with = |fields: &[SetField], last| {
            let mut all = fields.to_vec();
            all.extend(tcp.then_some(last));
            all
        };
        let there = with(
            &[Ipv4Src(v4(8)), Ipv4Dst(v4(2)), NwTtl(17)],
            TpDst(port(5001)),
        );
        translate(&mut s, id, 1, "10.9.0.9", tcp, &there, 2);
        let back = with(
            &[Ipv4Src(v4(9)), Ipv4Dst(v4(1)), NwTtl(17)],
            TpSrc(port(6001)),
        );
        translate(&mut s, id + 1, 2, "10.9.0.8", tcp, &back, 1);
        let there = with(&[Ipv6Src(v6(8)), Ipv6Dst(v6(2))], TpDst(port(5001)));
        translate(&mut s, id + 2, 1, "fd00::9", tcp, &there, 2);
        let back = with(&[Ipv6Src(v6(9)), Ipv6Dst(v6(1))], TpSrc(port(6001)));
        translate(&mut s, id + 3, 2, "fd00::8", tcp, &back, 1);
    }
    assert!(
        s.ping(1, 9, "") && s.ping(2, 8, "-s 1472 -M do"),
        "{:?}",
        s.punted()
    );
    s.hosts[0].sh("ping -n -c 1 -W 1 fd00::9");
    s.tcp("10.9.0.2", ("10.9.0.9", 6001), 16);
    s.tcp("fd00::2", ("fd00::9", 6001), 16);
    for id in [10, 12] {
        let forth = s.cache.stats(FlowId(id)).unwrap();
        assert!(forth.bytes > 16_000_000, "{forth:?}");
    }
    assert_eq!(s.cache.counters().error, 0);
}
