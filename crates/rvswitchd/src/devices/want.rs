//! What ports need to have loaded into the kernel: the ingress drop and the kernel's cache. The first port that wants them
//! has them loaded; where the kernel refused, it is asked again, and ports that went without get them then.

use std::time::Duration;

use rvs_switch::config::IfaceKind;
use rvs_switch::platform::{PortEvent, PortSpec};

use crate::clock;
use crate::devices::way::Way;
use crate::devices::Devices;
use crate::tier0::Tier0;
use crate::wanted::Asked;
use crate::worker::Order;

/// How much of a turn of the control thread goes to ports that wait; one of them is served in any case.
const SLICE: Duration = Duration::from_millis(10);

impl Devices {
    /// Has the kernel load what a port needs, unless that is there or was refused a moment ago.
    pub(super) fn want(&mut self, spec: &PortSpec, asked: Asked) {
        if !matches!(spec.kind, IfaceKind::System | IfaceKind::Internal) {
            return;
        }
        let now = clock::now();
        if self.drop.want(now, asked) {
            self.came |= self.drop.refused() > 0;
        }
        if spec.kernel_cache && !spec.policed && self.kernel.want(now, asked) {
            self.came |= self.kernel.refused() > 0;
            self.unnamed = true;
            self.cache_is_there();
        }
    }

    pub(super) fn cache_is_there(&self) {
        let Ok(tier0) = self.kernel.get() else { return };
        if let Some(time) = self.survive {
            tier0.set_survive(time);
        }
        for worker in &self.workers {
            worker.send(Order::Nominate);
        }
    }

    /// Asks again for what was refused; where it comes, the ports that went without wait for their turn to get it.
    pub(super) fn want_again(&mut self) {
        if self.drop.get().is_err() || self.kernel.get().is_err() {
            let needy = |cache: bool| {
                let mut all = self.open.values().filter(|d| d.packet.is_some());
                all.find(|d| !cache || d.spec.kernel_cache && !d.spec.policed)
            };
            // One that wants both speaks for those that want one.
            let spec = needy(true).or(needy(false)).map(|d| d.spec.clone());
            if let Some(spec) = spec {
                self.want(&spec, Asked::ByTime);
            }
        }
        if std::mem::take(&mut self.came) {
            let outside =
                |d: &super::Device| d.packet.is_some() && !matches!(d.way, Way::Kernel(_));
            let all = self.open.iter().filter(|(_, d)| outside(d));
            self.waiting.extend(all.map(|(dp, _)| *dp));
        }
    }

    /// Whether ports wait for their turn to get what came late.
    pub fn have_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Gives what came late to a few of the ports that went without. One takes as long as a grace period of the kernel, or
    /// several: were it all of them at once, nobody else would be answered for seconds.
    pub fn serve_waiting(&mut self) -> Vec<PortEvent> {
        let mut events = Vec::new();
        let started = clock::running();
        while let Some(dp) = self.waiting.pop_first() {
            // Those that move into the kernel need none.
            self.place_and_tell(dp, &mut events);
            self.give_drop(dp);
            if clock::running().since(started) >= SLICE {
                break;
            }
        }
        events
    }

    /// How long flows in the kernel are to go on without the daemon.
    pub fn set_survive(&mut self, time: Duration) {
        self.survive = Some(time);
        if let Ok(tier0) = self.kernel.get() {
            tier0.set_survive(time);
        }
    }

    /// The kernel's cache, once, when it was loaded and has no names yet.
    pub fn take_unnamed(&mut self) -> Option<Tier0> {
        let unnamed = std::mem::take(&mut self.unnamed);
        self.kernel.get().ok().filter(|_| unnamed).cloned()
    }

    /// Nobody has wanted the kernel's cache, or the ingress drop, so far.
    pub fn are_untried(&self) -> (bool, bool) {
        (self.kernel.is_untried(), self.drop.is_untried())
    }

    /// How often the kernel refused to load what is wanted.
    pub const fn refusals(&self) -> [(&'static str, u64); 2] {
        [
            ("kcache_load_refused", self.kernel.refused()),
            ("ingress_drop_load_refused", self.drop.refused()),
        ]
    }
}
