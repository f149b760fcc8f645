//! The state of one translation, and the only way in which it reads the packet.

use std::sync::Arc;

use rvs_dpif::limits::ACTION_NESTING;
use rvs_dpif::{DpAction, DropReason};
use rvs_flow::key::{FRAG_ANY, FRAG_LATER, TCI_PRESENT};
use rvs_flow::{FlowKey, Key, Mask, OfPort, PipelineKey, Present};
use rvs_l2::Tag;
use rvs_openflow::{Action, ActionSet, PacketInReason, TableId};
use rvs_packet::IpProto;

use super::compose::Composer;
use super::freeze::Freeze;
use super::limits::{MAX_DEPTH, MAX_NESTED};
use super::mirror::Mirrored;
use super::origin_mask;
use crate::bridge::{Bridge, FragMode};
use crate::table::Rule;
use crate::trace::{Trace, TraceEvent};
use crate::translation::{push, CachedEffect, Deps, FrozenState, PuntNote, Translation};
use crate::world::PipelineView;

pub(super) struct Ctx<'a, 't, T: Trace> {
    pub(super) view: &'a PipelineView<'a>,
    trace: &'t mut T,
    /// Levels of nesting.
    depth: u16,
    /// Those that lead through the tables anew.
    deepened: u16,
    pub(super) resubmits: u32,

    /// The packet as it arrived.
    pub(super) arrived: FlowKey,
    /// The packet as the tables see it.
    pub(super) key: PipelineKey,
    /// Bits of the packet as it arrived that were looked at.
    wc: Mask<PipelineKey>,
    /// Bits of `key` that do not come from the packet any more.
    known: Mask<PipelineKey>,
    /// False while `known` is empty.
    rewritten: bool,
    /// A tag behind those in `key`, which the bridge's VLAN limit hides from matches.
    pub(super) hidden: Option<Tag>,

    /// Where translation is.
    pub(super) at: Place<'a>,
    pub(super) stack: Vec<u128>,
    pub(super) action_set: ActionSet,
    /// No more actions in this bridge (`exit`, an expired TTL, a limit).
    pub(super) exit: bool,
    /// A bound was exceeded: nothing goes on anywhere.
    pub(super) aborted: bool,
    /// The rest of the current rule is not executed (an expired TTL).
    pub(super) halted: bool,
    /// The action set is being executed: what is written to it meanwhile is not.
    pub(super) in_set: bool,
    /// A freeze is unwinding.
    pub(super) freeze: Option<Freeze>,
    /// What `hidden` hides is not what arrived.
    pub(super) payload_changed: bool,
    /// Headers that a pop has uncovered and `key` does not show.
    pub(super) unparsed: Unparsed,
    /// The input port that the next lookup sees instead of the packet's.
    pub(super) lookup_port: Option<OfPort>,

    /// By which the frame is sorted into a class.
    pub(super) priority: u32,
    pub(super) out: Composer,
    pub(super) effects: Vec<CachedEffect>,
    /// Mirrors that have had their copies.
    pub(super) mirrored: Mirrored,
    pub(super) notes: Vec<PuntNote>,
    pub(super) frozen: Vec<FrozenState>,
    pub(super) deps: Deps,
    pub(super) cacheable: bool,
    drop: Option<DropReason>,
}

/// What the key does not show of the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unparsed {
    #[default]
    Nothing,
    /// Everything behind the VLAN tags (or only what the datapath has written there).
    Payload,
    /// Everything behind the addresses.
    Tags,
}

/// The packet at some moment of the translation.
#[derive(Clone, Copy)]
pub(super) struct Saved {
    key: PipelineKey,
    known: Mask<PipelineKey>,
    rewritten: bool,
    hidden: Option<Tag>,
    payload_changed: bool,
    unparsed: Unparsed,
    priority: u32,
}

/// The bridge that the packet is in, and the rule that is being executed.
#[derive(Clone)]
pub(super) struct Place<'a> {
    /// `None` until the packet has entered one.
    pub(super) bridge: Option<&'a Arc<Bridge>>,
    pub(super) table: TableId,
    pub(super) rule: Option<Arc<Rule>>,
    /// Of the rule; all ones without one.
    pub(super) cookie: u64,
    /// Table and cookie of the first rule, for which the action set speaks.
    pub(super) first: Option<(TableId, u64)>,
    /// Why an output to the controller is a packet-in: the table-miss flow, its actions, the action set, a bucket.
    pub(super) reason: PacketInReason,
}

impl<'a> Place<'a> {
    /// Before the first table.
    fn start(bridge: Option<&'a Arc<Bridge>>) -> Self {
        Self {
            bridge,
            table: TableId(0),
            rule: None,
            cookie: u64::MAX,
            first: None,
            reason: PacketInReason::Action,
        }
    }
}

impl Place<'_> {
    /// Enters the action set or a bucket. What the table-miss flow does stays a miss.
    pub(super) fn become_part(&mut self, reason: PacketInReason) {
        if self.reason != PacketInReason::NoMatch {
            self.reason = reason;
        }
    }
}

impl<'a, 't, T: Trace> Ctx<'a, 't, T> {
    pub(super) fn new(view: &'a PipelineView<'a>, flow: FlowKey, trace: &'t mut T) -> Self {
        let key = PipelineKey {
            flow,
            actset_output: OfPort::UNSET.0,
            ..Default::default()
        };
        Self {
            view,
            trace,
            depth: 0,
            deepened: 0,
            resubmits: 0,
            arrived: flow,
            key,
            wc: Mask::none(),
            known: Mask::none(),
            rewritten: false,
            hidden: None,
            at: Place::start(None),
            stack: Vec::new(),
            action_set: ActionSet::default(),
            exit: false,
            aborted: false,
            halted: false,
            in_set: false,
            freeze: None,
            payload_changed: false,
            unparsed: Unparsed::Nothing,
            lookup_port: None,
            priority: 0,
            out: Composer::default(),
            effects: Vec::new(),
            mirrored: Mirrored::new(),
            notes: Vec::new(),
            frozen: Vec::new(),
            deps: Deps::default(),
            cacheable: true,
            drop: None,
        }
    }

    /// The packet is in `bridge` now, as if it had come in on `port` of it.
    pub(super) fn enter(&mut self, bridge: &'a Arc<Bridge>, port: OfPort) {
        push(&mut self.deps.bridges, bridge.id);
        self.at = Place::start(Some(bridge));
        self.key.of_port = port.0;
        self.note(|| TraceEvent::Bridge {
            name: bridge.name.to_string(),
            in_port: port,
        });
        if bridge.settings.dummy {
            let is_ip = self.key.flow.present.any(Present::IP);
            self.see(|m| {
                m.dl_type = u16::MAX.into();
                if is_ip {
                    m.present |= Present::IP;
                    m.nw_frag = FRAG_ANY | FRAG_LATER;
                }
            });
        }
    }

    /// Whether what is written counts as looked at ([`Settings::dummy`](crate::Settings::dummy)).
    pub(super) fn sees_writes(&self) -> bool {
        self.at.bridge.is_some_and(|b| b.settings.dummy)
    }

    /// Looks at bits of the packet: `set` names them, in a mask of its own, so that it can only add.
    #[inline]
    pub(super) fn see(&mut self, set: impl FnOnce(&mut FlowKey)) {
        let mut m = FlowKey::default();
        set(&mut m);
        let seen = self.wc.0.flow.words_mut().iter_mut().zip(m.words());
        if self.rewritten {
            for ((w, m), k) in seen.zip(self.known.0.flow.words()) {
                *w |= m & !k;
            }
        } else {
            for (w, m) in seen {
                *w |= m;
            }
        }
    }

    /// Looks at these bits of the packet.
    pub(super) fn see_mask(&mut self, mask: &Mask<PipelineKey>) {
        let known = self.known.0.words();
        for ((w, m), k) in self
            .wc
            .0
            .words_mut()
            .iter_mut()
            .zip(mask.0.words())
            .zip(known)
        {
            *w |= m & !k;
        }
    }

    /// Bits of the packet as it arrived, whatever was written since.
    pub(super) fn see_arrived(&mut self, set: impl FnOnce(&mut FlowKey)) {
        let mut m = FlowKey::default();
        set(&mut m);
        for (w, m) in self.wc.0.flow.words_mut().iter_mut().zip(m.words()) {
            *w |= m;
        }
    }

    /// Bits of `key` do not come from the packet any more: what is there now is a constant, or was computed from bits that
    /// were seen.
    pub(super) fn forget(&mut self, mask: &Mask<PipelineKey>) {
        self.known.or(mask);
        self.rewritten = true;
    }

    /// Says anew which bits of the frame in `key` do not come from the packet; `set` changes what was so.
    pub(super) fn remember(&mut self, set: impl FnOnce(&mut FlowKey)) {
        set(&mut self.known.0.flow);
        self.rewritten = true;
    }

    /// The packet as it is now, to come back to.
    pub(super) fn save(&self) -> Saved {
        Saved {
            key: self.key,
            known: self.known,
            rewritten: self.rewritten,
            hidden: self.hidden,
            payload_changed: self.payload_changed,
            unparsed: self.unparsed,
            priority: self.priority,
        }
    }

    /// Back to what [`Self::save`] gave. What was looked at since stays looked at.
    pub(super) fn restore(&mut self, saved: Saved) {
        let Saved {
            key,
            known,
            rewritten,
            hidden,
            payload_changed,
            unparsed,
            priority,
        } = saved;
        self.priority = priority;
        self.payload_changed = payload_changed;
        self.key = key;
        self.known = known;
        self.rewritten = rewritten;
        self.hidden = hidden;
        self.unparsed = unparsed;
    }

    /// Words of the key that were rewritten, as bits.
    pub(super) fn rewritten_words(&self) -> u32 {
        if !self.rewritten {
            return 0;
        }
        let words = self.known.0.words().iter().enumerate();
        words.fold(0, |bits, (i, w)| if *w == 0 { bits } else { bits | 1 << i })
    }

    /// Whether there is no room for one more level.
    pub(super) const fn is_deepest(&self) -> bool {
        self.deepened >= MAX_DEPTH || self.depth >= MAX_NESTED
    }

    /// One level down; `anew` unless it leads to a later table.
    pub(super) fn descend(&mut self, anew: bool) {
        self.depth += 1;
        self.deepened += u16::from(anew);
    }

    /// Back up, from where [`Self::descend`] led.
    pub(super) fn ascend(&mut self, anew: bool) {
        self.depth -= 1;
        self.deepened -= u16::from(anew);
    }

    pub(super) fn note(&mut self, event: impl FnOnce() -> TraceEvent) {
        self.trace.record(self.depth, event);
    }

    /// For a trace: the action set as it is.
    pub(super) fn note_set(&mut self, event: impl FnOnce(Vec<Action>) -> TraceEvent) {
        let set = &self.action_set;
        let event = || event(set.in_order().cloned().collect());
        self.trace.record(self.depth, event);
    }

    /// Something goes nowhere: the packet, if nothing else sends it somewhere.
    pub(super) fn drop_with(&mut self, reason: DropReason) {
        self.note(|| TraceEvent::Drop(reason));
        self.drop.get_or_insert(reason);
    }

    /// A bound of the translation is reached: the packet is dropped whole.
    pub(super) fn abort(&mut self, reason: DropReason) {
        self.silence();
        self.drop = None;
        self.drop_with(reason);
        self.exit = true;
        self.aborted = true;
        self.freeze = None;
    }

    /// Takes back everything that was to be sent, to mirrors too; what was learned stays.
    pub(super) fn silence(&mut self) {
        self.out.close();
        let sends = |e: &CachedEffect| matches!(e, CachedEffect::MirrorHit { .. });
        self.effects.retain(|e| !sends(e));
        self.notes.clear();
        self.frozen.clear();
    }

    /// Adds an action that sees the frame.
    pub(super) fn emit(&mut self, action: DpAction) {
        self.out.emit(action);
        if self.out.overflown() {
            self.abort(DropReason::TooManyActions);
        }
    }

    /// With a VLAN limit of 1, what follows the outermost tag is payload to the tables.
    pub(super) fn hide_inner_tag(&mut self) {
        let Some(bridge) = self.at.bridge else {
            return;
        };
        if bridge.settings.vlan_limit != 1 {
            return;
        }
        self.see(|m| m.present |= Present::VLAN1);
        let flow = self.key.flow;
        if !flow.present.has(Present::VLAN1) {
            return;
        }
        // The bit that says in the TCI too that there is a tag is one that `tag` looks at.
        self.see(|m| {
            m.vlan1_tpid = u16::MAX.into();
            m.vlan1_tci = (m.vlan1_tci.get() | TCI_PRESENT).into();
        });
        self.hidden = super::vlan::tag(flow.vlan1_tci.get(), flow.vlan1_tpid.get());
        let keep = Present::VLAN0 | Present::BAD_L2;
        self.key.flow = FlowKey {
            in_port: flow.in_port,
            recirc_id: flow.recirc_id,
            pkt_mark: flow.pkt_mark,
            present: Present(flow.present.0 & keep.0),
            dl_type: flow.vlan1_tpid,
            dl_dst: flow.dl_dst,
            dl_src: flow.dl_src,
            vlan0_tci: flow.vlan0_tci,
            vlan0_tpid: flow.vlan0_tpid,
            ..FlowKey::default()
        };
        // Everything else of the key is a constant now, given that there is a second tag of that type.
        let mut rest = Mask::<PipelineKey>::none();
        rest.0.flow = Mask::<FlowKey>::exact().0;
        let m = &mut rest.0.flow;
        (m.in_port, m.recirc_id, m.pkt_mark) = (0, 0, 0);
        m.present = Present(!keep.0);
        m.dl_dst = [0; 6];
        m.dl_src = [0; 6];
        m.vlan0_tci = 0.into();
        m.vlan0_tpid = 0.into();
        self.forget(&rest);
    }

    /// With [`FragMode::NxMatch`], later fragments have the layer that their protocol announces, with zeros in it.
    pub(super) fn show_fragment_ports(&mut self) {
        if self
            .at
            .bridge
            .is_none_or(|b| b.settings.frags != FragMode::NxMatch)
        {
            return;
        }
        self.see(|m| m.present |= Present::LATER_FRAG);
        if !self.key.flow.present.has(Present::LATER_FRAG) {
            return;
        }
        self.see(|m| m.nw_proto = u8::MAX);
        let layer = announced_layer(self.key.flow.nw_proto);
        self.key.flow.present |= layer;
        let mut m = Mask::<PipelineKey>::none();
        m.0.flow.present = layer;
        self.forget(&m);
    }

    pub(super) fn finish(mut self) -> Translation {
        let last = self.key;
        self.note(|| TraceEvent::Final {
            key: Box::new(last),
        });
        if self.out.nesting() > usize::from(ACTION_NESTING) {
            self.abort(DropReason::TooDeep);
        }
        let actions = self.out.finish();
        let drop = actions
            .is_empty()
            .then(|| self.drop.unwrap_or(DropReason::Action));
        Translation {
            actions,
            mask: origin_mask(Mask(self.wc.0.flow)),
            effects: self.effects,
            notes: self.notes,
            frozen: self.frozen,
            cacheable: self.cacheable,
            drop,
            deps: self.deps,
        }
    }
}

/// The presence bit of the transport that an IP protocol number names.
fn announced_layer(proto: u8) -> Present {
    match IpProto(proto) {
        IpProto::TCP => Present::TCP,
        IpProto::UDP => Present::UDP,
        IpProto::SCTP => Present::SCTP,
        IpProto::ICMP => Present::ICMP,
        _ => Present::NONE,
    }
}
