//! Traps of the field, each by name: what a cache filled from these lookups would have got wrong.
#![allow(clippy::unwrap_used)]

use ahash::RandomState;
use rvs_classifier::{Classifier, Config, Filter, Version, WriteError, NEVER};
use rvs_flow::{FlowKey, Mask, Present};
use zerocopy::byteorder::network_endian::U16;

const V: Version = 1;
const TCP4: Present = Present(Present::IPV4.0 | Present::TCP.0);

fn table(
    rules: &[(FlowKey, Mask<FlowKey>, i32, &'static str)],
) -> Classifier<FlowKey, &'static str> {
    rounding(rules, false)
}

fn rounding(
    rules: &[(FlowKey, Mask<FlowKey>, i32, &'static str)],
    round_prefixes: bool,
) -> Classifier<FlowKey, &'static str> {
    let hasher = RandomState::with_seeds(1, 2, 3, 4);
    let mut table = Classifier::new(Config {
        hasher,
        round_prefixes,
    });
    for (value, mask, priority, name) in rules {
        table.insert(value, mask, *priority, *name, V).unwrap();
    }
    table
}

/// The rule's name and what was un-wildcarded.
fn look(
    table: &Classifier<FlowKey, &'static str>,
    key: &FlowKey,
) -> (Option<&'static str>, Mask<FlowKey>) {
    let mut wc = Mask::none();
    let found = table.lookup(V, key, &mut wc).map(|r| *r.payload());
    (found, wc)
}

fn exact(f: impl FnOnce(&mut FlowKey)) -> Mask<FlowKey> {
    let mut m = Mask::none();
    f(&mut m.0);
    m
}

fn tcp(dst: u16, flags: u16) -> FlowKey {
    FlowKey {
        in_port: 1,
        present: TCP4,
        dl_type: U16::new(0x800),
        nw_proto: 6,
        tp_dst: U16::new(dst),
        tcp_flags: U16::new(flags),
        ..Default::default()
    }
}

/// `tcp` and what it implies.
fn tcp_mask(f: impl FnOnce(&mut FlowKey)) -> Mask<FlowKey> {
    let mut m = exact(|k| {
        k.present = TCP4;
        k.dl_type = U16::new(0xffff);
        k.nw_proto = 0xff;
    });
    f(&mut m.0);
    m
}

/// B1: `priority=10,tcp,tp_dst=80,tcp_flags=+psh actions=drop` over `priority=0 actions=output:1`. The port is found in
/// its trie, the flags decide: they must be un-wildcarded, or a SYN opens the cache for a PSH.
#[test]
fn b1_last_stage_failed_with_its_port_found() {
    const SYN: u16 = 2;
    const PSH: u16 = 8;
    let mask = tcp_mask(|k| {
        k.tp_dst = U16::new(0xffff);
        k.tcp_flags = U16::new(PSH);
    });
    let t = table(&[
        (tcp(80, PSH), mask, 10, "drop"),
        (FlowKey::default(), Mask::none(), 0, "output:1"),
    ]);
    let (hit, wc) = look(&t, &tcp(80, SYN));
    assert_eq!(hit, Some("output:1"));
    assert!(
        !wc.same(&tcp(80, SYN), &tcp(80, PSH)),
        "the cached entry would carry the PSH"
    );
    assert!(mask.is_subset_of(&wc));
    assert_eq!(look(&t, &tcp(80, PSH)).0, Some("drop"));

    // A port that no rule has is ruled out by its leading bits alone; the flags are not consulted.
    let (hit, wc) = look(&t, &tcp(0x8050, PSH));
    assert_eq!(hit, Some("output:1"));
    assert_eq!((wc.0.tp_dst.get(), wc.0.tcp_flags.get()), (0x8000, 0));
}

/// The other way round: rules share the flags and the port's leading bits, the early stages differ.
#[test]
fn rules_that_share_early_stages_fail_late() {
    let mask = tcp_mask(|k| {
        k.in_port = u32::MAX;
        k.tp_dst = U16::new(0xffff);
    });
    let other_port = FlowKey {
        in_port: 2,
        ..tcp(443, 0)
    };
    let t = table(&[(tcp(80, 0), mask, 10, "a"), (other_port, mask, 10, "b")]);
    // Port 443 exists, on another input port: every stage is shared by some rule, none by one rule.
    let (hit, wc) = look(&t, &tcp(443, 0));
    assert_eq!(hit, None);
    assert!(mask.is_subset_of(&wc));
    // An input port that no rule has fails in the first stage.
    let (hit, wc) = look(
        &t,
        &FlowKey {
            in_port: 3,
            ..tcp(80, 0)
        },
    );
    assert_eq!(hit, None);
    assert!(wc == exact(|k| k.in_port = u32::MAX));
    // A frame that is not TCP fails in the second.
    let (_, wc) = look(
        &t,
        &FlowKey {
            in_port: 1,
            dl_type: U16::new(0x806),
            ..Default::default()
        },
    );
    assert_eq!(
        (wc.0.nw_proto, wc.0.tp_dst.get(), wc.0.present),
        (0, 0, TCP4)
    );
}

/// B2: bits that were pinned before a lookup stay pinned, whatever it finds (a set-field never takes one back).
#[test]
fn b2_lookups_only_add_bits() {
    let mask = exact(|k| {
        k.in_port = u32::MAX;
        k.dl_src = [0xff; 6];
    });
    let rule = FlowKey {
        in_port: 1,
        dl_src: [0, 0, 0, 0, 0, 9],
        ..Default::default()
    };
    let t = table(&[(rule, mask, 1, "mod_dl_dst:0a,output:2")]);
    let mut wc = exact(|k| k.dl_dst = [0xff; 6]);
    for key in [
        rule,
        FlowKey {
            dl_dst: [7; 6],
            ..rule
        },
        FlowKey {
            dl_src: [0, 0, 0, 0, 0, 0xb],
            ..rule
        },
    ] {
        let before = wc;
        t.lookup(V, &key, &mut wc);
        assert!(before.is_subset_of(&wc));
    }
    let (hit, wc) = look(
        &t,
        &FlowKey {
            dl_src: [0, 0, 0, 0, 0, 0xb],
            ..rule
        },
    );
    assert_eq!(hit, None);
    assert_eq!(wc.0.dl_src, [0xff; 6]);
}

/// B3: `priority=110,in_port=1,dl_vlan=10 -> A`, `priority=100,in_port=1 -> B`, any order of untagged, 10, 11, VID 0.
#[test]
fn b3_the_absence_of_a_tag_is_pinned() {
    let port = exact(|k| k.in_port = u32::MAX);
    let vlan = exact(|k| {
        k.in_port = u32::MAX;
        k.present = Present::VLAN0;
        k.vlan0_tci = U16::new(0x1fff);
    });
    let untagged = FlowKey {
        in_port: 1,
        ..Default::default()
    };
    let tagged = |vid: u16| FlowKey {
        present: Present::VLAN0,
        vlan0_tci: U16::new(0x1000 | vid),
        ..untagged
    };
    let t = table(&[(tagged(10), vlan, 110, "A"), (untagged, port, 100, "B")]);
    let keys = [untagged, tagged(10), tagged(11), tagged(0)];
    let answers = [Some("B"), Some("A"), Some("B"), Some("B")];
    for (key, want) in keys.iter().zip(answers) {
        let (hit, wc) = look(&t, key);
        assert_eq!(hit, want);
        assert_eq!(wc.0.vlan0_tci.get(), 0x1fff);
        assert!(wc.0.present.has(Present::VLAN0));
        for (other, expected) in keys.iter().zip(answers) {
            assert!(!wc.same(key, other) || want == expected);
        }
    }
}

/// B4: the same masked value under different masks names different rules.
#[test]
fn b4_one_value_under_two_masks() {
    let value = FlowKey {
        nw_dst: [10, 0, 0, 0],
        ..Default::default()
    };
    let (wide, narrow) = (
        exact(|k| k.nw_dst = [255, 0, 0, 0]),
        exact(|k| k.nw_dst = [255; 4]),
    );
    let mut t = table(&[(value, wide, 5, "wide"), (value, narrow, 5, "narrow")]);
    assert_eq!(t.mask_count(), 2);
    assert_eq!(
        look(&t, &value).0,
        Some("narrow"),
        "the more specific mask decides among equals"
    );
    let id = t.find_exact(V, &value, &narrow, 5).unwrap().id();
    t.remove_at(id, 2).unwrap();
    assert_eq!(
        t.find_exact(2, &value, &wide, 5).map(|r| *r.payload()),
        Some("wide")
    );
    assert!(t.find_exact(2, &value, &narrow, 5).is_none());
}

/// Among equals the more specific mask decides, also when another rule made the other subtable come first.
#[test]
fn ties_do_not_depend_on_other_rules() {
    let (wide, narrow) = (
        exact(|k| k.nw_dst = [255, 0, 0, 0]),
        exact(|k| k.nw_dst = [255; 4]),
    );
    let value = FlowKey {
        nw_dst: [10, 0, 0, 0],
        ..Default::default()
    };
    let other = FlowKey {
        nw_dst: [11, 0, 0, 0],
        ..Default::default()
    };
    for raise in [wide, narrow] {
        let t = table(&[
            (value, wide, 5, "wide"),
            (value, narrow, 5, "narrow"),
            (other, raise, 9, "other"),
        ]);
        assert_eq!(look(&t, &value).0, Some("narrow"));
    }
}

/// B5: a wider rule goes in while the narrow one that it replaces is still there for older readers.
#[test]
fn b5_a_wider_rule_beside_a_dying_narrow_one() {
    let (wide, narrow) = (
        exact(|k| k.nw_dst = [255, 0, 0, 0]),
        exact(|k| k.nw_dst = [255; 4]),
    );
    let value = FlowKey {
        nw_dst: [10, 0, 0, 1],
        ..Default::default()
    };
    let mut t = table(&[(value, narrow, 5, "narrow")]);
    let old = t.find_exact(V, &value, &narrow, 5).unwrap().id();
    t.remove_at(old, 2).unwrap();
    t.insert(&value, &wide, 5, "wide", 2).unwrap();
    // The same match again, at the version that removed it.
    t.insert(&value, &narrow, 5, "narrow again", 2).unwrap();
    let at = |v| {
        let mut wc = Mask::none();
        t.lookup(v, &value, &mut wc).map(|r| *r.payload())
    };
    assert_eq!(
        (at(0), at(1), at(2)),
        (None, Some("narrow"), Some("narrow again"))
    );
}

/// B6: what is un-wildcarded for a key is a fixed point: the masked key asks for the same bits again.
#[test]
fn b6_the_mask_of_a_masked_key_is_the_same() {
    let mask = tcp_mask(|k| {
        k.nw_dst = [255, 255, 0, 0];
        k.tp_dst = U16::new(0xffff);
    });
    let rule = FlowKey {
        nw_dst: [10, 1, 0, 0],
        ..tcp(80, 0)
    };
    let t = table(&[
        (rule, mask, 1, "web"),
        (FlowKey::default(), Mask::none(), 0, "rest"),
    ]);
    for key in [
        rule,
        tcp(81, 1),
        FlowKey {
            nw_dst: [10, 2, 3, 4],
            ..rule
        },
        FlowKey::default(),
    ] {
        let (hit, wc) = look(&t, &key);
        assert_eq!(look(&t, &wc.apply(&key)), (hit, wc));
    }
}

/// A field is never un-wildcarded without the presence bits of its layer, nor a prefix without the stages before it.
#[test]
fn a_prefix_is_pinned_with_its_layer() {
    let mask = exact(|k| {
        k.present = Present::IPV4;
        k.dl_type = U16::new(0xffff);
        k.nw_dst = [255; 4];
    });
    let ip = |nw_dst| FlowKey {
        present: Present::IPV4,
        dl_type: U16::new(0x800),
        nw_dst,
        ..Default::default()
    };
    let t = table(&[(ip([192, 168, 0, 1]), mask, 1, "host")]);
    let (hit, wc) = look(&t, &ip([10, 0, 0, 1]));
    assert_eq!(
        (hit, wc.0.nw_dst, wc.0.present),
        (None, [0x80, 0, 0, 0], Present::IPV4)
    );
    let (hit, wc) = look(
        &t,
        &FlowKey {
            dl_type: U16::new(0x806),
            ..Default::default()
        },
    );
    assert_eq!(
        (hit, wc.0.nw_dst, wc.0.present),
        (None, [0; 4], Present::IPV4)
    );
}

/// Tuple-space explosion (CVE-2019-25076): one rule per field, and headers that fail at every prefix length in turn. An
/// attacker chooses among products of prefix lengths; rounded, among products of octets.
#[test]
fn tuple_space_explosion_is_bounded_by_rounding() {
    let full = [255; 4];
    let src = exact(|k| k.nw_src = full);
    let dst = exact(|k| k.nw_dst = full);
    let port = exact(|k| k.tp_dst = U16::new(0xffff));
    let rules = [
        (
            FlowKey {
                nw_src: [10, 0, 0, 1],
                ..Default::default()
            },
            src,
            3,
            "src",
        ),
        (
            FlowKey {
                nw_dst: [10, 0, 0, 2],
                ..Default::default()
            },
            dst,
            2,
            "dst",
        ),
        (
            FlowKey {
                tp_dst: U16::new(80),
                ..Default::default()
            },
            port,
            1,
            "port",
        ),
    ];
    let masks = |round: bool| {
        let t = rounding(&rules, round);
        let mut seen = Vec::new();
        for (s, d, p) in
            (0..32).flat_map(|s| (0..32).flat_map(move |d| (0..16).map(move |p| (s, d, p))))
        {
            let flip = |a: [u8; 4], bit: u32| (u32::from_be_bytes(a) ^ 1 << bit).to_be_bytes();
            let key = FlowKey {
                nw_src: flip([10, 0, 0, 1], s),
                nw_dst: flip([10, 0, 0, 2], d),
                tp_dst: U16::new(80 ^ 1 << p),
                ..Default::default()
            };
            let (hit, wc) = look(&t, &key);
            assert_eq!(hit, None);
            seen.push((wc.0.nw_src, wc.0.nw_dst, wc.0.tp_dst.get()));
        }
        seen.sort_unstable();
        seen.dedup();
        seen.len()
    };
    assert_eq!(masks(false), 32 * 32 * 16);
    assert_eq!(masks(true), 4 * 4 * 2);
}

/// A controller can still make a subtable per rule: they are counted, shown and given back.
#[test]
fn subtables_can_be_seen() {
    let mut t = table(&[]);
    for bit in 0..64u32 {
        let mask = exact(|k| {
            k.in_port = 1 << (bit % 32);
            k.pkt_mark = 1 << (bit / 32);
        });
        t.insert(&FlowKey::default(), &mask, bit as i32, "r", V)
            .unwrap();
    }
    assert_eq!((t.mask_count(), t.len()), (64, 64));
    for _ in 0..3 {
        look(&t, &FlowKey::default());
    }
    let shown: Vec<_> = t
        .subtables()
        .map(|s| (s.max_priority, s.rules, s.hits))
        .collect();
    assert_eq!(shown[0], (63, 1, 3));
    assert!(shown.windows(2).all(|w| w[0].0 > w[1].0));
    let ids: Vec<_> = t.select(V, Filter::All).map(|r| r.id()).collect();
    for id in ids {
        t.remove_at(id, 2).unwrap();
    }
    assert_eq!(
        (t.purge(1, usize::MAX, drop), t.mask_count()),
        (0, 64),
        "a reader may still be at version 1"
    );
    assert_eq!((t.purge(2, 63, drop), t.mask_count()), (63, 1));
    assert_eq!((t.purge(2, 63, drop), t.mask_count(), t.len()), (1, 0, 0));
}

/// 65,536 priorities on one match: the worst that one masked value can hold is still cheap to build, ask and take apart.
#[test]
fn one_match_at_every_priority() {
    let mut t = table(&[]);
    let mask = exact(|k| k.in_port = u32::MAX);
    let value = FlowKey {
        in_port: 7,
        ..Default::default()
    };
    for n in 0..65_536i32 {
        let priority = n.wrapping_mul(40_503) & 0xffff;
        t.insert(&value, &mask, priority, "r", V).unwrap();
    }
    assert!(matches!(
        t.insert(&value, &mask, 9, "twin", V),
        Err(WriteError::Duplicate(_))
    ));
    let mut wc = Mask::none();
    assert_eq!(t.lookup(V, &value, &mut wc).unwrap().priority(), 65_535);
    assert_eq!(
        t.lookup_from(V, &value, 1234, &mut wc).unwrap().priority(),
        1234
    );
    for priority in 0..65_536 {
        let id = t.find_exact(V, &value, &mask, priority).unwrap().id();
        t.remove_at(id, 2).unwrap();
    }
    assert_eq!(t.purge(2, usize::MAX, drop), 65_536);
}

/// Versions do not go back, and only the newest can be undone.
#[test]
fn refusals_change_nothing() {
    let mask = exact(|k| k.in_port = u32::MAX);
    let value = FlowKey {
        in_port: 7,
        ..Default::default()
    };
    let mut t = table(&[(value, mask, 1, "r")]);
    let id = t.find_exact(V, &value, &mask, 1).unwrap().id();
    t.insert(&value, &mask, 2, "s", 5).unwrap();
    let past = WriteError::VersionInPast { newest: 5 };
    assert_eq!(t.insert(&value, &mask, 3, "t", 4).unwrap_err(), past);
    assert_eq!(t.remove_at(id, 4).unwrap_err(), past);
    assert_eq!(t.rollback(4, 9).unwrap_err(), past);
    assert_eq!(
        t.rollback(6, 9),
        Ok(true),
        "version 6 has done nothing here"
    );
    assert!(t.insert(&value, &mask, 3, "t", NEVER).is_err());
    assert_eq!(t.len(), 2);
    assert_eq!(t.rollback(5, 0), Ok(false));
    assert_eq!(t.rollback(5, 9), Ok(true));
    assert_eq!(t.rollback(5, 9), Ok(true), "nothing is left");
    assert_eq!(t.len(), 1);
}
