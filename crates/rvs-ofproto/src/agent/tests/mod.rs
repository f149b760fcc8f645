//! An agent driven by encoded messages, as a controller would.

mod bundles;
mod channel;
mod hostile;
mod long_replies;
mod monitors;
mod packets;
mod requests;
mod roles;
mod slices;
mod stateful;

use std::time::Duration;

use rvs_flow::OfPort;
use rvs_openflow::message::*;
use rvs_openflow::*;
use rvs_packet::{MacAddr, Now};
use rvs_pipeline::PacketInNote;

use super::*;
use crate::testing::{hasher, matching, FakePlant, BRIDGE};
use crate::ConnId;

fn port(n: u32) -> Port {
    Port {
        number: OfPort(n),
        mac: MacAddr([2, 0, 0, 0, 0, n as u8]),
        name: format!("p{n}"),
        config: PortConfig(0),
        state: PortState(0),
        current: PortFeatures(0),
        advertised: PortFeatures(0),
        supported: PortFeatures(0),
        peer: PortFeatures(0),
        current_speed: 0,
        max_speed: 0,
    }
}

/// An agent with ports 1 to 3, its switch and a clock.
struct Rig {
    agent: Agent,
    plant: FakePlant,
    now: Now,
}

impl Rig {
    fn new() -> Self {
        let identity = Identity {
            name: "br1".into(),
            datapath_id: 0x1234,
            desc: Desc {
                datapath: "a bridge".into(),
                ..Desc::default()
            },
        };
        let mut rig = Self {
            agent: Agent::new(BRIDGE, identity, hasher()),
            plant: FakePlant::new(),
            now: Now::from_secs(1000),
        };
        let ports = vec![port(1), port(2), port(3)];
        rig.agent.state.set_ports(ports);
        rig.turn();
        rig
    }

    fn connect(&mut self, kind: ConnKind, versions: VersionSet) -> ConnId {
        let probe = Some(Duration::from_secs(5));
        let options = ConnOptions::default();
        self.agent
            .connect(self.now, kind, versions, probe, options, None)
    }

    /// A controller that speaks `version`, past its handshake.
    fn controller(&mut self, version: Version) -> Client {
        self.client(ConnKind::Primary, Dialect::new(version))
    }

    fn client(&mut self, kind: ConnKind, dialect: Dialect) -> Client {
        let conn = self.connect(kind, VersionSet::ALL);
        let versions = VersionSet::default().with(dialect.version);
        let c = Client { conn, dialect };
        self.say(c, 1, &Message::Hello(Hello { versions }));
        let hello = self.read(conn);
        assert_eq!(hello[1], 0);
        assert!(self.agent.status(conn).unwrap().established);
        c
    }

    fn turn(&mut self) {
        while self.agent.turn(self.now, &mut self.plant) {}
    }

    fn tick(&mut self, to: Now) {
        self.now = to;
        self.agent.tick(to, &mut self.plant);
        self.turn();
    }

    fn say(&mut self, c: Client, xid: u32, m: &Message) {
        let bytes = c.dialect.encode(m, xid).unwrap();
        self.say_bytes(c.conn, &bytes);
    }

    fn say_bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        self.agent.input(conn, bytes);
        self.turn();
    }

    /// Everything that waits, while it is read.
    fn read(&mut self, conn: ConnId) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let n = self.agent.output(conn).len();
            if n == 0 {
                return all;
            }
            all.extend_from_slice(self.agent.output(conn));
            self.agent.sent(conn, n);
            self.turn();
        }
    }

    /// What was said so far, without another turn.
    fn hear_now(&mut self, c: Client) -> Vec<(u32, Message)> {
        let bytes = self.agent.output(c.conn).to_vec();
        self.agent.sent(c.conn, bytes.len());
        messages(&c.dialect, &bytes)
    }

    fn hear(&mut self, c: Client) -> Vec<(u32, Message)> {
        let bytes = self.read(c.conn);
        messages(&c.dialect, &bytes)
    }

    /// Says `m` and gives what comes back.
    fn ask(&mut self, c: Client, m: &Message) -> Vec<Message> {
        self.say(c, 77, m);
        let heard = self.hear(c);
        heard.into_iter().map(|(_, m)| m).collect()
    }

    /// Says `m` and gives the one answer.
    fn ask_one(&mut self, c: Client, m: &Message) -> Message {
        let mut all = self.ask(c, m);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// The error that `m` is answered with.
    fn error(&mut self, c: Client, m: &Message) -> ErrorCode {
        let bytes = c.dialect.encode(m, 77).unwrap();
        self.error_of(c, &bytes)
    }

    /// The error that the message is answered with; it must carry the start of the message and its transaction.
    fn error_of(&mut self, c: Client, bytes: &[u8]) -> ErrorCode {
        self.say_bytes(c.conn, bytes);
        let heard = self.hear(c);
        let [(xid, Message::Error(e))] = &heard[..] else {
            panic!("{heard:?}");
        };
        assert_eq!(xid.to_be_bytes(), bytes[4..8]);
        assert_eq!(
            e.data,
            bytes[..bytes.len().min(rvs_openflow::error::ERROR_DATA)]
        );
        e.known(c.dialect.version).unwrap()
    }

    /// A request that has no answer but that of a barrier.
    fn done(&mut self, c: Client, m: &Message) {
        self.say(c, 76, m);
        let reply = self.ask_one(c, &Message::BarrierRequest);
        assert_eq!(reply, Message::BarrierReply);
    }

    fn multipart(&mut self, c: Client, request: Request) -> Vec<Reply> {
        let m = Message::MultipartRequest(MultipartRequest::new(request));
        let parts = self.ask(c, &m);
        let n = parts.len();
        let part = |(i, m)| match m {
            Message::MultipartReply(r) => {
                assert_eq!(r.more, i + 1 < n, "only the last says that it is");
                r.body
            }
            m => panic!("{m:?}"),
        };
        parts.into_iter().enumerate().map(part).collect()
    }

    fn flows(&mut self, c: Client) -> Vec<FlowStats> {
        let form = match c.dialect.flow_format {
            FlowFormat::OpenFlow10 => FlowStatsForm::Standard,
            FlowFormat::Nxm => FlowStatsForm::Nicira,
        };
        let all = Request::Flow(Box::new(FlowStatsRequest::all(form)));
        let replies = self.multipart(c, all);
        let flows = replies.into_iter().map(|r| match r {
            Reply::Flow(f, flows) => {
                assert_eq!(f, form);
                flows
            }
            r => panic!("{r:?}"),
        });
        flows.flatten().collect()
    }

    /// Connections that were given up.
    fn closed(&mut self) -> Vec<CloseReason> {
        self.agent.closed().into_iter().map(|(_, r)| r).collect()
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
struct Client {
    conn: ConnId,
    dialect: Dialect,
}

fn messages(dialect: &Dialect, bytes: &[u8]) -> Vec<(u32, Message)> {
    let mut framer = Framer::new();
    framer.push(bytes);
    let mut all = Vec::new();
    while let Some(m) = framer.next_message().unwrap() {
        let (h, m) = dialect
            .decode(m)
            .unwrap_or_else(|e| panic!("{e}: {m:02x?}"));
        all.push((h.xid, m));
    }
    assert!(framer.pending().is_empty());
    all
}

/// An add of a flow with that destination port, which outputs to port 1.
fn add_flow(n: u16) -> FlowMod {
    let m = matching(&format!("udp,tp_dst={n}"));
    let mut f = FlowMod::new(FlowCommand::Add, m);
    f.instructions = Instructions::apply([Action::output(OfPort(1))]);
    f
}

fn flow_mod(m: FlowMod) -> Message {
    Message::FlowMod(Box::new(m))
}

fn delete_all() -> Message {
    let mut m = FlowMod::new(FlowCommand::Delete, FlowMatch::any());
    m.table = TableId::ALL;
    flow_mod(m)
}

fn packet_out(in_port: OfPort, actions: Vec<Action>) -> Message {
    Message::PacketOut(Box::new(PacketOut::new(in_port, actions, vec![0; 60])))
}

fn note(port: u32, reason: PacketInReason) -> PacketInNote {
    PacketInNote {
        bridge: BRIDGE,
        table: TableId(0),
        cookie: 0x99,
        miss: false,
        miss_flow: false,
        reason,
        max_len: 0xffff,
        controller: ControllerId(0),
        userdata: Box::new([]),
        meter: None,
        fields: rvs_flow::PipelineKey {
            of_port: port,
            ..Default::default()
        },
        paused: None,
    }
}
