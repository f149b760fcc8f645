//! The receive ring of a packet socket: TPACKET_V2, memory shared with the kernel.
//!
//! A slot belongs to the kernel or to us, and its first word says to whom: the kernel fills a slot and then sets
//! TP_STATUS_USER; we read it and then set TP_STATUS_KERNEL. [`RxRing::with_next`] keeps that order, so that outside this
//! file a slot is an ordinary borrowed value that can't outlive its turn.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::mman::{mmap, munmap, MapFlags, ProtFlags};
use zerocopy::{Immutable, IntoBytes};

use crate::sys::opt;
use crate::vnet::{VnetHdr, VNET_LEN};

/// Octets of a slot: an ordinary frame with all that the kernel puts in front. Larger frames come through `recv`.
pub(crate) const SLOT: usize = 2048;
/// Octets of a contiguous piece of kernel memory.
const BLOCK: usize = 32 * SLOT;

/// `struct tpacket_req`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Request {
    block_size: u32,
    block_nr: u32,
    frame_size: u32,
    frame_nr: u32,
}

/// What the kernel says about one frame.
pub(crate) struct Slot<'a> {
    /// TP_STATUS_* bits.
    pub status: u32,
    /// Octets of the frame on the wire (without a stripped tag).
    pub len: usize,
    /// The frame, or as much of it as fits the slot.
    pub data: &'a [u8],
    pub vnet: VnetHdr,
    pub vlan_tci: u16,
    pub vlan_tpid: u16,
    /// PACKET_HOST, PACKET_OUTGOING, ...
    pub packet_type: u8,
}

pub(crate) struct RxRing {
    base: NonNull<u8>,
    slots: usize,
    next: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and every access to it goes through `&mut self`.
unsafe impl Send for RxRing {}

impl RxRing {
    /// Sets up and maps a ring of `slots` slots (rounded up to whole blocks) on a packet socket that is not bound yet.
    pub fn new(fd: BorrowedFd<'_>, slots: usize) -> io::Result<Self> {
        let blocks = slots.div_ceil(BLOCK / SLOT).max(1);
        let len = NonZeroUsize::new(blocks * BLOCK).ok_or(io::ErrorKind::InvalidInput)?;
        request(fd, blocks)?;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory that is in use.
        let base = unsafe {
            let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            mmap(None, len, access, MapFlags::MAP_SHARED, fd, 0)
        }?;
        Ok(Self {
            base: base.cast(),
            slots: blocks * BLOCK / SLOT,
            next: 0,
        })
    }

    /// Replaces the ring by a new one of the same size, on the same socket. Frames in the old one are lost.
    ///
    /// After an error there is no ring: [`Self::memory`] is 0 and nothing will come.
    pub fn renew(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let slots = self.slots;
        self.end(fd)?;
        *self = Self::new(fd, slots)?;
        Ok(())
    }

    /// Gives the socket's ring back to the kernel: nothing will come.
    pub fn end(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.unmap();
        request(fd, 0)
    }

    /// True when no filled slot is waiting.
    pub fn is_empty(&mut self) -> bool {
        self.word()
            .is_none_or(|(_, w)| w.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0)
    }

    /// The next slot and its first word. `None`: there is no ring.
    fn word(&mut self) -> Option<(NonNull<u8>, &AtomicU32)> {
        // SAFETY: `next < slots`, so the slot lies inside the mapping, which lives as long as `self` or until `slots` is
        // set to 0. It starts at a multiple of SLOT from a page boundary, so its first word is aligned; both sides use
        // that word atomically.
        (self.next < self.slots).then(|| unsafe {
            let slot = self.base.add(self.next * SLOT);
            (slot, AtomicU32::from_ptr(slot.as_ptr().cast()))
        })
    }

    /// Calls `f` with the oldest filled slot and gives the slot back to the kernel. `None`: there is none.
    pub fn with_next<R>(&mut self, f: impl FnOnce(&Slot<'_>) -> R) -> Option<R> {
        let (slot, word) = self.word()?;
        // Acquire: what the kernel wrote before it handed the slot over is visible now.
        let status = word.load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the slot is ours until the store below, the kernel writes nothing to it; SLOT octets are mapped.
        let bytes = unsafe { std::slice::from_raw_parts(slot.as_ptr(), SLOT) };
        let result = f(&parse(bytes, status));
        // Release: the kernel must not see the slot free before we have read it.
        word.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.slots;
        Some(result)
    }

    /// Octets of shared memory.
    pub fn memory(&self) -> usize {
        self.slots * SLOT
    }

    fn unmap(&mut self) {
        if self.slots > 0 {
            // SAFETY: the mapping was made in `new` with this length, and nothing borrows from it any more. Unmapping
            // a valid mapping does not fail; with `slots` at 0 it is never touched again.
            let _ = unsafe { munmap(self.base.cast(), self.slots * SLOT) };
            self.slots = 0;
        }
    }
}

impl Drop for RxRing {
    fn drop(&mut self) {
        self.unmap();
    }
}

/// PACKET_RX_RING: gives the socket a ring of so many blocks, or with 0 takes it away.
fn request(fd: BorrowedFd<'_>, blocks: usize) -> io::Result<()> {
    let request = Request {
        block_size: if blocks > 0 { BLOCK as u32 } else { 0 },
        block_nr: blocks as u32,
        frame_size: if blocks > 0 { SLOT as u32 } else { 0 },
        frame_nr: (blocks * BLOCK / SLOT) as u32,
    };
    opt::set(fd, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)
}

/// Reads `struct tpacket2_hdr` in front of a slot; offsets that leave the slot give an empty frame.
fn parse(slot: &[u8], status: u32) -> Slot<'_> {
    let u32_at = |at: usize| {
        slot.get(at..at + 4)
            .map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
    };
    let u16_at = |at: usize| {
        slot.get(at..at + 2)
            .map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]))
    };
    let (len, captured, mac) = (
        u32_at(4) as usize,
        u32_at(8) as usize,
        usize::from(u16_at(12)),
    );
    let data = slot.get(mac..mac + captured).unwrap_or_default();
    let mut vnet = [0; VNET_LEN];
    if let Some(b) = mac.checked_sub(VNET_LEN).and_then(|at| slot.get(at..mac)) {
        vnet.copy_from_slice(b);
    }
    // The sockaddr_ll follows the header; its packet type is the octet at 10.
    let packet_type = slot
        .get(libc::TPACKET2_HDRLEN - ADDR_LEN + 10)
        .copied()
        .unwrap_or(0);
    Slot {
        status,
        len,
        data,
        vnet,
        vlan_tci: u16_at(24),
        vlan_tpid: u16_at(26),
        packet_type,
    }
}

const ADDR_LEN: usize = size_of::<libc::sockaddr_ll>();
