//! What each action does to a frame.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{ethernet, mac, super_frame, tcp, udp, Rig};
use rvs_datapath::Caches;
use rvs_dpif::meter::{Band, BandKind, Meter, MeterUnit};
use rvs_dpif::{
    Actions, Announce, DpAction, DpCommand, DropReason, Masked, MeterId, PuntReason, SetField,
    UpcallKind,
};
use rvs_flow::{extract, DpPort, FlowKey, ParseLimits, Present};
use rvs_packet::{csum, Csum, EtherType, Frame, VlanId, VlanTci};

fn out(port: u32) -> DpAction {
    DpAction::Output(DpPort(port))
}

fn list(actions: &[DpAction]) -> Actions {
    actions.into()
}

/// Sends `frame` through a flow of `actions` and returns what left.
fn through(actions: &[DpAction], frame: Frame) -> (Vec<(u32, Frame)>, Rig) {
    let mut rig = Rig::new(Caches::Both);
    rig.all_of_port(1, actions);
    rig.process([(1, frame)]);
    (rig.tx.take(), rig)
}

fn key(frame: &Frame) -> FlowKey {
    extract(frame, DpPort(0), ParseLimits::new(2))
}

#[test]
fn each_output_gets_the_frame_as_it_is_at_that_moment() {
    let tci = VlanTci::new(VlanId::new(100).unwrap(), 3);
    let push = DpAction::PushVlan {
        tpid: EtherType::VLAN,
        tci,
    };
    let plain = udp(1, 2, 5, 20, 7);
    let (sent, _) = through(
        &[out(2), push, out(3), DpAction::PopVlan, out(4)],
        plain.clone(),
    );
    assert_eq!(sent.iter().map(|s| s.0).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(sent[0].1, plain);
    assert_eq!(sent[1].1.bytes()[12..16], [0x81, 0, 0x60, 100]);
    assert_eq!(sent[2].1, plain);
}

#[test]
fn offload_metadata_goes_along_with_every_copy() {
    let frame = super_frame(4, 100);
    let (sent, rig) = through(&[out(2), out(3)], frame.clone());
    assert_eq!(sent, [(2, frame.clone()), (3, frame)]);
    let flow = rig.dp.flows().iter().next().unwrap().stats.read();
    assert_eq!(
        (flow.packets, flow.bytes),
        (4, 4 * 154),
        "as the wire sees it"
    );
}

#[test]
fn set_field_keeps_checksums_true_and_writes_no_absent_header() {
    let set = |f| DpAction::Set(f);
    let rewrite = [
        set(SetField::EthDst(Masked::new(
            mac(77),
            rvs_packet::MacAddr::BROADCAST,
        ))),
        set(SetField::Ipv4Dst(Masked::new([10, 9, 9, 9], [255; 4]))),
        set(SetField::NwTtl(63)),
        set(SetField::TpDst(Masked::new(8080, 0xffff))),
        set(SetField::Vlan(Masked::new(5, 0xfff))),
        set(SetField::Ipv6Dst(Masked::new([1; 16], [255; 16]))),
        set(SetField::MplsLse(Masked::new(9, u32::MAX))),
        set(SetField::NwTos(Masked::new(0xb8, 0xfc))),
        out(2),
    ];
    let mut frame = tcp(1, 2, 1000, 0x10, 1);
    frame.offload.csum = Csum::Partial {
        start: 34,
        offset: 16,
    };
    let sum = csum::Sum::pseudo_v4(
        [10, 0, 0, 1].into(),
        [10, 0, 0, 2].into(),
        rvs_packet::IpProto::TCP,
        26,
    );
    frame.bytes_mut()[50..52].copy_from_slice(&sum.value().to_be_bytes());
    csum::complete(&mut frame).unwrap();
    let before = frame.clone();
    let (sent, _) = through(&rewrite, frame);
    let after = &sent[0].1;
    let k = key(after);
    assert_eq!(csum::verify(after), Ok(()));
    assert_eq!(
        after.len(),
        before.len(),
        "no tag, label or IPv6 was made up"
    );
    assert_eq!((k.dst(), k.nw_dst, k.nw_ttl), (mac(77), [10, 9, 9, 9], 63));
    assert_eq!(
        (k.tp_dst.get(), k.nw_tos, k.tp_src.get()),
        (8080, 0xb8, 1000)
    );
    // A frame without any of it but Ethernet.
    let arp = Frame::from_slice(&[&ethernet(1, 2, 0x1234)[..], &[9; 50]].concat());
    let (sent, _) = through(&rewrite[1..], arp.clone());
    assert_eq!(sent, [(2, arp)]);
}

#[test]
fn clone_works_on_a_copy() {
    let inner = list(&[DpAction::Set(SetField::NwTtl(9)), out(3)]);
    let (sent, _) = through(
        &[DpAction::Clone(inner.clone()), out(2)],
        udp(1, 2, 5, 20, 7),
    );
    let ttl: Vec<_> = sent.iter().map(|(p, f)| (*p, key(f).nw_ttl)).collect();
    assert_eq!(ttl, [(3, 9), (2, 64)]);
    let (sent, _) = through(&[DpAction::Clone(inner)], udp(1, 2, 5, 20, 7));
    assert_eq!(sent.len(), 1, "the last step gets the frame itself");
}

#[test]
fn lists_nest_to_the_limit_and_no_deeper() {
    let nested = |depth: u8| (0..depth).fold(list(&[out(2)]), |l, _| list(&[DpAction::Clone(l)]));
    let limit = rvs_dpif::limits::ACTION_NESTING;
    for (depth, sent, dropped) in [
        (limit - 1, 1, 0),
        (limit, 1, 0),
        (limit + 1, 0, 1),
        (255, 0, 1),
    ] {
        let (s, rig) = through(&nested(depth), udp(1, 2, 5, 20, 0));
        let lost = rig.dp.counters().drops.read(DropReason::TooDeep);
        assert_eq!((s.len(), lost), (sent, dropped), "{depth}");
    }
}

#[test]
fn check_pkt_len_looks_at_what_the_wire_sees() {
    let check = DpAction::CheckPktLen {
        max_len: 154,
        larger: list(&[out(3)]),
        otherwise: list(&[out(2)]),
    };
    let port = |f: Frame| through(std::slice::from_ref(&check), f).0[0].0;
    assert_eq!(port(udp(1, 2, 5, 154 - 42, 0)), 2);
    assert_eq!(port(udp(1, 2, 5, 155 - 42, 0)), 3);
    assert_eq!(port(super_frame(10, 100)), 2, "each segment has 154 octets");
    assert_eq!(port(super_frame(10, 101)), 3);
}

#[test]
fn a_truncated_output_leaves_later_ones_whole() {
    let cut = DpAction::OutputTruncated {
        port: DpPort(2),
        max_len: 50,
    };
    let (sent, _) = through(&[cut.clone(), out(3)], udp(1, 2, 5, 100, 7));
    let lens: Vec<_> = sent.iter().map(|(p, f)| (*p, f.len())).collect();
    assert_eq!(lens, [(2, 50), (3, 142)]);
    // What is cut is a frame of the wire, and it owes nothing any more.
    let (sent, _) = through(&[cut], super_frame(3, 100));
    assert_eq!(sent.len(), 3);
    assert!(sent
        .iter()
        .all(|(_, f)| f.len() == 50 && f.offload.is_plain()));
}

#[test]
fn recirculation_sees_the_frame_as_rewritten_and_ends_at_the_limit() {
    let mut rig = Rig::new(Caches::Both);
    rig.all_of_port(
        1,
        &[
            DpAction::Set(SetField::NwTtl(3)),
            DpAction::Recirc(1),
            out(2),
        ],
    );
    for i in 1..=9 {
        let key = FlowKey {
            in_port: 1,
            recirc_id: i,
            ..Default::default()
        };
        let flow = rig.flow(&key, common::port_mask(), &[DpAction::Recirc(i + 1)]);
        rig.command(DpCommand::Install(flow));
    }
    rig.process([(1, udp(1, 2, 5, 20, 7))]);
    assert_eq!(rig.tx.labels(), [(2, 7)], "steps behind it ran on");
    assert_eq!(rig.drops(), [(DropReason::RecircTooDeep, 1)]);
    assert_eq!(rig.dp.counters().recirculated.read(), 8);
    // Below the limit it is a lookup like any other, with the new key.
    let key = FlowKey {
        in_port: 1,
        recirc_id: 8,
        ..Default::default()
    };
    let flow = rig.flow(&key, common::port_mask(), &[out(4)]);
    rig.command(DpCommand::Install(flow));
    rig.process([(1, udp(1, 2, 5, 20, 7))]);
    let sent = rig.tx.take();
    assert_eq!(
        sent.iter()
            .map(|s| (s.0, key_ttl(&s.1)))
            .collect::<Vec<_>>(),
        [(2, 3), (4, 3)]
    );
}

fn key_ttl(f: &Frame) -> u8 {
    key(f).nw_ttl
}

/// Recirculations that multiply end before they cost more than a bounded number of lookups.
#[test]
fn recirculations_do_not_multiply_without_end() {
    let mut rig = Rig::new(Caches::Both);
    let many = vec![DpAction::Recirc(1); 40];
    rig.all_of_port(1, &many);
    let key = FlowKey {
        in_port: 1,
        recirc_id: 1,
        ..Default::default()
    };
    let flow = rig.flow(&key, common::port_mask(), &many);
    rig.command(DpCommand::Install(flow));
    rig.process([(1, udp(1, 2, 5, 20, 7))]);
    assert_eq!(rig.dp.counters().recirculated.read(), 1024);
    assert!(rig.dp.counters().drops.read(DropReason::RecircTooDeep) > 0);
    rig.process([(1, udp(1, 2, 5, 20, 7))]);
    assert_eq!(
        rig.dp.counters().recirculated.read(),
        2048,
        "each frame has its own budget"
    );
}

#[test]
fn a_punt_hands_up_plain_octets() {
    let punt = DpAction::Punt {
        reason: PuntReason::Controller,
        cookie: 42,
    };
    let mut frame = super_frame(1, 100);
    frame.offload.gso = None;
    let (sent, mut rig) = through(&[punt.clone(), out(2)], frame.clone());
    assert_eq!(
        sent,
        [(2, frame)],
        "what is sent is still the kernel's to complete"
    );
    let up = rig.question();
    let kind = UpcallKind::Punt {
        reason: PuntReason::Controller,
        cookie: 42,
    };
    assert_eq!(
        (up.kind, up.key.in_port, up.frame.offload.is_plain()),
        (kind, 1, true)
    );
    assert_eq!(csum::verify(&up.frame), Ok(()));

    let (_, mut rig) = through(std::slice::from_ref(&punt), super_frame(3, 100));
    let lens: Vec<_> = rig.up.queue.drain(..).map(|u| u.frame.len()).collect();
    assert_eq!(lens, [154; 3]);

    let mut rig = Rig::new(Caches::Both);
    rig.all_of_port(1, &[punt]);
    rig.up.room = 2;
    rig.process([(1, super_frame(5, 100))]);
    assert_eq!(rig.drops(), [(DropReason::UpcallQueueFull, 3)]);
}

#[test]
fn an_empty_list_drops_for_the_flows_reason() {
    let (sent, rig) = through(&[], udp(1, 2, 5, 20, 0));
    assert!(sent.is_empty());
    assert_eq!(rig.drops(), [(DropReason::Action, 1)]);
}

#[test]
fn what_a_port_refuses_is_counted_by_its_reason() {
    let mut rig = Rig::new(Caches::Both);
    rig.all_of_port(1, &[out(2), out(3), out(4)]);
    rig.tx.refuses = Some((3, DropReason::TooBig));
    rig.process([(1, udp(1, 2, 5, 20, 7)), (1, udp(1, 2, 5, 20, 8))]);
    assert_eq!(rig.tx.labels(), [(2, 7), (4, 7), (2, 8), (4, 8)]);
    assert_eq!(rig.drops(), [(DropReason::TooBig, 2)]);
    assert_eq!(rig.dp.counters().outputs.read(), 4);
}

#[test]
fn a_frame_shorter_than_ethernet_goes_nowhere() {
    for len in [0, 1, 13] {
        let (sent, rig) = through(&[out(2)], Frame::from_slice(&vec![0xff; len]));
        assert!(sent.is_empty() && rig.up.queue.is_empty());
        assert_eq!(rig.drops(), [(DropReason::BadFrame, 1)]);
        assert_eq!(rig.dp.counters().malformed[0].read(), 1);
    }
    let (sent, _) = through(&[out(2)], Frame::from_slice(&[0xff; 14]));
    assert_eq!(sent.len(), 1);
}

#[test]
fn contradictory_layers_are_counted_and_forwarded_by_what_is_whole() {
    let mut frame = udp(1, 2, 5, 20, 7);
    frame.bytes_mut()[14] = 0x4f;
    assert!(key(&frame).present.has(Present::BAD_L3));
    let (sent, rig) = through(&[out(2)], frame);
    assert_eq!(sent.len(), 1);
    let malformed: Vec<_> = rig
        .dp
        .counters()
        .malformed
        .iter()
        .map(|c| c.read())
        .collect();
    assert_eq!(malformed, [0, 0, 1, 0]);
}

#[test]
fn a_frame_of_the_slow_paths_own_runs_like_any_other() {
    let mut rig = Rig::new(Caches::Both);
    rig.all_of_port(5, &[out(6)]);
    let key = FlowKey {
        in_port: 5,
        recirc_id: 3,
        ..Default::default()
    };
    let flow = rig.flow(&key, common::port_mask(), &[out(7)]);
    rig.command(DpCommand::Install(flow));
    rig.command(DpCommand::Execute {
        frame: udp(1, 2, 5, 20, 7),
        in_port: DpPort(5),
        actions: list(&[out(2), DpAction::Recirc(3)]),
    });
    assert_eq!(rig.tx.labels(), [(2, 7), (7, 7)]);
}

fn meter(rig: &mut Rig, unit: MeterUnit, kind: BandKind, rate: u32, burst: u32) -> Arc<Meter> {
    let m = Arc::new(Meter::new(
        rig.now,
        unit,
        &[Band {
            kind,
            rate,
            burst: Some(burst),
        }],
    ));
    rig.command(DpCommand::Meter {
        id: MeterId(1),
        meter: Some(Arc::clone(&m)),
    });
    m
}

#[test]
fn a_meter_ends_the_list_of_what_exceeds_it() {
    let mut rig = Rig::new(Caches::Both);
    let m = meter(&mut rig, MeterUnit::Pktps, BandKind::Drop, 10, 3);
    rig.all_of_port(1, &[out(2), DpAction::Meter(MeterId(1)), out(3)]);
    rig.process((0..5).map(|i| (1, udp(1, 2, 5, 20, i))));
    let to3: Vec<_> = rig.tx.labels().into_iter().filter(|l| l.0 == 3).collect();
    assert_eq!(to3, [(3, 0), (3, 1), (3, 2)]);
    assert_eq!(rig.drops(), [(DropReason::Meter, 2)]);
    assert_eq!(
        (m.total().packets, m.bands().next().unwrap().1.packets),
        (5, 2)
    );
    // A meter that is gone lets pass.
    rig.command(DpCommand::Meter {
        id: MeterId(1),
        meter: None,
    });
    rig.process([(1, udp(1, 2, 5, 20, 9))]);
    assert_eq!(rig.tx.labels(), [(2, 9), (3, 9)]);
}

#[test]
fn a_super_frame_is_metered_whole_or_by_segment() {
    let mut rig = Rig::new(Caches::Both);
    let m = meter(&mut rig, MeterUnit::Pktps, BandKind::Drop, 1, 13);
    rig.all_of_port(1, &[DpAction::Meter(MeterId(1)), out(2)]);
    rig.process([(1, super_frame(10, 100))]);
    let sent = rig.tx.take();
    assert_eq!(
        (sent.len(), sent[0].1.offload.gso.is_some()),
        (1, true),
        "covered whole"
    );
    rig.process([(1, super_frame(10, 100))]);
    let sent = rig.tx.take();
    let first: Vec<_> = sent.iter().map(|(_, f)| f.bytes()[54]).collect();
    assert_eq!(first, [0, 1, 2], "the first segments, in order");
    assert!(sent
        .iter()
        .all(|(_, f)| f.offload.is_plain() && csum::verify(f).is_ok()));
    assert_eq!(rig.drops(), [(DropReason::Meter, 7)]);
    assert_eq!(m.total().packets, 20);
}

/// The kernel would read a super-frame by the new type.
#[test]
fn a_super_frame_with_another_type_is_cut_first() {
    let mut rig = Rig::new(Caches::Both);
    let set = Announce::EthType {
        tags: 0,
        value: EtherType(0x9999),
    };
    rig.all_of_port(1, &[out(3), DpAction::Announce(set), out(2)]);
    rig.process([(1, super_frame(3, 100))]);
    let sent = rig.tx.take();
    assert!(sent[0].1.offload.gso.is_some());
    let rest: Vec<_> = sent[1..].iter().collect();
    assert_eq!(rest.len(), 3);
    for (port, f) in rest {
        assert_eq!(*port, 2);
        assert!(f.offload.is_plain());
        assert_eq!(f.bytes()[12..14], [0x99, 0x99]);
        let mut ip = f.clone();
        ip.bytes_mut()[12..14].copy_from_slice(&[8, 0]);
        assert!(csum::verify(&ip).is_ok());
    }
}

#[test]
fn dscp_remark_raises_the_drop_precedence() {
    let mut rig = Rig::new(Caches::Both);
    meter(&mut rig, MeterUnit::Kbps, BandKind::DscpRemark(1), 1, 1);
    rig.all_of_port(
        1,
        &[
            DpAction::Set(SetField::NwTos(Masked::new(0x28, 0xfc))),
            DpAction::Meter(MeterId(1)),
            out(2),
        ],
    );
    rig.process([(1, udp(1, 2, 5, 20, 0)), (1, udp(1, 2, 5, 90, 0))]);
    let tos: Vec<_> = rig.tx.take().iter().map(|(_, f)| key(f).nw_tos).collect();
    assert_eq!(tos, [0x28, 0x30], "the second frame exceeds 1000 bits");
    assert!(rig.drops().is_empty());
}

#[test]
fn a_priority_stays_with_the_frame_and_its_copies() {
    let priorities = |actions: &[DpAction], frame: Frame| -> Vec<(u32, u32)> {
        let sent = through(actions, frame).0;
        sent.iter().map(|(port, f)| (*port, f.priority)).collect()
    };
    let actions = [
        out(2),
        DpAction::Priority(0x1_0004),
        out(3),
        DpAction::Clone(list(&[DpAction::Priority(7), out(4)])),
        out(5),
        DpAction::Priority(0),
        out(6),
    ];
    let want = [(2, 0), (3, 0x1_0004), (4, 7), (5, 0x1_0004), (6, 0)];
    assert_eq!(priorities(&actions, udp(1, 2, 5, 20, 1)), want);
    let cut = [
        DpAction::Priority(3),
        DpAction::OutputTruncated {
            port: DpPort(2),
            max_len: 100,
        },
    ];
    assert_eq!(priorities(&cut, super_frame(3, 100)), [(2, 3); 3]);
}
