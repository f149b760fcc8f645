//! The table against a model, with a naive reader in the program's place.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::tier0::layout::op;
use proptest::prelude::*;
use rvs_flow::Present;

type Memory = Box<[AtomicU64]>;

fn zeroed(words: usize) -> Memory {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

fn table(flows: u32) -> Table<Memory> {
    let shape = Shape::for_flows(flows, 2);
    let arrays = Arrays {
        config: zeroed(config::WORDS),
        buckets: zeroed(shape.buckets as usize * WAYS),
        entries: zeroed(shape.entries as usize * entry::WORDS),
        stats: zeroed(2 * shape.entries as usize * stat::WORDS),
    };
    Table::new(arrays, shape, [11, 22])
}

/// Ends a round and lets its grace period pass.
fn reap(t: &mut Table<Memory>) -> Vec<(FlowId, FlowSnapshot)> {
    let round = t.end_round();
    t.release(round)
}

/// What bpf/kcache.bpf.c does in lookup(), word for word: the entry's number and its first step.
fn program(t: &Table<Memory>, key: &FlowKey) -> Option<(u32, u64)> {
    let c = |word| t.config(word);
    let n_masks = c(config::MASKS_VLANS) as u32;
    for r in 0..n_masks as usize {
        let place = (c(config::ORDER + r / 8) >> (r % 8 * 8)) as u8 as usize;
        let at = config::MASK + place * config::MASK_WORDS;
        let shape = c(at + KEY_WORDS);
        let exact = shape >> 32 != 0;
        let width = if exact {
            key.width()
        } else {
            shape as u32 as usize
        };
        let masked: Vec<u64> = (0..width).map(|i| key.words()[i] & c(at + i)).collect();
        let secret = [c(config::SECRET), c(config::SECRET + 1)];
        let h = hash(secret, place as u8, &masked);
        let bucket = (h as u32 & (c(config::EPOCH_BUCKETS) >> 32) as u32) as usize;
        for way in 0..WAYS {
            let slot = load(&t.arrays.buckets, bucket * WAYS + way);
            let n = slot as u32;
            let e = |word| load(&t.arrays.entries, n as usize * entry::WORDS + word);
            if slot >> 32 == h >> 32
                && n != 0
                && e(entry::MASK_EPOCH) == pair(place as u32, c(config::EPOCH_BUCKETS) as u32)
                && masked.iter().enumerate().all(|(i, w)| e(i) == *w)
            {
                return Some((n, e(entry::OP)));
            }
        }
    }
    None
}

fn key(n: u8) -> FlowKey {
    let present = if n & 1 == 0 {
        Present::IPV4
    } else {
        Present::IPV6
    };
    let mut key = FlowKey {
        in_port: u32::from(n & 3),
        present,
        dl_dst: [n >> 4; 6],
        ..FlowKey::default()
    };
    if n & 1 == 1 {
        key.ipv6_dst[3] = n;
    }
    key
}

fn mask(n: u8) -> Mask<FlowKey> {
    let mut m = FlowKey {
        in_port: u32::MAX,
        ..FlowKey::default()
    };
    match n {
        0 => return Mask::exact(),
        1 => m.dl_dst = [0xff; 6],
        2 => {
            m.present = Present(u32::MAX);
            m.ipv6_dst = [0xff; 16];
        }
        // More masks than there is room for.
        more => m.dl_src = [more; 6],
    }
    Mask(m)
}

fn steps(n: u64) -> Steps {
    let mut steps = Steps::default();
    steps.ops[0] = op(1, 1, 0, n as u32);
    steps
}

#[derive(Clone, Debug)]
enum Do {
    Install { id: u64, key: u8, mask: u8 },
    Remove(u64),
    Flush,
    Release,
    Rank,
}

fn script() -> impl Strategy<Value = Vec<Do>> {
    let one = prop_oneof![
        8 => (0..40u64, any::<u8>(), 0..24u8).prop_map(|(id, key, mask)| Do::Install { id, key, mask }),
        4 => (0..40u64).prop_map(Do::Remove),
        1 => Just(Do::Flush),
        2 => Just(Do::Release),
        1 => Just(Do::Rank),
    ];
    proptest::collection::vec(one, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// After any script the program finds exactly the flows that are installed, and no entry that it could still be
    /// looking at has changed.
    #[test]
    fn the_program_finds_what_is_installed(script in script()) {
        let mut t = table(24);
        // id -> (masked key, mask)
        let mut model: HashMap<u64, (FlowKey, Mask<FlowKey>)> = HashMap::new();
        let mut buried: Vec<(u32, Vec<u64>)> = Vec::new();
        let mut released = 0usize;
        let mut removed = 0usize;
        for step in script {
            let before: HashMap<FlowId, Placed> = t.flows.clone();
            match step {
                Do::Install { id, key: k, mask: m } => {
                    let (k, m) = (key(k), mask(m));
                    let masked = m.apply(&k);
                    if t.install(FlowId(id), &masked, &m, &steps(id)).is_ok() {
                        let gone = model.len();
                        model.retain(|i, (kk, mm)| *i != id && (*kk, *mm) != (masked, m));
                        removed += gone - model.len();
                        model.insert(id, (masked, m));
                    }
                }
                Do::Remove(id) => {
                    let had = model.remove(&id).is_some();
                    removed += usize::from(had);
                    prop_assert_eq!(t.remove(FlowId(id)), had);
                }
                Do::Flush => {
                    removed += model.len();
                    model.clear();
                    t.flush();
                }
                Do::Release => {
                    released += reap(&mut t).len();
                    buried.clear();
                }
                Do::Rank => t.rank(),
            }
            // Entries that went into limbo with this step stay as they were until the next release.
            for (id, placed) in before {
                if t.limbo.iter().any(|(_, i, e)| (*i, *e) == (id, placed.entry)) && !buried.iter().any(|(e, _)| *e == placed.entry) {
                    let base = placed.entry as usize * entry::WORDS;
                    let words = (0..entry::WORDS).map(|i| load(&t.arrays.entries, base + i)).collect();
                    buried.push((placed.entry, words));
                }
            }
            for (at, words) in &buried {
                let base = *at as usize * entry::WORDS;
                for (i, word) in words.iter().enumerate() {
                    prop_assert_eq!(load(&t.arrays.entries, base + i), *word);
                }
            }
            prop_assert_eq!(t.len(), model.len());
            prop_assert_eq!(t.len() + t.limbo.len() + t.free.len(), t.fresh as usize - 1);
            prop_assert_eq!(t.masks().map(|(_, n)| n as usize).sum::<usize>(), model.len());
            for n in 0..=255 {
                let k = key(n);
                let found = program(&t, &k).map(|(_, op)| op >> 32);
                let fits: Vec<u64> = model.iter().filter(|(_, (kk, m))| m.apply(&k) == *kk).map(|(id, _)| *id).collect();
                match found {
                    Some(id) => prop_assert!(fits.contains(&id), "{n}: found {id}, fitting {fits:?}"),
                    None => prop_assert!(fits.is_empty(), "{n}: nothing found, fitting {fits:?}"),
                }
            }
        }
        released += reap(&mut t).len();
        prop_assert_eq!(released, removed, "final figures once for each flow that left");
    }
}

#[test]
fn what_leaves_during_a_grace_period_waits_for_the_next() {
    let mut t = table(60);
    for n in 0..2 {
        let m = mask(3 + n);
        t.install(FlowId(n.into()), &m.apply(&key(0)), &m, &steps(0))
            .unwrap();
    }
    assert!(t.remove(FlowId(0)));
    let first = t.end_round();
    // The wait for the first round may have begun before this: it does not cover it.
    assert!(t.remove(FlowId(1)));
    let ids =
        |gone: Vec<(FlowId, FlowSnapshot)>| gone.iter().map(|(id, _)| id.0).collect::<Vec<_>>();
    assert_eq!(ids(t.release(first)), [0]);
    assert!(
        t.masks[0].is_none() && t.masks[1].is_some(),
        "its mask waits too"
    );
    assert!(t.has_limbo());
    let second = t.end_round();
    assert_eq!(ids(t.release(second)), [1]);
    assert!(t.masks[1].is_none() && !t.has_limbo());
}

#[test]
fn each_bound_refuses_one_past_it() {
    let mut t = table(60);
    for n in 0..16 {
        let m = mask(3 + n);
        t.install(FlowId(n.into()), &m.apply(&key(0)), &m, &steps(0))
            .unwrap();
    }
    let m = mask(30);
    let more = t.install(FlowId(99), &m.apply(&key(0)), &m, &steps(0));
    assert_eq!(more, Err(Refusal::Masks));
    // A mask in limbo keeps its place until the grace period is over.
    assert!(t.remove(FlowId(3)));
    assert_eq!(
        t.install(FlowId(99), &m.apply(&key(0)), &m, &steps(0)),
        Err(Refusal::Masks)
    );
    reap(&mut t);
    t.install(FlowId(99), &m.apply(&key(0)), &m, &steps(0))
        .unwrap();

    let mut t = table(2);
    let install = |t: &mut Table<Memory>, n: u8| {
        t.install(
            FlowId(n.into()),
            &mask(1).apply(&key(n << 4)),
            &mask(1),
            &steps(0),
        )
    };
    install(&mut t, 1).unwrap();
    install(&mut t, 2).unwrap();
    assert_eq!(install(&mut t, 3), Err(Refusal::Full));
    assert!(t.remove(FlowId(1)));
    assert_eq!(
        install(&mut t, 3),
        Err(Refusal::Full),
        "in limbo is not free"
    );
    reap(&mut t);
    install(&mut t, 3).unwrap();

    // One bucket of eight slots.
    let mut t = table(30);
    t.shape.buckets = 1;
    t.set_config(config::EPOCH_BUCKETS, pair(t.epoch, 0));
    for n in 0..8 {
        install(&mut t, n).unwrap();
    }
    assert_eq!(install(&mut t, 9), Err(Refusal::Bucket));
    assert_eq!(t.len(), 8);
}

#[test]
fn fields_that_the_program_does_not_parse_are_refused() {
    let mut t = table(8);
    let labelled = FlowKey {
        present: Present::MPLS0,
        mpls_lse: [7.into(); 3],
        ..key(0)
    };
    let mut on_label = mask(1);
    on_label.0.mpls_lse[0] = u32::MAX.into();
    let cases = [
        (labelled, Mask::exact()),
        (on_label.apply(&labelled), on_label),
        (
            FlowKey {
                recirc_id: 1,
                ..key(0)
            },
            Mask::exact(),
        ),
        (
            FlowKey {
                pkt_mark: 1,
                ..key(0)
            },
            Mask::exact(),
        ),
    ];
    for (key, mask) in cases {
        assert_eq!(
            t.install(FlowId(1), &key, &mask, &steps(0)),
            Err(Refusal::Fields)
        );
    }
    // That there is no label may be consulted: it is a bit of a word that every key has.
    let mut no_label = mask(1);
    no_label.0.present = Present(u32::MAX);
    t.install(FlowId(1), &no_label.apply(&key(0)), &no_label, &steps(0))
        .unwrap();
}

#[test]
fn figures_are_summed_and_ranked_by() {
    let mut t = table(8);
    t.install(FlowId(1), &mask(1).apply(&key(0x10)), &mask(1), &steps(0))
        .unwrap();
    t.install(FlowId(2), &mask(3).apply(&key(0x20)), &mask(3), &steps(0))
        .unwrap();
    assert_eq!(t.masks().next().unwrap().0, &mask(1));
    let at = t.flows[&FlowId(2)].entry;
    for (cpu, packets, used) in [(0, 5, 9), (1, 7, 8)] {
        let base = t.stat_at(cpu, at);
        store(&t.arrays.stats, base + stat::PACKETS, packets);
        store(&t.arrays.stats, base + stat::BYTES, packets * 100);
        store(&t.arrays.stats, base + stat::USED, used);
        store(&t.arrays.stats, base + stat::TCP_FLAGS, 1 << cpu);
    }
    let sum = FlowSnapshot {
        packets: 12,
        bytes: 1200,
        used: Now(9),
        tcp_flags: 3,
    };
    assert_eq!(t.stats(FlowId(2)), Some(sum));
    t.rank();
    assert_eq!(t.masks().next().unwrap().0, &mask(3));
    assert!(t.remove(FlowId(2)));
    assert_eq!(t.stats(FlowId(2)), None);
    assert_eq!(reap(&mut t), [(FlowId(2), sum)]);
    t.install(FlowId(3), &mask(3).apply(&key(0x20)), &mask(3), &steps(0))
        .unwrap();
    assert_eq!(
        t.stats(FlowId(3)),
        Some(FlowSnapshot::default()),
        "a new flow starts at zero"
    );
}

/// A table as a dead daemon left it, with some flows, and the arrays handed on.
fn left_behind(n: u8) -> (Arrays<Memory>, Shape) {
    let mut t = table(64);
    t.set_config(config::ENTRIES_PUNT, pair(t.shape.entries, 0));
    for i in 0..n {
        let mask = if i % 2 == 0 {
            Mask::exact()
        } else {
            some_mask()
        };
        let mut k = key(i);
        k.dl_dst[5] = i;
        let k = mask.apply(&k);
        t.install(FlowId(u64::from(i) + 1), &k, &mask, &goes_to(u32::from(i)))
            .unwrap();
    }
    // What leaves no trace.
    assert!(t.remove(FlowId(1)));
    (t.arrays, t.shape)
}

fn goes_to(ifindex: u32) -> Steps {
    let mut steps = Steps::default();
    steps.ops[0] = op(1, 1, 0, ifindex);
    steps.mtu = 1500;
    steps
}

fn some_mask() -> Mask<FlowKey> {
    Mask(FlowKey {
        in_port: u32::MAX,
        present: Present::IPV4 | Present::IPV6,
        dl_dst: [0xff; 6],
        ..FlowKey::default()
    })
}

#[test]
fn the_next_daemon_finds_every_flow_and_goes_on_with_it() {
    let (arrays, shape) = left_behind(20);
    let mut t = Table::inherit(arrays, shape).unwrap();
    let orphans = t.orphans();
    assert_eq!(orphans.len(), t.len());
    assert_eq!(orphans.len(), 19);
    for orphan in &orphans {
        let (at, step) = program(&t, &orphan.key).unwrap();
        assert!(t.does(orphan.id, &goes_to((step >> 32) as u32)));
        assert!(!t.does(orphan.id, &goes_to(99)));
        let id = FlowId(1000 + u64::from(at));
        assert!(t.name(orphan.id, id) && t.contains(id));
    }
    assert!(t.orphans().is_empty());
    // New ones take places of their own; old ones go as ever.
    let other = Mask::exact();
    t.install(FlowId(5000), &key(200), &other, &goes_to(7))
        .unwrap();
    for orphan in &orphans {
        let (at, _) = program(&t, &orphan.key).unwrap();
        assert!(t.remove(FlowId(1000 + u64::from(at))));
        assert_eq!(program(&t, &orphan.key), None);
    }
    assert!(program(&t, &key(200)).is_some());
    assert_eq!(reap(&mut t).len(), orphans.len());
    assert_eq!(t.masks().count(), 1);
}

#[test]
fn arrays_that_make_no_sense_are_not_believed() {
    let (arrays, shape) = left_behind(20);
    let other = Shape {
        entries: shape.entries - 1,
        ..shape
    };
    assert!(Table::inherit(arrays, other).is_none());
    // Any word may be garbage: what is found then is what the program itself would find, and nothing twice.
    let (mut seed, mut believed, mut found) = (1u64, 0, 0);
    for _ in 0..300 {
        let (arrays, shape) = left_behind(20);
        for _ in 0..20 {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let at = (seed >> 20) as usize;
            match seed >> 62 {
                0 => store(&arrays.config, 4 + at % (config::WORDS - 4), seed),
                1 => store(&arrays.entries, at % (20 * entry::WORDS), seed),
                2 => store(&arrays.buckets, at % (shape.buckets as usize * WAYS), seed),
                _ => store(&arrays.buckets, at % (shape.buckets as usize * WAYS), 3),
            }
        }
        let Some(t) = Table::inherit(arrays, shape) else {
            continue;
        };
        believed += 1;
        for orphan in t.orphans() {
            found += 1;
            assert!(program(&t, &orphan.key).is_some());
            assert_eq!(orphan.mask.apply(&orphan.key), orphan.key);
        }
    }
    assert!(believed > 200 && found > 1000, "{believed} {found}");
}
