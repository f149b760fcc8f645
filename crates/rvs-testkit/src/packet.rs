//! Frames, layer by layer: `Packet::eth(1, 2).vlan(100).udp(1, 2, 53, 53).build()`.
//!
//! Hosts are small numbers: host 1 has the address 02:00:00:00:00:01, 10.0.0.1 and fe80::1. Lengths and checksums are right
//! unless a test breaks them afterwards. Frames are padded to the 60 octets of the wire.

use rvs_flow::testing::fix_checksums;
use rvs_flow::{extract, DpPort, Mask, OdpFlow, ParseLimits};
use rvs_packet::{Frame, MacAddr};

/// Smallest frame on the wire, without FCS.
const MIN: usize = 60;

/// The address of host `n`.
pub const fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

pub const BROADCAST: MacAddr = MacAddr::BROADCAST;

/// A frame under construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    head: Vec<u8>,
    tags: Vec<u8>,
    body: Vec<u8>,
    /// Ethernet type of the body.
    ethertype: u16,
    padded: bool,
}

impl Packet {
    /// From host to host.
    pub fn eth(src: u8, dst: u8) -> Self {
        Self::between(mac(src), mac(dst))
    }

    pub fn between(src: MacAddr, dst: MacAddr) -> Self {
        Self {
            head: [dst.0, src.0].concat(),
            tags: Vec::new(),
            body: Vec::new(),
            ethertype: 0x88b5,
            padded: true,
        }
    }

    /// Adds an 802.1Q tag behind those that are there.
    pub fn vlan(self, vid: u16) -> Self {
        self.tag(0x8100, vid)
    }

    /// Adds an 802.1ad service tag.
    pub fn qinq(self, vid: u16) -> Self {
        self.tag(0x88a8, vid)
    }

    /// Adds a tag: `tci` with priority and DEI.
    pub fn tag(mut self, tpid: u16, tci: u16) -> Self {
        self.tags.extend(tpid.to_be_bytes());
        self.tags.extend(tci.to_be_bytes());
        self
    }

    /// A body of this type.
    pub fn payload(mut self, ethertype: u16, body: &[u8]) -> Self {
        self.ethertype = ethertype;
        self.body = body.to_vec();
        self
    }

    pub fn arp_request(self, from: u8, to: u8) -> Self {
        self.arp(1, from, to)
    }

    pub fn arp_reply(self, from: u8, to: u8) -> Self {
        self.arp(2, from, to)
    }

    fn arp(self, op: u8, from: u8, to: u8) -> Self {
        let target = if op == 1 { MacAddr::ZERO } else { mac(to) };
        let body = [
            &[0, 1, 8, 0, 6, 4, 0, op][..],
            &mac(from).0,
            &[10, 0, 0, from],
            &target.0,
            &[10, 0, 0, to],
        ];
        self.payload(0x0806, &body.concat())
    }

    /// IPv4 from host to host with `upper` of protocol `proto`.
    pub fn ipv4(self, from: u8, to: u8, proto: u8, upper: &[u8]) -> Self {
        let len = (20 + upper.len() as u16).to_be_bytes();
        let header = [
            &[0x45, 0, len[0], len[1], 0, 1, 0, 0, 64, proto, 0, 0][..],
            &[10, 0, 0, from],
            &[10, 0, 0, to],
            upper,
        ];
        self.payload(0x0800, &header.concat())
    }

    /// IPv6 from host to host with `upper` of protocol `next`.
    pub fn ipv6(self, from: u8, to: u8, next: u8, upper: &[u8]) -> Self {
        let len = (upper.len() as u16).to_be_bytes();
        let address = |n| [&[0xfe, 0x80][..], &[0; 13], &[n]].concat();
        let header = [
            &[0x60, 0, 0, 0, len[0], len[1], next, 64][..],
            &address(from),
            &address(to),
            upper,
        ];
        self.payload(0x86dd, &header.concat())
    }

    pub fn tcp(self, from: u8, to: u8, sport: u16, dport: u16, flags: u8) -> Self {
        self.ipv4(from, to, 6, &tcp_header(sport, dport, flags))
    }

    pub fn tcp6(self, from: u8, to: u8, sport: u16, dport: u16, flags: u8) -> Self {
        self.ipv6(from, to, 6, &tcp_header(sport, dport, flags))
    }

    pub fn udp(self, from: u8, to: u8, sport: u16, dport: u16) -> Self {
        self.ipv4(from, to, 17, &udp_header(sport, dport))
    }

    pub fn udp6(self, from: u8, to: u8, sport: u16, dport: u16) -> Self {
        self.ipv6(from, to, 17, &udp_header(sport, dport))
    }

    /// An ICMP echo request.
    pub fn ping(self, from: u8, to: u8) -> Self {
        self.ipv4(from, to, 1, &[8, 0, 0, 0, 0, 1, 0, 1])
    }

    /// A neighbour advertisement for `target`.
    pub fn advertisement(self, from: u8, to: u8, target: [u8; 16]) -> Self {
        let upper = [
            &[136, 0, 0, 0, 0x60, 0, 0, 0][..],
            &target,
            &[2, 1],
            &mac(from).0,
        ];
        self.ipv6(from, to, 58, &upper.concat())
    }

    /// Without padding.
    pub fn unpadded(mut self) -> Self {
        self.padded = false;
        self
    }

    pub fn build(&self) -> Vec<u8> {
        let ethertype = self.ethertype.to_be_bytes();
        // Checksums first: whoever computes them need not look behind the tags.
        let mut b = [&self.head[..], &ethertype, &self.body].concat();
        fix_checksums(&mut b);
        b.splice(self.head.len()..self.head.len(), self.tags.iter().copied());
        if self.padded {
            b.resize(b.len().max(MIN), 0);
        }
        b
    }

    pub fn frame(&self) -> Frame {
        Frame::from_slice(&self.build())
    }
}

fn tcp_header(sport: u16, dport: u16, flags: u8) -> Vec<u8> {
    let ports = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    let rest = [0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
    [&ports[..], &rest].concat()
}

fn udp_header(sport: u16, dport: u16) -> Vec<u8> {
    let ports = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    [&ports[..], &[0, 8, 0, 0]].concat()
}

/// The frame in words, as a cache entry would show it.
pub fn text(bytes: &[u8]) -> String {
    let key = extract(
        &Frame::from_slice(bytes),
        DpPort(0),
        ParseLimits::new(ParseLimits::MAX_VLANS),
    );
    let mask = Mask::exact();
    format!("{} octets, {}", bytes.len(), OdpFlow::new(&key, &mask))
}

/// Hexadecimal digits, white space ignored.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16).map(|d| d as u8))
        .collect();
    digits.chunks_exact(2).map(|c| c[0] << 4 | c[1]).collect()
}
