//! Who else works on a port's ingress: XDP, tcx and tc programs that are not ours.
//!
//! They run before our programs (XDP, earlier tcx) or beside them, and may take, change or pass frames that the switch
//! has an opinion about. The switch does not touch them; it says that they are there.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use crate::attr::TCX_INGRESS;
use crate::error::Error;
use crate::netlink::{attr, u32_at, Netlink, Request};
use crate::sys::bpf;
use crate::tc;

/// Where on the way in a foreign program sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForeignHook {
    /// In the driver, before the socket buffer exists (native) or right after (generic).
    Xdp,
    /// The multi-program hook of Linux 6.6.
    Tcx,
    /// A filter of any kind on a clsact or ingress qdisc.
    Tc,
}

/// A program or filter on a port's ingress that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    pub hook: ForeignHook,
    /// The eBPF program's id, as bpftool prints it; `None` for filters that are not eBPF.
    pub prog_id: Option<u32>,
    /// The program's name (known only with CAP_SYS_ADMIN) or the filter's kind and owner's name.
    pub name: Option<String>,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.hook {
            ForeignHook::Xdp => "XDP",
            ForeignHook::Tcx => "tcx ingress",
            ForeignHook::Tc => "tc ingress",
        })?;
        match self.prog_id {
            Some(id) => write!(f, " program {id}")?,
            None => f.write_str(" filter")?,
        }
        self.name
            .as_ref()
            .map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

/// Lists what is on the ingress of a device and not in `ours` (program ids).
///
/// # Errors
/// No such device in the calling thread's namespace, no privilege to ask.
pub fn foreign_programs(ifindex: u32, ours: &[u32]) -> Result<Vec<Foreign>, Error> {
    list(ifindex, ours).map_err(|e| Error::on_device("list the programs on ingress", ifindex, e))
}

fn list(ifindex: u32, ours: &[u32]) -> io::Result<Vec<Foreign>> {
    let nl = Netlink::open()?;
    let mut found = Vec::new();
    if let Some(prog_id) = xdp_program(&nl, ifindex)? {
        found.push(Foreign {
            hook: ForeignHook::Xdp,
            prog_id: Some(prog_id),
            name: program_name(prog_id),
        });
    }
    for (prog_id, _) in tcx_programs(ifindex, TCX_INGRESS)? {
        let name = program_name(prog_id);
        found.push(Foreign {
            hook: ForeignHook::Tcx,
            prog_id: Some(prog_id),
            name,
        });
    }
    for filter in tc::filters(&nl, ifindex, tc::INGRESS)? {
        let name = filter.name.unwrap_or(filter.kind);
        found.push(Foreign {
            hook: ForeignHook::Tc,
            prog_id: filter.prog_id,
            name: Some(name),
        });
    }
    // A u32 filter is listed with its hash tables: once is enough.
    found.dedup();
    found.retain(|f| f.prog_id.is_none_or(|id| !ours.contains(&id)));
    Ok(found)
}

/// (program, link) on a tcx hook; none on kernels without tcx.
pub(crate) fn tcx_programs(ifindex: u32, hook: u32) -> io::Result<Vec<(u32, u32)>> {
    match bpf::prog_query(ifindex, hook) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => Ok(Vec::new()),
        other => other,
    }
}

/// The XDP program of a device, if any (`IFLA_XDP` of linux/if_link.h).
fn xdp_program(nl: &Netlink, ifindex: u32) -> io::Result<Option<u32>> {
    const IFINFOMSG: usize = 16;
    const IFLA_XDP: u16 = 43;
    const IFLA_XDP_PROG_ID: u16 = 4;
    let mut body = [0; IFINFOMSG];
    body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    let reply = nl.get(Request::new(libc::RTM_GETLINK, 0, &body))?;
    let xdp = attr(reply.get(IFINFOMSG..).unwrap_or(&[]), IFLA_XDP).unwrap_or(&[]);
    Ok(attr(xdp, IFLA_XDP_PROG_ID)
        .and_then(|id| u32_at(id, 0))
        .filter(|&id| id != 0))
}

/// The name that the program's author gave it; `None` without the privilege to ask.
fn program_name(id: u32) -> Option<String> {
    /// Word of `struct bpf_prog_info` at which the 16 octets of the name start.
    const NAME: usize = 16;
    let info = bpf::info(bpf::prog_by_id(id).ok()?.as_fd()).ok()?;
    let octets: Vec<u8> = info
        .get(NAME..)?
        .iter()
        .flat_map(|w| w.to_ne_bytes())
        .collect();
    Some(crate::netlink::text(&octets)).filter(|name| !name.is_empty())
}
