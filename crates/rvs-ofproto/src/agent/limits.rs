//! Every cap of an agent in one place. At a cap there is a counter, a log line or the protocol's own error, and nobody
//! else's work suffers.

use std::time::Duration;

/// Octets that wait to be sent on a connection above which it takes no more requests.
pub const REPLY_BACKLOG: usize = 1 << 20;

/// Octets of input that wait on a connection above which [`super::Agent::wants_input`] says no.
pub const INPUT_BACKLOG: usize = 1 << 20;

/// Octets of waiting input at which a connection is closed whose caller doesn't ask [`super::Agent::wants_input`].
pub const INPUT_MAX: usize = 4 << 20;

/// Octets that wait to be sent at which a connection is closed: what it is told unasked (flows removed, ports changed) may
/// not be lost, and it does not read. A million flows that are deleted at once, and told of, come close.
pub const EVENT_BACKLOG: usize = 128 << 20;

/// Changes that wait while a flow monitor's flows are still being listed; beyond them the connection is closed.
pub const MONITOR_HELD: usize = 16_384;

/// Octets of packet-ins that wait on a connection.
pub const PACKET_IN_BACKLOG: usize = 1 << 20;

/// Packet-ins join the other messages only while fewer octets than these wait, so that replies don't queue behind them.
pub const PACKET_IN_WINDOW: usize = 64 << 10;

/// Octets that wait to be sent above which flow monitors pause.
pub const MONITOR_BACKLOG: usize = 128 << 10;

/// Flow monitors of a connection.
pub const MONITORS: usize = 16;

/// Bundles of a connection.
pub const BUNDLES: usize = 8;

/// Messages in all bundles of an agent.
pub const BUNDLE_MESSAGES: usize = 1 << 20;

/// Octets of messages in all bundles of an agent. A flow to add takes about 250 octets more, which become the flow's at the commit.
pub const BUNDLE_OCTETS: usize = 128 << 20;

/// How long a bundle is kept that nothing is added to, unless the switch is told otherwise.
pub const BUNDLE_IDLE: Duration = Duration::from_secs(10);

/// `miss_send_len` of a connection that hears events and has not chosen (`OFP_DEFAULT_MISS_SEND_LEN`). Frames are sent whole.
pub const MISS_SEND_LEN: u16 = 128;

/// How long a peer may take to say HELLO.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// Messages of a connection that are handled in a turn, and their octets, which stand for the time they take: about a
/// millisecond. Messages for bundles, which are only put aside, count as one in so many.
pub const TURN_MESSAGES: usize = 50;
pub const ASIDE: usize = 8;
pub const TURN_OCTETS: usize = 128 << 10;

/// Flows that a change in slices touches in a turn: two to five milliseconds.
pub const TURN_CHANGES: usize = 1024;

/// Messages of discarded bundles that are forgotten in a turn: a millisecond.
pub const TURN_FORGOTTEN: usize = 4096;

/// Entries of a long reply that are written in a turn: about two milliseconds.
pub const TURN_ENTRIES: usize = 1000;

/// Paused translations of an agent, and how long each is kept.
pub const CONTINUATIONS: usize = 1024;
pub const CONTINUATION_AGE: Duration = Duration::from_secs(30);

/// Lines a second that a connection's errors may write to the log.
pub const LOG_PER_SECOND: u32 = 5;
