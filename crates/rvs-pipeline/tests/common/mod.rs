//! Worlds for tests, and a datapath without caches to run translations in.
#![allow(dead_code, clippy::unwrap_used)]

use std::sync::Arc;

use rvs_classifier::Config;
use rvs_dpif::{DpAction, DropReason};
use rvs_flow::{extract, DpPort, FlowKey, Match, OfPort, ParseLimits, PipelineKey};
use rvs_l2::{BundleId, FdbKey, GratuitousArp, Lesson, MacConfig, MacTable, VlanMode, VlanSet};
use rvs_openflow::{Action, Group, Instructions, TableId};
use rvs_packet::{Frame, MacAddr, Now, VlanId};
use rvs_pipeline::reference::{self, PacketIn};
use rvs_pipeline::{
    translate, Bridge, BridgeId, CachedEffect, FrozenStates, GroupEntry, MacTables, NoTrace,
    PipelineView, Port, Ports, PuntNote, Rule, Table, Tables, Translation, World,
};

pub const BR: BridgeId = BridgeId(1);

/// What a translation gives up for, which the interpreter counts in another way.
pub const LIMITS: [DropReason; 4] = [
    DropReason::TooDeep,
    DropReason::StackTooDeep,
    DropReason::TooManyResubmits,
    DropReason::TooManyActions,
];

pub fn vid(n: u16) -> VlanId {
    VlanId::new(n).unwrap()
}

pub fn vids(ids: &[u16]) -> VlanSet {
    ids.iter().map(|n| vid(*n)).collect()
}

pub fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

/// Everything that a translation reads, to change and ask.
pub struct Lab {
    pub world: World,
    pub macs: MacTables,
    pub frozen: FrozenStates,
}

/// What became of one frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    pub outputs: Vec<(DpPort, Vec<u8>)>,
    pub packet_ins: Vec<PacketIn>,
    /// The frame recirculated too often, or into one of the translation's [`LIMITS`].
    pub too_deep: bool,
}

impl Fate {
    /// Without the order of the copies, which is the translation's to choose.
    pub fn sorted(mut self) -> Self {
        self.outputs.sort();
        self.packet_ins
            .sort_by(|a, b| (&a.frame, a.cookie).cmp(&(&b.frame, b.cookie)));
        self
    }

    /// Everything of `other` is here too, as often as there; both sorted.
    pub fn covers(&self, other: &Self) -> bool {
        fn part<T: PartialEq>(of: &[T], part: &[T]) -> bool {
            let mut rest = of.iter();
            part.iter().all(|p| rest.any(|r| r == p))
        }
        part(&self.outputs, &other.outputs) && part(&self.packet_ins, &other.packet_ins)
    }
}

pub fn table_with(id: u8, rules: impl IntoIterator<Item = (Match<PipelineKey>, Rule)>) -> Table {
    let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
    let table = Table::new(
        TableId(id),
        Config {
            hasher,
            round_prefixes: true,
        },
    );
    for (m, rule) in rules {
        if rule.is_clause() {
            table.clause_added();
        }
        let priority = i32::from(rule.priority);
        // A duplicate leaves the first.
        let _ = table
            .write()
            .insert(m.value(), m.mask(), priority, Arc::new(rule), 1);
    }
    table
}

/// A flow as text: `priority`, match, actions.
pub fn flow(
    table: u8,
    priority: u16,
    text: &str,
    actions: Vec<Action>,
) -> (Match<PipelineKey>, Rule) {
    let m = Match::parse(text, &rvs_flow::field::NoPortNames).unwrap();
    (
        m,
        Rule::new(TableId(table), priority, Instructions::apply(actions)),
    )
}

pub fn normal_table() -> Table {
    let rule = Rule::new(
        TableId(0),
        0,
        Instructions::apply(vec![Action::output(OfPort::NORMAL)]),
    );
    table_with(0, [(Match::any(), rule)])
}

/// A bridge whose port `n` is datapath port `n`.
pub fn bridge(modes: &[VlanMode]) -> Bridge {
    let ports = modes.iter().enumerate().map(|(i, mode)| {
        let n = i as u32 + 1;
        (
            Port::device(OfPort(n), DpPort(n), &format!("p{n}")),
            mode.clone(),
        )
    });
    let mut b = Bridge::new(BR, "br1");
    b.ports = Arc::new(Ports::singles(ports).unwrap());
    b.tables = Arc::new(Tables::default().with(Arc::new(normal_table())));
    b
}

/// Four trunk ports and these flows.
pub fn flows(rules: Vec<(Match<PipelineKey>, Rule)>) -> Lab {
    let mut b = bridge(&[(); 4].map(|()| VlanMode::default()));
    let mut tables = Tables::default();
    let mut by_table: std::collections::BTreeMap<u8, Vec<_>> = Default::default();
    for r in rules {
        by_table.entry(r.1.table.0).or_default().push(r);
    }
    for (id, rules) in by_table {
        tables = tables.with(Arc::new(table_with(id, rules)));
    }
    b.tables = Arc::new(tables);
    Lab::new([b])
}

impl Lab {
    pub fn new(bridges: impl IntoIterator<Item = Bridge>) -> Self {
        let mut world = World::new(0);
        let mut macs = MacTables::default();
        for b in bridges {
            macs.insert(b.id, MacTable::new(MacConfig::default()));
            world = world.with_bridge(1, b);
        }
        Self {
            world,
            macs,
            frozen: FrozenStates::default(),
        }
    }

    pub fn with_groups(mut self, groups: Vec<Group>) -> Self {
        let mut b = (**self.world.bridge(BR).unwrap()).clone();
        let entries = groups.into_iter().map(|g| Arc::new(GroupEntry::new(g)));
        b.groups = entries.collect();
        self.world = self.world.with_bridge(1, b);
        self
    }

    /// Changes the one bridge.
    pub fn change(&mut self, f: impl FnOnce(&mut Bridge)) {
        let mut b = (**self.world.bridge(BR).unwrap()).clone();
        f(&mut b);
        self.world = self.world.with_bridge(1, b);
    }

    pub fn knows(&mut self, bridge: BridgeId, vlan: u16, mac: MacAddr, port: u32) {
        let key = FdbKey {
            vlan: vid(vlan),
            mac,
        };
        let lesson = Lesson {
            key,
            port: BundleId(port),
            arp: GratuitousArp::No,
        };
        self.macs.get_mut(bridge).unwrap().learn(Now::ZERO, lesson);
    }

    pub fn view(&self) -> PipelineView<'_> {
        PipelineView {
            world: &self.world,
            macs: &self.macs,
            frozen: &self.frozen,
        }
    }

    pub fn translate(&self, key: &FlowKey) -> Translation {
        translate(&self.view(), key, &mut NoTrace)
    }

    pub fn key(&self, frame: &Frame, port: u32) -> FlowKey {
        extract(frame, DpPort(port), ParseLimits::new(0))
    }

    /// Runs the actions of a translation on a frame, recirculations included.
    pub fn execute(&self, mut t: Translation, frame: &Frame, port: u32) -> Fate {
        let mut frozen = FrozenStates::default();
        let mut notes: Vec<PuntNote> = Vec::new();
        fn admit(t: &mut Translation, frozen: &mut FrozenStates, notes: &mut Vec<PuntNote>) {
            let (base, first) = (notes.len() as u64, frozen.len() as u32 + 1);
            notes.append(&mut t.notes);
            for (i, state) in std::mem::take(&mut t.frozen).into_iter().enumerate() {
                frozen.insert(first + i as u32, Arc::new(state));
            }
            t.bind(|n| base + n as u64, |n| first + n as u32);
        }
        admit(&mut t, &mut frozen, &mut notes);
        let mut limited = false;
        let mut again = |key: FlowKey| -> Vec<DpAction> {
            let view = PipelineView {
                world: &self.world,
                macs: &self.macs,
                frozen: &frozen,
            };
            let mut t = translate(&view, &key, &mut NoTrace);
            limited |= t.drop.is_some_and(|d| LIMITS.contains(&d));
            admit(&mut t, &mut frozen, &mut notes);
            t.actions
        };
        let done = reference::execute(&t.actions, frame, DpPort(port), &mut again);
        let packet_in = |(cookie, frame): (u64, Vec<u8>)| match &notes[cookie as usize] {
            PuntNote::PacketIn(n) => Some(PacketIn {
                bridge: n.bridge,
                reason: n.reason,
                cookie: n.cookie,
                controller: n.controller,
                frame,
            }),
            PuntNote::Protocol { .. } => None,
        };
        Fate {
            outputs: done.outputs,
            packet_ins: done.punts.into_iter().filter_map(packet_in).collect(),
            too_deep: done.too_deep || limited,
        }
    }

    /// What the translation does with a frame.
    pub fn send(&self, frame: &[u8], port: u32) -> Fate {
        let frame = Frame::from_slice(frame);
        let t = self.translate(&self.key(&frame, port));
        self.execute(t, &frame, port)
    }

    /// What the interpreter does with it.
    pub fn interpret(&self, frame: &[u8], port: u32) -> Fate {
        let frame = Frame::from_slice(frame);
        let o = reference::interpret(&self.world, &self.macs, &frame, DpPort(port));
        Fate {
            outputs: o.outputs,
            packet_ins: o.packet_ins,
            too_deep: false,
        }
    }

    /// Both, which have to agree; the ports and frames that leave.
    pub fn sent(&self, frame: &[u8], port: u32) -> Vec<(u32, Vec<u8>)> {
        let ours = self.send(frame, port).sorted();
        assert_eq!(
            ours,
            self.interpret(frame, port).sorted(),
            "translation and interpreter differ"
        );
        ours.outputs.into_iter().map(|(p, f)| (p.0, f)).collect()
    }

    /// The ports alone.
    pub fn ports(&self, frame: &[u8], port: u32) -> Vec<u32> {
        self.sent(frame, port).into_iter().map(|(p, _)| p).collect()
    }
}

pub fn lessons(t: &Translation) -> Vec<(BridgeId, Lesson)> {
    let lesson = |e: &CachedEffect| match e {
        CachedEffect::Learn { bridge, lesson } => Some((*bridge, *lesson)),
        _ => None,
    };
    t.effects.iter().filter_map(lesson).collect()
}

/// A tag to build frames with: TPID and TCI.
pub type RawTag = (u16, u16);

/// An Ethernet frame with tags and a payload that no parser knows.
pub fn ether(dst: MacAddr, src: MacAddr, tags: &[RawTag]) -> Vec<u8> {
    let mut b = Vec::new();
    b.extend(dst.0);
    b.extend(src.0);
    for (tpid, tci) in tags {
        b.extend(tpid.to_be_bytes());
        b.extend(tci.to_be_bytes());
    }
    b.extend(0x88b5u16.to_be_bytes());
    b.extend([0x5a; 46]);
    b
}

/// An IPv4 datagram in Ethernet with correct checksums.
pub fn ipv4(proto: u8, ttl: u8, payload: &[u8], tags: &[RawTag]) -> Vec<u8> {
    let mut b = ether(mac(2), mac(1), tags);
    b.truncate(b.len() - 48);
    b.extend(0x0800u16.to_be_bytes());
    let len = (20 + payload.len()) as u16;
    b.extend([0x45, 0]);
    b.extend(len.to_be_bytes());
    b.extend([0, 1, 0, 0, ttl, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    b.extend(payload);
    rvs_flow::testing::fix_checksums(&mut b);
    b
}

pub fn udp(src: u16, dst: u16, tags: &[RawTag]) -> Vec<u8> {
    let mut p = Vec::new();
    p.extend(src.to_be_bytes());
    p.extend(dst.to_be_bytes());
    p.extend([0, 12, 0, 0, 1, 2, 3, 4]);
    ipv4(17, 64, &p, tags)
}

pub fn tcp(dst: u16, flags: u8) -> Vec<u8> {
    let mut p = Vec::new();
    p.extend(1024u16.to_be_bytes());
    p.extend(dst.to_be_bytes());
    p.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    ipv4(6, 64, &p, &[])
}
