//! The program's parser against `rvs_flow::extract`, bit for bit. Needs CAP_BPF and CAP_NET_ADMIN.
//!
//! Most frames come by BPF_PROG_TEST_RUN, which leaves tags in the frame; on a device the kernel puts the outer one beside it,
//! so tagged frames also go over a real one.
//!
//! RVS_PARSER_FRAMES sets the number of mutated frames (1,000,000 without it; over the device a fiftieth of it).
//! RVS_KCACHE_OBJECT names another compilation of the program, which is judged then.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::frames::{can_run, corpus, Random};
use common::sender::Sender;
use common::Netns;
use rvs_flow::extract::{extract_bytes, ParseLimits};
use rvs_flow::{DpPort, FlowKey, Present};
use rvs_kcache::tier0::{KeyProbe, Parsed};

fn probe(limit: u8) -> Option<KeyProbe> {
    let opened = match std::env::var_os("RVS_KCACHE_OBJECT") {
        Some(path) => KeyProbe::of_object(&std::fs::read(path).unwrap(), limit),
        None => KeyProbe::open(limit),
    };
    match opened {
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
    let got = probe.key_of(frame, port).unwrap();
    same(frame, got, port, limit)
}

fn same(frame: &[u8], got: Parsed, port: DpPort, limit: u8) -> Result<bool, String> {
    let want = extract_bytes(frame, port, ParseLimits::new(limit));
    match got {
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

fn mutations() -> u64 {
    let asked = std::env::var("RVS_PARSER_FRAMES").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(1_000_000)
}

fn mutated(frame: &[u8], random: &mut Random) -> Vec<u8> {
    let mut frame = frame.to_vec();
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
    frame
}

#[test]
fn mutated_frames_have_the_same_keys() {
    let corpus = corpus();
    let mut random = Random(1);
    let (mut parsed, mut left) = (0u64, 0u64);
    for limit in [1, 2] {
        let Some(mut probe) = probe(limit) else {
            return;
        };
        let (mut ran, want) = (0, mutations() / 2);
        for _ in 0..want * 2 {
            if ran == want {
                break;
            }
            let frame = mutated(&corpus[random.below(corpus.len())], &mut random);
            if !can_run(&frame) {
                continue;
            }
            ran += 1;
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
    assert!(parsed > left && parsed + left == mutations() / 2 * 2);
}

/// A device that the parser listens on, and who sends to it.
struct Wire {
    ns: Netns,
    sender: Sender,
}

impl Wire {
    fn new() -> Option<Self> {
        let ns = Netns::new("tags")?;
        ns.sh("ip link add tag0 mtu 9000 type veth peer name tag1 mtu 9000");
        for dev in ["tag0", "tag1"] {
            ns.sh(&format!(
                "ip link set {dev} addrgenmode none; ip link set {dev} up arp off"
            ));
        }
        ns.wait_up("tag0");
        ns.wait_up("tag1");
        let sender = Sender::new(&ns, "tag0")?;
        Some(Self { ns, sender })
    }

    /// What the parser makes of the frame on its way.
    fn key_of(&mut self, probe: &mut KeyProbe, frame: &[u8]) -> Parsed {
        probe.forget();
        self.sender.send(frame);
        let start = Instant::now();
        loop {
            if let Some(seen) = probe.seen() {
                return seen;
            }
            assert!(
                start.elapsed() < Duration::from_secs(2),
                "lost: {frame:02x?}"
            );
            std::thread::yield_now();
        }
    }
}

fn is_tagged(frame: &[u8]) -> bool {
    matches!(frame.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]))
}

/// The kernel drops what ends in its outer tag, or right behind it.
fn gets_through(frame: &[u8]) -> bool {
    frame.len() >= if is_tagged(frame) { 20 } else { 14 }
}

#[test]
fn tags_beside_the_frame_make_the_same_keys() {
    let Some(mut wire) = Wire::new() else {
        return;
    };
    let corpus = corpus();
    let tagged: Vec<_> = corpus.iter().filter(|f| is_tagged(f)).collect();
    let mut random = Random(3);
    for limit in [1, 2] {
        let Some(mut probe) = probe(limit) else {
            return;
        };
        let _link = wire
            .ns
            .run(|| probe.listen(nix::net::if_::if_nametoindex("tag1").unwrap()))
            .unwrap();
        let cut = tagged.iter().flat_map(|f| {
            let lengths = 20..f.len().min(64);
            lengths.step_by(3).map(|len| f[..len].to_vec())
        });
        let changed = (0..mutations() / 100).map(|_| {
            let frame = tagged[random.below(tagged.len())];
            mutated(frame, &mut random)
        });
        let whole = corpus.iter().cloned();
        let (mut known, mut left) = (0u32, 0u32);
        for frame in whole.chain(cut).chain(changed).filter(|f| gets_through(f)) {
            let got = wire.key_of(&mut probe, &frame);
            if same(&frame, got, DpPort(0), limit).unwrap_or_else(|e| panic!("{e}")) {
                known += 1;
                continue;
            }
            left += 1;
            let key = extract_bytes(&frame, DpPort(0), ParseLimits::new(limit));
            assert!(
                may_be_left(&key, &frame),
                "left to user space: {key:?} {frame:02x?}"
            );
        }
        println!("{known} frames over a device parsed alike, {left} left to user space");
        assert!(known > 5_000.min(mutations() as u32) && known > left);
    }
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
