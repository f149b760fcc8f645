//! Queueing disciplines and their classes (`tc(8)`, `uapi/linux/pkt_sched.h`): as much as shaping with HTB needs.

use super::wire::{attrs, string, u32_at, u64_at, Request};
use super::{Result, Rtnl};

/// Parent of what works on everything that leaves a device (`TC_H_ROOT`).
const ROOT: u32 = u32::MAX;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_STATS2: u16 = 7;
const TCA_STATS_BASIC: u16 = 1;
const TCA_STATS_QUEUE: u16 = 3;
const TCA_STATS_PKT64: u16 = 8;
const TCA_HTB_PARMS: u16 = 1;
const TCA_HTB_INIT: u16 = 2;
const TCA_HTB_RATE64: u16 = 6;
const TCA_HTB_CEIL64: u16 = 7;
/// Rates are of frames of an Ethernet: the kernel needs no table of them.
const LINKLAYER_ETHERNET: u8 = 1;
/// Octets of `struct tcmsg`.
const TCMSG: usize = 20;
/// Nanoseconds in a tick of the packet scheduler.
const TICK_NS: u128 = 64;

/// A queueing discipline at the root of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qdisc {
    pub kind: String,
    /// Major number in the upper half; 0 is one that the kernel made by itself.
    pub handle: u32,
}

/// A class of HTB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HtbClass {
    /// Major number of the discipline, and the class's own.
    pub id: u32,
    pub parent: u32,
    /// Octets a second that it gets, and that it may borrow up to; at least 1.
    pub rate: u64,
    pub ceil: u64,
    /// Octets that may leave at once.
    pub burst: u32,
    /// Classes with smaller numbers borrow first.
    pub priority: u32,
    /// Octets that it may send before the next one's turn.
    pub quantum: u32,
}

/// What a class has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStats {
    pub id: u32,
    pub packets: u64,
    pub bytes: u64,
    pub drops: u64,
}

fn request(kind: u16, flags: i32, index: u32, handle: u32, parent: u32) -> Request {
    let mut request = Request::new(kind, flags);
    let mut head = [0; TCMSG];
    for (at, word) in [(4, index), (8, handle), (12, parent)] {
        head[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    request.raw(&head);
    request
}

impl Rtnl {
    /// What is at the root of a device. `None`: nothing that can be told of (a device without a queue).
    ///
    /// # Errors
    /// The kernel's.
    pub fn root_qdisc(&mut self, index: u32) -> Result<Option<Qdisc>> {
        let mut found = None;
        let ask = request(libc::RTM_GETQDISC, libc::NLM_F_DUMP, 0, 0, 0);
        self.exchange("list queueing disciplines", ask, |m| {
            let at_root = u32_at(m.body, 4) == Some(index) && u32_at(m.body, 12) == Some(ROOT);
            if m.kind == libc::RTM_NEWQDISC && at_root {
                found = Qdisc::parse(m.body);
            }
        })?;
        Ok(found)
    }

    /// Puts HTB with this major number at the root, in place of what is there. Frames without a class go to the one with the
    /// number `default`.
    ///
    /// # Errors
    /// The kernel's, such as `ENOENT` where it has no HTB.
    pub fn set_htb(&mut self, index: u32, handle: u32, default: u32) -> Result<()> {
        let mut ask = change(libc::RTM_NEWQDISC, index, handle, ROOT, "htb");
        let options = ask.nest(TCA_OPTIONS);
        let mut glob = Vec::with_capacity(20);
        // Version, rate to quantum, default class, debug flags, frames sent directly.
        for word in [3, 10, default, 0, 0u32] {
            glob.extend(word.to_ne_bytes());
        }
        ask.attr(TCA_HTB_INIT, &glob);
        ask.end(options);
        self.exchange("set up HTB", ask, |_| {}).map(drop)
    }

    /// Puts a discipline without classes at the root, as the kernel has it when it is told nothing.
    ///
    /// # Errors
    /// As of [`Self::set_htb`].
    pub fn set_qdisc(&mut self, index: u32, handle: u32, kind: &str) -> Result<()> {
        let ask = change(libc::RTM_NEWQDISC, index, handle, ROOT, kind);
        self.exchange("set up a queueing discipline", ask, |_| {})
            .map(drop)
    }

    /// Removes what is at the root; the kernel puts its own there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn delete_root_qdisc(&mut self, index: u32, handle: u32) -> Result<()> {
        let ask = request(libc::RTM_DELQDISC, libc::NLM_F_ACK, index, handle, ROOT);
        self.exchange("remove a queueing discipline", ask, |_| {})
            .map(drop)
    }

    /// Makes a class, or changes it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_htb_class(&mut self, index: u32, class: &HtbClass) -> Result<()> {
        let mut ask = change(libc::RTM_NEWTCLASS, index, class.id, class.parent, "htb");
        let options = ask.nest(TCA_OPTIONS);
        ask.attr(TCA_HTB_PARMS, &class.parameters());
        for (kind, rate) in [(TCA_HTB_RATE64, class.rate), (TCA_HTB_CEIL64, class.ceil)] {
            if rate > u64::from(u32::MAX) {
                ask.attr(kind, &rate.to_ne_bytes());
            }
        }
        ask.end(options);
        self.exchange("set a class", ask, |_| {}).map(drop)
    }

    /// Removes a class; what waits in it is lost.
    ///
    /// # Errors
    /// The kernel's.
    pub fn delete_class(&mut self, index: u32, id: u32) -> Result<()> {
        let ask = request(libc::RTM_DELTCLASS, libc::NLM_F_ACK, index, id, 0);
        self.exchange("remove a class", ask, |_| {}).map(drop)
    }

    /// The classes of a device, with what they have sent.
    ///
    /// # Errors
    /// The kernel's.
    pub fn classes(&mut self, index: u32) -> Result<Vec<ClassStats>> {
        let mut found = Vec::new();
        let ask = request(libc::RTM_GETTCLASS, libc::NLM_F_DUMP, index, 0, 0);
        self.exchange("list classes", ask, |m| {
            if m.kind == libc::RTM_NEWTCLASS && u32_at(m.body, 4) == Some(index) {
                found.extend(ClassStats::parse(m.body));
            }
        })?;
        Ok(found)
    }
}

/// A request to make something, or to change it into this.
fn change(kind: u16, index: u32, handle: u32, parent: u32, name: &str) -> Request {
    let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let mut ask = request(kind, flags, index, handle, parent);
    ask.attr_str(TCA_KIND, name);
    ask
}

impl Qdisc {
    fn parse(body: &[u8]) -> Option<Self> {
        let kind = attrs(body.get(TCMSG..)?).find(|(k, _)| *k == TCA_KIND);
        Some(Self {
            kind: kind.map(|(_, v)| string(v))?,
            handle: u32_at(body, 8)?,
        })
    }
}

impl ClassStats {
    fn parse(body: &[u8]) -> Option<Self> {
        let mut this = Self {
            id: u32_at(body, 8)?,
            ..Self::default()
        };
        let stats = attrs(body.get(TCMSG..)?).find(|(k, _)| *k == TCA_STATS2);
        for (kind, value) in attrs(stats.map_or(&[][..], |(_, v)| v)) {
            match kind {
                TCA_STATS_BASIC => {
                    this.bytes = u64_at(value, 0).unwrap_or(0);
                    this.packets = this.packets.max(u32_at(value, 8).unwrap_or(0).into());
                }
                TCA_STATS_PKT64 => this.packets = u64_at(value, 0).unwrap_or(0),
                // Queue length, backlog, drops, ...
                TCA_STATS_QUEUE => this.drops = u32_at(value, 8).unwrap_or(0).into(),
                _ => {}
            }
        }
        Some(this)
    }
}

impl HtbClass {
    /// `struct tc_htb_opt`: two rates, two buckets, quantum, level, priority.
    fn parameters(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(44);
        for rate in [self.rate, self.ceil] {
            out.extend([0, LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0]);
            let rate = u32::try_from(rate).unwrap_or(u32::MAX);
            out.extend(rate.to_ne_bytes());
        }
        for rate in [self.rate, self.ceil] {
            out.extend(ticks(self.burst, rate).to_ne_bytes());
        }
        for word in [self.quantum, 0, self.priority] {
            out.extend(word.to_ne_bytes());
        }
        out
    }
}

/// How long so many octets take, in the scheduler's ticks.
fn ticks(octets: u32, rate: u64) -> u32 {
    let ns = u128::from(octets) * 1_000_000_000 / u128::from(rate.max(1));
    u32::try_from(ns.div_ceil(TICK_NS)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_told_in_time() {
        // 1,250,000 octets a second: 1,564 of them take 1.2512 ms.
        assert_eq!(ticks(1564, 1_250_000), 19_550);
        assert_eq!(ticks(1, 0), 15_625_000);
        assert_eq!(ticks(u32::MAX, 1), u32::MAX);
    }

    #[test]
    fn parameters_have_the_kernels_length() {
        let class = HtbClass {
            id: 0x1_0001,
            parent: 0x1_fffe,
            rate: 1500,
            ceil: 8 << 30,
            burst: 1564,
            priority: 2,
            quantum: 1500,
        };
        let p = class.parameters();
        assert_eq!(p.len(), 44);
        assert_eq!(
            (u32_at(&p, 8), u32_at(&p, 20)),
            (Some(1500), Some(u32::MAX))
        );
        assert_eq!((u32_at(&p, 32), u32_at(&p, 40)), (Some(1500), Some(2)));
    }

    #[test]
    fn short_messages_are_no_classes() {
        assert_eq!(Qdisc::parse(&[0; 19]), None);
        assert_eq!(ClassStats::parse(&[0; 10]), None);
        let empty = ClassStats::parse(&[0; TCMSG]).unwrap();
        assert_eq!(empty, ClassStats::default());
    }
}
