//! Every bound of the slow path, with its default.

use std::time::Duration;

use rvs_dpif::limits::MASKS_PER_PORT;

/// Bounds of the cache as the slow path fills it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Installed flows over all ports (`other_config:flow-limit`).
    pub flows: usize,
    /// Once the table is 90 % full, no port may hold more than this share of it, in percent.
    pub port_share: usize,
    /// Distinct masks of one input port from which prefixes are rounded up to whole octets.
    pub masks_coarse: usize,
    /// Distinct masks of one input port; further flows are installed with an exact mask.
    pub masks: usize,
    /// Flows that one change may have translated afresh; when it concerns more, they are removed and asked for again.
    pub retranslations: usize,
    /// An entry that carried nothing for this long is removed (`other_config:max-idle`).
    pub max_idle: Duration,
    /// How often statistics are collected and idle entries sought while there are entries.
    pub sweep_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows: 200_000,
            port_share: 50,
            masks_coarse: 32,
            masks: MASKS_PER_PORT - 1,
            retranslations: 2_000,
            max_idle: Duration::from_secs(10),
            sweep_every: Duration::from_millis(500),
        }
    }
}
