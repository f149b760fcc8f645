//! rtnetlink, synchronously: what devices there are, and making and changing them.
//!
//! One [`Rtnl`] speaks for the network namespace of the thread that opened it, forever. A [`Monitor`] hears of changes.
//! Source: `rtnetlink(7)`, `uapi/linux/if_link.h`.

mod link;
mod monitor;
mod queueing;
mod wire;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};
use rvs_packet::MacAddr;

pub use link::{Link, LinkRef, LinkStats, NotAPort, Role};
pub use monitor::{Event, Monitor};
pub use queueing::{ClassStats, HtbClass, Qdisc};
use wire::{attrs, messages, u32_at, Message, Request};

use crate::sys::{netlink, opt};

const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
/// Larger than any datagram that the kernel makes of a dump.
const BUFFER: usize = 64 * 1024;
/// A dump that raced with a change is repeated this often before it is taken as it is.
const DUMP_TRIES: usize = 5;

/// What went wrong, and in which request.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct RtnlError {
    what: String,
    source: io::Error,
}

impl RtnlError {
    /// The errno of the kernel's answer.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    fn new(what: &str, source: impl Into<io::Error>) -> Self {
        Self {
            what: what.to_owned(),
            source: source.into(),
        }
    }
}

pub type Result<T> = std::result::Result<T, RtnlError>;

/// One end of a veth pair to be made. It is made DOWN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VethEnd<'a> {
    /// At most 15 octets.
    pub name: &'a str,
    pub mac: MacAddr,
    pub mtu: u32,
    /// Without ARP (IFF_NOARP): nobody answers on it.
    pub no_arp: bool,
}

/// What to change of a device; `None` and `false` leave as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change<'a> {
    pub up: Option<bool>,
    pub mtu: Option<u32>,
    pub mac: Option<MacAddr>,
    pub name: Option<&'a str>,
    pub alias: Option<&'a str>,
    /// Let IPv6 make no link-local address.
    pub no_ipv6_address: bool,
}

/// An rtnetlink socket for requests.
#[derive(Debug)]
pub struct Rtnl {
    fd: OwnedFd,
    seq: u32,
    buf: Vec<u8>,
}

fn socket(groups: u32) -> io::Result<OwnedFd> {
    let fd = nix::sys::socket::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    nix::sys::socket::bind(
        std::os::fd::AsRawFd::as_raw_fd(&fd),
        &NetlinkAddr::new(0, groups),
    )?;
    Ok(fd)
}

impl Rtnl {
    /// Opens a socket in this thread's network namespace.
    pub fn open() -> io::Result<Self> {
        let fd = socket(0)?;
        // Answers carry the kernel's own words about a refusal only if asked; the errno is enough for us. What is worth
        // having is a short answer: without a copy of the request.
        opt::set(fd.as_fd(), libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, &1i32)?;
        Ok(Self {
            fd,
            seq: 0,
            buf: vec![0; BUFFER],
        })
    }

    /// All devices of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        for _ in 0..DUMP_TRIES {
            links.clear();
            let mut request = Request::new(libc::RTM_GETLINK, libc::NLM_F_DUMP);
            request.ifinfo(0, 0, 0);
            let clean = self.exchange("list devices", request, |m| {
                if m.kind == libc::RTM_NEWLINK {
                    links.extend(Link::parse(m.body, None));
                }
            })?;
            if clean {
                break;
            }
        }
        Ok(links)
    }

    /// The device of that name in the namespace, if there is one.
    pub fn link_by_name(&mut self, name: &str) -> Result<Option<Link>> {
        if name.is_empty() || name.len() >= libc::IFNAMSIZ {
            return Ok(None);
        }
        let mut request = Request::new(libc::RTM_GETLINK, libc::NLM_F_ACK);
        request.ifinfo(0, 0, 0);
        request.attr_str(libc::IFLA_IFNAME, name);
        self.one_link(request, None)
    }

    /// The device that `link` names, also in another namespace that this one has an id for. `None`: it is gone, or its
    /// namespace is.
    pub fn link(&mut self, link: LinkRef) -> Result<Option<Link>> {
        let mut request = Request::new(libc::RTM_GETLINK, libc::NLM_F_ACK);
        request.ifinfo(link.index, 0, 0);
        if let Some(nsid) = link.nsid {
            request.attr_u32(libc::IFLA_TARGET_NETNSID, nsid as u32);
        }
        self.one_link(request, link.nsid)
    }

    fn one_link(&mut self, request: Request, nsid: Option<i32>) -> Result<Option<Link>> {
        let mut found = None;
        let answer = self.exchange("find a device", request, |m| {
            if m.kind == libc::RTM_NEWLINK {
                found = Link::parse(m.body, nsid);
            }
        });
        match answer {
            Ok(_) => Ok(found),
            // EINVAL: the namespace id is not in use any more.
            Err(e) if e.errno() == Some(libc::ENODEV) => Ok(None),
            Err(e) if e.errno() == Some(libc::EINVAL) && nsid.is_some() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes a veth pair, both ends DOWN, with names, addresses and MTU from the start.
    pub fn create_veth(&mut self, a: &VethEnd<'_>, b: &VethEnd<'_>) -> Result<()> {
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut request = Request::new(libc::RTM_NEWLINK, flags);
        veth_end(&mut request, a);
        let info = request.nest(libc::IFLA_LINKINFO);
        request.attr_str(libc::IFLA_INFO_KIND, "veth");
        let data = request.nest(libc::IFLA_INFO_DATA);
        let peer = request.nest(VETH_INFO_PEER);
        veth_end(&mut request, b);
        request.end(peer);
        request.end(data);
        request.end(info);
        let what = format!("make the veth pair {} and {}", a.name, b.name);
        self.exchange(&what, request, |_| {}).map(drop)
    }

    /// Deletes a device (a veth: both ends).
    pub fn delete(&mut self, index: u32) -> Result<()> {
        let mut request = Request::new(libc::RTM_DELLINK, libc::NLM_F_ACK);
        request.ifinfo(index, 0, 0);
        self.exchange("delete a device", request, |_| {}).map(drop)
    }

    /// Changes a device of the namespace. Changes that were made before one is refused stay.
    pub fn change(&mut self, index: u32, change: &Change<'_>) -> Result<()> {
        let up = libc::IFF_UP as u32;
        let mut request = Request::new(libc::RTM_SETLINK, libc::NLM_F_ACK);
        let (flags, mask) = match change.up {
            Some(true) => (up, up),
            Some(false) => (0, up),
            None => (0, 0),
        };
        request.ifinfo(index, flags, mask);
        if let Some(mtu) = change.mtu {
            request.attr_u32(libc::IFLA_MTU, mtu);
        }
        if let Some(mac) = change.mac {
            request.attr(libc::IFLA_ADDRESS, &mac.0);
        }
        if let Some(name) = change.name {
            request.attr_str(libc::IFLA_IFNAME, name);
        }
        if let Some(alias) = change.alias {
            request.attr(libc::IFLA_IFALIAS, alias.as_bytes());
        }
        if change.no_ipv6_address {
            let spec = request.nest(libc::IFLA_AF_SPEC);
            let inet6 = request.nest(libc::AF_INET6 as u16);
            request.attr(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
            request.end(inet6);
            request.end(spec);
        }
        self.exchange("change a device", request, |_| {}).map(drop)
    }

    /// The IP addresses of a device with their prefix lengths, link-local IPv6 ones included.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<(IpAddr, u8)>> {
        let mut request = Request::new(libc::RTM_GETADDR, libc::NLM_F_DUMP);
        // struct ifaddrmsg: any family, one device.
        request.raw(&[0; 4]);
        request.raw(&index.to_ne_bytes());
        let mut found = Vec::new();
        // Only who asks to be taken at his word gets one device's, and not the whole table's, which with many ports is long.
        let strict = |this: &Self, on: i32| {
            opt::set(
                this.fd.as_fd(),
                libc::SOL_NETLINK,
                libc::NETLINK_GET_STRICT_CHK,
                &on,
            )
        };
        let is_strict = strict(self, 1).is_ok();
        let answer = self.exchange("list addresses", request, |m| {
            if m.kind == libc::RTM_NEWADDR && u32_at(m.body, 4) == Some(index) {
                found.extend(address(m.body));
            }
        });
        if is_strict {
            // Other questions are not worded that strictly.
            let _ = strict(self, 0);
        }
        match answer {
            // It is gone meanwhile.
            Err(e) if e.errno() == Some(libc::ENODEV) => Ok(Vec::new()),
            answer => answer.map(|_| found),
        }
    }

    /// Sends a request and gives every message of the answer to `each`. False: a dump raced with a change.
    fn exchange(
        &mut self,
        what: &str,
        request: Request,
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<bool> {
        self.seq = self.seq.wrapping_add(1);
        let bytes = request.finish(self.seq);
        let fd = std::os::fd::AsRawFd::as_raw_fd(&self.fd);
        nix::sys::socket::send(fd, &bytes, MsgFlags::empty())
            .map_err(|e| RtnlError::new(what, e))?;
        let mut clean = true;
        loop {
            let n = self.receive().map_err(|e| RtnlError::new(what, e))?;
            for m in messages(&self.buf[..n]).filter(|m| m.seq == self.seq) {
                clean &= m.flags & libc::NLM_F_DUMP_INTR as u16 == 0;
                match i32::from(m.kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        let code = u32_at(m.body, 0).map_or(0, |c| c as i32);
                        return if code < 0 {
                            Err(RtnlError::new(what, io::Error::from_raw_os_error(-code)))
                        } else {
                            Ok(clean)
                        };
                    }
                    _ => each(&m),
                }
            }
        }
    }

    /// Waits for one datagram of the kernel.
    fn receive(&mut self) -> io::Result<usize> {
        use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
        loop {
            match netlink::recv(self.fd.as_fd(), &mut self.buf) {
                Ok(d) if d.from_kernel => return Ok(d.len.min(self.buf.len())),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
                    // The kernel answers within the call; five seconds mean that no answer will come.
                    match poll(&mut fds, PollTimeout::from(5000u16)) {
                        Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                        Err(e) => return Err(e.into()),
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }
}

fn veth_end(request: &mut Request, end: &VethEnd<'_>) {
    let no_arp = if end.no_arp {
        libc::IFF_NOARP as u32
    } else {
        0
    };
    request.ifinfo(0, no_arp, no_arp);
    request.attr_str(libc::IFLA_IFNAME, end.name);
    request.attr(libc::IFLA_ADDRESS, &end.mac.0);
    request.attr_u32(libc::IFLA_MTU, end.mtu);
}

/// Address and prefix length of RTM_NEWADDR (`struct ifaddrmsg`: family, prefix length, flags, scope, index).
fn address(body: &[u8]) -> Option<(IpAddr, u8)> {
    let prefix = *body.get(1)?;
    // On point-to-point devices IFA_ADDRESS is the other side; IFA_LOCAL is ours wherever it is given.
    let find = |kind| {
        attrs(body.get(8..)?)
            .find(|(k, _)| *k == kind)
            .map(|(_, v)| v)
    };
    let value = find(libc::IFA_LOCAL).or_else(|| find(libc::IFA_ADDRESS))?;
    let ip = match *value {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => IpAddr::from(<[u8; 16]>::try_from(value).ok()?),
    };
    Some((ip, prefix))
}
