//! Putting a program on a device's ingress and taking it off again: a direct-action filter on clsact where the kernel has
//! it, else a tcx link (Linux 6.6).
//!
//! A filter comes and goes in 0.1 ms. A tcx link comes and goes with one of the kernel's grace periods (14 ms), in which
//! the kernel holds the lock of all its devices, so that neither threads nor batches shorten it: a thousand ports would
//! take a quarter of a minute.
//!
//! A filter outlives its maker: what it holds passes every frame from that moment on ([`Gate`]), unless it was given a name
//! ([`crate::Pins`]), and the next daemon of the same instance finds what was left ([`crate::old_filters`]) and takes it over, replaces it in one step, or removes it. Filters of ours are known by preference, by a handle made from their name, and by that name,
//! which carries the instance (the run directory), so that two daemons never take each other's for a leftover; the name
//! also says whether the qdisc is ours to remove. A tcx link is removed by the kernel with the last descriptor of it, so with
//! the process however it ends, unless it was given a name ([`crate::Pins`]).
//!
//! Taking a filter off does not wait for frames that are under way through its program: who must not confuse them with
//! later ones waits for a grace period ([`crate::tier0`]).
//!
//! Invariants: nothing of anybody else is changed or removed; one guard per device and hook; a guard that is dropped or
//! detached has taken its program off.
//!
//! A device that is moved to another namespace takes a tcx link with it (the kernel does not detach it) and loses its
//! clsact. The owner of the guard hears of the move from rtnetlink and drops the guard, which works across namespaces.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::attr::TCX_INGRESS;
use crate::error::Error;
use crate::foreign;
use crate::gate::Gate;
use crate::netlink::Netlink;
use crate::pins::{self, OldLink};
use crate::program;
use crate::sys::bpf;
use crate::tc;

/// First parts of our filters' names: the ingress drop's and the flow cache's.
pub(crate) const DROP_NAME: &str = "rvs-drop";
pub(crate) const CACHE_NAME: &str = "rvs-cache";
/// Preference of our filters: "rv". What has a lower number runs first and can see or take frames.
const PREFERENCE: u16 = 0x7276;
/// Longest instance: the kernel keeps 255 octets of a filter's name.
const INSTANCE_MAX: usize = 230;
const LOOPBACK: u32 = 1;
/// No device has this index (the kernel counts up from 1).
const NO_DEVICE: u32 = 0x7fff_ffff;

/// Which way to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// clsact where the kernel has it, else tcx.
    #[default]
    Auto,
    /// Only tcx; an error where it is missing. For tests of the fallback and for tracking down a fault.
    Tcx,
    /// Only clsact.
    Clsact,
}

/// A loaded program and the way it is attached.
#[derive(Debug)]
pub(crate) struct Hook {
    /// What is put on devices.
    prog: OwnedFd,
    /// Through which that goes to the program, where it outlives the daemon by itself.
    gate: Option<Gate>,
    prog_id: u32,
    filters: FilterName,
    clsact: bool,
}

/// By what filters of ours are known.
#[derive(Debug)]
struct FilterName {
    /// First part of the name.
    name: &'static str,
    instance: String,
}

/// Refuses an instance that would not fit into a filter's name.
pub(crate) fn check_instance(instance: &str) -> Result<(), Error> {
    if instance.len() <= INSTANCE_MAX && !instance.contains('\0') {
        return Ok(());
    }
    let cause = "the instance (run directory) must have at most 230 octets and no NUL";
    Err(Error::Invalid {
        op: "attach to ingress",
        cause,
    })
}

/// Whether the kernel has tcx: attaching to a device that can't exist touches nothing and tells old kernels from new.
pub(crate) fn has_tcx(prog: BorrowedFd<'_>) -> Result<bool, Error> {
    match bpf::link_create(prog, NO_DEVICE, TCX_INGRESS).map_err(|e| (e.raw_os_error(), e)) {
        Ok(_) | Err((Some(libc::ENODEV), _)) => Ok(true),
        Err((Some(libc::EINVAL), _)) => Ok(false),
        Err((_, e)) => Err(Error::new("probe tcx", e)),
    }
}

impl Hook {
    /// Finds out which way works.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when what `mode` asks for is not there; the kernel's.
    pub fn new(
        op: &'static str,
        prog: OwnedFd,
        name: &'static str,
        instance: &str,
        mode: Mode,
    ) -> Result<Self, Error> {
        if mode != Mode::Tcx {
            let (gate, entrance) = Gate::new()?;
            let mut this = Self::with(entrance, Some(gate), name, instance)?;
            // The gate is shut: frames of the loopback device, on which this is tried, pass.
            match this.try_clsact() {
                Err(Error::Unsupported { .. }) if mode == Mode::Auto && has_tcx(prog.as_fd())? => {}
                other => {
                    other?;
                    this.clsact = true;
                    if let Some(gate) = &this.gate {
                        gate.open(prog.as_fd())?;
                    }
                    return Ok(this);
                }
            }
        }
        let this = Self::with(prog, None, name, instance)?;
        this.needs_tcx(op).map(|()| this)
    }

    /// The same of what a dead daemon gave names. The program lets everything pass that comes from the loopback device.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn found(
        prog: OwnedFd,
        gate: Option<Gate>,
        name: &'static str,
        instance: &str,
    ) -> Result<Self, Error> {
        let mut this = Self::with(prog, gate, name, instance)?;
        match this.try_clsact() {
            Err(Error::Unsupported { .. }) if has_tcx(this.prog())? => {}
            other => {
                other?;
                this.clsact = true;
            }
        }
        Ok(this)
    }

    fn with(
        prog: OwnedFd,
        gate: Option<Gate>,
        name: &'static str,
        instance: &str,
    ) -> Result<Self, Error> {
        let prog_id = program::id(prog.as_fd()).map_err(|e| Error::new("load a program", e))?;
        Ok(Self {
            prog,
            gate,
            prog_id,
            filters: FilterName {
                name,
                instance: instance.to_owned(),
            },
            clsact: false,
        })
    }

    pub const fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    fn needs_tcx(&self, op: &'static str) -> Result<(), Error> {
        if has_tcx(self.prog())? {
            return Ok(());
        }
        let cause = "this kernel has no tcx (it came with Linux 6.6)".to_owned();
        Err(Error::Unsupported { op, cause })
    }

    pub const fn prog_id(&self) -> u32 {
        self.prog_id
    }

    pub fn prog(&self) -> BorrowedFd<'_> {
        self.prog.as_fd()
    }

    pub const fn is_clsact(&self) -> bool {
        self.clsact
    }

    /// Tries clsact on the loopback device.
    fn try_clsact(&self) -> Result<(), Error> {
        let once = || {
            self.put_filter(LOOPBACK)
                .and_then(|own| remove(LOOPBACK, self.filters.handle(), own))
        };
        // Another daemon that tries at the same moment may take the qdisc away in between.
        let tried = once().or_else(|_| once()).or_else(|_| once());
        tried.map_err(|e| match e.raw_os_error() {
            Some(libc::ENOENT | libc::EOPNOTSUPP) => Error::Unsupported {
                op: "probe clsact",
                cause: "this kernel has neither the modules sch_ingress and cls_bpf (load them) nor tcx (Linux 6.6)"
                    .to_owned(),
            },
            _ => Error::new("probe clsact", e),
        })
    }

    /// Puts the program on a device of the calling thread's namespace. With clsact a leftover of this instance is taken
    /// over in one step, without a frame slipping through.
    pub fn attach(&self, op: &'static str, ifindex: u32) -> Result<Guard, Error> {
        let fail = |e| Error::on_device(op, ifindex, e);
        let hold = if self.clsact {
            let own_qdisc = self.put_filter(ifindex).map_err(fail)?;
            Hold::Clsact {
                own_qdisc,
                handle: self.filters.handle(),
                prog_id: self.prog_id,
            }
        } else {
            let link = bpf::link_create(self.prog.as_fd(), ifindex, TCX_INGRESS).map_err(fail)?;
            let id = program::id(link.as_fd()).map_err(fail)?;
            Hold::Tcx {
                link,
                id,
                pin: None,
            }
        };
        Ok(Guard {
            ifindex,
            hold: Some(hold),
        })
    }

    /// The same in place of what a dead daemon left there, which is gone then.
    pub fn attach_over(
        &self,
        op: &'static str,
        ifindex: u32,
        old: Option<OldLink>,
    ) -> Result<Guard, Error> {
        let guard = self.attach(op, ifindex)?;
        if let Some(OldLink { guard: old, .. }) = old {
            // A filter was replaced: there is none left to remove.
            if self.clsact && old.is_filter() {
                old.leave();
            }
        }
        Ok(guard)
    }

    /// Returns whether the qdisc is ours to remove.
    fn put_filter(&self, ifindex: u32) -> io::Result<bool> {
        let nl = Netlink::open()?;
        let mut own_qdisc = tc::add_clsact(&nl, ifindex)?;
        // On a new one there is none.
        let there = match own_qdisc {
            true => Vec::new(),
            false => tc::filters(&nl, ifindex, tc::INGRESS)?,
        };
        for filter in there {
            if filter.prog_id == Some(self.prog_id) {
                return Err(io::Error::from_raw_os_error(libc::EEXIST));
            }
            // Both of our filters may be there for a moment: who goes last takes the qdisc along.
            own_qdisc |= [DROP_NAME, CACHE_NAME].into_iter().any(|name| {
                let instance = self.filters.instance.clone();
                FilterName { name, instance }.owner_of(&filter) == Some(true)
            });
        }
        let (name, handle) = (self.filters.text(own_qdisc), self.filters.handle());
        let prog = self.prog.as_fd();
        match tc::put_bpf_filter(&nl, ifindex, PREFERENCE, handle, prog, &name) {
            Err(e) if own_qdisc => {
                tc::remove_unused_clsact(&nl, ifindex)?;
                Err(e)
            }
            other => other.map(|()| own_qdisc),
        }
    }
}

impl FilterName {
    /// Removes filters of this name from every device of the namespace.
    fn clear(&self) -> io::Result<usize> {
        let nl = Netlink::open()?;
        let mut removed = 0;
        for ifindex in tc::devices_with_ingress(&nl)? {
            for filter in tc::filters(&nl, ifindex, tc::INGRESS)? {
                let Some(own_qdisc) = self.owner_of(&filter) else {
                    continue;
                };
                remove(ifindex, self.handle(), own_qdisc)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// The filters of this name in the namespace.
    fn find(&self) -> io::Result<Vec<OldLink>> {
        let nl = Netlink::open()?;
        let mut found = Vec::new();
        for ifindex in tc::devices_with_ingress(&nl)? {
            for filter in tc::filters(&nl, ifindex, tc::INGRESS)? {
                let (Some(own_qdisc), Some(prog_id)) = (self.owner_of(&filter), filter.prog_id)
                else {
                    continue;
                };
                let hold = Hold::Clsact {
                    own_qdisc,
                    handle: self.handle(),
                    prog_id,
                };
                let guard = Guard {
                    ifindex,
                    hold: Some(hold),
                };
                found.push(OldLink { guard, prog_id });
            }
        }
        Ok(found)
    }

    fn text(&self, own_qdisc: bool) -> String {
        let Self { name, instance, .. } = self;
        format!("{name}{}:{instance}", if own_qdisc { "+qdisc" } else { "" })
    }

    /// For a filter of this instance: whether its qdisc is ours too.
    fn owner_of(&self, filter: &tc::Filter) -> Option<bool> {
        let name = filter.name.as_deref()?;
        if filter.preference != PREFERENCE || filter.handle != self.handle() {
            return None;
        }
        [true, false]
            .into_iter()
            .find(|&own| name == self.text(own))
    }

    /// Same name, same handle (FNV-1a), so that a new daemon replaces the filter of the dead one.
    fn handle(&self) -> u32 {
        let name = self.text(false);
        let hash = name.bytes().fold(0x811c_9dc5_u32, |h, b| {
            (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
        });
        hash.max(1)
    }
}

/// The flow caches that a dead daemon of this instance left as filters on devices of the namespace.
///
/// # Errors
/// Netlink's.
pub fn old_filters(instance: &str) -> Result<Vec<OldLink>, Error> {
    let name = FilterName {
        name: CACHE_NAME,
        instance: instance.to_owned(),
    };
    let found = name.find();
    found.map_err(|e| Error::new("look for a dead daemon's filters", e))
}

/// Removes every filter that a dead daemon of this instance left in the namespace; how many those were.
///
/// # Errors
/// Netlink's; the filters removed so far stay removed.
pub fn remove_filters(instance: &str) -> Result<usize, Error> {
    Ok(remove_named(DROP_NAME, instance)? + remove_named(CACHE_NAME, instance)?)
}

/// The same of ingress drops alone.
///
/// # Errors
/// As [`remove_filters`].
pub fn remove_drops(instance: &str) -> Result<usize, Error> {
    remove_named(DROP_NAME, instance)
}

fn remove_named(name: &'static str, instance: &str) -> Result<usize, Error> {
    let instance = instance.to_owned();
    let cleared = FilterName { name, instance }.clear();
    cleared.map_err(|e| Error::new("remove a dead daemon's filters", e))
}

fn remove(ifindex: u32, handle: u32, own_qdisc: bool) -> io::Result<()> {
    let nl = Netlink::open()?;
    tc::remove_filter(&nl, ifindex, PREFERENCE, handle)?;
    if own_qdisc {
        tc::remove_unused_clsact(&nl, ifindex)?;
    }
    Ok(())
}

/// Holds a program on one device; dropping it takes the program off.
#[derive(Debug)]
#[must_use = "dropping the guard takes the program off the device"]
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
        /// The name that lets it outlive the daemon.
        pin: Option<PathBuf>,
    },
    Clsact {
        own_qdisc: bool,
        handle: u32,
        prog_id: u32,
    },
}

impl Guard {
    /// A link that a dead daemon left under this name.
    pub(crate) const fn found(ifindex: u32, link: OwnedFd, id: u32, pin: PathBuf) -> Self {
        Self {
            ifindex,
            hold: Some(Hold::Tcx {
                link,
                id,
                pin: Some(pin),
            }),
        }
    }

    /// Gives a link a name, so that it outlives the daemon. A filter does so without.
    pub(crate) fn pin(&mut self, path: PathBuf) -> io::Result<()> {
        match &mut self.hold {
            Some(Hold::Tcx { link, pin, .. }) => {
                pins::put(link.as_fd(), &path)?;
                *pin = Some(path);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    const fn is_filter(&self) -> bool {
        matches!(self.hold, Some(Hold::Clsact { .. }))
    }

    /// Lets go without taking the program off: a filter, or a link with a name, goes on.
    pub(crate) fn leave(mut self) {
        self.hold = None;
    }

    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Whether the program still is on the device of this index in the namespace of the calling thread: `false` after
    /// somebody took it off, and when the device was deleted or moved away.
    ///
    /// # Errors
    /// The kernel's, when it can't be asked.
    pub fn is_attached(&self) -> Result<bool, Error> {
        let found = match &self.hold {
            Some(Hold::Tcx { id, .. }) => foreign::tcx_programs(self.ifindex, TCX_INGRESS)
                .map(|there| there.iter().any(|(_, link)| link == id)),
            Some(Hold::Clsact { prog_id, .. }) => Netlink::open()
                .and_then(|nl| tc::filters(&nl, self.ifindex, tc::INGRESS))
                .map(|there| there.iter().any(|f| f.prog_id == Some(*prog_id))),
            None => Ok(false),
        };
        match found {
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(false),
            other => other.map_err(|e| Error::new("ask for the program on ingress", e)),
        }
    }

    /// Takes the program off and says if that failed. A device that is gone is no failure.
    ///
    /// # Errors
    /// The kernel's; a tcx link ends all the same with its descriptor.
    pub fn detach(mut self) -> Result<(), Error> {
        let ifindex = self.ifindex;
        self.release()
            .map_err(|e| Error::on_device("detach from ingress", ifindex, e))
    }

    fn release(&mut self) -> io::Result<()> {
        match self.hold.take() {
            // Explicitly, since a child process between fork and exec may hold the descriptor too.
            Some(Hold::Tcx { link, pin, .. }) => {
                let detached = bpf::link_detach(link.as_fd());
                match pin.map_or(Ok(()), std::fs::remove_file) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => detached.and(Err(e)),
                    _ => detached,
                }
            }
            Some(Hold::Clsact {
                own_qdisc, handle, ..
            }) => remove(self.ifindex, handle, own_qdisc),
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Nobody is left to tell: with tcx the descriptor closes, with clsact the gate.
        let _ = self.release();
    }
}
