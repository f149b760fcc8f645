//! [`Match`]: which keys a rule or a megaflow applies to.
//!
//! A match is a value under a mask, always canonical (no bit of the value outside the mask), so that equality of matches
//! is equality of bytes. [`Match::set`] is the only way to build one field by field, and it hides what the fields' wire
//! forms disagree on: `dl_vlan=5` also matches the tag's presence, `dl_vlan=0xffff` its absence, `packet_type=(0,0)`
//! nothing at all.
//!
//! *Presence.* A match on a field of a layer also matches the layer's presence bit, kept up to date by `set`. So a rule
//! for `tp_dst=0` or `nw_src=0.0.0.0/8` does not apply to a frame whose header is broken: a field that is not there
//! matches nothing. `eth_type` and `ip` alone match the announcement, whatever follows it.

mod format;
#[cfg(test)]
mod oracle;
mod parse;
#[cfg(test)]
mod tests;
mod whole;

use rvs_packet::{EtherType, IpProto};

use crate::field::{matched_eth_type, matched_proto, Field, FieldId, PrereqError, FIELDS};
use crate::key::{Key, Mask, PipelineKey, Present, FRAG_ANY, FRAG_LATER, TCI_PRESENT};
use crate::port::OfPort;

pub use format::MatchDisplay;
pub use parse::{terms, MatchParser, ParseMatchError};

/// A canonical value and mask: the keys that agree with `value` in every bit of `mask`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Match<K> {
    value: K,
    mask: Mask<K>,
}

/// A field cannot be matched like that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatchError {
    #[error("{value:#x} is no value of {field}")]
    Value { field: FieldId, value: u128 },
    #[error("{field} cannot be matched in part (mask {mask:#x})")]
    Mask { field: FieldId, mask: u128 },
}

impl<K: Key> Match<K> {
    /// Matches every key.
    pub fn any() -> Self {
        Self {
            value: K::default(),
            mask: Mask::none(),
        }
    }

    /// Bits of `value` that `mask` does not name are dropped.
    pub fn new(value: &K, mask: Mask<K>) -> Self {
        Self {
            value: mask.apply(value),
            mask,
        }
    }

    /// Matches `key` alone.
    pub fn exact(key: &K) -> Self {
        Self {
            value: *key,
            mask: Mask::exact(),
        }
    }

    #[inline]
    pub const fn value(&self) -> &K {
        &self.value
    }

    #[inline]
    pub const fn mask(&self) -> &Mask<K> {
        &self.mask
    }

    /// True when every key matches.
    pub fn is_any(&self) -> bool {
        self.mask.is_none()
    }

    #[inline]
    pub fn matches(&self, key: &K) -> bool {
        self.mask.same(&self.value, key)
    }

    /// True when some key matches both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let words = self.value.words().iter().zip(other.value.words());
        let masks = self.mask.0.words().iter().zip(other.mask.0.words());
        words
            .zip(masks)
            .all(|((a, b), (m, n))| (a ^ b) & m & n == 0)
    }

    /// True when every key that matches this matches `than` too; equal matches included. What a loose flow deletion
    /// with `than` deletes.
    pub fn is_more_specific(&self, than: &Self) -> bool {
        than.mask.is_subset_of(&self.mask) && than.matches(&self.value)
    }

    /// Restricts this match by `other`; false, and unchanged, when no key can match both.
    pub fn intersect(&mut self, other: &Self) -> bool {
        if !self.overlaps(other) {
            return false;
        }
        for (a, b) in self.value.words_mut().iter_mut().zip(other.value.words()) {
            *a |= b;
        }
        self.mask.or(&other.mask);
        true
    }
}

impl Match<PipelineKey> {
    /// Matches the bits of `field` that `mask` names against `value`, replacing what the match said of them.
    ///
    /// Value and mask are the payload of the field's OXM as numbers; a mask of 0 matches anything. Bits of the mask
    /// beyond the field are ignored. Prerequisites are not checked: see [`Field::check_prereq`].
    ///
    /// # Errors
    /// The value is wider than the field or no value of it (a DSCP with ECN bits, a port number that neither OpenFlow 1.0
    /// nor the reserved ports have), or the mask is partial and the field does not take one.
    pub fn set(&mut self, field: FieldId, value: u128, mask: u128) -> Result<(), MatchError> {
        let f = Field::of(field);
        if field == FieldId::DlVlan && value == 0xffff {
            self.set_tci(0, u16::MAX);
            return Ok(());
        }
        let fits = value & !f.match_mask() == 0;
        let legal = match f.id {
            FieldId::NwTos => value & 3 == 0,
            FieldId::InPortOxm | FieldId::InPhyPort | FieldId::ActsetOutput => {
                OfPort(value as u32).to_u16().is_some()
            }
            _ => true,
        };
        if !fits || !legal {
            return Err(MatchError::Value { field, value });
        }
        let mask = mask & f.match_mask();
        if !f.maskable && mask != f.match_mask() && mask != 0 {
            return Err(MatchError::Mask { field, mask });
        }
        self.write(f, value & mask, mask);
        self.derive_presence();
        Ok(())
    }

    /// Matches all of `field` against `value`.
    ///
    /// # Errors
    /// As [`Match::set`].
    pub fn set_exact(&mut self, field: FieldId, value: u128) -> Result<(), MatchError> {
        self.set(field, value, u128::MAX)
    }

    pub fn set_in_port(&mut self, port: OfPort) {
        self.value.of_port = port.0;
        self.mask.0.of_port = u32::MAX;
    }

    /// What this match says of `field`: value and mask, as [`Match::set`] takes them.
    pub fn field(&self, field: FieldId) -> (u128, u128) {
        let f = Field::of(field);
        let value = f.layout.read(&self.value);
        let mask = f.mask_of(&self.mask);
        match field {
            FieldId::InPort => {
                let port = OfPort(value as u32).to_u16().map_or(0xffff, u128::from);
                (port & mask, mask)
            }
            _ => (value, mask),
        }
    }

    fn write(&mut self, f: &Field, mut value: u128, mut mask: u128) {
        match f.id {
            FieldId::InPort if mask != 0 => {
                return self.set_in_port(OfPort::from_u16(value as u16));
            }
            // All our packets are Ethernet.
            FieldId::PacketType if value == 0 => mask = 0,
            // "No fragment" and "later fragment" say the same in one bit as in two.
            FieldId::IpFrag => match (value as u8, mask as u8) {
                (0, FRAG_ANY) => mask = FRAG_BITS,
                (FRAG_LATER, FRAG_LATER) => (value, mask) = (FRAG_BITS, FRAG_BITS),
                _ => {}
            },
            _ => {}
        }
        f.layout.write(&mut self.value, value);
        f.layout.write(&mut self.mask.0, mask);
        if f.is_vlan() && f.id != FieldId::VlanTci {
            let tag = TCI_PRESENT | VID_MASK | PCP_MASK;
            let (tci, tci_mask) = (
                self.value.flow.vlan0_tci.get(),
                self.mask.0.flow.vlan0_tci.get(),
            );
            let names_tag = mask != 0 && f.id != FieldId::VlanVid || tci_mask & PCP_MASK != 0;
            if names_tag {
                self.set_tci(tci | TCI_PRESENT, tci_mask | TCI_PRESENT);
            } else if mask == 0 && tci_mask & tag & !TCI_PRESENT == 0 {
                self.set_tci(0, 0);
            }
        }
    }

    fn set_tci(&mut self, tci: u16, mask: u16) {
        self.value.flow.vlan0_tci = tci.into();
        self.mask.0.flow.vlan0_tci = mask.into();
    }

    /// Checks the prerequisites of every bit that is matched.
    ///
    /// # Errors
    /// Names a field that is matched without what it needs.
    pub fn check_prerequisites(&self) -> Result<(), PrereqError> {
        let allowed = self.allowed_bits();
        for f in matchable() {
            let bits = f.layout.read(&self.mask.0);
            if bits & !f.layout.read(&allowed.0) != 0 {
                f.check_prereq(&self.value, &self.mask)?;
            }
        }
        Ok(())
    }

    /// Drops what is matched without its prerequisites, as OpenFlow 1.0 wants it ignored. True if anything was.
    pub fn normalize(&mut self) -> bool {
        let before = self.mask;
        loop {
            let allowed = self.allowed_bits();
            if self.mask.is_subset_of(&allowed) {
                break;
            }
            self.mask = Mask(allowed.apply(&self.mask.0));
            self.value = self.mask.apply(&self.value);
        }
        self.derive_presence();
        self.mask != before
    }

    /// The bits whose prerequisites the match fulfils, and those that belong to no field.
    fn allowed_bits(&self) -> Mask<PipelineKey> {
        let mut allowed = Mask::exact();
        for f in matchable() {
            f.layout.write(&mut allowed.0, 0);
        }
        for f in matchable() {
            if f.prereq.missing(&self.value, &self.mask).is_none() {
                f.layout.write(&mut allowed.0, u128::MAX);
            }
        }
        allowed
    }

    /// Matches the presence bits of the layers whose fields are matched, and no others.
    fn derive_presence(&mut self) {
        let p = self.implied_presence();
        self.value.flow.present = p;
        self.mask.0.flow.present = p;
    }

    fn implied_presence(&self) -> Present {
        let m = &self.mask.0.flow;
        let when = |matched: bool, p: Present| if matched { p } else { Present::NONE };
        let ip = m.nw_proto != 0 || m.nw_tos != 0 || m.nw_ttl != 0 || m.nw_frag != 0;
        let v4 = m.nw_src != [0; 4] || m.nw_dst != [0; 4];
        let v6 = m.ipv6_src != [0; 16] || m.ipv6_dst != [0; 16] || m.ipv6_label.get() != 0;
        let macs = m.arp_sha != [0; 6] || m.arp_tha != [0; 6];
        match matched_eth_type(&self.value, &self.mask) {
            Some(EtherType::IPV4) => when(ip || v4, Present::IPV4) | self.implied_l4(),
            Some(EtherType::IPV6) => {
                when(ip || v6 || m.ipv6_exthdr.get() != 0, Present::IPV6) | self.implied_l4()
            }
            Some(EtherType::ARP | EtherType::RARP) => {
                when(v4 || macs || m.nw_proto != 0, Present::ARP)
            }
            Some(EtherType::MPLS | EtherType::MPLS_MC) => {
                when(m.mpls_lse[0].get() != 0, Present::MPLS0)
            }
            Some(EtherType::PBB) => when(m.pbb_isid.get() != 0, Present::PBB),
            _ => Present::NONE,
        }
    }

    fn implied_l4(&self) -> Present {
        let m = &self.mask.0.flow;
        let ports = m.tp_src.get() != 0 || m.tp_dst.get() != 0;
        let nd = m.nd_target != [0; 16] || m.nd_reserved.get() != 0 || m.nd_options_type != 0;
        let when = |matched: bool, p: Present| if matched { p } else { Present::NONE };
        match matched_proto(&self.value, &self.mask) {
            Some(IpProto::TCP) => when(ports || m.tcp_flags.get() != 0, Present::TCP),
            Some(IpProto::UDP) => when(ports, Present::UDP),
            Some(IpProto::SCTP) => when(ports, Present::SCTP),
            Some(IpProto::ICMP) => when(ports, Present::ICMP),
            Some(IpProto::ICMPV6) => {
                when(ports, Present::ICMP)
                    | when(nd, Present::ND)
                    | when(m.arp_sha != [0; 6], Present::ND_SLL)
                    | when(m.arp_tha != [0; 6], Present::ND_TLL)
            }
            _ => Present::NONE,
        }
    }

    /// The match as fields, each bit in one of them, in an order in which prerequisites come first.
    ///
    /// `form` chooses between the views of VLAN tag, DSCP and input port. A prerequisite that is missing leaves the bits
    /// that lack it out.
    pub fn fields(
        &self,
        form: FieldForm,
    ) -> impl Iterator<Item = (&'static Field, u128, u128)> + '_ {
        matchable()
            .filter(move |f| form.shows(f.id))
            // Few fields are matched: ask for the prerequisites of those alone.
            .filter(|f| f.layout.read(&self.mask.0) != 0)
            .filter(|f| f.prereq.missing(&self.value, &self.mask).is_none())
            .filter_map(move |f| {
                let (value, mask) = self.field(f.id);
                let whole = f.maskable || mask == f.match_mask();
                (mask != 0 && whole).then_some((f, value, mask))
            })
    }
}

/// Which of several views of the same bits [`Match::fields`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldForm {
    /// `NXM_OF_IN_PORT`, `NXM_OF_VLAN_TCI`, `NXM_OF_IP_TOS`.
    Nxm,
    /// `OXM_OF_IN_PORT`, `OXM_OF_VLAN_VID` and `OXM_OF_VLAN_PCP`, `OXM_OF_IP_DSCP`. A mask that takes a part of the
    /// priority cannot be said so; it is left out.
    Oxm,
}

impl FieldForm {
    const fn shows(self, id: FieldId) -> bool {
        use FieldId as F;
        match id {
            F::InPort | F::VlanTci | F::NwTos => matches!(self, Self::Nxm),
            F::InPortOxm | F::VlanVid | F::VlanPcp | F::IpDscp => matches!(self, Self::Oxm),
            F::DlVlan | F::DlVlanPcp | F::InPhyPort => false,
            _ => true,
        }
    }
}

const FRAG_BITS: u128 = (FRAG_ANY | FRAG_LATER) as u128;
const VID_MASK: u16 = 0x0fff;
const PCP_MASK: u16 = 0xe000;

/// The fields that make a match; the wide registers are views of the narrow ones.
fn matchable() -> impl Iterator<Item = &'static Field> {
    FIELDS
        .iter()
        .filter(|f| !(FieldId::Xreg0..=FieldId::Xxreg3).contains(&f.id))
}
