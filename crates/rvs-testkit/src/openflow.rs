//! A controller on the bench: messages in and out of a bridge's agent, without sockets.

use rvs_ofproto::agent::ConnKind;
use rvs_ofproto::ConnId;
use rvs_openflow::framer::Framer;
use rvs_openflow::message::{Hello, PacketIn};
use rvs_openflow::{Dialect, Header, Message, Version, VersionSet};
use rvs_pipeline::BridgeId;

use crate::switch::TestSwitch;

/// One connection, established.
pub struct Controller {
    bridge: BridgeId,
    conn: ConnId,
    pub dialect: Dialect,
    framer: Framer,
    xid: u32,
    /// What came that no request waited for.
    pub unasked: Vec<Message>,
}

impl Controller {
    /// Connects to a bridge and shakes hands.
    ///
    /// # Panics
    /// When the bridge is not there or does not speak the version.
    pub fn connect(s: &mut TestSwitch, bridge: &str, kind: ConnKind, version: Version) -> Self {
        let uuid = s.switch.topology().bridge_by_name(bridge).unwrap().cfg.uuid;
        let bridge = s.switch.bridge_id(uuid).unwrap();
        let now = s.now();
        let conn = s
            .switch
            .with_agent(bridge, |agent, _| {
                agent.connect(now, kind, VersionSet::ALL, None, Default::default(), None)
            })
            .unwrap();
        let mut this = Self {
            bridge,
            conn,
            dialect: Dialect::new(version),
            framer: Framer::new(),
            xid: 0,
            unasked: Vec::new(),
        };
        let hello = Message::Hello(Hello {
            versions: [version].into_iter().collect(),
        });
        this.send(s, &hello);
        let established = s
            .switch
            .with_agent(bridge, |agent, _| agent.status(conn)?.version);
        assert_eq!(established, Some(Some(version)));
        this
    }

    /// Sends a message and lets the agent work. Returns its transaction id.
    pub fn send(&mut self, s: &mut TestSwitch, m: &Message) -> u32 {
        self.xid += 1;
        let bytes = self.dialect.encode(m, self.xid).unwrap();
        self.send_bytes(s, &bytes);
        self.xid
    }

    /// Sends octets as they are.
    pub fn send_bytes(&mut self, s: &mut TestSwitch, bytes: &[u8]) {
        self.give(s, bytes);
        while self.turn(s) {}
        self.read(s);
    }

    /// Hands octets to the agent, which does nothing about them yet.
    pub fn give(&self, s: &mut TestSwitch, bytes: &[u8]) {
        s.switch
            .with_agent(self.bridge, |agent, _| agent.input(self.conn, bytes));
    }

    /// Lets the agent work for a turn. True when it has more to do at once.
    pub fn turn(&self, s: &mut TestSwitch) -> bool {
        let now = s.now();
        let more = s
            .switch
            .with_agent(self.bridge, |agent, plant| agent.turn(now, plant));
        more.unwrap_or(false)
    }

    /// Takes what the agent has to say without looking at it. Returns how many octets it was.
    pub fn take(&self, s: &mut TestSwitch) -> usize {
        let taken = s.switch.with_agent(self.bridge, |agent, _| {
            let n = agent.output(self.conn).len();
            agent.sent(self.conn, n);
            n
        });
        taken.unwrap_or(0)
    }

    /// Takes what the agent has to say.
    pub fn read(&mut self, s: &mut TestSwitch) {
        let conn = self.conn;
        let framer = &mut self.framer;
        s.switch.with_agent(self.bridge, |agent, _| {
            let n = agent.output(conn).len();
            framer.push(agent.output(conn));
            agent.sent(conn, n);
        });
    }

    /// Sends a request and returns everything that answers it, in order.
    pub fn request(&mut self, s: &mut TestSwitch, m: &Message) -> Vec<Message> {
        let xid = self.send(s, m);
        let mut answers = Vec::new();
        while let Some((header, message)) = self.next() {
            if header.xid == xid && !matches!(message, Message::Hello(_)) {
                answers.push(message);
            } else {
                self.unasked.push(message);
            }
        }
        answers
    }

    /// Sends something that has no answer, and a barrier.
    ///
    /// # Panics
    /// When the switch answers with an error.
    pub fn order(&mut self, s: &mut TestSwitch, m: &Message) {
        let answers = self.request(s, m);
        assert!(answers.is_empty(), "{m:?}: {answers:?}");
        let barrier = self.request(s, &Message::BarrierRequest);
        assert_eq!(barrier, [Message::BarrierReply]);
    }

    /// Frames that came to the controller since the last call.
    pub fn packet_ins(&mut self, s: &mut TestSwitch) -> Vec<PacketIn> {
        s.run();
        self.read(s);
        while let Some((_, message)) = self.next() {
            self.unasked.push(message);
        }
        let (ins, others) = std::mem::take(&mut self.unasked)
            .into_iter()
            .partition(|m| matches!(m, Message::PacketIn(_)));
        self.unasked = others;
        let packet_in = |m| match m {
            Message::PacketIn(p) => Some(*p),
            _ => None,
        };
        Vec::into_iter(ins).filter_map(packet_in).collect()
    }

    fn next(&mut self) -> Option<(Header, Message)> {
        let bytes = self.framer.next_message().unwrap()?;
        Some(self.dialect.decode(bytes).unwrap())
    }
}
