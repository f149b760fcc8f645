//! The program's parser against `rvs_flow::extract`, bit for bit, over BPF_PROG_TEST_RUN. Needs CAP_BPF and CAP_NET_ADMIN.
//!
//! RVS_PARSER_FRAMES sets the number of mutated frames (1,000,000 without it).
#![allow(clippy::unwrap_used)]

mod common;

use common::frames::{can_run, corpus, Random};
use rvs_flow::extract::{extract_bytes, ParseLimits};
use rvs_flow::{DpPort, FlowKey, Present};
use rvs_kcache::tier0::{KeyProbe, Parsed};

fn probe(limit: u8) -> Option<KeyProbe> {
    match KeyProbe::open(limit) {
        Ok(probe) => Some(probe),
        Err(e)
            if rvs_kcache::IngressDrop::probe()
                .to_string()
                .starts_with("none") =>
        {
            println!("SKIPPED parser: {e}");
            None
        }
        Err(e) => panic!("{e}"),
    }
}

/// `Err` says how the two differ. A frame that the kernel leaves to user space is always right.
fn compare(probe: &mut KeyProbe, limit: u8, frame: &[u8]) -> Result<bool, String> {
    let port = DpPort(0x1234_5678);
    let want = extract_bytes(frame, port, ParseLimits::new(limit));
    match probe.key_of(frame, port).unwrap() {
        Parsed::Unparsed => Ok(false),
        Parsed::Key(got) if got == want => Ok(true),
        Parsed::Key(got) => Err(format!("{frame:02x?}\nkernel {got:?}\nuser   {want:?}")),
    }
}

/// What the parser may leave to user space; anything else it must know.
fn may_be_left(key: &FlowKey, frame: &[u8]) -> bool {
    const ND: u16 = 135;
    let p = key.present;
    let mpls_or_pbb = matches!(key.dl_type.get(), 0x8847 | 0x8848 | 0x88e7);
    let neighbour = p.has(Present::IPV6)
        && key.nw_proto == 58
        && key.tp_dst.get() == 0
        && (key.tp_src.get() | 1) == ND | 1;
    // Extension headers that are cut off make the whole packet BAD_L3 in user space.
    let broken_v6 = key.dl_type.get() == 0x86dd && p.has(Present::BAD_L3);
    let neighbour_type = matches!(key.tp_src.get(), 135 | 136) && neighbour
        || p.has(Present::ND)
        || p.has(Present::BAD_L4) && key.dl_type.get() == 0x86dd;
    mpls_or_pbb
        || p.any(Present::EXTHDR)
        || p.has(Present::LATER_FRAG) && p.has(Present::IPV6)
        || neighbour_type
        || broken_v6
        || frame.len() < 14
}

#[test]
fn the_corpus_has_the_same_keys() {
    for limit in [1, 2] {
        let Some(mut probe) = probe(limit) else {
            return;
        };
        let mut parsed = 0;
        for frame in corpus() {
            let known = compare(&mut probe, limit, &frame).unwrap_or_else(|e| panic!("{e}"));
            let key = extract_bytes(&frame, DpPort(0), ParseLimits::new(limit));
            assert!(
                known || may_be_left(&key, &frame),
                "left to user space: {key:?}"
            );
            parsed += usize::from(known);
        }
        assert!(parsed > 500, "{parsed}");
    }
}

#[test]
fn frames_cut_off_anywhere_have_the_same_keys() {
    for limit in [1, 2] {
        let Some(mut probe) = probe(limit) else {
            return;
        };
        for frame in corpus() {
            for len in (14..frame.len().min(130)).filter(|len| can_run(&frame[..*len])) {
                compare(&mut probe, limit, &frame[..len]).unwrap_or_else(|e| panic!("{e}"));
            }
        }
    }
}

#[test]
fn mutated_frames_have_the_same_keys() {
    let frames = std::env::var("RVS_PARSER_FRAMES")
        .ok()
        .and_then(|n| n.parse().ok());
    let corpus = corpus();
    let mut random = Random(1);
    let (mut parsed, mut left) = (0u64, 0u64);
    for limit in [1, 2] {
        let Some(mut probe) = probe(limit) else {
            return;
        };
        for _ in 0..frames.unwrap_or(1_000_000) / 2 {
            let mut frame = corpus[random.below(corpus.len())].clone();
            for _ in 0..1 + random.below(4) {
                // Headers lie in front; most of what can go wrong is there.
                let at = random.below(frame.len().min(80));
                frame[at] = match random.below(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => frame[at] ^ (1 << random.below(8)),
                    _ => random.next() as u8,
                };
            }
            if random.below(3) == 0 {
                frame.truncate(14 + random.below(frame.len() - 13));
            }
            if !can_run(&frame) {
                continue;
            }
            let known = compare(&mut probe, limit, &frame).unwrap_or_else(|e| panic!("{e}"));
            *if known { &mut parsed } else { &mut left } += 1;
            if !known {
                let key = extract_bytes(&frame, DpPort(0), ParseLimits::new(limit));
                assert!(
                    may_be_left(&key, &frame),
                    "left to user space: {key:?} {frame:02x?}"
                );
            }
        }
    }
    println!("{parsed} frames parsed alike, {left} left to user space");
    assert!(parsed > left);
}

/// The object in the tree is the one that these sources make.
#[test]
fn the_object_is_built_from_its_sources() {
    use sha1::{Digest, Sha1};
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf");
    let mut hash = Sha1::new();
    for name in ["kcache.h", "parse.h", "kcache.bpf.c"] {
        hash.update(std::fs::read(dir.join(name)).unwrap());
    }
    let want: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    let recorded = std::fs::read_to_string(dir.join("kcache.bpf.sha1")).unwrap();
    assert_eq!(recorded.trim(), want, "run crates/rvs-kcache/bpf/build");
}
