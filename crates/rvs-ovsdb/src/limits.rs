//! Every bound of this crate in one place; [`Limits`] holds those that an owner may change.

/// Nesting of JSON arrays and objects that is still parsed; deeper input ends the session.
pub const MAX_JSON_DEPTH: usize = 64;
/// Bytes of one JSON-RPC message; a longer one ends the session.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Bytes of one message that a client takes from the server it chose: the reply to a monitor holds all it asked for.
pub const MAX_REPLY_BYTES: usize = 256 << 20;
/// Bytes of the largest log record that is read back (a snapshot of the whole database is one record).
pub const MAX_RECORD_BYTES: usize = 256 << 20;
/// Committed transactions kept for clients that reconnect with `monitor_cond_since`.
pub const MAX_HISTORY: usize = 100;
/// Changed rows that the kept transactions may hold together.
pub const MAX_HISTORY_ROWS: usize = 2_000;
/// Below this size (bytes) a log is never compacted.
pub const MIN_COMPACT_BYTES: u64 = 64 << 10;

/// Bounds on what clients may ask of a server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sessions open at once.
    pub sessions: usize,
    /// Monitors of one session.
    pub monitors: usize,
    /// Transactions of one session that wait for a `wait` operation.
    pub parked: usize,
    /// Locks that one session holds or waits for.
    pub locks: usize,
    /// Operations of one transaction.
    pub operations: usize,
    /// Bytes of unsent output at which a session that has a monitor is dropped.
    pub backlog: usize,
    /// Bytes of unsent output at which no further request of the session is read.
    pub pause: usize,
    /// Bytes of JSON that the results of one transaction may take.
    pub results: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            sessions: 256,
            monitors: 64,
            parked: 64,
            locks: 64,
            operations: 10_000,
            backlog: 8 << 20,
            pause: 1 << 20,
            results: 64 << 20,
        }
    }
}
