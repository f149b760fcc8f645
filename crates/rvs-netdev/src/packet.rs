//! A port on an existing network device: a packet socket with a receive ring.
//!
//! **Receive.** A TPACKET_V2 ring of 2 KiB slots takes ordinary frames without a system call per frame. A frame that is
//! larger than its slot (a super-frame, a jumbo frame) is flagged and waits whole in the socket's queue, from where it is
//! fetched in ring order, straight into a frame buffer. Both ways carry a vnet header, because without it the kernel
//! would hand over unfinished checksums silently. A VLAN tag that the kernel took off stands in the slot's header, and is put
//! back.
//!
//! **Order of the setup.** The socket has protocol 0, so that it receives nothing, until the ring stands and the device is
//! chosen; binding is the last step. No frame of another device is ever seen.
//!
//! **Two halves, two sockets.** A port may send only ([`open_sender`]): its socket has protocol 0 and hears nothing, and
//! somebody else takes the device's frames. A socket that has once listened can't be made deaf again (binding it to protocol
//! 0 leaves the protocol as it is), so that [`PacketTx::receive`] opens one of its own, which ends with the receiving half.
//!
//! **Frames of many ports.** A source whose frames carry a header of our own in front ([`PacketRx::with_head`]) takes it off
//! before anything else, and tells each frame's port from it.
//!
//! **Send.** `sendmmsg`, through the device's queueing discipline (so that shaping and tcpdump see the
//! frames). [`PacketTx`] takes `&self`: any thread may send.
//!
//! **A ring that gets stuck.** Kernels up to at least 6.18 mark a slot as taken before they find out that they have no vnet
//! header for a frame (UDP fragmentation offload, which a tap may deliver), and never give that slot back: every later
//! frame is dropped, and poll stays silent. [`PacketRx::tend`] notices and replaces the ring.
//!
//! **A device that goes away.** Set down, it reports an error once and comes back by itself. Deleted or moved to another
//! namespace, the socket is dead ([`Liveness::Gone`]): the owner opens a new one when the device is there again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nix::sys::socket::{AddressFamily, SockFlag, SockType};
use rvs_packet::{gso, Frame, FramePool};

use crate::late::LateFd;
use crate::rtnl::Link;
use crate::sorted::Sorted;
use crate::stats::{Counters, PortStats};
use crate::sys::mmsg;
use crate::sys::opt::{self, PacketMreq, PacketStats};
use crate::sys::ring::{RxRing, Slot};
use crate::traits::{FrameSource, Liveness, PortNo, Received, Transmit, TxScratch};
use crate::tx::{self, Limits};
use crate::vlan::restore_tag;
use crate::vnet::{self, VnetError, VNET_LEN};

const TPACKET_V2: i32 = 1;
const PACKET_OUTGOING: u8 = 4;
/// Octets of the largest frame taken from a device: 64 KiB of IP payload with all that stands in front.
const MAX_FRAME: usize = Frame::LARGE - Frame::HEADROOM;
/// A batch ends at this many octets, so that the super-frames in it still lie in the processor's cache when they are sent.
const BATCH_OCTETS: usize = 256 * 1024;

/// Sizes of a port's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketConfig {
    /// Slots of the receive ring, 2 KiB each; rounded up to a multiple of 32, at most [`Self::MAX_SLOTS`].
    pub slots: usize,
    /// Octets that frames larger than a slot may take up in the kernel while they wait. Not allocated in advance.
    pub receive_buffer: i32,
    /// Octets of frames sent and not yet taken by the device.
    pub send_buffer: i32,
}

impl PacketConfig {
    /// 4 MiB: the memory that a port may take.
    pub const MAX_SLOTS: usize = 2048;
}

impl Default for PacketConfig {
    fn default() -> Self {
        Self {
            slots: 1536,
            receive_buffer: 8 << 20,
            send_buffer: 4 << 20,
        }
    }
}

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("packet sockets need CAP_NET_RAW: {0}")]
    NoPrivilege(io::Error),
    #[error("no such device")]
    NoDevice,
    #[error("{step}: {source}")]
    Step {
        step: &'static str,
        source: io::Error,
    },
}

impl OpenError {
    fn at(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NoPrivilege(source),
            Some(libc::ENODEV | libc::ENXIO) => Self::NoDevice,
            _ => Self::Step { step, source },
        }
    }
}

#[derive(Debug)]
struct Shared {
    /// To send.
    fd: LateFd,
    /// The receiving half's, while there is one.
    ears: Mutex<Weak<OwnedFd>>,
    ifindex: u32,
    limits: Limits,
    counters: Counters,
    /// To send frames that have a priority.
    sorted: Sorted,
    send_buffer: i32,
}

impl Shared {
    fn ears(&self) -> Option<Arc<OwnedFd>> {
        self.ears
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade()
    }

    /// A socket as `fd` is one.
    fn open_sorted(&self) -> io::Result<OwnedFd> {
        let open = || {
            let fd = raw_socket()?;
            buffer(
                fd.as_fd(),
                libc::SO_SNDBUFFORCE,
                libc::SO_SNDBUF,
                self.send_buffer,
            );
            opt::bind_packet(fd.as_fd(), self.ifindex, false).map_err(OpenError::at("bind"))?;
            Ok(fd)
        };
        open().map_err(|e: OpenError| match e {
            OpenError::NoPrivilege(source) | OpenError::Step { source, .. } => source,
            OpenError::NoDevice => io::Error::from_raw_os_error(libc::ENODEV),
        })
    }

    /// Adds what the kernel dropped since the last time (it forgets when asked, so nothing is counted twice).
    fn collect_drops(&self) {
        let Some(ears) = self.ears() else { return };
        let stats =
            opt::query::<PacketStats>(ears.as_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS);
        if let Ok(s) = stats {
            self.counters.rx_dropped.add(u64::from(s.drops));
        }
    }
}

/// Tells the port that a frame with a header in front belongs to, and how many octets that header has; `None`: it is not
/// one of ours.
pub type SplitHead = fn(&[u8]) -> Option<(PortNo, usize)>;

/// The receiving half: owns the ring.
pub struct PacketRx {
    shared: Arc<Shared>,
    fd: Arc<OwnedFd>,
    ring: RxRing,
    port: PortNo,
    head: Option<SplitHead>,
    /// Slots consumed ever.
    taken: u64,
    /// `taken`, and the frames dropped, when [`Self::tend`] looked last.
    seen: (u64, u64),
}

/// The sending half; clone it for every thread that sends.
#[derive(Clone, Debug)]
pub struct PacketTx {
    shared: Arc<Shared>,
}

/// Opens an Ethernet device of this thread's network namespace as port `port`: promiscuous, own transmissions not received
/// back.
///
/// A device that is down is opened all the same. Whether it should be a port at all is [`Link::can_be_port`]'s to say.
pub fn open(
    device: &Link,
    port: PortNo,
    config: &PacketConfig,
) -> Result<(PacketRx, PacketTx), OpenError> {
    let tx = open_sender(device, config)?;
    let rx = tx.receive(port, config)?;
    Ok((rx, tx))
}

/// Opens a device as [`open`] does, to send only.
pub fn open_sender(device: &Link, config: &PacketConfig) -> Result<PacketTx, OpenError> {
    let fd = raw_socket()?;
    buffer(
        fd.as_fd(),
        libc::SO_SNDBUFFORCE,
        libc::SO_SNDBUF,
        config.send_buffer,
    );
    let membership = PacketMreq {
        ifindex: device.index as i32,
        kind: libc::PACKET_MR_PROMISC as u16,
        alen: 0,
        address: [0; 8],
    };
    opt::set(
        fd.as_fd(),
        libc::SOL_PACKET,
        libc::PACKET_ADD_MEMBERSHIP,
        &membership,
    )
    .map_err(OpenError::at("PACKET_ADD_MEMBERSHIP"))?;
    opt::bind_packet(fd.as_fd(), device.index, false).map_err(OpenError::at("bind"))?;
    let shared = Arc::new(Shared {
        fd: LateFd::new(fd),
        ears: Mutex::new(Weak::new()),
        ifindex: device.index,
        limits: Limits::new(device.mtu),
        counters: Counters::default(),
        sorted: Sorted::default(),
        send_buffer: config.send_buffer,
    });
    Ok(PacketTx { shared })
}

/// A packet socket that hears nothing yet, with vnet headers.
fn raw_socket() -> Result<OwnedFd, OpenError> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = nix::sys::socket::socket(AddressFamily::Packet, SockType::Raw, flags, None)
        .map_err(|e| OpenError::at("packet socket")(e.into()))?;
    set_packet(&fd, "PACKET_VNET_HDR", libc::PACKET_VNET_HDR, 1)?;
    Ok(fd)
}

fn set_packet(fd: &OwnedFd, step: &'static str, name: i32, value: i32) -> Result<(), OpenError> {
    opt::set(fd.as_fd(), libc::SOL_PACKET, name, &value).map_err(OpenError::at(step))
}

/// Asks for a buffer size, beyond the system's limit where that is allowed. Smaller is slower, not wrong.
fn buffer(fd: BorrowedFd<'_>, force: i32, ask: i32, octets: i32) {
    if opt::set(fd, libc::SOL_SOCKET, force, &octets).is_err() {
        let _ = opt::set(fd, libc::SOL_SOCKET, ask, &octets);
    }
}

/// Counts of one batch, added to the port's counters at its end.
#[derive(Default)]
struct Batch {
    /// Taken, and what they are on a wire.
    frames: usize,
    octets: usize,
    packets: u64,
    bytes: u64,
    truncated: u64,
    bad_offload: u64,
    unknown_gso: u64,
    errors: u64,
}

impl Batch {
    fn refused(&mut self, e: VnetError) {
        match e {
            VnetError::UnknownGso(_) => self.unknown_gso += 1,
            _ => self.bad_offload += 1,
        }
    }

    fn add_to(&self, c: &Counters) {
        c.rx_packets.add(self.packets);
        c.rx_bytes.add(self.bytes);
        c.rx_truncated.add(self.truncated);
        c.rx_bad_offload.add(self.bad_offload);
        c.rx_unknown_gso.add(self.unknown_gso);
        c.rx_errors.add(self.errors);
    }
}

impl PacketRx {
    /// Takes a header off every frame, which also says whose it is; what has none is counted and dropped.
    #[must_use]
    pub fn with_head(mut self, split: SplitHead) -> Self {
        self.head = Some(split);
        self
    }

    /// To poll for input and errors.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub fn ifindex(&self) -> u32 {
        self.shared.ifindex
    }

    pub fn port(&self) -> PortNo {
        self.port
    }

    /// Octets of kernel memory that the ring takes.
    pub fn memory(&self) -> usize {
        self.ring.memory()
    }

    /// To be called about once a second, also when nothing comes: replaces a stuck ring. True if it did.
    ///
    /// A ring is stuck when frames were dropped although none was consumed and none is waiting: with all slots free there
    /// is no other reason to drop.
    pub fn tend(&mut self) -> bool {
        self.shared.collect_drops();
        let now = (self.taken, self.shared.counters.rx_dropped.read());
        let stuck = now.0 == self.seen.0 && now.1 > self.seen.1 && self.ring.is_empty();
        self.seen = now;
        if stuck {
            self.shared.counters.rx_resets.add(1);
            // Without a ring the port is gone, which `liveness` tells.
            let _ = self.ring.renew(self.fd.as_fd());
        }
        stuck
    }
}

impl FrameSource for PacketRx {
    fn recv_batch(&mut self, pool: &mut FramePool, out: &mut Vec<Received>, max: usize) -> usize {
        let fd = self.fd.as_fd();
        let mut batch = Batch::default();
        // Slots that give no frame count too: a flood of them must not hold the thread here.
        for _ in 0..max {
            if batch.octets >= BATCH_OCTETS {
                break;
            }
            let ways = (self.port, self.head);
            match self
                .ring
                .with_next(|slot| take(fd, slot, ways, pool, &mut batch))
            {
                None => break,
                Some(None) => self.taken += 1,
                Some(Some(received)) => {
                    self.taken += 1;
                    let (packets, bytes) = gso::on_wire(&received.frame);
                    batch.frames += 1;
                    batch.octets += received.frame.len();
                    batch.packets += packets;
                    batch.bytes += bytes;
                    out.push(received);
                }
            }
        }
        batch.add_to(&self.shared.counters);
        batch.frames
    }

    fn liveness(&mut self) -> Liveness {
        let fd = self.fd.as_fd();
        let error = opt::query::<i32>(fd, libc::SOL_SOCKET, libc::SO_ERROR).unwrap_or(0);
        let bound = opt::bound_ifindex(fd).is_ok_and(|index| index == Some(self.shared.ifindex));
        if !bound || self.ring.memory() == 0 {
            Liveness::Gone
        } else if error == libc::ENETDOWN {
            Liveness::Down
        } else {
            Liveness::Live
        }
    }
}

/// The frame in a slot, or behind it in the socket's queue. `None`: nothing to keep, counted where it is a loss.
fn take(
    fd: BorrowedFd<'_>,
    slot: &Slot<'_>,
    (mut port, head): (PortNo, Option<SplitHead>),
    pool: &mut FramePool,
    batch: &mut Batch,
) -> Option<Received> {
    let mut frame = if slot.status & libc::TP_STATUS_COPY != 0 {
        fetch_whole(fd, slot, pool, batch)?
    } else if slot.data.len() < slot.len {
        batch.truncated += 1;
        return None;
    } else {
        let mut f = pool.take(slot.data.len());
        f.bytes_mut().copy_from_slice(slot.data);
        f
    };
    if slot.packet_type == PACKET_OUTGOING {
        pool.give(frame);
        return None;
    }
    match vnet::decode(&slot.vnet, frame.len()) {
        Ok(offload) => frame.offload = offload,
        Err(e) => {
            batch.refused(e);
            pool.give(frame);
            return None;
        }
    }
    if let Some(split) = head {
        let Some((of, octets)) = split(frame.bytes()) else {
            batch.errors += 1;
            pool.give(frame);
            return None;
        };
        port = of;
        frame.remove(0, octets);
    }
    if slot.status & libc::TP_STATUS_VLAN_VALID != 0 {
        let known = slot.status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
        restore_tag(&mut frame, slot.vlan_tci, known.then_some(slot.vlan_tpid));
    }
    Some(Received { port, frame })
}

/// Receives the frame that waits whole. It must be received even if it is not wanted, or every later one would be taken
/// for its predecessor.
fn fetch_whole(
    fd: BorrowedFd<'_>,
    slot: &Slot<'_>,
    pool: &mut FramePool,
    batch: &mut Batch,
) -> Option<Frame> {
    let mut frame = pool.take(slot.len.min(MAX_FRAME));
    let mut vnet = [0; VNET_LEN];
    let mut iov = [
        io::IoSliceMut::new(&mut vnet),
        io::IoSliceMut::new(frame.bytes_mut()),
    ];
    let got = nix::sys::uio::readv(fd, &mut iov);
    match got {
        Ok(n) if n == VNET_LEN + slot.len => return Some(frame),
        Ok(_) => batch.truncated += 1,
        Err(_) => batch.errors += 1,
    }
    pool.give(frame);
    None
}

impl PacketTx {
    pub fn ifindex(&self) -> u32 {
        self.shared.ifindex
    }

    /// Starts receiving, as port `port`. There is one receiving half at a time: its predecessor has been dropped.
    ///
    /// # Errors
    /// The socket, its ring or its binding is refused.
    pub fn receive(&self, port: PortNo, config: &PacketConfig) -> Result<PacketRx, OpenError> {
        let fd = raw_socket()?;
        set_packet(&fd, "PACKET_VERSION", libc::PACKET_VERSION, TPACKET_V2)?;
        set_packet(&fd, "PACKET_COPY_THRESH", libc::PACKET_COPY_THRESH, 1)?;
        // Since Linux 4.20; before, such frames are recognised by their packet type.
        let _ = set_packet(
            &fd,
            "PACKET_IGNORE_OUTGOING",
            libc::PACKET_IGNORE_OUTGOING,
            1,
        );
        buffer(
            fd.as_fd(),
            libc::SO_RCVBUFFORCE,
            libc::SO_RCVBUF,
            config.receive_buffer,
        );
        let ring = RxRing::new(fd.as_fd(), config.slots.min(PacketConfig::MAX_SLOTS))
            .map_err(OpenError::at("PACKET_RX_RING"))?;
        opt::bind_packet(fd.as_fd(), self.shared.ifindex, true).map_err(OpenError::at("bind"))?;
        let fd = Arc::new(fd);
        *self
            .shared
            .ears
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&fd);
        Ok(PacketRx {
            shared: self.shared.clone(),
            fd,
            ring,
            port,
            head: None,
            taken: 0,
            seen: (0, 0),
        })
    }

    /// From here on no frame of the device is received: what has been received already can still be read, until the
    /// receiving half is dropped.
    ///
    /// # Errors
    /// The kernel's.
    pub fn mute(&self) -> io::Result<()> {
        self.shared
            .ears()
            .map_or(Ok(()), |ears| opt::refuse_all(ears.as_fd()))
    }
}

/// The priority of the first frame, and how many frames have it in a row.
fn run(frames: &[Frame]) -> (u32, usize) {
    let first = frames.first().map_or(0, |f| f.priority);
    let n = frames.iter().position(|f| f.priority != first);
    (first, n.unwrap_or(frames.len()))
}

impl Transmit for PacketTx {
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
            |headers, frames| match run(frames) {
                (0, n) => mmsg::send(fd, &headers[..n], &frames[..n]),
                (priority, n) => self.shared.sorted.send(
                    priority,
                    || self.shared.open_sorted(),
                    |fd| mmsg::send(fd, &headers[..n], &frames[..n]),
                ),
            },
        );
    }

    fn set_mtu(&self, mtu: u32) {
        self.shared.limits.set_mtu(mtu);
    }

    fn stats(&self) -> PortStats {
        self.shared.collect_drops();
        self.shared.counters.snapshot()
    }
}
