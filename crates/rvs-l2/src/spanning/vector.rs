//! What bridges compare: identifiers, priority vectors and times (IEEE 802.1D-2004 clauses 9.2 and 17.5 to 17.7).

use std::fmt;

use rvs_packet::MacAddr;

/// Priority in the upper 16 bits, MAC below: the smaller is the better root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BridgeId(pub u64);

impl BridgeId {
    pub fn new(priority: u16, mac: MacAddr) -> Self {
        Self(u64::from(priority) << 48 | mac.to_u64())
    }

    pub const fn priority(self) -> u16 {
        (self.0 >> 48) as u16
    }

    pub const fn mac(self) -> MacAddr {
        MacAddr::from_u64(self.0)
    }
}

/// `8000.0a1b2c3d4e5f`
impl fmt::Display for BridgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04x}.{:012x}",
            self.priority(),
            self.0 & 0xffff_ffff_ffff
        )
    }
}

/// Priority in the upper octet (the upper 4 bits in the rapid protocol), number below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

impl PortId {
    pub const fn new(priority: u8, number: u16) -> Self {
        Self((priority as u16) << 8 | number)
    }
}

/// How good a way to the root is: the smaller the better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vector {
    pub root: BridgeId,
    pub cost: u32,
    /// The bridge that says so.
    pub bridge: BridgeId,
    pub port: PortId,
}

impl Vector {
    /// Whether this, when it comes in, takes the place of `old`: it is better, or the same port says something new (17.6).
    pub fn supersedes(&self, old: &Self) -> bool {
        self < old
            || (self != old
                && self.bridge.mac() == old.bridge.mac()
                && self.port.0 & 0xfff == old.port.0 & 0xfff)
    }
}

/// Times of a tree in units of 1/256 second, as the wire has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub message_age: u16,
    pub max_age: u16,
    pub hello: u16,
    pub forward_delay: u16,
}

impl Times {
    const SECOND: u16 = 256;

    /// From seconds.
    pub const fn new(max_age: u8, hello: u8, forward_delay: u8) -> Self {
        Self {
            message_age: 0,
            max_age: max_age as u16 * Self::SECOND,
            hello: hello as u16 * Self::SECOND,
            forward_delay: forward_delay as u16 * Self::SECOND,
        }
    }

    /// One bridge further from the root.
    pub fn aged(self) -> Self {
        let older = self
            .message_age
            .saturating_add(Self::SECOND + Self::SECOND / 2);
        Self {
            message_age: older / Self::SECOND * Self::SECOND,
            ..self
        }
    }

    /// False when the information is too far from the root to be passed on.
    pub fn lives(&self) -> bool {
        self.message_age.saturating_add(Self::SECOND) <= self.max_age
    }

    /// Whole seconds, at least one: a timer that a neighbour sets to nothing would make this bridge forward too early.
    fn seconds(time: u16) -> u16 {
        time.div_ceil(Self::SECOND).max(1)
    }

    pub fn hello_secs(&self) -> u16 {
        Self::seconds(self.hello)
    }

    pub fn max_age_secs(&self) -> u16 {
        Self::seconds(self.max_age)
    }

    pub fn forward_delay_secs(&self) -> u16 {
        Self::seconds(self.forward_delay)
    }
}
