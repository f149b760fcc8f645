//! What every sending port does with a batch: see that the device can take each frame, write the headers, send, and go on
//! behind what was refused.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use rvs_packet::gso::{self, Fit};
use rvs_packet::{csum, Csum, Frame, FramePool};

use crate::stats::Counters;
use crate::traits::TxScratch;
use crate::vnet::{self, VnetHdr};

/// The MTU of a sending port.
#[derive(Debug)]
pub(crate) struct Mtu(AtomicU32);

impl Mtu {
    pub fn new(octets: u32) -> Self {
        Self(AtomicU32::new(octets))
    }

    pub fn set(&self, octets: u32) {
        self.0.store(octets, Ordering::Relaxed);
    }

    pub fn octets(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sends all of `frames` in order through `put`, counts, and gives the buffers to `pool`.
///
/// `put` hands a prefix of its arguments to the device and returns how many frames that were, or the error of the first.
pub(crate) fn send_all(
    counters: &Counters,
    mtu: &Mtu,
    frames: &mut Vec<Frame>,
    pool: &mut FramePool,
    scratch: &mut TxScratch,
    put: impl Fn(&[VnetHdr], &[Frame]) -> io::Result<usize>,
) {
    let mtu = mtu.octets();
    if !frames
        .iter()
        .all(|f| gso::fits(f, mtu) == Fit::AsIs && !is_open_crc(f))
    {
        make_fit(counters, mtu, frames, pool, &mut scratch.ready);
    }
    scratch.headers.clear();
    scratch.headers.extend(frames.iter().map(vnet::encode));
    put_all(counters, &scratch.headers, frames, put);
    for frame in frames.drain(..) {
        pool.give(frame);
    }
}

/// Leaves in `frames` what the device can take: drops what is too big, cuts what it can't be told to cut.
fn make_fit(
    counters: &Counters,
    mtu: u32,
    frames: &mut Vec<Frame>,
    pool: &mut FramePool,
    ready: &mut Vec<Frame>,
) {
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
            Fit::Segment => match gso::segment(&frame, pool, ready) {
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

/// Sends, and goes on behind each frame that is refused.
fn put_all(
    counters: &Counters,
    headers: &[VnetHdr],
    frames: &[Frame],
    put: impl Fn(&[VnetHdr], &[Frame]) -> io::Result<usize>,
) {
    let (mut next, mut retried) = (0, false);
    let (mut packets, mut bytes) = (0, 0);
    while next < frames.len() {
        match put(&headers[next..], &frames[next..]) {
            Ok(sent) => {
                let sent = sent.max(1);
                packets += sent as u64;
                bytes += frames[next..]
                    .iter()
                    .take(sent)
                    .map(|f| f.len() as u64)
                    .sum::<u64>();
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
                Refusal::Other => {
                    counters.tx_errors.add(1);
                    next += 1;
                }
            },
        }
    }
    counters.tx_packets.add(packets);
    counters.tx_bytes.add(bytes);
}

/// What an error says about the frame, and about those behind it.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Again,
    TooBig,
    Full,
    Down,
    Gone,
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
            _ => Self::Other,
        }
    }
}
