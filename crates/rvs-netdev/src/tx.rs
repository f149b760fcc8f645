//! What every sending port does with a batch: see that the device can take each frame, write the headers, send, and go on
//! behind what was refused.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rvs_packet::gso::{self, Fit};
use rvs_packet::{csum, Csum, Frame, FramePool, GsoKind};

use crate::stats::Counters;
use crate::traits::TxScratch;
use crate::vnet::{self, VnetHdr};

/// What the device of a sending port can take.
#[derive(Debug)]
pub(crate) struct Limits {
    mtu: AtomicU32,
    /// The kernel knows no super-frames of datagrams (Linux before 6.2): segments are sent one by one.
    no_datagrams: AtomicBool,
}

impl Limits {
    /// A device with an MTU of so many octets.
    pub fn new(mtu: u32) -> Self {
        Self {
            mtu: AtomicU32::new(mtu),
            no_datagrams: AtomicBool::new(false),
        }
    }

    pub fn set_mtu(&self, octets: u32) {
        self.mtu.store(octets, Ordering::Relaxed);
    }

    pub fn mtu(&self) -> u32 {
        self.mtu.load(Ordering::Relaxed)
    }

    /// Cuts a super-frame that the kernel cannot be told of, into bundles of datagrams where it can be told of those.
    fn cut(
        &self,
        frame: &Frame,
        pool: &mut FramePool,
        out: &mut Vec<Frame>,
    ) -> Result<(), gso::SegmentError> {
        if self.no_datagrams.load(Ordering::Relaxed) {
            gso::segment(frame, pool, out)
        } else {
            gso::bundle(frame, pool, out)
        }
    }
}

/// Sends all of `frames` in order through `put`, counts, and gives the buffers to `pool`.
///
/// `put` hands a prefix of its arguments to the device and returns how many frames that were, or the error of the first.
pub(crate) fn send_all(
    counters: &Counters,
    limits: &Limits,
    frames: &mut Vec<Frame>,
    pool: &mut FramePool,
    scratch: &mut TxScratch,
    put: impl Fn(&[VnetHdr], &[Frame]) -> io::Result<usize>,
) {
    let mtu = limits.mtu();
    if !frames
        .iter()
        .all(|f| gso::fits(f, mtu) == Fit::AsIs && !is_open_crc(f))
    {
        make_fit(counters, limits, frames, pool, &mut scratch.ready);
    }
    scratch.headers.clear();
    scratch.headers.extend(frames.iter().map(vnet::encode));
    let mut sender = Sender {
        counters,
        limits,
        pool,
        put: &put,
    };
    sender.put_all(&scratch.headers, frames);
    for frame in frames.drain(..) {
        pool.give(frame);
    }
}

/// Leaves in `frames` what the device can take: drops what is too big, cuts what it can't be told to cut.
fn make_fit(
    counters: &Counters,
    limits: &Limits,
    frames: &mut Vec<Frame>,
    pool: &mut FramePool,
    ready: &mut Vec<Frame>,
) {
    let mtu = limits.mtu();
    for mut frame in frames.drain(..) {
        match gso::fits(&frame, mtu) {
            Fit::AsIs if is_open_crc(&frame) && csum::complete(&mut frame).is_err() => {
                counters.tx_errors.add(1);
            }
            Fit::AsIs => {
                ready.push(frame);
                continue;
            }
            Fit::TooBig { .. } => counters.tx_too_big.add(1),
            Fit::Segment => match limits.cut(&frame, pool, ready) {
                Ok(()) => counters.tx_segmented.add(1),
                Err(_) => counters.tx_cannot_segment.add(1),
            },
        }
        pool.give(frame);
    }
    std::mem::swap(frames, ready);
}

/// True for an SCTP checksum that is still to be computed. It is no sum (RFC 9260, 6.8), but the vnet header can only ask
/// for sums.
fn is_open_crc(frame: &Frame) -> bool {
    const SCTP_CHECKSUM: u16 = 8;
    matches!(
        frame.offload.csum,
        Csum::Partial {
            offset: SCTP_CHECKSUM,
            ..
        }
    ) && frame.offload.gso.is_none()
}

/// What sending a batch needs beside the frames.
struct Sender<'a, P> {
    counters: &'a Counters,
    limits: &'a Limits,
    pool: &'a mut FramePool,
    put: &'a P,
}

impl<P: Fn(&[VnetHdr], &[Frame]) -> io::Result<usize>> Sender<'_, P> {
    /// Sends, and goes on behind each frame that is refused.
    fn put_all(&mut self, headers: &[VnetHdr], frames: &[Frame]) {
        let counters = self.counters;
        let (mut next, mut retried) = (0, false);
        let (mut packets, mut bytes) = (0, 0);
        while next < frames.len() {
            match (self.put)(&headers[next..], &frames[next..]) {
                Ok(sent) => {
                    let sent = sent.max(1);
                    for frame in frames[next..].iter().take(sent) {
                        let on_wire = gso::on_wire(frame);
                        packets += on_wire.0;
                        bytes += on_wire.1;
                    }
                    next += sent;
                }
                Err(e) => match Refusal::of(&e) {
                    Refusal::Again => {}
                    // A pending error of the socket says that the device *was* down. It is cleared by being told, so ask
                    // once more before the rest of the batch is given up.
                    Refusal::Down if !retried => retried = true,
                    Refusal::Down | Refusal::Gone => {
                        counters.tx_port_down.add((frames.len() - next) as u64);
                        break;
                    }
                    Refusal::TooBig => {
                        counters.tx_too_big.add(1);
                        next += 1;
                    }
                    Refusal::Full => {
                        counters.tx_queue_full.add(1);
                        next += 1;
                    }
                    Refusal::Unknown if self.put_datagrams(&frames[next]) => next += 1,
                    Refusal::Unknown | Refusal::Other => {
                        counters.tx_errors.add(1);
                        next += 1;
                    }
                },
            }
        }
        counters.tx_packets.add(packets);
        counters.tx_bytes.add(bytes);
    }

    /// Sends the datagrams of a super-frame that this kernel does not know one by one. False when `frame` is none.
    #[cold]
    fn put_datagrams(&mut self, frame: &Frame) -> bool {
        if frame
            .offload
            .gso
            .is_none_or(|gso| gso.kind != GsoKind::UdpL4)
        {
            return false;
        }
        self.limits.no_datagrams.store(true, Ordering::Relaxed);
        let mut datagrams = Vec::new();
        if gso::segment(frame, self.pool, &mut datagrams).is_err() {
            return false;
        }
        self.counters.tx_segmented.add(1);
        let headers: Vec<VnetHdr> = datagrams.iter().map(vnet::encode).collect();
        self.put_all(&headers, &datagrams);
        datagrams.drain(..).for_each(|d| self.pool.give(d));
        true
    }
}

/// What an error says about the frame, and about those behind it.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Again,
    TooBig,
    Full,
    Down,
    Gone,
    /// What the vnet header asks for is unknown, or makes no sense.
    Unknown,
    Other,
}

impl Refusal {
    fn of(e: &io::Error) -> Self {
        match e.raw_os_error() {
            Some(libc::EINTR) => Self::Again,
            Some(libc::EMSGSIZE) => Self::TooBig,
            Some(libc::ENOBUFS | libc::EAGAIN | libc::ENOMEM) => Self::Full,
            // A tap that is down says EIO.
            Some(libc::ENETDOWN | libc::EIO) => Self::Down,
            Some(libc::ENXIO | libc::ENODEV | libc::EBADFD) => Self::Gone,
            Some(libc::EINVAL) => Self::Unknown,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use rvs_packet::{Gso, Offload};

    use super::*;

    /// TCP in VXLAN with an outer checksum: 7 segments of 1,000 octets and one of 500.
    fn tunnelled() -> Frame {
        let mut b = vec![2; 12];
        b.extend([8, 0, 0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0]);
        b.extend([
            192, 0, 2, 1, 192, 0, 2, 2, 0x80, 0, 0x12, 0xb5, 0, 0, 0xab, 0xcd,
        ]);
        b.extend([8, 0, 0, 0, 0, 0, 42, 0]);
        b.extend([4; 12]);
        b.extend([
            8, 0, 0x45, 0, 0, 0, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        b.extend([
            0, 1, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, 0x10, 1, 1, 0, 0, 0, 0,
        ]);
        b.extend([7; 7_500]);
        for (at, from) in [(16, 14), (38, 34), (66, 64)] {
            let len = (b.len() - from) as u16;
            b[at..at + 2].copy_from_slice(&len.to_be_bytes());
        }
        let mut f = Frame::from_slice(&b);
        f.offload = Offload {
            csum: Csum::Partial {
                start: 84,
                offset: 16,
            },
            gso: Some(Gso {
                kind: GsoKind::TcpV4,
                size: 1000,
                hdr_len: 104,
                ecn: false,
            }),
        };
        f
    }

    fn plain(n: u8) -> Frame {
        Frame::from_slice(&[n; 60])
    }

    /// A kernel that knows no datagrams in super-frames gets them one by one, in order, and is asked once.
    #[test]
    fn an_older_kernel_gets_segments() {
        let (counters, limits) = (Counters::default(), Limits::new(1500));
        let (mut pool, mut scratch) = (FramePool::new(), TxScratch::default());
        for old in [false, true] {
            let (sent, refused) = (RefCell::new(Vec::new()), RefCell::new(0));
            for _ in 0..2 {
                let mut frames = vec![plain(1), tunnelled(), plain(2)];
                send_all(
                    &counters,
                    &limits,
                    &mut frames,
                    &mut pool,
                    &mut scratch,
                    |h, f| {
                        assert_eq!(h.len(), f.len());
                        if old && f[0].offload.gso.is_some() {
                            *refused.borrow_mut() += 1;
                            return Err(io::Error::from_raw_os_error(libc::EINVAL));
                        }
                        sent.borrow_mut().push(f[0].clone());
                        Ok(1)
                    },
                );
            }
            let sent = sent.into_inner();
            let one_by_one = if old { 8 } else { 1 };
            assert_eq!(sent.len(), 2 * (1 + one_by_one + 1), "{old}");
            assert_eq!(sent[0], plain(1));
            assert_eq!(sent[1 + one_by_one], plain(2));
            if old {
                let mut want = Vec::new();
                gso::segment(&tunnelled(), &mut pool, &mut want).unwrap();
                let same = |got: &[Frame]| {
                    got.iter()
                        .map(Frame::bytes)
                        .eq(want.iter().map(Frame::bytes))
                };
                assert!(same(&sent[1..9]) && same(&sent[11..19]));
            }
            assert_eq!(refused.into_inner(), usize::from(old));
        }
        assert_eq!(counters.snapshot().tx_lost(), 0);
    }
}
