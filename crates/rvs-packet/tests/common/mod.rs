//! A small packet builder and a naive judge of checksums: written from the RFCs, sharing no code with the crate.
#![allow(dead_code, clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;

/// Ones-complement sum, word by word.
pub fn naive_sum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut s = 0u32;
    for c in bytes.chunks(2) {
        s += u32::from(c[0]) * 256 + c.get(1).copied().map_or(0, u32::from);
        if s > 0xffff {
            s -= 0xffff;
        }
    }
    s as u16
}

/// CRC32c, bit by bit.
pub fn naive_crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for b in bytes {
        crc ^= u32::from(*b);
        for _ in 0..8 {
            crc = if crc & 1 != 0 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

pub fn pseudo(src: IpAddr, dst: IpAddr, proto: u8, len: usize) -> Vec<u8> {
    let len = u32::try_from(len).unwrap().to_be_bytes();
    match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            [&s.octets()[..], &d.octets(), &[0, proto], &len[2..]].concat()
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            [&s.octets()[..], &d.octets(), &len, &[0, 0, 0, proto]].concat()
        }
        _ => panic!("mixed families"),
    }
}

pub fn csum_at(proto: u8) -> Option<usize> {
    match proto {
        TCP => Some(16),
        UDP => Some(6),
        ICMP | ICMPV6 => Some(2),
        SCTP => Some(8),
        _ => None,
    }
}

/// Fills in the transport checksum of `l4` in full.
pub fn fill_l4(src: IpAddr, dst: IpAddr, proto: u8, l4: &mut [u8]) {
    let Some(at) = csum_at(proto) else { return };
    if proto == SCTP {
        l4[at..at + 4].fill(0);
        let crc = naive_crc32c(l4);
        l4[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        return;
    }
    l4[at..at + 2].fill(0);
    let ps = if proto == ICMP {
        vec![]
    } else {
        pseudo(src, dst, proto, l4.len())
    };
    let c = match !naive_sum(&[&ps, l4]) {
        0 if proto == UDP => 0xffff,
        c => c,
    };
    l4[at..at + 2].copy_from_slice(&c.to_be_bytes());
}

/// The field of a partial checksum: the pseudo-header sum.
pub fn fill_partial(src: IpAddr, dst: IpAddr, proto: u8, l4: &mut [u8]) {
    let at = csum_at(proto).unwrap();
    if proto == SCTP {
        l4[at..at + 4].fill(0);
    } else {
        let s = naive_sum(&[&pseudo(src, dst, proto, l4.len())]);
        l4[at..at + 2].copy_from_slice(&s.to_be_bytes());
    }
}

/// Everything that the IP header of a test packet varies.
#[derive(Clone, Debug)]
pub struct Ip {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub ttl: u8,
    pub tos: u8,
    pub id: u16,
    /// IPv4: flags and offset word.
    pub frag: u16,
    /// IPv4 options (a multiple of 4 octets), or IPv6 extension headers as (protocol, octets behind "next header").
    pub options: Vec<u8>,
    pub ext: Vec<(u8, Vec<u8>)>,
}

impl Ip {
    pub fn v4(src: [u8; 4], dst: [u8; 4]) -> Self {
        Self {
            src: Ipv4Addr::from(src).into(),
            dst: Ipv4Addr::from(dst).into(),
            ttl: 64,
            tos: 0,
            id: 0x1234,
            frag: 0,
            options: vec![],
            ext: vec![],
        }
    }

    pub fn v6(src: &str, dst: &str) -> Self {
        Self {
            src: src.parse::<Ipv6Addr>().unwrap().into(),
            dst: dst.parse::<Ipv6Addr>().unwrap().into(),
            ..Self::v4([0; 4], [0; 4])
        }
    }

    pub fn ethertype(&self) -> u16 {
        if self.src.is_ipv4() {
            0x0800
        } else {
            0x86dd
        }
    }

    /// Octets in front of the transport.
    pub fn header_len(&self) -> usize {
        if self.src.is_ipv4() {
            20 + self.options.len()
        } else {
            40 + self.ext.iter().map(|(_, b)| b.len() + 1).sum::<usize>()
        }
    }

    /// The packet with `l4` as payload, whose checksum is left alone.
    pub fn raw(&self, proto: u8, l4: &[u8]) -> Vec<u8> {
        match (self.src, self.dst) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                let hl = self.header_len();
                let mut h = vec![0x40 | (hl / 4) as u8, self.tos];
                h.extend(((hl + l4.len()) as u16).to_be_bytes());
                h.extend(self.id.to_be_bytes());
                h.extend(self.frag.to_be_bytes());
                h.extend([self.ttl, proto, 0, 0]);
                h.extend(s.octets());
                h.extend(d.octets());
                h.extend(&self.options);
                let c = !naive_sum(&[&h]);
                h[10..12].copy_from_slice(&c.to_be_bytes());
                [&h[..], l4].concat()
            }
            (IpAddr::V6(s), IpAddr::V6(d)) => {
                let mut h = vec![0x60 | self.tos >> 4, self.tos << 4 | 0x0a, 0xbc, 0xde];
                h.extend(((self.header_len() - 40 + l4.len()) as u16).to_be_bytes());
                h.push(self.ext.first().map_or(proto, |e| e.0));
                h.push(self.ttl);
                h.extend(s.octets());
                h.extend(d.octets());
                for (i, (_, body)) in self.ext.iter().enumerate() {
                    h.push(self.ext.get(i + 1).map_or(proto, |e| e.0));
                    h.extend(body);
                }
                [&h[..], l4].concat()
            }
            _ => panic!("mixed families"),
        }
    }

    /// The packet with the transport checksum filled in.
    pub fn packet(&self, proto: u8, mut l4: Vec<u8>) -> Vec<u8> {
        fill_l4(self.src, self.dst, proto, &mut l4);
        self.raw(proto, &l4)
    }
}

pub fn udp(sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
    let mut b = vec![];
    b.extend(sport.to_be_bytes());
    b.extend(dport.to_be_bytes());
    b.extend(((8 + payload.len()) as u16).to_be_bytes());
    b.extend([0, 0]);
    b.extend(payload);
    b
}

pub fn tcp(
    sport: u16,
    dport: u16,
    seq: u32,
    flags: u16,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut b = vec![];
    b.extend(sport.to_be_bytes());
    b.extend(dport.to_be_bytes());
    b.extend(seq.to_be_bytes());
    b.extend(0x0102_0304u32.to_be_bytes());
    let off = ((20 + options.len()) / 4) as u16;
    b.extend((off << 12 | flags).to_be_bytes());
    b.extend([0x20, 0, 0, 0, 0, 0]);
    b.extend(options);
    b.extend(payload);
    b
}

pub fn sctp(sport: u16, dport: u16, chunks: &[u8]) -> Vec<u8> {
    let mut b = vec![];
    b.extend(sport.to_be_bytes());
    b.extend(dport.to_be_bytes());
    b.extend([9, 8, 7, 6, 0, 0, 0, 0]);
    b.extend(chunks);
    b
}

pub fn icmp(ty: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut b = vec![ty, code, 0, 0];
    b.extend(rest);
    b
}

pub const DST: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const SRC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Ethernet with `tags` as (TPID, TCI), outermost first.
pub fn eth(tags: &[(u16, u16)], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut b = [DST, SRC].concat();
    for (tpid, tci) in tags {
        b.extend(tpid.to_be_bytes());
        b.extend(tci.to_be_bytes());
    }
    b.extend(ethertype.to_be_bytes());
    b.extend(payload);
    b
}

/// An IP packet in an Ethernet frame.
pub fn eth_ip(tags: &[(u16, u16)], ip: &Ip, proto: u8, l4: Vec<u8>) -> Vec<u8> {
    eth(tags, ip.ethertype(), &ip.packet(proto, l4))
}

/// A small deterministic generator for the hostile corpora (SplitMix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0..n; `n` is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

/// Well-formed frames of every kind that the parsers know, to mutate.
pub fn seeds() -> Vec<Vec<u8>> {
    let v4 = Ip::v4([10, 0, 0, 1], [10, 0, 0, 2]);
    let v6 = Ip::v6("2001:db8::1", "2001:db8::2");
    let mut ext = v6.clone();
    ext.ext = vec![
        (0, vec![0; 7]),
        (43, vec![0, 0, 1, 0, 0, 0, 0]),
        (60, vec![0; 7]),
    ];
    let mut frag6 = v6.clone();
    frag6.ext = vec![(44, vec![0, 0, 1, 0, 0, 0, 9])];
    let mut later4 = v4.clone();
    later4.frag = 0x2010;
    let mut opt4 = v4.clone();
    opt4.options = vec![7, 7, 4, 0, 0, 0, 0, 0];
    let mut ns = vec![0, 0, 0, 0];
    ns.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
    let mut ns_opt = ns.clone();
    ns_opt.extend([1, 1, 2, 3, 4, 5, 6, 7, 2, 1, 2, 3, 4, 5, 6, 9]);
    let arp = [
        &[0, 1, 8, 0, 6, 4, 0, 1][..],
        &SRC,
        &[10, 0, 0, 1],
        &[0; 6],
        &[10, 0, 0, 2],
    ]
    .concat();
    let t = || tcp(1000, 80, 7, 0x18, &[1, 1, 1, 1], b"hello there");
    let u = || udp(1000, 53, b"question");
    let inner = eth_ip(&[(0x8100, 5)], &v4, TCP, t());
    let vxlan = [&[8, 0, 0, 0, 0, 0, 7, 0][..], &inner].concat();
    let geneve = [&[1, 0, 0x65, 0x58, 0, 0, 7, 0, 0, 1, 2, 0][..], &inner].concat();
    let gre = [&[0x20, 0, 0x65, 0x58, 0, 0, 0, 7][..], &inner].concat();
    let mpls = [&[0, 1, 0, 64, 0, 2, 0x1, 64][..], &v4.packet(TCP, t())].concat();
    let snap = [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &v4.packet(UDP, u())].concat();
    let pbb = [&[0, 0, 0, 9][..], &inner].concat();
    vec![
        eth_ip(&[], &v4, TCP, t()),
        eth_ip(&[(0x8100, 100)], &v4, UDP, u()),
        eth_ip(
            &[(0x88a8, 7), (0x8100, 100)],
            &v4,
            ICMP,
            icmp(8, 0, &[0, 1, 0, 2, 5, 5]),
        ),
        eth_ip(&[], &opt4, SCTP, sctp(5, 6, &[0; 16])),
        eth_ip(&[], &later4, UDP, u()),
        eth_ip(&[], &v6, TCP, t()),
        eth_ip(&[], &ext, UDP, u()),
        eth_ip(&[], &frag6, TCP, t()),
        eth_ip(&[], &v6, ICMPV6, icmp(135, 0, &ns)),
        eth_ip(&[(0x8100, 1)], &v6, ICMPV6, icmp(136, 0, &ns_opt)),
        eth_ip(&[], &v6, SCTP, sctp(5, 6, &[0; 16])),
        eth(&[], 0x0806, &arp),
        eth(&[], 0x8847, &mpls),
        eth(&[(0x8100, 3)], 0x8847, &mpls),
        eth(&[], 60, &snap),
        eth(&[], 0x88e7, &pbb),
        eth_ip(&[], &v4, UDP, udp(5000, 4789, &vxlan)),
        eth_ip(&[], &v6, UDP, udp(5000, 6081, &geneve)),
        eth_ip(&[], &v4, 47, gre),
        eth_ip(&[], &v4, 4, v4.packet(TCP, t())),
        eth_ip(&[], &v4, 41, v6.packet(UDP, u())),
        eth_ip(&[], &v6, 4, v4.packet(TCP, t())),
    ]
}

/// One of the seeds, damaged: octets flipped, lengths set to edge values, cut, padded.
pub fn hostile(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut f = seeds[rng.below(seeds.len())].clone();
    for _ in 0..rng.below(4) {
        let at = rng.below(f.len());
        f[at] = match rng.below(4) {
            0 => 0,
            1 => 0xff,
            2 => f[at].wrapping_add(1),
            _ => rng.next() as u8,
        };
    }
    match rng.below(4) {
        0 => f.truncate(rng.below(f.len() + 1)),
        1 => {
            let n = rng.below(300);
            f.extend(rng.bytes(n));
        }
        _ => {}
    }
    f
}
