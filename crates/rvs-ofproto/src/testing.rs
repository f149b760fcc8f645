//! A switch around one bridge that keeps what it is told, for tests of both rooms.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::RandomState;
use rvs_flow::{DpPort, Match, NoPortNames, OfPort};
use rvs_openflow::message::PortStats;
use rvs_openflow::FlowMatch;
use rvs_packet::Now;
use rvs_pipeline::{Bridge, BridgeId, ChangeSet, FrozenState, Port, Ports};

use crate::Plant;

pub(crate) const BRIDGE: BridgeId = BridgeId(1);

/// What a [`FakePlant`] was asked to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    Publish(ChangeSet),
    Settle,
    Credit,
    Execute(Box<FrozenState>, Vec<u8>),
    PortUp(OfPort, bool),
    Meter(rvs_dpif::MeterId, bool),
}

type OnSettle = Box<dyn FnMut(&Bridge)>;

/// A bridge without packets.
pub(crate) struct FakePlant {
    pub(crate) bridge: Option<Arc<Bridge>>,
    pub(crate) calls: Vec<Call>,
    pub(crate) meters: BTreeMap<rvs_dpif::MeterId, Option<Arc<rvs_dpif::Meter>>>,
    pub(crate) max_meters: usize,
    free_meters: Vec<rvs_dpif::MeterId>,
    /// Calls are not kept.
    pub(crate) silent: bool,
    /// Runs while a `credit` or `settle` is under way, as packets' counts arrive.
    pub(crate) on_settle: Option<OnSettle>,
}

impl FakePlant {
    /// A bridge with three ports and no flows.
    pub(crate) fn new() -> Self {
        let mut bridge = Bridge::new(BRIDGE, "br0");
        let ports = (1..=3).map(|n| {
            let port = Port::device(OfPort(n), DpPort(n), &format!("eth{n}"));
            (port, Default::default())
        });
        bridge.ports = Arc::new(Ports::singles(ports).unwrap());
        Self {
            bridge: Some(Arc::new(bridge)),
            calls: Vec::new(),
            meters: BTreeMap::new(),
            max_meters: usize::MAX,
            free_meters: Vec::new(),
            silent: false,
            on_settle: None,
        }
    }

    pub(crate) fn up(&self) -> &Arc<Bridge> {
        self.bridge.as_ref().unwrap()
    }

    /// The calls since the last time, without those that only ask for counts.
    pub(crate) fn take_calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.calls)
    }

    fn counts_arrive(&mut self) {
        if let (Some(f), Some(b)) = (&mut self.on_settle, &self.bridge) {
            f(b);
        }
    }
}

impl Plant for FakePlant {
    fn bridge(&self, id: BridgeId) -> Option<Arc<Bridge>> {
        self.bridge.clone().filter(|b| b.id == id)
    }

    fn publish(&mut self, bridge: Bridge, changes: &ChangeSet) {
        assert!(bridge.version > self.up().version);
        self.bridge = Some(Arc::new(bridge));
        if !self.silent {
            self.calls.push(Call::Publish(changes.clone()));
        }
    }

    fn settle(&mut self) {
        self.calls.push(Call::Settle);
        self.counts_arrive();
    }

    fn credit(&mut self) {
        self.calls.push(Call::Credit);
        self.counts_arrive();
    }

    fn execute(&mut self, _now: Now, start: FrozenState, frame: Vec<u8>) {
        self.calls.push(Call::Execute(Box::new(start), frame));
    }

    fn port_stats(&mut self, _now: Now, _bridge: BridgeId, port: OfPort) -> Option<PortStats> {
        self.up().ports.get(port)?;
        Some(PortStats {
            port,
            ..PortStats::default()
        })
    }

    fn set_port_up(&mut self, _bridge: BridgeId, port: OfPort, up: bool) {
        self.calls.push(Call::PortUp(port, up));
    }

    fn new_meter(&mut self) -> Option<rvs_dpif::MeterId> {
        if self.meters.len() >= self.max_meters {
            return None;
        }
        // The last one given back, or a new one: quick for any number.
        let id = self.free_meters.pop().unwrap_or_else(|| {
            let n = u32::try_from(self.meters.len()).unwrap();
            rvs_dpif::MeterId(n)
        });
        self.meters.insert(id, None);
        Some(id)
    }

    fn set_meter(&mut self, id: rvs_dpif::MeterId, meter: Option<Arc<rvs_dpif::Meter>>) {
        self.calls.push(Call::Meter(id, meter.is_some()));
        match meter {
            Some(m) => self.meters.insert(id, Some(m)),
            None => {
                self.free_meters.push(id);
                self.meters.remove(&id)
            }
        };
    }
}

/// A hasher that is the same in every run.
pub(crate) fn hasher() -> RandomState {
    RandomState::with_seeds(1, 2, 3, 4)
}

/// A match in the words of `ovs-ofctl`.
pub(crate) fn matching(text: &str) -> FlowMatch {
    Match::parse(text, &NoPortNames).unwrap()
}

/// A port as the switch describes it.
pub(crate) fn port(number: u32) -> rvs_openflow::message::Port {
    use rvs_openflow::message::{Port, PortConfig, PortFeatures, PortState};
    Port {
        number: OfPort(number),
        mac: rvs_packet::MacAddr([2, 0, 0, 0, 0, number as u8]),
        name: format!("eth{number}"),
        config: PortConfig::default(),
        state: PortState::LIVE,
        current: PortFeatures::GB10_FD,
        advertised: PortFeatures::default(),
        supported: PortFeatures::default(),
        peer: PortFeatures::default(),
        current_speed: 10_000_000,
        max_speed: 10_000_000,
    }
}
