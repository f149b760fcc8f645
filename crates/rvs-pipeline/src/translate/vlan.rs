//! Tags of the frame as NORMAL sees and edits them.

use rvs_dpif::{DpAction, Masked, SetField};
use rvs_flow::key::TCI_PRESENT;
use rvs_flow::{FlowKey, Mask, PipelineKey, Present};
use rvs_l2::{LookBehind, Tag, TagEdit, TagStack};
use rvs_packet::{EtherType, VlanId, VlanTci};

use super::ctx::{Ctx, Unparsed};
use super::tags::{link_fields, link_layer};
use crate::trace::Trace;

/// Bits of a TCI that name the VLAN and say that there is one.
const VID: u16 = VlanTci::VID_MASK | TCI_PRESENT;

/// A tag from its place in a key.
pub(super) fn tag(tci: u16, tpid: u16) -> Option<Tag> {
    (tci & TCI_PRESENT != 0).then(|| Tag {
        tpid: EtherType(tpid),
        vid: VlanTci(tci).vid(),
        pcp: VlanTci(tci).pcp(),
    })
}

fn visible(flow: &FlowKey) -> [Option<Tag>; 2] {
    [
        tag(flow.vlan0_tci.get(), flow.vlan0_tpid.get()),
        tag(flow.vlan1_tci.get(), flow.vlan1_tpid.get()),
    ]
}

impl<T: Trace> Ctx<'_, '_, T> {
    /// The outermost two tags of the frame. Looks at the VID of the first only; whoever looks at more says so with
    /// [`Self::see_behind`] and [`Self::see_priority`].
    pub(super) fn tags(&mut self) -> TagStack {
        self.see(|m| {
            m.present |= Present::VLAN0;
            m.vlan0_tci = VID.into();
        });
        let [outer, inner] = visible(&self.key.flow);
        TagStack {
            outer,
            inner: inner.or(self.hidden).or_else(|| self.unseen()),
        }
    }

    /// A tag behind those of the key, of which nothing is known but the type. Whoever uses it looks at the type.
    fn unseen(&self) -> Option<Tag> {
        let tpid = EtherType(self.key.flow.dl_type.get());
        tpid.is_vlan().then_some(Tag {
            tpid,
            vid: VlanId::ZERO,
            pcp: 0,
        })
    }

    /// Looks at the tag behind the outermost.
    pub(super) fn see_behind(&mut self, how: LookBehind) {
        let bits = match how {
            LookBehind::Nothing => return,
            LookBehind::Presence => TCI_PRESENT,
            LookBehind::Vid => VID,
        };
        let set = |m: &mut FlowKey| {
            m.present |= Present::VLAN1;
            m.vlan1_tci = bits.into();
        };
        match self.hidden {
            Some(_) => self.see_arrived(set),
            None => {
                self.see(set);
                if !self.key.flow.present.has(Present::VLAN1) {
                    self.see(|m| m.dl_type = u16::MAX.into());
                }
            }
        }
    }

    /// Looks at the priority of the outermost tag.
    pub(super) fn see_priority(&mut self) {
        self.see(|m| {
            m.present |= Present::VLAN0;
            m.vlan0_tci = u16::MAX.into();
        });
    }

    /// Edits the frame, not the key: for what leaves at once.
    pub(super) fn edit_tag(&mut self, edit: TagEdit) {
        match edit {
            TagEdit::Keep => {}
            TagEdit::SetVid(vid) => self.out.edit(set_vid(vid)),
            TagEdit::Push { tpid, tci } => self.out.edit(DpAction::PushVlan { tpid, tci }),
            TagEdit::Pop => self.out.edit(DpAction::PopVlan),
        }
    }

    /// Makes the key what `edit` makes of the frame: for a frame that goes on in another bridge.
    pub(super) fn apply_tag_edit(&mut self, edit: TagEdit) {
        match edit {
            TagEdit::Keep => {}
            TagEdit::SetVid(vid) => {
                let flow = &mut self.key.flow;
                let tci = flow.vlan0_tci.get() & !VlanTci::VID_MASK | vid.get();
                flow.vlan0_tci = tci.into();
                let mut m = Mask::<PipelineKey>::none();
                m.0.flow.vlan0_tci = VlanTci::VID_MASK.into();
                self.forget(&m);
            }
            TagEdit::Push { tpid, tci } => self.push_tag(tpid, tci),
            TagEdit::Pop => self.pop_tag(),
        }
    }

    /// The key after a push: what was outermost moves behind.
    pub(super) fn push_tag(&mut self, tpid: EtherType, tci: VlanTci) {
        self.see_both_tags();
        if self.key.flow.present.has(Present::VLAN1) {
            // A key has room for two tags, and nothing looks behind more.
            let flow = self.key.flow;
            self.key.flow = FlowKey {
                present: link_layer(flow.present),
                dl_type: flow.vlan1_tpid,
                ..link_fields(&flow)
            };
            self.forget_payload();
            self.hidden = None;
        }
        let flow = &mut self.key.flow;
        if flow.present.has(Present::VLAN0) {
            flow.vlan1_tci = flow.vlan0_tci;
            flow.vlan1_tpid = flow.vlan0_tpid;
            flow.present |= Present::VLAN1;
        }
        flow.vlan0_tci = (tci.0 | TCI_PRESENT).into();
        flow.vlan0_tpid = tpid.0.into();
        flow.present |= Present::VLAN0;
        self.forget_tags();
    }

    /// The key after a pop: what was behind moves to the front.
    pub(super) fn pop_tag(&mut self) {
        self.see_both_tags();
        let flow = &mut self.key.flow;
        let behind = flow.present.has(Present::VLAN1);
        if !behind && flow.present.has(Present::VLAN0) {
            if let Some(tag) = self.hidden.take() {
                return self.uncover(tag);
            }
        }
        flow.vlan0_tci = std::mem::take(&mut flow.vlan1_tci);
        flow.vlan0_tpid = std::mem::take(&mut flow.vlan1_tpid);
        flow.present = flow.present.without(Present::VLAN0 | Present::VLAN1);
        if behind {
            flow.present |= Present::VLAN0;
        }
        self.forget_tags();
        // A tag that the key has no room for moves up.
        self.see(|m| m.dl_type = u16::MAX.into());
        let flow = &self.key.flow;
        let reached = self.hidden.is_none() && !flow.present.has(Present::VLAN1);
        if reached && EtherType(flow.dl_type.get()).is_vlan() {
            self.unparsed = Unparsed::Tags;
        }
    }

    /// The tag that the VLAN limit hid is the outermost now, and what it hid can be seen as it arrived.
    fn uncover(&mut self, tag: Tag) {
        self.see_arrived(|m| {
            m.present |= Present::VLAN1;
            m.vlan1_tci = u16::MAX.into();
            m.vlan1_tpid = u16::MAX.into();
            m.dl_type = u16::MAX.into();
        });
        let now = self.key.flow;
        let mut flow = self.arrived;
        flow.in_port = now.in_port;
        flow.recirc_id = now.recirc_id;
        flow.pkt_mark = now.pkt_mark;
        flow.dl_dst = now.dl_dst;
        flow.dl_src = now.dl_src;
        flow.present = Present(flow.present.0 & !Present::VLAN1.0) | Present::VLAN0;
        flow.vlan0_tci = (VlanTci::new(tag.vid, tag.pcp).0 | TCI_PRESENT).into();
        flow.vlan0_tpid = tag.tpid.0.into();
        flow.vlan1_tci = 0.into();
        flow.vlan1_tpid = 0.into();
        self.key.flow = flow;
        self.remember(|m| {
            let (dst, src) = (m.dl_dst, m.dl_src);
            *m = FlowKey {
                dl_dst: dst,
                dl_src: src,
                pkt_mark: m.pkt_mark,
                ..FlowKey::default()
            };
            both_tags(m);
        });
        self.show_fragment_ports();
        if EtherType(self.arrived.dl_type.get()).is_vlan() {
            self.unparsed = Unparsed::Tags;
        } else if self.payload_changed {
            self.unparsed = Unparsed::Payload;
        }
    }

    fn see_both_tags(&mut self) {
        self.see(both_tags);
    }

    pub(super) fn forget_tags(&mut self) {
        let mut m = Mask::<PipelineKey>::none();
        both_tags(&mut m.0.flow);
        self.forget(&m);
    }
}

fn both_tags(m: &mut FlowKey) {
    m.present |= Present::VLAN0 | Present::VLAN1;
    m.vlan0_tci = u16::MAX.into();
    m.vlan0_tpid = u16::MAX.into();
    m.vlan1_tci = u16::MAX.into();
    m.vlan1_tpid = u16::MAX.into();
}

pub(super) fn set_vid(vid: VlanId) -> DpAction {
    DpAction::Set(SetField::Vlan(Masked::new(vid.get(), VlanTci::VID_MASK)))
}
