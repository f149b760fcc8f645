//! What the classifier knows about the fields of a key: in which order to consult them, and which ones have prefixes.
//!
//! A lookup consults a subtable in stages, from what rarely varies between packets of one flow aggregate (where a frame
//! comes from) to what always varies (ports), and stops at the first stage that no rule shares. Only the bits of the stages
//! consulted are un-wildcarded. [`rvs_flow::Present`] is consulted with the Ethernet type, before any field of the layers
//! that it speaks of, so that no address or port is ever un-wildcarded without the presence bits of its layer.
//!
//! Every field is named here: a field added to a key does not compile until it has a stage.

use std::cmp::Ordering;
use std::mem::offset_of;

use rvs_flow::{FlowKey, Key, Mask, PipelineKey, Present};
use zerocopy::byteorder::network_endian::{U16, U32, U64};

/// The order in which the fields of a subtable are consulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Input port, metadata, registers.
    Metadata,
    /// Layer presence, Ethernet, VLAN, MPLS, PBB.
    L2,
    /// IP, ARP, the ND link-layer addresses.
    L3,
    /// Ports, TCP flags, ICMP, ND.
    L4,
}

impl Stage {
    pub const ALL: [Self; 4] = [Self::Metadata, Self::L2, Self::L3, Self::L4];
}

/// A field whose masks are mostly prefixes, and which gets a trie. It lies in its key in wire order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixField {
    /// Octets from the start of the key.
    pub offset: usize,
    /// 1..=16 octets.
    pub octets: usize,
    /// The stage that all its bits are in.
    pub stage: Stage,
}

/// A key that can be classified. The stages cover the key without overlap (a test says so for each implementer).
pub trait Layout: Key {
    /// At most [`MAX_PREFIX_FIELDS`].
    const PREFIX_FIELDS: &'static [PrefixField];

    /// The bits that belong to a stage.
    fn stage_mask(stage: Stage) -> Mask<Self>;
}

pub const MAX_PREFIX_FIELDS: usize = 8;

impl Layout for FlowKey {
    const PREFIX_FIELDS: &'static [PrefixField] = &[
        field(offset_of!(FlowKey, nw_src), 4, Stage::L3),
        field(offset_of!(FlowKey, nw_dst), 4, Stage::L3),
        field(offset_of!(FlowKey, ipv6_src), 16, Stage::L3),
        field(offset_of!(FlowKey, ipv6_dst), 16, Stage::L3),
        field(offset_of!(FlowKey, tp_src), 2, Stage::L4),
        field(offset_of!(FlowKey, tp_dst), 2, Stage::L4),
    ];

    fn stage_mask(stage: Stage) -> Mask<Self> {
        let on = |s: Stage| if s == stage { u8::MAX } else { 0 };
        let (meta, l2, l3, l4) = (
            on(Stage::Metadata),
            on(Stage::L2),
            on(Stage::L3),
            on(Stage::L4),
        );
        Mask(FlowKey {
            in_port: word(meta),
            recirc_id: word(meta),
            present: Present(word(l2)),
            dl_type: U16::from_bytes([l2; 2]),
            nw_proto: l3,
            nw_tos: l3,
            dl_dst: [l2; 6],
            vlan0_tci: U16::from_bytes([l2; 2]),
            dl_src: [l2; 6],
            vlan1_tci: U16::from_bytes([l2; 2]),
            vlan0_tpid: U16::from_bytes([l2; 2]),
            vlan1_tpid: U16::from_bytes([l2; 2]),
            nw_ttl: l3,
            nw_frag: l3,
            tcp_flags: U16::from_bytes([l4; 2]),
            nw_src: [l3; 4],
            nw_dst: [l3; 4],
            tp_src: U16::from_bytes([l4; 2]),
            tp_dst: U16::from_bytes([l4; 2]),
            ipv6_label: U32::from_bytes([l3; 4]),
            ipv6_src: [l3; 16],
            ipv6_dst: [l3; 16],
            arp_sha: [l3; 6],
            ipv6_exthdr: U16::from_bytes([l3; 2]),
            arp_tha: [l3; 6],
            nd_options_type: l4,
            _zero0: l4,
            nd_target: [l4; 16],
            mpls_lse: [U32::from_bytes([l2; 4]); 3],
            pbb_isid: U32::from_bytes([l2; 4]),
            nd_reserved: U32::from_bytes([l4; 4]),
            pkt_mark: word(meta),
        })
    }
}

impl Layout for PipelineKey {
    /// `flow` is the key's first member, so that its offsets hold here too.
    const PREFIX_FIELDS: &'static [PrefixField] = {
        assert!(offset_of!(PipelineKey, flow) == 0);
        FlowKey::PREFIX_FIELDS
    };

    fn stage_mask(stage: Stage) -> Mask<Self> {
        let meta = if stage == Stage::Metadata { u8::MAX } else { 0 };
        Mask(PipelineKey {
            flow: FlowKey::stage_mask(stage).0,
            of_port: word(meta),
            conj_id: word(meta),
            metadata: U64::from_bytes([meta; 8]),
            regs: [U32::from_bytes([meta; 4]); 16],
            tun_id: U64::from_bytes([meta; 8]),
            actset_output: word(meta),
            packet_type: U32::from_bytes([meta; 4]),
        })
    }
}

const fn field(offset: usize, octets: usize, stage: Stage) -> PrefixField {
    PrefixField {
        offset,
        octets,
        stage,
    }
}

const fn word(octet: u8) -> u32 {
    u32::from_ne_bytes([octet; 4])
}

/// Which of two masks decides when rules of equal priority both match: the one with more bits, then the one whose
/// words compare greater. OpenFlow leaves it open; an order by content makes the answer independent of the order in
/// which rules came, so that a cached answer and a fresh one agree.
pub fn specificity<K: Key>(a: &Mask<K>, b: &Mask<K>) -> Ordering {
    let ones = |m: &Mask<K>| m.0.words().iter().map(|w| w.count_ones()).sum::<u32>();
    ones(a)
        .cmp(&ones(b))
        .then_with(|| a.0.words().cmp(b.0.words()))
}

impl PrefixField {
    /// The field of `key`, left-aligned.
    #[inline]
    pub(crate) fn read<K: Key>(&self, key: &K) -> u128 {
        let mut out = [0; 16];
        if let Some(octets) = key.as_bytes().get(self.offset..self.offset + self.octets) {
            out[..self.octets].copy_from_slice(octets);
        }
        u128::from_be_bytes(out)
    }

    /// Leading ones of the field in a mask: a rule with that mask matches only keys that share that many leading bits,
    /// whatever the rest of the mask looks like.
    pub(crate) fn prefix_len<K: Key>(&self, mask: &Mask<K>) -> u8 {
        self.read(&mask.0).leading_ones() as u8
    }

    /// Un-wildcards the first `bits` bits.
    pub(crate) fn pin<K: Key>(&self, wc: &mut Mask<K>, bits: u8) {
        debug_assert!(usize::from(bits) <= self.octets * 8);
        let prefix = (!u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0)).to_be_bytes();
        for (w, p) in
            wc.0.as_mut_bytes()
                .iter_mut()
                .skip(self.offset)
                .take(self.octets)
                .zip(prefix)
        {
            *w |= p;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages_partition<K: Layout>() {
        let mut all = Mask::<K>::none();
        for stage in Stage::ALL {
            let mask = K::stage_mask(stage);
            for (a, m) in all.0.words_mut().iter_mut().zip(mask.0.words()) {
                assert_eq!(*a & m, 0, "a bit is in two stages");
                *a |= m;
            }
        }
        assert!(all == Mask::exact());
        assert!(K::PREFIX_FIELDS.len() <= MAX_PREFIX_FIELDS);
        for f in K::PREFIX_FIELDS {
            let mut bits = Mask::<K>::none();
            f.pin(&mut bits, f.octets as u8 * 8);
            assert!(bits.is_subset_of(&K::stage_mask(f.stage)));
            assert_eq!(usize::from(f.prefix_len(&bits)), f.octets * 8);
            assert_eq!(f.prefix_len(&Mask::<K>::none()), 0);
        }
    }

    #[test]
    fn every_bit_is_in_one_stage() {
        stages_partition::<FlowKey>();
        stages_partition::<PipelineKey>();
    }

    #[test]
    fn prefixes_are_of_the_wire_order() {
        let mut m = Mask::<FlowKey>::none();
        FlowKey::PREFIX_FIELDS[1].pin(&mut m, 20);
        assert_eq!(m.0.nw_dst, [0xff, 0xff, 0xf0, 0]);
        assert_eq!(FlowKey::PREFIX_FIELDS[1].prefix_len(&m), 20);
        let key = FlowKey {
            tp_dst: U16::new(0x8001),
            ..Default::default()
        };
        assert_eq!(FlowKey::PREFIX_FIELDS[5].read(&key) >> 112, 0x8001);
    }
}
