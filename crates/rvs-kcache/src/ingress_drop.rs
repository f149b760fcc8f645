//! The ingress drop: frames that the switch has taken from a port are not for the host's own stack.
//!
//! An AF_PACKET socket gets a *copy*. Without more, the host would also answer, route or reset what it sees on a port of
//! the switch. Packet taps run before the tcx and tc ingress hooks, so a program there that drops every frame leaves the
//! tap everything and the host nothing (VLAN devices, bridges and netfilter come later still).
//!
//! Two ways, chosen by trying:
//!
//! - **tcx** (Linux 6.6): a link, which the kernel removes with the last descriptor of it, so with the process however it
//!   ends. The program is two instructions and asks nothing.
//! - **clsact**: a filter outlives its maker, so the program compares a heartbeat in an array map with the clock and lets
//!   frames pass once the daemon has been silent for [`SILENCE`]. The next start removes what is left
//!   ([`IngressDrop::remove_leftovers`]). Filters of ours are known by preference and by a name that carries the
//!   instance (the run directory), so that two daemons never take each other's for a leftover; the name also says whether
//!   the qdisc is ours to remove.
//!
//! Invariants: nothing of anybody else is changed or removed; one guard per port; a guard that is dropped or detached
//! has given the frames back.
//!
//! A device that is moved to another namespace takes a tcx link with it (the kernel does not detach it) and loses its
//! clsact. The owner of the guard hears of the move from rtnetlink and drops the guard, which works across namespaces.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rvs_packet::Now;

use crate::asm::{self, Insn, Reg};
use crate::attr;
use crate::error::Error;
use crate::foreign::{self, Foreign};
use crate::netlink::Netlink;
use crate::program;
use crate::sys::bpf::{self, Map};
use crate::tc;

/// A heartbeat older than this lets frames pass to the host again (clsact only).
pub const SILENCE: Duration = Duration::from_secs(3);
/// How often [`IngressDrop::beat`] wants to be called: a third of [`SILENCE`].
pub const BEAT_EVERY: Duration = Duration::from_secs(1);

/// Preference of our filters: "rv". What has a lower number runs first and can see or take frames.
const PREFERENCE: u16 = 0x7276;
const NAME: &str = "rvs-drop";
/// Longest instance: the kernel keeps 255 octets of a filter's name.
const INSTANCE_MAX: usize = 240;
const LOOPBACK: u32 = 1;
/// No device has this index (the kernel counts up from 1).
const NO_DEVICE: u32 = 0x7fff_ffff;
const ATTACH: &str = "attach the ingress drop";
const DETACH: &str = "detach the ingress drop";

/// `TC_ACT_SHOT`: drop.
const SHOT: i32 = 2;
/// `TC_ACT_UNSPEC`: no opinion, on to the next filter.
const PASS: i32 = -1;
const BPF_KTIME_GET_NS: i32 = 5;

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

/// Which way to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// tcx where the kernel has it, else clsact.
    #[default]
    Auto,
    /// Only tcx; an error where it is missing.
    Tcx,
    /// clsact also where tcx would work: for tests of the fallback and for tracking down a fault.
    Clsact,
}

/// The drop program, loaded once for all ports.
#[derive(Debug)]
pub struct IngressDrop {
    prog: OwnedFd,
    prog_id: u32,
    instance: String,
    heartbeat: Option<Map>,
}

impl IngressDrop {
    /// What would work here. Changes nothing (where tcx is missing, clsact and a filter that passes everything appear on
    /// the loopback device for a moment).
    pub fn probe() -> Capability {
        match Self::open("probe", Mode::Auto, Now::ZERO) {
            Ok(found) if found.heartbeat.is_some() => Capability::Clsact,
            Ok(_) => Capability::Tcx,
            Err(e) => Capability::None(e.to_string()),
        }
    }

    /// Loads the program. `instance` tells daemons on one machine apart: the path of the run directory, which only one
    /// living daemon can own. `now` counts as the first heartbeat.
    ///
    /// # Errors
    /// Missing privileges, a kernel without the feature, an `instance` of more than 240 octets or with a NUL.
    pub fn open(instance: &str, mode: Mode, now: Now) -> Result<Self, Error> {
        if instance.len() > INSTANCE_MAX || instance.contains('\0') {
            let cause = "the instance (run directory) must have at most 240 octets and no NUL";
            return Err(Error::Invalid {
                op: "load the ingress drop",
                cause,
            });
        }
        match mode {
            Mode::Tcx => Self::open_tcx(instance),
            Mode::Clsact => Self::open_clsact(instance, now),
            Mode::Auto => match Self::open_tcx(instance) {
                Err(Error::Unsupported { .. }) => Self::open_clsact(instance, now),
                other => other,
            },
        }
    }

    fn open_tcx(instance: &str) -> Result<Self, Error> {
        const OP: &str = "probe tcx";
        let insns = [asm::mov_imm(Reg::R0, SHOT), asm::exit()];
        let (prog, prog_id) = program::load(&insns, "rvs_drop")?;
        // Attaching to a device that can't exist touches nothing and tells old kernels from new ones.
        match bpf::link_create(prog.as_fd(), NO_DEVICE, attr::TCX_INGRESS) {
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => {}
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                let cause = "this kernel has no tcx (it came with Linux 6.6)".to_owned();
                return Err(Error::Unsupported { op: OP, cause });
            }
            Err(e) => return Err(Error::new(OP, e)),
            Ok(_) => {}
        }
        Ok(Self {
            prog,
            prog_id,
            instance: instance.to_owned(),
            heartbeat: None,
        })
    }

    fn open_clsact(instance: &str, now: Now) -> Result<Self, Error> {
        let heartbeat = Map::create(attr::MAP_ARRAY, 4, 8, 1, "rvs_heartbeat")
            .map_err(|e| Error::new("create the heartbeat", e))?;
        let (prog, prog_id) = program::load(&heartbeat_program(&heartbeat), "rvs_drop_hb")?;
        let this = Self {
            prog,
            prog_id,
            instance: instance.to_owned(),
            heartbeat: Some(heartbeat),
        };
        // Before the first beat the program passes everything: safe to try out on the loopback device.
        this.attach_clsact(LOOPBACK)
            .and_then(|own_qdisc| this.detach_clsact(LOOPBACK, own_qdisc))
            .map_err(|e| match e.raw_os_error() {
                Some(libc::ENOENT | libc::EOPNOTSUPP) => Error::Unsupported {
                    op: "probe clsact",
                    cause: "this kernel has neither tcx (Linux 6.6) nor the modules sch_ingress and cls_bpf: load them"
                        .to_owned(),
                },
                _ => Error::new("probe clsact", e),
            })?;
        this.beat(now)?;
        Ok(this)
    }

    /// Which way is in use: never `None`.
    pub const fn capability(&self) -> Capability {
        if self.heartbeat.is_some() {
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
        let fail = |e| Error::on_device(ATTACH, ifindex, e);
        let hold = if self.heartbeat.is_some() {
            let own_qdisc = self.attach_clsact(ifindex).map_err(fail)?;
            Hold::Clsact {
                own_qdisc,
                handle: self.handle(),
                prog_id: self.prog_id,
            }
        } else {
            let link =
                bpf::link_create(self.prog.as_fd(), ifindex, attr::TCX_INGRESS).map_err(fail)?;
            let id = program::id(link.as_fd()).map_err(fail)?;
            Hold::Tcx { link, id }
        };
        Ok(Guard {
            ifindex,
            hold: Some(hold),
        })
    }

    /// Removes what an earlier daemon of this instance left behind on any device of this namespace; returns how many
    /// filters those were. To be called before the first [`Self::attach`], in either mode.
    ///
    /// # Errors
    /// Netlink's; the filters removed so far stay removed.
    pub fn remove_leftovers(&self) -> Result<usize, Error> {
        self.clear_leftovers()
            .map_err(|e| Error::new("remove a dead daemon's ingress drop", e))
    }

    fn clear_leftovers(&self) -> io::Result<usize> {
        let nl = Netlink::open()?;
        let mut removed = 0;
        for ifindex in tc::devices_with_ingress(&nl)? {
            for filter in tc::filters(&nl, ifindex, tc::INGRESS)? {
                let Some(own_qdisc) = self.owner_of(&filter) else {
                    continue;
                };
                if filter.prog_id == Some(self.prog_id) {
                    continue;
                }
                self.detach_clsact(ifindex, own_qdisc)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Programs and filters on a device's ingress that are not this daemon's.
    ///
    /// # Errors
    /// No such device, no privilege to ask.
    pub fn foreign_programs(&self, ifindex: u32) -> Result<Vec<Foreign>, Error> {
        foreign::list(ifindex, &[self.prog_id])
            .map_err(|e| Error::on_device("list the programs on ingress", ifindex, e))
    }

    /// Returns whether the qdisc is ours to remove.
    fn attach_clsact(&self, ifindex: u32) -> io::Result<bool> {
        let nl = Netlink::open()?;
        let mut own_qdisc = tc::add_clsact(&nl, ifindex)?;
        for filter in tc::filters(&nl, ifindex, tc::INGRESS)? {
            if filter.prog_id == Some(self.prog_id) {
                return Err(io::Error::from_raw_os_error(libc::EEXIST));
            }
            own_qdisc |= self.owner_of(&filter) == Some(true);
        }
        let name = self.filter_name(own_qdisc);
        let prog = self.prog.as_fd();
        match tc::put_bpf_filter(&nl, ifindex, PREFERENCE, self.handle(), prog, &name) {
            Err(e) if own_qdisc => {
                tc::remove_unused_clsact(&nl, ifindex)?;
                Err(e)
            }
            other => other.map(|()| own_qdisc),
        }
    }

    fn detach_clsact(&self, ifindex: u32, own_qdisc: bool) -> io::Result<()> {
        detach_clsact(ifindex, self.handle(), own_qdisc)
    }

    fn filter_name(&self, own_qdisc: bool) -> String {
        format!(
            "{NAME}{}:{}",
            if own_qdisc { "+qdisc" } else { "" },
            self.instance
        )
    }

    /// For a filter of this instance: whether its qdisc is ours too.
    fn owner_of(&self, filter: &tc::Filter) -> Option<bool> {
        let name = filter.name.as_deref()?;
        if filter.preference != PREFERENCE || filter.handle != self.handle() {
            return None;
        }
        [true, false]
            .into_iter()
            .find(|&own| name == self.filter_name(own))
    }

    /// Same instance, same handle (FNV-1a), so that a new daemon replaces the filter of the dead one.
    fn handle(&self) -> u32 {
        let hash = self.instance.bytes().fold(0x811c_9dc5_u32, |h, b| {
            (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
        });
        hash.max(1)
    }
}

/// `if ktime_get_ns() - heartbeat > SILENCE then pass else drop`. An age below zero can't be (one clock for all CPUs) and
/// would count as silence, as does a heartbeat that never was.
fn heartbeat_program(heartbeat: &Map) -> Vec<Insn> {
    let silence = SILENCE.as_nanos() as u64;
    let mut program = vec![asm::call(BPF_KTIME_GET_NS)];
    program.extend(asm::load_map_value(Reg::R6, heartbeat.as_raw_fd()));
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

fn detach_clsact(ifindex: u32, handle: u32, own_qdisc: bool) -> io::Result<()> {
    let nl = Netlink::open()?;
    tc::remove_filter(&nl, ifindex, PREFERENCE, handle)?;
    if own_qdisc {
        tc::remove_unused_clsact(&nl, ifindex)?;
    }
    Ok(())
}

/// Holds the drop on one port; dropping it gives the frames back to the host.
#[derive(Debug)]
#[must_use = "dropping the guard detaches the ingress drop"]
pub struct Guard {
    ifindex: u32,
    /// `None` only while being dropped.
    hold: Option<Hold>,
}

#[derive(Debug)]
enum Hold {
    Tcx {
        link: OwnedFd,
        id: u32,
    },
    Clsact {
        own_qdisc: bool,
        handle: u32,
        prog_id: u32,
    },
}

impl Guard {
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Whether the drop still works on the device of this index in the namespace of the calling thread: `false` after
    /// somebody detached it, and when the device was deleted or moved away.
    ///
    /// # Errors
    /// The kernel's, when it can't be asked.
    pub fn is_attached(&self) -> Result<bool, Error> {
        let found = match &self.hold {
            Some(Hold::Tcx { id, .. }) => foreign::tcx_programs(self.ifindex)
                .map(|there| there.iter().any(|(_, link)| link == id)),
            Some(Hold::Clsact { prog_id, .. }) => Netlink::open()
                .and_then(|nl| tc::filters(&nl, self.ifindex, tc::INGRESS))
                .map(|there| there.iter().any(|f| f.prog_id == Some(*prog_id))),
            None => Ok(false),
        };
        match found {
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(false),
            other => other.map_err(|e| Error::new("ask for the ingress drop", e)),
        }
    }

    /// Gives the frames back and says if that failed. A device that is gone is no failure.
    ///
    /// # Errors
    /// The kernel's; with tcx the drop ends all the same with the descriptor.
    pub fn detach(mut self) -> Result<(), Error> {
        self.release()
            .map_err(|e| Error::on_device(DETACH, self.ifindex, e))
    }

    fn release(&mut self) -> io::Result<()> {
        match self.hold.take() {
            // Explicitly, since a child process between fork and exec may hold the descriptor too.
            Some(Hold::Tcx { link, .. }) => bpf::link_detach(link.as_fd()),
            Some(Hold::Clsact {
                own_qdisc, handle, ..
            }) => detach_clsact(self.ifindex, handle, own_qdisc),
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Nobody is left to tell: with tcx the descriptor closes, with clsact the heartbeat ends with the daemon.
        let _ = self.release();
    }
}
