//! Queues at the egress of ports: HTB, where the database asks for it (tables QoS and Queue).
//!
//! **Whose is it?** A discipline at the root of a device is ours when it is HTB with the major number 1 and has the class
//! `1:fffe`, of which the queues are children: nobody else builds that (but Open vSwitch, whose place we take). One that the
//! kernel made by itself has the major number 0 and may be replaced. Everything else is somebody else's: it stays, and a port
//! that asks for queues says so.
//!
//! **Queues.** Queue `n` is the class `1:(n + 1)`. A frame is sorted into it by its priority, which HTB compares with the
//! numbers of its classes; what has none belongs to queue 0. A change is made class by class, while traffic flows.

use std::collections::BTreeMap;

use rvs_flow::DpPort;
use rvs_netdev::rtnl::{ClassStats, HtbClass, LinkRef};
use rvs_packet::Now;
use rvs_pipeline::queue_priority;
use rvs_switch::platform::QueueCounters;
use rvs_switch::qos::{Qos, QosKind, Queue};

use crate::clock;
use crate::devices::{Base, Device, Devices};

/// Major number of the discipline, and the class above all queues.
const HANDLE: u32 = 0x1_0000;
const ABOVE: u32 = 0x1_fffe;
const DEFAULT: u32 = 1;
/// What a port without a rate of its own is taken for: 10 Gbit/s, as its speed is told.
const USUAL_RATE: u64 = 10_000_000_000;
/// HTB can't do less, in octets a second.
const LEAST_RATE: u64 = 1500;
/// What stands around a packet of the MTU's size.
const HEADERS: u32 = 64;

/// What was set up at a port.
#[derive(Debug, Default)]
pub(super) struct Applied {
    qos: Option<Qos>,
    classes: BTreeMap<u32, (HtbClass, Now)>,
}

impl Devices {
    /// Makes the discipline at a port's egress what is asked for, as far as it is ours. What is in the way is told.
    pub(super) fn set_queues(&mut self, dp: DpPort) {
        let Some(device) = self.open.get(&dp) else {
            return;
        };
        let (index, mtu) = (device.base.index(), device.link.mtu);
        let wanted = device.spec.qos.clone();
        let has_egress = !matches!(device.base, Base::Tap { .. });
        let name = device.spec.name.clone();
        let mut applied = match self.open.get_mut(&dp) {
            Some(device) => std::mem::take(&mut device.queues),
            None => return,
        };
        let done = match &wanted {
            None => self.leave_queues(index, &applied),
            // What is ours goes once; from then on nothing is touched.
            Some(qos) if qos.kind == QosKind::Noop => {
                let is_new = applied.qos.as_ref().is_none_or(|q| q.kind != QosKind::Noop);
                match is_new {
                    true => self.leave_queues(index, &applied),
                    false => Ok(()),
                }
            }
            Some(_) if !has_egress => {
                Err("what the switch sends into a tap passes no queue".to_owned())
            }
            Some(qos) => self.build_queues(index, mtu, qos, &mut applied),
        };
        applied.qos = wanted.filter(|_| done.is_ok());
        if applied.qos.as_ref().is_none_or(|q| q.kind == QosKind::Noop) {
            applied.classes.clear();
        }
        if let Some(device) = self.open.get_mut(&dp) {
            device.queues = applied;
            device.no_queues = done.err().map(|why| format!("{name} has no queues: {why}"));
        }
    }

    /// Removes what is ours.
    fn leave_queues(&mut self, index: u32, applied: &Applied) -> Result<(), String> {
        match self.whose(index, applied, None)? {
            Whose::Ours(_) => {
                let removed = self.rtnl.delete_root_qdisc(index, HANDLE);
                removed.map_err(|e| e.to_string())
            }
            Whose::Nobody | Whose::Somebody(_) => Ok(()),
        }
    }

    fn build_queues(
        &mut self,
        index: u32,
        mtu: u32,
        qos: &Qos,
        applied: &mut Applied,
    ) -> Result<(), String> {
        let whose = self.whose(index, applied, Some(qos))?;
        if let Whose::Somebody(what) = whose {
            return Err(format!(
                "the queueing discipline {what} on it is somebody else's (tc qdisc del dev DEVICE root)"
            ));
        }
        let text = |e: rvs_netdev::rtnl::RtnlError| match e.errno() {
            Some(nix::libc::ENOENT) => format!("this kernel has no {}", qos.kind.name()),
            _ => e.to_string(),
        };
        let fresh = match &whose {
            Whose::Ours(kind) => qos.kind.name().strip_prefix("linux-") != Some(kind),
            _ => true,
        };
        if fresh {
            applied.classes.clear();
            if whose != Whose::Nobody {
                let _ = self.rtnl.delete_root_qdisc(index, HANDLE);
            }
        }
        match &qos.kind {
            QosKind::Htb => {
                if fresh {
                    self.rtnl.set_htb(index, HANDLE, DEFAULT).map_err(text)?;
                }
                self.build_classes(index, &classes(qos, mtu), applied)
                    .map_err(text)
            }
            QosKind::Plain(kind) if fresh => self.rtnl.set_qdisc(index, HANDLE, kind).map_err(text),
            QosKind::Plain(_) | QosKind::Noop => Ok(()),
            QosKind::Unknown(kind) => Err(format!("there is no QoS type {kind}")),
        }
    }

    /// By difference: classes that are as they are to be are not touched.
    fn build_classes(
        &mut self,
        index: u32,
        wanted: &[HtbClass],
        applied: &mut Applied,
    ) -> rvs_netdev::rtnl::Result<()> {
        for class in wanted {
            let now = clock::now();
            let had = applied.classes.get(&class.id);
            if had.is_some_and(|(old, _)| old == class) {
                continue;
            }
            let since = had.map_or(now, |(_, since)| *since);
            self.rtnl.set_htb_class(index, class)?;
            applied.classes.insert(class.id, (*class, since));
        }
        let stays = |id: u32| wanted.iter().any(|c| c.id == id);
        for class in self.rtnl.classes(index)? {
            if class.id & 0xffff_0000 == HANDLE && !stays(class.id) {
                self.rtnl.delete_class(index, class.id)?;
                applied.classes.remove(&class.id);
            }
        }
        Ok(())
    }

    /// A discipline without queues bears no sign of ours: it is taken for ours when it is what was set up, or, by a daemon that
    /// has set up nothing yet, what it is to set up.
    fn whose(
        &mut self,
        index: u32,
        applied: &Applied,
        wanted: Option<&Qos>,
    ) -> Result<Whose, String> {
        let at = LinkRef { index, nsid: None };
        let link = self.rtnl.link(at).map_err(|e| e.to_string())?;
        // Asking for more takes a look at all devices.
        if link.is_none_or(|l| l.qdisc.is_none_or(|q| q == "noqueue")) {
            return Ok(Whose::Nobody);
        }
        let root = self.rtnl.root_qdisc(index).map_err(|e| e.to_string())?;
        let Some(root) = root.filter(|r| r.handle != 0) else {
            return Ok(Whose::Nobody);
        };
        let plain = applied.qos.as_ref().or(wanted).map(|q| &q.kind);
        let is_ours = root.handle == HANDLE
            && match plain {
                Some(QosKind::Plain(kind)) if *kind == root.kind => true,
                _ => {
                    let classes = self.rtnl.classes(index).map_err(|e| e.to_string())?;
                    root.kind == "htb" && classes.iter().any(|c| c.id == ABOVE)
                }
            };
        Ok(match is_ours {
            true => Whose::Ours(root.kind),
            false => Whose::Somebody(format!("{} {:x}:", root.kind, root.handle >> 16)),
        })
    }

    /// The port goes, and what is ours with it.
    pub(super) fn end_queues(&mut self, device: &Device) {
        if device.queues.qos.is_none() {
            return;
        }
        if let Err(e) = self.leave_queues(device.base.index(), &device.queues) {
            tracing::warn!("{}: {e}", device.spec.name);
        }
    }

    /// What was set up at a port, and its queues.
    pub fn queues_of(
        &self,
        dp: DpPort,
    ) -> Option<(&Qos, impl Iterator<Item = (u32, HtbClass)> + '_)> {
        let applied = &self.open.get(&dp)?.queues;
        let queues = applied.classes.values().map(|(class, _)| *class);
        let queues = queues.filter(|c| c.id != ABOVE);
        Some((
            applied.qos.as_ref()?,
            queues.map(|c| ((c.id & 0xffff) - 1, c)),
        ))
    }

    /// What the queues of a port have sent.
    pub(super) fn queue_counters(&mut self, dp: DpPort) -> Vec<QueueCounters> {
        let Some(device) = self.open.get(&dp) else {
            return Vec::new();
        };
        let classes = &device.queues.classes;
        if classes.is_empty() {
            return Vec::new();
        }
        let found = self.rtnl.classes(device.base.index()).unwrap_or_default();
        let told = found.iter().filter_map(|c: &ClassStats| {
            let (_, since) = classes.get(&c.id).filter(|_| c.id != ABOVE)?;
            Some(QueueCounters {
                queue: (c.id & 0xffff) - 1,
                tx_packets: c.packets,
                tx_bytes: c.bytes,
                tx_dropped: c.drops,
                since: Some(*since),
            })
        });
        let mut all: Vec<_> = told.collect();
        all.sort_by_key(|c| c.queue);
        all
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Whose {
    Nobody,
    /// And of this kind.
    Ours(String),
    Somebody(String),
}

/// The classes of a port: the one above all, then its queues.
fn classes(qos: &Qos, mtu: u32) -> Vec<HtbClass> {
    let octets = |bits: u64| (bits / 8).max(LEAST_RATE);
    let all = octets(qos.max_rate.unwrap_or(USUAL_RATE));
    let burst = mtu.saturating_add(HEADERS);
    let above = HtbClass {
        id: ABOVE,
        parent: HANDLE,
        rate: all,
        ceil: all,
        burst,
        priority: 0,
        quantum: mtu,
    };
    let queue = |(n, q): (&u32, &Queue)| {
        let id = queue_priority(*n)?;
        let rate = q.min_rate.map_or(LEAST_RATE, octets).min(all);
        let asked = u32::try_from(q.burst.unwrap_or(0) / 8).unwrap_or(u32::MAX);
        Some(HtbClass {
            id,
            parent: ABOVE,
            rate,
            ceil: q.max_rate.map_or(all, octets).clamp(rate, all),
            burst: asked.max(burst),
            priority: q.priority,
            quantum: mtu,
        })
    };
    std::iter::once(above)
        .chain(qos.queues.iter().filter_map(queue))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_stay_within_their_port() {
        let queue = |min: u64, max: u64| Queue {
            min_rate: Some(min),
            max_rate: Some(max),
            burst: None,
            priority: 3,
            dscp: None,
        };
        let qos = Qos {
            kind: QosKind::Htb,
            max_rate: Some(10_000_000),
            queues: [
                (0, Queue::default()),
                (5, queue(4_000_000, 80_000_000)),
                (6, queue(0, 1)),
            ]
            .into(),
        };
        let all = classes(&qos, 1500);
        let told: Vec<_> = all.iter().map(|c| (c.id, c.rate, c.ceil)).collect();
        assert_eq!(
            told,
            [
                (ABOVE, 1_250_000, 1_250_000),
                (0x1_0001, 1500, 1_250_000),
                (0x1_0006, 500_000, 1_250_000),
                (0x1_0007, 1500, 1500),
            ]
        );
        assert!(all.iter().all(|c| c.burst == 1564));
        assert_eq!((all[2].priority, all[2].parent), (3, ABOVE));
    }
}
