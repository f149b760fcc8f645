//! Pushing and popping headers: VLAN, MPLS, PBB.
//!
//! What a pop uncovers is known as far as the key reaches. Where the uncovered header was never parsed, `unparsed` is set:
//! the next thing that would look at it recirculates the frame first.

use rvs_dpif::{DpAction, Masked, SetField};
use rvs_flow::{FlowKey, Mask, PipelineKey, Present};
use rvs_packet::{EtherType, VlanTci};

use super::ctx::{Ctx, Unparsed};
use crate::trace::Trace;

const BOS: u32 = 0x100;

impl<T: Trace> Ctx<'_, '_, T> {
    /// The new tag has VID and priority of the outermost, or zeros (OpenFlow 1.3.5 section 5.11).
    pub(super) fn push_vlan(&mut self, tpid: EtherType) {
        self.see(|m| {
            m.present |= Present::VLAN0;
            m.vlan0_tci = u16::MAX.into();
        });
        let tci = self.key.flow.vlan0_tci.get() & !VlanTci::DEI;
        self.push_vlan_with(tpid, VlanTci(tci));
    }

    pub(super) fn push_vlan_with(&mut self, tpid: EtherType, tci: VlanTci) {
        self.push_tag(tpid, tci);
        self.out.edit(DpAction::PushVlan { tpid, tci });
    }

    pub(super) fn pop_vlan(&mut self) {
        self.see(|m| m.present |= Present::VLAN0);
        if !self.key.flow.present.has(Present::VLAN0) {
            return;
        }
        self.pop_tag();
        self.out.edit(DpAction::PopVlan);
    }

    /// The new label has label, TC and TTL of the outermost, or zeros and the TTL of IP (OpenFlow 1.3.5 section 5.11).
    pub(super) fn push_mpls(&mut self, ethertype: EtherType) {
        self.see(|m| {
            m.present |= Present::MPLS0 | Present::IP;
            m.dl_type = u16::MAX.into();
        });
        if self.key.flow.dl_type.get() < EtherType::MIN {
            // Under an 802.3 length there is no type that could say MPLS.
            return;
        }
        let flow = self.key.flow;
        let lse = if flow.present.has(Present::MPLS0) {
            self.see(|m| m.mpls_lse[0] = u32::MAX.into());
            flow.mpls_lse[0].get() & !BOS
        } else {
            self.see(|m| m.nw_ttl = u8::MAX);
            BOS | u32::from(flow.nw_ttl)
        };
        self.out.edit(DpAction::PushMpls { ethertype, lse });
        // Labels stand behind the outermost two tags.
        if flow.present.has(Present::VLAN1) {
            self.hidden = None;
        } else if self.hidden.is_some() {
            // Out of sight until the hidden tag is popped.
            self.payload_changed = true;
            return;
        }
        // Behind the labels nothing is parsed any more.
        self.see(|m| {
            m.present |= Present::MPLS1;
            m.mpls_lse[1] = u32::MAX.into();
        });
        let labels = [Present::MPLS0, Present::MPLS1, Present::MPLS2];
        let depth = labels.iter().filter(|p| flow.present.has(**p)).count();
        let mut present = link_layer(flow.present);
        for p in labels.iter().take(depth + 1) {
            present |= *p;
        }
        let [first, second, _] = flow.mpls_lse;
        self.key.flow = FlowKey {
            present,
            dl_type: ethertype.0.into(),
            mpls_lse: [lse.into(), first, second],
            ..link_fields(&flow)
        };
        self.forget_payload();
        self.unparsed = Unparsed::Nothing;
    }

    /// Removes a label; what follows is `ethertype`, to the tables too.
    pub(super) fn pop_mpls(&mut self, ethertype: EtherType) {
        self.see(|m| {
            m.present |= Present::MPLS0 | Present::MPLS1 | Present::MPLS2;
            m.dl_type = u16::MAX.into();
            m.mpls_lse[0] = BOS.into();
        });
        let flow = self.key.flow;
        if !flow.present.has(Present::MPLS0) {
            return;
        }
        self.see(|m| {
            m.mpls_lse[1] = u32::MAX.into();
            m.mpls_lse[2] = u32::MAX.into();
        });
        let [_, second, third] = flow.mpls_lse;
        let mut present = link_layer(flow.present);
        if flow.present.has(Present::MPLS1) {
            present |= Present::MPLS0;
        }
        if flow.present.has(Present::MPLS2) {
            present |= Present::MPLS1;
        }
        self.key.flow = FlowKey {
            present,
            dl_type: ethertype.0.into(),
            mpls_lse: [second, third, 0.into()],
            ..link_fields(&flow)
        };
        self.forget_payload();
        self.unparsed = Unparsed::Payload;
        self.out.edit(DpAction::PopMpls { ethertype });
    }

    /// The customer's frame, tags and all, goes behind a new header with copies of its addresses; the service instance is
    /// that of an outer header that is there, or 0, and UCA is 0.
    pub(super) fn push_pbb(&mut self) {
        self.see(|m| {
            m.present |= Present::PBB | Present::VLAN0;
            m.pbb_isid = FlowKey::PBB_ISID.into();
            m.vlan0_tci = VlanTci::PCP_MASK.into();
        });
        let flow = self.key.flow;
        let isid = flow.pbb_isid.get() & FlowKey::PBB_ISID;
        let pcp = u32::from(VlanTci(flow.vlan0_tci.get()).pcp());
        self.key.flow = FlowKey {
            present: Present::PBB,
            dl_type: EtherType::PBB.0.into(),
            pbb_isid: isid.into(),
            vlan0_tci: 0.into(),
            vlan0_tpid: 0.into(),
            vlan1_tci: 0.into(),
            vlan1_tpid: 0.into(),
            ..link_fields(&flow)
        };
        self.forget_payload();
        self.forget_tags();
        self.hidden = None;
        self.unparsed = Unparsed::Nothing;
        // The service instance's priority is that of the tag.
        self.out.edit(DpAction::PushPbb {
            isid: pcp << 29 | isid,
        });
    }

    pub(super) fn pop_pbb(&mut self) {
        self.see(|m| m.present |= Present::PBB);
        if !self.key.flow.present.has(Present::PBB) {
            return;
        }
        self.unparsed = Unparsed::Tags;
        self.out.edit(DpAction::PopPbb);
    }

    /// The key after a rewrite of the label behind the outermost: the outer one is taken off and put back.
    pub(super) fn rewrite_second_label(&mut self, outer: u32, inner: u32) {
        let ethertype = EtherType(self.key.flow.dl_type.get());
        self.key.flow.mpls_lse[1] = inner.into();
        let mut m = Mask::<PipelineKey>::none();
        m.0.flow.mpls_lse[1] = u32::MAX.into();
        self.see_mask(&m);
        self.forget(&m);
        self.out.edit(DpAction::PopMpls { ethertype });
        self.out.edit(DpAction::Set(SetField::MplsLse(Masked::new(
            inner,
            u32::MAX,
        ))));
        self.out.edit(DpAction::PushMpls {
            ethertype,
            lse: outer,
        });
    }

    /// Everything behind the tags is a constant, or was looked at.
    pub(super) fn forget_payload(&mut self) {
        let mut m = Mask::<FlowKey>::exact().0;
        let keep = link_fields(&m);
        let present = Present(!link_layer(m.present).0);
        for (w, k) in rvs_flow::Key::words_mut(&mut m)
            .iter_mut()
            .zip(rvs_flow::Key::words(&keep))
        {
            *w &= !k;
        }
        m.present = present;
        let mut all = Mask::<PipelineKey>::none();
        all.0.flow = m;
        self.forget(&all);
    }
}

/// Presence bits of what stands before the payload. A tag that is cut off is payload: a label takes the place of its type.
pub(super) fn link_layer(p: Present) -> Present {
    let keep = Present::VLAN0 | Present::VLAN1 | Present::BAD_L2;
    Present(p.0 & keep.0)
}

/// The fields that stand before the payload, and nothing else.
pub(super) fn link_fields(flow: &FlowKey) -> FlowKey {
    FlowKey {
        in_port: flow.in_port,
        recirc_id: flow.recirc_id,
        dl_dst: flow.dl_dst,
        dl_src: flow.dl_src,
        vlan0_tci: flow.vlan0_tci,
        vlan0_tpid: flow.vlan0_tpid,
        vlan1_tci: flow.vlan1_tci,
        vlan1_tpid: flow.vlan1_tpid,
        pkt_mark: flow.pkt_mark,
        ..FlowKey::default()
    }
}
