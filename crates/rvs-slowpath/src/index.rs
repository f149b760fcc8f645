//! Which installed flows may a changed rule touch? Asked at every flow-mod, so it must not cost a look at each flow.
//!
//! A flow asked some tables on its way, each for packets that agree with its key under its mask. A changed rule concerns it
//! when it is in one of these tables, not below the priority that decided there, and when some packet of the flow matches
//! it. Packets reach a table rewritten: words of the key that an action had written by then say nothing, and are left out of
//! the comparison.
//!
//! Flows of a table are kept in groups of one mask. A rule and a group have the bits in common that both look at; by these
//! bits the group's flows are found with one range of a sorted set, a *projection*. A projection is made when a rule of that
//! shape is asked for the first time, and kept for the next one: controllers change rules of few shapes.
//!
//! Invariants
//! - A flow is in the group of every table that it depends on, and in every projection of that group.
//! - What is compared was the same on the wire and in the table. Where the pipeline shows a table something else than the key
//!   (a tag beyond the VLAN limit, ports of later fragments), nothing is compared.

use std::collections::BTreeSet;
use std::mem::offset_of;

use ahash::{AHashMap, RandomState};
use rvs_dpif::{FlowId, Megaflow};
use rvs_flow::{DpPort, FlowKey, Key, Mask, OfPort, PipelineKey, Present};
use rvs_openflow::TableId;
use rvs_pipeline::{BridgeId, RuleChange, TableDep, World};

use crate::ids::FlowSet;

/// Groups up to this size are looked through: a projection would cost more.
const SMALL: usize = 32;
/// Shapes of rules that a group is prepared for.
const PROJECTIONS: usize = 4;
/// The word of [`PipelineKey`] with the input port, as a bit of [`TableDep::rewritten`].
const OF_PORT_WORD: u32 = 1 << (offset_of!(PipelineKey, of_port) / 8);

/// Flows by the tables that they asked.
#[derive(Debug)]
pub(crate) struct TableIndex {
    tables: AHashMap<(BridgeId, TableId), AHashMap<Shape, Group>>,
    hasher: RandomState,
}

/// What flows of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    /// Bits of the key that are known, and that the table saw as they are.
    mask: Mask<FlowKey>,
    /// Words of [`PipelineKey`] that the table saw as a packet from the wire has them: the input port, and zeros.
    untouched: u32,
}

#[derive(Debug, Default)]
struct Group {
    flows: FlowSet,
    /// The one used last comes last.
    projections: Vec<Projection>,
}

/// The flows of a group, sorted by a hash of the bits under `mask`.
#[derive(Debug)]
struct Projection {
    mask: Mask<FlowKey>,
    flows: BTreeSet<(u64, FlowId)>,
}

impl TableIndex {
    pub(crate) fn new(hasher: RandomState) -> Self {
        Self {
            tables: AHashMap::default(),
            hasher,
        }
    }

    pub(crate) fn insert(&mut self, flow: &Megaflow, deps: &[TableDep]) {
        for dep in deps {
            let group = self
                .tables
                .entry((dep.bridge, dep.table))
                .or_default()
                .entry(Shape::of(flow, dep))
                .or_default();
            group.flows.insert(flow.id);
            for p in &mut group.projections {
                let hash = project(&self.hasher, &flow.key, &p.mask);
                p.flows.insert((hash, flow.id));
            }
        }
    }

    pub(crate) fn remove(&mut self, flow: &Megaflow, deps: &[TableDep]) {
        for dep in deps {
            let table = (dep.bridge, dep.table);
            let Some(groups) = self.tables.get_mut(&table) else {
                continue;
            };
            let shape = Shape::of(flow, dep);
            let Some(group) = groups.get_mut(&shape) else {
                continue;
            };
            group.flows.remove(&flow.id);
            if group.flows.is_empty() {
                groups.remove(&shape);
                if groups.is_empty() {
                    self.tables.remove(&table);
                }
                continue;
            }
            for p in &mut group.projections {
                let hash = project(&self.hasher, &flow.key, &p.mask);
                p.flows.remove(&(hash, flow.id));
            }
        }
    }

    /// Flows that `change` may touch, going by their keys; `key_of` gives the key of one. [`concerns`] decides.
    pub(crate) fn candidates<'a>(
        &mut self,
        world: &World,
        bridge: BridgeId,
        change: &RuleChange,
        key_of: impl Fn(FlowId) -> Option<&'a FlowKey>,
        out: &mut Vec<FlowId>,
    ) {
        let Some(groups) = self.tables.get_mut(&(bridge, change.table)) else {
            return;
        };
        let (value, mask) = (change.matching.value().flow, change.matching.mask().0);
        let port = InPort::of(world, bridge, change);
        for (shape, group) in groups {
            let (mut value, mut both) = (value, mask.flow);
            // In terms of the wire: the rule's input port is a device.
            both.in_port = 0;
            value.in_port = 0;
            if shape.untouched & OF_PORT_WORD != 0 {
                match port {
                    InPort::Any => {}
                    InPort::Device(dp) => (value.in_port, both.in_port) = (dp.0, u32::MAX),
                    InPort::None => continue,
                }
            }
            let known = shape.mask.0.words();
            for (b, k) in both.words_mut().iter_mut().zip(known) {
                *b &= k;
            }
            group.find(&self.hasher, &value, &Mask(both), &key_of, out);
        }
    }
}

/// The device that a rule's input port means.
#[derive(Clone, Copy)]
enum InPort {
    /// The rule does not ask, or not for one port.
    Any,
    Device(DpPort),
    /// No frame from the wire has it.
    None,
}

impl InPort {
    fn of(world: &World, bridge: BridgeId, change: &RuleChange) -> Self {
        let (value, mask) = (change.matching.value(), change.matching.mask());
        if mask.0.of_port != u32::MAX {
            return Self::Any;
        }
        world
            .bridge(bridge)
            .and_then(|b| b.ports.get(OfPort(value.of_port))?.dp())
            .map_or(Self::None, Self::Device)
    }
}

impl Shape {
    fn of(flow: &Megaflow, dep: &TableDep) -> Self {
        let key = &flow.key;
        let shown_otherwise = key.present.has(Present::VLAN1) || key.nw_frag != 0;
        if shown_otherwise {
            return Self {
                mask: Mask::none(),
                untouched: 0,
            };
        }
        let mut mask = flow.mask;
        let words = mask.0.words_mut();
        for (i, w) in words.iter_mut().enumerate() {
            if dep.rewritten >> i & 1 != 0 {
                *w = 0;
            }
        }
        let own = !0 << FlowKey::WORDS;
        let untouched = if key.recirc_id == 0 {
            own & !dep.rewritten
        } else {
            0
        };
        mask.0.recirc_id = 0;
        if untouched & OF_PORT_WORD == 0 {
            mask.0.in_port = 0;
        }
        Self { mask, untouched }
    }
}

impl Group {
    /// Flows whose key agrees with `value` on `mask`.
    fn find<'a>(
        &mut self,
        hasher: &RandomState,
        value: &FlowKey,
        mask: &Mask<FlowKey>,
        key_of: &impl Fn(FlowId) -> Option<&'a FlowKey>,
        out: &mut Vec<FlowId>,
    ) {
        if mask.0.words().iter().all(|w| *w == 0) {
            return out.extend(&self.flows);
        }
        if self.flows.len() <= SMALL {
            let agrees = |id: &&FlowId| {
                key_of(**id).is_some_and(|k| {
                    let differ = k.words().iter().zip(value.words()).zip(mask.0.words());
                    differ.fold(0, |d, ((k, v), m)| d | (k ^ v) & m) == 0
                })
            };
            return out.extend(self.flows.iter().filter(agrees));
        }
        let projection = self.projection(hasher, mask, key_of);
        let hash = project(hasher, value, mask);
        let same = (hash, FlowId(0))..=(hash, FlowId(u64::MAX));
        out.extend(projection.flows.range(same).map(|(_, id)| *id));
    }

    fn projection<'a>(
        &mut self,
        hasher: &RandomState,
        mask: &Mask<FlowKey>,
        key_of: &impl Fn(FlowId) -> Option<&'a FlowKey>,
    ) -> &Projection {
        let made = match self.projections.iter().position(|p| p.mask == *mask) {
            Some(i) => self.projections.remove(i),
            None => {
                if self.projections.len() >= PROJECTIONS {
                    self.projections.remove(0);
                }
                let hashed = |id: &FlowId| Some((project(hasher, key_of(*id)?, mask), *id));
                Projection {
                    mask: *mask,
                    flows: self.flows.iter().filter_map(hashed).collect(),
                }
            }
        };
        self.projections.push(made);
        let last = self.projections.len() - 1;
        &self.projections[last]
    }
}

/// True when the change may alter what this flow does.
pub(crate) fn concerns(
    flow: &Megaflow,
    deps: &[TableDep],
    bridge: BridgeId,
    c: &RuleChange,
) -> bool {
    deps.iter()
        .filter(|d| d.bridge == bridge && d.table == c.table)
        .any(|dep| {
            // Below the rule that decided, nothing is asked.
            let asked = dep.priority.is_none_or(|decided| c.priority >= decided);
            asked && Shape::of(flow, dep).meets(&flow.key, c)
        })
}

impl Shape {
    /// True when some packet of a flow with this key matches the rule as far as is known.
    fn meets(&self, key: &FlowKey, change: &RuleChange) -> bool {
        let (value, mask) = (change.matching.value(), change.matching.mask());
        let in_port = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        let known = self.mask.0.words().iter().enumerate();
        let own = FlowKey::WORDS;
        let frame = known.zip(key.words()).all(|((i, known), key)| {
            // The datapath's number of the input port is no field of a rule.
            let known = if i == 0 { known & !in_port } else { *known };
            (key ^ value.words()[i]) & known & mask.0.words()[i] == 0
        });
        let port_word = OF_PORT_WORD.trailing_zeros() as usize;
        let zeros = (own..PipelineKey::WORDS)
            .filter(|w| *w != port_word && self.untouched >> w & 1 != 0)
            .all(|w| value.words()[w] & mask.0.words()[w] == 0 || w == ACTSET_WORD);
        frame && zeros
    }
}

/// The word with the action set's output port, which starts as "unset", not as zero.
const ACTSET_WORD: usize = offset_of!(PipelineKey, actset_output) / 8;

fn project(hasher: &RandomState, key: &FlowKey, mask: &Mask<FlowKey>) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut h = hasher.build_hasher();
    for (k, m) in key.words().iter().zip(mask.0.words()) {
        if *m != 0 {
            h.write_u64(k & m);
        }
    }
    h.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use rvs_dpif::FlowStats;
    use rvs_flow::Match;

    use super::*;

    const TABLE: TableId = TableId(3);
    const BRIDGE: BridgeId = BridgeId(1);

    /// Small numbers, made from a seed.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 33) % sides
        }
    }

    fn key(d: &mut Dice) -> FlowKey {
        FlowKey {
            in_port: 1 + d.roll(2) as u32,
            nw_proto: d.roll(2) as u8,
            nw_src: [10, 0, 0, d.roll(4) as u8],
            tp_dst: (d.roll(3) as u16).into(),
            nw_frag: u8::from(d.roll(8) == 0),
            recirc_id: u32::from(d.roll(8) == 0),
            ..Default::default()
        }
    }

    fn mask(d: &mut Dice) -> Mask<FlowKey> {
        let mut on = |m: u64| if d.roll(2) == 0 { m } else { 0 };
        Mask(FlowKey {
            in_port: u32::MAX,
            recirc_id: u32::MAX,
            nw_frag: 0xff,
            nw_proto: on(0xff) as u8,
            nw_src: [on(0xff) as u8, 0, 0, on(0xff) as u8],
            tp_dst: (on(0xffff) as u16).into(),
            ..Default::default()
        })
    }

    fn flow(id: u64, d: &mut Dice) -> (Megaflow, TableDep) {
        let (key, mask) = (key(d), mask(d));
        let flow = Megaflow {
            id: FlowId(id),
            key: mask.apply(&key),
            mask,
            actions: [].into(),
            drop: None,
            stats: Arc::new(FlowStats::default()),
            version: 1,
        };
        let words = [0, 1 << 5, 1 << 6, OF_PORT_WORD, 1 << 1 | 1 << 5];
        let dep = TableDep {
            bridge: BRIDGE,
            table: TABLE,
            priority: [None, Some(10), Some(20)][d.roll(3) as usize],
            rewritten: words[d.roll(5) as usize],
        };
        (flow, dep)
    }

    fn change(d: &mut Dice) -> RuleChange {
        let (value, mut mask) = (key(d), mask(d));
        (mask.0.in_port, mask.0.recirc_id, mask.0.nw_frag) = (0, 0, 0);
        let mut p = PipelineKey {
            flow: value,
            ..Default::default()
        };
        let mut m = Mask::<PipelineKey>::none();
        m.0.flow = mask.0;
        if d.roll(3) == 0 {
            m.0.metadata = u64::MAX.into();
            p.metadata = d.roll(2).into();
        }
        RuleChange {
            table: TABLE,
            priority: [5, 10, 15, 20, 25][d.roll(5) as usize],
            matching: Match::new(&p, m),
        }
    }

    /// What [`concerns`] says of every flow is what the index finds, while flows come and go.
    #[test]
    fn the_index_finds_every_flow_that_a_change_concerns() {
        for seed in 0..40 {
            let mut d = Dice(seed);
            let mut index = TableIndex::new(RandomState::with_seeds(1, 2, 3, seed));
            let mut flows: AHashMap<FlowId, (Megaflow, TableDep)> = AHashMap::default();
            let world = World::new(1);
            let mut found_any = 0;
            for id in 0..600 {
                let (f, dep) = flow(id, &mut d);
                index.insert(&f, &[dep]);
                flows.insert(f.id, (f, dep));
                if d.roll(3) == 0 {
                    let gone = FlowId(d.roll(id + 1));
                    if let Some((f, dep)) = flows.remove(&gone) {
                        index.remove(&f, &[dep]);
                    }
                }
                if d.roll(4) == 0 {
                    let c = change(&mut d);
                    let mut found = Vec::new();
                    let key_of = |id| flows.get(&id).map(|(f, _)| &f.key);
                    index.candidates(&world, BRIDGE, &c, key_of, &mut found);
                    let concerned = |f: &Megaflow, dep| concerns(f, &[dep], BRIDGE, &c);
                    found.retain(|id| flows.get(id).is_some_and(|(f, dep)| concerned(f, *dep)));
                    found.sort_unstable();
                    let mut all: Vec<FlowId> = flows
                        .values()
                        .filter(|(f, dep)| concerned(f, *dep))
                        .map(|(f, _)| f.id)
                        .collect();
                    all.sort_unstable();
                    assert_eq!(found, all, "seed {seed}, {c:?}");
                    found_any += found.len();
                }
            }
            assert!(found_any > 0);
            for (_, (f, dep)) in flows {
                index.remove(&f, &[dep]);
            }
            assert!(index.tables.is_empty());
        }
    }

    #[test]
    fn a_rewritten_word_hides_nothing_and_a_lower_priority_says_nothing() {
        let mut d = Dice(7);
        let (mut f, mut dep) = flow(1, &mut d);
        f.key = FlowKey {
            nw_src: [10, 0, 0, 1],
            ..Default::default()
        };
        f.mask = Mask(FlowKey {
            nw_src: [255; 4],
            ..Default::default()
        });
        let mut m = Match::any();
        m.set_exact(rvs_flow::field::FieldId::Ipv4Src, 0x0a00_0002)
            .unwrap();
        let c = RuleChange {
            table: TABLE,
            priority: 15,
            matching: m,
        };
        (dep.rewritten, dep.priority) = (0, None);
        assert!(!concerns(&f, &[dep], BRIDGE, &c));
        dep.rewritten = 1 << 5 | 1 << 1;
        assert!(
            concerns(&f, &[dep], BRIDGE, &c),
            "what was written is not known"
        );
        dep.priority = Some(20);
        assert!(!concerns(&f, &[dep], BRIDGE, &c), "a rule above it decided");
        dep.priority = Some(15);
        assert!(concerns(&f, &[dep], BRIDGE, &c), "it may be the very rule");
    }
}
