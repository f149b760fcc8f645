//! The classifier beside its oracle, at every version, under random changes, and the soundness of what it un-wildcards.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use ahash::RandomState;
use proptest::prelude::*;
use rvs_classifier::reference::LinearClassifier;
use rvs_classifier::{Classifier, Config, Cursor, Filter, Layout, RuleId, Version, WriteError};
use rvs_flow::{FlowKey, Key, Mask, PipelineKey, Present};
use zerocopy::byteorder::network_endian::{U16, U32};

type Rules = (
    Classifier<PipelineKey, u32>,
    LinearClassifier<PipelineKey, u32>,
);

fn config(round_prefixes: bool) -> Config {
    Config {
        hasher: RandomState::with_seeds(1, 2, 3, 4),
        round_prefixes,
    }
}

/// Keys from few values, so that rules share stages, prefixes and whole matches.
fn key() -> impl Strategy<Value = PipelineKey> {
    let addr = prop::sample::select(vec![
        [10, 0, 0, 1],
        [10, 0, 0, 2],
        [10, 0, 1, 1],
        [10, 128, 0, 1],
        [192, 168, 0, 1],
        [0, 0, 0, 0],
        [138, 0, 0, 1],
    ]);
    let addr6 = prop::sample::select(vec![
        [0u8; 16],
        [0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        [0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1],
        [0x20, 1, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 1],
        [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    ]);
    let port = prop::sample::select(vec![0u16, 80, 81, 443, 0x8000, 0x8050]);
    let present = prop::sample::select(vec![
        Present::NONE,
        Present::IPV4,
        Present::IPV4.with(Present::TCP),
        Present::IPV6.with(Present::UDP),
        Present::IPV4.with(Present::TCP).with(Present::VLAN0),
    ]);
    (
        (
            0u32..3,
            0u32..2,
            prop::sample::select(vec![0u16, 0x1000, 0x100a, 0x100b]),
        ),
        (
            present,
            prop::sample::select(vec![0x800u16, 0x86dd, 0x806]),
            prop::sample::select(vec![6u8, 17]),
        ),
        (addr.clone(), addr, addr6.clone(), addr6),
        (port.clone(), port, 0u16..3, 1u8..4),
    )
        .prop_map(
            |(
                (of_port, reg, tci),
                (present, dl_type, nw_proto),
                (s, d, s6, d6),
                (ps, pd, flags, mac),
            )| {
                let mut k = PipelineKey {
                    of_port,
                    ..Default::default()
                };
                k.regs[0] = U32::new(reg);
                k.flow = FlowKey {
                    vlan0_tci: U16::new(tci),
                    present,
                    dl_type: U16::new(dl_type),
                    dl_dst: [0, 0, 0, 0, 0, mac],
                    nw_proto,
                    nw_src: s,
                    nw_dst: d,
                    ipv6_src: s6,
                    ipv6_dst: d6,
                    tp_src: U16::new(ps),
                    tp_dst: U16::new(pd),
                    tcp_flags: U16::new(flags),
                    ..Default::default()
                };
                k
            },
        )
}

/// Masks from few shapes: absent, exact, prefixes, and holes.
fn mask() -> impl Strategy<Value = Mask<PipelineKey>> {
    fn prefix(n: u32, of: u32) -> u128 {
        !u128::MAX.checked_shr(n.min(of)).unwrap_or(0)
    }
    let len4 = prop::sample::select(vec![0u32, 0, 0, 1, 8, 9, 24, 31, 32, 32]);
    let len6 = prop::sample::select(vec![0u32, 0, 0, 0, 16, 33, 64, 128]);
    let len2 = prop::sample::select(vec![0u32, 0, 0, 1, 9, 15, 16, 16]);
    (
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        (len4.clone(), len4, len6.clone(), len6),
        (
            len2.clone(),
            len2,
            any::<bool>(),
            prop::sample::select(vec![0u32, 0, 0, 0x0000_00ff, 0x00ff_00ff]),
        ),
    )
        .prop_map(
            |((port, vlan, l2, reg), (s, d, s6, d6), (ps, pd, flags, holes))| {
                let mut m = Mask::<PipelineKey>::none();
                let top = |n, of| prefix(n, of).to_be_bytes();
                if port {
                    m.0.of_port = u32::MAX;
                }
                if reg {
                    m.0.regs[0] = U32::new(1);
                }
                let f = &mut m.0.flow;
                if vlan {
                    f.vlan0_tci = U16::new(0x1fff);
                }
                if l2 {
                    f.dl_dst = [0xff; 6];
                }
                if s + d > 0 {
                    (f.present, f.dl_type) = (Present::IPV4, U16::new(0xffff));
                }
                if flags || ps + pd > 0 {
                    (f.present, f.nw_proto) = (f.present.with(Present::TCP), 0xff);
                }
                f.nw_src.copy_from_slice(&top(s, 32)[..4]);
                f.nw_dst.copy_from_slice(&top(d, 32)[..4]);
                f.nw_dst
                    .iter_mut()
                    .zip(holes.to_be_bytes())
                    .for_each(|(b, h)| *b |= h);
                f.ipv6_src = top(s6, 128);
                f.ipv6_dst = top(d6, 128);
                f.tp_src = U16::from_bytes([top(ps, 16)[0], top(ps, 16)[1]]);
                f.tp_dst = U16::from_bytes([top(pd, 16)[0], top(pd, 16)[1]]);
                f.tcp_flags = U16::new(if flags { 0xffff } else { 0 });
                m
            },
        )
}

#[derive(Clone, Debug)]
enum Op {
    Insert(Box<PipelineKey>, usize, i32),
    Remove(usize),
    NextVersion,
    Rollback,
    Purge(usize, bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (key(), any::<usize>(), 0..4i32).prop_map(|(k, m, p)| Op::Insert(Box::new(k), m, p)),
        4 => any::<usize>().prop_map(Op::Remove),
        3 => Just(Op::NextVersion),
        1 => Just(Op::Rollback),
        1 => (0..20usize, any::<bool>()).prop_map(|(n, all)| Op::Purge(n, all)),
    ]
}

/// Runs a script on both; returns them with the oldest version that may still be read and the newest.
fn run(ops: &[Op], masks: &[Mask<PipelineKey>], round: bool) -> (Rules, Version, Version) {
    let mut cls = Classifier::new(config(round));
    let mut lin = LinearClassifier::new();
    let (mut version, mut floor) = (1, 1);
    for (n, op) in ops.iter().enumerate() {
        match op {
            Op::Insert(value, m, priority) => {
                let mask = &masks[m % masks.len()];
                let added = lin.insert(value.as_ref(), mask, *priority, n as u32, version);
                let got = cls.insert(value.as_ref(), mask, *priority, n as u32, version);
                assert_eq!(got.is_ok(), added, "{got:?}");
            }
            Op::Remove(pick) => {
                let current: Vec<_> = lin.rules(version).cloned().collect();
                if let Some(r) = current.get(pick % current.len().max(1)) {
                    assert!(lin.remove_at(&r.value, &r.mask, r.priority, version));
                    let id = cls
                        .find_exact(version, &r.value, &r.mask, r.priority)
                        .unwrap()
                        .id();
                    cls.remove_at(id, version).unwrap();
                    assert_eq!(
                        cls.remove_at(id, version),
                        Err(WriteError::AlreadyRemoved(version))
                    );
                }
            }
            Op::NextVersion => version += 1,
            Op::Rollback => {
                // A version that readers were promised stays.
                if version > floor {
                    while !cls.rollback(version, 3).unwrap() {}
                    lin.rollback(version);
                }
            }
            Op::Purge(work, all) => {
                floor = if *all {
                    version
                } else {
                    version.saturating_sub(1).max(floor)
                };
                let before = cls.garbage();
                let done = cls.purge(floor, *work, drop);
                assert!(done <= *work);
                assert_eq!(cls.garbage(), before - done);
            }
        }
        assert_eq!(cls.len(), lin.rules(version).count());
    }
    ((cls, lin), floor, version)
}

/// Keys that agree with `key` on `wc` and are as near to the rules as they can be.
fn neighbours(
    key: &PipelineKey,
    wc: &Mask<PipelineKey>,
    near: &[PipelineKey],
    flips: &[usize],
) -> Vec<PipelineKey> {
    let mut out = Vec::new();
    let mut mix = |other: &PipelineKey| {
        let mut k = *other;
        for ((k, m), o) in k.words_mut().iter_mut().zip(wc.0.words()).zip(key.words()) {
            *k = *k & !m | o & m;
        }
        out.push(k);
    };
    for other in near {
        mix(other);
        for flip in flips {
            let mut o = *other;
            o.words_mut()[flip / 64 % PipelineKey::WORDS] ^= 1 << (flip % 64);
            mix(&o);
        }
    }
    for flip in flips {
        let mut o = *key;
        o.words_mut()[flip / 64 % PipelineKey::WORDS] ^= 1 << (flip % 64);
        mix(&o);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

    /// P5 and P1: same answers as the oracle at every version that may be read; every key that agrees on what a lookup
    /// un-wildcarded gets the same answer; what was un-wildcarded before stays.
    #[test]
    fn lookup_agrees_with_the_oracle_and_is_sound(
        ops in prop::collection::vec(op(), 1..120),
        masks in prop::collection::vec(mask(), 1..12),
        keys in prop::collection::vec(key(), 1..6),
        flips in prop::collection::vec(any::<usize>(), 4),
        limit in 0..4i32,
        round in any::<bool>(),
    ) {
        let ((cls, lin), floor, newest) = run(&ops, &masks, round);
        let mut near: Vec<_> = lin.rules(newest).map(|r| r.value).collect();
        near.extend(&keys);
        for version in floor..=newest {
            for key in near.iter().step_by(2) {
                let mut wc = Mask::<PipelineKey>::none();
                wc.0.metadata = 5.into();
                let got = cls.lookup(version, key, &mut wc);
                let want = lin.lookup(version, key);
                prop_assert_eq!(got.map(|r| *r.payload()), want.map(|r| r.payload));
                prop_assert_eq!(wc.0.metadata.get() & 5, 5);
                if let Some(r) = got {
                    prop_assert!(r.mask().is_subset_of(&wc));
                    prop_assert!(r.mask().same(&r.value(), key));
                }
                for k in neighbours(key, &wc, &near, &flips) {
                    let same = lin.lookup(version, &k);
                    prop_assert_eq!(got.map(|r| *r.payload()), same.map(|r| r.payload), "wc {:?} key {:?}", wc, k);
                }

                let mut wc = Mask::none();
                let got = cls.lookup_from(version, key, limit, &mut wc).map(|r| *r.payload());
                prop_assert_eq!(got, lin.lookup_from(version, key, limit).map(|r| r.payload));
                for k in neighbours(key, &wc, &near, &flips) {
                    prop_assert_eq!(got, lin.lookup_from(version, &k, limit).map(|r| r.payload));
                }
            }
        }
    }

    /// Levels show every matching rule of a priority, from the highest down, soundly.
    #[test]
    fn levels_visit_all_matches(
        ops in prop::collection::vec(op(), 1..60),
        masks in prop::collection::vec(mask(), 1..8),
        keys in prop::collection::vec(key(), 1..4),
        flips in prop::collection::vec(any::<usize>(), 2),
    ) {
        let ((cls, lin), _, newest) = run(&ops, &masks, false);
        let near: Vec<_> = lin.rules(newest).map(|r| r.value).chain(keys).collect();
        let matching = |key: &PipelineKey| -> BTreeSet<(i32, u32)> {
            lin.rules(newest).filter(|r| r.matches(key)).map(|r| (r.priority, r.payload)).collect()
        };
        for key in near.iter().step_by(3) {
            let mut wc = Mask::none();
            let (mut limit, mut got, mut level) = (i32::MAX, BTreeSet::new(), Vec::new());
            while let Some(p) = cls.lookup_level(newest, key, limit, &mut wc, &mut level) {
                prop_assert!(p <= limit && !level.is_empty());
                got.extend(level.iter().map(|r| (r.priority(), *r.payload())));
                prop_assert!(level.iter().all(|r| r.priority() == p));
                limit = p - 1;
            }
            prop_assert_eq!(&got, &matching(key));
            for k in neighbours(key, &wc, &near, &flips) {
                prop_assert_eq!(&got, &matching(&k));
            }
        }
    }

    /// Strict, loose and overlap selection, and dumps in slices of any size.
    #[test]
    fn selections_agree_with_the_oracle(
        ops in prop::collection::vec(op(), 1..60),
        masks in prop::collection::vec(mask(), 2..8),
        value in key(),
        priority in 0..4i32,
        slice in 1..10usize,
    ) {
        let ((cls, lin), floor, newest) = run(&ops, &masks, false);
        for version in floor..=newest {
            let values: Vec<_> = lin.rules(newest).map(|r| r.value).step_by(4).chain([value]).collect();
            for (value, mask) in values.iter().flat_map(|v| masks.iter().map(move |m| (v, m))) {
                let canonical = mask.apply(value);
                prop_assert_eq!(
                    cls.find_exact(version, value, mask, priority).map(|r| *r.payload()),
                    lin.find_exact(version, value, mask, priority).map(|r| r.payload)
                );
                let expected: [(Filter<PipelineKey>, BTreeSet<u32>); 4] = [
                    (Filter::All, lin.rules(version).map(|r| r.payload).collect()),
                    (Filter::Loose { value: &canonical, mask }, lin.loose(version, value, mask).map(|r| r.payload).collect()),
                    (
                        Filter::Overlapping { value: &canonical, mask, priority: None },
                        lin.overlapping(version, value, mask, None).map(|r| r.payload).collect(),
                    ),
                    (
                        Filter::Overlapping { value: &canonical, mask, priority: Some(priority) },
                        lin.overlapping(version, value, mask, Some(priority)).map(|r| r.payload).collect(),
                    ),
                ];
                for (filter, want) in expected {
                    let all: Vec<u32> = cls.select(version, filter).map(|r| *r.payload()).collect();
                    prop_assert_eq!(all.len(), want.len());
                    prop_assert_eq!(&all.into_iter().collect::<BTreeSet<_>>(), &want);
                    let (mut cursor, mut dumped) = (Cursor::default(), Vec::new());
                    while !cls.scan(version, &mut cursor, slice, filter, |r| dumped.push(*r.payload())) {}
                    prop_assert_eq!(dumped.len(), want.len());
                    prop_assert_eq!(dumped.into_iter().collect::<BTreeSet<_>>(), want);
                }
            }
        }
    }

    /// A dump of a pinned version shows exactly that version, whatever happens between its slices.
    #[test]
    fn a_dump_survives_changes(
        before in prop::collection::vec(op(), 1..60),
        during in prop::collection::vec(op(), 1..60),
        masks in prop::collection::vec(mask(), 1..8),
    ) {
        let ((mut cls, lin), _, pinned) = run(&before, &masks, false);
        let want: BTreeSet<u32> = lin.rules(pinned).map(|r| r.payload).collect();
        let (mut cursor, mut dumped, mut version, mut live) = (Cursor::default(), Vec::new(), pinned + 1, Vec::<RuleId>::new());
        live.extend(cls.select(pinned, Filter::All).map(|r| r.id()));
        let mut changes = during.iter();
        while !cls.scan(pinned, &mut cursor, 2, Filter::All, |r| dumped.push(*r.payload())) {
            match changes.next() {
                Some(Op::Insert(value, m, p)) => live.extend(cls.insert(value.as_ref(), &masks[m % masks.len()], *p, u32::MAX, version)),
                Some(Op::Remove(pick)) if !live.is_empty() => {
                    cls.remove_at(live.swap_remove(pick % live.len()), version).unwrap();
                }
                Some(Op::Purge(work, _)) => {
                    cls.purge(pinned, *work, drop);
                }
                _ => version += 1,
            }
        }
        prop_assert_eq!(dumped.len(), want.len());
        prop_assert_eq!(dumped.into_iter().collect::<BTreeSet<_>>(), want);
    }

    /// Rolling back a version leaves the table, its masks and its memory of removed rules as they were.
    #[test]
    fn rollback_restores(
        before in prop::collection::vec(op(), 1..60),
        during in prop::collection::vec(op(), 1..60),
        masks in prop::collection::vec(mask(), 1..8),
        keys in prop::collection::vec(key(), 1..6),
    ) {
        let ((mut cls, lin), _, base) = run(&before, &masks, false);
        let shape = |c: &Classifier<PipelineKey, u32>| {
            let s: Vec<_> = c.subtables().map(|s| (*s.mask, s.max_priority, s.rules)).collect();
            (c.len(), c.garbage(), s)
        };
        let (was, bundle) = (shape(&cls), base + 1);
        let mut ids: Vec<_> = cls.select(base, Filter::All).map(|r| r.id()).collect();
        for op in &during {
            match op {
                Op::Insert(value, m, p) => ids.extend(cls.insert(value.as_ref(), &masks[m % masks.len()], *p, 1 << 20, bundle)),
                Op::Remove(pick) if !ids.is_empty() => cls.remove_at(ids.swap_remove(pick % ids.len()), bundle).unwrap(),
                _ => {}
            }
        }
        while !cls.rollback(bundle, 7).unwrap() {}
        prop_assert!(shape(&cls) == was);
        let values: Vec<_> = lin.rules(base).map(|r| r.value).chain(keys).collect();
        for key in values {
            for version in [base, bundle] {
                let mut wc = Mask::none();
                prop_assert_eq!(
                    cls.lookup(version, &key, &mut wc).map(|r| *r.payload()),
                    lin.lookup(base, &key).map(|r| r.payload)
                );
            }
        }
    }

    /// Once everything is removed and purged nothing is left, and every payload was handed over once.
    #[test]
    fn purge_leaves_nothing(ops in prop::collection::vec(op(), 1..80), masks in prop::collection::vec(mask(), 1..8)) {
        let ((mut cls, _), _, newest) = run(&ops, &masks, false);
        let mut there: Vec<u32> = cls.select(newest, Filter::All).map(|r| *r.payload()).collect();
        let waiting = cls.garbage();
        let ids: Vec<_> = cls.select(newest, Filter::All).map(|r| r.id()).collect();
        for id in &ids {
            cls.remove_at(*id, newest + 1).unwrap();
        }
        prop_assert_eq!(cls.purge(newest, usize::MAX, drop), waiting);
        let mut handed = Vec::new();
        while cls.purge(newest + 1, 3, |p| handed.push(p)) > 0 {}
        handed.sort_unstable();
        there.sort_unstable();
        prop_assert_eq!(handed, there);
        prop_assert_eq!((cls.len(), cls.garbage(), cls.mask_count()), (0, 0, 0));
        for id in ids {
            prop_assert!(cls.rule(id).is_none());
            prop_assert_eq!(cls.remove_at(id, newest + 2), Err(WriteError::NoSuchRule));
        }
        let mut wc = Mask::none();
        prop_assert!(cls.lookup(newest + 1, &PipelineKey::default(), &mut wc).is_none());
        prop_assert!(wc.is_none());
    }

    /// Once purged, nothing of the past is left: a table un-wildcards as if its rules had been its only ones ever.
    #[test]
    fn history_leaves_no_trace(
        ops in prop::collection::vec(op(), 1..80),
        masks in prop::collection::vec(mask(), 1..8),
        keys in prop::collection::vec(key(), 1..6),
    ) {
        let ((mut cls, lin), _, newest) = run(&ops, &masks, false);
        cls.purge(newest, usize::MAX, drop);
        let mut fresh = Classifier::new(config(false));
        for r in lin.rules(newest) {
            fresh.insert(&r.value, &r.mask, r.priority, r.payload, 1).unwrap();
        }
        for key in lin.rules(newest).map(|r| r.value).chain(keys) {
            let (mut a, mut b) = (Mask::none(), Mask::none());
            let (x, y) = (cls.lookup(newest, &key, &mut a), fresh.lookup(1, &key, &mut b));
            prop_assert_eq!(x.map(|r| *r.payload()), y.map(|r| *r.payload()));
            prop_assert!(a == b);
        }
    }

    /// Rounding only adds bits, and only to whole octets.
    #[test]
    fn rounding_only_adds_bits(
        ops in prop::collection::vec(op(), 1..60),
        masks in prop::collection::vec(mask(), 1..8),
        keys in prop::collection::vec(key(), 1..6),
    ) {
        let ((fine, _), _, newest) = run(&ops, &masks, false);
        let ((coarse, _), _, _) = run(&ops, &masks, true);
        for key in keys {
            let (mut a, mut b) = (Mask::none(), Mask::none());
            let (x, y) = (fine.lookup(newest, &key, &mut a), coarse.lookup(newest, &key, &mut b));
            prop_assert_eq!(x.map(|r| *r.payload()), y.map(|r| *r.payload()));
            prop_assert!(a.is_subset_of(&b));
        }
    }
}

/// The smaller key goes through the same code.
#[test]
fn flow_keys_classify_too() {
    fn prefix_fields<K: Layout>() -> usize {
        K::PREFIX_FIELDS.len()
    }
    assert_eq!(prefix_fields::<FlowKey>(), prefix_fields::<PipelineKey>());
    let mut cls = Classifier::<FlowKey, &str>::new(config(false));
    let mut mask = Mask::<FlowKey>::none();
    mask.0.nw_dst = [255, 255, 255, 0];
    let value = FlowKey {
        nw_dst: [10, 1, 2, 9],
        ..Default::default()
    };
    cls.insert(&value, &mask, 1, "net", 1).unwrap();
    let mut wc = Mask::none();
    let other = FlowKey {
        nw_dst: [10, 1, 3, 9],
        ..Default::default()
    };
    assert!(cls.lookup(1, &other, &mut wc).is_none());
    assert_eq!(wc.0.nw_dst, [255, 255, 255, 0]);
    assert_eq!(
        cls.lookup(1, &value, &mut wc).map(|r| *r.payload()),
        Some("net")
    );
    assert!(
        cls.lookup(0, &value, &mut wc).is_none(),
        "not there before version 1"
    );
}
