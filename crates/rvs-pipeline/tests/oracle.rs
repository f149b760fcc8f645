//! Properties P1 (megaflow soundness), P2 (translation means what the tables say) and P7 (isolation), on random bridges,
//! flows and frames, judged by the naive interpreter.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{table_with, vid, Fate, Lab, LIMITS};
use rvs_flow::field::{Field, FieldId, SubField, FIELDS};
use rvs_flow::testing::{
    field_value, frame, matching, mutate, mutated_frame, pipeline_key, Entropy,
};
use rvs_flow::{DpPort, FlowKey, Match, OfPort, PipelineKey};
use rvs_l2::{BundleId, PriorityTags, VlanMode, VlanSet};
use rvs_openflow::{
    Action, Bucket, FieldValue, Group, GroupId, GroupKind, Instructions, MetadataWrite, Selection,
    TableId,
};
use rvs_packet::{EtherType, Frame};
use rvs_pipeline::reference::Outcome;
use rvs_pipeline::{
    Bridge, BridgeId, Bundle, FragMode, GroupEntry, Mirror, MirrorOutput, MirrorPorts, Mirrors,
    Miss, Port, PortKind, Ports, Recorder, Rule, Settings, StpState, Tables, TraceEvent,
    Translation,
};

const VIDS: [u16; 6] = [10, 100, 200, 0, 1, 4095];

fn vlan_set(e: &mut Entropy<'_>) -> VlanSet {
    (0..e.below(4)).map(|_| vid(e.pick(&VIDS))).collect()
}

fn mode(e: &mut Entropy<'_>) -> VlanMode {
    let tag = vid(e.pick(&VIDS));
    match e.below(8) {
        0..=2 => VlanMode::Access(tag),
        3 | 4 => VlanMode::Trunk {
            trunks: vlan_set(e),
        },
        5 => VlanMode::NativeTagged {
            tag,
            trunks: vlan_set(e),
        },
        6 => VlanMode::NativeUntagged {
            tag,
            trunks: vlan_set(e),
        },
        _ => VlanMode::Dot1qTunnel {
            tag,
            cvlans: vlan_set(e),
            ethertype: e.pick(&[EtherType::QINQ, EtherType::VLAN]),
        },
    }
}

/// Ports 1 to 4 of bridge `n` are devices `10 n + 1` and so on; port 5 is a patch to the other bridge.
fn ports(e: &mut Entropy<'_>, n: u32) -> Ports {
    let mut ports = Vec::new();
    let mut bundles = Vec::new();
    for of in 1..=5u32 {
        let kind = match of {
            5 => PortKind::Patch {
                peer: Some((BridgeId(3 - n), OfPort(5))),
            },
            _ => PortKind::Device(DpPort(10 * n + of)),
        };
        let mut port = Port::device(OfPort(of), DpPort(0), "p");
        port.kind = kind;
        port.config.no_flood = e.one_in(8);
        port.config.no_fwd = e.one_in(16);
        port.config.no_recv = e.one_in(32);
        port.config.no_packet_in = e.one_in(16);
        port.config.no_recv_stp = e.one_in(16);
        if e.one_in(8) {
            port.stp = e.pick(&[
                StpState::Blocking,
                StpState::Listening,
                StpState::Learning,
                StpState::Forwarding,
            ]);
        }
        port.live = !e.one_in(8);
        let mut bundle = Bundle::of_port(&port, mode(e));
        bundle.protected = e.one_in(4);
        bundle.priority_tags = e.pick(&[
            PriorityTags::No,
            PriorityTags::IfNonzero,
            PriorityTags::Always,
        ]);
        ports.push(port);
        bundles.push(bundle);
    }
    Ports::new(ports, bundles).unwrap()
}

fn mirrors(e: &mut Entropy<'_>) -> Mirrors {
    let ports = |e: &mut Entropy<'_>| {
        if e.one_in(3) {
            MirrorPorts::All
        } else {
            let n = e.below(3);
            MirrorPorts::These((0..n).map(|_| BundleId(1 + e.below(5) as u32)).collect())
        }
    };
    let n = if e.one_in(3) { 1 + e.below(3) } else { 0 };
    let one = |_| Mirror {
        name: "m".into(),
        arriving: ports(e),
        leaving: ports(e),
        vlans: if e.one_in(3) {
            vlan_set(e)
        } else {
            VlanSet::empty()
        },
        output: if e.one_in(3) {
            MirrorOutput::Vlan(vid(e.pick(&VIDS)))
        } else {
            MirrorOutput::Port(BundleId(1 + e.below(5) as u32))
        },
        snaplen: e.one_in(4).then(|| e.pick(&[14, 18, 60, 100])),
        traffic: Arc::default(),
    };
    (0..n).map(one).collect()
}

fn settings(e: &mut Entropy<'_>, vlan_limit: u8, frags: FragMode) -> Settings {
    Settings {
        vlan_limit,
        flood_vlans: if e.one_in(6) {
            vlan_set(e)
        } else {
            VlanSet::empty()
        },
        forward_bpdu: e.one_in(4),
        dummy: e.one_in(4),
        spanning_tree: e.one_in(4),
        miss: e.pick(&[Miss::Drop, Miss::Drop, Miss::Controller, Miss::Continue]),
        invalid_ttl_to_controller: e.one_in(2),
        fail_open: e.one_in(20),
        frags,
    }
}

fn of_port(e: &mut Entropy<'_>) -> OfPort {
    OfPort(e.pick(&[
        1,
        2,
        3,
        4,
        5,
        9,
        OfPort::IN_PORT.0,
        OfPort::ALL.0,
        OfPort::FLOOD.0,
        OfPort::NORMAL.0,
        OfPort::CONTROLLER.0,
    ]))
}

/// A field that an action may write.
fn writable(e: &mut Entropy<'_>) -> &'static Field {
    loop {
        let f = &FIELDS[e.below(FIELDS.len())];
        if f.writable && !matches!(f.id, FieldId::PktMark) {
            return f;
        }
    }
}

fn set_action(e: &mut Entropy<'_>) -> Action {
    if e.one_in(12) {
        let types = [0x0800, 0x86dd, 0x0806, 0x8847, 0x88e7, 0x9999];
        let protos = [0, 1, 6, 17, 43, 44, 58, 59, 132];
        let (field, value) = match e.below(3) {
            0 => (FieldId::EthType, e.pick(&types)),
            1 => (FieldId::IpProto, e.pick(&protos)),
            _ => (FieldId::MplsBos, e.pick(&[0, 1])),
        };
        return Action::set(field, value);
    }
    let key = pipeline_key(e);
    let f = writable(e);
    let (value, mask) = field_value(e, f, &key);
    match e.below(4) {
        0 => Action::load(SubField::whole(f.id), value),
        _ => Action::SetField(Box::new(FieldValue {
            field: f.id,
            value: value & mask,
            mask,
        })),
    }
}

fn move_action(e: &mut Entropy<'_>) -> Action {
    let src = &FIELDS[e.below(FIELDS.len())];
    let dst = writable(e);
    let n = u32::from(src.bits.min(dst.bits));
    let sub = |id| SubField::new(id, 0, n - 1).unwrap();
    // The mark is no part of what the interpreter keeps.
    if src.id == FieldId::PktMark {
        return Action::Note(Box::new([]));
    }
    Action::Move {
        src: sub(src.id),
        dst: sub(dst.id),
    }
}

fn action(e: &mut Entropy<'_>, deep: u8) -> Action {
    match e.below(34) {
        0..=7 => Action::output(of_port(e)),
        8..=12 => set_action(e),
        13 | 14 => move_action(e),
        15 => Action::PushVlan(e.pick(&[EtherType::VLAN, EtherType::QINQ])),
        16 | 17 => Action::PopVlan,
        18 => Action::PushMpls(e.pick(&[EtherType::MPLS, EtherType::MPLS_MC])),
        19 => Action::PopMpls(e.pick(&[EtherType::IPV4, EtherType::IPV6, EtherType::MPLS])),
        20 => Action::PushPbb(EtherType::PBB),
        21 => Action::PopPbb,
        22 => Action::DecNwTtl(Box::new([])),
        23 => Action::DecMplsTtl,
        24 if e.one_in(2) => Action::CopyTtlIn,
        24 => Action::CopyTtlOut,
        25 | 26 => Action::Resubmit {
            port: e.one_in(3).then(|| of_port(e)),
            table: Some(TableId(e.below(4) as u8)),
        },
        27 if deep < 3 => Action::Clone(actions(e, deep + 1).into()),
        28 => Action::Group(GroupId(e.below(3) as u32)),
        29 => {
            if e.one_in(2) {
                Action::Push(SubField::whole(writable(e).id))
            } else {
                Action::Pop(SubField::whole(writable(e).id))
            }
        }
        30 => Action::CheckPktLarger {
            dst: SubField::new(FieldId::Reg0, 3, 3).unwrap(),
            len: e.pick(&[60, 64, 100]),
        },
        31 => Action::SetVlanVid {
            vid: vid(e.pick(&VIDS)),
            push: e.one_in(2),
        },
        32 if e.one_in(3) => Action::Exit,
        _ => Action::OutputReg {
            src: SubField::new(FieldId::Reg0, 0, 3).unwrap(),
            max_len: 0,
        },
    }
}

fn actions(e: &mut Entropy<'_>, deep: u8) -> Vec<Action> {
    (0..e.below(5)).map(|_| action(e, deep)).collect()
}

fn instructions(e: &mut Entropy<'_>, table: u8) -> Instructions {
    Instructions {
        meter: None,
        apply: actions(e, 0).into(),
        clear: e.one_in(8),
        write: if e.one_in(3) {
            actions(e, 2).into()
        } else {
            Box::new([])
        },
        metadata: e.one_in(4).then(|| {
            let mask = e.pick(&[1u64, u64::MAX]);
            Box::new(MetadataWrite {
                value: e.pick(&[0u64, 1, 2]) & mask,
                mask,
            })
        }),
        goto: e.one_in(2).then(|| TableId(table + 1)),
    }
}

fn tables(e: &mut Entropy<'_>) -> Tables {
    if e.one_in(3) {
        return Tables::default().with(Arc::new(common::normal_table()));
    }
    let mut tables = Tables::default();
    let conjunctions = e.one_in(4);
    for id in 0..4u8 {
        let rules: Vec<(Match<PipelineKey>, Rule)> =
            (0..e.below(if conjunctions { 12 } else { 6 }))
                .map(|n| {
                    let mut m = if e.one_in(3) {
                        Match::any()
                    } else {
                        matching(e)
                    };
                    let mut what = instructions(e, id);
                    if conjunctions && e.one_in(2) {
                        let (id, clause) = (1 + e.below(2) as u32, e.below(2) as u8);
                        let clause = Action::Conjunction {
                            id,
                            clause,
                            n_clauses: 2,
                        };
                        what = Instructions::apply(vec![clause]);
                    } else if conjunctions {
                        m.set_exact(FieldId::ConjId, 1 + e.below(2) as u128)
                            .unwrap();
                    }
                    let mut rule = Rule::new(TableId(id), e.below(3) as u16, what);
                    rule.cookie = u64::from(id) << 8 | n as u64;
                    (m, rule)
                })
                .collect();
        tables = tables.with(Arc::new(table_with(id, rules)));
    }
    tables
}

fn groups(e: &mut Entropy<'_>) -> Vec<Group> {
    (0..2u32)
        .map(|id| {
            let kind = e.pick(&[GroupKind::All, GroupKind::Indirect, GroupKind::FastFailover]);
            let buckets = (0..e.below(4) as u32).map(|b| Bucket {
                id: b,
                weight: 1,
                watch_port: e.one_in(2).then(|| OfPort(1 + e.below(5) as u32)),
                watch_group: None,
                actions: actions(e, 2).into(),
            });
            let buckets: Vec<_> = buckets.collect();
            Group {
                id: GroupId(id),
                kind,
                selection: Selection::Default,
                buckets: buckets.into(),
            }
        })
        .collect()
}

fn lab(e: &mut Entropy<'_>) -> Lab {
    // One for the whole daemon.
    let vlan_limit = e.pick(&[1, 1, 2, 0]);
    let frags = e.pick(&[
        FragMode::Normal,
        FragMode::Normal,
        FragMode::NxMatch,
        FragMode::Drop,
    ]);
    let bridges: Vec<Bridge> = (1..=2u32)
        .map(|n| {
            let mut b = Bridge::new(BridgeId(n), &format!("br{n}"));
            b.ports = Arc::new(ports(e, n));
            b.mirrors = Arc::new(mirrors(e));
            b.settings = Arc::new(settings(e, vlan_limit, frags));
            b.tables = Arc::new(tables(e));
            let entries = groups(e).into_iter();
            b.groups = entries.map(|g| Arc::new(GroupEntry::new(g))).collect();
            b
        })
        .collect();
    let mut lab = Lab::new(bridges);
    for n in 1..=2 {
        for _ in 0..e.below(6) {
            let (vlan, mac) = (e.pick(&VIDS), common::mac(1 + e.below(4) as u8));
            lab.knows(BridgeId(n), vlan, mac, 1 + e.below(5) as u32);
        }
    }
    lab
}

fn in_port(e: &mut Entropy<'_>) -> u32 {
    10 * (1 + e.below(2) as u32) + 1 + e.below(4) as u32
}

/// What one seed tests: a world, a frame, and relatives of that frame.
fn check(seed: u64, relatives: usize) {
    let mut e = Entropy::seed(seed);
    let lab = lab(&mut e);
    let first = if e.one_in(4) {
        mutated_frame(&mut e)
    } else {
        frame(&mut e)
    };
    let port = in_port(&mut e);
    let f = Frame::from_slice(&first);
    let key = lab.key(&f, port);
    let t = lab.translate(&key);
    assert_eq!(t.drop.is_some(), t.actions.is_empty(), "seed {seed}");
    let o = rvs_pipeline::reference::interpret(&lab.world, &lab.macs, &f, DpPort(port));
    let mut trace = Recorder::default();
    rvs_pipeline::translate(&lab.view(), &key, &mut trace);
    let branches = trace
        .lines
        .iter()
        .any(|l| matches!(l.event, TraceEvent::Action(Action::CheckPktLarger { .. })));
    // A label can't be pushed behind an 802.3 length, and the key does not say whether there is one.
    let more_than_normal = |l: &rvs_pipeline::TraceLine| matches!(&l.event, TraceEvent::Action(a) if *a != Action::output(OfPort::NORMAL));
    let normal_only = !trace.lines.iter().any(more_than_normal);
    if has_length(&first) && !normal_only {
        return;
    }
    if o.aborted || t.drop.is_some_and(|d| LIMITS.contains(&d)) {
        // Recirculation and branches count from where they are; actions and their nesting are the translation's limits alone.
        if o.aborted && t.frozen.is_empty() && !branches {
            assert!(t.actions.is_empty(), "seed {seed}: {:?}", t.drop);
        }
        return;
    }
    if !t.frozen.is_empty() && tags(&first) + pushes(&trace) > 2 {
        // More tags than a key holds, parsed anew: what is behind them can't be seen any more.
        return;
    }
    let ours = lab.send(&first, port).sorted();
    if ours.too_deep {
        return;
    }
    // What recirculates, and what follows a branch, can't know of each other's mirrored copies: there may be one too many.
    let at_least =
        lab.world.bridges().any(|b| !b.mirrors.is_empty()) && (branches || !t.frozen.is_empty());
    let agree = |ours: &Fate, theirs: &Fate| ours == theirs || at_least && ours.covers(theirs);
    if !agree(&ours, &lab.interpret(&first, port).sorted()) {
        explain(&lab, &key, &t, &o);
        assert_eq!(ours, lab.interpret(&first, port).sorted(), "seed {seed}");
    }
    let ours = common::lessons(&t);
    // A port that only learns yet has no frame go on after a stop.
    let stops = |l: &rvs_pipeline::TraceLine| l.event == TraceEvent::Aside("recirculate".into());
    if !trace.lines.iter().any(stops) && !branches {
        assert!(ours.iter().all(|l| o.lessons.contains(l)), "seed {seed}");
        assert!(o.lessons.iter().all(|l| ours.contains(l)), "seed {seed}");
    }
    flip_bits(&mut e, &lab, &key, &t, seed);
    for n in 0..relatives {
        // A relative that the caches take for the same flow must fare as its own translation and as the interpreter say.
        let mut other = first.clone();
        for _ in 0..1 + e.below(3) {
            relate(&mut e, &mut other);
        }
        let g = Frame::from_slice(&other);
        let k = lab.key(&g, port);
        if !t.mask.same(&key, &k) || has_length(&other) && !normal_only {
            continue;
        }
        let own = lab.translate(&k);
        assert_eq!(
            own.actions, t.actions,
            "seed {seed}, relative {n}: {key:?} and {k:?}"
        );
        assert_eq!(own.notes, t.notes, "seed {seed}, relative {n}");
        assert_eq!(own.frozen, t.frozen, "seed {seed}, relative {n}");
        assert_eq!(
            common::lessons(&own),
            common::lessons(&t),
            "seed {seed}, relative {n}"
        );
        let o = rvs_pipeline::reference::interpret(&lab.world, &lab.macs, &g, DpPort(port));
        if o.aborted {
            continue;
        }
        let cached = lab.execute(lab.translate(&key), &g, port).sorted();
        if cached.too_deep {
            continue;
        }
        let want = lab.interpret(&other, port).sorted();
        if !agree(&cached, &want) {
            explain(&lab, &k, &own, &o);
            assert_eq!(cached, want, "seed {seed}, relative {n}: {other:02x?}");
        }
    }
}

/// Bits that the mask leaves out, flipped in the key itself: nothing may depend on them.
fn flip_bits(e: &mut Entropy<'_>, lab: &Lab, key: &FlowKey, t: &Translation, seed: u64) {
    for _ in 0..20 {
        let mut p = PipelineKey {
            flow: *key,
            ..PipelineKey::default()
        };
        for _ in 0..1 + e.below(4) {
            let field = &FIELDS[e.below(FIELDS.len())];
            if field.exists_in(&p) && !field.is_vlan() {
                let bit = 1 << e.below(usize::from(field.bits));
                let flipped = field.get(&p) ^ bit;
                field.set_masked(&mut p, flipped, bit);
            } else if field.is_vlan() && key.present.has(rvs_flow::Present::VLAN0) {
                let tci = p.flow.vlan0_tci.get() ^ [1u16, 0x8000, 0x100][e.below(3)];
                p.flow.vlan0_tci = tci.into();
            }
        }
        if t.mask.same(key, &p.flow) {
            let other = lab.translate(&p.flow);
            if other.actions != t.actions {
                explain(lab, key, t, &Outcome::default());
            }
            assert_eq!(
                other.actions, t.actions,
                "seed {seed}: {key:?} and {:?}",
                p.flow
            );
        }
    }
}

/// Prints how the translation came about.
fn explain(lab: &Lab, key: &FlowKey, t: &Translation, o: &Outcome) {
    let mut trace = Recorder::default();
    rvs_pipeline::translate(&lab.view(), key, &mut trace);
    for line in &trace.lines {
        let event = match &line.event {
            TraceEvent::Rule {
                table,
                priority,
                cookie,
                matching,
            } => {
                let ports = &rvs_flow::field::NoPortNames;
                format!(
                    "table {} priority {priority} cookie {cookie:#x} {}",
                    table.0,
                    matching.display(ports)
                )
            }
            TraceEvent::Final { .. } => continue,
            other => format!("{other:?}"),
        };
        println!("{:1$}{event}", "", usize::from(line.depth) * 2);
    }
    println!("actions {:?} frozen {:?}", t.actions, t.frozen);
    println!("interpreter: {:x?}", o.rules);
}

/// Tags in front of the payload.
fn tags(b: &[u8]) -> usize {
    let mut n = 0;
    while matches!(
        b.get(12 + 4 * n..14 + 4 * n),
        Some([0x81, 0x00] | [0x88, 0xa8])
    ) {
        n += 1;
    }
    n
}

/// Actions that may have pushed a tag.
fn pushes(trace: &Recorder) -> usize {
    let vlan = |id: FieldId| Field::of(id).is_vlan();
    let pushes = |a: &Action| match a {
        Action::PushVlan(_) | Action::SetVlanVid { .. } | Action::SetVlanPcp { .. } => true,
        Action::Output { port, .. } => *port == OfPort::NORMAL,
        Action::SetField(v) => vlan(v.field),
        Action::Load(v) => vlan(v.dst.id()),
        Action::Move { dst, .. } | Action::Pop(dst) => vlan(dst.id()),
        _ => false,
    };
    let lines = trace.lines.iter();
    lines
        .filter(|l| matches!(&l.event, TraceEvent::Action(a) if pushes(a)))
        .count()
}

/// True for an 802.3 frame: a length where the type would be.
fn has_length(b: &[u8]) -> bool {
    let at = 12 + 4 * tags(b);
    matches!(b.get(at..at + 2), Some([hi, _]) if *hi < 6)
}

/// A small change, of the kind that finds bits missing in a mask.
fn relate(e: &mut Entropy<'_>, b: &mut Vec<u8>) {
    match e.below(6) {
        0 => mutate(e, b),
        1 if b.len() >= 14 => {
            let tag = [0x81, 0, e.u8(), e.pick(&[10, 100, 200, 0])];
            b.splice(12..12, tag);
        }
        2 if b.len() >= 18 => {
            b.drain(12..16);
        }
        _ => {
            if !b.is_empty() {
                let at = e.below(b.len().min(80));
                b[at] ^= 1 << e.below(8);
                if e.one_in(2) {
                    rvs_flow::testing::fix_checksums(b);
                }
            }
        }
    }
}

#[test]
fn p1_p2_translations_agree_with_the_interpreter_on_every_frame_of_their_megaflow() {
    let n: u64 = std::env::var("RVS_SEEDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(4000);
    let first: u64 = std::env::var("RVS_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    for seed in first..first + n {
        check(seed, 20);
    }
}
