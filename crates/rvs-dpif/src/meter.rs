//! Meters: bands with a token bucket each ([`crate::bucket`]), which every worker shares.

use std::sync::atomic::{AtomicU64, Ordering};

use rvs_packet::Now;

use crate::bucket::{Bucket, Clock};

/// What a meter's rates and bursts count (`OFPMF_KBPS`, `OFPMF_PKTPS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeterUnit {
    /// Rate in 1,000 bit/s, burst in 1,000 bit.
    Kbps,
    /// Rate in frames/s, burst in frames.
    Pktps,
}

/// What happens to a frame above the band's rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BandKind {
    Drop,
    /// Raises the drop precedence of an assured-forwarding DSCP by so much (OpenFlow 1.3.5 section 5.7.1).
    DscpRemark(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    pub kind: BandKind,
    /// At least 1; a band of rate 0 is always exceeded.
    pub rate: u32,
    /// The bucket's size. `None`: one that suits TCP.
    pub burst: Option<u32>,
}

/// One meter: its configuration, buckets and counters.
#[derive(Debug)]
pub struct Meter {
    unit: MeterUnit,
    clock: Clock,
    bands: Box<[BandState]>,
    packets: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug)]
struct BandState {
    band: Band,
    bucket: Bucket,
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// What to do with a metered frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metered {
    Pass,
    /// Of the bands exceeded, the one with the highest rate says so.
    Exceeds(BandKind),
}

/// Counters of a meter or one of its bands: for a meter what reached it, for a band what it acted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeterCount {
    pub packets: u64,
    pub bytes: u64,
}

impl Meter {
    /// A meter whose buckets are full of tokens.
    pub fn new(now: Now, unit: MeterUnit, bands: &[Band]) -> Self {
        Self {
            unit,
            clock: Clock::started(now),
            bands: bands.iter().map(|b| BandState::new(unit, *b)).collect(),
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Charges one frame of `bytes` octets.
    pub fn charge(&self, now: Now, bytes: u64) -> Metered {
        self.count(1, bytes);
        let at = self.clock.at(now);
        let mut worst: Option<&BandState> = None;
        for b in &self.bands {
            let exceeded = !b.bucket.take(at, 1, bytes);
            if exceeded {
                b.bucket.deepen(at);
            }
            if exceeded && worst.is_none_or(|w| b.band.rate > w.band.rate) {
                worst = Some(b);
            }
        }
        let Some(b) = worst else {
            return Metered::Pass;
        };
        b.packets.fetch_add(1, Ordering::Relaxed);
        b.bytes.fetch_add(bytes, Ordering::Relaxed);
        Metered::Exceeds(b.band.kind)
    }

    /// Charges a super-frame of `packets` frames and `bytes` octets together if every band covers it whole. False, and
    /// nothing charged or counted, if one does not: then its segments are charged one by one.
    pub fn charge_whole(&self, now: Now, packets: u64, bytes: u64) -> bool {
        let at = self.clock.at(now);
        for (i, b) in self.bands.iter().enumerate() {
            if !b.bucket.take(at, packets, bytes) {
                for b in &self.bands[..i] {
                    b.bucket.give_back(packets, bytes);
                }
                return false;
            }
        }
        self.count(packets, bytes);
        true
    }

    /// What reached the meter.
    pub fn total(&self) -> MeterCount {
        MeterCount {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// The bands in the order given, with what each acted on.
    pub fn bands(&self) -> impl Iterator<Item = (Band, MeterCount)> + '_ {
        self.bands.iter().map(|b| {
            let count = MeterCount {
                packets: b.packets.load(Ordering::Relaxed),
                bytes: b.bytes.load(Ordering::Relaxed),
            };
            (b.band, count)
        })
    }

    pub const fn unit(&self) -> MeterUnit {
        self.unit
    }

    /// When the meter was made.
    pub const fn made(&self) -> Now {
        self.clock.start()
    }

    fn count(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl BandState {
    /// A bucket that is full of tokens.
    fn new(unit: MeterUnit, band: Band) -> Self {
        Self {
            band,
            bucket: match band.burst {
                Some(burst) => Bucket::strict(unit, band.rate, burst),
                None => Bucket::usual(unit, band.rate),
            },
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }
}

/// `tos` (DSCP and ECN) with the drop precedence of an assured-forwarding class raised by `levels`, at most to 3
/// (RFC 2597 section 6). Other code points have no precedence and stay.
pub const fn remark_dscp(tos: u8, levels: u8) -> u8 {
    let (class, precedence, low) = (tos >> 5, (tos >> 3) & 3, (tos >> 2) & 1);
    if class == 0 || class > 4 || precedence == 0 || low != 0 {
        return tos;
    }
    let raised = precedence.saturating_add(levels);
    let raised = if raised > 3 { 3 } else { raised };
    (tos & !0x18) | (raised << 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop_at(rate: u32, burst: u32) -> Band {
        Band {
            kind: BandKind::Drop,
            rate,
            burst: Some(burst),
        }
    }

    fn drop_without_burst(rate: u32) -> Band {
        Band {
            burst: None,
            ..drop_at(rate, 0)
        }
    }

    /// Frames that pass when `bytes`-octet frames come every `gap` ns for `total` ns.
    fn passed(m: &Meter, bytes: u64, gap: u64, total: u64) -> u64 {
        let at = (0..total / gap).map(|i| Now(5_000_000_000 + i * gap));
        at.filter(|now| m.charge(*now, bytes) == Metered::Pass)
            .count() as u64
    }

    #[test]
    fn never_more_than_rate_times_time_and_burst() {
        for (rate, burst, bytes) in [(1000, 100, 1500), (64, 20, 64), (100_000, 50, 1500)] {
            let m = Meter::new(Now(5_000_000_000), MeterUnit::Kbps, &[drop_at(rate, burst)]);
            let total = 2_000_000_000;
            let bits = passed(&m, bytes, 10_000, total) * bytes * 8;
            let allowed = u64::from(rate) * 2000 + u64::from(burst) * 1000;
            assert!(bits <= allowed, "{bits} of {allowed}");
            assert!(
                bits + 2 * bytes * 8 > allowed * 99 / 100,
                "{bits} of {allowed}"
            );
        }
    }

    #[test]
    fn frames_per_second_at_the_cap_and_around_it() {
        let m = Meter::new(Now(0), MeterUnit::Pktps, &[drop_at(1000, 10)]);
        let burst = (0..200).filter(|_| m.charge(Now(0), 9000) == Metered::Pass);
        assert_eq!(burst.count(), 10);
        assert_eq!(m.charge(Now(999_999), 60), Metered::Exceeds(BandKind::Drop));
        assert_eq!(m.charge(Now(1_000_000), 60), Metered::Pass);
        assert_eq!(m.total().packets, 202);
        let bands: Vec<_> = m.bands().collect();
        assert_eq!(bands[0].1.packets, 191);
    }

    #[test]
    fn extreme_rates_neither_overflow_nor_stick() {
        for unit in [MeterUnit::Kbps, MeterUnit::Pktps] {
            let never = Meter::new(Now(0), unit, &[drop_at(0, 0)]);
            assert_eq!(never.charge(Now(1), 64), Metered::Exceeds(BandKind::Drop));
            let fast = Meter::new(Now(0), unit, &[drop_at(u32::MAX, u32::MAX)]);
            assert_eq!(fast.charge(Now(u64::MAX), 65_535), Metered::Pass);
            let slow = Meter::new(Now(0), unit, &[drop_at(1, u32::MAX)]);
            assert_eq!(slow.charge(Now(0), 65_535), Metered::Pass);
        }
        assert_eq!(
            Meter::new(Now(0), MeterUnit::Kbps, &[]).charge(Now(0), 1),
            Metered::Pass
        );
    }

    #[test]
    fn the_highest_band_exceeded_decides() {
        let remark = Band {
            kind: BandKind::DscpRemark(1),
            rate: 10,
            burst: Some(2),
        };
        let m = Meter::new(Now(0), MeterUnit::Pktps, &[remark, drop_at(20, 4)]);
        let seen: Vec<_> = (0..5).map(|_| m.charge(Now(0), 60)).collect();
        let mark = Metered::Exceeds(BandKind::DscpRemark(1));
        let dropped = Metered::Exceeds(BandKind::Drop);
        assert_eq!(seen, [Metered::Pass, Metered::Pass, mark, mark, dropped]);
    }

    #[test]
    fn a_super_frame_is_charged_whole_or_not_at_all() {
        let m = Meter::new(
            Now(0),
            MeterUnit::Pktps,
            &[drop_at(10, 40), drop_at(10, 30)],
        );
        assert!(!m.charge_whole(Now(0), 31, 40_000));
        assert_eq!(m.total(), MeterCount::default());
        assert!(
            m.charge_whole(Now(0), 30, 40_000),
            "the refusal took nothing"
        );
        assert!(!m.charge_whole(Now(0), 1, 1500));
        assert_eq!(m.total().packets, 30);
    }

    #[test]
    fn workers_share_one_bucket() {
        let m = Meter::new(Now(0), MeterUnit::Pktps, &[drop_at(1, 1000)]);
        let count = || {
            (0..2000)
                .filter(|_| m.charge(Now(0), 60) == Metered::Pass)
                .count()
        };
        let passed: usize = std::thread::scope(|s| {
            let workers: Vec<_> = (0..4).map(|_| s.spawn(count)).collect();
            workers.into_iter().map(|w| w.join().unwrap_or(0)).sum()
        });
        assert_eq!(passed, 1000);
    }

    const SECOND: u64 = 1_000_000_000;

    /// Bits in ten seconds from idle against ten seconds of the rate, in hundredths of a percent.
    fn share(bits: u64, rate: u32) -> u64 {
        bits * 10_000 / (u64::from(rate) * 1000 * 10)
    }

    #[test]
    fn without_a_burst_ten_seconds_from_idle_keep_the_rate() {
        for rate in [2_000, 20_000, 100_000, 500_000] {
            let m = Meter::new(Now(0), MeterUnit::Kbps, &[drop_without_burst(rate)]);
            // Twice the rate in frames of 1,500 octets, for ten seconds, three times.
            let gap = 1500 * 8 * SECOND / (u64::from(rate) * 1000) / 2;
            for (start, silence) in [(1, "new"), (12, "two seconds"), (30, "eight seconds")] {
                let start = Now(start * SECOND);
                // What comes first is little: a ping, a connection.
                m.charge(start, 98);
                let start = start.0 + SECOND / 2;
                let frames = (0..10 * SECOND / gap).map(|i| Now(start + i * gap));
                let passed = frames.filter(|at| m.charge(*at, 1500) == Metered::Pass);
                let share = share(passed.count() as u64 * 1500 * 8, rate);
                assert!(
                    (9_990..=10_200).contains(&share),
                    "{rate} after {silence}: {share}"
                );
            }
        }
    }

    /// A TCP near by: it doubles what it has under way until something is lost, and with the tail lost it is silent for a
    /// retransmission timeout.
    #[test]
    fn without_a_burst_a_sender_that_pauses_after_losses_gets_the_rate() {
        for rate in [20_000, 100_000, 500_000] {
            let m = Meter::new(Now(0), MeterUnit::Kbps, &[drop_without_burst(rate)]);
            let strict = Meter::new(Now(0), MeterUnit::Kbps, &[drop_at(rate, rate / 10)]);
            let run = |m: &Meter| {
                let (mut at, mut window, mut passed) = (SECOND, 10u64, 0u64);
                while at < 11 * SECOND {
                    let through = (0..window)
                        .filter(|_| m.charge(Now(at), 1500) == Metered::Pass)
                        .count() as u64;
                    passed += through;
                    at += 100_000;
                    if through == window {
                        window *= 2;
                    } else {
                        window = 10;
                        at += 204_000_000;
                    }
                }
                share(passed * 1500 * 8, rate)
            };
            let share = run(&m);
            assert!((9_700..=10_200).contains(&share), "{rate}: {share}");
            assert!(run(&strict) < 7_000);
        }
    }

    #[test]
    fn a_bucket_is_deep_only_after_an_excess() {
        // A tenth of a second at 1,000 frames/s.
        let m = Meter::new(Now(0), MeterUnit::Pktps, &[drop_without_burst(1000)]);
        let burst = |at: u64| {
            let all = (0..2000).filter(|_| m.charge(Now(at), 60) == Metered::Pass);
            all.count()
        };
        assert_eq!(burst(5 * SECOND), 100);
        // After an excess nothing of a short silence is lost.
        assert_eq!(burst(5 * SECOND + 250_000_000), 250);
        assert_eq!(burst(5 * SECOND + 450_000_000), 200);
        // Of a longer one all but a tenth is.
        assert_eq!(burst(5 * SECOND + 720_000_000), 100);
        // One frame now and then is no silence, but a second after the excess the bucket is as before.
        let later = 5 * SECOND + 720_000_000;
        for i in 1..=15 {
            m.charge(Now(later + i * 70_000_000), 60);
        }
        assert_eq!(burst(later + 1_050_000_000), 99);
        // A frame too many for a bucket that is not even empty does not fill it.
        let large = Meter::new(Now(0), MeterUnit::Kbps, &[drop_without_burst(1000)]);
        assert_eq!(
            large.charge(Now(SECOND), 60_000),
            Metered::Exceeds(BandKind::Drop)
        );
        let frames = (0..100).filter(|_| large.charge(Now(SECOND), 1250) == Metered::Pass);
        assert_eq!(frames.count(), 10);
    }

    #[test]
    fn low_rates_without_a_burst_let_whole_frames_pass() {
        let m = Meter::new(Now(0), MeterUnit::Kbps, &[drop_without_burst(1)]);
        let passes = |at: u64| m.charge(Now(at * SECOND), 1518) == Metered::Pass;
        assert_eq!([0, 0, 0, 13].map(passes), [true, true, false, true]);
        for (rate, burst) in [(1, 1), (5, 5), (50, 10), (1000, 100)] {
            let m = Meter::new(Now(0), MeterUnit::Pktps, &[drop_without_burst(rate)]);
            let passed = (0..500).filter(|_| m.charge(Now(0), 60) == Metered::Pass);
            assert_eq!(passed.count(), burst);
        }
    }

    #[test]
    fn remarking_stays_inside_the_class() {
        // AF11, AF12, AF13 with ECN 1, then what has no precedence.
        assert_eq!(remark_dscp(0x28 | 1, 1), 0x30 | 1);
        assert_eq!(remark_dscp(0x30, 1), 0x38);
        assert_eq!(remark_dscp(0x38, 3), 0x38);
        for tos in [0x00, 0xb8, 0x20, 0xc0, 0xff] {
            assert_eq!(remark_dscp(tos, 2), tos);
        }
    }
}
