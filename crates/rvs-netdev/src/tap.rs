//! A port on a tap device: frames that the host sends into the device are read from a file, and the other way round.
//!
//! The vnet header stands in front of every frame here too, so that super-frames and partial checksums pass both ways.
//! The file keeps working when the device is renamed or moved to another namespace. A device that did not exist is made
//! and lives as long as the file; an existing (persistent) one is attached to and stays.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::sys::uio::{readv, writev};
use rvs_packet::{gso, Frame, FramePool};

use crate::stats::{Counters, PortStats};
use crate::sys::opt;
use crate::traits::{FrameSource, Liveness, PortNo, Received, Transmit, TxScratch};
use crate::tx::{self, Limits};
use crate::vnet::{self, VnetError, VnetHdr, VNET_LEN};

/// Octets of the largest frame taken from the device.
const MAX_FRAME: usize = Frame::LARGE - Frame::HEADROOM;
/// Frames up to this length are copied out of the large buffer that they were read into.
const COPY_UP_TO: usize = Frame::SMALL - Frame::HEADROOM;
/// As for rings: a batch ends at this many octets.
const BATCH_OCTETS: usize = 256 * 1024;

#[derive(Debug)]
struct Shared {
    fd: OwnedFd,
    limits: Limits,
    counters: Counters,
}

/// The receiving half: what the host sends into the device.
#[derive(Debug)]
pub struct TapRx {
    shared: Arc<Shared>,
    port: PortNo,
    /// Where the next frame is read to, before its length is known.
    landing: Option<Frame>,
}

/// The sending half; clone it for every thread that sends.
#[derive(Clone, Debug)]
pub struct TapTx {
    shared: Arc<Shared>,
}

/// Attaches to the tap `name` as port `port`; makes it, DOWN, if there is none.
///
/// Errors: `EBUSY` when another program holds it, `EINVAL` when the device of that name is no tap, `EPERM` without
/// CAP_NET_ADMIN.
pub fn open(name: &str, port: PortNo) -> io::Result<(TapRx, TapTx)> {
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::open("/dev/net/tun", flags, Mode::empty())?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    opt::tun_attach(fd.as_fd(), name, flags as i16)?;
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    // UDP segmentation since Linux 6.2.
    opt::tun_offload(fd.as_fd(), tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6)
        .or_else(|_| opt::tun_offload(fd.as_fd(), tcp))?;
    let shared = Arc::new(Shared {
        fd,
        limits: Limits::new(u32::MAX),
        counters: Counters::default(),
    });
    Ok((
        TapRx {
            shared: shared.clone(),
            port,
            landing: None,
        },
        TapTx { shared },
    ))
}

impl TapRx {
    /// To poll for input and errors.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.shared.fd.as_fd()
    }

    /// Reads one frame. `None`: there is none now.
    fn read(&mut self, pool: &mut FramePool) -> Option<Result<Frame, VnetError>> {
        let mut landing = self.landing.take().unwrap_or_else(|| pool.take(MAX_FRAME));
        let mut hdr = [0; VNET_LEN];
        let got = {
            let into = landing.prepare(MAX_FRAME);
            let mut iov = [io::IoSliceMut::new(&mut hdr), io::IoSliceMut::new(into)];
            readv(self.shared.fd.as_fd(), &mut iov)
        };
        let len = match got {
            Ok(n) if n >= VNET_LEN => n - VNET_LEN,
            other => {
                if !matches!(
                    other,
                    Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR)
                ) {
                    self.shared.counters.rx_errors.add(1);
                }
                self.landing = Some(landing);
                return None;
            }
        };
        landing.truncate(len);
        let offload = match vnet::decode(&hdr, len) {
            Ok(offload) => offload,
            Err(e) => {
                self.landing = Some(landing);
                return Some(Err(e));
            }
        };
        let mut frame = if len <= COPY_UP_TO {
            let mut small = pool.take(len);
            small.bytes_mut().copy_from_slice(landing.bytes());
            self.landing = Some(landing);
            small
        } else {
            landing
        };
        frame.offload = offload;
        Some(Ok(frame))
    }
}

impl FrameSource for TapRx {
    fn recv_batch(&mut self, pool: &mut FramePool, out: &mut Vec<Received>, max: usize) -> usize {
        let (mut frames, mut octets) = (0, 0);
        let (mut packets, mut bytes) = (0, 0);
        for _ in 0..max {
            if octets >= BATCH_OCTETS {
                break;
            }
            match self.read(pool) {
                None => break,
                Some(Err(VnetError::UnknownGso(_))) => self.shared.counters.rx_unknown_gso.add(1),
                Some(Err(_)) => self.shared.counters.rx_bad_offload.add(1),
                Some(Ok(frame)) => {
                    frames += 1;
                    octets += frame.len();
                    let on_wire = gso::on_wire(&frame);
                    packets += on_wire.0;
                    bytes += on_wire.1;
                    out.push(Received {
                        port: self.port,
                        frame,
                    });
                }
            }
        }
        self.shared.counters.rx_packets.add(packets);
        self.shared.counters.rx_bytes.add(bytes);
        frames
    }

    fn liveness(&mut self) -> Liveness {
        use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
        let mut fds = [PollFd::new(self.fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(_)
                if fds[0]
                    .revents()
                    .is_some_and(|r| r.contains(PollFlags::POLLERR)) =>
            {
                Liveness::Gone
            }
            _ => Liveness::Live,
        }
    }
}

impl Transmit for TapTx {
    fn transmit(&self, frames: &mut Vec<Frame>, pool: &mut FramePool, scratch: &mut TxScratch) {
        let fd = self.shared.fd.as_fd();
        let Shared {
            counters, limits, ..
        } = &*self.shared;
        tx::send_all(
            counters,
            limits,
            frames,
            pool,
            scratch,
            |headers, frames| write_some(fd, headers, frames),
        );
    }

    fn set_mtu(&self, mtu: u32) {
        self.shared.limits.set_mtu(mtu);
    }

    fn stats(&self) -> PortStats {
        self.shared.counters.snapshot()
    }
}

/// Writes frames up to the first refused; a tap takes one frame per call.
fn write_some(fd: BorrowedFd<'_>, headers: &[VnetHdr], frames: &[Frame]) -> io::Result<usize> {
    for (i, (header, frame)) in headers.iter().zip(frames).enumerate() {
        match writev(
            fd,
            &[io::IoSlice::new(header), io::IoSlice::new(frame.bytes())],
        ) {
            Ok(_) => {}
            Err(e) if i == 0 => return Err(e.into()),
            Err(_) => return Ok(i),
        }
    }
    Ok(frames.len())
}
