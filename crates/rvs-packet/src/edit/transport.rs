//! Fields of TCP, UDP, SCTP, ICMP, ICMPv6 and neighbour discovery.

use std::net::Ipv6Addr;

use crate::csum::sctp_crc;
use crate::edit::{Covered, Edit};
use crate::layout::Transport;
use crate::view::{Frag, Nd, Sctp};
use crate::MacAddr;

const SRC_PORT: usize = 0;
const DST_PORT: usize = 2;

impl Edit<'_> {
    pub fn set_tcp_src(&mut self, value: u16, mask: u16) -> bool {
        self.port(Transport::Tcp, SRC_PORT, value, mask)
    }

    pub fn set_tcp_dst(&mut self, value: u16, mask: u16) -> bool {
        self.port(Transport::Tcp, DST_PORT, value, mask)
    }

    pub fn set_udp_src(&mut self, value: u16, mask: u16) -> bool {
        self.port(Transport::Udp, SRC_PORT, value, mask)
    }

    pub fn set_udp_dst(&mut self, value: u16, mask: u16) -> bool {
        self.port(Transport::Udp, DST_PORT, value, mask)
    }

    /// Also false in a fragment: the CRC covers octets that are elsewhere.
    pub fn set_sctp_src(&mut self, value: u16, mask: u16) -> bool {
        self.sctp_port(SRC_PORT, value, mask)
    }

    /// Also false in a fragment: the CRC covers octets that are elsewhere.
    pub fn set_sctp_dst(&mut self, value: u16, mask: u16) -> bool {
        self.sctp_port(DST_PORT, value, mask)
    }

    pub fn set_icmp_type(&mut self, value: u8, mask: u8) -> bool {
        self.transport(Transport::Icmp, 0, [value], [mask])
    }

    pub fn set_icmp_code(&mut self, value: u8, mask: u8) -> bool {
        self.transport(Transport::Icmp, 1, [value], [mask])
    }

    pub fn set_icmpv6_type(&mut self, value: u8, mask: u8) -> bool {
        self.transport(Transport::Icmpv6, 0, [value], [mask])
    }

    pub fn set_icmpv6_code(&mut self, value: u8, mask: u8) -> bool {
        self.transport(Transport::Icmpv6, 1, [value], [mask])
    }

    /// Target of a neighbour solicitation or advertisement.
    pub fn set_nd_target(&mut self, value: Ipv6Addr, mask: Ipv6Addr) -> bool {
        self.with_nd(|_| Some(Nd::TARGET), value.octets(), mask.octets())
    }

    /// Source link-layer address option. False when the message has none, or an option whose length goes past the end.
    pub fn set_nd_sll(&mut self, value: MacAddr, mask: MacAddr) -> bool {
        self.with_nd(|nd| nd.sll_at(), value.0, mask.0)
    }

    /// Target link-layer address option. False when the message has none, or an option whose length goes past the end.
    pub fn set_nd_tll(&mut self, value: MacAddr, mask: MacAddr) -> bool {
        self.with_nd(|nd| nd.tll_at(), value.0, mask.0)
    }

    fn port(&mut self, kind: Transport, at: usize, value: u16, mask: u16) -> bool {
        self.transport(kind, at, value.to_be_bytes(), mask.to_be_bytes())
    }

    fn transport<const N: usize>(
        &mut self,
        kind: Transport,
        at: usize,
        value: [u8; N],
        mask: [u8; N],
    ) -> bool {
        self.lay.transport == kind && self.write(self.lay.l4 + at, value, mask, Covered::Transport)
    }

    /// `at` finds the field in the message, counted from the ICMPv6 header.
    fn with_nd<const N: usize>(
        &mut self,
        at: impl FnOnce(&Nd<'_>) -> Option<usize>,
        value: [u8; N],
        mask: [u8; N],
    ) -> bool {
        if self.lay.transport != Transport::Icmpv6 {
            return false;
        }
        let message = self.frame.bytes().get(self.lay.l4..self.lay.end);
        let Some(at) = message.and_then(Nd::new).and_then(|nd| at(&nd)) else {
            return false;
        };
        self.transport(Transport::Icmpv6, at, value, mask)
    }

    fn sctp_port(&mut self, at: usize, value: u16, mask: u16) -> bool {
        if self.lay.transport != Transport::Sctp || self.lay.frag != Frag::No {
            return false;
        }
        let before = self.sctp_packet().map(|p| sctp_crc(p));
        self.port(Transport::Sctp, at, value, mask);
        let partial = self.is_partial(Sctp::CSUM);
        if let (Some(before), Some(packet), false) = (before, self.sctp_packet(), partial) {
            // A CRC is linear: what was wrong stays wrong by the same bits. 0 stays 0 unless it was the CRC: it means
            // that none was computed (RFC 9653).
            let stored = Sctp::new(packet).map_or(0, |s| s.crc());
            if stored != 0 || before == 0 {
                let crc = stored ^ before ^ sctp_crc(packet);
                packet[Sctp::CSUM..Sctp::LEN].copy_from_slice(&crc.to_le_bytes());
            }
        }
        true
    }

    /// The SCTP packet from its common header to the end of the IP packet; at least a header long.
    fn sctp_packet(&mut self) -> Option<&mut [u8]> {
        let (from, to) = (self.lay.l4, self.lay.end);
        self.frame
            .bytes_mut()
            .get_mut(from..to)
            .filter(|p| p.len() >= Sctp::LEN)
    }
}
