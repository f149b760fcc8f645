//! From one daemon's life to the next: what decisions were taken from, and the flows that go on by them meanwhile.
//!
//! The kernel carries flows out while no daemon lives. The next one opens the ports under their old numbers, restores the
//! MAC tables of ports that are what they were ([`Switch::resume`]), and judges what is carried out:
//!
//! - by the fresh tables at once, in bridges that switch by themselves;
//! - later, in bridges whose tables come from controllers (`fail_mode` secure, or controllers configured), which are empty
//!   at first: when a client says that they are complete (a controller's first bundle commit, or barrier after a change;
//!   anybody's, where none is configured), when `other_config:flow-restore-wait` is cleared, or when the time is over that the dead daemon's
//!   flows had. Any other configuration than the dead daemon's ends the waiting at once, and these flows with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use rvs_flow::DpPort;
use rvs_l2::{BundleId, FdbKey};
use rvs_packet::{MacAddr, Now, VlanId};
use rvs_pipeline::{BridgeId, Bundle, Ports};
use rvs_slowpath::SlowPath;

use crate::config::FailMode;
use crate::switch::{Rim, Switch};

/// What a daemon leaves for the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Stands for everything configured that flows rest on, port numbers included.
    pub configuration: u64,
    pub bundles: Vec<BundleMemory>,
}

/// What was known of a port of a bridge (a row of table Port).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BundleMemory {
    /// Stands for the bridge, the name, the VLANs and the numbers of the devices.
    pub identity: u64,
    /// Addresses and when they were heard last, the oldest first.
    pub macs: Vec<(VlanId, MacAddr, Now)>,
}

/// Who is to be asked again, and when at the latest.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// Bridges whose tables are not complete, and whether only a controller may say that they are.
    undecided: Vec<(BridgeId, bool)>,
    configuration: u64,
    deadline: Now,
}

/// Whom a judge of left flows may ask.
pub struct Evidence<'a> {
    /// Bridges whose tables are not complete.
    pub undecided: &'a dyn Fn(BridgeId) -> bool,
    /// Whether a port is what it was, so that its flows may teach where addresses are.
    pub trusted: &'a dyn Fn(BridgeId, BundleId) -> bool,
}

impl Waiting {
    /// A client says that the bridge's tables are complete. True when that decides anything.
    pub fn completed(&mut self, bridge: BridgeId, by_controller: bool) -> bool {
        let before = self.undecided.len();
        self.undecided
            .retain(|(id, controllers)| *id != bridge || (*controllers && !by_controller));
        self.undecided.len() < before
    }

    /// Judges what is left. True while anything waits.
    pub fn judge<R: Rim>(&self, slow: &mut SlowPath, rim: &mut R) -> bool {
        let evidence = Evidence {
            undecided: &|bridge| self.undecided.iter().any(|(id, _)| *id == bridge),
            trusted: &|_, _| false,
        };
        rim.judge_left(slow, &evidence) > 0
    }
}

impl<R: Rim> Switch<R> {
    /// Keeps numbers up to `last` for ports that had them: [`crate::platform::Platform::number`].
    pub fn reserve_ports(&mut self, last: DpPort) {
        self.topology.reserve(last);
    }

    /// What the next daemon should know. At most `max` addresses, the youngest.
    pub fn remember(&self, max: usize) -> Memory {
        let slow = self.slow();
        let mut all = Vec::new();
        for bridge in slow.world().bridges() {
            let Some(table) = slow.macs().get(bridge.id) else {
                continue;
            };
            let entries = table.iter().filter(|e| !e.is_static);
            all.extend(entries.map(|e| (e.used, bridge.id, e.port, e.key)));
        }
        all.sort_unstable();
        let surplus = all.len().saturating_sub(max);
        let mut of_bundle = BTreeMap::<_, Vec<_>>::new();
        for (used, bridge, port, key) in all.into_iter().skip(surplus) {
            let macs = of_bundle.entry((bridge, port)).or_default();
            macs.push((key.vlan, key.mac, used));
        }
        let mut bundles = Vec::new();
        for bridge in slow.world().bridges() {
            bundles.extend(bridge.ports.bundles().map(|b| BundleMemory {
                identity: identity(&bridge.name, &bridge.ports, b),
                macs: of_bundle.remove(&(bridge.id, b.id)).unwrap_or_default(),
            }));
        }
        drop(slow);
        Memory {
            configuration: self.configuration(),
            bundles,
        }
    }

    /// Goes on where a dead daemon ended, after [`Self::start`]. Its undecided flows wait until `deadline`.
    pub fn resume(&mut self, memory: &Memory, deadline: Now) {
        let trusted = self.recall(memory);
        let configuration = self.configuration();
        // Where a tree is grown ports begin closed.
        let same = configuration == memory.configuration && !self.has_trees();
        let waiting = Waiting {
            undecided: if same { self.controlled() } else { Vec::new() },
            configuration,
            deadline,
        };
        let evidence = Evidence {
            undecided: &|bridge| waiting.undecided.iter().any(|(id, _)| *id == bridge),
            trusted: &|bridge, port| trusted.contains(&(bridge, port)),
        };
        let mut slow = self
            .slow
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let left = self.rim.judge_left(&mut slow, &evidence);
        drop(slow);
        self.waiting = (left > 0).then_some(waiting);
    }

    /// Whether flows of a dead daemon still wait to be judged.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// `other_config:flow-restore-wait`: somebody is restoring the tables, and will say when they are complete.
    pub const fn is_restoring(&self) -> bool {
        self.restoring
    }

    /// When [`Self::end_waiting_if_due`] has something to do.
    pub fn waiting_until(&self) -> Option<Now> {
        self.waiting.as_ref().map(|w| w.deadline)
    }

    pub fn end_waiting_if_due(&mut self, now: Now) {
        if self.waiting.as_ref().is_some_and(|w| w.deadline <= now) {
            tracing::warn!("flows of the last daemon are judged by what tables there are: nobody said in time that they are complete");
            self.end_waiting();
        }
    }

    /// Judges everything by the tables as they are.
    pub(crate) fn end_waiting(&mut self) {
        let Some(mut waiting) = self.waiting.take() else {
            return;
        };
        waiting.undecided.clear();
        let mut slow = self
            .slow
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        waiting.judge(&mut slow, &mut self.rim);
    }

    /// Ends what waits when anything that it rested on is configured differently.
    pub(crate) fn check_waiting(&mut self) {
        let Some(waiting) = &self.waiting else { return };
        if waiting.configuration != self.configuration() {
            tracing::info!(
                "the configuration has changed: flows of the last daemon are not waited for"
            );
            self.waiting = None;
            self.rim.discard_left();
        }
    }

    pub(crate) fn set_restoring(&mut self, on: bool) {
        if std::mem::replace(&mut self.restoring, on) && !on {
            self.end_waiting();
            self.rim.restored();
        }
    }

    /// Restores MAC tables; the ports that are what they were.
    fn recall(&mut self, memory: &Memory) -> BTreeSet<(BridgeId, BundleId)> {
        let mut slow = self
            .slow
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut trusted = BTreeSet::new();
        let mut macs = Vec::new();
        for bridge in slow.world().bridges() {
            for bundle in bridge.ports.bundles() {
                let known = identity(&bridge.name, &bridge.ports, bundle);
                let Some(old) = memory.bundles.iter().find(|b| b.identity == known) else {
                    continue;
                };
                trusted.insert((bridge.id, bundle.id));
                let all = old.macs.iter();
                macs.extend(
                    all.map(|(vlan, mac, used)| (*used, bridge.id, bundle.id, *vlan, *mac)),
                );
            }
        }
        // Tables keep their entries in the order of age.
        macs.sort_unstable();
        for (used, bridge, port, vlan, mac) in macs {
            let key = FdbKey { vlan, mac };
            slow.recall_mac(bridge, key, port, used, &mut self.rim);
        }
        trusted
    }

    /// Bridges whose tables are somebody else's, and whether controllers are configured.
    fn controlled(&self) -> Vec<(BridgeId, bool)> {
        let configs = self.openflow_configs().into_iter();
        let with = configs.map(|c| {
            let controllers = c.controllers.iter().any(|c| !c.service);
            (c.bridge, controllers, c.fail_mode)
        });
        with.filter(|(_, controllers, fail)| *controllers || *fail == FailMode::Secure)
            .map(|(id, controllers, _)| (id, controllers))
            .collect()
    }

    /// Stands for everything configured that a flow may rest on.
    fn configuration(&self) -> u64 {
        let mut text = format!("{} ", self.vlan_limit);
        for b in self.topology.bridges() {
            let c = &b.cfg;
            let _ = write!(
                text,
                "\nbridge {:?} {:?} {:?} {} {}",
                c.name,
                c.fail_mode,
                c.flood_vlans,
                c.forward_bpdu,
                c.spanning.is_some()
            );
            let mut mirrors: Vec<_> = b.mirrors.iter().map(|m| &m.cfg).collect();
            mirrors.sort_unstable_by_key(|m| m.uuid);
            let _ = write!(text, " {mirrors:?}");
            for p in b.ports.values() {
                let c = &p.cfg;
                let _ = write!(
                    text,
                    "\nport {:?} {:?} {:?} {}",
                    c.name, c.vlan, c.priority_tags, c.protected
                );
                for i in &p.ifaces {
                    let dp = i.open.as_ref().map(|(dp, _)| *dp);
                    let c = &i.cfg;
                    let _ = write!(
                        text,
                        "\n{:?} {:?} {:?} {} {dp:?}",
                        c.name, c.kind, c.peer, i.of_port
                    );
                }
            }
        }
        for c in self.openflow_configs() {
            for target in c.controllers.iter().map(|c| &c.target) {
                let _ = write!(text, "\n{:?} {target:?}", c.name);
            }
        }
        fnv(&text)
    }
}

/// Stands for a port of a bridge as NORMAL knows it.
fn identity(bridge: &str, ports: &Ports, bundle: &Bundle) -> u64 {
    let members = bundle.members.iter().filter_map(|of| ports.get(*of));
    let devices: Vec<_> = members.map(|p| (p.of, p.dp(), &p.name)).collect();
    fnv(&format!(
        "{bridge:?} {:?} {:?} {:?} {} {devices:?}",
        bundle.name, bundle.vlan, bundle.priority_tags, bundle.protected
    ))
}

/// FNV-1a, 64 bits: another version of the daemon may have written it.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    })
}
