//! What stands above the control thread: the database server whose client the daemon may be, and whoever waits for it to be up.

use std::io::Write as _;

use nix::poll::PollFlags;

use super::Control;
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
        let real = self.daemon.switch.rim.dummies.is_none();
        if real && remote.is_none_or(|r| r.is_live()) {
            self.remove_leftovers();
        }
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

    /// Moves time as far as a command asks, step by step, and does at each what time brings.
    pub(super) fn warp(&mut self) {
        while let Some((left, step)) = self.daemon.warp.take() {
            clock::advance(step.min(left));
            let left = left.saturating_sub(step);
            self.daemon.warp = (!left.is_zero()).then_some((left, step));
            for worker in &self.daemon.workers {
                worker.send(Order::Tend);
            }
            settle(&self.daemon);
            self.read_mail();
            self.switch().run();
            self.beat();
            self.channels.turn(clock::now(), &mut self.daemon.switch);
        }
    }
}
