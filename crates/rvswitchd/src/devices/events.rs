//! What happens to devices without us: they come, change, move and go.

use rvs_flow::DpPort;
use rvs_netdev::internal::Internal;
use rvs_netdev::rtnl::{Event, Link, LinkRef};
use rvs_switch::platform::{LinkInfo, PortEvent};

use crate::devices::way::Way;
use crate::devices::{info, Base, Device, Devices};
use crate::worker::Order;

impl Devices {
    /// What an event of the kernel means for the switch.
    pub fn interpret(&mut self, event: Event, out: &mut Vec<PortEvent>) {
        match event {
            Event::Changed(link) => self.link_changed(&link, out),
            Event::Removed(link) => self.link_removed(&link, out),
            Event::Queueing(index) => {
                let found = self.open.iter().find(|(_, d)| d.base.index() == index);
                // Whether a port may come in is looked at in time: trying it makes such events itself.
                match found.map(|(dp, d)| (*dp, &d.way)) {
                    Some((dp, Way::Kernel(_))) => self.changed.extend([dp]),
                    Some((dp, Way::Own { guard: Some(_), .. })) => self.give_drop(dp),
                    _ => {}
                }
            }
            Event::Resync => {
                let Ok(links) = self.rtnl.links() else { return };
                let here: Vec<u32> = links.iter().map(|l| l.index).collect();
                let gone = self
                    .open
                    .iter()
                    .filter(|(_, d)| !here.contains(&d.base.index()));
                out.extend(gone.map(|(dp, _)| PortEvent::Gone(*dp)));
                for link in &links {
                    self.link_changed(link, out);
                }
            }
        }
    }

    /// Looks at the ports of which the last events told, each once: a port that is added makes several.
    pub fn look_at_changed(&mut self, out: &mut Vec<PortEvent>) {
        for dp in std::mem::take(&mut self.changed) {
            self.notice_detached(dp);
            self.give_drop(dp);
            self.place_and_tell(dp, out);
        }
    }

    fn link_changed(&mut self, link: &Link, out: &mut Vec<PortEvent>) {
        let at = LinkRef {
            index: link.index,
            nsid: link.nsid,
        };
        self.far_end_changed(at);
        if let Some(dp) = self.find_user_end(at) {
            return self.refresh_internal(dp, out);
        }
        if link.nsid.is_some() {
            return;
        }
        self.punts_changed(link.index);
        let Some(dp) = self.port_on(link.index) else {
            out.push(PortEvent::Appeared(link.name.clone()));
            return;
        };
        match self.open.get_mut(&dp) {
            Some(Device {
                base: Base::Internal(_),
                ..
            }) => self.refresh_internal(dp, out),
            Some(device) if device.spec.name != link.name => {
                out.push(PortEvent::Gone(dp));
                out.push(PortEvent::Appeared(link.name.clone()));
            }
            Some(device) => {
                let _ = device;
                self.set_link(dp, info(link), out);
                // An XDP program comes or goes with such an event.
                self.changed.insert(dp);
            }
            None => {}
        }
    }

    /// The port that stands on the device.
    fn port_on(&self, index: u32) -> Option<DpPort> {
        let mut all = self.open.iter();
        all.find(|(_, d)| d.base.index() == index)
            .map(|(dp, _)| *dp)
    }

    fn link_removed(&mut self, link: &Link, out: &mut Vec<PortEvent>) {
        let at = LinkRef {
            index: link.index,
            nsid: link.nsid,
        };
        self.far_end_changed(at);
        if let Some(dp) = self.find_user_end(at) {
            // Moved or deleted: the hidden end knows.
            return self.refresh_internal(dp, out);
        }
        if link.nsid.is_none() {
            self.punts_changed(link.index);
            out.extend(self.port_on(link.index).map(PortEvent::Gone));
            // Whoever waits for the name may try again: an internal port is made anew.
            out.push(PortEvent::Appeared(link.name.clone()));
        }
    }

    fn find_user_end(&self, at: LinkRef) -> Option<DpPort> {
        let is = |d: &Device| matches!(&d.base, Base::Internal(i) if i.user == at);
        self.open.iter().find(|(_, d)| is(d)).map(|(dp, _)| *dp)
    }

    /// Looks again where the user's end of an internal port is and how it is.
    pub(super) fn refresh_internal(&mut self, dp: DpPort, out: &mut Vec<PortEvent>) {
        let Some(Device {
            base: Base::Internal(port),
            ..
        }) = self.open.get(&dp)
        else {
            return;
        };
        let at = LinkRef {
            index: port.hidden.index,
            nsid: None,
        };
        let hidden = self.rtnl.link(at).ok().flatten();
        let Some((hidden, user)) = hidden.and_then(|h| h.lower.map(|user| (h, user))) else {
            out.push(PortEvent::Gone(dp));
            return;
        };
        let port = Internal { hidden, user };
        let link = self.internal_info(&port);
        if let Some(device) = self.open.get_mut(&dp) {
            device.base = Base::Internal(Box::new(port));
        }
        self.set_link(dp, link, out);
        self.reconsider(dp);
    }

    pub(super) fn set_link(&mut self, dp: DpPort, link: LinkInfo, out: &mut Vec<PortEvent>) {
        let Some(device) = self.open.get_mut(&dp) else {
            return;
        };
        let link = LinkInfo {
            note: device.joined_note(),
            ..link
        };
        if device.link == link {
            return;
        }
        let mtu_changed = device.link.mtu != link.mtu;
        device.link = link.clone();
        device.tx.set_mtu(link.mtu);
        for worker in &self.workers {
            worker.send(Order::Adjust {
                port: dp,
                mtu: link.mtu,
                up: link.admin_up,
            });
        }
        out.push(PortEvent::Changed(dp, link));
        if mtu_changed {
            self.place_and_tell(dp, out);
        }
    }
}
