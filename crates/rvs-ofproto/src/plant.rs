//! What the agent asks of the switch around it.

use std::sync::Arc;

use rvs_flow::OfPort;
use rvs_openflow::message::{PortStats, Queue, QueueStats};
use rvs_packet::Now;
use rvs_pipeline::{Bridge, BridgeId, ChangeSet, FrozenState};

/// The switch, as the agent of a bridge sees it. Calls do not fail: what can't be done is counted and logged behind them.
pub trait Plant {
    /// The bridge as packets see it now. `None`: it is not up.
    fn bridge(&self, id: BridgeId) -> Option<Arc<Bridge>>;

    /// Makes `bridge`, whose version is later than the last, and every rule of that version what packets see from now on.
    /// Rules written at later versions stay invisible. `changes` names everything that differs. Cached flows that it may touch are judged again; those that are wrong leave the caches soon, and for
    /// certain before the next [`Self::settle`] returns.
    fn publish(&mut self, bridge: Bridge, changes: &ChangeSet);

    /// A client that changed tables has sent a barrier, or committed a bundle: its part of the tables is as it is to be.
    fn completed(&mut self, _bridge: BridgeId, _by_controller: bool) {}

    /// Waits until no tier forwards a packet by anything older than what is published, and credits rules with what the
    /// flows that left have carried. Returns at once when nothing left.
    fn settle(&mut self);

    /// Credits rules, groups and tables with what cached flows have carried so far.
    fn credit(&mut self);

    /// Runs a frame of a controller's through the pipeline from where `start` says, in order with the other calls.
    fn execute(&mut self, now: Now, start: FrozenState, frame: Vec<u8>);

    /// Counters of a port; `None` when the bridge has no such port.
    fn port_stats(&mut self, now: Now, bridge: BridgeId, port: OfPort) -> Option<PortStats>;

    /// The queues of a port.
    fn queues(&mut self, _now: Now, _bridge: BridgeId, _port: OfPort) -> Vec<(Queue, QueueStats)> {
        Vec::new()
    }

    /// Sets a port administratively up or down (`OFPPC_PORT_DOWN`).
    fn set_port_up(&mut self, bridge: BridgeId, port: OfPort, up: bool);

    /// A number for a meter in the datapath that no other has; `None` when there are too many.
    fn new_meter(&mut self) -> Option<rvs_dpif::MeterId>;

    /// Sets a meter of the datapath, or takes it away, which frees its number.
    fn set_meter(&mut self, id: rvs_dpif::MeterId, meter: Option<Arc<rvs_dpif::Meter>>);
}
