//! Bridge protocol data units on the wire (IEEE 802.1D-2004 clause 9) and in an Ethernet frame.

use rvs_packet::MacAddr;

use super::vector::{BridgeId, PortId, Times, Vector};

/// Where bridges talk to each other.
pub const BRIDGE_GROUP: MacAddr = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0]);

/// LLC of the spanning tree protocol: both service access points 0x42, unnumbered information.
const LLC: [u8; 3] = [0x42, 0x42, 0x03];
const ETHERNET: usize = 14;
/// Smallest frame without its checksum.
const SMALLEST: usize = 60;
const CONFIG: usize = 35;
const RAPID: usize = 36;

/// What a port says that it is in a rapid BPDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Unknown,
    AlternateOrBackup,
    Root,
    Designated,
}

/// A BPDU's body, without those of topology change notifications, which have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    /// Of the rapid protocol.
    pub rapid: bool,
    /// `Designated` in the old protocol, which has no other.
    pub role: Says,
    pub priority: Vector,
    pub times: Times,
    pub topology_change: bool,
    pub topology_change_ack: bool,
    pub proposal: bool,
    pub agreement: bool,
    pub learning: bool,
    pub forwarding: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bpdu {
    Body(Body),
    /// Topology change notification of the old protocol.
    Notification,
}

/// Why a BPDU was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadBpdu {
    /// It ends before its last field.
    Short,
    /// Another protocol or type.
    Unknown,
    /// It is older than its own limit.
    Expired,
}

mod flag {
    pub const TOPOLOGY_CHANGE: u8 = 1;
    pub const PROPOSAL: u8 = 1 << 1;
    pub const ROLE: u32 = 2;
    pub const LEARNING: u8 = 1 << 4;
    pub const FORWARDING: u8 = 1 << 5;
    pub const AGREEMENT: u8 = 1 << 6;
    pub const TOPOLOGY_CHANGE_ACK: u8 = 1 << 7;
}

/// The BPDU in an Ethernet frame; `None` when it holds none.
pub fn in_frame(frame: &[u8]) -> Option<&[u8]> {
    let (ethernet, rest) = frame.split_at_checked(ETHERNET)?;
    let [d0, d1, d2, d3, d4, d5, .., l0, l1] = ethernet else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    if MacAddr([*d0, *d1, *d2, *d3, *d4, *d5]) != BRIDGE_GROUP || length > 1500 {
        return None;
    }
    rest.get(..length)?.strip_prefix(&LLC)
}

/// An Ethernet frame with a BPDU.
pub fn to_frame(src: MacAddr, bpdu: &[u8]) -> Vec<u8> {
    let length = (LLC.len() + bpdu.len()) as u16;
    let mut frame = Vec::with_capacity(SMALLEST);
    frame.extend_from_slice(&BRIDGE_GROUP.0);
    frame.extend_from_slice(&src.0);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&LLC);
    frame.extend_from_slice(bpdu);
    frame.resize(frame.len().max(SMALLEST), 0);
    frame
}

impl Bpdu {
    /// # Errors
    /// When it is cut short, of another protocol, or has outlived itself (9.3.4).
    pub fn decode(bytes: &[u8]) -> Result<Self, BadBpdu> {
        let (head, rest) = bytes.split_first_chunk::<4>().ok_or(BadBpdu::Short)?;
        match head {
            [0, 0, _, 0x80] => Ok(Self::Notification),
            [0, 0, _, 0] => Body::decode(rest, false).map(Self::Body),
            [0, 0, 2..=255, 2] if bytes.len() < RAPID => Err(BadBpdu::Short),
            [0, 0, 2..=255, 2] => Body::decode(rest, true).map(Self::Body),
            _ => Err(BadBpdu::Unknown),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Notification => vec![0, 0, 0, 0x80],
            Self::Body(body) => body.encode(),
        }
    }
}

/// Takes fields off the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BadBpdu> {
        let (first, rest) = self.0.split_first_chunk().ok_or(BadBpdu::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    fn u16(&mut self) -> Result<u16, BadBpdu> {
        self.take().map(u16::from_be_bytes)
    }
}

impl Body {
    fn decode(bytes: &[u8], rapid: bool) -> Result<Self, BadBpdu> {
        let mut fields = Fields(bytes);
        let [flags] = fields.take()?;
        let priority = Vector {
            root: BridgeId(u64::from_be_bytes(fields.take()?)),
            cost: u32::from_be_bytes(fields.take()?),
            bridge: BridgeId(u64::from_be_bytes(fields.take()?)),
            port: PortId(fields.u16()?),
        };
        let times = Times {
            message_age: fields.u16()?,
            max_age: fields.u16()?,
            hello: fields.u16()?,
            forward_delay: fields.u16()?,
        };
        if !rapid && times.message_age >= times.max_age {
            return Err(BadBpdu::Expired);
        }
        let has = |bit: u8| flags & bit != 0;
        let role = match flags >> flag::ROLE & 3 {
            _ if !rapid => Says::Designated,
            0 => Says::Unknown,
            1 => Says::AlternateOrBackup,
            2 => Says::Root,
            _ => Says::Designated,
        };
        Ok(Self {
            rapid,
            role,
            priority,
            times,
            topology_change: has(flag::TOPOLOGY_CHANGE),
            topology_change_ack: has(flag::TOPOLOGY_CHANGE_ACK),
            proposal: rapid && has(flag::PROPOSAL),
            agreement: rapid && has(flag::AGREEMENT),
            learning: rapid && has(flag::LEARNING),
            forwarding: rapid && has(flag::FORWARDING),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let kind: [u8; 4] = if self.rapid { [0, 0, 2, 2] } else { [0; 4] };
        let role = match self.role {
            _ if !self.rapid => 0,
            Says::Unknown => 0,
            Says::AlternateOrBackup => 1,
            Says::Root => 2,
            Says::Designated => 3,
        };
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        let flags = bit(self.topology_change, flag::TOPOLOGY_CHANGE)
            | bit(self.proposal, flag::PROPOSAL)
            | role << flag::ROLE
            | bit(self.learning, flag::LEARNING)
            | bit(self.forwarding, flag::FORWARDING)
            | bit(self.agreement, flag::AGREEMENT)
            | bit(self.topology_change_ack, flag::TOPOLOGY_CHANGE_ACK);
        let mut out = Vec::with_capacity(RAPID);
        out.extend_from_slice(&kind);
        out.push(flags);
        out.extend_from_slice(&self.priority.root.0.to_be_bytes());
        out.extend_from_slice(&self.priority.cost.to_be_bytes());
        out.extend_from_slice(&self.priority.bridge.0.to_be_bytes());
        out.extend_from_slice(&self.priority.port.0.to_be_bytes());
        let t = &self.times;
        for time in [t.message_age, t.max_age, t.hello, t.forward_delay] {
            out.extend_from_slice(&time.to_be_bytes());
        }
        debug_assert_eq!(out.len(), CONFIG);
        if self.rapid {
            // The length of what the first version would have added.
            out.push(0);
        }
        out
    }
}
