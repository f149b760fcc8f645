//! One bridge's spanning tree: what is wanted, what is heard, what follows.

use std::time::Duration;

use rvs_packet::Now;

use super::bpdu::{BadBpdu, Bpdu};
use super::port::{Forwarding, InfoIs, Port, PortConfig, PortCounters, Role, MIGRATE_TIME};
use super::vector::{BridgeId, PortId, Times, Vector};

/// Ports of a bridge that may take part.
pub const MAX_PORTS: usize = 4095;

/// What is wanted of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    pub id: BridgeId,
    /// RSTP, falling back to STP where a neighbour speaks that alone; else STP.
    pub rapid: bool,
    /// Seconds, 6 to 40.
    pub max_age: u8,
    /// Seconds, 1 to 10.
    pub hello: u8,
    /// Seconds, 4 to 30.
    pub forward_delay: u8,
    /// BPDUs that may leave by a port within a second (and one more each second).
    pub transmit_hold: u16,
}

impl Config {
    pub const DEFAULT_MAX_AGE: u8 = 20;
    pub const DEFAULT_HELLO: u8 = 2;
    pub const DEFAULT_FORWARD_DELAY: u8 = 15;
    pub const DEFAULT_TRANSMIT_HOLD: u16 = 6;

    /// The defaults of the standard.
    pub const fn new(id: BridgeId, rapid: bool) -> Self {
        Self {
            id,
            rapid,
            max_age: Self::DEFAULT_MAX_AGE,
            hello: Self::DEFAULT_HELLO,
            forward_delay: Self::DEFAULT_FORWARD_DELAY,
            transmit_hold: Self::DEFAULT_TRANSMIT_HOLD,
        }
    }

    const fn times(&self) -> Times {
        Times::new(self.max_age, self.hello, self.forward_delay)
    }
}

/// What is to be done. States of ports come first: a BPDU may promise what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Addresses that were learned on the port may be elsewhere now.
    Flush {
        port: u32,
    },
    Send {
        port: u32,
        bpdu: Vec<u8>,
    },
}

/// The root, and the way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootStatus {
    pub priority: Vector,
    /// `None`: this bridge is the root.
    pub port: Option<u32>,
    pub port_id: PortId,
    pub times: Times,
}

/// How a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortStatus {
    pub port: u32,
    pub cfg: PortConfig,
    pub role: Role,
    pub state: Forwarding,
    /// Who is designated on its segment, at what cost.
    pub segment: Vector,
    pub edge: bool,
    pub in_state: Duration,
    pub uptime: Duration,
    pub counters: PortCounters,
}

#[derive(Clone, Debug)]
pub struct SpanningTree {
    pub(super) cfg: Config,
    pub(super) ports: Vec<Port>,
    pub(super) events: Vec<Event>,
    pub(super) now: Option<Now>,
    next_tick: Option<Now>,
    root_priority: Vector,
    root_times: Times,
    root_port: Option<u32>,
    root_port_id: PortId,
    /// How often the machines did not come to rest within the bound; a bug if it is not 0.
    unsettled: u64,
}

impl SpanningTree {
    pub fn new(cfg: Config) -> Self {
        Self {
            cfg,
            ports: Vec::new(),
            events: Vec::new(),
            now: None,
            next_tick: None,
            root_priority: own(&cfg),
            root_times: cfg.times(),
            root_port: None,
            root_port_id: PortId::default(),
            unsettled: 0,
        }
    }

    pub fn config(&self) -> &Config {
        &self.cfg
    }

    /// Changes what is wanted of the bridge. Another protocol starts anew.
    pub fn configure(&mut self, now: Now, cfg: Config) {
        if cfg == self.cfg {
            return;
        }
        let restart = cfg.rapid != self.cfg.rapid || cfg.id != self.cfg.id;
        self.cfg = cfg;
        self.now = Some(now);
        for p in &mut self.ports {
            if restart {
                *p = Port {
                    counters: p.counters,
                    born: p.born,
                    since: Some(now),
                    ..Port::new(p.key, p.cfg, cfg.times(), cfg.rapid)
                };
            }
            p.reselect = true;
            p.selected = false;
        }
        self.settle();
    }

    /// Adds a port, or changes what is wanted of it. False when there are too many.
    pub fn set_port(&mut self, now: Now, key: u32, cfg: PortConfig) -> bool {
        self.now = Some(now);
        let times = self.root_times;
        let full = self.ports.len() >= MAX_PORTS;
        match self.ports.iter_mut().find(|p| p.key == key) {
            Some(p) if p.cfg == cfg => return true,
            Some(p) => {
                if p.cfg.id != cfg.id && p.info_is == InfoIs::Received {
                    p.info_is = InfoIs::Aged;
                }
                p.cfg = cfg;
                p.reselect = true;
                p.selected = false;
            }
            None if full => return false,
            None => {
                let mut port = Port::new(key, cfg, times, self.cfg.rapid);
                port.born = Some(now);
                port.since = Some(now);
                self.ports.push(port);
            }
        }
        self.next_tick.get_or_insert(now + SECOND);
        self.settle();
        true
    }

    pub fn remove_port(&mut self, now: Now, key: u32) {
        self.now = Some(now);
        self.ports.retain(|p| p.key != key);
        self.events.retain(|e| match e {
            Event::Flush { port } | Event::Send { port, .. } => *port != key,
        });
        if let Some(first) = self.ports.first_mut() {
            first.reselect = true;
            first.selected = false;
        }
        self.settle();
    }

    /// Keeps the ports that `keep` names.
    pub fn retain_ports(&mut self, now: Now, keep: impl Fn(u32) -> bool) {
        let gone: Vec<u32> = self
            .ports
            .iter()
            .map(|p| p.key)
            .filter(|k| !keep(*k))
            .collect();
        for key in gone {
            self.remove_port(now, key);
        }
    }

    /// Has the port find out anew whether its neighbours speak the rapid protocol.
    pub fn check_protocol(&mut self, now: Now, key: u32) {
        self.now = Some(now);
        if let Some(p) = self.ports.iter_mut().find(|p| p.key == key) {
            p.mcheck = true;
        }
        self.settle();
    }

    /// A BPDU came in by a port.
    ///
    /// # Errors
    /// When it is none (counted).
    pub fn receive(&mut self, now: Now, key: u32, bytes: &[u8]) -> Result<(), BadBpdu> {
        self.now = Some(now);
        let own = self.cfg.id;
        let Some(p) = self
            .ports
            .iter_mut()
            .find(|p| p.key == key && p.cfg.enabled)
        else {
            return Ok(());
        };
        p.counters.rx += 1;
        let bpdu = Bpdu::decode(bytes);
        // What this port itself has sent and somebody sends back tells nothing.
        let echoed = |b: &Bpdu| matches!(b, Bpdu::Body(b) if (b.priority.bridge, b.priority.port) == (own, p.cfg.id));
        let bpdu = match bpdu {
            Ok(bpdu) if !echoed(&bpdu) => bpdu,
            other => {
                p.counters.errors += 1;
                return other.map(drop);
            }
        };
        p.oper_edge = false;
        p.edge_delay_while = MIGRATE_TIME;
        match bpdu {
            Bpdu::Notification => {
                p.rcvd_stp = true;
                p.rcvd_tcn = true;
            }
            Bpdu::Body(body) => {
                p.rcvd_rstp |= body.rapid;
                p.rcvd_stp |= !body.rapid;
                p.message = Some(body);
            }
        }
        self.settle();
        Ok(())
    }

    /// Says that addresses may have moved, whatever the tree looks like.
    pub fn announce_change(&mut self, now: Now) {
        self.now = Some(now);
        for p in &mut self.ports {
            p.tc_prop |= p.is_root_or_designated() && p.forward;
        }
        self.settle();
    }

    /// When [`Self::run`] has something to do.
    pub fn next_run(&self) -> Option<Now> {
        self.next_tick.filter(|_| !self.ports.is_empty())
    }

    /// Lets time pass. Seconds in which nobody looked do not count: what came in then is still to be heard, and a port that
    /// forwards too early is worse than one that forwards late.
    pub fn run(&mut self, now: Now) {
        const CATCH_UP: usize = 2;
        self.now = Some(now);
        let Some(mut next) = self.next_run() else {
            return;
        };
        for _ in 0..CATCH_UP {
            if next > now {
                break;
            }
            next = next + SECOND;
            self.tick();
        }
        self.next_tick = Some(if next > now { next } else { now + SECOND });
    }

    fn tick(&mut self) {
        self.ports.iter_mut().for_each(Port::tick);
        for i in 0..self.ports.len() {
            let due = self
                .ports
                .get_mut(i)
                .is_some_and(|p| p.flush_while == 0 && std::mem::take(&mut p.flush_pending));
            if due {
                self.flush(i);
            }
        }
        self.settle();
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.events);
        events.sort_by_key(|e| matches!(e, Event::Send { .. }));
        events
    }

    pub fn root(&self) -> RootStatus {
        RootStatus {
            priority: self.root_priority,
            port: self.root_port,
            port_id: self.root_port_id,
            times: self.root_times,
        }
    }

    /// Every port, in the order of their identifiers.
    pub fn ports(&self, now: Now) -> Vec<PortStatus> {
        let mut all: Vec<_> = self.ports.iter().map(|p| status(p, now)).collect();
        all.sort_by_key(|p| p.cfg.id);
        all
    }

    pub fn port(&self, now: Now, key: u32) -> Option<PortStatus> {
        let port = self.ports.iter().find(|p| p.key == key)?;
        Some(status(port, now))
    }

    /// Role and state of every port, by the caller's numbers.
    pub fn states(&self) -> impl Iterator<Item = (u32, Role, Forwarding)> + '_ {
        self.ports.iter().map(|p| (p.key, p.role, p.state()))
    }

    pub fn unsettled(&self) -> u64 {
        self.unsettled
    }

    /// Addresses of the port are to be forgotten: at once in the rapid protocol. In the old one a change is announced for
    /// half a minute, by every hello; forgetting once per forward delay is what shorter ageing would give (17.19.1).
    pub(super) fn flush(&mut self, i: usize) {
        let rapid = self.cfg.rapid;
        let Some(p) = self.ports.get_mut(i) else {
            return;
        };
        if !rapid && p.flush_while > 0 {
            p.flush_pending = true;
            return;
        }
        p.flush_while = p.fwd_delay();
        let port = p.key;
        if !self.events.contains(&Event::Flush { port }) {
            self.events.push(Event::Flush { port });
        }
    }

    /// Runs the machines until they rest.
    fn settle(&mut self) {
        /// Far more than any change needs; each port takes a bounded number of steps.
        const ROUNDS: usize = 200;
        for _ in 0..ROUNDS {
            let mut moved = self.select_roles();
            for i in 0..self.ports.len() {
                moved |= self.step(i);
            }
            if !moved {
                // What is sent says how things are after all that.
                for i in 0..self.ports.len() {
                    moved |= self.transmit(i);
                }
            }
            if !moved {
                return;
            }
        }
        self.unsettled += 1;
    }

    /// Port role selection (17.28): who is the root, and what each port is (`updtRolesTree`).
    fn select_roles(&mut self) -> bool {
        if !self.ports.iter().any(|p| p.reselect) {
            return false;
        }
        let own_id = self.cfg.id;
        let mut best = (own(&self.cfg), PortId::default());
        self.root_times = self.cfg.times();
        self.root_port = None;
        for p in self.ports.iter().filter(|p| p.info_is == InfoIs::Received) {
            if p.port_priority.bridge.mac() == own_id.mac() {
                continue;
            }
            let cost = p.port_priority.cost.saturating_add(p.cfg.path_cost);
            let way = Vector {
                cost,
                ..p.port_priority
            };
            if (way, p.cfg.id) < best {
                best = (way, p.cfg.id);
                self.root_times = p.port_times.aged();
                self.root_port = Some(p.key);
            }
        }
        (self.root_priority, self.root_port_id) = best;
        let hello = self.cfg.times().hello;
        let (root, times) = (
            self.root_priority,
            Times {
                hello,
                ..self.root_times
            },
        );
        for p in &mut self.ports {
            p.designated_priority = Vector {
                root: root.root,
                cost: root.cost,
                bridge: own_id,
                port: p.cfg.id,
            };
            p.designated_times = times;
            let is_root = self.root_port == Some(p.key);
            let better = p.designated_priority < p.port_priority;
            (p.selected_role, p.updt_info) = match p.info_is {
                InfoIs::Disabled => (Role::Disabled, false),
                InfoIs::Aged => (Role::Designated, true),
                InfoIs::Mine => {
                    let stale = p.port_priority != p.designated_priority || p.port_times != times;
                    (Role::Designated, p.updt_info || stale)
                }
                InfoIs::Received if is_root => (Role::Root, false),
                InfoIs::Received if better => (Role::Designated, true),
                InfoIs::Received if p.port_priority.bridge.mac() == own_id.mac() => {
                    (Role::Backup, false)
                }
                InfoIs::Received => (Role::Alternate, false),
            };
            p.reselect = false;
            p.selected = true;
        }
        true
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// What the bridge says of itself as a root.
fn own(cfg: &Config) -> Vector {
    Vector {
        root: cfg.id,
        cost: 0,
        bridge: cfg.id,
        port: PortId::default(),
    }
}

fn status(p: &Port, now: Now) -> PortStatus {
    PortStatus {
        port: p.key,
        cfg: p.cfg,
        role: p.role,
        state: p.state(),
        segment: p.port_priority,
        edge: p.oper_edge,
        in_state: p.in_state_for(now),
        uptime: p.born.map_or(Duration::ZERO, |born| now.since(born)),
        counters: p.counters,
    }
}
