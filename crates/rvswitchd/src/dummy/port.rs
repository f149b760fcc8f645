//! A port without a device: frames come from commands, and go into counters, files, and ports that it is joined to.

use std::collections::VecDeque;
use std::fs::File;
use std::io::BufWriter;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nix::sys::eventfd::{EfdFlags, EventFd};
use rvs_netdev::{
    FrameSink, FrameSource, Liveness, PcapSink, PortNo, PortStats, Received, Transmit, TxScratch,
};
use rvs_packet::{Frame, FramePool};

use crate::clock;
use crate::worker::Source;

/// Frames that may wait to be received.
const QUEUE: usize = 4096;

/// A capture file.
type Capture = PcapSink<BufWriter<File>>;

/// Where frames are written down: those that came in, and those that went out.
#[derive(Debug, Default)]
pub struct Captures {
    /// The file of both, or of each.
    both: Option<Capture>,
    rx: Option<Capture>,
    tx: Option<Capture>,
}

impl Captures {
    /// Begins the files that `options` of the interface name: `pcap`, or `rxq_pcap` and `tx_pcap`.
    ///
    /// # Errors
    /// When one can't be written, in words.
    pub fn open(options: &[(String, String)]) -> Result<Self, String> {
        let file = |key: &str| {
            let path = options.iter().find(|(k, _)| k == key).map(|(_, v)| v);
            let open = |path: &String| {
                let made = File::create(Path::new(path)).map(BufWriter::new);
                let begun = made.and_then(PcapSink::new);
                begun
                    .map(|mut file| {
                        // Who reads the file before the first frame finds one that is whole.
                        file.flush(&mut FramePool::new());
                        file
                    })
                    .map_err(|e| format!("{path}: {e}"))
            };
            path.map(open).transpose()
        };
        Ok(Self {
            both: file("pcap")?,
            rx: file("rxq_pcap")?,
            tx: file("tx_pcap")?,
        })
    }
}

fn write(capture: &mut Option<Capture>, frames: &[Frame]) {
    let Some(capture) = capture else { return };
    capture.set_time(clock::now());
    for frame in frames {
        // Of a full disk nobody hears but who reads the file.
        let _ = capture.push(0, frame.clone());
    }
    capture.flush(&mut FramePool::new());
}

#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub struct DummyPort {
    number: PortNo,
    waiting: Mutex<VecDeque<Frame>>,
    captures: Mutex<Captures>,
    /// What goes out here comes in there.
    peers: Mutex<Vec<Weak<DummyPort>>>,
    event: EventFd,
    up: AtomicBool,
    rx: [Counter; 2],
    tx: [Counter; 2],
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DummyPort {
    /// # Errors
    /// When there are no file descriptors left.
    pub fn new(number: PortNo, captures: Captures) -> nix::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            number,
            waiting: Mutex::default(),
            captures: Mutex::new(captures),
            peers: Mutex::default(),
            event: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
            up: AtomicBool::new(true),
            rx: Default::default(),
            tx: Default::default(),
        }))
    }

    pub fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }

    pub fn set_captures(&self, captures: Captures) {
        *lock(&self.captures) = captures;
    }

    /// Joins the port to these, in place of others.
    pub fn join(&self, peers: Vec<Weak<Self>>) {
        *lock(&self.peers) = peers;
    }

    /// Whether it is joined to another.
    pub fn is_joined(&self) -> bool {
        lock(&self.peers).iter().any(|p| p.strong_count() > 0)
    }

    /// As if this frame had come in. A port that is down takes none.
    pub fn receive(&self, frame: Frame) {
        if !self.up.load(Ordering::Relaxed) {
            return;
        }
        let mut captures = lock(&self.captures);
        write(&mut captures.rx, std::slice::from_ref(&frame));
        write(&mut captures.both, std::slice::from_ref(&frame));
        let mut waiting = lock(&self.waiting);
        if waiting.len() < QUEUE {
            waiting.push_back(frame);
        }
        drop(waiting);
        // A descriptor of its own that is not full takes a write.
        let _ = self.event.write(1);
    }

    /// Whether every frame has been taken.
    pub fn is_idle(&self) -> bool {
        lock(&self.waiting).is_empty()
    }

    /// Frames and octets in, frames and octets out.
    pub fn counted(&self) -> ([u64; 2], [u64; 2]) {
        let read = |pair: &[Counter; 2]| [pair[0].read(), pair[1].read()];
        (read(&self.rx), read(&self.tx))
    }
}

impl Transmit for DummyPort {
    fn transmit(&self, frames: &mut Vec<Frame>, pool: &mut FramePool, _: &mut TxScratch) {
        let mut captures = lock(&self.captures);
        write(&mut captures.tx, frames);
        write(&mut captures.both, frames);
        drop(captures);
        let peers: Vec<Arc<Self>> = lock(&self.peers).iter().filter_map(Weak::upgrade).collect();
        for frame in frames.drain(..) {
            for peer in &peers {
                peer.receive(frame.clone());
            }
            self.tx[0].add(1);
            self.tx[1].add(frame.len() as u64);
            pool.give(frame);
        }
    }

    fn set_mtu(&self, _: u32) {}

    fn stats(&self) -> PortStats {
        let ([rx_packets, rx_bytes], [tx_packets, tx_bytes]) = self.counted();
        PortStats {
            rx_packets,
            rx_bytes,
            tx_packets,
            tx_bytes,
            ..PortStats::default()
        }
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct DummyRx(pub Arc<DummyPort>);

impl FrameSource for DummyRx {
    fn recv_batch(&mut self, _: &mut FramePool, out: &mut Vec<Received>, max: usize) -> usize {
        let port = &self.0;
        let mut waiting = lock(&port.waiting);
        if waiting.is_empty() {
            let _ = port.event.read();
            return 0;
        }
        let n = max.min(waiting.len());
        for frame in waiting.drain(..n) {
            port.rx[0].add(1);
            port.rx[1].add(frame.len() as u64);
            let port = port.number;
            out.push(Received { port, frame });
        }
        n
    }

    fn liveness(&mut self) -> Liveness {
        Liveness::Live
    }
}

impl Source for DummyRx {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}
