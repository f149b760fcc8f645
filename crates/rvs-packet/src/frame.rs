//! One frame in memory: owned bytes, headroom in front, offload metadata beside.

use std::fmt;

use crate::offload::{Csum, Offload};

/// An Ethernet frame without FCS.
///
/// The bytes live in the middle of a buffer: headroom in front lets tags and labels be pushed without moving the payload.
/// Buffers are reused through a [`FramePool`]; nothing on the hot path allocates.
pub struct Frame {
    buf: Box<[u8]>,
    start: usize,
    end: usize,
    pub offload: Offload,
    /// What the queueing discipline of the device that it leaves by sorts it by (`skb->priority`): 0, or the handle of a class.
    pub priority: u32,
}

impl Frame {
    /// Octets kept free in front of a received frame: a vnet header, a PBB header and several tags and labels.
    pub const HEADROOM: usize = 64;
    /// Octets of a buffer for ordinary frames.
    pub const SMALL: usize = 2048;
    /// Octets of a buffer for super-frames: 64 KiB of IP and all that stands in front.
    pub const LARGE: usize = 65_536 + 512;

    /// An empty frame over a buffer of `capacity` octets, of which [`Self::HEADROOM`] lie in front.
    pub fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.max(Self::HEADROOM);
        Self {
            buf: vec![0; capacity].into_boxed_slice(),
            start: Self::HEADROOM,
            end: Self::HEADROOM,
            offload: Offload::NONE,
            priority: 0,
        }
    }

    /// A plain frame with a copy of `bytes`.
    pub fn from_slice(bytes: &[u8]) -> Self {
        let mut f = Self::with_capacity((Self::HEADROOM + bytes.len()).max(Self::SMALL));
        f.fill(bytes);
        f
    }

    /// A copy, metadata included, in a buffer of its own that is no larger than needed: for a frame that leaves this thread
    /// and its [`FramePool`] for good.
    pub fn compact_copy(&self) -> Self {
        let mut f = Self::with_capacity(Self::HEADROOM + self.len());
        f.copy_from(self);
        f
    }

    /// Replaces the contents by `bytes`, without metadata. Grows the buffer if it is too small.
    pub fn fill(&mut self, bytes: &[u8]) {
        self.prepare(bytes.len()).copy_from_slice(bytes);
    }

    /// Makes the frame `len` octets long, contents unspecified, without metadata, and returns them for writing.
    pub fn prepare(&mut self, len: usize) -> &mut [u8] {
        if Self::HEADROOM + len > self.buf.len() {
            self.buf = vec![0; Self::HEADROOM + len].into_boxed_slice();
        }
        self.start = Self::HEADROOM;
        self.end = Self::HEADROOM + len;
        self.offload = Offload::NONE;
        self.priority = 0;
        &mut self.buf[self.start..self.end]
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..self.end]
    }

    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }

    pub const fn capacity(&self) -> usize {
        self.buf.len()
    }

    /// Shortens the frame to `len` octets; longer than it is changes nothing.
    pub fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }

    /// Inserts `n` zero octets at `at` (counted from the Ethernet header) and moves the offload offsets along.
    ///
    /// The octets *before* `at` move, so that a tag behind the addresses costs a copy of 12 octets. `at` past the end is
    /// taken as the end.
    pub fn insert(&mut self, at: usize, n: usize) {
        let at = at.min(self.len());
        if self.start < n {
            self.grow_front(n);
        }
        let new_start = self.start - n;
        self.buf.copy_within(self.start..self.start + at, new_start);
        self.start = new_start;
        self.buf[new_start + at..new_start + at + n].fill(0);
        self.shift_offsets(at, n, true);
    }

    /// Removes `n` octets at `at` and moves the offload offsets along. What lies past the end is not removed.
    pub fn remove(&mut self, at: usize, n: usize) {
        let at = at.min(self.len());
        let n = n.min(self.len() - at);
        self.buf
            .copy_within(self.start..self.start + at, self.start + n);
        self.start += n;
        self.shift_offsets(at, n, false);
    }

    fn shift_offsets(&mut self, at: usize, n: usize, grows: bool) {
        let n = n as u16;
        let moved = |v: u16| {
            if grows {
                v.saturating_add(n)
            } else {
                v.saturating_sub(n)
            }
        };
        if let Csum::Partial { start, .. } = &mut self.offload.csum {
            if usize::from(*start) >= at {
                *start = moved(*start);
            }
        }
        if let Some(gso) = &mut self.offload.gso {
            gso.hdr_len = moved(gso.hdr_len);
        }
    }

    fn grow_front(&mut self, n: usize) {
        let front = n + Self::HEADROOM;
        let mut buf = vec![0; front + self.len() + (self.buf.len() - self.end)].into_boxed_slice();
        let end = front + self.len();
        buf[front..end].copy_from_slice(self.bytes());
        self.buf = buf;
        self.start = front;
        self.end = end;
    }

    /// Copies contents and metadata of `other` into this buffer.
    pub fn copy_from(&mut self, other: &Self) {
        self.fill(other.bytes());
        self.offload = other.offload;
        self.priority = other.priority;
    }
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        let mut f = Self::from_slice(self.bytes());
        f.offload = self.offload;
        f.priority = self.priority;
        f
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes() && self.offload == other.offload
    }
}

impl Eq for Frame {}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} octets, {:?}, ", self.len(), self.offload)?;
        for b in self.bytes().iter().take(64) {
            write!(f, "{b:02x}")?;
        }
        f.write_str(if self.len() > 64 { "..)" } else { ")" })
    }
}

/// Empty frames to reuse, in two sizes. Bounded: what exceeds the bound is freed.
#[derive(Debug, Default)]
pub struct FramePool {
    small: Vec<Frame>,
    large: Vec<Frame>,
}

impl FramePool {
    pub const MAX_SMALL: usize = 1024;
    pub const MAX_LARGE: usize = 64;

    pub fn new() -> Self {
        Self {
            small: Vec::with_capacity(Self::MAX_SMALL),
            large: Vec::with_capacity(Self::MAX_LARGE),
        }
    }

    /// A frame of `len` octets with unspecified contents, from the pool if one fits.
    pub fn take(&mut self, len: usize) -> Frame {
        let small = Frame::HEADROOM + len <= Frame::SMALL;
        let pooled = if small {
            self.small.pop()
        } else {
            self.large.pop()
        };
        let mut f = pooled.unwrap_or_else(|| {
            Frame::with_capacity(if small { Frame::SMALL } else { Frame::LARGE })
        });
        f.prepare(len);
        f
    }

    /// A copy of `frame`, metadata included, in a pooled buffer.
    pub fn copy(&mut self, frame: &Frame) -> Frame {
        let mut f = self.take(frame.len());
        f.copy_from(frame);
        f
    }

    /// Takes a used frame back.
    pub fn give(&mut self, frame: Frame) {
        let (list, max) = if frame.capacity() >= Frame::LARGE {
            (&mut self.large, Self::MAX_LARGE)
        } else if frame.capacity() >= Frame::SMALL {
            (&mut self.small, Self::MAX_SMALL)
        } else {
            return;
        };
        if list.len() < max {
            list.push(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insert_and_remove_are_inverse_and_move_the_checksum_offset() {
        let bytes: Vec<u8> = (0..60).collect();
        let mut f = Frame::from_slice(&bytes);
        f.offload.csum = Csum::Partial {
            start: 34,
            offset: 16,
        };
        f.insert(12, 4);
        assert_eq!(f.len(), 64);
        assert_eq!(&f.bytes()[..12], &bytes[..12]);
        assert_eq!(&f.bytes()[16..], &bytes[12..]);
        assert_eq!(
            f.offload.csum,
            Csum::Partial {
                start: 38,
                offset: 16
            }
        );
        f.remove(12, 4);
        assert_eq!(f.bytes(), &bytes[..]);
        assert_eq!(
            f.offload.csum,
            Csum::Partial {
                start: 34,
                offset: 16
            }
        );
    }

    #[test]
    fn a_compact_copy_is_equal_and_small() {
        let mut f = Frame::from_slice(&[3; 60]);
        f.offload.csum = Csum::Verified;
        let copy = f.compact_copy();
        assert_eq!(copy, f);
        assert_eq!(copy.capacity(), Frame::HEADROOM + 60);
    }

    #[test]
    fn headroom_grows_when_it_is_used_up() {
        let mut f = Frame::from_slice(&[7; 20]);
        for _ in 0..40 {
            f.insert(12, 4);
        }
        assert_eq!(f.len(), 180);
        assert_eq!(&f.bytes()[172..], &[7; 8]);
    }

    #[test]
    fn remove_past_the_end_takes_what_is_there() {
        let mut f = Frame::from_slice(&[1, 2, 3, 4]);
        f.remove(3, 10);
        assert_eq!(f.bytes(), &[1, 2, 3]);
        f.remove(9, 1);
        assert_eq!(f.len(), 3);
    }

    #[test]
    fn pool_reuses_by_size_and_is_bounded() {
        let mut p = FramePool::new();
        let big = p.take(60_000);
        assert!(big.capacity() >= Frame::LARGE);
        p.give(big);
        assert_eq!(p.take(100).capacity(), Frame::SMALL);
        for _ in 0..FramePool::MAX_SMALL + 5 {
            p.give(Frame::with_capacity(Frame::SMALL));
        }
        assert_eq!(p.small.len(), FramePool::MAX_SMALL);
    }
}
