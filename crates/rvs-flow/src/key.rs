//! The two keys: [`FlowKey`] for the caches, [`PipelineKey`] for the OpenFlow tables.
//!
//! Both are plain words (`repr(C)`, whole `u64`s, no padding: zerocopy proves it at compile time), so that hashing,
//! masking and comparing are loops over words, one classifier serves both, and the kernel's cache reads the same layout.
//!
//! Invariants
//! - Header fields are in wire order (big endian), so that a prefix of a field is a prefix of its bytes.
//! - A field of a layer that [`Present`] does not name is zero. Whoever consults a field consults the layer's presence bit
//!   with it: a field of an absent layer matches nothing, not zero.
//! - Words are ordered by how often they are used. [`FlowKey::width`] says how many leading words can be non-zero; the
//!   caches hash and compare only those.

use std::ops::{BitOr, BitOrAssign};

use rvs_packet::MacAddr;
use zerocopy::byteorder::network_endian::{U16, U32, U64};
use zerocopy::{ByteHash, FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Which layers of a frame parsed whole. `Malformed*` bits say that a layer was announced and is contradictory.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Present(pub u32);

impl Present {
    pub const NONE: Self = Self(0);
    pub const VLAN0: Self = Self(1 << 0);
    pub const VLAN1: Self = Self(1 << 1);
    pub const MPLS0: Self = Self(1 << 2);
    pub const MPLS1: Self = Self(1 << 3);
    pub const MPLS2: Self = Self(1 << 4);
    pub const IPV4: Self = Self(1 << 5);
    pub const IPV6: Self = Self(1 << 6);
    /// ARP or RARP over Ethernet and IPv4.
    pub const ARP: Self = Self(1 << 7);
    pub const TCP: Self = Self(1 << 8);
    pub const UDP: Self = Self(1 << 9);
    pub const SCTP: Self = Self(1 << 10);
    /// ICMP or ICMPv6 type and code.
    pub const ICMP: Self = Self(1 << 11);
    /// Neighbour solicitation or advertisement with its target.
    pub const ND: Self = Self(1 << 12);
    /// ND source link-layer address option.
    pub const ND_SLL: Self = Self(1 << 13);
    /// ND target link-layer address option.
    pub const ND_TLL: Self = Self(1 << 14);
    /// At least one IPv6 extension header.
    pub const EXTHDR: Self = Self(1 << 15);
    pub const PBB: Self = Self(1 << 16);
    /// A fragment that is not the first: it has no layer 4.
    pub const LATER_FRAG: Self = Self(1 << 17);
    /// A tag was announced by its Ethernet type, but the frame ends inside it.
    pub const BAD_VLAN: Self = Self(1 << 18);
    /// The network header is truncated or contradicts the frame.
    pub const BAD_L3: Self = Self(1 << 19);
    /// The transport header is truncated or contradicts the network header.
    pub const BAD_L4: Self = Self(1 << 20);
    /// The frame is shorter than an Ethernet header.
    pub const BAD_L2: Self = Self(1 << 21);

    pub const L3: Self = Self(Self::IPV4.0 | Self::IPV6.0 | Self::ARP.0);
    pub const IP: Self = Self(Self::IPV4.0 | Self::IPV6.0);
    pub const L4: Self = Self(Self::TCP.0 | Self::UDP.0 | Self::SCTP.0 | Self::ICMP.0);
    pub const MALFORMED: Self =
        Self(Self::BAD_VLAN.0 | Self::BAD_L3.0 | Self::BAD_L4.0 | Self::BAD_L2.0);

    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    pub const fn any(self, bits: Self) -> bool {
        self.0 & bits.0 != 0
    }

    pub const fn with(self, bits: Self) -> Self {
        Self(self.0 | bits.0)
    }

    pub const fn without(self, bits: Self) -> Self {
        Self(self.0 & !bits.0)
    }
}

impl BitOr for Present {
    type Output = Self;
    fn bitor(self, o: Self) -> Self {
        self.with(o)
    }
}

impl BitOrAssign for Present {
    fn bitor_assign(&mut self, o: Self) {
        *self = self.with(o);
    }
}

/// Any fragment (`nw_frag` bit of Open vSwitch: `ip_frag` values of `nicira-ext.h`).
pub const FRAG_ANY: u8 = 1;
/// A fragment that is not the first.
pub const FRAG_LATER: u8 = 2;
/// Set in `vlan*_tci` of a key when the tag is there: it lies where the wire has DEI, and is OpenFlow's
/// `OFPVID_PRESENT`. The wire's DEI is not part of the key.
pub const TCI_PRESENT: u16 = 0x1000;

/// Everything of a frame that forwarding can depend on, as it arrived.
///
/// `in_port` is a datapath port, `recirc_id` 0 for a frame from the wire.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, ByteHash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct FlowKey {
    // word 0
    pub in_port: u32,
    pub recirc_id: u32,
    // word 1
    pub present: Present,
    /// Innermost Ethernet type reached through tags; `0x05ff` for 802.3 without SNAP; the MPLS or PBB type as it stands.
    pub dl_type: U16,
    /// IP protocol (after IPv6 extension headers), or the low 8 bits of the ARP operation.
    pub nw_proto: u8,
    /// DSCP and ECN.
    pub nw_tos: u8,
    // word 2
    pub dl_dst: [u8; 6],
    /// Outer tag with [`TCI_PRESENT`]; 0 without a tag.
    pub vlan0_tci: U16,
    // word 3
    pub dl_src: [u8; 6],
    pub vlan1_tci: U16,
    // word 4
    pub vlan0_tpid: U16,
    pub vlan1_tpid: U16,
    pub nw_ttl: u8,
    /// [`FRAG_ANY`], [`FRAG_LATER`].
    pub nw_frag: u8,
    /// 12 bits: NS to FIN.
    pub tcp_flags: U16,
    // word 5
    /// IPv4 source, or ARP sender protocol address.
    pub nw_src: [u8; 4],
    pub nw_dst: [u8; 4],
    // word 6
    /// TCP, UDP, SCTP source port, or ICMP type.
    pub tp_src: U16,
    /// Destination port, or ICMP code.
    pub tp_dst: U16,
    /// 20 bits.
    pub ipv6_label: U32,
    // words 7..=10
    pub ipv6_src: [u8; 16],
    pub ipv6_dst: [u8; 16],
    // words 11, 12
    /// ARP sender hardware address, or ND source link-layer address.
    pub arp_sha: [u8; 6],
    /// OpenFlow 1.3 `OFPIEH_*` bits.
    pub ipv6_exthdr: U16,
    /// ARP target hardware address, or ND target link-layer address.
    pub arp_tha: [u8; 6],
    /// Type of the first ND option.
    pub nd_options_type: u8,
    pub _zero0: u8,
    // words 13, 14
    pub nd_target: [u8; 16],
    // words 15, 16
    /// Outermost label stack entry first.
    pub mpls_lse: [U32; 3],
    /// 802.1ah I-TAG: [`FlowKey::PBB_ISID`] and [`FlowKey::PBB_UCA`], where they stand in its TCI.
    pub pbb_isid: U32,
    // word 17
    pub nd_reserved: U32,
    pub pkt_mark: u32,
}

impl FlowKey {
    /// Service instance of an I-TAG.
    pub const PBB_ISID: u32 = 0x00ff_ffff;
    /// An I-TAG's "use customer addresses".
    pub const PBB_UCA: u32 = 0x0800_0000;
    pub const WORDS: usize = 18;
    /// Words of an untagged or tagged frame up to IPv4 and its ports.
    pub const WIDTH_V4: usize = 7;
    pub const WIDTH_V6: usize = 11;
    pub const WIDTH_ND: usize = 15;
    pub const WIDTH_ALL: usize = 18;

    /// How many leading words can be non-zero, from `present` alone.
    #[inline]
    pub fn width(&self) -> usize {
        let p = self.present;
        if p.0 & (Present::MPLS0.0 | Present::PBB.0 | Present::ND.0) != 0 || self.pkt_mark != 0 {
            Self::WIDTH_ALL
        } else if p.0 & (Present::ARP.0 | Present::EXTHDR.0) != 0 {
            Self::WIDTH_ND
        } else if p.0 & Present::IPV6.0 != 0 {
            Self::WIDTH_V6
        } else {
            Self::WIDTH_V4
        }
    }

    pub fn src(&self) -> MacAddr {
        MacAddr(self.dl_src)
    }

    pub fn dst(&self) -> MacAddr {
        MacAddr(self.dl_dst)
    }
}

impl Default for FlowKey {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

/// What the OpenFlow tables see: the frame's key and the pipeline's own state.
///
/// While it runs, `flow` is the frame as rewritten so far and `of_port` the OpenFlow input port (`resubmit` may change it);
/// `flow.in_port` stays the datapath port.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, ByteHash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct PipelineKey {
    pub flow: FlowKey,
    /// Always native order; compared whole.
    pub of_port: u32,
    pub conj_id: u32,
    pub metadata: U64,
    /// `xreg0` is `reg0:reg1`, `xxreg0` is `reg0:reg1:reg2:reg3`.
    pub regs: [U32; 16],
    pub tun_id: U64,
    /// Output port of the action set (OpenFlow 1.5), `OFPP_UNSET` at first.
    pub actset_output: u32,
    /// Octets of Ethernet payload type in front: OpenFlow 1.5 `packet_type`; 0 = Ethernet.
    pub packet_type: U32,
}

impl PipelineKey {
    pub const WORDS: usize = FlowKey::WORDS + 12;
}

impl Default for PipelineKey {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

/// A key as a row of words.
pub trait Key:
    Copy + Eq + Default + FromBytes + IntoBytes + Immutable + KnownLayout + 'static
{
    const WORDS: usize;

    fn words(&self) -> &[u64];
    fn words_mut(&mut self) -> &mut [u64];
}

macro_rules! impl_key {
    ($t:ty) => {
        impl Key for $t {
            const WORDS: usize = <$t>::WORDS;

            #[inline]
            fn words(&self) -> &[u64] {
                let w: &[u64; <$t>::WORDS] = zerocopy::transmute_ref!(self);
                w
            }

            #[inline]
            fn words_mut(&mut self) -> &mut [u64] {
                let w: &mut [u64; <$t>::WORDS] = zerocopy::transmute_mut!(self);
                w
            }
        }
    };
}

impl_key!(FlowKey);
impl_key!(PipelineKey);

/// Which bits of a key count: 1 = consulted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mask<K>(pub K);

impl<K: Key> Mask<K> {
    /// No bit counts.
    pub fn none() -> Self {
        Self(K::default())
    }

    /// Every bit counts.
    pub fn exact() -> Self {
        let mut k = K::default();
        k.words_mut().fill(u64::MAX);
        Self(k)
    }

    pub fn or(&mut self, other: &Self) {
        for (a, b) in self.0.words_mut().iter_mut().zip(other.0.words()) {
            *a |= b;
        }
    }

    /// `key` with every bit that does not count set to 0.
    pub fn apply(&self, key: &K) -> K {
        let mut out = *key;
        for (k, m) in out.words_mut().iter_mut().zip(self.0.words()) {
            *k &= m;
        }
        out
    }

    /// True when both keys agree in every bit that counts.
    pub fn same(&self, a: &K, b: &K) -> bool {
        self.0
            .words()
            .iter()
            .zip(a.words())
            .zip(b.words())
            .all(|((m, a), b)| (a ^ b) & m == 0)
    }

    /// True when every bit that counts here counts in `other` too.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0
            .words()
            .iter()
            .zip(other.0.words())
            .all(|(a, b)| a & !b == 0)
    }

    pub fn is_none(&self) -> bool {
        self.0.words().iter().all(|w| *w == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_whole_words() {
        assert_eq!(size_of::<FlowKey>(), FlowKey::WORDS * 8);
        assert_eq!(size_of::<PipelineKey>(), PipelineKey::WORDS * 8);
        assert_eq!(
            std::mem::offset_of!(FlowKey, ipv6_src),
            FlowKey::WIDTH_V4 * 8
        );
        assert_eq!(
            std::mem::offset_of!(FlowKey, arp_sha),
            FlowKey::WIDTH_V6 * 8
        );
        assert_eq!(
            std::mem::offset_of!(FlowKey, mpls_lse),
            FlowKey::WIDTH_ND * 8
        );
    }

    #[test]
    fn masks_apply_word_by_word() {
        let key = FlowKey {
            dl_dst: [1, 2, 3, 4, 5, 6],
            in_port: 9,
            ..Default::default()
        };
        let mask = Mask(FlowKey {
            dl_dst: [0xff, 0, 0, 0, 0, 0],
            ..Default::default()
        });
        let m = mask.apply(&key);
        assert_eq!(m.dl_dst, [1, 0, 0, 0, 0, 0]);
        assert_eq!(m.in_port, 0);
        assert!(mask.same(&key, &m));
        assert!(mask.is_subset_of(&Mask::exact()));
        assert!(!Mask::<FlowKey>::exact().is_subset_of(&mask));
    }
}
