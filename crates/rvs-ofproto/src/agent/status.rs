//! What the owner of a connection says about it, and hears.

use std::fmt;

use rvs_openflow::message::Role;
use rvs_openflow::Version;
use rvs_packet::Now;

use super::queue::PacketInCounters;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnKind {
    /// A controller that the configuration names: it decides about `fail_mode`, and a role binds it.
    Primary,
    /// A client of a listener or of `<bridge>.mgmt`: nothing unasked unless it sets a length for misses.
    Service,
    /// A listener of `<bridge>.snoop`: gets copies of what primary connections say and hear.
    Snoop,
}

/// Settings of a connection that may change while it lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnOptions {
    /// Packet-ins a second, of misses and of others each (`controller_rate_limit`); `None` for no limit.
    pub rate_limit: Option<u32>,
    /// Packet-ins at once (`controller_burst_limit`); `None` for a quarter of the rate.
    pub burst_limit: Option<u32>,
}

/// Why the agent gave a connection up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// No version in common.
    Incompatible,
    /// The first message was no HELLO.
    NoHello,
    /// No HELLO in time.
    HandshakeTimeout,
    /// An echo request was not answered in time.
    Inactive,
    /// A length below 8.
    BadStream,
    /// Too much waits that may not be dropped.
    NotReading,
    /// More input than the caller was to give.
    TooMuchInput,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Incompatible => "no OpenFlow version in common",
            Self::NoHello => "the first message was no HELLO",
            Self::HandshakeTimeout => "no HELLO in time",
            Self::Inactive => "an echo request was not answered in time",
            Self::BadStream => "a message with a length below 8",
            Self::NotReading => "the peer does not read",
            Self::TooMuchInput => "more input than there is room for",
        })
    }
}

/// How a connection fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnStatus {
    pub kind: ConnKind,
    /// Once it is agreed.
    pub version: Option<Version>,
    pub role: Role,
    /// When the connection was made, or since HELLO was heard.
    pub since: Now,
    /// HELLO was heard, and the connection isn't being closed.
    pub established: bool,
    /// Packet-ins: of misses, and others.
    pub packet_ins: [PacketInCounters; 2],
}
