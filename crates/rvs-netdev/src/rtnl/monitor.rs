//! Hearing of devices that come, change and go, here and in the namespaces that our veth ends were moved to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::link::Link;
use super::wire::{messages, u32_at};
use super::BUFFER;
use crate::sys::{netlink, opt};

const RTMGRP_LINK: u32 = 1;
const RTMGRP_TC: u32 = 8;
/// Place of the device's index in a message about queueing disciplines and filters (`struct tcmsg`).
const TCM_IFINDEX: usize = 4;

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A device came or changed; this is its present state.
    Changed(Box<Link>),
    /// A device was deleted or moved to another namespace; this was its last state.
    Removed(Box<Link>),
    /// A queueing discipline or filter of the device of this namespace with that index came, changed or went.
    Queueing(u32),
    /// Events were lost (more than the socket holds): list everything anew.
    Resync,
}

/// A socket that hears every change of a device, and of how its frames are queued and filtered.
#[derive(Debug)]
pub struct Monitor {
    fd: OwnedFd,
    buf: Vec<u8>,
}

impl Monitor {
    /// Listens in this thread's network namespace, and where the kernel allows it (Linux 4.2, CAP_NET_BROADCAST) in those
    /// that it has ids for.
    ///
    /// Open the monitor first and list the devices then; what changes in between is told twice, never lost.
    pub fn open() -> io::Result<Self> {
        let fd = super::socket(RTMGRP_LINK | RTMGRP_TC)?;
        let octets = 4i32 << 20;
        if opt::set(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &octets).is_err() {
            let _ = opt::set(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, &octets);
        }
        let _ = opt::set(
            fd.as_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_LISTEN_ALL_NSID,
            &1i32,
        );
        Ok(Self {
            fd,
            buf: vec![0; BUFFER],
        })
    }

    /// To poll for input.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Appends what has happened, at most about `max` events; never blocks. True: there may be more.
    pub fn read(&mut self, out: &mut Vec<Event>, max: usize) -> io::Result<bool> {
        while out.len() < max {
            match netlink::recv(self.fd.as_fd(), &mut self.buf) {
                Ok(d) if !d.from_kernel => {}
                Ok(d) if d.len > self.buf.len() => out.push(Event::Resync),
                Ok(d) => {
                    let events = messages(&self.buf[..d.len]).filter_map(|m| match m.kind {
                        libc::RTM_NEWLINK => {
                            Link::parse(m.body, d.nsid).map(|l| Event::Changed(Box::new(l)))
                        }
                        libc::RTM_DELLINK => {
                            Link::parse(m.body, d.nsid).map(|l| Event::Removed(Box::new(l)))
                        }
                        libc::RTM_NEWQDISC
                        | libc::RTM_DELQDISC
                        | libc::RTM_NEWTFILTER
                        | libc::RTM_DELTFILTER
                            if d.nsid.is_none() =>
                        {
                            u32_at(m.body, TCM_IFINDEX).map(Event::Queueing)
                        }
                        _ => None,
                    });
                    out.extend(events);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => out.push(Event::Resync),
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }
}
