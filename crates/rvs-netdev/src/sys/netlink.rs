//! Receiving from netlink with the ancillary data that says which namespace a message is about.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// One datagram of the kernel.
pub(crate) struct Datagram {
    /// Octets received; more than the buffer holds means that it was cut.
    pub len: usize,
    /// Namespace id it comes from; `None` is the socket's own.
    pub nsid: Option<i32>,
    /// False when another process sent it.
    pub from_kernel: bool,
}

/// Receives one datagram into `buf` without blocking.
pub(crate) fn recv(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<Datagram> {
    // SAFETY: all-zero is a valid sockaddr_nl and msghdr.
    let (mut addr, mut msg): (libc::sockaddr_nl, libc::msghdr) = unsafe { std::mem::zeroed() };
    // u64s, so that the control messages are aligned as cmsghdr wants.
    let mut control = [0u64; 16];
    let mut iov = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    msg.msg_name = (&raw mut addr).cast();
    msg.msg_namelen = std::mem::size_of_val(&addr) as libc::socklen_t;
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.as_mut_ptr().cast();
    msg.msg_controllen = std::mem::size_of_val(&control);
    // SAFETY: `msg` describes `addr`, `buf` and `control`, each with its true length; all outlive the call.
    let n = unsafe {
        libc::recvmsg(
            fd.as_raw_fd(),
            &raw mut msg,
            libc::MSG_DONTWAIT | libc::MSG_TRUNC,
        )
    };
    let len = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    let mut nsid = None;
    // SAFETY: the kernel filled `control` and set `msg_controllen`; the CMSG macros stay inside it.
    let mut cmsg = unsafe { libc::CMSG_FIRSTHDR(&raw const msg) };
    while !cmsg.is_null() {
        // SAFETY: a non-null header from the CMSG macros lies whole inside `control`.
        let head = unsafe { &*cmsg };
        if head.cmsg_level == libc::SOL_NETLINK && head.cmsg_type == libc::NETLINK_LISTEN_ALL_NSID {
            // SAFETY: this control message carries one int.
            nsid = Some(unsafe { libc::CMSG_DATA(cmsg).cast::<i32>().read_unaligned() });
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        cmsg = unsafe { libc::CMSG_NXTHDR(&raw const msg, cmsg) };
    }
    Ok(Datagram {
        len,
        nsid,
        from_kernel: addr.nl_pid == 0,
    })
}
