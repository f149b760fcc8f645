//! The MAC table, by example and against a list.
#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

const A: BundleId = BundleId(1);
const B: BundleId = BundleId(2);

fn key(vlan: u16, mac: u64) -> FdbKey {
    FdbKey {
        vlan: VlanId::new(vlan).unwrap(),
        mac: MacAddr::from_u64(mac << 8 | 2 << 40),
    }
}

fn lesson(k: FdbKey, port: BundleId) -> Lesson {
    Lesson {
        key: k,
        port,
        arp: GratuitousArp::No,
    }
}

fn small(size: usize) -> MacTable {
    MacTable::new(MacConfig {
        size,
        ..Default::default()
    })
}

#[test]
fn vlans_are_independent_and_moves_are_reported() {
    let mut t = MacTable::new(MacConfig::default());
    let (k10, k20) = (key(10, 1), key(20, 1));
    assert_eq!(
        t.learn(Now::ZERO, lesson(k10, A)),
        Learned::New { evicted: None }
    );
    assert_eq!(
        t.learn(Now::ZERO, lesson(k20, B)),
        Learned::New { evicted: None }
    );
    assert_eq!(t.lookup(k10.vlan, k10.mac), Some(A));
    assert_eq!(t.learn(Now::ZERO, lesson(k10, A)), Learned::Refreshed);
    assert_eq!(
        t.learn(Now::ZERO, lesson(k10, B)),
        Learned::Moved { from: A }
    );
    assert_eq!(t.lookup(k10.vlan, k10.mac), Some(B));
    assert_eq!((t.port_len(A), t.port_len(B)), (0, 2));
}

#[test]
fn multicast_and_zero_sources_are_not_learned() {
    let mut t = small(4);
    for mac in [
        MacAddr::BROADCAST,
        MacAddr([1, 0, 0x5e, 0, 0, 1]),
        MacAddr::ZERO,
    ] {
        let l = lesson(
            FdbKey {
                vlan: VlanId::ZERO,
                mac,
            },
            A,
        );
        assert_eq!(t.learn(Now::ZERO, l), Learned::NotAnAddress);
    }
    assert!(t.is_empty());
}

#[test]
fn entries_age_unless_refreshed_or_static() {
    let mut t = MacTable::new(MacConfig::default());
    t.learn(Now::ZERO, lesson(key(1, 1), A));
    t.learn(Now::ZERO, lesson(key(1, 2), A));
    t.add_static(Now::ZERO, key(1, 3), B);
    t.learn(Now::from_secs(200), lesson(key(1, 1), A));
    assert_eq!(t.next_expiry(), Some(Now::from_secs(300)));
    assert!(t.expire(Now::from_millis(299_999)).is_empty());
    assert_eq!(t.expire(Now::from_secs(300)), vec![key(1, 2)]);
    assert_eq!(t.expire(Now::from_secs(500)), vec![key(1, 1)]);
    assert_eq!(t.len(), 1, "the static entry stays");
    assert_eq!(
        t.learn(Now::from_secs(500), lesson(key(1, 3), A)),
        Learned::Static
    );
}

#[test]
fn a_port_that_invents_addresses_evicts_its_own() {
    let mut t = small(100);
    for n in 0..10 {
        t.learn(Now(n), lesson(key(1, n), A));
    }
    for n in 100..10_000 {
        t.learn(Now(n), lesson(key(1, n), B));
        assert!(t.port_len(B) <= 90);
    }
    assert_eq!(t.port_len(A), 10);
    // Once crowded, half of the table is enough for one port.
    let mut t = small(100);
    for n in 0..45 {
        t.learn(Now(n), lesson(key(1, n), A));
    }
    for n in 100..10_000 {
        t.learn(Now(n), lesson(key(1, n), B));
    }
    assert_eq!((t.port_len(A), t.port_len(B)), (45, 50));
}

/// A table of a few entries is filled by a port that is alone.
#[test]
fn a_small_table_has_no_reserve() {
    let mut t = small(9);
    for n in 0..9 {
        t.learn(Now(n), lesson(key(1, n), A));
    }
    assert_eq!(t.port_len(A), 9);
    t.learn(Now(9), lesson(key(1, 9), A));
    assert_eq!(t.port_len(A), 9);
    assert!(t.iter().all(|e| e.key != key(1, 0)));
}

#[test]
fn eviction_takes_from_the_port_with_the_most_and_says_whom() {
    let mut t = small(3);
    t.learn(Now(1), lesson(key(1, 1), A));
    t.learn(Now(2), lesson(key(1, 2), B));
    t.learn(Now(3), lesson(key(1, 3), B));
    let new = t.learn(Now(4), lesson(key(1, 4), A));
    assert_eq!(
        new,
        Learned::New {
            evicted: Some(key(1, 2))
        }
    );
    assert_eq!(t.stats().evicted, 1);
    let entries = t.len();
    t.clear_stats();
    assert_eq!((t.stats(), t.len()), (MacStats::default(), entries));
}

#[test]
fn a_gratuitous_arp_locks_against_bonds() {
    let mut t = small(8);
    let l = |port, arp| Lesson {
        key: key(1, 1),
        port,
        arp,
    };
    t.learn(Now::ZERO, l(A, GratuitousArp::OnPort));
    let reflected = l(B, GratuitousArp::OnBond);
    assert_eq!(t.learn(Now::from_secs(4), reflected), Learned::ArpLocked);
    assert_eq!(
        t.learn(Now::from_secs(5), reflected),
        Learned::Moved { from: A }
    );
}

#[test]
fn an_address_that_flaps_is_held() {
    let mut t = small(8);
    t.learn(Now::ZERO, lesson(key(1, 1), A));
    for n in 0..10 {
        let port = if n % 2 == 0 { B } else { A };
        let got = t.learn(Now::from_millis(n), lesson(key(1, 1), port));
        assert!(matches!(got, Learned::Moved { .. }), "{n}");
    }
    assert_eq!(
        t.learn(Now::from_millis(10), lesson(key(1, 1), B)),
        Learned::Held
    );
    assert_eq!(
        t.learn(Now::from_millis(5009), lesson(key(1, 1), B)),
        Learned::Held
    );
    let after = t.learn(Now::from_millis(5010), lesson(key(1, 1), B));
    assert_eq!(after, Learned::Moved { from: A });
    assert_eq!(t.stats().held, 2);
}

#[test]
fn flush_obeys_its_restrictions() {
    let mut t = small(8);
    t.learn(Now::ZERO, lesson(key(1, 1), A));
    t.learn(Now::ZERO, lesson(key(2, 2), A));
    t.learn(Now::ZERO, lesson(key(2, 3), B));
    t.add_static(Now::ZERO, key(2, 4), A);
    let f = Flush {
        port: Some(A),
        vlan: VlanId::new(2),
        statics: false,
    };
    assert_eq!(t.flush(f), vec![key(2, 2)]);
    assert_eq!(
        t.flush(Flush {
            port: Some(A),
            statics: true,
            vlan: None
        })
        .len(),
        2
    );
    assert_eq!(t.flush(Flush::default()), vec![key(2, 3)]);
    assert!(t.is_empty());
}

/// The table as a list, searched from end to end.
#[derive(Default)]
struct Model(Vec<MacEntry>);

impl Model {
    fn oldest_of(&self, port: BundleId) -> usize {
        self.0
            .iter()
            .position(|e| e.port == port && !e.is_static)
            .unwrap()
    }

    fn count(&self, port: BundleId) -> usize {
        self.0
            .iter()
            .filter(|e| e.port == port && !e.is_static)
            .count()
    }

    fn learn(&mut self, now: Now, k: FdbKey, port: BundleId, size: usize) {
        if let Some(i) = self.0.iter().position(|e| e.key == k) {
            if !self.0[i].is_static {
                self.0.remove(i);
                self.0.push(MacEntry {
                    key: k,
                    port,
                    is_static: false,
                    used: now,
                });
            }
            return;
        }
        let dynamic = self.0.iter().filter(|e| !e.is_static).count();
        if dynamic >= size {
            let heaviest = (0..4)
                .map(BundleId)
                .max_by_key(|p| (self.count(*p), *p))
                .unwrap();
            self.0.remove(self.oldest_of(heaviest));
        } else if size >= MacTable::RESERVES
            && dynamic * 10 >= size * 9
            && self.count(port) > 0
            && self.count(port) * 2 >= size
        {
            self.0.remove(self.oldest_of(port));
        }
        self.0.push(MacEntry {
            key: k,
            port,
            is_static: false,
            used: now,
        });
    }
}

#[derive(Clone, Debug)]
enum Op {
    Learn(u64, u32),
    Static(u64, u32),
    Remove(u64),
    Expire,
    FlushPort(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0u64..24, 0u32..4).prop_map(|(m, p)| Op::Learn(m, p)),
        1 => (0u64..24, 0u32..4).prop_map(|(m, p)| Op::Static(m, p)),
        1 => (0u64..24).prop_map(Op::Remove),
        2 => Just(Op::Expire),
        1 => (0u32..4).prop_map(Op::FlushPort),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_list(ops in proptest::collection::vec((op(), 0u64..40), 1..200)) {
        let size = 10;
        let mut t = small(size);
        let mut model = Model::default();
        let mut now = Now::ZERO;
        for (op, wait) in ops {
            // Whole seconds: an address never moves often enough to be held.
            now = now + Duration::from_secs(wait + 1);
            match op {
                Op::Learn(m, p) => {
                    t.learn(now, lesson(key(1, m), BundleId(p)));
                    model.learn(now, key(1, m), BundleId(p), size);
                }
                Op::Static(m, p) => {
                    t.add_static(now, key(1, m), BundleId(p));
                    model.0.retain(|e| e.key != key(1, m));
                    model.0.push(MacEntry {
                        key: key(1, m), port: BundleId(p), is_static: true, used: now,
                    });
                }
                Op::Remove(m) => {
                    t.remove(key(1, m));
                    model.0.retain(|e| e.key != key(1, m));
                }
                Op::Expire => {
                    t.expire(now);
                    model.0.retain(|e| {
                        e.is_static || now.since(e.used) < Duration::from_secs(300)
                    });
                }
                Op::FlushPort(p) => {
                    t.flush(Flush { port: Some(BundleId(p)), ..Default::default() });
                    model.0.retain(|e| e.is_static || e.port != BundleId(p));
                }
            }
            let mut ours: Vec<_> = t.iter().collect();
            let mut theirs = model.0.clone();
            ours.sort_by_key(|e| e.key);
            theirs.sort_by_key(|e| e.key);
            prop_assert_eq!(ours, theirs);
            prop_assert!(t.dynamic <= size);
        }
    }
}
