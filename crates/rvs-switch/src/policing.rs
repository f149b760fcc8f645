//! Ingress policing: from the columns of an interface to the buckets that the workers charge.
//!
//! A policer is made when what is asked for changes, and only then: a transaction about something else leaves buckets as they
//! are. A port that is policed stays out of the kernel's cache, which has no buckets.

use std::sync::Arc;

use ahash::AHashMap;
use rvs_dpif::{DpCommand, Policer, Policing, WorkerId};
use rvs_flow::DpPort;

use crate::platform::{Platform, PortCounters};
use crate::ports::{Changes, Topology};
use crate::switch::Rim;

/// The policers of open ports.
#[derive(Debug, Default)]
pub(crate) struct Policers(AHashMap<DpPort, (Policing, Arc<Policer>)>);

impl Policers {
    /// Gives workers new policers for ports that want others than they have, and takes away those of ports that are gone.
    pub(crate) fn follow(&mut self, changes: &Changes, topology: &Topology, rim: &mut impl Rim) {
        for dp in &changes.closed {
            if self.0.remove(dp).is_some() {
                tell(*dp, None, rim);
            }
        }
        for iface in changes.ifaces.iter().filter_map(|u| topology.iface(*u)) {
            let Some((dp, _)) = iface.open else { continue };
            let wanted = iface.cfg.policing;
            let has = self.0.get(&dp).map_or(Policing::default(), |(p, _)| *p);
            if has == wanted {
                continue;
            }
            if wanted.is_on() {
                let policer = Arc::new(Policer::new(rim.now(), wanted));
                self.0.insert(dp, (wanted, Arc::clone(&policer)));
                tell(dp, Some(&policer), rim);
            } else if self.0.remove(&dp).is_some() {
                tell(dp, None, rim);
            }
        }
    }

    /// Counters of a port with a device.
    pub(crate) fn counters(&self, dp: DpPort, rim: &mut impl Platform) -> PortCounters {
        let mut c = rim.counters(dp);
        if let Some((_, policer)) = self.0.get(&dp) {
            let dropped = policer.dropped().packets;
            c.rx_policed = Some(dropped);
            if c.rx_dropped != PortCounters::NOT_COUNTED {
                c.rx_dropped += dropped;
            }
        }
        c
    }
}

fn tell(port: DpPort, policer: Option<&Arc<Policer>>, rim: &mut impl Rim) {
    for worker in 0..rim.workers() {
        let policer = policer.cloned();
        rim.command(WorkerId(worker), DpCommand::Police { port, policer });
    }
}
