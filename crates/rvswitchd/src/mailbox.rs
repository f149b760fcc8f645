//! From the handler to the control thread: copies for controllers, and flows that learn actions want.
//!
//! Bounded: when control does not keep up, the newest letters are lost and counted. Frames of one port never take the place
//! of another's: they have passed the fair queues of the upcalls before.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use anyhow::{Context, Result};
use crossbeam_channel::{bounded, Receiver, Sender};
use nix::sys::eventfd::{EfdFlags, EventFd};
use rvs_dpif::Upcall;
use rvs_flow::FlowKey;
use rvs_pipeline::PuntNote;
use rvs_slowpath::Taught;

/// Letters that may wait.
const CAPACITY: usize = 8192;

/// One thing for control to do.
pub enum Letter {
    Punt(Box<Upcall>, Arc<PuntNote>),
    Learn(Taught),
    /// The translation of a frame of this key was given up.
    GaveUp(FlowKey),
    /// A flow has come into the kernel's cache, where nothing was forwarded lately.
    KernelForwards,
}

/// Wakes control, with one system call however many letters come before it looks.
#[derive(Debug)]
struct Bell {
    event: EventFd,
    rung: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            // A descriptor of its own that is not full takes a write.
            let _ = self.event.write(1);
        }
    }

    /// To be called before looking: a letter put in after this rings again.
    fn hush(&self) {
        let _ = self.event.read();
        self.rung.store(false, Ordering::SeqCst);
    }
}

/// Where letters are put in.
#[derive(Clone, Debug)]
pub struct Slot {
    letters: Sender<Letter>,
    bell: Arc<Bell>,
    lost: Arc<AtomicU64>,
}

/// Where control takes them out.
pub struct Mailbox {
    letters: Receiver<Letter>,
    bell: Arc<Bell>,
}

/// A box and its slot.
///
/// # Errors
/// When there are no file descriptors left.
pub fn mailbox() -> Result<(Slot, Mailbox)> {
    let (tx, rx) = bounded(CAPACITY);
    let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
        .context("an event descriptor")?;
    let bell = Arc::new(Bell {
        event,
        rung: AtomicBool::new(false),
    });
    let lost = Arc::new(AtomicU64::new(0));
    let slot = Slot {
        letters: tx,
        bell: bell.clone(),
        lost,
    };
    let mailbox = Mailbox { letters: rx, bell };
    Ok((slot, mailbox))
}

impl Slot {
    /// Never blocks.
    pub fn put(&self, letter: Letter) {
        if self.letters.try_send(letter).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.bell.ring();
    }

    /// Letters for which there was no room.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Mailbox {
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.bell.event.as_fd()
    }

    /// At most `max` letters, oldest first. True when more may wait.
    pub fn take(&self, max: usize, out: &mut Vec<Letter>) -> bool {
        self.bell.hush();
        out.extend(self.letters.try_iter().take(max));
        let more = !self.letters.is_empty();
        if more {
            self.bell.ring();
        }
        more
    }
}
