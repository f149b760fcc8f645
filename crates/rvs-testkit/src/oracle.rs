//! Judges: the naive interpreter on what must leave, a fresh translation on what is cached.

use std::collections::BTreeMap;

use rvs_flow::{DpPort, OdpFlow};
use rvs_packet::gso::{fits, Fit};
use rvs_packet::Frame;
use rvs_pipeline::{reference, translate, CachedEffect, NoTrace};

use crate::switch::TestSwitch;

/// Frames by the port they leave on, each port's in order.
pub type Sent = BTreeMap<String, Vec<Vec<u8>>>;

/// Sorts what [`TestSwitch::sent_all`] gave by port.
pub fn by_port(frames: Vec<(String, Vec<u8>)>) -> Sent {
    let mut out = Sent::new();
    for (port, frame) in frames {
        out.entry(port).or_default().push(frame);
    }
    out
}

impl TestSwitch {
    /// What must leave when `bytes` arrives on `port` now, by the interpreter, as far as the ports let it through.
    pub fn expected(&mut self, port: &str, bytes: &[u8]) -> Sent {
        let frame = Frame::from_slice(bytes);
        let dp = self.dp(port);
        let outcome = {
            let slow = self.slow();
            reference::interpret(slow.world(), slow.macs(), &frame, dp)
        };
        let mut out = Sent::new();
        for (dp, bytes) in outcome.outputs {
            if self.lets_through(dp, &bytes) {
                out.entry(self.name(dp)).or_default().push(bytes);
            }
        }
        out
    }

    fn lets_through(&mut self, port: DpPort, bytes: &[u8]) -> bool {
        let frame = Frame::from_slice(bytes);
        self.switch.rim.fabric.device_of(port).is_some_and(|d| {
            d.info.admin_up && !matches!(fits(&frame, d.info.mtu), Fit::TooBig { .. })
        })
    }

    /// Sends one frame and holds what left against the interpreter.
    ///
    /// # Panics
    /// When they differ.
    pub fn judge(&mut self, port: &str, bytes: &[u8]) -> Sent {
        self.sent_all();
        let got = by_port(self.forward(port, bytes));
        // The frame has taught its lesson before it was forwarded, so the tables are now as they were then.
        let expected = self.expected(port, bytes);
        assert_eq!(got, expected, "on {port}: {}", crate::packet::text(bytes));
        got
    }

    /// Asserts property P3: every cached entry is what a fresh translation of its key gives, and teaches nothing that
    /// contradicts the tables; workers hold exactly the entries that the slow path knows of.
    ///
    /// # Panics
    /// With the first entry that is not true.
    pub fn assert_converged(&mut self) {
        self.assert_entries(true);
    }

    /// As [`Self::assert_converged`], after rules have changed: an entry none of whose packets a new rule matches stays as
    /// it is, though a lookup of today may tell the two apart by other bits than its mask has.
    ///
    /// # Panics
    /// With the first entry that is not true.
    pub fn assert_true(&mut self) {
        self.assert_entries(false);
    }

    fn assert_entries(&mut self, masks_too: bool) {
        let mut installed = 0;
        for w in 0..self.workers() {
            let flows: Vec<_> = self.datapath(w).flows().iter().cloned().collect();
            let slow = self.slow();
            installed += flows.len();
            for flow in flows {
                let text = OdpFlow::new(&flow.key, &flow.mask).to_string();
                assert!(
                    slow.flows().get(flow.id).is_some(),
                    "worker {w} has an entry that the slow path does not know: {text}"
                );
                let fresh = translate(&slow.view(), &flow.key, &mut NoTrace);
                assert!(fresh.cacheable, "not cacheable any more: {text}");
                if fresh.notes.is_empty() && fresh.frozen.is_empty() {
                    assert_eq!(fresh.actions[..], flow.actions[..], "actions of {text}");
                }
                assert_eq!(
                    fresh.drop, flow.drop,
                    "drop reason of {text}, {:?}, which should be {:?}",
                    flow.actions, fresh.actions
                );
                assert!(
                    !masks_too || fresh.mask.is_subset_of(&flow.mask),
                    "{text} looks at too little: {}",
                    OdpFlow::new(&flow.key, &fresh.mask)
                );
                for effect in &fresh.effects {
                    if let CachedEffect::Learn { bridge, lesson } = effect {
                        let table = slow.macs().get(*bridge).unwrap();
                        // A forgotten address is taught by the next sweep; a static or held one is not moved.
                        let deaf = table
                            .entry(lesson.key)
                            .is_some_and(|e| e.port != lesson.port && !e.is_static);
                        assert!(
                            !deaf || table.stats().held > 0,
                            "{text} teaches {lesson:?}, which nobody hears"
                        );
                    }
                }
            }
        }
        assert_eq!(installed, self.slow().flows().len(), "entries installed");
    }
}
