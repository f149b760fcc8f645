//! A hit allocates nothing, whatever tier answers and whatever the flow does.
#![allow(clippy::unwrap_used, unsafe_code)]

#[path = "common/allocations.rs"]
mod allocations;
mod common;

use std::sync::Arc;

use allocations::allocations;
use common::{l2_mask, mac, tcp, udp, Rig};
use rvs_datapath::{Caches, FrameBatch};
use rvs_dpif::meter::{Band, BandKind, Meter, MeterUnit};
use rvs_dpif::{DpAction, DpCommand, DropReason, Egress, Masked, MeterId, SetField};
use rvs_flow::{extract, DpPort, FlowKey, ParseLimits};
use rvs_packet::{EtherType, Frame, VlanTci};

/// Sent frames, to be given back to the pool.
struct Sent(Vec<Frame>);

impl Egress for Sent {
    fn output(&mut self, _port: DpPort, frame: Frame) -> Result<(), DropReason> {
        self.0.push(frame);
        Ok(())
    }
}

fn flows(rig: &mut Rig, templates: &mut Vec<(DpPort, Frame)>) {
    let out = |p| DpAction::Output(DpPort(p));
    let rewrite = [
        DpAction::Set(SetField::EthSrc(Masked::new(
            mac(9),
            rvs_packet::MacAddr::BROADCAST,
        ))),
        DpAction::Set(SetField::NwTtl(5)),
        DpAction::PushVlan {
            tpid: EtherType::VLAN,
            tci: VlanTci(7),
        },
    ];
    let lists: [Vec<DpAction>; 6] = [
        vec![out(2)],
        vec![out(2), out(3), out(4)],
        [&rewrite[..], &[out(5), out(6)]].concat(),
        vec![DpAction::Meter(MeterId(1)), out(2)],
        vec![
            DpAction::Clone(rewrite.to_vec().into()),
            DpAction::Recirc(1),
        ],
        vec![
            DpAction::OutputTruncated {
                port: DpPort(2),
                max_len: 40,
            },
            DpAction::CheckPktLen {
                max_len: 100,
                larger: [out(2)].into(),
                otherwise: [out(3)].into(),
            },
        ],
    ];
    for (i, actions) in (0..900).zip(lists.iter().cycle()) {
        let frame = match i % 2 {
            0 => tcp(i, 1, 1000, 0x10, 0),
            _ => udp(i, 1, 1000, 100, 0),
        };
        let key = extract(&frame, DpPort(1), ParseLimits::default());
        rig.answer(key, l2_mask(), actions);
        templates.push((DpPort(1), frame));
    }
    let key = FlowKey {
        in_port: 1,
        recirc_id: 1,
        ..Default::default()
    };
    let flow = rig.flow(&key, common::port_mask(), &[out(7)]);
    rig.command(DpCommand::Install(flow));
    let meter = Meter::new(
        rig.now,
        MeterUnit::Kbps,
        &[Band {
            kind: BandKind::Drop,
            rate: u32::MAX,
            burst: Some(u32::MAX),
        }],
    );
    rig.command(DpCommand::Meter {
        id: MeterId(1),
        meter: Some(Arc::new(meter)),
    });
}

#[test]
fn a_hit_allocates_nothing() {
    for caches in [Caches::Megaflow, Caches::Both] {
        let mut rig = Rig::new(caches);
        let mut templates = Vec::new();
        flows(&mut rig, &mut templates);
        let mut tx = Sent(Vec::with_capacity(1024));
        let mut batch = FrameBatch::new();
        let mut before = (0, 0);
        for turn in 0..400 {
            if turn == 200 {
                let misses = rig.dp.counters().misses.read();
                before = (allocations(), misses);
            }
            for i in 0..FrameBatch::MAX {
                let (port, template) = &templates[(turn * FrameBatch::MAX + i) % templates.len()];
                let frame = rig.dp.pool().copy(template);
                batch.push(*port, frame).unwrap();
            }
            rig.dp.process(rig.now, &mut batch, &mut tx, &mut rig.up);
            for frame in tx.0.drain(..) {
                rig.dp.pool().give(frame);
            }
        }
        let c = rig.dp.counters();
        let allocated = allocations() - before.0;
        assert_eq!(
            (c.misses.read() - before.1, allocated),
            (0, 0),
            "{caches:?}"
        );
        assert!(c.emc_hits.read() > 0 || caches == Caches::Megaflow);
        assert!(rig.up.queue.is_empty() && rig.drops().is_empty());
    }
}
