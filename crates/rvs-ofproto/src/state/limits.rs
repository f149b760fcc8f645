//! What a bridge holds at most. At a limit there is an error for whoever asked, and nothing has changed.

/// Limits of one bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Flows of all tables together; a table can be given less.
    pub flows: usize,
    pub groups: usize,
    /// Buckets of one group.
    pub buckets: usize,
    /// Groups that a packet may pass one after another.
    pub chain: usize,
    pub meters: usize,
    /// Bands of one meter.
    pub bands: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A million of a controller's, and some of the switch's own.
            flows: 1 << 20,
            groups: 65_536,
            buckets: 256,
            chain: 16,
            meters: 65_536,
            bands: 8,
        }
    }
}

/// Flows that a table is said to hold, as Open vSwitch says of its tables.
pub(super) const TOLD: usize = 1_000_000;

/// Rule changes that are named one by one. With more of them, everything is said to have changed: judging every cached flow
/// by each of them would take longer than translating all flows anew.
pub(super) const CHANGES: usize = 1024;

/// Rules that are changed under one lock, and looked at in one slice of a dump: between them packets get their turn.
pub(super) const SLICE: usize = 1024;

/// Flows of the bridge from which on a modification of any number of them is made in slices.
pub(crate) const MANY: usize = 1024;

/// Flows that making room for one puts back at most, because they were used since they were put in their places. Then whoever is
/// first goes; the next eviction goes on with the sorting.
pub(super) const LOOKS: usize = 256;

/// Flows that one call of `expire` looks at.
pub(super) const EXPIRIES: usize = 4096;

/// Flows with thresholds that one call of `watch_statistics` looks at: a millisecond or two.
pub(super) const LOOKED_AT: usize = 4096;

/// Flows of learn actions that wait for the end of a change in slices. One more ends it at once.
pub(super) const LESSONS: usize = 8192;

/// Changes of flows that making a learned flow counts as: it is published by itself.
pub(super) const LESSON: usize = 16;

/// Rules that one call of `tidy` forgets: a millisecond or two.
pub(super) const PURGES: usize = 1024;

/// Changes of flows that running a frame of a controller's through the pipeline counts as.
pub(super) const PACKET_OUT: usize = 8;
