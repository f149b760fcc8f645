#![allow(clippy::unwrap_used)]
use proptest::prelude::*;
use rvs_dpif::{DpAction, DropReason, FlowStats};
use zerocopy::byteorder::network_endian::U16;

use super::*;

pub(crate) fn table() -> MegaflowTable {
    MegaflowTable::new(FlowHash::new([1, 2]), 1000)
}

/// A flow of `port` that looks at the bits `mask` of the first octet of the destination.
pub(crate) fn flow(id: u64, port: u32, dst0: u8, mask: u8) -> Arc<Megaflow> {
    let mask = Mask(FlowKey {
        in_port: u32::MAX,
        dl_dst: [mask, 0, 0, 0, 0, 0],
        ..Default::default()
    });
    let key = FlowKey {
        in_port: port,
        dl_dst: [dst0, 0, 0, 0, 0, 0],
        ..Default::default()
    };
    of(id, key, mask)
}

fn of(id: u64, key: FlowKey, mask: Mask<FlowKey>) -> Arc<Megaflow> {
    Arc::new(Megaflow {
        id: FlowId(id),
        key: mask.apply(&key),
        mask,
        actions: Arc::new([]),
        drop: Some(DropReason::Action),
        stats: Arc::new(FlowStats::default()),
        version: 1,
    })
}

/// A mask no other number gives; never the exact one.
fn nth_mask(n: usize) -> Mask<FlowKey> {
    Mask(FlowKey {
        in_port: u32::MAX,
        tp_dst: U16::new(n as u16),
        ..Default::default()
    })
}

fn found(t: &MegaflowTable, key: &FlowKey) -> Option<u64> {
    let at = t.find(key).0?;
    Some(t.flow(at).unwrap().id.0)
}

#[test]
fn identity_is_key_and_mask_b4() {
    let mut t = table();
    t.install(flow(1, 1, 0x10, 0xf0)).unwrap();
    t.install(flow(2, 1, 0x10, 0xff)).unwrap();
    assert_eq!((t.len(), t.masks_of(1)), (2, 2));
    assert!(t.remove(FlowId(2)));
    assert_eq!(found(&t, &flow(9, 1, 0x10, 0xff).key), Some(1));
    // Same key and mask: one flow, the newer.
    t.install(flow(3, 1, 0x10, 0xf0)).unwrap();
    t.install(flow(3, 1, 0x10, 0xf0)).unwrap();
    assert_eq!(
        (t.len(), found(&t, &flow(9, 1, 0x1f, 0xff).key)),
        (1, Some(3))
    );
    assert!(!t.remove(FlowId(1)), "the replaced one is gone");
    // Same id, another key: the flow moved.
    t.install(flow(3, 1, 0x20, 0xf0)).unwrap();
    assert_eq!((t.len(), found(&t, &flow(9, 1, 0x1f, 0xff).key)), (1, None));
    assert_eq!(found(&t, &flow(9, 1, 0x2f, 0xff).key), Some(3));
}

#[test]
fn a_wider_flow_installs_beside_a_narrow_one_b5() {
    let mut t = table();
    t.install(flow(1, 1, 0x12, 0xff)).unwrap();
    t.install(flow(2, 1, 0x10, 0xf0)).unwrap();
    assert_eq!(found(&t, &flow(9, 1, 0x13, 0xff).key), Some(2));
    assert!(found(&t, &flow(9, 1, 0x12, 0xff).key).is_some());
    assert!(t.remove(FlowId(1)));
    assert_eq!(found(&t, &flow(9, 1, 0x12, 0xff).key), Some(2));
}

#[test]
fn a_flow_of_one_port_never_answers_for_another() {
    let mut t = table();
    t.install(flow(1, 1, 0, 0)).unwrap();
    assert_eq!(found(&t, &flow(9, 1, 3, 0xff).key), Some(1));
    assert_eq!(found(&t, &flow(9, 2, 3, 0xff).key), None);
    assert_eq!(t.find(&flow(9, 2, 3, 0xff).key).1, 0, "nor is it asked");
}

#[test]
fn refuses_what_is_not_canonical() {
    let mut t = table();
    let mut f = Arc::into_inner(flow(1, 1, 0x12, 0xf0)).unwrap();
    assert_eq!(f.key.dl_dst[0], 0x10, "the builder masks");
    f.key.dl_dst[0] = 0x12;
    assert_eq!(t.install(Arc::new(f)), Err(InstallRefused::NotCanonical));
    let loose = of(2, FlowKey::default(), Mask::none());
    assert_eq!(t.install(loose), Err(InstallRefused::NotCanonical));
    assert!(t.is_empty());
}

#[test]
fn flow_limit_at_the_cap_and_around_it() {
    let mut t = MegaflowTable::new(FlowHash::new([1, 2]), 100);
    for i in 0..100 {
        assert!(t.install(flow(i, 1, i as u8, 0xff)).is_ok(), "{i}");
    }
    for i in 100..2000 {
        let r = t.install(flow(i, 2 + i as u32, 0, 0xff));
        assert_eq!(r, Err(InstallRefused::Full), "{i}");
    }
    assert_eq!((t.len(), t.masks()), (100, 1));
    assert!(
        t.install(flow(5000, 1, 7, 0xff)).is_ok(),
        "a replacement fits"
    );
    t.remove(FlowId(1));
    assert!(t.install(flow(5001, 9, 0, 0xff)).is_ok());
    t.flush();
    assert_eq!((t.len(), t.masks(), t.masks_of(1)), (0, 0, 0));
}

#[test]
fn port_mask_budget_keeps_a_place_for_the_exact_mask() {
    let mut t = table();
    let wild = limits::MASKS_PER_PORT - 1;
    for n in 0..wild {
        let f = of(
            n as u64,
            FlowKey {
                in_port: 1,
                ..Default::default()
            },
            nth_mask(n),
        );
        assert!(t.install(f).is_ok(), "{n}");
    }
    let key = FlowKey {
        in_port: 1,
        tp_dst: U16::new(0xffff),
        ..Default::default()
    };
    for n in wild..20 * wild {
        let refused = t.install(of(n as u64, key, nth_mask(n)));
        assert_eq!(refused, Err(InstallRefused::PortMasks));
    }
    assert!(t.install(of(9000, key, Mask::exact())).is_ok());
    assert_eq!(t.masks_of(1), limits::MASKS_PER_PORT);
    let (hit, asked) = t.find(&key);
    assert!(hit.is_some() && asked <= limits::MASKS_PER_PORT);
    // An empty subtable gives its place back.
    t.remove(FlowId(0));
    assert!(t.install(of(9001, key, nth_mask(4000))).is_ok());
}

#[test]
fn worker_mask_budget() {
    let mut t = table();
    let mut id = 0;
    let mut refused = 0;
    for port in 0..20 {
        for n in 0..40 {
            id += 1;
            let key = FlowKey {
                in_port: port,
                ..Default::default()
            };
            match t.install(of(id, key, nth_mask(n))) {
                Ok(_) => {}
                Err(e) => {
                    assert_eq!(e, InstallRefused::WorkerMasks);
                    refused += 1;
                }
            }
        }
    }
    assert_eq!(t.masks(), limits::MASKS_PER_WORKER);
    assert_eq!(refused, 20 * 40 - limits::MASKS_PER_WORKER);
    let key = FlowKey {
        in_port: 99,
        ..Default::default()
    };
    assert!(
        t.install(of(9999, key, Mask::exact())).is_ok(),
        "exact is outside"
    );
}

#[test]
fn the_subtable_that_hits_is_asked_first() {
    let mut t = table();
    // Each knows one address that no other does, under one bit more.
    let at: Vec<_> = (0..8)
        .map(|n| t.install(flow(n, 1, 1 << n, 0xff >> (7 - n))).unwrap())
        .collect();
    let key = |n: u32| flow(99, 1, 1 << n, 0xff).key;
    assert_eq!(t.find(&key(7)), (Some(at[7]), 8));
    for _ in 0..1000 {
        t.find(&key(7));
    }
    t.rank();
    assert_eq!(t.find(&key(7)), (Some(at[7]), 1));
    for _ in 0..20 {
        for _ in 0..10 {
            t.find(&key(3));
        }
        t.rank();
    }
    assert_eq!(t.find(&key(7)), (Some(at[7]), 2), "old glory fades");
}

/// Flow, statistics and one action included.
#[test]
fn a_flow_takes_about_half_a_kilobyte() {
    let mut t = MegaflowTable::new(FlowHash::new([1, 2]), 100_000);
    for i in 0..40_000u32 {
        let mut key = flow(0, i % 8, 0, 0).key;
        key.dl_dst = i.to_be_bytes().repeat(2)[..6].try_into().unwrap();
        let mut mask = flow(0, 1, 0, 0).mask;
        mask.0.dl_dst = [0xff; 6];
        t.install(of(u64::from(i), key, mask)).unwrap();
    }
    let counts = 2 * size_of::<usize>();
    let flow = size_of::<Megaflow>() + size_of::<FlowStats>() + size_of::<DpAction>();
    let each = flow + 3 * counts + t.memory() / t.len();
    assert!(each <= 570, "{each}");
}

#[derive(Clone, Debug)]
enum Op {
    Install(u8, u8, u8),
    Remove(u64),
    Rank,
}

proptest! {
    /// The oracle is a list searched from end to end. Flows may overlap, so the answer must be one that matches.
    #[test]
    fn equals_a_linear_search(ops in prop::collection::vec(prop_oneof![
        6 => (1u8..4, any::<u8>(), prop::sample::select(vec![0, 0x80, 0xc0, 0xf0, 0xff, 0x0f]))
            .prop_map(|(p, d, m)| Op::Install(p, d & m, m)),
        2 => (0u64..300).prop_map(Op::Remove),
        1 => Just(Op::Rank),
    ], 1..300), probes in prop::collection::vec((1u8..4, any::<u8>()), 32)) {
        let mut t = table();
        let mut model: Vec<Arc<Megaflow>> = Vec::new();
        for (id, op) in ops.into_iter().enumerate() {
            match op {
                Op::Install(p, d, m) => {
                    let f = flow(id as u64, p.into(), d, m);
                    model.retain(|o| o.key != f.key || o.mask != f.mask);
                    t.install(f.clone()).unwrap();
                    t.find(&f.key);
                    model.push(f);
                }
                Op::Remove(id) => {
                    let had = model.len();
                    model.retain(|o| o.id.0 != id);
                    prop_assert_eq!(t.remove(FlowId(id)), model.len() < had);
                }
                Op::Rank => t.rank(),
            }
        }
        prop_assert_eq!(t.len(), model.len());
        prop_assert_eq!(t.iter().count(), model.len());
        for (p, d) in probes {
            let key = flow(0, p.into(), d, 0xff).key;
            let matching = |id| model.iter().any(|f| f.id.0 == id && f.mask.same(&f.key, &key));
            match found(&t, &key) {
                Some(id) => prop_assert!(matching(id)),
                None => prop_assert!(!model.iter().any(|f| f.mask.same(&f.key, &key))),
            }
        }
    }
}
