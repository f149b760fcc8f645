//! Statistics that a flow tells unasked (OpenFlow 1.5 section 5.5, Stat-Trigger).

use std::time::Duration;

/// When a flow's statistics are sent to controllers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StatTrigger {
    /// At every multiple of a threshold, not at the threshold alone.
    pub periodic: bool,
    /// The threshold that is crossed first is the only one that counts.
    pub only_first: bool,
    pub thresholds: Box<[Threshold]>,
}

/// A value that a statistic crosses; none is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Threshold {
    /// Since the flow was added.
    Duration(Duration),
    /// Since the last packet.
    Idle(Duration),
    Packets(u64),
    Bytes(u64),
}

impl Threshold {
    /// In nanoseconds, packets or octets.
    pub fn value(self) -> u64 {
        match self {
            Self::Duration(t) | Self::Idle(t) => u64::try_from(t.as_nanos()).unwrap_or(u64::MAX),
            Self::Packets(n) | Self::Bytes(n) => n,
        }
    }
}

impl StatTrigger {
    /// Thresholds of one flow.
    pub const MAX: usize = 16;

    /// # Errors
    /// Why it can't be, in words.
    pub fn check(&self) -> Result<(), String> {
        let n = self.thresholds.len();
        if n == 0 || n > Self::MAX {
            return Err(format!("{n} thresholds; there are 1 to {}", Self::MAX));
        }
        if self.thresholds.iter().any(|t| t.value() == 0) {
            return Err("a threshold of 0, which nothing crosses".to_owned());
        }
        Ok(())
    }
}
