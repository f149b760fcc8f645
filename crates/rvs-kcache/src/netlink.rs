//! A small rtnetlink client (RFC 3549): requests built octet by octet, replies walked without trust in their lengths.
//!
//! Only what traffic control and the XDP question need; every request is answered or timed out within
//! [`TIMEOUT_SECS`], because the caller is the daemon's control thread.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    recv, send, setsockopt, socket, sockopt, AddressFamily, MsgFlags, SockFlag, SockProtocol,
    SockType,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// How long the kernel may take for one reply.
const TIMEOUT_SECS: i64 = 5;
/// A dump that was interrupted by a change is asked for again this many times.
const DUMP_TRIES: usize = 5;
const HEADER: usize = 16;
/// The kernel packs dumps into at most as much.
const BUFFER: usize = 32 * 1024;
const NLM_F_DUMP_INTR: u16 = 0x10;

/// A request under construction.
pub(crate) struct Request {
    buf: Vec<u8>,
}

impl Request {
    /// `flags` beside `NLM_F_REQUEST`; `body` is the fixed part of the family (`tcmsg`, `ifinfomsg`).
    pub fn new(kind: u16, flags: i32, body: &[u8]) -> Self {
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        let mut buf = vec![0; HEADER];
        buf[4..6].copy_from_slice(&kind.to_ne_bytes());
        buf[6..8].copy_from_slice(&flags.to_ne_bytes());
        buf.extend_from_slice(body);
        Self { buf }
    }

    pub fn attr(mut self, kind: u16, payload: &[u8]) -> Self {
        put_attr(&mut self.buf, kind, payload);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let len = self.buf.len() as u32;
        self.buf[..4].copy_from_slice(&len.to_ne_bytes());
        self.buf
    }
}

/// Appends one attribute; also how the payload of a nested one is made.
pub(crate) fn put_attr(buf: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    let len = (4 + payload.len()) as u16;
    buf.extend_from_slice(&len.to_ne_bytes());
    buf.extend_from_slice(&kind.to_ne_bytes());
    buf.extend_from_slice(payload);
    buf.resize(buf.len().next_multiple_of(4), 0);
}

/// The attributes in `bytes`; stops at the first whose length is a lie.
pub(crate) fn attrs(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (len, kind) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
        let payload = bytes.get(4..usize::from(len))?;
        bytes = bytes
            .get(usize::from(len).next_multiple_of(4)..)
            .unwrap_or(&[]);
        Some((kind & !(libc::NLA_F_NESTED as u16), payload))
    })
}

/// The payload of the first attribute of that kind.
pub(crate) fn attr(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attrs(bytes)
        .find(|(k, _)| *k == kind)
        .map(|(_, payload)| payload)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A text attribute up to its NUL.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// One conversation with the kernel, in the network namespace of the thread that opened it.
pub(crate) struct Netlink {
    socket: OwnedFd,
    /// What was received last. No message of the kernel's is longer.
    buf: RefCell<Vec<u8>>,
}

impl Netlink {
    pub fn open() -> io::Result<Self> {
        Self::of(SockProtocol::NetlinkRoute)
    }

    /// To talk to netfilter instead of rtnetlink.
    pub fn netfilter() -> io::Result<Self> {
        Self::of(SockProtocol::NetlinkNetFilter)
    }

    fn of(protocol: SockProtocol) -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )?;
        setsockopt(
            &socket,
            sockopt::ReceiveTimeout,
            &TimeVal::seconds(TIMEOUT_SECS),
        )?;
        let buf = RefCell::new(vec![0; BUFFER]);
        Ok(Self { socket, buf })
    }

    /// Carries out a change; `Ok` once the kernel has acknowledged it.
    pub fn change(
        &self,
        kind: u16,
        flags: i32,
        body: &[u8],
        attrs: &[(u16, &[u8])],
    ) -> io::Result<()> {
        let mut request = Request::new(kind, flags | libc::NLM_F_ACK, body);
        for (kind, payload) in attrs {
            request = request.attr(*kind, payload);
        }
        self.exchange(request.finish(), |_, _| ()).map(drop)
    }

    /// Asks for one object; returns its message after the netlink header.
    pub fn get(&self, request: Request) -> io::Result<Vec<u8>> {
        let mut found = None;
        self.exchange(request.finish(), |_, body| found = Some(body.to_vec()))?;
        found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }

    /// Asks for all objects; returns each message after its netlink header.
    pub fn dump(&self, kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        for _ in 0..DUMP_TRIES {
            let mut found = Vec::new();
            let request = Request::new(kind, libc::NLM_F_DUMP, body).finish();
            if self.exchange(request, |_, body| found.push(body.to_vec()))? {
                return Ok(found);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "the device table changes faster than it can be read",
        ))
    }

    /// Sends and reads until the acknowledgement or the end of the dump. `false`: the dump is not consistent.
    fn exchange(&self, request: Vec<u8>, mut each: impl FnMut(u16, &[u8])) -> io::Result<bool> {
        let wants_more =
            u16_at(&request, 6).unwrap_or(0) & (libc::NLM_F_ACK | libc::NLM_F_DUMP) as u16;
        let fd = self.socket.as_raw_fd();
        send(fd, &request, MsgFlags::empty())?;
        let mut buf = self.buf.borrow_mut();
        let mut consistent = true;
        loop {
            let n = match recv(fd, &mut buf, MsgFlags::empty()) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other?,
            };
            let mut rest = buf.get(..n).unwrap_or(&[]);
            while let Some((kind, flags, body, next)) = message(rest) {
                rest = next;
                consistent &= flags & NLM_F_DUMP_INTR == 0;
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(consistent),
                    libc::NLMSG_ERROR => return verdict(body).map(|()| consistent),
                    _ => each(kind, body),
                }
                if wants_more == 0 {
                    return Ok(consistent);
                }
            }
        }
    }
}

/// (kind, flags, body, what follows)
fn message(bytes: &[u8]) -> Option<(u16, u16, &[u8], &[u8])> {
    let len = u32_at(bytes, 0)? as usize;
    let body = bytes.get(HEADER..len)?;
    let next = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    Some((u16_at(bytes, 4)?, u16_at(bytes, 6)?, body, next))
}

fn verdict(body: &[u8]) -> io::Result<()> {
    match u32_at(body, 0).map(|e| e as i32) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
        None => Err(io::Error::from_raw_os_error(libc::EBADMSG)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn attributes_round_trip_and_lies_end_the_walk() {
        let mut buf = Vec::new();
        put_attr(&mut buf, 1, b"clsact\0");
        put_attr(&mut buf, 2 | libc::NLA_F_NESTED as u16, &7u32.to_ne_bytes());
        assert_eq!(buf.len(), 12 + 8);
        assert_eq!(text(attr(&buf, 1).unwrap()), "clsact");
        assert_eq!(u32_at(attr(&buf, 2).unwrap(), 0), Some(7));
        assert_eq!(attr(&buf, 3), None);
        for len in [0u16, 3, 13, 0xffff] {
            let mut lying = buf.clone();
            lying[..2].copy_from_slice(&len.to_ne_bytes());
            // No panic and no endless walk; 13 makes the first attribute end inside the second one.
            assert!(attrs(&lying).count() <= 2, "length {len}");
        }
        for cut in 0..buf.len() {
            assert!(attrs(&buf[..cut]).count() <= 2);
        }
    }

    #[test]
    fn messages_with_lying_lengths_are_not_read() {
        let good = Request::new(libc::RTM_GETQDISC, 0, &[0; 20]).finish();
        assert!(message(&good).is_some());
        for len in [0u32, 15, 37, u32::MAX] {
            let mut lying = good.clone();
            lying[..4].copy_from_slice(&len.to_ne_bytes());
            assert!(message(&lying).is_none(), "length {len}");
        }
        assert!(verdict(&[]).is_err());
        assert_eq!(
            verdict(&(-libc::EPERM).to_ne_bytes())
                .unwrap_err()
                .raw_os_error(),
            Some(libc::EPERM)
        );
    }

    #[test]
    fn the_kernel_knows_the_loopback_device() {
        let body = [&[0u8; 4][..], &1i32.to_ne_bytes(), &[0; 8]].concat();
        let reply = Netlink::open()
            .unwrap()
            .get(Request::new(libc::RTM_GETLINK, 0, &body))
            .unwrap();
        assert_eq!(text(attr(&reply[16..], libc::IFLA_IFNAME).unwrap()), "lo");
    }
}
