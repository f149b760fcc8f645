//! What the kernel carried, as everybody else counts it: per flow, per port, per reason of a drop.
//!
//! The program counts for each entry. What an entry's flow did with a frame is known from its actions, so the counters of
//! ports and drops follow from the flows' and agree with them.

use std::collections::HashMap;
use std::sync::Arc;

use rvs_dpif::{DpAction, DropReason, FlowSnapshot, Megaflow};
use rvs_flow::{DpPort, Present};
use rvs_packet::Now;

/// Octets of a VLAN tag.
const TAG: i64 = 4;

/// What went in and out of a port in the kernel; super-frames as their segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortTotals {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Figures {
    ports: HashMap<DpPort, PortTotals>,
    drops: HashMap<DropReason, u64>,
}

impl Figures {
    pub fn port(&self, port: DpPort) -> PortTotals {
        self.ports.get(&port).copied().unwrap_or_default()
    }

    /// Frames that flows without an output dropped.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        self.drops.iter().map(|(r, n)| (*r, *n))
    }
}

/// A flow in the kernel.
#[derive(Debug)]
pub(super) struct Resident {
    pub flow: Arc<Megaflow>,
    /// Out of the kernel, its last figures still to come.
    pub leaving: bool,
    /// Where its frames go, and by how many octets they have grown by then.
    outputs: Vec<(DpPort, i64)>,
    /// What it had carried in the kernel before this stay.
    base: FlowSnapshot,
    /// Packets since the last [`Self::forget_recent`].
    recent: u64,
}

impl Resident {
    pub fn new(flow: Arc<Megaflow>) -> Self {
        let base = flow.stats.kernel();
        Self::with_base(flow, base)
    }

    /// `base` and what the entry has counted make what the kernel has carried.
    pub fn with_base(flow: Arc<Megaflow>, base: FlowSnapshot) -> Self {
        Self {
            outputs: outputs(&flow),
            base,
            leaving: false,
            recent: 0,
            flow,
        }
    }

    pub fn in_port(&self) -> DpPort {
        DpPort(self.flow.key.in_port)
    }

    pub fn goes_to(&self, port: DpPort) -> bool {
        self.outputs.iter().any(|(p, _)| *p == port)
    }

    pub const fn recent(&self) -> u64 {
        self.recent
    }

    pub fn forget_recent(&mut self) {
        self.recent = 0;
    }

    pub fn used(&self) -> Now {
        self.flow.stats.read().used
    }

    /// The entry has carried so much in this stay.
    pub fn account(&mut self, stay: &FlowSnapshot, figures: &mut Figures) {
        let before = self.flow.stats.kernel();
        let all = self.base.plus(stay);
        let packets = all.packets.wrapping_sub(before.packets);
        if packets == 0 {
            return;
        }
        let bytes = all.bytes.wrapping_sub(before.bytes);
        self.flow.stats.set_kernel(&all);
        self.recent = self.recent.wrapping_add(packets);
        let port = figures.ports.entry(self.in_port()).or_default();
        port.rx_packets = port.rx_packets.wrapping_add(packets);
        port.rx_bytes = port.rx_bytes.wrapping_add(bytes);
        for (port, grown) in &self.outputs {
            let port = figures.ports.entry(*port).or_default();
            let more = packets.wrapping_mul(*grown as u64);
            port.tx_packets = port.tx_packets.wrapping_add(packets);
            port.tx_bytes = port.tx_bytes.wrapping_add(bytes).wrapping_add(more);
        }
        if let Some(reason) = self.flow.drop {
            *figures.drops.entry(reason).or_default() += packets;
        }
    }
}

fn outputs(flow: &Megaflow) -> Vec<(DpPort, i64)> {
    let present = flow.key.present;
    let tag = |layer| i64::from(present.has(layer));
    let (mut tags, mut grown) = (tag(Present::VLAN0) + tag(Present::VLAN1), 0);
    let mut found = Vec::new();
    for action in flow.actions.iter() {
        match action {
            DpAction::Output(port) => found.push((*port, grown)),
            DpAction::PushVlan { .. } => {
                tags += 1;
                grown += TAG;
            }
            DpAction::PopVlan if tags > 0 => {
                tags -= 1;
                grown -= TAG;
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use rvs_dpif::{FlowId, FlowStats};
    use rvs_flow::{FlowKey, Mask};
    use rvs_packet::{EtherType, VlanTci};

    fn resident(actions: &[DpAction], drop: Option<DropReason>) -> Resident {
        Resident::new(Arc::new(Megaflow {
            actions: actions.into(),
            stats: Arc::new(FlowStats::default()),
            key: FlowKey {
                in_port: 1,
                ..Default::default()
            },
            mask: Mask::exact(),
            id: FlowId(1),
            version: 1,
            drop,
        }))
    }

    const fn carried(packets: u64) -> FlowSnapshot {
        FlowSnapshot {
            packets,
            bytes: packets * 100,
            used: Now(packets),
            tcp_flags: 0,
        }
    }

    #[test]
    fn ports_count_what_flows_carry_once_and_with_their_tags() {
        let push = DpAction::PushVlan {
            tpid: EtherType::VLAN,
            tci: VlanTci(0x1005),
        };
        let list = [
            DpAction::Output(DpPort(2)),
            push,
            DpAction::Output(DpPort(3)),
            DpAction::PopVlan,
            DpAction::PopVlan,
            DpAction::Output(DpPort(4)),
        ];
        let (mut r, mut figures) = (resident(&list, None), Figures::default());
        r.account(&carried(10), &mut figures);
        r.account(&carried(10), &mut figures);
        r.account(&carried(12), &mut figures);
        let port = |n| figures.port(DpPort(n));
        assert_eq!((port(1).rx_packets, port(1).rx_bytes), (12, 1200));
        assert_eq!((port(2).tx_packets, port(2).tx_bytes), (12, 1200));
        assert_eq!((port(3).tx_packets, port(3).tx_bytes), (12, 1248));
        assert_eq!(port(4).tx_bytes, 1200, "there was no second tag to pop");
        assert_eq!(r.flow.stats.read(), carried(12));
        assert_eq!(r.recent(), 12);
    }

    #[test]
    fn a_second_stay_goes_on_where_the_first_ended() {
        let (mut r, mut figures) = (resident(&[], Some(DropReason::Action)), Figures::default());
        r.account(&carried(5), &mut figures);
        let mut again = Resident::new(r.flow.clone());
        again.account(&carried(3), &mut figures);
        assert_eq!(again.flow.stats.read().packets, 8);
        assert_eq!(figures.port(DpPort(1)).rx_packets, 8);
        assert_eq!(
            figures.drops().collect::<Vec<_>>(),
            [(DropReason::Action, 8)]
        );
    }
}
