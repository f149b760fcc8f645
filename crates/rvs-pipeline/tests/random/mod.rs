//! Random bridges, with ports of every VLAN mode, mirrors, flows and groups, of an entropy.

use std::sync::Arc;

use rvs_flow::field::{Field, FieldId, SubField, FIELDS};
use rvs_flow::testing::{field_value, matching, pipeline_key, Entropy};
use rvs_flow::{DpPort, Match, OfPort, PipelineKey};
use rvs_l2::{BundleId, PriorityTags, VlanMode, VlanSet};
use rvs_openflow::{
    Action, Bucket, FieldValue, Group, GroupId, GroupKind, Instructions, MetadataWrite, Selection,
    TableId,
};
use rvs_packet::EtherType;
use rvs_pipeline::{
    frame_priority, Bridge, BridgeId, Bundle, FragMode, GroupEntry, Mirror, MirrorOutput,
    MirrorPorts, Mirrors, Miss, Port, PortKind, Ports, Rule, Settings, StpState, Tables,
};

use crate::common::{mac, normal_table, table_with, vid, Lab};

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
fn ports(e: &mut Entropy<'_>, n: u32, dummy: bool) -> Ports {
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
        if e.one_in(3) {
            let queues = (0..2).filter_map(|queue| frame_priority(queue, dummy));
            port.dscp = queues.map(|queue| (queue, e.u8() & 0x3f)).collect();
        }
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
        rapid: false,
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
    match e.below(36) {
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
        33 if e.one_in(4) => Action::PopQueue,
        33 => Action::SetQueue(e.below(2) as u32),
        34 => Action::Enqueue {
            port: of_port(e),
            queue: e.below(2) as u32,
        },
        32 if e.one_in(3) => Action::DebugRecirc,
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
        stat_trigger: None,
        goto: e.one_in(2).then(|| TableId(table + 1)),
    }
}

fn tables(e: &mut Entropy<'_>) -> Tables {
    if e.one_in(3) {
        return Tables::default().with(Arc::new(normal_table()));
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

/// Two bridges that know some MAC addresses already.
pub fn lab(e: &mut Entropy<'_>) -> Lab {
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
            b.settings = Arc::new(settings(e, vlan_limit, frags));
            b.ports = Arc::new(ports(e, n, b.settings.dummy));
            b.mirrors = Arc::new(mirrors(e));
            b.tables = Arc::new(tables(e));
            let entries = groups(e).into_iter();
            b.groups = entries.map(|g| Arc::new(GroupEntry::new(g))).collect();
            b
        })
        .collect();
    let mut lab = Lab::new(bridges);
    for n in 1..=2 {
        for _ in 0..e.below(6) {
            let (vlan, mac) = (e.pick(&VIDS), mac(1 + e.below(4) as u8));
            lab.knows(BridgeId(n), vlan, mac, 1 + e.below(5) as u32);
        }
    }
    lab
}

/// A device of either bridge.
pub fn in_port(e: &mut Entropy<'_>) -> u32 {
    10 * (1 + e.below(2) as u32) + 1 + e.below(4) as u32
}
