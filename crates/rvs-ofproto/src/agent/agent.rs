//! The agent of a bridge: its connections, and the turns in which they are served.

use std::collections::BTreeMap;
use std::time::Duration;

use ahash::RandomState;
use rvs_openflow::message::{Desc, Fragments};
use rvs_openflow::{Message, Version, VersionSet};
use rvs_packet::Now;
use rvs_pipeline::{BridgeId, FragMode, Miss};

use super::bundle::{BundleUse, Long};
use super::connection::{Connection, Request, Step};
use super::continuation::Continuations;
use super::limits::{ASIDE, REPLY_BACKLOG, TURN_ENTRIES, TURN_MESSAGES, TURN_OCTETS};
use super::roster::Entry;
use super::status::{CloseReason, ConnKind, ConnOptions, ConnStatus};
use crate::plant::Plant;
use crate::state::Ofproto;
use crate::ConnId;

/// Who the bridge is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The bridge's name, for logs.
    pub name: String,
    pub datapath_id: u64,
    pub desc: Desc,
}

/// A request being handled.
pub(super) struct Call<'a, P> {
    pub(super) now: Now,
    pub(super) xid: u32,
    /// Of the whole message.
    pub(super) octets: usize,
    /// The start of the message.
    pub(super) head: &'a [u8],
    pub(super) plant: &'a mut P,
}

/// The connections of a bridge and its state. All calls are cheap but [`Self::turn`], which is bounded.
pub struct Agent {
    pub state: Ofproto,
    pub(super) id: BridgeId,
    pub(super) identity: Identity,
    pub(super) conns: BTreeMap<ConnId, Box<Connection>>,
    /// Controllers that the configuration names.
    pub(super) roster: Vec<Entry>,
    pub(super) continuations: Continuations,
    /// Of the last request for primary or secondary role.
    pub(super) generation: Option<u64>,
    pub(super) fragments: Fragments,
    pub(super) bundle_use: BundleUse,
    /// How long a bundle is kept that nothing is added to.
    bundle_idle: Duration,
    /// A change that is made in slices.
    pub(super) long: Option<Long>,
    last_id: u64,
    closed: Vec<(ConnId, CloseReason)>,
    /// Who is connected, or what they asked for, may have changed.
    pub(super) wishes_changed: bool,
    /// What the state has been told: what a miss does, and fragments and expired TTLs.
    told: (Miss, FragMode, bool),
}

impl Agent {
    /// An agent without connections for the empty bridge `id`. `hasher` keys what peers must not predict.
    pub fn new(id: BridgeId, identity: Identity, hasher: RandomState) -> Self {
        Self {
            state: Ofproto::new(id, hasher.clone()),
            id,
            identity,
            conns: BTreeMap::new(),
            roster: Vec::new(),
            continuations: Continuations::new(hasher),
            generation: None,
            fragments: Fragments::Normal,
            bundle_use: BundleUse::default(),
            bundle_idle: super::limits::BUNDLE_IDLE,
            long: None,
            last_id: 0,
            closed: Vec::new(),
            wishes_changed: false,
            told: (Miss::Drop, FragMode::Normal, false),
        }
    }

    /// Changes what FEATURES and DESC say. Controllers learn of it when they ask again.
    pub fn set_identity(&mut self, identity: Identity) {
        self.identity = identity;
    }

    /// How long a bundle is kept that nothing is added to; `None` for the usual time.
    pub fn set_bundle_idle(&mut self, idle: Option<Duration>) {
        self.bundle_idle = idle.unwrap_or(super::limits::BUNDLE_IDLE);
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A new connection, which says HELLO for `versions` (a listener to others' messages may speak any). After `probe` without a word
    /// from the peer it is probed, and after as long again given up; `None` or zero: never. `peer` is its address, if it has one.
    pub fn connect(
        &mut self,
        now: Now,
        kind: ConnKind,
        versions: VersionSet,
        probe: Option<Duration>,
        options: ConnOptions,
        peer: Option<&str>,
    ) -> ConnId {
        let versions = match kind {
            ConnKind::Snoop => VersionSet::ALL,
            ConnKind::Primary | ConnKind::Service => versions,
        };
        self.last_id += 1;
        let id = ConnId(self.last_id);
        let bridge = self.identity.name.as_str().into();
        let mut conn = Box::new(Connection::new(now, bridge, id, kind, versions, peer));
        conn.set_options(now, probe, options);
        self.conns.insert(id, conn);
        self.set_taps();
        id
    }

    /// Changes the settings of a connection.
    pub fn set_options(
        &mut self,
        now: Now,
        conn: ConnId,
        probe: Option<Duration>,
        options: ConnOptions,
    ) {
        if let Some(c) = self.conns.get_mut(&conn) {
            c.set_options(now, probe, options);
        }
    }

    /// Octets from the peer; [`Self::turn`] handles them. Ask [`Self::wants_input`] first.
    pub fn input(&mut self, conn: ConnId, bytes: &[u8]) {
        if let Some(c) = self.conns.get_mut(&conn) {
            c.input(bytes);
        }
    }

    /// False while too much waits already, in either direction, or the connection is being closed.
    pub fn wants_input(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(|c| c.wants_input())
    }

    /// What waits to be sent.
    pub fn output(&self, conn: ConnId) -> &[u8] {
        self.conns.get(&conn).map_or(&[], |c| c.output())
    }

    /// The first `n` octets of [`Self::output`] are sent.
    pub fn sent(&mut self, conn: ConnId, n: usize) {
        if let Some(c) = self.conns.get_mut(&conn) {
            c.sent(n);
        }
    }

    /// Connections that the agent has given up since the last call. What waits to be sent may still be sent; then
    /// [`Self::disconnect`].
    pub fn closed(&mut self) -> Vec<(ConnId, CloseReason)> {
        for (id, c) in &mut self.conns {
            if let Some(reason) = c.take_closed() {
                self.closed.push((*id, reason));
                self.wishes_changed = true;
            }
        }
        std::mem::take(&mut self.closed)
    }

    /// The socket is gone, and with it the connection's bundles, monitors and role.
    pub fn disconnect(&mut self, conn: ConnId) {
        if let Some(mut c) = self.conns.remove(&conn) {
            c.bundles.clear(&mut self.bundle_use);
            self.end_job(&mut c);
            self.wishes_changed = true;
            self.set_taps();
        }
    }

    pub fn status(&self, conn: ConnId) -> Option<ConnStatus> {
        self.conns.get(&conn).map(|c| c.status())
    }

    /// Every connection, oldest first.
    pub fn connections(&self) -> impl Iterator<Item = (ConnId, ConnStatus)> + '_ {
        self.conns.iter().map(|(id, c)| (*id, c.status()))
    }

    /// Serves every connection: up to [`TURN_MESSAGES`] of each, and a slice of its long reply. True when there is more to do
    /// at once.
    pub fn turn<P: Plant>(&mut self, now: Now, plant: &mut P) -> bool {
        self.go_on(now, None, plant);
        let ids: Vec<ConnId> = self.conns.keys().copied().collect();
        let mut more = false;
        for id in ids {
            if let Some(mut conn) = self.conns.remove(&id) {
                more |= self.serve(now, &mut conn, plant);
                self.conns.insert(id, conn);
            }
        }
        if self.state.next_expiry().is_some_and(|t| t <= now) {
            self.state.expire(now, plant);
        }
        self.state.watch_statistics(now, plant);
        more |= self.state.shrink(now, plant);
        self.hand_out(now, None);
        self.tell_controllers();
        self.tell_wishes(None, plant);
        self.copy_to_snoops();
        more |= self.bundle_use.tidy();
        self.state.tidy(plant) || more || self.state.is_busy()
    }

    fn serve<P: Plant>(&mut self, now: Now, conn: &mut Connection, plant: &mut P) -> bool {
        conn.read_clock(now);
        let mut entries = TURN_ENTRIES;
        self.work_on_job(now, conn, &mut entries);
        let (mut messages, mut octets) = (0, 0);
        while messages < TURN_MESSAGES * ASIDE && octets < TURN_OCTETS {
            messages += ASIDE;
            if self.state.is_busy() && !conn.echo_is_next() {
                break;
            }
            match conn.step(now) {
                Step::Idle => break,
                Step::Done => self.wishes_changed = true,
                Step::Request(request) => {
                    octets += request.octets;
                    if matches!(request.message, Message::BundleAdd(_)) {
                        messages -= ASIDE - 1;
                    }
                    self.answer(now, conn, request, plant);
                    self.go_on(now, Some(conn), plant);
                    // What fits into this turn is written at once.
                    self.work_on_job(now, conn, &mut entries);
                }
            }
        }
        self.mind_monitors(now, conn, plant);
        conn.pump(now);
        conn.wants_turn()
    }

    fn answer<P: Plant>(
        &mut self,
        now: Now,
        conn: &mut Connection,
        request: Request,
        plant: &mut P,
    ) {
        let mut call = Call {
            now,
            xid: request.xid,
            octets: request.octets,
            head: &request.head,
            plant,
        };
        let answer = self.dispatch(conn, &mut call, request.message);
        self.hand_out(now, Some(conn));
        if let Err(e) = answer {
            conn.refuse(now, &e, &request.head);
        }
    }

    /// Deadlines: probes, handshakes, bundles, split requests, paused translations. Flows expire in [`Self::turn`], some in each.
    pub fn tick<P: Plant>(&mut self, now: Now, plant: &mut P) {
        for conn in self.conns.values_mut() {
            conn.tick(now);
            for opened_by in conn
                .bundles
                .expire(now, self.bundle_idle, &mut self.bundle_use)
            {
                let e = rvs_openflow::ErrorCode::BfcTimeout
                    .because("a bundle that nothing was added to for so long is discarded");
                conn.refuse(now, &e, &opened_by);
            }
            super::multipart::expire(now, conn);
            conn.pump(now);
        }
        self.continuations.expire(now);
        self.hand_out(now, None);
        self.tell_wishes(None, plant);
        self.copy_to_snoops();
    }

    /// When [`Self::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Now> {
        let of_conn = |c: &Connection| {
            let all = [
                c.next_deadline(),
                c.bundles.next_expiry(self.bundle_idle),
                c.reassembly.next_expiry().map(Now),
                c.next_packet_in(),
            ];
            all.into_iter().flatten().min()
        };
        let conns = self.conns.values().filter_map(|c| of_conn(c));
        conns
            .chain(self.continuations.next_expiry())
            .chain(self.state.next_expiry())
            .chain(self.state.next_look())
            .min()
    }

    /// True when [`Self::turn`] has something to do without new input: after [`Self::sent`] made room, for example.
    pub fn wants_turn(&self) -> bool {
        let state = &self.state;
        let changing = state.is_busy() || state.is_shrinking();
        self.wishes_changed || changing || self.conns.values().any(|c| c.wants_turn())
    }

    /// Tells the state what the connections together ask of the pipeline. `current` is the one whose request is being
    /// handled, if it is not among the others.
    pub(super) fn tell_wishes<P: Plant>(&mut self, current: Option<&Connection>, plant: &mut P) {
        // What it publishes would end a change that is under way at once; it waits.
        if self.state.is_busy() || !std::mem::take(&mut self.wishes_changed) {
            return;
        }
        let all = || current.into_iter().chain(self.conns.values().map(|c| &**c));
        let wants_misses = |c: &Connection| c.hears_events() && c.version() <= Version::Of12;
        let miss = match all().any(wants_misses) {
            true => Miss::Controller,
            false => Miss::Drop,
        };
        let frags = match self.fragments {
            Fragments::Normal | Fragments::Reassemble => FragMode::Normal,
            Fragments::Drop => FragMode::Drop,
            Fragments::NxMatch => FragMode::NxMatch,
        };
        let ttl = rvs_openflow::PacketInReason::InvalidTtl;
        let wants_ttl =
            |c: &Connection| c.hears_events() && c.masks.wants_packet_in(ttl, c.is_secondary());
        let ttl = all().any(wants_ttl);
        let watched = all().any(|c| !c.monitors.is_empty());
        self.state.set_watched(watched);
        let told = std::mem::replace(&mut self.told, (miss, frags, ttl));
        if told.0 != miss {
            self.state.set_miss(miss, plant);
        }
        if (told.1, told.2) != (frags, ttl) {
            self.state.set_config(frags, ttl, plant);
        }
    }

    /// Primary connections keep copies of what they say and hear exactly while somebody listens.
    fn set_taps(&mut self) {
        let listeners = self.conns.values().any(|c| c.kind == ConnKind::Snoop);
        for c in self.conns.values_mut() {
            let on = listeners && c.kind == ConnKind::Primary;
            if on != c.tap.is_some() {
                c.tap = on.then(Vec::new);
            }
        }
    }

    /// Hands the copies out; a listener that doesn't read misses some.
    pub(super) fn copy_to_snoops(&mut self) {
        let mut copies = Vec::new();
        for c in self.conns.values_mut() {
            if let Some(tap) = &mut c.tap {
                copies.append(tap);
            }
        }
        if copies.is_empty() {
            return;
        }
        let snoops = |c: &&mut Box<Connection>| c.kind == ConnKind::Snoop && c.is_open();
        for c in self.conns.values_mut().filter(snoops) {
            if c.backlog() + copies.len() <= REPLY_BACKLOG {
                c.send_bytes(&copies);
            }
        }
    }
}
