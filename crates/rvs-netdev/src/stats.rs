//! Counters of a port. Every way a frame is lost here has its own.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($field:ident: $text:literal;)*) => {
        /// Counters of a port at one moment, seen from the switch: rx is what it received.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct PortStats { $(#[doc = $text] pub $field: u64,)* }

        impl PortStats {
            /// Names and values, in a fixed order.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)*].into_iter()
            }
        }

        /// The living counters behind [`PortStats`].
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub $field: Counter,)* }

        impl Counters {
            pub fn snapshot(&self) -> PortStats {
                PortStats { $($field: self.$field.read(),)* }
            }
        }
    };
}

counters! {
    rx_packets: "Frames received; a super-frame counts as its segments.";
    rx_bytes: "Their octets on a wire, tags included, FCS not.";
    rx_dropped: "Frames that found the receive ring full, or stuck.";
    rx_truncated: "Frames larger than a slot that the kernel had no memory to hand over whole.";
    rx_bad_offload: "Frames whose offload metadata contradict the frame.";
    rx_unknown_gso: "Super-frames of a kind that has no name here.";
    rx_errors: "Receive calls that failed.";
    rx_resets: "Times that a stuck receive ring was replaced.";
    tx_packets: "Frames handed to the device; a super-frame counts as its segments.";
    tx_bytes: "Their octets on a wire, tags included, FCS not.";
    tx_segmented: "Super-frames that were cut here, because the device's interface can't express them.";
    tx_too_big: "Frames larger than the device's MTU allows.";
    tx_cannot_segment: "Super-frames that can be neither expressed nor cut.";
    tx_queue_full: "Frames that found the device's queue or the socket's buffer full.";
    tx_port_down: "Frames for a device that is down or gone.";
    tx_errors: "Frames that the device refused for any other reason.";
}

impl PortStats {
    /// Frames that were lost on their way in.
    pub fn rx_lost(&self) -> u64 {
        self.rx_dropped
            + self.rx_truncated
            + self.rx_bad_offload
            + self.rx_unknown_gso
            + self.rx_errors
    }

    /// Frames that were lost on their way out.
    pub fn tx_lost(&self) -> u64 {
        self.tx_too_big
            + self.tx_cannot_segment
            + self.tx_queue_full
            + self.tx_port_down
            + self.tx_errors
    }
}

/// A statistic: atomic for the sake of its readers, ordered with nothing.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        if n > 0 {
            self.0.fetch_add(n, Ordering::Relaxed);
        }
    }

    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sums_cover_the_counters() {
        let c = Counters::default();
        c.rx_packets.add(3);
        c.tx_too_big.add(2);
        c.tx_errors.add(1);
        let s = c.snapshot();
        assert_eq!((s.rx_packets, s.tx_lost(), s.rx_lost()), (3, 3, 0));
        let named: Vec<_> = s.named().collect();
        assert_eq!(named[0], ("rx_packets", 3));
        assert!(named.contains(&("tx_too_big", 2)));
    }
}
