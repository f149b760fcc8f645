//! The agent's state against the text of the specification.

mod bundles;
mod flows;
mod groups;
mod many;
mod meters;
mod model;
mod tables;
mod timeouts;
mod triggers;

use rvs_openflow::message::{FlowCommand, FlowRemovedReason, GroupCommand, MeterCommand, MeterMod};
use rvs_openflow::text::{parse_flow, parse_group, parse_meter, Words};
use rvs_openflow::{Dialect, ErrorCode, Message, OfError, Version};
use rvs_packet::Now;

use super::{flow_stats, Event, FlowSelect, Limits, Mod, Ofproto};
use crate::testing::{hasher, FakePlant, BRIDGE};
use crate::{Author, ConnId};

/// A bridge and its agent, spoken to in the words of `ovs-ofctl`, through the codec of a version.
pub(crate) struct Lab {
    pub(crate) state: Ofproto,
    pub(crate) plant: FakePlant,
    pub(crate) now: Now,
    pub(crate) version: Version,
}

impl Lab {
    pub(crate) fn new(version: Version) -> Self {
        Self::with_limits(version, Limits::default())
    }

    pub(crate) fn with_limits(version: Version, limits: Limits) -> Self {
        Self {
            state: Ofproto::with_limits(BRIDGE, hasher(), limits),
            plant: FakePlant::new(),
            now: Now::from_secs(1000),
            version,
        }
    }

    pub(crate) fn author(&self) -> Author {
        Author {
            conn: Some(ConnId(7)),
            version: self.version,
            xid: 42,
        }
    }

    fn words(&self) -> Words<'static> {
        Words::new(self.version)
    }

    /// The message as the peer would send it and we would read it.
    fn travel(&self, m: Message) -> Result<Message, OfError> {
        let dialect = match self.version {
            Version::Of10 => Dialect::nxm(),
            v => Dialect::new(v),
        };
        let bytes = dialect.encode(&m, 1).unwrap();
        dialect.decode(&bytes).map(|(_, m)| m)
    }

    /// `add-flow`, `mod-flows`, `mod-flows --strict`, `del-flows`, `del-flows --strict`, `add-group` and so on.
    pub(crate) fn parse(&self, line: &str) -> Result<Mod, OfError> {
        let (verb, text) = line.split_once(' ').unwrap_or((line, ""));
        let flow = |command| {
            let m = parse_flow(text, command, &self.words()).unwrap();
            match self.travel(Message::FlowMod(Box::new(m)))? {
                Message::FlowMod(m) => Ok(Mod::Flow(m)),
                other => panic!("{other:?}"),
            }
        };
        let group = |command| {
            let m = parse_group(text, command, &self.words()).unwrap();
            match self.travel(Message::GroupMod(Box::new(m)))? {
                Message::GroupMod(m) => Ok(Mod::Group(m)),
                other => panic!("{other:?}"),
            }
        };
        let meter = |command: MeterCommand| {
            let meter = parse_meter(text, command == MeterCommand::Delete).unwrap();
            Ok(Mod::Meter(Box::new(MeterMod { command, meter })))
        };
        match verb {
            "add" => flow(FlowCommand::Add),
            "mod" => flow(FlowCommand::Modify),
            "mod-strict" => flow(FlowCommand::ModifyStrict),
            "del" => flow(FlowCommand::Delete),
            "del-strict" => flow(FlowCommand::DeleteStrict),
            "add-group" => group(GroupCommand::Add),
            "mod-group" => group(GroupCommand::Modify),
            "may-create" => group(GroupCommand::AddOrMod),
            "del-group" => group(GroupCommand::Delete),
            "insert" => group(GroupCommand::InsertBucket),
            "remove" => group(GroupCommand::RemoveBucket),
            "add-meter" => meter(MeterCommand::Add),
            "mod-meter" => meter(MeterCommand::Modify),
            "del-meter" => meter(MeterCommand::Delete),
            _ => panic!("{verb}?"),
        }
    }

    /// One transaction of several lines.
    pub(crate) fn bundle(&mut self, lines: &[&str]) -> Result<(), (usize, ErrorCode)> {
        let mut mods = Vec::new();
        for (i, line) in lines.iter().enumerate() {
            mods.push(self.parse(line).map_err(|e| (i, e.code))?);
        }
        let author = self.author();
        self.state
            .apply(self.now, &author, mods, &mut self.plant)
            .map_err(|(i, e)| (i, e.code))
    }

    pub(crate) fn run(&mut self, line: &str) -> Result<(), ErrorCode> {
        self.bundle(&[line]).map_err(|(_, e)| e)
    }

    /// Lines that must succeed, each on its own.
    pub(crate) fn all(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.run(line), Ok(()), "{line}");
        }
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now = Now(self.now.0 + ms * 1_000_000);
    }

    pub(crate) fn expire(&mut self) {
        self.state.expire(self.now, &mut self.plant);
    }

    /// What `dump-flows --no-stats` shows, sorted, with counters if there are any.
    pub(crate) fn dump(&mut self) -> Vec<String> {
        self.dump_of(FlowSelect::all(), false)
    }

    pub(crate) fn dump_of(&mut self, select: FlowSelect, stats: bool) -> Vec<String> {
        let mut lines = Vec::new();
        let mut dump = self.state.dump(&mut self.plant, select);
        while !self.state.dump_next(&mut dump, 3, |f| {
            lines.push(flow_stats(&f, self.now));
        }) {}
        self.state.dump_end(dump);
        let mut lines: Vec<_> = lines
            .iter()
            .map(|f| self.words().flow(f, stats).to_string())
            .collect();
        lines.sort();
        lines
    }

    /// Packets that a flow matched, found by its text without statistics.
    pub(crate) fn hit(&mut self, table: u8, matching: &str, packets: u64) {
        let bridge = self.plant.up().clone();
        let m = crate::testing::matching(matching);
        let rules = bridge.table(rvs_openflow::TableId(table)).unwrap().read();
        let found = rules
            .select(self.plant.up().version, rvs_classifier::Filter::All)
            .find(|r| r.value() == *m.value() && r.mask() == m.mask())
            .unwrap();
        found
            .payload()
            .counters
            .count(packets, packets * 60, self.now);
    }

    /// Flows that were removed and asked for it: reason and packets.
    pub(crate) fn removed(&mut self) -> Vec<(FlowRemovedReason, u64)> {
        let removed = |e| match e {
            Event::FlowRemoved(f) => Some((f.reason, f.packets)),
            _ => None,
        };
        self.state
            .take_events()
            .into_iter()
            .filter_map(removed)
            .collect()
    }
}
