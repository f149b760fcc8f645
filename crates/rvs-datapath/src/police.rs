//! Ingress policing, before anything else becomes of a frame.

use rvs_dpif::{DropReason, Egress, UpcallSink};
use rvs_flow::{extract, DpPort};
use rvs_packet::{gso, Frame, Now};

use crate::datapath::Datapath;
use crate::execute::Io;

impl Datapath {
    /// The frame, if it passes whole. Of a super-frame that does not, the segments that pass are forwarded here.
    #[inline]
    pub(crate) fn police<T: Egress, U: UpcallSink>(
        &mut self,
        io: &mut Io<'_, T, U>,
        port: DpPort,
        frame: Frame,
    ) -> Option<Frame> {
        if self.policers.is_empty() {
            return Some(frame);
        }
        self.judge(io, port, frame)
    }

    fn judge<T: Egress, U: UpcallSink>(
        &mut self,
        io: &mut Io<'_, T, U>,
        port: DpPort,
        frame: Frame,
    ) -> Option<Frame> {
        let Some(policer) = self.policers.get(&port) else {
            return Some(frame);
        };
        if frame.offload.gso.is_none() {
            let passes = policer.admits(io.now, frame.len() as u64);
            return self.pass(passes, frame);
        }
        let (packets, bytes) = gso::on_wire(&frame);
        if policer.passes(io.now, packets, bytes) {
            return Some(frame);
        }
        for segment in self.admitted(io.now, port, frame) {
            // Flags may differ from segment to segment, and flows with them.
            let key = extract(&segment, port, self.parse);
            let found = self.find_one(&key);
            self.forward(io, &key, found, segment, 0);
            self.recirculate(io, port);
        }
        None
    }

    /// The segments of a super-frame that pass.
    fn admitted(&mut self, now: Now, port: DpPort, frame: Frame) -> Vec<Frame> {
        let mut segments = self.exec.plain(&frame);
        self.exec.pool.give(frame);
        let mut passed = Vec::with_capacity(segments.len());
        for segment in segments.drain(..) {
            let policer = self.policers.get(&port);
            let passes = policer.is_none_or(|p| p.admits(now, segment.len() as u64));
            passed.extend(self.pass(passes, segment));
        }
        self.exec.segments = segments;
        passed
    }

    fn pass(&mut self, passes: bool, frame: Frame) -> Option<Frame> {
        if passes {
            return Some(frame);
        }
        self.exec.drop(frame, DropReason::Policed);
        None
    }
}
