//! Closing packet sockets where nobody waits for it.
//!
//! The kernel closes a packet socket only when a grace period is over (`packet_release` of net/packet/af_packet.c: 14 ms on an
//! ordinary kernel). Whoever lets go of one may be a forwarding thread, or have a thousand of them to let go of. So a few
//! threads do the waiting; several at a time wait for the same grace period.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How many wait at a time.
const THREADS: usize = 8;
/// Sockets that may wait to be closed; who comes when there are as many waits itself.
const WAITING: usize = 4096;

static CLOSER: OnceLock<SyncSender<OwnedFd>> = OnceLock::new();

/// A socket that is closed elsewhere once it is dropped.
#[derive(Debug)]
pub(crate) struct LateFd(Option<OwnedFd>);

impl LateFd {
    pub const fn new(fd: OwnedFd) -> Self {
        Self(Some(fd))
    }
}

impl AsFd for LateFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let fd = self.0.as_ref();
        fd.expect("invariant: it is taken out when dropped only")
            .as_fd()
    }
}

impl Drop for LateFd {
    fn drop(&mut self) {
        if let Some(fd) = self.0.take() {
            // What does not find its way there comes back with the error, and is closed here and now.
            let _ = CLOSER.get_or_init(start).try_send(fd);
        }
    }
}

/// Without threads everything is closed by whoever drops it: nobody receives.
fn start() -> SyncSender<OwnedFd> {
    let (give, take) = sync_channel(WAITING);
    let take = Arc::new(Mutex::new(take));
    for _ in 0..THREADS {
        let take = Arc::clone(&take);
        let thread = std::thread::Builder::new().name("closer".to_owned());
        let _ = thread.spawn(move || while close_next(&take) {});
    }
    give
}

fn close_next(take: &Mutex<Receiver<OwnedFd>>) -> bool {
    // Let go of before the socket is closed: a temporary of this statement.
    let next = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
    next.is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_dropped_is_closed_whoever_does_it() {
        for _ in 0..WAITING + THREADS + 2 {
            let (mut here, there) = UnixStream::pair().unwrap();
            drop(LateFd::new(there.into()));
            // The end comes when it is closed.
            assert_eq!(here.read(&mut [0]).unwrap(), 0);
        }
    }
}
