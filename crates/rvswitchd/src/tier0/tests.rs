//! The limits of tier 0 at work, on small kernel caches. Needs CAP_BPF and CAP_NET_ADMIN.
#![allow(clippy::unwrap_used)]

use rvs_dpif::{DpAction, FlowSnapshot, FlowStats};
use rvs_flow::{FlowKey, Mask};
use rvs_kcache::tier0::Options;
use rvs_kcache::IngressDrop;

use super::*;

/// Tier 0 with room for so many flows and two ports, 1 and 2.
fn small(flows: u32) -> Option<Tier0> {
    let options = Options {
        flows,
        ..Options::default()
    };
    let cache = match KernelCache::open("limits", &options, [1, 2], Now(1)) {
        Ok(cache) => cache,
        Err(e) if IngressDrop::probe().to_string().starts_with("none") => {
            println!("SKIPPED limits of tier 0: {e}");
            return None;
        }
        Err(e) => panic!("{e}"),
    };
    let tier0 = Tier0::new(cache).0;
    for port in [1, 2] {
        let out = OutPort {
            ifindex: 1000 + port,
            mtu: 1500,
        };
        tier0.set_out(DpPort(port), Some(out));
        tier0.lock().inside.insert(DpPort(port));
    }
    Some(tier0)
}

/// A flow from a port; `n` is its id and its source address, of which `bits` count.
fn flow(port: u32, n: u64, bits: [u8; 6]) -> Arc<Megaflow> {
    let (mut key, mut mask) = (FlowKey::default(), FlowKey::default());
    (key.in_port, mask.in_port) = (port, u32::MAX);
    let octets = n.to_be_bytes();
    mask.dl_src = bits;
    for (i, octet) in key.dl_src.iter_mut().enumerate() {
        *octet = octets[i + 2] & bits[i];
    }
    Arc::new(Megaflow {
        actions: [DpAction::Output(DpPort(3 - port))][..].into(),
        stats: Arc::new(FlowStats::default()),
        key,
        mask: Mask(mask),
        id: FlowId(n),
        version: 1,
        drop: None,
    })
}

fn used_at(flow: Arc<Megaflow>, at: u64) -> Arc<Megaflow> {
    flow.stats.set_kernel(&FlowSnapshot {
        packets: 1,
        used: Now(at),
        ..FlowSnapshot::default()
    });
    flow
}

fn grace(tier0: &Tier0) {
    while let Some(turn) = tier0.next_turn() {
        assert!(tier0.reap(turn, &[]));
    }
}

const SECOND: u64 = 1_000_000_000;
const ALL: [u8; 6] = [0xff; 6];

#[test]
fn one_port_can_not_take_it_all_and_the_coldest_make_room() {
    let Some(tier0) = small(64) else { return };
    let of = |port: u32, from: u64, n: u64| {
        (from..from + n).map(move |i| used_at(flow(port, i, ALL), 1000 - i))
    };
    tier0.promote(Now(SECOND), of(1, 1, 64));
    assert_eq!(tier0.size().0, 58, "nine tenths, and more than half of all");
    assert_eq!(tier0.lock().counters.deferred, 6);
    tier0.promote(Now(SECOND), of(2, 100, 8));
    assert_eq!(tier0.size().0, 64, "the other port has its share");
    let refused = |tier0: &Tier0| {
        let named = tier0.named();
        named
            .iter()
            .find(|(n, _)| *n == "kcache_refused_full")
            .unwrap()
            .1
    };
    assert_eq!(refused(&tier0), 2);
    tier0.collect(Now(2 * SECOND));
    grace(&tier0);
    assert_eq!((tier0.size().0, tier0.lock().counters.evicted), (56, 8));
    // Flows with higher numbers were used earlier.
    assert!((1..=56).all(|n| tier0.contains(FlowId(n))) && !tier0.contains(FlowId(58)));
    assert!((100..106).all(|n| !tier0.contains(FlowId(n))));
    tier0.promote(Now(3 * SECOND), of(2, 200, 8));
    assert_eq!(tier0.size().0, 64);
}

#[test]
fn promotions_have_a_rate_and_a_burst() {
    let Some(tier0) = small(10_000) else { return };
    let flows = |from: u64| (from..from + 6000).map(|n| flow(1, n, ALL));
    tier0.promote(Now(SECOND), flows(1));
    let promoted = tier0.lock().counters.promoted;
    assert!((BURST..BURST + 3).contains(&promoted), "{promoted}");
    assert_eq!(tier0.lock().counters.deferred, 6000 - promoted);
    assert!(tier0.lock().deferred.len() <= DEFERRED);
    // A tenth of a second later there is room for as many as that time brings.
    tier0.promote(Now(SECOND + SECOND / 10), flows(10_000));
    let more = tier0.lock().counters.promoted - promoted;
    assert!((RATE / 10..RATE / 10 + 3).contains(&more), "{more}");
    assert!(
        tier0.lock().deferred.len() <= DEFERRED,
        "the list is bounded"
    );
}

#[test]
fn a_mask_too_many_waits_until_an_idle_one_goes() {
    let Some(tier0) = small(64) else { return };
    let mask = |n: u64| [0xff, 0xff, 0xff, 0xff, 0xff, n as u8];
    tier0.promote(Now(SECOND), (0..17).map(|n| flow(1, n + 1, mask(n))));
    assert_eq!(tier0.size(), (16, 16));
    let state = |name: &str| tier0.named().iter().find(|(n, _)| *n == name).unwrap().1;
    assert_eq!(state("kcache_refused_masks"), 1);
    tier0.collect(Now(2 * SECOND));
    grace(&tier0);
    assert_eq!((tier0.size(), state("kcache_evicted")), ((15, 15), 1));
    tier0.promote(Now(3 * SECOND), [flow(1, 17, mask(16))].into_iter());
    assert_eq!(tier0.size(), (16, 16));
}
