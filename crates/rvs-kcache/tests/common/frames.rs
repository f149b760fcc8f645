//! Frames of every kind that the kernel's parser knows, or knows to leave alone.

/// Deterministic and good enough (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
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
pub fn corpus() -> Vec<Vec<u8>> {
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
pub fn can_run(frame: &[u8]) -> bool {
    let least = match frame.get(12..14) {
        Some([0x08, 0x00]) => 34,
        Some([0x86, 0xdd]) => 54,
        _ => 14,
    };
    frame.len() >= least
}
