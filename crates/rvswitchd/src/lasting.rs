//! The daemon at the edges of its life: what it leaves, and for how long it waits for others to restore its tables.

use std::fmt::Write as _;

use rvs_flow::DpPort;
use rvs_packet::Now;
use rvs_switch::ports::BridgeState;

use crate::commands::Daemon;
use crate::survive::{self, State};

impl Daemon {
    /// Writes what the next daemon should know.
    pub fn remember(&mut self) {
        let devices = &self.switch.rim.devices;
        let Some(tier0) = devices.kernel().ok().filter(|t| t.is_pinned()) else {
            return;
        };
        let ports = devices.numbers();
        let state = State {
            program: tier0.program(),
            ports: ports
                .map(|(name, index, dp)| (dp, index, name.to_owned()))
                .collect(),
            memory: self.switch.remember(survive::MACS),
        };
        self.survival.save(&state);
    }

    /// A kernel cache that was just loaded gets its names.
    pub fn name_new(&mut self) {
        let devices = &mut self.switch.rim.devices;
        if devices
            .take_unnamed()
            .is_some_and(|tier0| self.survival.pin(&tier0))
        {
            devices.name_links();
        }
    }

    /// Looks after the names by which flows outlive the daemon.
    pub fn keep_names(&mut self) {
        self.name_new();
        let devices = &mut self.switch.rim.devices;
        if devices
            .kernel()
            .is_ok_and(|tier0| self.survival.look_after(tier0))
        {
            devices.name_links();
        }
    }

    /// Tables are restored for as long as flows may go on without; then the switch goes on with what there is.
    pub fn hold_no_longer(&mut self, now: Now) {
        // Before the configuration is known nobody has asked for anything.
        let restoring = self.switch.is_restoring();
        let rim = &mut self.switch.rim;
        if restoring && rim.devices.is_holding() && now.since(self.started) >= rim.survive {
            tracing::warn!(
                "flow-restore-wait is still set: frames are switched by what tables there are"
            );
            rim.devices.hand_up();
        }
    }

    /// The end: closes every port. With `cleanup` internal ports go too; else the kernel may go on for a while. True when
    /// something is left that the next daemon, or somebody who cleans, has to find.
    pub fn end(&mut self, cleanup: bool) -> bool {
        let lasting = !cleanup && !self.switch.rim.survive.is_zero();
        if lasting {
            self.remember();
        }
        let left = lasting && self.switch.rim.devices.leave();
        let open: Vec<DpPort> = self
            .switch
            .topology()
            .bridges()
            .flat_map(BridgeState::ifaces)
            .filter_map(|(_, i)| i.open.as_ref().map(|(dp, _)| *dp))
            .collect();
        for dp in open {
            rvs_switch::platform::Platform::close(&mut self.switch.rim, dp, cleanup);
        }
        if cleanup {
            self.switch.rim.devices.remove_leftovers(|_| false);
        }
        if !left {
            self.survival.remove();
        }
        left
    }

    /// How flows in the kernel outlive the daemon, or why they don't.
    pub fn survives(&self) -> Result<String, String> {
        let rim = &self.switch.rim;
        let tier0 = rim
            .devices
            .kernel()
            .map_err(|_| "there is no kernel cache")?;
        let pins = self.survival.pins()?;
        if rim.survive.is_zero() {
            return Err("off; other_config:survive-secs is 0".to_owned());
        }
        let mut text = format!(
            "flows in the kernel go on for {} s without the daemon; {}",
            rim.survive.as_secs(),
            pins.dir().display()
        );
        if tier0.unpinned() > 0 {
            let _ = write!(
                text,
                "; {} links got no name there and end with the daemon",
                tier0.unpinned()
            );
        }
        if self.switch.is_waiting() {
            text.push_str("; flows of the last daemon wait for their tables");
        }
        Ok(text)
    }
}
