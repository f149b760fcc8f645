//! Sockets that send with a priority.
//!
//! A packet socket gives all its frames one priority (`SO_PRIORITY`), and before Linux 6.14 a message can't have one of its
//! own. So frames with a priority leave by sockets that are set to it run by run. There are several, so that no forwarding
//! thread waits for another; they are opened when the first such frame comes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError, TryLockError};

use crate::sys::opt;

/// As many as threads may send at once without waiting.
const SOCKETS: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Sorted([Mutex<Option<Sender>>; SOCKETS]);

#[derive(Debug)]
struct Sender {
    fd: OwnedFd,
    priority: u32,
}

impl Sorted {
    /// Sends through a socket of this priority, which `open` opens when there is none.
    pub fn send<T>(
        &self,
        priority: u32,
        open: impl FnOnce() -> io::Result<OwnedFd>,
        send: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        // By the priority, so that what waits in one queue does not use up the octets of another's socket.
        let first = priority as usize % SOCKETS;
        let mut slots = (0..SOCKETS).map(|i| &self.0[(first + i) % SOCKETS]);
        let free = slots.find_map(|slot| match slot.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        let mut slot = match free {
            Some(guard) => guard,
            None => self.0[first].lock().unwrap_or_else(PoisonError::into_inner),
        };
        let sender = match &mut *slot {
            Some(sender) => sender,
            none => none.insert(Sender {
                fd: open()?,
                priority: 0,
            }),
        };
        if sender.priority != priority {
            opt::set(
                sender.fd.as_fd(),
                libc::SOL_SOCKET,
                libc::SO_PRIORITY,
                &(priority as i32),
            )?;
            sender.priority = priority;
        }
        send(sender.fd.as_fd())
    }
}
