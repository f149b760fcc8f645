//! The interpreter of action lists.

use rvs_dpif::{DpAction, DropReason};
use rvs_flow::field::{FieldId, SubField};
use rvs_flow::{OfPort, Present};
use rvs_openflow::{Action, ControllerId, PacketInReason, TableId};

use super::ctx::{Ctx, Unparsed};
use super::freeze::{looks_inside, FreezeKind};
use super::limits::MAX_STACK;
use crate::trace::{Trace, TraceEvent};
use crate::translation::CachedEffect;

impl<T: Trace> Ctx<'_, '_, T> {
    /// Runs actions until one ends the packet's way, or stops it for now.
    pub(super) fn run_actions(&mut self, actions: &[Action]) {
        for (i, action) in actions.iter().enumerate() {
            if self.exit || self.halted {
                return;
            }
            let blind = sends(action) && (self.mirrors_blindly() || self.marks_blindly());
            if self.freeze.is_none() && (blind || looks_inside(action, self.unparsed)) {
                self.begin_freeze(FreezeKind::Recirculate);
            }
            if self.freeze.is_some() {
                return self.left_actions(&actions[i..]);
            }
            self.note(|| TraceEvent::Action(action.clone()));
            self.run_action(action);
        }
    }

    fn run_action(&mut self, action: &Action) {
        match action {
            Action::Output { port, max_len } => self.output(*port, *max_len),
            Action::OutputTruncated { port, max_len } => self.output_truncated(*port, *max_len),
            Action::OutputReg { src, max_len } => {
                if let Some(port) = self.read(*src) {
                    self.note(|| TraceEvent::Note(format!("output port is {port}")));
                    self.output(port_number(port, src.bits()), *max_len);
                }
            }
            Action::Controller(what) if what.pause => {
                let note = Box::new(self.packet_in_note(what));
                self.begin_freeze(FreezeKind::Pause(note));
            }
            Action::Controller(what) => self.controller(what),
            Action::Enqueue { port, queue } => {
                let before = self.priority;
                self.set_queue(*queue);
                self.output(*port, 0xffff);
                self.set_priority(before);
            }
            Action::SetQueue(queue) => self.set_queue(*queue),
            Action::PopQueue => self.set_priority(0),
            Action::Group(id) => self.group(*id),
            Action::Meter(id) => self.meter(*id),
            Action::Note(_) | Action::Conjunction { .. } | Action::DebugSlow => {}
            Action::Exit => self.exit = true,
            Action::DebugRecirc => self.begin_freeze(FreezeKind::Recirculate),
            Action::Push(src) => self.push_stack(*src),
            Action::Pop(dst) => {
                if let Some(v) = self.stack.pop() {
                    self.write(*dst, v);
                    self.note_written(*dst, v);
                }
            }
            Action::Clone(list) => self.isolated(|ctx| ctx.run_actions(list)),
            Action::Learn(what) => self.learn(what),
            Action::Multipath(what) => self.multipath(what),
            Action::Bundle(what) => self.bundle(what),
            Action::Resubmit { port, table } => self.resubmit(*port, *table),
            Action::FinTimeout { idle, hard } => {
                if let Some(rule) = self.at.rule.clone() {
                    let (idle, hard) = (*idle, *hard);
                    self.effects
                        .push(CachedEffect::FinTimeout { rule, idle, hard });
                }
            }
            Action::CheckPktLarger { dst, len } => {
                self.begin_freeze(FreezeKind::PacketLength {
                    dst: *dst,
                    len: *len,
                });
            }
            _ => self.run_edit(action),
        }
    }

    /// For a trace: what an action wrote that does not say it itself.
    pub(super) fn note_written(&mut self, dst: SubField, value: u128) {
        self.note(|| TraceEvent::Written { dst, value });
    }

    /// Actions that change the packet.
    fn run_edit(&mut self, action: &Action) {
        use FieldId as F;
        let mac = |m: &rvs_packet::MacAddr| u128::from(m.to_u64());
        match action {
            Action::PushVlan(tpid) => self.push_vlan(*tpid),
            Action::PopVlan => self.pop_vlan(),
            Action::PushMpls(ethertype) => self.push_mpls(*ethertype),
            Action::PopMpls(ethertype) => self.pop_mpls(*ethertype),
            Action::PushPbb(_) => self.push_pbb(),
            Action::PopPbb => self.pop_pbb(),
            Action::SetField(v) => self.write_field(v.field, v.value, v.mask),
            Action::Load(v) => self.write(v.dst, v.value),
            Action::Move { src, dst } => {
                if let Some(v) = self.read(*src) {
                    self.write_moved(*dst, v);
                    self.note_written(*dst, v);
                }
            }
            Action::SetVlanVid { vid, push } => {
                self.write_tag_part(F::DlVlan, u128::from(vid.get()), *push);
            }
            Action::SetVlanPcp { pcp, push } => {
                self.write_tag_part(F::DlVlanPcp, u128::from(*pcp), *push);
            }
            Action::SetEthSrc(m) => self.write_whole(F::EthSrc, mac(m)),
            Action::SetEthDst(m) => self.write_whole(F::EthDst, mac(m)),
            Action::SetNwSrc(a) => self.write_whole(F::Ipv4Src, u32::from_be_bytes(*a).into()),
            Action::SetNwDst(a) => self.write_whole(F::Ipv4Dst, u32::from_be_bytes(*a).into()),
            Action::SetNwTos(v) => self.write_field(F::NwTos, u128::from(*v), 0xfc),
            Action::SetNwEcn(v) => self.write_field(F::IpEcn, u128::from(*v), 3),
            Action::SetNwTtl(v) => self.write_whole(F::IpTtl, u128::from(*v)),
            Action::SetTpSrc(v) => self.write_port([F::TcpSrc, F::UdpSrc, F::SctpSrc], *v),
            Action::SetTpDst(v) => self.write_port([F::TcpDst, F::UdpDst, F::SctpDst], *v),
            Action::SetTunnel(v) => self.write_whole(F::TunId, u128::from(*v)),
            Action::SetMplsLabel(v) => self.write_whole(F::MplsLabel, u128::from(*v)),
            Action::SetMplsTc(v) => self.write_whole(F::MplsTc, u128::from(*v)),
            Action::SetMplsTtl(v) => self.write_whole(F::MplsTtl, u128::from(*v)),
            Action::DecMplsTtl => self.dec_mpls_ttl(),
            Action::DecNwTtl(ids) => self.dec_nw_ttl(ids),
            Action::CopyTtlOut => self.copy_ttl_out(),
            Action::CopyTtlIn => self.copy_ttl_in(),
            _ => {}
        }
    }

    /// `output`, to a port or a reserved one.
    pub(super) fn output(&mut self, port: OfPort, max_len: u16) {
        let in_port = OfPort(self.key.of_port);
        match port {
            OfPort::NORMAL => self.normal(),
            OfPort::IN_PORT => self.output_port(in_port, None),
            OfPort::ALL => self.flood(true),
            OfPort::FLOOD => self.flood(false),
            OfPort::TABLE => self.resubmit_to(TableId(0)),
            OfPort::CONTROLLER => self.packet_in(self.at.reason, max_len),
            OfPort::ANY | OfPort::UNSET => {}
            _ if port == in_port => self.drop_with(DropReason::InPort),
            _ => self.output_port(port, None),
        }
    }

    fn output_truncated(&mut self, port: OfPort, max_len: u16) {
        let in_port = OfPort(self.key.of_port);
        match port {
            OfPort::IN_PORT => self.output_port(in_port, Some(max_len)),
            OfPort::CONTROLLER => self.output(port, max_len),
            _ if port == in_port => self.drop_with(DropReason::InPort),
            _ => self.output_port(port, Some(max_len)),
        }
    }

    /// Every port but the input port; without `all`, those that are not to be flooded to neither.
    fn flood(&mut self, all: bool) {
        let Some(bridge) = self.at.bridge else {
            return;
        };
        let in_port = OfPort(self.key.of_port);
        for port in bridge.ports.iter() {
            if self.stopped() {
                return;
            }
            let free = !bridge.mirrors.reserves(port.bundle);
            if port.of != in_port && free && (all || !port.config.no_flood) {
                self.output_port(port.of, None);
            }
        }
    }

    fn resubmit(&mut self, port: Option<OfPort>, table: Option<TableId>) {
        let table = table.unwrap_or(self.at.table);
        let of_port = self.key.of_port;
        self.lookup_port = match port {
            None | Some(OfPort::IN_PORT) => None,
            Some(p) => Some(p).filter(|p| p.0 != of_port),
        };
        self.resubmit_to(table);
    }

    fn push_stack(&mut self, src: SubField) {
        if self.stack.len() >= MAX_STACK {
            return self.abort(DropReason::StackTooDeep);
        }
        let v = self.read(src).unwrap_or(0);
        self.stack.push(v);
    }

    fn write_whole(&mut self, field: FieldId, value: u128) {
        self.write_field(field, value, rvs_flow::field::Field::of(field).max());
    }

    fn write_tag_part(&mut self, field: FieldId, value: u128, push: bool) {
        self.see(|m| m.present |= Present::VLAN0);
        if push || self.key.flow.present.has(Present::VLAN0) {
            self.write_whole(field, value);
        }
    }

    /// The port of whichever transport there is.
    fn write_port(&mut self, of: [FieldId; 3], port: u16) {
        self.see(|m| m.present |= Present::TCP | Present::UDP | Present::SCTP);
        for id in of {
            if rvs_flow::field::Field::of(id).exists_in(&self.key) {
                return self.write_whole(id, u128::from(port));
            }
        }
    }

    /// Out of time, the packet goes to the controllers that asked for such, and nowhere else.
    fn dec_nw_ttl(&mut self, ids: &[ControllerId]) {
        self.see(|m| m.present |= Present::IP);
        if !self.key.flow.present.any(Present::IP) {
            return;
        }
        self.see(|m| m.nw_ttl = u8::MAX);
        match self.key.flow.nw_ttl {
            0 | 1 => self.ttl_expired(ids),
            ttl => self.write_whole(FieldId::IpTtl, u128::from(ttl - 1)),
        }
    }

    fn dec_mpls_ttl(&mut self) {
        self.see(|m| m.present |= Present::MPLS0);
        if !self.key.flow.present.has(Present::MPLS0) {
            return;
        }
        self.see(|m| m.mpls_lse[0] = LSE_TTL.into());
        match self.key.flow.mpls_lse[0].get() & LSE_TTL {
            0 | 1 => self.ttl_expired(&[]),
            ttl => self.write_whole(FieldId::MplsTtl, u128::from(ttl - 1)),
        }
    }

    fn ttl_expired(&mut self, ids: &[ControllerId]) {
        let settings = self.at.bridge.map(|b| &b.settings);
        if settings.is_some_and(|s| s.invalid_ttl_to_controller || s.dummy) {
            let default = [ControllerId(0)];
            for id in if ids.is_empty() { &default[..] } else { ids } {
                self.packet_in_to(*id, PacketInReason::InvalidTtl, 0xffff);
            }
        }
        self.drop_with(DropReason::TtlExpired);
        self.action_set.clear();
        self.halted = true;
    }

    /// To the outermost label from the one behind it, or from the IP header that may be behind the last: the datapath sees
    /// it, the key does not, so that the TTL is known again only when the frame has been parsed anew.
    fn copy_ttl_out(&mut self) {
        if let Some(ttl) = self.second_label_ttl() {
            self.write_whole(FieldId::MplsTtl, u128::from(ttl));
        } else if self.key.flow.present.has(Present::MPLS0) {
            self.out.edit(DpAction::CopyTtlOut);
            self.unparsed = Unparsed::Payload;
        }
    }

    /// From the outermost label to the one behind it: the outer one is taken off, the inner one written, the outer one put
    /// back. Or to the IP header that may be behind the last, which is not in the key.
    fn copy_ttl_in(&mut self) {
        if self.second_label_ttl().is_none() {
            if self.key.flow.present.has(Present::MPLS0) {
                self.out.edit(DpAction::CopyTtlIn);
            }
            return;
        }
        self.see(|m| {
            m.mpls_lse[0] = u32::MAX.into();
            m.dl_type = u16::MAX.into();
        });
        let flow = self.key.flow;
        let ttl = flow.mpls_lse[0].get() & LSE_TTL;
        let inner = flow.mpls_lse[1].get() & !LSE_TTL | ttl;
        self.rewrite_second_label(flow.mpls_lse[0].get(), inner);
    }

    fn second_label_ttl(&mut self) -> Option<u32> {
        self.see(|m| m.present |= Present::MPLS0 | Present::MPLS1);
        if !self.key.flow.present.has(Present::MPLS1) {
            return None;
        }
        self.see(|m| m.mpls_lse[1] = LSE_TTL.into());
        Some(self.key.flow.mpls_lse[1].get() & LSE_TTL)
    }
}

/// What leaves on a port by this action has mirrors look at its tags, and queues write its DSCP.
fn sends(action: &Action) -> bool {
    matches!(
        action,
        Action::Output { .. } | Action::OutputTruncated { .. } | Action::Enqueue { .. }
    )
}

/// The TTL of a label.
const LSE_TTL: u32 = 0xff;

/// A port number as a register holds it: 16 bits are OpenFlow 1.0's numbering.
fn port_number(value: u128, bits: u8) -> OfPort {
    if bits <= 16 {
        OfPort::from_u16(value as u16)
    } else {
        OfPort(value as u32)
    }
}
