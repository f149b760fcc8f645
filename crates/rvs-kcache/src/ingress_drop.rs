//! The ingress drop: frames that the switch has taken from a port are not for the host's own stack.
//!
//! An AF_PACKET socket gets a *copy*. Without more, the host would also answer, route or reset what it sees on a port of
//! the switch. Packet taps run before the tcx and tc ingress hooks, so a program there that drops every frame leaves the
//! tap everything and the host nothing (VLAN devices, bridges and netfilter come later still).
//!
//! With tcx the program is two instructions and asks nothing, since the link ends with the process. With clsact the
//! program compares a heartbeat in an array map with the clock and lets frames pass once the daemon has been silent for
//! [`SILENCE`]; the next start removes what is left ([`crate::remove_drops`]).

use std::fmt;
use std::time::Duration;

use rvs_packet::Now;

use crate::asm::{self, Insn, Reg};
use crate::attr;
use crate::error::Error;
use crate::foreign::{self, Foreign};
use crate::hook::{self, Guard, Hook, Mode, DROP_NAME as NAME};
use crate::program;
use crate::sys::bpf::Map;

/// A heartbeat older than this lets frames pass to the host again (clsact only).
pub const SILENCE: Duration = Duration::from_secs(3);
/// How often [`IngressDrop::beat`] wants to be called: a third of [`SILENCE`].
pub const BEAT_EVERY: Duration = Duration::from_secs(1);

/// `TC_ACT_SHOT`: drop.
const SHOT: i32 = 2;
/// `TC_ACT_UNSPEC`: no opinion, on to the next filter.
const PASS: i32 = -1;
const BPF_KTIME_GET_NS: i32 = 5;
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
    heartbeat: Option<Map>,
}

impl IngressDrop {
    /// What would work here. Changes nothing (clsact and a filter that passes everything appear on the loopback device for a
    /// moment).
    pub fn probe() -> Capability {
        match Self::open("probe", Mode::Auto, Now::ZERO) {
            Ok(found) => found.capability(),
            Err(e) => Capability::None(e.to_string()),
        }
    }

    /// Loads the program. `instance` tells daemons on one machine apart: the path of the run directory, which only one
    /// living daemon can own. `now` counts as the first heartbeat.
    ///
    /// # Errors
    /// Missing privileges, a kernel without the feature, an `instance` of more than 230 octets or with a NUL.
    pub fn open(instance: &str, mode: Mode, now: Now) -> Result<Self, Error> {
        hook::check_instance(instance)?;
        if mode != Mode::Tcx {
            match Self::open_clsact(instance, now) {
                Err(Error::Unsupported { .. }) if mode == Mode::Auto => {}
                other => return other,
            }
        }
        let prog = program::load(&[asm::mov_imm(Reg::R0, SHOT), asm::exit()], "rvs_drop")?;
        let hook = Hook::new(LOAD, prog, NAME, instance, Mode::Tcx)?;
        Ok(Self {
            hook,
            heartbeat: None,
        })
    }

    fn open_clsact(instance: &str, now: Now) -> Result<Self, Error> {
        let heartbeat = Map::create(attr::MAP_ARRAY, 4, 8, 1, 0, "rvs_heartbeat")
            .map_err(|e| Error::new("create the heartbeat", e))?;
        let prog = program::load(&heartbeat_program(&heartbeat), "rvs_drop_hb")?;
        // Before the first beat the program passes everything.
        let hook = Hook::new(LOAD, prog, NAME, instance, Mode::Clsact)?;
        let this = Self {
            hook,
            heartbeat: Some(heartbeat),
        };
        this.beat(now)?;
        Ok(this)
    }

    /// Which way is in use: never `None`.
    pub const fn capability(&self) -> Capability {
        if self.hook.is_clsact() {
            Capability::Clsact
        } else {
            Capability::Tcx
        }
    }

    /// Says that the daemon lives. To be called every [`BEAT_EVERY`] with CLOCK_MONOTONIC; free of cost with tcx.
    ///
    /// # Errors
    /// None are known on a live kernel.
    pub fn beat(&self, now: Now) -> Result<(), Error> {
        let Some(heartbeat) = &self.heartbeat else {
            return Ok(());
        };
        heartbeat
            .update(&0u32.to_ne_bytes(), &now.0.to_ne_bytes())
            .map_err(|e| Error::new("write the heartbeat", e))
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

/// `if ktime_get_ns() - heartbeat > SILENCE then pass else drop`. An age below zero can't be (one clock for all CPUs) and
/// would count as silence, as does a heartbeat that never was.
fn heartbeat_program(heartbeat: &Map) -> Vec<Insn> {
    let silence = SILENCE.as_nanos() as u64;
    let mut program = vec![asm::call(BPF_KTIME_GET_NS)];
    program.extend(asm::load_map_value(Reg::R6, heartbeat.as_fd()));
    program.extend([
        asm::load_u64(Reg::R6, Reg::R6, 0),
        asm::sub_reg(Reg::R0, Reg::R6),
    ]);
    program.extend(asm::load_imm64(Reg::R1, silence));
    program.extend([
        asm::jump_gt(Reg::R0, Reg::R1, 2),
        asm::mov_imm(Reg::R0, SHOT),
        asm::exit(),
        asm::mov_imm(Reg::R0, PASS),
        asm::exit(),
    ]);
    program
}
