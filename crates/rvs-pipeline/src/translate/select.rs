//! Choices by hash: select groups, multipath, bundle.
//!
//! A choice is a function of the fields that it hashes and of the alternatives, so that a flow stays where it is: over
//! restarts, and as far as possible when an alternative is added or goes away (highest random weight).

use rvs_flow::field::{Field, FieldId};
use rvs_flow::{FlowKey, Mask, PipelineKey, Present};
use rvs_openflow::{
    BundleAction, BundleAlgorithm, Group, HashFields, Multipath, MultipathAlgorithm, Selection,
};
use rvs_packet::MacAddr;

use super::ctx::Ctx;
use crate::trace::Trace;

impl<T: Trace> Ctx<'_, '_, T> {
    /// One of the live buckets of a select group, by weight.
    pub(super) fn select(&mut self, group: &Group, live: &[usize]) -> Option<usize> {
        let weight = |i: usize| group.buckets.get(i).map_or(0, |b| b.weight);
        let candidates = live.iter().copied().filter(|i| weight(*i) > 0);
        // A lone candidate needs no look at the packet.
        if candidates.clone().count() <= 1 {
            return candidates.clone().next();
        }
        let hash = match &group.selection {
            Selection::Default => self.flow_hash(0),
            Selection::DpHash { param } => self.flow_hash(*param),
            Selection::Hash { param, fields } if fields.is_empty() => self.flow_hash(*param),
            Selection::Hash { param, fields } => self.field_hash(*param, fields),
        };
        let score = |i: usize| {
            let id = group.buckets.get(i).map_or(0, |b| b.id);
            weighted(mix(hash, u64::from(id)), weight(i))
        };
        candidates.max_by(|a, b| score(*a).total_cmp(&score(*b)))
    }

    /// A link number.
    pub(super) fn multipath(&mut self, what: &Multipath) {
        let hash = self.nx_hash(what.fields, what.basis);
        let n = u64::from(what.max_link) + 1;
        let link = match what.algorithm {
            MultipathAlgorithm::ModuloN => hash % n,
            MultipathAlgorithm::HashThreshold => ((hash >> 32) * n) >> 32,
            MultipathAlgorithm::Hrw => (0..n).max_by_key(|i| mix(hash, *i)).unwrap_or(0),
            MultipathAlgorithm::IterHash => iter_hash(hash, n, what.arg),
        };
        self.write(what.dst, u128::from(link));
        self.note_written(what.dst, u128::from(link));
    }

    /// Outputs to a member, or writes its number.
    pub(super) fn bundle(&mut self, what: &BundleAction) {
        let Some(bridge) = self.at.bridge else {
            return;
        };
        let live = |of: &&rvs_flow::OfPort| {
            bridge
                .ports
                .get(**of)
                .is_some_and(|p| p.live && !p.config.down)
        };
        let member = match what.algorithm {
            BundleAlgorithm::ActiveBackup => what.members.iter().find(live),
            BundleAlgorithm::Hrw => {
                let hash = self.nx_hash(what.fields, what.basis);
                let members = what.members.iter().filter(live);
                members.max_by_key(|of| mix(hash, u64::from(of.0)))
            }
        };
        match (what.dst, member) {
            (Some(dst), m) => {
                let none = rvs_flow::OfPort::ANY;
                self.write(dst, u128::from(m.copied().unwrap_or(none).0));
            }
            (None, Some(of)) => self.output(*of, 0xffff),
            (None, None) => self.drop_with(rvs_dpif::DropReason::NoPort),
        }
    }

    /// A hash of whose packet it is: addresses, VLAN, types, ports.
    fn flow_hash(&mut self, basis: u64) -> u64 {
        let mut m = FlowKey {
            present: Present::IP | Present::L4 | Present::VLAN0 | Present::ARP,
            dl_dst: [0xff; 6],
            dl_src: [0xff; 6],
            dl_type: u16::MAX.into(),
            vlan0_tci: rvs_packet::VlanTci::VID_MASK.into(),
            ..FlowKey::default()
        };
        if self.key.flow.present.any(Present::IP) {
            m.nw_proto = 0xff;
            m.nw_src = [0xff; 4];
            m.nw_dst = [0xff; 4];
            m.ipv6_src = [0xff; 16];
            m.ipv6_dst = [0xff; 16];
            // Fragments of a datagram stay together.
            m.nw_frag = 0xff;
        }
        if self.key.flow.present.any(Present::ARP) {
            m.nw_src = [0xff; 4];
            m.nw_dst = [0xff; 4];
        }
        if self.key.flow.present.any(Present::L4) && self.key.flow.nw_frag == 0 {
            m.tp_src = u16::MAX.into();
            m.tp_dst = u16::MAX.into();
        }
        self.masked_hash(basis, &m)
    }

    fn masked_hash(&mut self, basis: u64, fields: &FlowKey) -> u64 {
        let mut m = Mask::<PipelineKey>::none();
        m.0.flow = *fields;
        self.see_mask(&m);
        // What layers there are is looked at, but is no part of the hash beyond the fields themselves.
        m.0.flow.present = Present::NONE;
        m.0.flow.nw_frag = 0;
        let key = m.apply(&self.key);
        rvs_flow::Key::words(&key.flow)
            .iter()
            .fold(basis, |h, w| mix(h, *w))
    }

    fn field_hash(&mut self, basis: u64, fields: &[(FieldId, u128)]) -> u64 {
        let mut h = basis;
        for (id, mask) in fields {
            let field = Field::of(*id);
            let mut m = Mask::none();
            field.unwildcard_bits(&mut m, *mask);
            self.see_mask(&m);
            if field.exists_in(&self.key) {
                let v = field.get(&self.key) & mask;
                h = mix(mix(h, (v >> 64) as u64), v as u64);
            }
        }
        h
    }

    /// The hashes of `multipath` and `bundle`.
    fn nx_hash(&mut self, fields: HashFields, basis: u16) -> u64 {
        let basis = u64::from(basis);
        let all4 = [0xff; 4];
        let all6 = [0xff; 16];
        let none = FlowKey::default();
        match fields {
            HashFields::EthSrc => self.masked_hash(
                basis,
                &FlowKey {
                    dl_src: [0xff; 6],
                    ..none
                },
            ),
            HashFields::NwSrc => {
                let m = FlowKey {
                    present: Present::IP,
                    nw_src: all4,
                    ipv6_src: all6,
                    ..none
                };
                self.masked_hash(basis, &m)
            }
            HashFields::NwDst => {
                let m = FlowKey {
                    present: Present::IP,
                    nw_dst: all4,
                    ipv6_dst: all6,
                    ..none
                };
                self.masked_hash(basis, &m)
            }
            HashFields::SymmetricL4 => self.symmetric(basis, true, &[Present::TCP, Present::SCTP]),
            HashFields::SymmetricL3 => self.symmetric(basis, false, &[]),
            HashFields::SymmetricL3L4 => {
                self.symmetric(basis, false, &[Present::TCP, Present::SCTP])
            }
            HashFields::SymmetricL3L4Udp => {
                self.symmetric(basis, false, &[Present::TCP, Present::SCTP, Present::UDP])
            }
        }
    }

    /// The same for both directions of a conversation.
    fn symmetric(&mut self, basis: u64, link: bool, ports_of: &[Present]) -> u64 {
        let flow = self.key.flow;
        let mut m = FlowKey {
            present: Present::IP,
            ..FlowKey::default()
        };
        if link {
            m.dl_dst = [0xff; 6];
            m.dl_src = [0xff; 6];
            m.dl_type = u16::MAX.into();
            m.vlan0_tci = rvs_packet::VlanTci::VID_MASK.into();
        }
        m.nw_src = [0xff; 4];
        m.nw_dst = [0xff; 4];
        m.ipv6_src = [0xff; 16];
        m.ipv6_dst = [0xff; 16];
        m.nw_proto = 0xff;
        for p in ports_of {
            m.present |= *p;
        }
        let with_ports = ports_of.iter().any(|p| flow.present.has(*p));
        if with_ports {
            m.tp_src = u16::MAX.into();
            m.tp_dst = u16::MAX.into();
        }
        let mut all = Mask::<PipelineKey>::none();
        all.0.flow = m;
        self.see_mask(&all);

        let mut h = basis;
        if link {
            let (a, b) = (MacAddr(flow.dl_src).to_u64(), MacAddr(flow.dl_dst).to_u64());
            let vlan = flow.vlan0_tci.get() & rvs_packet::VlanTci::VID_MASK;
            h = mix(
                mix(h, a ^ b),
                u64::from(flow.dl_type.get()) << 16 | u64::from(vlan),
            );
        }
        if flow.present.any(Present::IP) {
            let v4 = u32::from_be_bytes(flow.nw_src) ^ u32::from_be_bytes(flow.nw_dst);
            let v6 = u128::from_be_bytes(flow.ipv6_src) ^ u128::from_be_bytes(flow.ipv6_dst);
            h = mix(mix(h, u64::from(v4) ^ v6 as u64), (v6 >> 64) as u64);
            h = mix(h, u64::from(flow.nw_proto));
        }
        if with_ports {
            h = mix(h, u64::from(flow.tp_src.get() ^ flow.tp_dst.get()));
        }
        h
    }
}

/// Mixes a word into a hash. Fixed for ever: choices must survive a restart and an upgrade.
pub(crate) fn mix(h: u64, w: u64) -> u64 {
    // The finalizer of splitmix64.
    let mut x = (h ^ w).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Weighted rendezvous hashing: the greatest wins, in proportion to the weights.
pub(crate) fn weighted(hash: u64, weight: u16) -> f64 {
    // In (0, 1): 53 bits and a half, so that neither end is reached.
    let unit = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(weight) / unit.ln()
}

/// Hashes anew until a link below `n` comes up; `arg` bounds the space of links.
fn iter_hash(hash: u64, n: u64, arg: u32) -> u64 {
    let space = u64::from(arg).max(n).next_power_of_two();
    (0..32)
        .map(|i| mix(hash, i) & (space - 1))
        .find(|l| *l < n)
        .unwrap_or(hash % n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_weights_and_few_flows_move() {
        let weights = [1u16, 2, 5];
        let choose = |n: usize, flow: u64| {
            (0..n)
                .max_by(|a, b| {
                    let s = |i: usize| weighted(mix(mix(7, flow), i as u64), weights[i]);
                    s(*a).total_cmp(&s(*b))
                })
                .unwrap_or(0)
        };
        let mut counts = [0u32; 3];
        let mut moved = 0;
        for flow in 0..80_000 {
            let with_all = choose(3, flow);
            counts[with_all] += 1;
            moved += u32::from(with_all != 2 && with_all != choose(2, flow));
        }
        for (count, want) in counts.iter().zip([10_000f64, 20_000.0, 50_000.0]) {
            assert!(
                (f64::from(*count) - want).abs() < 0.03 * 80_000.0,
                "{counts:?}"
            );
        }
        assert_eq!(moved, 0, "flows on the other buckets stay when one comes");
    }
}
