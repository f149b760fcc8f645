//! Doing what a flow says to a frame.
//!
//! A list runs from front to back over one frame. The last step gets the frame itself, an output before it a copy from the
//! pool: a flow with one output never copies and never allocates. Nothing here looks anything up: a recirculated frame is
//! put aside ([`Executor::next_recirculated`]) and the datapath takes it through the caches when the list is done, so
//! that lists never nest deeper than they are written.

mod set;

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::{HashMap, HashMapExt};
use rvs_dpif::meter::{BandKind, Meter, Metered};
use rvs_dpif::{
    limits, Announce, DpAction, DropReason, Egress, Megaflow, MeterId, PuntReason, Upcall,
    UpcallKind, UpcallSink, WorkerId,
};
use rvs_flow::{DpPort, FlowKey};
use rvs_packet::view::Lse;
use rvs_packet::{edit, gso, Frame, FramePool, Now, Offload};

use crate::stats::WorkerCounters;

/// Recirculations that one frame and its copies may make together.
const RECIRCULATED_MAX: usize = 1024;

/// A frame on its way back to the caches.
#[derive(Debug)]
pub(crate) struct Recirculated {
    pub frame: Frame,
    pub id: u32,
    pub depth: u8,
}

/// The moment and the two ways out.
pub(crate) struct Io<'a, T, U> {
    pub now: Now,
    pub tx: &'a mut T,
    pub up: &'a mut U,
}

/// Where a frame comes from: the key it was looked up with, and the recirculations behind it.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub key: &'a FlowKey,
    pub depth: u8,
}

/// What every list of one worker shares.
#[derive(Debug)]
pub(crate) struct Executor {
    pub worker: WorkerId,
    pub pool: FramePool,
    pub meters: HashMap<MeterId, Arc<Meter>>,
    pub counters: Arc<WorkerCounters>,
    /// Outputs since they were last published.
    pub outputs: u64,
    recirculated: VecDeque<Recirculated>,
    recirculated_of_frame: usize,
    /// Scratch for segments.
    pub segments: Vec<Frame>,
}

impl Executor {
    pub(crate) fn new(worker: WorkerId, counters: Arc<WorkerCounters>) -> Self {
        Self {
            worker,
            pool: FramePool::new(),
            meters: HashMap::new(),
            counters,
            outputs: 0,
            recirculated: VecDeque::new(),
            recirculated_of_frame: 0,
            segments: Vec::new(),
        }
    }

    /// Forgets what an aborted frame left behind.
    pub(crate) fn reset(&mut self) {
        self.recirculated.clear();
        self.recirculated_of_frame = 0;
    }

    /// A frame that waits to go through the caches again. When there is none, the frame that came in is done.
    #[inline]
    pub(crate) fn next_recirculated(&mut self) -> Option<Recirculated> {
        if self.recirculated_of_frame == 0 {
            return None;
        }
        let next = self.recirculated.pop_front();
        if next.is_none() {
            self.recirculated_of_frame = 0;
        }
        next
    }

    /// Counts a frame that goes nowhere and takes its buffer back.
    #[cold]
    pub(crate) fn drop(&mut self, frame: Frame, reason: DropReason) {
        self.counters.drops.add(reason, 1);
        self.pool.give(frame);
    }

    /// Does what an installed flow says.
    #[inline]
    pub(crate) fn perform<T: Egress, U: UpcallSink>(
        &mut self,
        io: &mut Io<'_, T, U>,
        from: Origin<'_>,
        flow: &Megaflow,
        frame: Frame,
    ) {
        self.run(io, from, &flow.actions, flow.drop, frame);
    }

    /// Runs a list on a frame; an empty one drops it, for `reason` if there is one.
    #[inline]
    pub(crate) fn run<T: Egress, U: UpcallSink>(
        &mut self,
        io: &mut Io<'_, T, U>,
        from: Origin<'_>,
        actions: &[DpAction],
        reason: Option<DropReason>,
        frame: Frame,
    ) {
        match actions {
            // The common flow: one output, no copy.
            [DpAction::Output(port)] => self.output(io, *port, frame),
            [] => self.drop(frame, reason.unwrap_or(DropReason::Action)),
            _ => self.steps(io, from, actions, frame, 0),
        }
    }

    fn steps<T: Egress, U: UpcallSink>(
        &mut self,
        io: &mut Io<'_, T, U>,
        from: Origin<'_>,
        actions: &[DpAction],
        frame: Frame,
        nesting: u8,
    ) {
        let mut rest = actions;
        let mut held = Some(frame);
        while let (Some((action, after)), Some(frame)) = (rest.split_first(), held.as_mut()) {
            let here = std::mem::replace(&mut rest, after);
            match action {
                DpAction::Output(port) => {
                    if let Some(out) = self.copy_or_last(&mut held, after) {
                        self.output(io, *port, out);
                    }
                }
                DpAction::OutputTruncated { port, max_len } => {
                    self.output_truncated(io, *port, usize::from(*max_len), frame);
                }
                DpAction::Set(_) => rest = set::fields(frame, here),
                DpAction::Priority(priority) => frame.priority = *priority,
                DpAction::Recirc(id) => {
                    if let Some(out) = self.copy_or_last(&mut held, after) {
                        self.recirculate(from, *id, out);
                    }
                }
                DpAction::Punt { reason, cookie } => self.punt(io, from, *reason, *cookie, frame),
                DpAction::Meter(id) => match held.take().map(|f| self.meter(io.now, *id, f)) {
                    Some(Passed::Whole(f)) => held = Some(f),
                    Some(Passed::Segments(segments)) => {
                        return self.each(io, from, after, segments, nesting);
                    }
                    Some(Passed::Nothing) | None => return,
                },
                DpAction::Clone(list) => {
                    if let Some(out) = self.copy_or_last(&mut held, after) {
                        self.nested(io, from, list, out, nesting);
                    }
                }
                DpAction::Announce(what) if frame.offload.is_plain() => announce(frame, what),
                DpAction::Announce(_) => {
                    let segments = self.plain(frame);
                    if let Some(frame) = held.take() {
                        self.pool.give(frame);
                    }
                    return self.each(io, from, here, segments, nesting);
                }
                DpAction::CheckPktLen {
                    max_len,
                    larger,
                    otherwise,
                } => {
                    let exceeds = largest_on_wire(frame) > usize::from(*max_len);
                    let list = if exceeds { larger } else { otherwise };
                    if let Some(out) = self.copy_or_last(&mut held, after) {
                        self.nested(io, from, list, out, nesting);
                    }
                }
                DpAction::PushVlan { .. }
                | DpAction::PopVlan
                | DpAction::PushMpls { .. }
                | DpAction::PopMpls { .. }
                | DpAction::CopyTtlOut
                | DpAction::CopyTtlIn
                | DpAction::PushPbb { .. }
                | DpAction::PopPbb => reshape(frame, action),
            }
        }
        if let Some(frame) = held {
            self.pool.give(frame);
        }
    }

    /// The frame itself for the last step of a list, a copy for one before.
    fn copy_or_last(&mut self, held: &mut Option<Frame>, after: &[DpAction]) -> Option<Frame> {
        if after.is_empty() {
            return held.take();
        }
        held.as_ref().map(|f| self.pool.copy(f))
    }

    fn nested<T: Egress, U: UpcallSink>(
        &mut self,
        io: &mut Io<'_, T, U>,
        from: Origin<'_>,
        actions: &[DpAction],
        frame: Frame,
        nesting: u8,
    ) {
        if nesting >= limits::ACTION_NESTING {
            return self.drop(frame, DropReason::TooDeep);
        }
        self.steps(io, from, actions, frame, nesting + 1);
    }

    /// Runs the list on each segment of a super-frame that a meter let through in part.
    fn each<T: Egress, U: UpcallSink>(
        &mut self,
        io: &mut Io<'_, T, U>,
        from: Origin<'_>,
        actions: &[DpAction],
        segments: Vec<Frame>,
        nesting: u8,
    ) {
        for segment in segments {
            self.steps(io, from, actions, segment, nesting);
        }
    }

    #[inline]
    fn output<T: Egress, U>(&mut self, io: &mut Io<'_, T, U>, port: DpPort, frame: Frame) {
        match io.tx.output(port, frame) {
            Ok(()) => self.outputs += 1,
            Err(reason) => self.counters.drops.add(reason, 1),
        }
    }

    /// What is sent is the beginning of each frame that the wire would have seen.
    fn output_truncated<T: Egress, U>(
        &mut self,
        io: &mut Io<'_, T, U>,
        port: DpPort,
        max_len: usize,
        frame: &Frame,
    ) {
        let mut plain = self.plain(frame);
        for mut out in plain.drain(..) {
            out.truncate(max_len);
            self.output(io, port, out);
        }
        self.segments = plain;
    }

    fn recirculate(&mut self, from: Origin<'_>, id: u32, frame: Frame) {
        if from.depth >= limits::RECIRCULATIONS || self.recirculated_of_frame >= RECIRCULATED_MAX {
            return self.drop(frame, DropReason::RecircTooDeep);
        }
        self.recirculated_of_frame += 1;
        self.recirculated.push_back(Recirculated {
            frame,
            id,
            depth: from.depth + 1,
        });
    }

    /// Hands a copy up as it would look on a wire; a super-frame as its segments.
    fn punt<T, U: UpcallSink>(
        &mut self,
        io: &mut Io<'_, T, U>,
        from: Origin<'_>,
        reason: PuntReason,
        cookie: u64,
        frame: &Frame,
    ) {
        let mut plain = self.plain(frame);
        let mut segments = plain.drain(..);
        for frame in segments.by_ref() {
            let kind = UpcallKind::Punt { reason, cookie };
            if !self.offer(io, from.key, kind, frame) {
                self.counters.drops.add(DropReason::UpcallQueueFull, 1);
                break;
            }
        }
        // The queue is full: the other segments would be refused one by one.
        for frame in segments {
            self.drop(frame, DropReason::UpcallQueueFull);
        }
        self.segments = plain;
    }

    /// Asks the slow path about a frame that no flow decides. False when there was no room.
    pub(crate) fn ask_about<T, U: UpcallSink>(
        &mut self,
        io: &mut Io<'_, T, U>,
        key: &FlowKey,
        frame: &Frame,
    ) -> bool {
        if !io.up.has_room(DpPort(key.in_port)) {
            self.counters.upcalls_refused.add(1);
            return false;
        }
        // It does not come back: a buffer of the pool would be missed there.
        self.offer(io, key, UpcallKind::Miss, frame.compact_copy())
    }

    /// Sends a question or a punt up. False when there was no room.
    fn offer<T, U: UpcallSink>(
        &self,
        io: &mut Io<'_, T, U>,
        key: &FlowKey,
        kind: UpcallKind,
        frame: Frame,
    ) -> bool {
        let upcall = Upcall {
            worker: self.worker,
            kind,
            key: *key,
            frame,
            asked: io.now,
        };
        let taken = io.up.offer(upcall).is_ok();
        let c = &self.counters;
        if taken {
            &c.upcalls
        } else {
            &c.upcalls_refused
        }
        .add(1);
        taken
    }

    /// Copies of what the wire would see: checksums complete, super-frames cut. Empty, and counted, when that can't be.
    pub(crate) fn plain(&mut self, frame: &Frame) -> Vec<Frame> {
        let mut out = std::mem::take(&mut self.segments);
        match gso::segment(frame, &mut self.pool, &mut out) {
            Ok(()) => self
                .counters
                .segmented
                .add(u64::from(frame.offload.gso.is_some())),
            Err(_) => self.counters.drops.add(DropReason::CannotSegment, 1),
        }
        out
    }

    fn meter(&mut self, now: Now, id: MeterId, frame: Frame) -> Passed {
        let Some(meter) = self.meters.get(&id).cloned() else {
            return Passed::Whole(frame);
        };
        if frame.offload.gso.is_none() {
            return match self.charge(&meter, now, frame) {
                Some(frame) => Passed::Whole(frame),
                None => Passed::Nothing,
            };
        }
        let (packets, bytes) = gso::on_wire(&frame);
        if meter.charge_whole(now, packets, bytes) {
            return Passed::Whole(frame);
        }
        let mut segments = self.plain(&frame);
        self.pool.give(frame);
        let mut passed = Vec::with_capacity(segments.len());
        for segment in segments.drain(..) {
            if let Some(segment) = self.charge(&meter, now, segment) {
                passed.push(segment);
            }
        }
        self.segments = segments;
        Passed::Segments(passed)
    }

    /// Charges one frame of the wire; `None` when the meter drops it.
    fn charge(&mut self, meter: &Meter, now: Now, mut frame: Frame) -> Option<Frame> {
        match meter.charge(now, frame.len() as u64) {
            Metered::Pass => {}
            Metered::Exceeds(BandKind::Drop) => {
                self.drop(frame, DropReason::Meter);
                return None;
            }
            Metered::Exceeds(BandKind::DscpRemark(levels)) => set::remark(&mut frame, levels),
        }
        Some(frame)
    }
}

/// What a meter left of a frame.
enum Passed {
    Whole(Frame),
    Segments(Vec<Frame>),
    Nothing,
}

/// Octets of the largest frame that the wire would see.
fn largest_on_wire(frame: &Frame) -> usize {
    let count = gso::segment_count(frame);
    match frame.offload.gso {
        Some(g) if count > 1 => {
            let headers = (gso::wire_len(frame) - frame.len()) / (count - 1);
            headers + usize::from(g.size)
        }
        _ => frame.len(),
    }
}

fn announce(frame: &mut Frame, what: &Announce) {
    match *what {
        Announce::EthType { tags, value } => edit::set_eth_type(frame, tags.into(), value),
        Announce::IpProto(proto) => edit::Edit::new(frame).set_ip_proto(proto),
        Announce::MplsBos(last) => edit::set_mpls_lse(frame, Lse::new(0, 0, last, 0), Lse::BOS),
    };
    // What the kernel has verified is not what it would read now.
    frame.offload = Offload::NONE;
}

/// Pushes, pops and copies of TTLs. On a frame that lacks the header they change nothing.
fn reshape(frame: &mut Frame, action: &DpAction) {
    match action {
        DpAction::PushVlan { tpid, tci } => edit::push_vlan(frame, *tpid, *tci),
        DpAction::PopVlan => edit::pop_vlan(frame),
        DpAction::PushMpls { ethertype, lse } => edit::push_mpls(frame, *ethertype, Lse(*lse)),
        DpAction::PopMpls { ethertype } => edit::pop_mpls(frame, *ethertype),
        DpAction::CopyTtlOut => edit::copy_ttl_out(frame),
        DpAction::CopyTtlIn => edit::copy_ttl_in(frame),
        DpAction::PushPbb { isid } => edit::push_pbb(frame, *isid),
        DpAction::PopPbb => edit::pop_pbb(frame),
        _ => false,
    };
}
