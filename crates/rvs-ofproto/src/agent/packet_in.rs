//! Copies of frames for controllers.
//!
//! A frame is sent whole, whatever the `max_len` of the action or the `miss_send_len` of the connection: they cut what is
//! buffered (OpenFlow 1.3.5 section 7.4.1), and nothing is. A controller that sends such a frame back sends what came.

use rvs_flow::{FieldId, OfPort, PipelineKey};
use rvs_openflow::message::PacketIn;
use rvs_openflow::{FlowMatch, Message, PacketInReason, Version};
use rvs_packet::Now;
use rvs_pipeline::PacketInNote;

use super::agent::Agent;
use super::connection::Connection;

impl Agent {
    /// Queues a copy for every connection that wants it. `frame` is the frame's start, `total_len` its length.
    pub fn packet_in(&mut self, now: Now, frame: &[u8], total_len: u32, note: &PacketInNote) {
        let port = OfPort(note.fields.of_port);
        let is_miss = note.reason == PacketInReason::NoMatch;
        let mut message = None;
        for conn in self.conns.values_mut().filter(|c| wants(c, note)) {
            let message = message.get_or_insert_with(|| {
                let paused = note.paused.as_ref();
                let continuation = paused.map(|s| self.continuations.keep(now, s.clone()));
                let continuation = continuation.unwrap_or_default();
                Message::PacketIn(Box::new(packet_in(frame, total_len, note, continuation)))
            });
            if let Message::PacketIn(p) = message {
                p.reason = told_reason(note, conn.version());
            }
            match conn.dialect.encode(message, 0) {
                Ok(bytes) => conn.add_packet_in(now, port, is_miss, bytes),
                Err(e) => tracing::debug!(conn = conn.id.0, "a packet-in was not sent: {e}"),
            }
        }
        self.copy_to_snoops();
    }
}

impl Connection {
    fn add_packet_in(&mut self, now: Now, port: OfPort, is_miss: bool, bytes: Vec<u8>) {
        let waited = !self.packet_ins.is_empty();
        self.packet_ins.push(port, is_miss, bytes);
        self.pump(now);
        if !waited && self.packet_ins.is_empty() {
            self.packet_ins.passed_at_once(is_miss);
        }
    }
}

/// A miss without a flow goes to those of 1.2 and before: later versions drop it.
fn wants(conn: &Connection, note: &PacketInNote) -> bool {
    conn.hears_events()
        && conn.controller == note.controller
        && conn
            .masks
            .wants_packet_in(told_reason(note, conn.version()), conn.is_secondary())
        && !(note.miss && conn.version() >= Version::Of13)
}

/// Before 1.3 there are no table-miss flows: what they do is done by an action.
fn told_reason(note: &PacketInNote, version: Version) -> PacketInReason {
    match note.miss_flow && version < Version::Of13 {
        true => PacketInReason::Action,
        false => note.reason,
    }
}

fn packet_in(frame: &[u8], total_len: u32, note: &PacketInNote, continuation: Vec<u8>) -> PacketIn {
    let mut p = PacketIn::new(OfPort(note.fields.of_port), note.reason);
    p.total_len = total_len;
    p.table = note.table;
    p.cookie = Some(note.told_cookie()).filter(|c| *c != u64::MAX);
    p.userdata = note.userdata.to_vec();
    p.continuation = continuation;
    p.data = frame.to_vec();
    set_fields(&mut p.metadata, &note.fields);
    p
}

/// The fields of the pipeline that are not 0.
fn set_fields(m: &mut FlowMatch, k: &PipelineKey) {
    let regs = k.regs.iter().zip(0u8..);
    let regs = regs.filter_map(|(v, n)| Some((FieldId::reg(n)?, u128::from(v.get()))));
    let others = [
        (FieldId::Metadata, u128::from(k.metadata.get())),
        (FieldId::TunId, u128::from(k.tun_id.get())),
        (FieldId::PktMark, u128::from(k.flow.pkt_mark)),
    ];
    for (field, value) in others.into_iter().chain(regs).filter(|(_, v)| *v != 0) {
        // A value of the field's own width fits it.
        let _ = m.set_exact(field, value);
    }
}

/// Puts the fields that the controller names in place of what was frozen. The frame's own come from the frame.
pub(super) fn restore_fields(k: &mut PipelineKey, m: &FlowMatch) {
    let (value, mask) = (m.value(), &m.mask().0);
    let u64s = |old: u64, v: u64, m: u64| old & !m | v & m;
    let u32s = |old: u32, v: u32, m: u32| old & !m | v & m;
    k.of_port = u32s(k.of_port, value.of_port, mask.of_port);
    let metadata = (k.metadata.get(), value.metadata.get(), mask.metadata.get());
    k.metadata.set(u64s(metadata.0, metadata.1, metadata.2));
    k.tun_id
        .set(u64s(k.tun_id.get(), value.tun_id.get(), mask.tun_id.get()));
    let mark = &mut k.flow.pkt_mark;
    *mark = u32s(*mark, value.flow.pkt_mark, mask.flow.pkt_mark);
    for ((r, v), m) in k.regs.iter_mut().zip(&value.regs).zip(&mask.regs) {
        r.set(u32s(r.get(), v.get(), m.get()));
    }
}
