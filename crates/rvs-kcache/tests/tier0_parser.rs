//! The program's parser against `rvs_flow::extract`, bit for bit, over BPF_PROG_TEST_RUN. Needs CAP_BPF and CAP_NET_ADMIN.
//!
//! RVS_PARSER_FRAMES sets the number of mutated frames (100,000 without it).
#![allow(clippy::unwrap_used)]

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

/// Deterministic and good enough (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

fn be(v: usize) -> [u8; 2] {
    (v as u16).to_be_bytes()
}

fn eth(tags: &[[u8; 4]], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for tag in tags {
        f.extend(tag);
    }
    f.extend(kind.to_be_bytes());
    f.extend(payload);
    f
}

fn ipv4(proto: u8, frag: u16, options: usize, payload: &[u8]) -> Vec<u8> {
    let len = 20 + options * 4;
    let mut p = vec![0x40 | (len / 4) as u8, 0x2e];
    p.extend(be(len + payload.len()));
    p.extend([0, 1]);
    p.extend(frag.to_be_bytes());
    p.extend([64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    p.resize(len, 1);
    p.extend(payload);
    p
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x6a, 0xb1, 0x23, 0x45];
    p.extend(be(payload.len()));
    p.extend([next, 63]);
    p.extend(0x20..0x40);
    p.extend(payload);
    p
}

fn transports() -> Vec<(u8, Vec<u8>)> {
    let mut tcp = vec![
        0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x51, 0x12, 1, 0, 0, 0, 0, 0,
    ];
    let plain = tcp.clone();
    tcp[12] = 0x70;
    tcp.extend([1; 12]);
    let mut udp = vec![0, 53, 0x12, 0x34, 0, 12, 0, 0];
    udp.extend([7; 4]);
    let mut all = vec![
        (6, plain),
        (6, tcp),
        (17, udp),
        (132, vec![1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 9]),
        (47, vec![0; 12]),
        (4, vec![0x45; 40]),
        (255, vec![]),
    ];
    for icmp in [1, 58] {
        for kind in [8, 128, 135, 136] {
            let mut message = vec![kind, 0, 0, 0, 0, 1, 0, 2];
            message.extend([3; 24]);
            all.push((icmp, message));
        }
    }
    all
}

/// Well-formed frames of every kind that the parser knows, or knows to leave alone.
fn corpus() -> Vec<Vec<u8>> {
    let tag = |tpid: u16, tci: u16| {
        let [a, b] = tpid.to_be_bytes();
        let [c, d] = tci.to_be_bytes();
        [a, b, c, d]
    };
    let stacks = [
        vec![],
        vec![tag(0x8100, 0x3064)],
        vec![tag(0x88a8, 0xf000)],
        vec![tag(0x88a8, 0x0001), tag(0x8100, 0x1fff)],
        vec![tag(0x8100, 1), tag(0x8100, 2), tag(0x8100, 3)],
    ];
    let mut packets = vec![
        (0x0806, [&[0u8, 1, 8, 0, 6, 4, 0, 2][..], &[9; 20]].concat()),
        (0x0806, [&[0u8, 1, 8, 0, 6, 4, 1, 2][..], &[9; 20]].concat()),
        (0x0806, [&[0u8, 6, 8, 0, 6, 4, 0, 2][..], &[9; 20]].concat()),
        (0x8035, [&[0u8, 1, 8, 0, 6, 4, 0, 3][..], &[9; 20]].concat()),
        (0x8847, vec![0, 1, 0x01, 64, 0x45]),
        (0x8848, vec![0, 1, 0x01, 64]),
        (0x88e7, vec![0; 30]),
        (0x88cc, vec![0; 46]),
        (0x9100, vec![0; 46]),
        (0x05ff, vec![0; 46]),
        (0x0026, [&[0x42u8, 0x42, 3][..], &[0; 43]].concat()),
        (
            0x0026,
            [
                &[0xaau8, 0xaa, 3, 0, 0, 0, 8, 0][..],
                &ipv4(17, 0, 0, &[0, 1, 0, 2, 0, 8, 0, 0]),
            ]
            .concat(),
        ),
        (
            0x0026,
            [&[0xaau8, 0xaa, 3, 0, 0, 0, 5, 0xff][..], &[0; 40]].concat(),
        ),
        (
            0x0026,
            [&[0xaau8, 0xaa, 3, 0, 0, 1, 8, 0][..], &[0; 40]].concat(),
        ),
    ];
    for (proto, payload) in transports() {
        for (frag, options) in [(0, 0), (0x4000, 3), (0x2000, 0), (0x2001, 0), (0x00ff, 10)] {
            packets.push((0x0800, ipv4(proto, frag, options, &payload)));
        }
        packets.push((0x86dd, ipv6(proto, &payload)));
    }
    for next in [0, 43, 44, 50, 51, 59, 60] {
        packets.push((
            0x86dd,
            ipv6(
                next,
                &[&[6u8, 0, 0, 0, 0, 0, 0, 0][..], &transports()[0].1].concat(),
            ),
        ));
    }
    let mut all = Vec::new();
    for (kind, payload) in &packets {
        for tags in &stacks {
            let frame = eth(tags, *kind, payload);
            let mut padded = frame.clone();
            padded.resize(frame.len() + 300, 0xee);
            all.extend([frame, padded]);
        }
    }
    all
}

/// The kernel refuses to run programs on untagged IP packets whose fixed header is cut off; behind a tag it does not look.
fn can_run(frame: &[u8]) -> bool {
    let least = match frame.get(12..14) {
        Some([0x08, 0x00]) => 34,
        Some([0x86, 0xdd]) => 54,
        _ => 14,
    };
    frame.len() >= least
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
        for _ in 0..frames.unwrap_or(100_000) / 2 {
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
