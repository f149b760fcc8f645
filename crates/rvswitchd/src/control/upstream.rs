//! What stands above the control thread: the database server whose client the daemon may be, and whoever waits for it to be up.

use std::io::Write as _;
use std::time::Duration;

use nix::poll::PollFlags;
use rvs_packet::Now;

use super::{Control, FRESH};
use crate::dummy::commands::settle;
use crate::worker::Order;
use crate::{clock, notify};

impl Control {
    /// Takes what the database server says.
    pub(super) fn hear_remote(&mut self, found: PollFlags) {
        let (Some(remote), Some(follower)) = (&mut self.remote, &mut self.daemon.switch.remote)
        else {
            return;
        };
        remote.ready(found);
        remote.take(clock::now(), follower);
        let root = rvs_switch::prepare::root(follower.database());
        if let Some(root) = root {
            // What the daemon makes is marked as this database's, before the first port is opened.
            self.daemon.switch.rim.devices.identify(root.to_string());
        }
    }

    pub(super) fn tell_remote(&mut self) {
        if let (Some(remote), Some(follower)) = (&mut self.remote, &mut self.daemon.switch.remote) {
            remote.send(clock::now(), follower);
        }
    }

    /// Says once that everything of the database is up, or that it is another daemon's for now.
    pub fn announce(&mut self) {
        let remote = self.daemon.switch.remote.as_ref();
        if self.announcement.is_none() || remote.is_some_and(|r| !r.is_live() && !r.is_waiting()) {
            return;
        }
        self.go_on();
        // Its sockets are there when the daemon says that it is ready.
        self.channels.turn(clock::now(), &mut self.daemon.switch);
        if let Some(line) = self.announcement.take() {
            // Whoever started it in the background listened to the first one only.
            let mut out = std::io::stdout();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
            notify::notify("READY=1");
            crate::background::let_go_of_the_terminal();
        }
    }

    /// Once the configuration is up: what an earlier daemon left either goes on or goes, and frames are taken.
    pub(super) fn go_on(&mut self) {
        let is_up = |r: &rvs_ovsdb::client::Follower| r.is_live();
        if !self.daemon.switch.remote.as_ref().is_none_or(is_up) {
            return;
        }
        let Some(past) = self.past.take() else { return };
        let switch = &mut self.daemon.switch;
        if switch.rim.dummies.is_none() {
            let database = switch.rim.devices.database().to_owned();
            past.traces.write(&past.rundir, &database);
            self.remove_leftovers();
        }
        let switch = &mut self.daemon.switch;
        switch.rim.devices.end_of_past();
        if let Some(resume) = &past.resume {
            switch.resume(&resume.memory, resume.deadline);
        }
        if !switch.is_restoring() {
            switch.rim.devices.hand_up();
        }
    }

    /// While nobody says what the configuration is, flows of an earlier daemon go on for as long as they would without one.
    pub(super) fn end_past_if_due(&mut self) {
        let past = self.past.as_mut();
        let now = clock::now();
        let Some(past) = past.filter(|p| p.resume.as_ref().is_some_and(|r| r.deadline <= now))
        else {
            return;
        };
        past.resume = None;
        tracing::warn!("the configuration is not known in time: flows of the last daemon end");
        rvs_switch::Rim::discard_left(&mut self.daemon.switch.rim);
        self.daemon.switch.rim.devices.end_of_past();
    }

    fn remove_leftovers(&mut self) {
        let wanted: Vec<String> = self
            .daemon
            .switch
            .topology()
            .bridges()
            .flat_map(|b| b.ifaces())
            .map(|(_, i)| i.cfg.name.clone())
            .collect();
        self.switch()
            .rim
            .devices
            .remove_leftovers(|name| wanted.iter().any(|w| w == name));
    }

    /// Whether anybody may look at counters in the database.
    pub(super) fn has_readers(&self) -> bool {
        let switch = &self.daemon.switch;
        switch.server.session_count() > 0 || switch.remote.as_ref().is_some_and(|r| r.is_live())
    }

    /// When counters are to be written again, if somebody is there.
    pub(super) fn next_statistics(&self) -> Now {
        self.last_statistics + self.daemon.switch.statistics_every()
    }

    /// Ends OpenFlow connections as a command asks; those that are dialled come back.
    pub(super) fn reconnect(&mut self) {
        for bridge in std::mem::take(&mut self.daemon.reconnect) {
            self.channels
                .reconnect(clock::now(), bridge, &mut self.daemon.switch);
        }
    }

    /// Moves time as far as a command asks, step by step, and does at each what time brings. Long steps are gone in seconds,
    /// of which spanning trees count each.
    pub(super) fn warp(&mut self) {
        const SECOND: Duration = Duration::from_secs(1);
        /// Parts of one step at most.
        const PARTS: u32 = 60;
        while let Some((left, step)) = self.daemon.warp.take() {
            let part = step.min(SECOND.max(step / PARTS));
            clock::advance(part.min(left));
            let left = left.saturating_sub(part);
            self.daemon.warp = (!left.is_zero()).then_some((left, step));
            for worker in &self.daemon.workers {
                worker.send(Order::Tend);
            }
            settle(&self.daemon);
            self.read_mail();
            self.switch().run();
            self.switch().run_spanning(clock::now());
            self.beat();
            self.channels.turn(clock::now(), &mut self.daemon.switch);
        }
    }

    /// While nobody is there to read them counters are not written: who comes finds them as they are now.
    pub(super) fn refresh_statistics(&mut self) {
        let now = clock::now();
        if now >= self.last_statistics + FRESH {
            self.last_statistics = now;
            self.switch().write_statistics();
        }
    }
}
