//! A forwarding thread: receives in bursts, runs tiers 1 and 2, sends, and obeys its inbox.
//!
//! It sleeps in `epoll_wait` when nothing moves, and waits for nobody else. Whoever writes to the inbox wakes it through an
//! eventfd, and only when it sleeps.

use std::os::fd::BorrowedFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ahash::AHashMap;
use anyhow::{Context, Result};
use crossbeam_channel::{bounded, Receiver, Sender};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use rvs_datapath::perf::{Laps, Off, Perf, Stage, Watch};
use rvs_datapath::{Datapath, FrameBatch, WorkerCounters};
use rvs_dpif::{DpCommand, DropReason, Megaflow, Standing, WorkerId};
use rvs_flow::DpPort;
use rvs_netdev::{FrameSource, Liveness, Received};
use rvs_packet::{gso, Frame, Now};
use rvs_slowpath::{UpcallQueues, UpcallSender, UpcallSenders};

use crate::acks::AckBoard;
use crate::clock;
use crate::egress::{Outputs, TxPort};

/// Commands that may wait in a worker's inbox. The sender waits when it is full: a worker empties it without waiting for
/// anybody.
const INBOX: usize = 16_384;
/// Commands obeyed between two looks at the ports.
const INBOX_TURN: usize = 256;
/// Frames taken from one port before the next port's turn.
const BATCH: usize = FrameBatch::MAX;
/// How often an awake worker asks which other ports have become ready, in turns over the ready ones.
const READY_EVERY: u32 = 8;
/// Epoll token of the inbox.
const INBOX_TOKEN: u64 = u64::MAX;
/// Number of the source that carries the frames of many ports: what the kernel's cache hands up. No port has it.
pub const PUNTS: DpPort = DpPort(u32::MAX - 1);

/// A source of frames that can be polled.
pub trait Source: FrameSource + Send {
    fn fd(&self) -> BorrowedFd<'_>;

    /// Looks after the source about once a second, also when it is silent.
    fn tend(&mut self) {}
}

impl Source for rvs_netdev::PacketRx {
    fn fd(&self) -> BorrowedFd<'_> {
        rvs_netdev::PacketRx::fd(self)
    }

    fn tend(&mut self) {
        rvs_netdev::PacketRx::tend(self);
    }
}

impl Source for rvs_netdev::tap::TapRx {
    fn fd(&self) -> BorrowedFd<'_> {
        rvs_netdev::tap::TapRx::fd(self)
    }
}

/// Opens the queue in which a new port's misses go up.
pub fn add_queue(queues: &Mutex<UpcallQueues>, port: DpPort) -> UpcallSender {
    let mut queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
    queues.add_port(port)
}

/// What the other threads tell a worker.
pub enum Order {
    Command(DpCommand),
    /// Receive from this port from now on.
    Receive {
        port: DpPort,
        source: Box<dyn Source>,
        upcalls: UpcallSender,
    },
    /// Receive frames that tell their ports themselves.
    ReceivePunts(Box<dyn Source>),
    /// Frames of this port come with the punts.
    Expect {
        port: DpPort,
        upcalls: UpcallSender,
        received: Arc<PuntCount>,
    },
    /// Stop receiving from it. Whoever waits is told by the end of the channel.
    Ignore {
        port: DpPort,
        done: Option<Sender<()>>,
    },
    /// Send to this port from now on.
    Output(TxPort),
    /// The port's device changed.
    Adjust {
        port: DpPort,
        mtu: u32,
        up: bool,
    },
    NoOutput(DpPort),
    /// Say, by the end of the channel, that a turn has begun.
    Pass(Sender<()>),
    /// There is a kernel cache: name the flows that it is for.
    Nominate,
    /// Look after the sources: a silent one may be stuck.
    Tend,
    /// Tell where time goes until this moment, or no longer.
    Profile(Option<(Arc<Perf>, Now)>),
    Stop,
}

/// Frames of one port that were handed up.
#[derive(Debug, Default)]
pub struct PuntCount {
    pub packets: AtomicU64,
    pub bytes: AtomicU64,
}

/// Where flows are nominated for the kernel's cache.
#[derive(Clone, Debug)]
pub struct Nominator {
    queue: Sender<Arc<Megaflow>>,
    /// Wakes the handler.
    bell: Sender<()>,
}

/// Nominations that may wait; one that finds no room is made again with the flow's next frame.
const NOMINATIONS: usize = 1024;

impl Nominator {
    pub fn new(bell: Sender<()>) -> (Self, Receiver<Arc<Megaflow>>) {
        let (queue, waiting) = bounded(NOMINATIONS);
        (Self { queue, bell }, waiting)
    }

    fn nominate(&self, flow: Arc<Megaflow>) {
        match self.queue.try_send(flow) {
            // A full bell already rings.
            Ok(()) => drop(self.bell.try_send(())),
            Err(e) => e.into_inner().stats.set_standing(Standing::Unasked),
        }
    }
}

/// The other threads' end of a worker.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    inbox: Sender<Order>,
    wake: Arc<Wake>,
    pub counters: Arc<WorkerCounters>,
}

#[derive(Debug)]
struct Wake {
    event: EventFd,
    asleep: AtomicBool,
    /// Panics caught; each cost one frame.
    poison: AtomicU64,
    /// Frames handed up for ports that take none.
    stray: AtomicU64,
}

impl WorkerHandle {
    /// Puts an order into the inbox; waits for room. A worker that has ended takes no orders.
    pub fn send(&self, order: Order) {
        if self.inbox.send(order).is_ok() {
            self.ring();
        }
    }

    fn ring(&self) {
        if self.wake.asleep.swap(false, Ordering::SeqCst) {
            // The counter can't overflow: one write per sleep.
            let _ = self.wake.event.write(1);
        }
    }

    pub fn poisoned(&self) -> u64 {
        self.wake.poison.load(Ordering::Relaxed)
    }

    /// Frames that were handed up when their port had just left the kernel's cache.
    pub fn stray(&self) -> u64 {
        self.wake.stray.load(Ordering::Relaxed)
    }
}

struct Port {
    port: DpPort,
    source: Box<dyn Source>,
    ready: bool,
}

struct Worker {
    id: WorkerId,
    datapath: Datapath,
    ports: Vec<Port>,
    /// Ports whose frames are handed up.
    expected: AHashMap<DpPort, Arc<PuntCount>>,
    nominator: Nominator,
    upcalls: UpcallSenders,
    outputs: Outputs,
    inbox: Receiver<Order>,
    acks: Arc<AckBoard>,
    wake: Arc<Wake>,
    epoll: Epoll,
    received: Vec<Received>,
    batch: FrameBatch,
    /// Who wants to know where time goes, and until when.
    profile: Option<(Arc<Perf>, Now)>,
    turns: u32,
}

/// Starts a worker; `upcalls` has no ports yet. Acknowledgements go to the board.
pub fn start(
    id: WorkerId,
    datapath: Datapath,
    upcalls: UpcallSenders,
    acks: Arc<AckBoard>,
    nominator: Nominator,
) -> Result<(WorkerHandle, JoinHandle<()>)> {
    let (sender, inbox) = bounded(INBOX);
    let event =
        EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).context("eventfd")?;
    let wake = Arc::new(Wake {
        event,
        asleep: AtomicBool::new(false),
        poison: AtomicU64::new(0),
        stray: AtomicU64::new(0),
    });
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll")?;
    epoll
        .add(
            &wake.event,
            EpollEvent::new(EpollFlags::EPOLLIN, INBOX_TOKEN),
        )
        .context("epoll")?;
    let handle = WorkerHandle {
        inbox: sender,
        wake: wake.clone(),
        counters: datapath.counters().clone(),
    };
    let mut worker = Worker {
        id,
        datapath,
        ports: Vec::new(),
        upcalls,
        expected: AHashMap::default(),
        nominator,
        outputs: Outputs::default(),
        inbox,
        acks,
        wake,
        epoll,
        received: Vec::with_capacity(BATCH),
        batch: FrameBatch::new(),
        profile: None,
        turns: 0,
    };
    let thread = std::thread::Builder::new()
        .name(format!("dp-{}", id.0))
        .spawn(move || worker.run())
        .context("can't start a forwarding thread")?;
    Ok((handle, thread))
}

impl Worker {
    fn run(&mut self) {
        loop {
            let go_on = match self.profile.clone() {
                None => self.turn(&mut Off),
                Some((perf, until)) => {
                    if clock::now() >= until {
                        self.profile = None;
                    }
                    self.turn(&mut Watch::start(&perf, clock::now))
                }
            };
            if !go_on {
                return;
            }
        }
    }

    /// Inbox, every ready port, timeouts; then sleep if nothing moved. False when told to stop.
    fn turn(&mut self, laps: &mut impl Laps) -> bool {
        if !self.obey() {
            return false;
        }
        laps.lap(Stage::Other);
        let mut busy = false;
        for i in 0..self.ports.len() {
            if self.ports.get(i).is_some_and(|p| p.ready) {
                busy |= self.forward(i, laps);
            }
        }
        let now = clock::now();
        self.datapath
            .tick(now, &mut self.outputs, &mut self.upcalls);
        self.outputs.flush(self.datapath.pool());
        self.turns = self.turns.wrapping_add(1);
        if !busy {
            laps.lap(Stage::Other);
            self.sleep();
            laps.skip();
        } else if self.turns % READY_EVERY == 0 {
            self.ask_ready(EpollTimeout::ZERO);
        }
        laps.lap(Stage::Other);
        true
    }

    /// Obeys what is in the inbox; false when told to stop.
    fn obey(&mut self) -> bool {
        for _ in 0..INBOX_TURN {
            let Ok(order) = self.inbox.try_recv() else {
                break;
            };
            match order {
                Order::Command(command) => self.command(command),
                Order::Receive {
                    port,
                    source,
                    upcalls,
                } => {
                    self.upcalls.add(upcalls);
                    self.receive(port, source);
                }
                Order::ReceivePunts(source) => self.receive(PUNTS, source),
                Order::Expect {
                    port,
                    upcalls,
                    received,
                } => {
                    self.upcalls.add(upcalls);
                    self.expected.insert(port, received);
                }
                Order::Ignore { port, done } => {
                    self.ignore(port);
                    drop(done);
                }
                Order::Output(tx) => self.outputs.add(tx),
                Order::Adjust { port, mtu, up } => self.outputs.adjust(port, mtu, up),
                Order::NoOutput(port) => self.outputs.remove(port),
                Order::Pass(done) => drop(done),
                Order::Nominate => self.datapath.nominate(),
                Order::Tend => self.ports.iter_mut().for_each(|p| p.source.tend()),
                Order::Profile(profile) => self.profile = profile,
                Order::Stop => return false,
            }
        }
        true
    }

    /// A verdict runs actions on parked frames: a fault of ours costs those, not the thread.
    fn command(&mut self, command: DpCommand) {
        let Self {
            datapath,
            outputs,
            upcalls,
            ..
        } = self;
        let done = catch_unwind(AssertUnwindSafe(|| {
            datapath.command(clock::now(), command, outputs, upcalls)
        }));
        match done {
            Ok(Some(token)) => self.acks.acknowledge(self.id, token),
            Ok(None) => {}
            Err(_) => self.poisoned(),
        }
    }

    fn poisoned(&self) {
        self.wake.poison.fetch_add(1, Ordering::Relaxed);
        self.datapath.counters().drops.add(DropReason::Poison, 1);
        tracing::error!("a frame made the forwarding thread panic; it was dropped (this is a bug)");
    }

    fn receive(&mut self, port: DpPort, source: Box<dyn Source>) {
        let event = EpollEvent::new(
            EpollFlags::EPOLLIN | EpollFlags::EPOLLERR,
            u64::from(port.0),
        );
        if let Err(e) = self.epoll.add(source.fd(), event) {
            tracing::error!("port {port}: can't be polled: {e}");
            return;
        }
        self.ports.push(Port {
            port,
            source,
            ready: true,
        });
    }

    fn ignore(&mut self, port: DpPort) {
        if let Some(i) = self.ports.iter().position(|p| p.port == port) {
            let gone = self.ports.swap_remove(i);
            let _ = self.epoll.delete(gone.source.fd());
        }
        self.expected.remove(&port);
        self.upcalls.remove(port);
    }

    /// One burst of one port; false when the port had nothing.
    fn forward(&mut self, index: usize, laps: &mut impl Laps) -> bool {
        let Some(port) = self.ports.get_mut(index) else {
            return false;
        };
        let n = port
            .source
            .recv_batch(self.datapath.pool(), &mut self.received, BATCH);
        laps.lap(Stage::Receive);
        if n == 0 {
            port.ready = false;
            return false;
        }
        let (now, punts) = (clock::now(), port.port == PUNTS);
        for r in self.received.drain(..) {
            let port = DpPort(r.port);
            if punts && !count_punt(&self.expected, port, &r.frame) {
                self.wake.stray.fetch_add(1, Ordering::Relaxed);
                self.datapath.pool().give(r.frame);
                continue;
            }
            // A batch has room for as many as were asked for.
            let _ = self.batch.push(port, r.frame);
        }
        self.process(now, laps);
        for flow in self.datapath.nominated() {
            self.nominator.nominate(flow);
        }
        self.outputs.flush(self.datapath.pool());
        laps.lap(Stage::Transmit);
        true
    }

    /// A fault of ours in one frame costs that frame: after a panic the rest of the batch goes one by one.
    fn process(&mut self, now: Now, laps: &mut impl Laps) {
        let Self {
            datapath,
            batch,
            outputs,
            upcalls,
            ..
        } = self;
        if catch_unwind(AssertUnwindSafe(|| {
            datapath.process_timed(now, batch, outputs, upcalls, laps)
        }))
        .is_ok()
        {
            return;
        }
        let mut single = FrameBatch::new();
        let mut poisoned = 0;
        while let Some((port, frame)) = batch.pop() {
            let _ = single.push(port, frame);
            let done = catch_unwind(AssertUnwindSafe(|| {
                datapath.process(now, &mut single, outputs, upcalls)
            }));
            if done.is_err() {
                single.clear_into(datapath.pool());
                poisoned += 1;
            }
        }
        (0..poisoned).for_each(|_| self.poisoned());
    }

    fn sleep(&mut self) {
        self.wake.asleep.store(true, Ordering::SeqCst);
        if !self.inbox.is_empty() {
            self.wake.asleep.store(false, Ordering::SeqCst);
            return;
        }
        let timeout = match self.datapath.deadline() {
            Some(at) => {
                let wait = at.since(clock::now()) + Duration::from_millis(1);
                EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX)
            }
            None => EpollTimeout::NONE,
        };
        self.ask_ready(timeout);
        self.wake.asleep.store(false, Ordering::SeqCst);
    }

    fn ask_ready(&mut self, timeout: EpollTimeout) {
        let mut events = [EpollEvent::empty(); 64];
        let n = self.epoll.wait(&mut events, timeout).unwrap_or(0);
        for event in events.iter().take(n) {
            if event.data() == INBOX_TOKEN {
                let _ = self.wake.event.read();
                continue;
            }
            let Some(i) = self
                .ports
                .iter()
                .position(|p| u64::from(p.port.0) == event.data())
            else {
                continue;
            };
            self.ports[i].ready = true;
            if event
                .events()
                .intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP)
            {
                self.check(i);
            }
        }
    }

    /// A device reported an error: when it is gone it must not wake us again; control hears of it by rtnetlink.
    fn check(&mut self, index: usize) {
        let Some(port) = self.ports.get_mut(index) else {
            return;
        };
        if port.source.liveness() == Liveness::Gone {
            let _ = self.epoll.delete(port.source.fd());
        }
    }
}

/// Counts a frame that was handed up for a port; false when the port does not take it.
fn count_punt(expected: &AHashMap<DpPort, Arc<PuntCount>>, port: DpPort, frame: &Frame) -> bool {
    let Some(count) = expected.get(&port) else {
        return false;
    };
    let (packets, bytes) = gso::on_wire(frame);
    count.packets.fetch_add(packets, Ordering::Relaxed);
    count.bytes.fetch_add(bytes, Ordering::Relaxed);
    true
}
