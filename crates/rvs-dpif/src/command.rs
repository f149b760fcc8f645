//! What the slow path tells a worker, in order.

use std::sync::Arc;

use rvs_flow::{DpPort, FlowKey};
use rvs_packet::Frame;

use crate::action::{Actions, MeterId};
use crate::drop::DropReason;
use crate::flow::{FlowId, Megaflow};
use crate::meter::Meter;
use crate::policer::Policer;

/// Names a moment in a worker's inbox: everything before it has taken effect once it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AckToken(pub u64);

/// A command to one worker. Commands take effect in the order sent.
#[derive(Debug)]
pub enum DpCommand {
    /// The answer to a miss: installs `flow` if there is one, then runs `actions` on the frames parked under `key`.
    Verdict {
        key: FlowKey,
        actions: Actions,
        drop: Option<DropReason>,
        flow: Option<Arc<Megaflow>>,
    },
    /// Puts a flow into the cache; one with the same (key, mask) is replaced.
    Install(Arc<Megaflow>),
    /// Removes a flow from every tier of the worker.
    Remove(FlowId),
    /// Removes every flow.
    Flush,
    /// Sends a frame of the slow path's own (packet-out, STP) through `actions`.
    Execute {
        frame: Frame,
        in_port: DpPort,
        actions: Actions,
    },
    /// Sets or takes away a meter. Frames of a flow whose meter is not there pass it.
    Meter {
        id: MeterId,
        meter: Option<Arc<Meter>>,
    },
    /// Polices what comes in on a port, or no longer.
    Police {
        port: DpPort,
        policer: Option<Arc<Policer>>,
    },
    /// Asks to be told when everything before this has taken effect.
    Ack(AckToken),
}
