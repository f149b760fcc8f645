//! The ingress drop: frames that the switch has taken from a port are not for the host's own stack.
//!
//! An AF_PACKET socket gets a *copy*. Without more, the host would also answer, route or reset what it sees on a port of
//! the switch. Packet taps run before the tcx and tc ingress hooks, so a program there that drops every frame leaves the
//! tap everything and the host nothing (VLAN devices, bridges and netfilter come later still).
//!
//! The program is two instructions and ends with the daemon: a tcx link does so by itself, a filter by its gate. The next
//! start removes the filters that are left ([`crate::remove_drops`]).

use std::fmt;

use crate::asm::{self, Reg};
use crate::error::Error;
use crate::foreign::{self, Foreign};
use crate::hook::{self, Guard, Hook, Mode, DROP_NAME as NAME};
use crate::program;

/// `TC_ACT_SHOT`: drop.
const SHOT: i32 = 2;
const LOAD: &str = "load the ingress drop";

/// What this kernel and these privileges allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    Tcx,
    Clsact,
    /// Neither, and why: cause and cure in one line.
    None(String),
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcx => f.write_str("tcx"),
            Self::Clsact => f.write_str("clsact"),
            Self::None(reason) => write!(f, "none ({reason})"),
        }
    }
}

/// The drop program, loaded once for all ports.
#[derive(Debug)]
pub struct IngressDrop {
    hook: Hook,
}

impl IngressDrop {
    /// What would work here. Changes nothing (clsact and a filter that passes everything appear on the loopback device for a
    /// moment).
    pub fn probe() -> Capability {
        match Self::open("probe", Mode::Auto) {
            Ok(found) => found.capability(),
            Err(e) => Capability::None(e.to_string()),
        }
    }

    /// Loads the program. `instance` tells daemons on one machine apart: the path of the run directory, which only one
    /// living daemon can own.
    ///
    /// # Errors
    /// Missing privileges, a kernel without the feature, an `instance` of more than 230 octets or with a NUL.
    pub fn open(instance: &str, mode: Mode) -> Result<Self, Error> {
        hook::check_instance(instance)?;
        let prog = program::load(&[asm::mov_imm(Reg::R0, SHOT), asm::exit()], "rvs_drop")?;
        let hook = Hook::new(LOAD, prog, NAME, instance, mode)?;
        Ok(Self { hook })
    }

    /// Which way is in use: never `None`.
    pub const fn capability(&self) -> Capability {
        if self.hook.is_clsact() {
            Capability::Clsact
        } else {
            Capability::Tcx
        }
    }

    /// Keeps the frames that arrive on a device from the host's stack, until the guard goes.
    ///
    /// The device is looked up in the network namespace of the calling thread. With clsact a leftover of this instance on
    /// the device is taken over in one step, without a frame slipping through.
    ///
    /// # Errors
    /// No such device, attached already, privileges lost since [`Self::open`].
    pub fn attach(&self, ifindex: u32) -> Result<Guard, Error> {
        self.hook.attach("attach the ingress drop", ifindex)
    }

    /// Programs and filters on a device's ingress that are not this daemon's.
    ///
    /// # Errors
    /// No such device, no privilege to ask.
    pub fn foreign_programs(&self, ifindex: u32) -> Result<Vec<Foreign>, Error> {
        foreign::foreign_programs(ifindex, &[self.prog_id()])
    }

    /// The program's id, for [`foreign::foreign_programs`].
    pub const fn prog_id(&self) -> u32 {
        self.hook.prog_id()
    }
}
