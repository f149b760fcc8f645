//! `sendmmsg(2)` of frames with their vnet headers, gathered from where they lie.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rvs_packet::Frame;

use crate::vnet::VnetHdr;

/// Frames handed to the kernel by one call; the arrays for them live on the stack.
pub(crate) const MAX_SEND: usize = 64;

/// Sends the first `min(headers, frames, MAX_SEND)` frames without blocking, and returns how many went.
///
/// Stops at the first frame that the kernel refuses. When that is the very first one, its error is returned.
pub(crate) fn send(fd: BorrowedFd<'_>, headers: &[VnetHdr], frames: &[Frame]) -> io::Result<usize> {
    // SAFETY: all-zero is a valid iovec and mmsghdr (null pointers with zero lengths).
    let (mut iov, mut msgs): ([[libc::iovec; 2]; MAX_SEND], [libc::mmsghdr; MAX_SEND]) =
        unsafe { std::mem::zeroed() };
    let mut n = 0;
    for (((header, frame), iov), msg) in headers.iter().zip(frames).zip(&mut iov).zip(&mut msgs) {
        let bytes = frame.bytes();
        iov[0].iov_base = header.as_ptr().cast_mut().cast();
        iov[0].iov_len = header.len();
        iov[1].iov_base = bytes.as_ptr().cast_mut().cast();
        iov[1].iov_len = bytes.len();
        msg.msg_hdr.msg_iov = iov.as_mut_ptr();
        msg.msg_hdr.msg_iovlen = 2;
        n += 1;
    }
    // SAFETY: the first `n` messages point at the first `n` pairs of `iov`, those at `headers` and `frames`; all of them
    // outlive the call. The kernel reads through the iovecs (sending never writes there, so casting the const away is
    // sound) and writes `msg_len` of each message.
    let sent = unsafe {
        libc::sendmmsg(
            fd.as_raw_fd(),
            msgs.as_mut_ptr(),
            n as libc::c_uint,
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
