//! Writing fields: the key and the frame together.

use rvs_dpif::{Announce, DpAction, Masked, SetField};
use rvs_flow::field::{Field, FieldId, Prereq, SubField};
use rvs_flow::key::TCI_PRESENT;
use rvs_flow::{FlowKey, Mask, PipelineKey, Present};
use rvs_packet::view::Lse;
use rvs_packet::{EtherType, IpProto, MacAddr, VlanTci};

use super::ctx::{Ctx, Unparsed};
use super::tags::{link_fields, link_layer};
use crate::trace::Trace;

impl<T: Trace> Ctx<'_, '_, T> {
    /// The bits of a sub-field, which count as looked at. `None` when the packet has no such field.
    pub(super) fn read(&mut self, sub: SubField) -> Option<u128> {
        let mut m = Mask::none();
        sub.unwildcard(&mut m);
        self.see_mask(&m);
        sub.field().exists_in(&self.key).then(|| sub.get(&self.key))
    }

    /// Writes a sub-field.
    pub(super) fn write(&mut self, dst: SubField, value: u128) {
        self.write_field(dst.id(), (value << dst.ofs()) & dst.mask(), dst.mask());
    }

    /// Writes a sub-field for a move, which does not fix the protocol in cached flows of dummies.
    pub(super) fn write_moved(&mut self, dst: SubField, value: u128) {
        let value = (value << dst.ofs()) & dst.mask();
        self.write_bits(dst.id(), value, dst.mask(), false);
    }

    /// Writes the bits of `value` that `mask` names. A field that the packet does not have stays absent.
    pub(super) fn write_field(&mut self, id: FieldId, value: u128, mask: u128) {
        self.write_bits(id, value, mask, true);
    }

    /// As [`Self::write_field`]; `proto`: the protocol counts as looked at where what is written does. A field that the packet does not have stays absent.
    fn write_bits(&mut self, id: FieldId, value: u128, mask: u128, proto: bool) {
        let field = Field::of(id);
        match id {
            FieldId::VlanTci => return self.write_tci(value as u16, mask as u16),
            FieldId::VlanVid => {
                // A match may leave the presence bit out; a write of a VID means a tag.
                let vid = VlanTci::VID_MASK;
                let (value, mask) = (value as u16, mask as u16);
                let present = if mask & TCI_PRESENT == 0 {
                    TCI_PRESENT
                } else {
                    value & TCI_PRESENT
                };
                return self.write_tci(value & vid | present, mask & vid | TCI_PRESENT);
            }
            FieldId::DlVlan if value == 0xffff => return self.write_tci(0, u16::MAX),
            FieldId::DlVlan => {
                let mask = mask as u16 & VlanTci::VID_MASK;
                return self.write_tci(value as u16 & mask | TCI_PRESENT, mask | TCI_PRESENT);
            }
            FieldId::VlanPcp | FieldId::DlVlanPcp => {
                let shift = VlanTci::PCP_SHIFT;
                let mask = (mask as u16) << shift;
                return self.write_tci(
                    (value as u16) << shift & mask | TCI_PRESENT,
                    mask | TCI_PRESENT,
                );
            }
            FieldId::EthType => return self.write_eth_type(EtherType(value as u16)),
            FieldId::IpProto | FieldId::MplsBos if self.lacks(field) => return,
            FieldId::IpProto => return self.announce(Announce::IpProto(IpProto(value as u8))),
            FieldId::MplsBos => return self.write_mpls_bos(value != 0),
            // No datapath action writes these.
            FieldId::NdReserved | FieldId::NdOptionsType => return,
            _ => {}
        }
        if self.lacks(field) {
            return;
        }
        if let Some(whole) = whole_only(id) {
            // The datapath writes these whole: what stays has to be known.
            if mask & whole != whole {
                let mut rest = Mask::none();
                field.unwildcard_bits(&mut rest, !mask);
                self.see_mask(&rest);
            }
        }
        if self.sees_writes() {
            let mut seen = Mask::none();
            field.unwildcard_bits(&mut seen, mask & field.max());
            // An edit of a network or transport header is for frames of one protocol.
            if proto && self.key.flow.present.any(Present::IP) && needs_ip(field.prereq) {
                seen.0.flow.nw_proto = u8::MAX;
            }
            self.see_mask(&seen);
        }
        field.set_masked(&mut self.key, value, mask);
        let mut written = Mask::none();
        field.unwildcard_bits(&mut written, mask & field.max());
        written.0.flow.present = Present::NONE;
        self.forget(&written);
        if let Some(set) = self.dp_field(id, value & mask, mask) {
            self.out.edit(DpAction::Set(set));
        }
    }

    /// The packet has no such field, which was looked at.
    fn lacks(&mut self, field: &Field) -> bool {
        let mut presence = Mask::none();
        field.unwildcard_presence(&mut presence);
        self.see_mask(&presence);
        !field.exists_in(&self.key)
    }

    /// The type behind the tags that the tables see: a hidden one becomes payload.
    fn write_eth_type(&mut self, value: EtherType) {
        self.see(|m| {
            m.present |= Present::VLAN0 | Present::VLAN1;
            m.dl_type = u16::MAX.into();
        });
        let flow = self.key.flow;
        if flow.dl_type.get() < EtherType::MIN {
            // An 802.3 length without SNAP.
            return;
        }
        let tags = [Present::VLAN0, Present::VLAN1]
            .into_iter()
            .filter(|t| flow.present.has(*t))
            .count() as u8;
        self.hidden = None;
        self.key.flow.dl_type = value.0.into();
        self.announce(Announce::EthType { tags, value });
    }

    fn write_mpls_bos(&mut self, last: bool) {
        self.see(|m| m.mpls_lse[0] = Lse::BOS.into());
        if last != Lse(self.key.flow.mpls_lse[0].get()).bos() {
            self.announce(Announce::MplsBos(last));
        }
    }

    /// What stands behind the tags reads differently from now on.
    fn announce(&mut self, what: Announce) {
        self.see(|m| m.dl_type = u16::MAX.into());
        let flow = self.key.flow;
        self.key.flow = FlowKey {
            present: link_layer(flow.present),
            dl_type: flow.dl_type,
            ..link_fields(&flow)
        };
        self.forget_payload();
        self.unparsed = Unparsed::Payload;
        self.out.edit(DpAction::Announce(what));
    }

    /// Writes bits of the outermost tag. Writing the presence bit makes a tag or removes it.
    fn write_tci(&mut self, value: u16, mask: u16) {
        self.see(|m| {
            m.present |= Present::VLAN0;
            m.vlan0_tci = TCI_PRESENT.into();
        });
        let tagged = self.key.flow.present.has(Present::VLAN0);
        if mask & TCI_PRESENT != 0 && value & TCI_PRESENT == 0 {
            if tagged {
                self.pop_vlan();
            }
            return;
        }
        let bits = mask & !TCI_PRESENT;
        if !tagged {
            if mask & TCI_PRESENT != 0 {
                self.push_vlan_with(EtherType::VLAN, VlanTci(value & bits));
            }
            return;
        }
        if self.sees_writes() {
            self.see(|m| m.vlan0_tci = u16::MAX.into());
        }
        let flow = &mut self.key.flow;
        flow.vlan0_tci = (flow.vlan0_tci.get() & !bits | value & bits).into();
        let mut written = Mask::<PipelineKey>::none();
        written.0.flow.vlan0_tci = bits.into();
        self.forget(&written);
        self.out.edit(DpAction::Set(SetField::Vlan(Masked::new(
            value & bits,
            bits,
        ))));
    }

    /// What the datapath has to do so that the frame has what the key has. `None` for fields that no frame has.
    fn dp_field(&self, id: FieldId, value: u128, mask: u128) -> Option<SetField> {
        use FieldId as F;
        let mac = |v: u128| MacAddr::from_u64(v as u64);
        let macs = Masked::new(mac(value), mac(mask));
        let v4 = Masked::new((value as u32).to_be_bytes(), (mask as u32).to_be_bytes());
        let v6 = Masked::new(value.to_be_bytes(), mask.to_be_bytes());
        let (b, bm) = (value as u8, mask as u8);
        let w = Masked::new(value as u16, mask as u16);
        let at = |shift: u32| Masked::new((value as u32) << shift, (mask as u32) << shift);
        Some(match id {
            F::EthSrc => SetField::EthSrc(macs),
            F::EthDst => SetField::EthDst(macs),
            F::Ipv4Src => SetField::Ipv4Src(v4),
            F::Ipv4Dst => SetField::Ipv4Dst(v4),
            F::Ipv6Src => SetField::Ipv6Src(v6),
            F::Ipv6Dst => SetField::Ipv6Dst(v6),
            F::Ipv6Label => SetField::Ipv6Label(Masked::new(value as u32, mask as u32 & 0xf_ffff)),
            F::NwTos => SetField::NwTos(Masked::new(b & 0xfc, bm & 0xfc)),
            F::IpDscp => SetField::NwTos(Masked::new(b << 2, bm << 2)),
            F::IpEcn => SetField::NwTos(Masked::new(b & 3, bm & 3)),
            F::IpTtl => SetField::NwTtl(self.key.flow.nw_ttl),
            F::TcpSrc | F::UdpSrc | F::SctpSrc => SetField::TpSrc(w),
            F::TcpDst | F::UdpDst | F::SctpDst => SetField::TpDst(w),
            F::Icmpv4Type | F::Icmpv6Type => SetField::IcmpType(Masked::new(b, bm)),
            F::Icmpv4Code | F::Icmpv6Code => SetField::IcmpCode(Masked::new(b, bm)),
            F::ArpOp => SetField::ArpOp(u16::from(self.key.flow.nw_proto)),
            F::ArpSpa => SetField::ArpSpa(v4),
            F::ArpTpa => SetField::ArpTpa(v4),
            F::ArpSha => SetField::ArpSha(macs),
            F::ArpTha => SetField::ArpTha(macs),
            F::NdTarget => SetField::NdTarget(v6),
            F::NdSll => SetField::NdSll(macs),
            F::NdTll => SetField::NdTll(macs),
            F::MplsLabel => SetField::MplsLse(at(12)),
            F::MplsTc => SetField::MplsLse(at(9)),
            F::MplsTtl => SetField::MplsLse(at(0)),
            F::PbbIsid => {
                SetField::PbbIsid(Masked::new(value as u32, mask as u32 & FlowKey::PBB_ISID))
            }
            F::PbbUca => SetField::PbbIsid(at(FlowKey::PBB_UCA.trailing_zeros())),
            _ => return None,
        })
    }
}

/// Whether it asks for a network or transport header.
fn needs_ip(prereq: Prereq) -> bool {
    use Prereq as P;
    !matches!(
        prereq,
        P::None | P::Ethernet | P::Vlan | P::Pbb | P::Mpls | P::Arp
    )
}

/// All ones for fields that the datapath does not write in part.
fn whole_only(id: FieldId) -> Option<u128> {
    matches!(id, FieldId::IpTtl | FieldId::ArpOp).then_some(0xff)
}
