//! A switch whose agents echo, and sockets to talk to it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollTimeout};
use rvs_ofproto::agent::{ConnKind, ConnStatus};
use rvs_ofproto::ConnId;
use rvs_openflow::message::Role;
use rvs_openflow::{Version, VersionSet};
use rvs_ovsdb::Uuid;
use rvs_packet::Now;
use rvs_pipeline::BridgeId;
use rvs_switch::config::FailMode;
use rvs_switch::controllers::{ControllerConfig, ControllerStatus, OpenflowConfig, SslConfig};

use super::super::host::{Host, Manner};
use super::super::Channels;

pub const BRIDGE: BridgeId = BridgeId(1);
/// Octets that an agent keeps in each direction.
pub const ROOM: usize = 1 << 20;
/// Octets that an agent handles in a turn.
const WORK: usize = 128 << 10;

/// A connection as the agent sees it. `H` is its HELLO; it answers every octet by the same.
pub struct Conn {
    pub manner: Manner,
    pub heard: Vec<u8>,
    waiting: Vec<u8>,
    output: Vec<u8>,
    since: Now,
}

#[derive(Default)]
pub struct Switch {
    pub epoch: u64,
    pub configs: Vec<OpenflowConfig>,
    pub ssl: Option<SslConfig>,
    pub conns: BTreeMap<ConnId, Conn>,
    /// What connections that are gone had heard.
    pub gone: Vec<Vec<u8>>,
    pub closed: Vec<(ConnId, String)>,
    pub rows: Vec<ControllerStatus>,
    pub reports: usize,
    pub fail_open: bool,
    last: u64,
}

impl Host for Switch {
    fn openflow_epoch(&self) -> u64 {
        self.epoch
    }

    fn openflow_configs(&self) -> Vec<OpenflowConfig> {
        self.configs.clone()
    }

    fn ssl(&self) -> Option<SslConfig> {
        self.ssl.clone()
    }

    fn set_controllers(&mut self, _: BridgeId, _: &[String]) {}

    fn connect(
        &mut self,
        now: Now,
        _: BridgeId,
        manner: &Manner,
        _: Option<&str>,
        _: Option<&str>,
    ) -> Option<ConnId> {
        self.last += 1;
        let conn = Conn {
            manner: *manner,
            heard: Vec::new(),
            waiting: Vec::new(),
            output: b"H".to_vec(),
            since: now,
        };
        self.conns.insert(ConnId(self.last), conn);
        Some(ConnId(self.last))
    }

    fn adjust(&mut self, _: Now, _: BridgeId, conn: ConnId, manner: &Manner) {
        self.conns.get_mut(&conn).unwrap().manner = *manner;
    }

    fn input(&mut self, _: BridgeId, conn: ConnId, bytes: &[u8]) {
        let c = self.conns.get_mut(&conn).unwrap();
        assert!(c.waiting.len() < ROOM, "not asked whether there is room");
        c.waiting.extend_from_slice(bytes);
    }

    fn wants_input(&mut self, _: BridgeId, conn: ConnId) -> bool {
        let c = self.conns.get(&conn);
        c.is_some_and(|c| c.waiting.len() < ROOM && c.output.len() < ROOM)
    }

    fn send(
        &mut self,
        _: BridgeId,
        conn: ConnId,
        write: &mut dyn FnMut(&[u8]) -> usize,
    ) -> (usize, usize) {
        let c = self.conns.get_mut(&conn).unwrap();
        let taken = write(&c.output);
        let there = c.output.len();
        c.output.drain(..taken);
        (there, taken)
    }

    fn turn(&mut self, _: Now, _: BridgeId) -> bool {
        let mut more = false;
        for c in self.conns.values_mut() {
            if c.output.len() < ROOM {
                let n = c.waiting.len().min(WORK);
                let done: Vec<u8> = c.waiting.drain(..n).collect();
                c.output.extend_from_slice(&done);
                c.heard.extend_from_slice(&done);
                more |= !c.waiting.is_empty() && c.output.len() < ROOM;
            }
        }
        more
    }

    fn closed(&mut self, _: BridgeId) -> Vec<(ConnId, String)> {
        std::mem::take(&mut self.closed)
    }

    fn disconnect(&mut self, _: BridgeId, conn: ConnId) {
        self.gone.push(self.conns.remove(&conn).unwrap().heard);
    }

    fn status(&mut self, _: BridgeId, conn: ConnId) -> Option<ConnStatus> {
        self.conns.get(&conn).map(|c| ConnStatus {
            kind: c.manner.kind,
            version: Some(Version::Of13),
            role: Role::Equal,
            since: c.since,
            established: c.heard.contains(&b'H'),
            packet_ins: Default::default(),
        })
    }

    fn deadline(&self) -> Option<Now> {
        None
    }

    fn controller_status(&mut self, rows: Vec<ControllerStatus>) {
        self.rows = rows;
        self.reports += 1;
    }

    fn set_fail_open(&mut self, bridge: BridgeId, on: bool) {
        assert_eq!(bridge, BRIDGE);
        self.fail_open = on;
    }
}

/// Channels, their switch, and the time.
pub struct Lab {
    pub dir: tempfile::TempDir,
    pub channels: Channels,
    pub switch: Switch,
    pub now: Now,
}

impl Lab {
    /// A bridge `br0` with these controllers.
    pub fn new(targets: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut lab = Self {
            channels: Channels::new(dir.path()),
            dir,
            switch: Switch::default(),
            now: Now::from_secs(1000),
        };
        lab.configure(targets);
        lab
    }

    pub fn configure(&mut self, targets: &[&str]) {
        let controllers = targets.iter().zip(1..);
        let controllers = controllers.map(|(target, n)| ControllerConfig {
            uuid: uuid(n),
            target: (*target).to_owned(),
            service: target.starts_with('p'),
            max_backoff: ControllerConfig::DEFAULT_MAX_BACKOFF,
            inactivity_probe: Some(ControllerConfig::DEFAULT_PROBE),
            rate_limit: None,
        });
        self.switch.configs = vec![OpenflowConfig {
            bridge: BRIDGE,
            uuid: uuid(100),
            name: "br0".to_owned(),
            versions: VersionSet::ALL,
            fail_mode: FailMode::Standalone,
            controllers: controllers.collect(),
        }];
        self.reconfigure();
    }

    /// The configuration was edited.
    pub fn reconfigure(&mut self) {
        self.switch.epoch += 1;
        self.turn();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn turn(&mut self) {
        self.channels.turn(self.now, &mut self.switch);
    }

    /// Polls once as the control thread does, for a moment, and gives a turn. How many descriptors were ready.
    pub fn step(&mut self) -> usize {
        let interests = self.channels.interests(self.now);
        let fds = interests.iter().map(|i| PollFd::new(i.fd, i.flags));
        let mut fds: Vec<_> = fds.collect();
        let due = self.channels.deadline().is_some_and(|at| at <= self.now);
        poll(&mut fds, PollTimeout::from(if due { 0u8 } else { 5 })).unwrap();
        let found = interests.iter().zip(&fds);
        let found = found.filter_map(|(i, f)| Some((i.token, f.revents()?)));
        let found: Vec<_> = found.filter(|(_, flags)| !flags.is_empty()).collect();
        for (token, flags) in &found {
            self.channels.ready(*token, *flags);
        }
        self.turn();
        found.len()
    }

    /// Steps until `done`, without the test's clock moving.
    pub fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < Duration::from_secs(20), "it never comes");
            self.step();
        }
    }

    /// Steps until nothing happens any more.
    pub fn settle(&mut self) {
        let mut idle = 0;
        for _ in 0..10_000 {
            idle = if self.step() == 0 { idle + 1 } else { 0 };
            if idle == 5 {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// Lets time pass.
    pub fn pass(&mut self, d: Duration) {
        self.now = self.now + d;
        self.turn();
    }

    /// Of the n-th controller: whether it is connected, its state, and its last error.
    pub fn row(&self, n: u8) -> (bool, String, String) {
        let row = self.switch.rows.iter().find(|r| r.uuid == uuid(n));
        let row = row.expect("a row was reported");
        let value = |key: &str| {
            let found = row.status.iter().find(|(k, _)| k == key);
            found.map_or(String::new(), |(_, v)| v.clone())
        };
        (row.connected, value("state"), value("last_error"))
    }

    /// Octets that come back, `len` of them.
    pub fn hear(&mut self, from: &mut (impl Read + Write), len: usize) -> Vec<u8> {
        let mut heard = Vec::new();
        self.until(|_| {
            let mut buffer = vec![0; len - heard.len()];
            match from.read(&mut buffer) {
                Ok(0) => panic!("it is closed after {} octets", heard.len()),
                Ok(n) => heard.extend_from_slice(&buffer[..n]),
                Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
            }
            heard.len() == len
        });
        heard
    }

    /// Whether the other side ends the connection; what it said before is dropped.
    pub fn hears_end(&mut self, from: &mut impl Read) {
        self.until(|_| {
            let mut buffer = [0; 4096];
            match from.read(&mut buffer) {
                Ok(0) => true,
                Ok(_) => false,
                Err(e) => e.kind() != ErrorKind::WouldBlock,
            }
        });
    }

    pub fn kinds(&self) -> Vec<ConnKind> {
        self.switch.conns.values().map(|c| c.manner.kind).collect()
    }
}

pub fn uuid(n: u8) -> Uuid {
    format!("00000000-0000-4000-8000-0000000000{n:02x}")
        .parse()
        .unwrap()
}
