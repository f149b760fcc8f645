//! The assembled switch: the database tells what is wanted, the topology knows what there is, the slow path decides.
//!
//! **Configuration**, walked: a client's transaction commits -> [`Switch::database_changed`] -> rows touched -> the topology
//! closes and opens ports -> every bridge concerned is published to the slow path, which revalidates -> workers
//! acknowledge -> status columns and `cur_cfg` are written -> the client's command returns.
//!
//! Nothing here reads a clock, opens a file or starts a thread: the [`Rim`] does.

mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::{AHashMap, RandomState};
use rvs_dpif::{AckToken, Actions, FlowId, WorkerId};
use rvs_flow::{DpPort, FlowKey, Mask, OfPort};
use rvs_l2::FdbKey;
use rvs_ovsdb::client::Follower;
use rvs_ovsdb::database::{Database, Delta};
use rvs_ovsdb::server::{CloseReason, Event, Server, SessionId};
use rvs_ovsdb::Uuid;
use rvs_packet::{MacAddr, Now, VlanId};
use rvs_pipeline::{Bridge, BridgeId, PortKind, World};
use rvs_slowpath::{Dispatch, Limits, SlowPath};

use crate::config::on_or_off;
use crate::inert::Inert;
use crate::openflow::Office;
use crate::patch::Patch;
use crate::plant::MeterPool;
use crate::platform::{Platform, PortEvent};
use crate::policing::Policers;
use crate::ports::{Changes, Topology, Touched};
use crate::prepare::root;
use crate::remote::database;
use crate::spanning::Trees;
use crate::status::RowStatus;
use crate::survive::{Evidence, Waiting};
use crate::tables;
use crate::{qos, snapshot, status};

/// Whether ports are switched in the kernel (tier 0) where nobody says otherwise.
const KERNEL_CACHE: bool = true;
/// How often counters are written into the database at most, and unless `other_config:stats-update-interval` says otherwise.
const STATISTICS: Duration = Duration::from_secs(5);
/// Who asks for less than once a day does not want them.
const LONGEST_STATISTICS: Duration = Duration::from_secs(86_400);

/// Name of the configuration database.
pub const DATABASE: &str = "Open_vSwitch";

/// The world outside the switch: devices, workers, and waiting for them.
pub trait Rim: Platform + Dispatch {
    /// Waits until these workers have obeyed everything up to the token.
    fn settle(&mut self, token: AckToken, workers: &[WorkerId]);

    /// How many workers there are; they are numbered from 0.
    fn workers(&self) -> u16;

    /// Judges flows that a dead daemon left in the kernel; how many wait. See [`crate::survive`].
    fn judge_left(&mut self, _slow: &mut SlowPath, _evidence: &Evidence<'_>) -> usize {
        0
    }

    /// Takes them out, unjudged.
    fn discard_left(&mut self) {}

    /// How long flows in the kernel go on without a daemon (`other_config:survive-secs`).
    fn set_survival(&mut self, _time: Duration) {}

    /// `other_config:flow-restore-wait` was cleared.
    fn restored(&mut self) {}

    /// The time. Whoever calls the switch reads the clock; what happens deep inside asks here.
    fn now(&self) -> Now;
}

/// The control half of the switch. The other half, the slow path, is shared with whoever handles upcalls.
pub struct Switch<R> {
    pub server: Server,
    /// The database is another server's, and this is how it is heard and written. `server` has none then.
    pub remote: Option<Follower>,
    pub rim: R,
    pub(crate) slow: Arc<Mutex<SlowPath>>,
    pub(crate) topology: Topology,
    pub(crate) bridge_ids: BTreeMap<Uuid, BridgeId>,
    last_bridge: u32,
    pub(crate) vlan_limit: u8,
    /// Bounds of the cache that hold where the database names none.
    default_limits: Limits,
    pub(crate) hasher: RandomState,
    /// Value of `next_cfg` that has not been answered by `cur_cfg`.
    next_cfg: Option<i64>,
    closed: Vec<(SessionId, CloseReason)>,
    pub(crate) offices: BTreeMap<BridgeId, Office>,
    pub(crate) meters: MeterPool,
    pub(crate) policers: Policers,
    /// When each interface was opened.
    pub(crate) opened: AHashMap<Uuid, Now>,
    pub(crate) openflow_epoch: u64,
    pub(crate) trees: Trees,
    /// Flows of a dead daemon that wait to be judged.
    pub(crate) waiting: Option<Waiting>,
    /// `other_config:flow-restore-wait`
    pub(crate) restoring: bool,
    /// `other_config:survive-secs`
    survive: Duration,
    /// `other_config:stats-update-interval`
    statistics_every: Duration,
    /// `other_config:bundle-idle-timeout`
    pub(crate) bundle_idle: Option<Duration>,
    inert: Inert,
}

impl<R: Rim> Switch<R> {
    /// `hasher` is keyed at random by the daemon and fixed in tests.
    pub fn new(server: Server, rim: R, slow: Arc<Mutex<SlowPath>>, hasher: RandomState) -> Self {
        let default_limits = *slow.lock().unwrap_or_else(PoisonError::into_inner).limits();
        Self {
            server,
            remote: None,
            rim,
            slow,
            topology: Topology::default(),
            bridge_ids: BTreeMap::new(),
            last_bridge: 0,
            vlan_limit: 1,
            default_limits,
            hasher,
            next_cfg: None,
            closed: Vec::new(),
            offices: BTreeMap::new(),
            meters: MeterPool::default(),
            policers: Policers::default(),
            opened: AHashMap::default(),
            openflow_epoch: 0,
            trees: Trees::default(),
            waiting: None,
            restoring: false,
            survive: Duration::ZERO,
            statistics_every: STATISTICS,
            bundle_idle: None,
            inert: Inert::default(),
        }
    }

    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    pub fn slow(&self) -> MutexGuard<'_, SlowPath> {
        // A thread that panicked while it held the lock had changed one entry at a time: the rest is whole.
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Id under which the pipeline knows a bridge.
    pub fn bridge_id(&self, uuid: Uuid) -> Option<BridgeId> {
        self.bridge_ids.get(&uuid).copied()
    }

    pub fn database(&self) -> &Database {
        database(&self.server, self.remote.as_ref())
    }

    /// Brings everything up as the database has it.
    pub fn start(&mut self) {
        // What was committed so far is part of the whole that follows.
        while self.server.next_event().is_some() {}
        let snapshot = self.database().snapshot();
        self.database_changed(&snapshot);
        self.finish();
    }

    pub(crate) fn root(&self) -> Option<Uuid> {
        root(self.database())
    }

    /// Does what committed transactions ask for. To be called after the server has taken input.
    pub fn run(&mut self) {
        while let Some(event) = self.remote.as_mut().and_then(Follower::next_event) {
            self.heard(event);
        }
        while let Some(event) = self.server.next_event() {
            match event {
                // What the switch itself wrote is no news to it.
                Event::Committed(c) if *c.database == *DATABASE && c.session.is_some() => {
                    self.database_changed(&c.delta);
                }
                Event::Committed(_) => {}
                Event::Closed { session, reason } => self.closed.push((session, reason)),
            }
        }
        self.finish();
    }

    /// Sessions that the server has dropped since the last call.
    pub fn take_closed(&mut self) -> Vec<(SessionId, CloseReason)> {
        std::mem::take(&mut self.closed)
    }

    pub(crate) fn database_changed(&mut self, delta: &Delta) {
        self.go_to(delta, Touched::default());
    }

    /// Makes what the database says of rows in `delta` and `touched`.
    pub(crate) fn go_to(&mut self, delta: &Delta, also: Touched) {
        for line in self.inert.notice(delta) {
            tracing::info!("{line}");
        }
        let rows = |table| {
            delta
                .table(table)
                .map(|c| c.uuid())
                .collect::<BTreeSet<Uuid>>()
        };
        let mut touched = Touched {
            bridges: rows("Bridge"),
            ports: rows("Port"),
            ifaces: rows("Interface"),
            mirrors: rows("Mirror"),
        };
        touched.extend(also);
        let db = database(&self.server, self.remote.as_ref());
        touched.ports.extend(qos::touched(db, delta));
        touched.bridges.extend(tables::touched(db, delta));
        if let Some(root) = delta.table("Open_vSwitch").filter_map(|c| c.after()).last() {
            self.global_settings(root.map_value("other_config", "vlan-limit"));
            self.cache_limits(
                root.map_value("other_config", "flow-limit"),
                root.map_value("other_config", "max-idle"),
            );
            let kernel_cache = root.map_value("other_config", "kernel-cache");
            if self
                .topology
                .set_kernel_cache(kernel_cache.and_then(on_or_off).unwrap_or(KERNEL_CACHE))
            {
                touched.add_all(&self.topology);
            }
            self.survival(root.map_value("other_config", "survive-secs"));
            self.bundle_patience(root.map_value("other_config", "bundle-idle-timeout"));
            self.statistics_interval(root.map_value("other_config", "stats-update-interval"));
            self.set_restoring(root.map_value("other_config", "flow-restore-wait") == Some("true"));
            self.next_cfg = Some(root.int("next_cfg"));
            self.openflow_epoch += 1;
        }
        let controllers = rows("Controller").len() + rows("Manager").len() + rows("SSL").len();
        if controllers + touched.bridges.len() > 0 {
            self.openflow_epoch += 1;
        }
        if !touched.is_empty() {
            let db = database(&self.server, self.remote.as_ref());
            let changes = self.topology.reconfigure(db, &touched, &mut self.rim);
            self.apply(&changes);
            if self.rim.dummies() {
                // No device tells that it is there again.
                self.retry_ports();
            }
        }
        self.tell_survival();
    }

    /// A device came, changed or went.
    pub fn port_event(&mut self, event: PortEvent) {
        let changes = self.topology.event(event, &mut self.rim);
        self.apply(&changes);
    }

    /// Tries ports again that could not be opened: what was in the way may be gone.
    pub fn retry_ports(&mut self) {
        let mut changes = Changes::default();
        self.topology
            .retry(|i| i.error.is_some(), &mut self.rim, &mut changes);
        self.apply(&changes);
    }

    /// Publishes what changed, and writes it into the database.
    fn apply(&mut self, changes: &Changes) {
        for warning in &changes.warnings {
            // Where scripts look for it.
            tracing::warn!(target: "bridge", "{warning}");
        }
        self.policers.follow(changes, &self.topology, &mut self.rim);
        for dp in &changes.closed {
            self.forget_port(*dp);
        }
        for uuid in &changes.bridges {
            self.publish(*uuid);
        }
        self.connect_patches(&changes.bridges);
        self.spread();
        self.check_waiting();
        let interfaces = changes
            .ifaces
            .iter()
            .filter_map(|u| self.topology.iface(*u))
            .map(status::interface);
        let bridges = changes
            .bridges
            .iter()
            .filter_map(|u| self.topology.bridge(*u))
            .map(status::bridge);
        let mut rows: Vec<RowStatus> = interfaces.chain(bridges).collect();
        // Who has switched a tree on finds in the database what it is when the command returns.
        rows.extend(changes.bridges.iter().flat_map(|u| self.spanning_rows(*u)));
        rows.extend(changes.bridges.iter().flat_map(|u| self.bond_rows(*u)));
        self.write_status(&rows);
    }

    /// Bridges whose patch ports lead to a bridge that came after them in the same change learn of it.
    fn connect_patches(&mut self, bridges: &BTreeSet<Uuid>) {
        let behind: Vec<Uuid> = bridges
            .iter()
            .filter(|uuid| self.has_new_peers(**uuid))
            .copied()
            .collect();
        for uuid in behind {
            if let Some(id) = self.bridge_id(uuid) {
                self.publish_bridge(uuid, id);
            }
        }
    }

    fn has_new_peers(&self, uuid: Uuid) -> bool {
        let (Some(state), Some(id)) = (self.topology.bridge(uuid), self.bridge_id(uuid)) else {
            return false;
        };
        let slow = self.slow();
        let Some(bridge) = slow.world().bridge(id) else {
            return false;
        };
        state.ifaces().any(|(_, i)| {
            let known = bridge.ports.get(i.of_port).map(|p| p.kind);
            let peer = i
                .patch
                .as_ref()
                .map(|p| other_end(&self.bridge_ids, slow.world(), p));
            peer.is_some_and(|peer| known != Some(PortKind::Patch { peer }))
        })
    }

    /// Status is written without waiting for the disk: after a crash it is found out anew.
    pub(crate) fn write_status(&mut self, rows: &[RowStatus]) {
        if rows.is_empty() {
            return;
        }
        if let Some(remote) = &mut self.remote {
            return remote.write(rows.iter().map(Into::into));
        }
        let written = self.server.update_status(DATABASE, |txn, _| {
            rows.iter().try_for_each(|r| r.write(txn))
        });
        if let Err(e) = written {
            tracing::error!("status could not be written into the database: {e}");
        }
    }

    fn forget_port(&mut self, dp: DpPort) {
        let wait = self
            .slow
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove_port(dp, &mut self.rim);
        self.wait(wait);
    }

    /// Gives the slow path a bridge as it is now, or takes it away, and waits until no cache says otherwise.
    pub(crate) fn publish(&mut self, uuid: Uuid) {
        let known = self.bridge_ids.get(&uuid).copied();
        match (self.topology.bridge(uuid).is_some(), known) {
            (true, known) => {
                let id = known.unwrap_or_else(|| {
                    self.last_bridge += 1;
                    BridgeId(self.last_bridge)
                });
                self.bridge_ids.insert(uuid, id);
                if known.is_none() {
                    // The agent has to find its bridge.
                    self.publish_bridge(uuid, id);
                }
                self.sync_tree(uuid, id);
                self.tell_agent(uuid, id);
                self.publish_bridge(uuid, id);
            }
            (false, Some(id)) => {
                self.bridge_ids.remove(&uuid);
                self.offices.remove(&id);
                self.trees.remove(id);
                self.openflow_epoch += 1;
                let wait = self
                    .slow
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove_bridge(id, &mut self.rim);
                self.wait(wait);
            }
            (false, None) => {}
        }
    }

    pub(crate) fn publish_bridge(&mut self, uuid: Uuid, id: BridgeId) {
        let Self {
            topology,
            slow,
            rim,
            offices,
            bridge_ids,
            trees,
            ..
        } = self;
        let Some(state) = topology.bridge(uuid) else {
            return;
        };
        let mut slow = slow.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bridge = match slow.world().bridge(id) {
            Some(b) => (**b).clone(),
            None => Bridge::new(id, &state.cfg.name),
        };
        let office = offices.get(&id);
        let config = |of| office.map_or_else(Default::default, |o| o.agent.state.port_config(of));
        let stp = |of| trees.state(id, of);
        let peer = |patch: &Patch| other_end(bridge_ids, slow.world(), patch);
        bridge.ports = Arc::new(snapshot::ports(state, &bridge.ports, config, stp, peer));
        bridge.mirrors = Arc::new(snapshot::mirrors(state));
        let mut settings = snapshot::settings(&state.cfg, self.vlan_limit);
        if let Some(office) = office {
            office.agent.state.adjust(&mut settings);
            settings.fail_open = office.fail_open;
        }
        bridge.settings = Arc::new(settings);
        let wait = slow.set_bridge(bridge, snapshot::mac_config(&state.cfg), rim);
        drop(slow);
        self.wait(wait);
    }

    /// Waits until the workers have obeyed, and credits what left the caches.
    pub(crate) fn wait(&mut self, wait: Option<(AckToken, Vec<WorkerId>)>) {
        let Some((token, workers)) = wait else { return };
        self.rim.settle(token, &workers);
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        for worker in workers {
            slow.acknowledged(worker, token, &mut self.rim);
        }
    }

    /// Moves `cur_cfg` when everything asked for is live.
    fn finish(&mut self) {
        let (Some(value), Some(root)) = (self.next_cfg.take(), self.root()) else {
            return;
        };
        self.write_status(&[status::cur_cfg(root, value)]);
    }

    /// Writes the counters of all interfaces into the database.
    pub fn write_statistics(&mut self) {
        if self.topology.has_patches() || self.topology.bridges().any(|b| !b.mirrors.is_empty()) {
            self.credit();
        }
        let Self {
            topology,
            rim,
            policers,
            ..
        } = self;
        let mut rows: Vec<RowStatus> = topology
            .bridges()
            .flat_map(|b| b.ifaces())
            .filter_map(|(_, i)| match (&i.open, &i.patch) {
                (Some((dp, _)), _) => {
                    let counters = policers.counters(*dp, rim);
                    Some(status::statistics(i.cfg.uuid, &counters))
                }
                (None, Some(patch)) => {
                    Some(status::patch_statistics(i.cfg.uuid, &patch.counters()))
                }
                (None, None) => None,
            })
            .collect();
        rows.extend(
            topology
                .bridges()
                .flat_map(|b| &b.mirrors)
                .map(status::mirror),
        );
        let bridges: Vec<Uuid> = self.topology.bridges().map(|b| b.cfg.uuid).collect();
        rows.extend(bridges.into_iter().flat_map(|b| self.spanning_rows(b)));
        self.write_status(&rows);
    }

    /// Credits rules and addresses with what cached flows carried so far. To be called before statistics are shown.
    pub fn credit(&mut self) {
        self.slow
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .credit_all(&mut self.rim);
    }

    /// Empties the caches.
    pub fn flush_flows(&mut self) {
        let wait = self
            .slow
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .flush(&mut self.rim);
        self.wait(wait);
    }

    /// Puts a flow into the caches by hand.
    ///
    /// # Errors
    /// In the words of the system's error.
    pub fn put_flow(
        &mut self,
        now: Now,
        worker: WorkerId,
        what: (&FlowKey, Mask<FlowKey>),
        actions: Actions,
        replaces: bool,
    ) -> Result<FlowId, &'static str> {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let put = slow.put(now, worker, what, actions, replaces, &mut self.rim);
        drop(slow);
        put.map(|(id, wait)| {
            self.wait(wait);
            id
        })
    }

    /// Takes one flow out of the caches.
    pub fn take_out_flow(&mut self, id: FlowId) {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = slow.take_out(id, &mut self.rim);
        drop(slow);
        self.wait(wait);
    }

    /// Pins an address to a port, which is named or numbered.
    ///
    /// # Errors
    /// When the bridge has no such port.
    pub fn add_static_mac(
        &mut self,
        now: Now,
        bridge: Uuid,
        port: &str,
        vlan: VlanId,
        mac: MacAddr,
    ) -> Result<(), String> {
        let id = self.bridge_id(bridge).ok_or("the bridge is not up")?;
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let ports = slow
            .world()
            .bridge(id)
            .map(|b| b.ports.clone())
            .ok_or("the bridge is not up")?;
        let numbered = port
            .parse()
            .ok()
            .map(OfPort::from_u16)
            .and_then(|of| ports.get(of));
        let found = ports
            .by_name(port)
            .or(numbered)
            .ok_or_else(|| format!("no port {port} on the bridge"))?;
        let key = FdbKey { vlan, mac };
        let wait = slow.add_static_mac(now, id, key, found.bundle, &mut self.rim);
        drop(slow);
        self.wait(wait);
        Ok(())
    }

    /// Forgets one address; false when it was not known.
    pub fn remove_mac(&mut self, bridge: Uuid, vlan: VlanId, mac: MacAddr) -> bool {
        let Some(id) = self.bridge_id(bridge) else {
            return false;
        };
        let (known, wait) = self
            .slow
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove_mac(id, vlan, mac, &mut self.rim);
        self.wait(wait);
        known
    }
}

/// Where a patch leads, as far as the slow path knows.
pub(crate) fn other_end(
    ids: &BTreeMap<Uuid, BridgeId>,
    world: &World,
    patch: &Patch,
) -> Option<(BridgeId, OfPort)> {
    let (uuid, of) = patch.peer?;
    let id = *ids.get(&uuid)?;
    world.bridge(id)?.ports.get(of).map(|_| (id, of))
}
