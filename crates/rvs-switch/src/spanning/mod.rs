//! Spanning trees of the bridges: configuration, BPDUs and time in; port states, BPDUs and forgotten addresses out.
//!
//! A tree that anything has happened to is *stirred*. [`Switch::spread`] goes on until none is: it publishes the new states
//! of the bridge's ports first, waits until no cache says otherwise, and only then sends what the tree has to say. A patch
//! port to a bridge with a tree of its own is a wire between the two trees, and stirs the other one.

mod config;
mod status;

use std::collections::{BTreeMap, BTreeSet};

use rvs_dpif::{DpAction, DpCommand, WorkerId};
use rvs_flow::{DpPort, OfPort};
use rvs_l2::spanning::{
    in_frame, to_frame, BridgeId as TreeId, Config, Event, Forwarding, PortConfig, Role,
    RootStatus, SpanningTree,
};
use rvs_l2::Flush;
use rvs_openflow::message::PortState;
use rvs_openflow::Action;
use rvs_ovsdb::Uuid;
use rvs_packet::{Frame, MacAddr, Now};
use rvs_pipeline::{Bridge, BridgeId, FrozenState, StpState};

pub use config::{BridgeTree, PortTree, PortTrees};
pub use status::{role_name, rstp_state, stp_state};

use crate::config::IfaceKind;
use crate::ports::{BridgeState, PortState as PortRow};
use crate::status::RowStatus;
use crate::switch::{other_end, Rim, Switch};

/// What was last published of a tree.
type Shown = (RootStatus, Vec<(u32, Role, Forwarding)>);

/// A port that takes part in a tree.
struct Member {
    of: OfPort,
    tree: PortTree,
    up: bool,
    /// Path cost by the speed of its device.
    cost: u32,
}

/// The tree of one bridge.
#[derive(Debug)]
pub struct BridgeSpanning {
    pub tree: SpanningTree,
    /// Whose number each is: another interface is another port, which starts blocked.
    owners: BTreeMap<u32, String>,
    shown: Option<Shown>,
    /// The state of each port that was logged last.
    logged: BTreeMap<u32, StpState>,
    /// Ports that were asked to find out anew what their neighbours speak.
    rechecked: BTreeSet<u32>,
}

impl BridgeSpanning {
    /// What a port does with frames.
    pub fn state(&self, of: OfPort) -> StpState {
        let mut states = self.tree.states();
        let Some((_, role, state)) = states.find(|(key, ..)| *key == of.0) else {
            return StpState::Disabled;
        };
        let listens = !self.tree.config().rapid && matches!(role, Role::Root | Role::Designated);
        match state {
            Forwarding::Forwarding => StpState::Forwarding,
            Forwarding::Learning => StpState::Learning,
            Forwarding::Discarding if listens => StpState::Listening,
            Forwarding::Discarding => StpState::Blocking,
        }
    }

    /// What has changed since it was asked last: port, state before, state now.
    fn changed_states(&mut self) -> Vec<(u32, StpState, StpState)> {
        let keys = self.tree.states().map(|(key, ..)| key);
        let now: BTreeMap<u32, StpState> = keys.map(|k| (k, self.state(OfPort(k)))).collect();
        let was = std::mem::replace(&mut self.logged, now);
        let state = |of: &BTreeMap<u32, StpState>, k: u32| {
            of.get(&k).copied().unwrap_or(StpState::Disabled)
        };
        let all: BTreeSet<u32> = was.keys().chain(self.logged.keys()).copied().collect();
        all.into_iter()
            .map(|k| (k, state(&was, k), state(&self.logged, k)))
            .filter(|(_, was, now)| was != now)
            .collect()
    }

    fn now_shown(&self) -> Shown {
        (self.tree.root(), self.tree.states().collect())
    }
}

/// All trees, and which of them anything has happened to.
#[derive(Debug, Default)]
pub(crate) struct Trees {
    of: BTreeMap<BridgeId, BridgeSpanning>,
    stirred: BTreeSet<BridgeId>,
}

impl Trees {
    pub(crate) fn state(&self, bridge: BridgeId, of: OfPort) -> StpState {
        self.of
            .get(&bridge)
            .map_or(StpState::Disabled, |t| t.state(of))
    }

    pub(crate) fn remove(&mut self, bridge: BridgeId) {
        self.of.remove(&bridge);
        self.stirred.remove(&bridge);
    }
}

const fn state_word(state: StpState, rapid: bool) -> &'static str {
    match (state, rapid) {
        (StpState::Disabled, false) => "disabled",
        (StpState::Blocking, false) => "blocking",
        (StpState::Listening, false) => "listening",
        (StpState::Learning, false) => "learning",
        (StpState::Forwarding, false) => "forwarding",
        (StpState::Disabled, true) => "Disabled",
        (StpState::Blocking | StpState::Listening, true) => "Discarding",
        (StpState::Learning, true) => "Learning",
        (StpState::Forwarding, true) => "Forwarding",
    }
}

/// The state as OpenFlow 1.0 shows it.
pub(crate) const fn openflow_state(state: StpState, rapid: bool) -> u32 {
    match state {
        StpState::Disabled | StpState::Listening => PortState::STP_LISTEN.0,
        StpState::Blocking if rapid => PortState::STP_LISTEN.0,
        StpState::Blocking => PortState::STP_BLOCK.0,
        StpState::Learning => PortState::STP_LEARN.0,
        StpState::Forwarding => PortState::STP_FORWARD.0,
    }
}

impl<R: Rim> Switch<R> {
    /// The tree of a bridge that has one.
    pub fn spanning(&self, bridge: Uuid) -> Option<&BridgeSpanning> {
        self.trees.of.get(&self.bridge_id(bridge)?)
    }

    /// When time alone will change a tree.
    pub fn next_spanning(&self) -> Option<Now> {
        self.trees
            .of
            .values()
            .filter_map(|t| t.tree.next_run())
            .min()
    }

    /// Lets time pass for every tree.
    pub fn run_spanning(&mut self, now: Now) {
        let due: Vec<BridgeId> = self
            .trees
            .of
            .iter()
            .filter(|(_, t)| t.tree.next_run().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.opt_out(id);
            if let Some(t) = self.trees.of.get_mut(&id) {
                t.tree.run(now);
                self.trees.stirred.insert(id);
            }
        }
        self.spread();
    }

    /// Says that addresses of a bridge may have moved, as if its tree had changed. False without a tree.
    pub fn announce_topology_change(&mut self, now: Now, bridge: Uuid) -> bool {
        let Some(id) = self.bridge_id(bridge) else {
            return false;
        };
        let Some(t) = self.trees.of.get_mut(&id) else {
            return false;
        };
        t.tree.announce_change(now);
        self.trees.stirred.insert(id);
        self.spread();
        true
    }

    /// A BPDU has come in.
    pub(crate) fn heard_bpdu(&mut self, now: Now, bridge: BridgeId, port: OfPort, frame: &[u8]) {
        if let (Some(t), Some(bpdu)) = (self.trees.of.get_mut(&bridge), in_frame(frame)) {
            if let Err(e) = t.tree.receive(now, port.0, bpdu) {
                tracing::debug!("port {port}: a BPDU was not understood: {e:?}");
            }
            self.trees.stirred.insert(bridge);
            self.spread();
        }
    }

    /// Controllers take ports out of the tree (`OFPPC_NO_STP`): looked at once a second.
    fn opt_out(&mut self, id: BridgeId) {
        let Some(uuid) = self.uuid_of(id) else { return };
        let wanted = self.members(uuid, id);
        let Some(t) = self.trees.of.get(&id) else {
            return;
        };
        if wanted.len() != t.tree.states().count() {
            self.publish(uuid);
        }
    }

    pub(crate) fn uuid_of(&self, id: BridgeId) -> Option<Uuid> {
        self.bridge_ids
            .iter()
            .find_map(|(u, i)| (*i == id).then_some(*u))
    }

    /// Makes the tree of a bridge what the configuration wants.
    pub(crate) fn sync_tree(&mut self, uuid: Uuid, id: BridgeId) {
        let now = self.rim.now();
        let Some(state) = self.topology.bridge(uuid) else {
            return;
        };
        let Some(cfg) = state.cfg.spanning.clone() else {
            if self.trees.of.remove(&id).is_some() {
                let rows = status::cleared(state);
                self.write_status(&rows);
            }
            return;
        };
        let own = state
            .ifaces()
            .find(|(_, i)| i.of_port == OfPort::LOCAL)
            .and_then(|(_, i)| i.link());
        let mac = cfg.mac.or(own.map(|l| l.mac)).unwrap_or(MacAddr::ZERO);
        let wanted = self.members(uuid, id);
        let owners: BTreeMap<u32, String> = state
            .ifaces()
            .map(|(_, i)| (i.of_port.0, i.cfg.name.clone()))
            .collect();
        let config = Config {
            id: TreeId::new(cfg.priority, mac),
            rapid: cfg.rapid,
            max_age: cfg.max_age,
            hello: cfg.hello,
            forward_delay: cfg.forward_delay,
            transmit_hold: cfg.transmit_hold,
        };
        let t = self.trees.of.entry(id).or_insert_with(|| BridgeSpanning {
            tree: SpanningTree::new(config),
            owners: BTreeMap::new(),
            shown: None,
            logged: BTreeMap::new(),
            rechecked: BTreeSet::new(),
        });
        t.tree.configure(now, config);
        let before = std::mem::replace(&mut t.owners, owners);
        let owners = &t.owners;
        t.tree.retain_ports(now, |key| {
            wanted.contains_key(&key) && before.get(&key) == owners.get(&key)
        });
        for (key, (cfg, recheck)) in wanted {
            t.tree.set_port(now, key, cfg);
            if !recheck {
                t.rechecked.remove(&key);
            } else if t.rechecked.insert(key) {
                t.tree.check_protocol(now, key);
            }
        }
        self.trees.stirred.insert(id);
    }

    /// The ports that take part, by OpenFlow number, and whether they shall find out anew what their neighbours speak.
    /// Bonds and the switch's own interfaces do not; nor do more ports than the protocol can number.
    fn members(&self, uuid: Uuid, id: BridgeId) -> BTreeMap<u32, (PortConfig, bool)> {
        let mut members = BTreeMap::new();
        let Some((state, cfg)) = self
            .topology
            .bridge(uuid)
            .and_then(|b| Some((b, b.cfg.spanning.as_ref()?)))
        else {
            return members;
        };
        let rapid_keys = cfg.rapid || state.cfg.rstp;
        let most = if rapid_keys { 4095 } else { 255 };
        let mut found: Vec<Member> = state
            .ports
            .values()
            .filter_map(|p| self.member(p, rapid_keys, id))
            .collect();
        found.sort_by_key(|m| (m.tree.number.is_none(), m.of));
        let mut taken = BTreeSet::new();
        for Member { of, tree, up, cost } in found {
            let own = u16::try_from(of.0).ok();
            let mut wishes = [tree.number, own]
                .into_iter()
                .flatten()
                .filter(|n| *n <= most);
            let free = |n: &u16| !taken.contains(n);
            let Some(number) = wishes.find(free).or_else(|| (1..=most).find(free)) else {
                tracing::warn!(
                    "Bridge {}: port {of} is one too many for the spanning tree and left out of it",
                    state.cfg.name
                );
                continue;
            };
            taken.insert(number);
            members.insert(of.0, (tree.port(number, up, cost), tree.recheck));
        }
        members
    }

    fn member(&self, p: &PortRow, rapid: bool, id: BridgeId) -> Option<Member> {
        let [iface] = p.ifaces.as_slice() else {
            return None;
        };
        let tree = if rapid {
            p.cfg.trees.rstp
        } else {
            p.cfg.trees.stp
        };
        let link = iface.link()?;
        let opted_out = self
            .offices
            .get(&id)
            .is_some_and(|o| o.agent.state.port_config(iface.of_port).no_stp);
        let takes_part = tree.enabled
            && !opted_out
            && iface.cfg.kind != IfaceKind::Internal
            && iface.of_port != OfPort::LOCAL
            && iface.of_port != OfPort::ANY;
        takes_part.then(|| Member {
            of: iface.of_port,
            tree,
            up: link.admin_up && link.link_up,
            cost: config::cost_of(link.speed.map(|s| s.bits), rapid),
        })
    }

    /// Carries out what the trees have decided, until nothing is left to do.
    pub(crate) fn spread(&mut self) {
        while let Some(id) = self.trees.stirred.pop_first() {
            let Some(uuid) = self.uuid_of(id) else {
                continue;
            };
            let Some(t) = self.trees.of.get_mut(&id) else {
                continue;
            };
            let shown = t.now_shown();
            if t.shown.as_ref() != Some(&shown) {
                t.shown = Some(shown);
                let changed = t.changed_states();
                self.log_states(uuid, &changed);
                self.tell_agent(uuid, id);
                self.publish_bridge(uuid, id);
                self.write_spanning(uuid);
            }
            let events = self.trees.of.get_mut(&id).map(|t| t.tree.take_events());
            for event in events.unwrap_or_default() {
                match event {
                    Event::Flush { port } => self.forget_addresses(uuid, id, OfPort(port)),
                    Event::Send { port, bpdu } => self.send_bpdu(uuid, OfPort(port), &bpdu),
                }
            }
        }
    }

    /// Says what ports do now, in the words and as the module that scripts look for.
    fn log_states(&self, uuid: Uuid, changed: &[(u32, StpState, StpState)]) {
        let Some(bridge) = self.topology.bridge(uuid) else {
            return;
        };
        let rapid = bridge.cfg.rstp;
        let protocol = if rapid { "RSTP" } else { "STP" };
        for (key, was, now) in changed {
            let (was, now) = (state_word(*was, rapid), state_word(*now, rapid));
            if was == now {
                continue;
            }
            let mut ifaces = bridge.ifaces().map(|(_, i)| i);
            let found = ifaces.find(|i| i.of_port.0 == *key);
            tracing::debug!(
                target: "ofproto_dpif",
                "port {}: {protocol} state changed from {was} to {now}",
                found.map_or("?", |i| i.cfg.name.as_str())
            );
        }
    }

    fn forget_addresses(&mut self, uuid: Uuid, id: BridgeId, of: OfPort) {
        let world = self.slow().world().bridge(id).cloned();
        if let Some(bundle) =
            world.and_then(|b: std::sync::Arc<Bridge>| Some(b.ports.get(of)?.bundle))
        {
            self.flush_macs(
                uuid,
                Flush {
                    port: Some(bundle),
                    ..Flush::default()
                },
            );
        }
    }

    /// Sends a BPDU by a port, whatever its state: blocked ports speak too.
    fn send_bpdu(&mut self, uuid: Uuid, of: OfPort, bpdu: &[u8]) {
        /// One worker for all: what a port says stays in order.
        const WORKER: WorkerId = WorkerId(0);
        let found = self.topology.bridge(uuid);
        let Some((_, iface)) = found.and_then(|b| b.ifaces().find(|(_, i)| i.of_port == of)) else {
            return;
        };
        let frame = to_frame(iface.link().map_or(MacAddr::ZERO, |l| l.mac), bpdu);
        match (&iface.open, &iface.patch) {
            (Some((dp, _)), _) => {
                let command = DpCommand::Execute {
                    frame: Frame::from_slice(&frame),
                    in_port: DpPort::NONE,
                    actions: [DpAction::Output(*dp)].into(),
                };
                self.rim.command(WORKER, command);
            }
            (None, Some(patch)) => {
                let peer = other_end(&self.bridge_ids, self.slow().world(), patch);
                let Some((bridge, port)) = peer else { return };
                let now = self.rim.now();
                if let Some(t) = self.trees.of.get_mut(&bridge) {
                    // It cannot be misunderstood: it is our own.
                    let _ = t.tree.receive(now, port.0, bpdu);
                    self.trees.stirred.insert(bridge);
                    return;
                }
                let tables = vec![Action::output(OfPort::TABLE)];
                let start = FrozenState::packet_out(bridge, port, tables);
                let mut slow = self
                    .slow
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                slow.execute(
                    now,
                    WORKER,
                    &start,
                    Frame::from_slice(&frame),
                    &mut self.rim,
                );
            }
            (None, None) => {}
        }
    }

    fn write_spanning(&mut self, uuid: Uuid) {
        let rows = self.spanning_rows(uuid);
        self.write_status(&rows);
    }

    /// Status and counters of a bridge's tree and its ports.
    pub(crate) fn spanning_rows(&self, uuid: Uuid) -> Vec<RowStatus> {
        let (Some(state), Some(t)) = (self.topology.bridge(uuid), self.spanning(uuid)) else {
            return Vec::new();
        };
        status::rows(state, t, self.rim.now())
    }
}

/// The `Port` row that a port of the tree is.
fn row_of(state: &BridgeState, key: u32) -> Option<(&Uuid, &PortRow)> {
    let mut rows = state.ports.iter();
    rows.find(|(_, p)| p.ifaces.iter().any(|i| i.of_port.0 == key))
}
