//! The field registry: every OpenFlow and Nicira field that a [`PipelineKey`] holds, as data.
//!
//! What is written once here is what the codec, the text syntax, the classifier's un-wildcarding, `set_field`, `move`,
//! `learn` and the group hashes all need: where the field lies, how wide it is, what it is called and under which headers
//! it travels, what else must match for it to mean anything, and which layer must be there for it to have a value.
//!
//! Values are `u128`, right-aligned, as the payload of the field's OXM reads as a big-endian number. A handful of fields
//! are views of one place in the key (`in_port` and `in_port_oxm`, the five VLAN fields, `nw_tos` and `ip_dscp`,
//! `reg0`..`xxreg0`, `nw_src` and `arp_spa`); their differences are here and nowhere else.
//!
//! Invariants
//! - A field reads as 0 while its layer is absent, and [`Field::exists_in`] tells the two apart.
//! - Un-wildcarding a field also un-wildcards the presence bits of its layer.
//! - Writing a VLAN field keeps tag, Ethernet type of the tag and presence bit consistent.

mod prereq;
mod subfield;
mod table;
mod text;

use std::fmt;

use zerocopy::IntoBytes;

use crate::key::{Mask, PipelineKey, Present, TCI_PRESENT};
use crate::port::OfPort;

pub(crate) use prereq::{matched_eth_type, matched_proto};
pub use prereq::{Prereq, PrereqError};
pub use subfield::{BadSubField, SubField};
pub use table::{FieldId, FIELDS};
pub(crate) use text::{fmt_ipv6_addr, fmt_port, hex, parse_number};
pub use text::{BadValue, FieldValue, NoPortNames, PortNames};

/// OpenFlow wire versions, as [`OxmName::since`] counts them.
pub mod version {
    pub const OF10: u8 = 1;
    pub const OF12: u8 = 3;
    pub const OF13: u8 = 4;
    pub const OF14: u8 = 5;
    pub const OF15: u8 = 6;
}

/// A type of OXM or NXM TLV: class, field and, for class 0xffff, experimenter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OxmType {
    pub class: u16,
    /// 7 bits.
    pub field: u8,
    /// 0 unless the class is [`OxmType::EXPERIMENTER`].
    pub experimenter: u32,
}

impl OxmType {
    /// `NXM_OF_*`: the fields of OpenFlow 1.0 as Nicira extended matches.
    pub const NXM_OF: u16 = 0x0000;
    /// `NXM_NX_*`.
    pub const NXM_NX: u16 = 0x0001;
    /// `ERICOXM_OF_*`.
    pub const ERICSSON: u16 = 0x1000;
    /// `OFPXMC_OPENFLOW_BASIC`.
    pub const BASIC: u16 = 0x8000;
    /// `OFPXMC_PACKET_REGS`.
    pub const PACKET_REGS: u16 = 0x8001;
    /// `OFPXMC_EXPERIMENTER`.
    pub const EXPERIMENTER: u16 = 0xffff;
    /// Experimenter id of the Open Networking Foundation.
    pub const ONF: u32 = 0x4f4e_4600;

    /// The 32-bit header of a TLV of this type: `len` octets follow it. They include the 4 octets of the experimenter
    /// and, with `has_mask`, the mask.
    pub const fn header(self, has_mask: bool, len: u8) -> u32 {
        (self.class as u32) << 16 | (self.field as u32) << 9 | (has_mask as u32) << 8 | len as u32
    }
}

/// One name and number of a field on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OxmName {
    pub oxm: OxmType,
    pub name: &'static str,
    /// First OpenFlow wire version that knows it; [`version::OF10`] for the Nicira extended matches.
    pub since: u8,
}

/// Where a field lies in a [`PipelineKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Offset of the container in octets.
    pub(crate) byte: u16,
    /// Octets of the container: 1, 2, 4, 6, 8 or 16.
    pub(crate) len: u8,
    /// The field is `(container & mask) >> shift`.
    pub(crate) mask: u128,
    pub(crate) shift: u8,
    /// Container in the machine's byte order instead of the wire's.
    pub(crate) native: bool,
}

/// How a field is written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Decimal,
    Hexadecimal,
    Ethernet,
    Ipv4,
    Ipv6,
    /// `no`, `yes`, `first`, `later`, `not_later`.
    Frag,
    /// `syn|ack`, `+syn-ack`.
    TcpFlags,
    /// An OpenFlow port by number or name.
    Port,
    /// `(ns,type)`.
    PacketType,
}

/// Everything there is to know about one field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub id: FieldId,
    /// The name that Open vSwitch prints in actions.
    pub name: &'static str,
    /// Other names that the text syntax accepts.
    pub aliases: &'static [&'static str],
    pub layout: Layout,
    /// Width in bits as sub-fields and set-field see it.
    pub bits: u8,
    /// Octets of the value in a TLV.
    pub wire_len: u8,
    /// Bits that a match may name: `bits`, and for `vlan_vid` the presence bit above them; of `arp_op` the lower 8 alone,
    /// others are not kept.
    pub match_bits: u8,
    pub maskable: bool,
    pub writable: bool,
    pub prereq: Prereq,
    /// The layers that hold the field: any of them. [`Present::NONE`] when the field always has a value.
    pub present: Present,
    pub format: Format,
    /// Preferred first: newest OXM, then older ones, NXM last.
    pub oxms: &'static [OxmName],
}

impl Field {
    /// The row of `id`.
    #[inline]
    pub fn of(id: FieldId) -> &'static Self {
        &FIELDS[id as usize]
    }

    /// The field with this name: its own, an alias, or a name of its TLVs.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        FIELDS.iter().find(|f| {
            f.name == name || f.aliases.contains(&name) || f.oxms.iter().any(|o| o.name == name)
        })
    }

    /// As [`Field::by_name`] without the names of TLVs: what the match syntax accepts.
    pub fn by_keyword(name: &str) -> Option<&'static Self> {
        FIELDS
            .iter()
            .find(|f| f.name == name || f.aliases.contains(&name))
    }

    /// The field that a TLV of this type carries.
    pub fn by_oxm(oxm: OxmType) -> Option<&'static Self> {
        table::by_oxm(oxm).map(Self::of)
    }

    /// The header under which this field travels in OpenFlow of wire version `version`. Before 1.2 there are only Nicira
    /// extended matches; `None` if that version has no header for the field.
    pub fn oxm_for(&self, version: u8) -> Option<&'static OxmName> {
        self.oxms.iter().find(|o| o.since <= version)
    }

    /// All ones in the width that a match may name.
    #[inline]
    pub const fn match_mask(&self) -> u128 {
        ones(self.match_bits)
    }

    /// All ones in the field's width.
    #[inline]
    pub const fn max(&self) -> u128 {
        ones(self.bits)
    }

    /// True when `key` has the layer that holds this field. A field that does not exist matches nothing and cannot be
    /// written.
    #[inline]
    pub const fn exists_in(&self, key: &PipelineKey) -> bool {
        self.present.0 == 0 || key.flow.present.any(self.present)
    }

    /// The field's value; 0 if it does not exist.
    #[inline]
    pub fn get(&self, key: &PipelineKey) -> u128 {
        if !self.exists_in(key) {
            return 0;
        }
        let v = self.layout.read(key);
        match self.id {
            // The 16-bit numbering of OpenFlow 1.0 over the 32-bit port.
            FieldId::InPort => OfPort(v as u32).to_u16().map_or(0xffff, u128::from),
            _ => v,
        }
    }

    /// Writes `value`; bits beyond the field's width are dropped.
    ///
    /// Writes of VLAN fields follow Open vSwitch: a VID or priority written to an untagged frame makes the tag, a
    /// `vlan_tci` or `vlan_vid` without the presence bit removes it, `dl_vlan=0xffff` removes it.
    #[inline]
    pub fn set(&self, key: &mut PipelineKey, value: u128) {
        match self.id {
            FieldId::InPort => key.of_port = OfPort::from_u16(value as u16).0,
            FieldId::DlVlan if value == 0xffff => {
                key.flow.vlan0_tci = 0.into();
                fix_vlan(key);
            }
            FieldId::DlVlan | FieldId::DlVlanPcp | FieldId::VlanPcp => {
                self.layout.write(key, value);
                let tci = key.flow.vlan0_tci.get() | TCI_PRESENT;
                key.flow.vlan0_tci = tci.into();
                fix_vlan(key);
            }
            FieldId::VlanTci | FieldId::VlanVid => {
                self.layout.write(key, value);
                fix_vlan(key);
            }
            _ => self.layout.write(key, value),
        }
    }

    /// Writes the bits of `value` that `mask` names and leaves the others.
    #[inline]
    pub fn set_masked(&self, key: &mut PipelineKey, value: u128, mask: u128) {
        let old = self.get(key);
        self.set(key, (value & mask) | (old & !mask));
    }

    /// The field's bits in a mask; [`Field::match_mask`] when all of them count.
    #[inline]
    pub fn mask_of(&self, mask: &Mask<PipelineKey>) -> u128 {
        match self.layout.read(&mask.0) {
            // `nw_tos` keeps six of its eight bits, `in_port` lies in 32.
            m if m == self.layout.mask >> self.layout.shift => self.match_mask(),
            m => m & self.match_mask(),
        }
    }

    /// Makes `bits` of the field count in `mask`, with the presence bits of its layer (and of the VLAN tag).
    #[inline]
    pub fn unwildcard_bits(&self, mask: &mut Mask<PipelineKey>, bits: u128) {
        let m = if self.id == FieldId::InPort {
            u128::MAX
        } else {
            bits | self.layout.read(&mask.0)
        };
        self.layout.write(&mut mask.0, m);
        self.unwildcard_presence(mask);
    }

    /// Makes the whole field count in `mask`, with the presence bits of its layer.
    #[inline]
    pub fn unwildcard(&self, mask: &mut Mask<PipelineKey>) {
        self.unwildcard_bits(mask, u128::MAX);
    }

    /// Makes the presence of the field count in `mask`.
    #[inline]
    pub fn unwildcard_presence(&self, mask: &mut Mask<PipelineKey>) {
        mask.0.flow.present |= self.present;
        if self.is_vlan() {
            mask.0.flow.present |= Present::VLAN0;
            let tci = mask.0.flow.vlan0_tci.get() | TCI_PRESENT;
            mask.0.flow.vlan0_tci = tci.into();
        }
    }

    /// True for fields that say how the rest of the frame is read: a constant may be put there whole, and nothing is moved there.
    pub const fn announces(&self) -> bool {
        matches!(
            self.id,
            FieldId::EthType | FieldId::IpProto | FieldId::MplsBos
        )
    }

    /// One of the five views of the outer tag.
    pub const fn is_vlan(&self) -> bool {
        matches!(
            self.id,
            FieldId::DlVlan
                | FieldId::DlVlanPcp
                | FieldId::VlanTci
                | FieldId::VlanVid
                | FieldId::VlanPcp
        )
    }

    /// A register of any width.
    pub const fn is_register(&self) -> bool {
        self.id as u8 >= FieldId::Reg0 as u8 && self.id as u8 <= FieldId::Xxreg3 as u8
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for FieldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Field::of(*self).name)
    }
}

impl Layout {
    /// The container as a number.
    #[inline]
    fn container(&self, key: &PipelineKey) -> u128 {
        let bytes = &key.as_bytes()[usize::from(self.byte)..][..usize::from(self.len)];
        let mut wide = [0u8; 16];
        if self.native {
            let mut word = [0u8; 4];
            word.copy_from_slice(&bytes[..4]);
            return u128::from(u32::from_ne_bytes(word));
        }
        wide[16 - bytes.len()..].copy_from_slice(bytes);
        u128::from_be_bytes(wide)
    }

    #[inline]
    pub(crate) fn read(&self, key: &PipelineKey) -> u128 {
        (self.container(key) & self.mask) >> self.shift
    }

    #[inline]
    pub(crate) fn write(&self, key: &mut PipelineKey, value: u128) {
        let bits = self.container(key) & !self.mask | (value << self.shift) & self.mask;
        let len = usize::from(self.len);
        let bytes = &mut key.as_mut_bytes()[usize::from(self.byte)..][..len];
        if self.native {
            bytes.copy_from_slice(&(bits as u32).to_ne_bytes());
        } else {
            bytes.copy_from_slice(&bits.to_be_bytes()[16 - len..]);
        }
    }
}

/// Brings the tag's type and presence in line with its TCI. A tag that is gone uncovers the inner one.
fn fix_vlan(key: &mut PipelineKey) {
    let flow = &mut key.flow;
    if flow.vlan0_tci.get() & TCI_PRESENT != 0 {
        flow.present |= Present::VLAN0;
        if flow.vlan0_tpid.get() == 0 {
            flow.vlan0_tpid = rvs_packet::EtherType::VLAN.0.into();
        }
    } else if flow.present.has(Present::VLAN1) {
        flow.vlan0_tci = std::mem::take(&mut flow.vlan1_tci);
        flow.vlan0_tpid = std::mem::take(&mut flow.vlan1_tpid);
        flow.present = flow.present.without(Present::VLAN1);
    } else {
        flow.vlan0_tci = 0.into();
        flow.vlan0_tpid = 0.into();
        flow.present = flow.present.without(Present::VLAN0);
    }
}

/// `n` ones, 0 to 128.
pub(crate) const fn ones(n: u8) -> u128 {
    if n >= 128 {
        u128::MAX
    } else {
        (1 << n) - 1
    }
}

#[cfg(test)]
mod tests;
