//! The switch on the bench.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use rvs_datapath::{park, Caches, Config, Datapath, FrameBatch};
use rvs_dpif::{Upcall, WorkerId};
use rvs_flow::{DpPort, OfPort};
use rvs_ovsdb::database::Database;
use rvs_ovsdb::limits::Limits as DatabaseLimits;
use rvs_ovsdb::log::NoJournal;
use rvs_ovsdb::schema::Schema;
use rvs_ovsdb::server::{Server, SessionId};
use rvs_ovsdb::UuidGenerator;
use rvs_packet::{Frame, Now};
use rvs_slowpath::{Limits, SlowPath, UpcallQueues, UpcallSenders};
use rvs_switch::platform::PortEvent;
use rvs_switch::prepare::prepare;
use rvs_switch::Switch;

use crate::wires::{Wires, Worker};

/// The schema, parsed once for all switches of a test binary.
pub(crate) fn schema() -> Arc<Schema> {
    static SCHEMA: OnceLock<Arc<Schema>> = OnceLock::new();
    SCHEMA.get_or_init(Schema::open_vswitch).clone()
}

/// Upcalls that the handler answers in a turn, as in the daemon.
const TURN: usize = 64;

/// How a switch is built.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub workers: usize,
    pub caches: Caches,
    pub limits: Limits,
    /// `None`: as the daemon.
    pub parking: Option<park::Limits>,
    /// Frames that a worker takes at once.
    pub batch: usize,
    pub seed: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            workers: 2,
            caches: Caches::Both,
            limits: Limits::default(),
            parking: None,
            batch: FrameBatch::MAX,
            seed: 1,
        }
    }
}

impl Setup {
    /// The defaults with these caches.
    pub fn with(caches: Caches) -> Self {
        Self {
            caches,
            ..Self::default()
        }
    }

    pub fn build(self) -> TestSwitch {
        TestSwitch::new(self)
    }
}

/// The switch. See the head of the crate.
pub struct TestSwitch {
    pub switch: Switch<Wires>,
    slow: Arc<Mutex<SlowPath>>,
    pub(crate) session: SessionId,
    /// While true the handler answers nothing: upcalls wait.
    pub stalled: bool,
    batch: usize,
    upcalls: Vec<Upcall>,
}

impl Default for TestSwitch {
    fn default() -> Self {
        Setup::default().build()
    }
}

impl TestSwitch {
    fn new(setup: Setup) -> Self {
        let hasher = RandomState::with_seeds(setup.seed, 2, 3, 4);
        let queues = UpcallQueues::new();
        let workers = (0..setup.workers as u16)
            .map(|n| {
                let id = WorkerId(n);
                let mut config = Config::new(id, [setup.seed, u64::from(n)]);
                config.caches = setup.caches;
                // Every flow that is used is remembered at once: what tier 1 answers must not hang on a die.
                config.emc_odds = 1;
                if let Some(parking) = setup.parking {
                    config.parking = parking;
                }
                let upcalls = UpcallSenders::new(queues.injected());
                Worker::new(id, Datapath::new(config), upcalls)
            })
            .collect();
        let slow = Arc::new(Mutex::new(SlowPath::new(setup.limits, hasher.clone())));
        let mut server = Server::new(UuidGenerator::new([7; 16]), DatabaseLimits::default());
        server.add_database(Database::new(schema()), Box::new(NoJournal));
        prepare(&mut server, &[], "test", false).unwrap();
        let session = server.connect(rvs_ovsdb::Now(0), 0).unwrap();
        let mut switch = Switch::new(
            server,
            Wires::new(workers, queues, slow.clone()),
            slow.clone(),
            hasher,
        );
        switch.start();
        let mut this = Self {
            switch,
            slow,
            session,
            stalled: false,
            batch: setup.batch,
            upcalls: Vec::new(),
        };
        this.set_now(Now::from_secs(1));
        this
    }

    pub fn now(&self) -> Now {
        self.switch.rim.fabric.now
    }

    fn set_now(&mut self, now: Now) {
        self.switch.rim.fabric.now = now;
    }

    /// The slow path, locked.
    pub fn slow(&self) -> MutexGuard<'_, SlowPath> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` on the slow path with the wires to dispatch on, then waits for what it asks to wait for.
    pub fn with_slow<T>(&mut self, f: impl FnOnce(&mut SlowPath, &mut Wires) -> T) -> T {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        f(&mut slow, &mut self.switch.rim)
    }

    /// The datapath of a worker.
    pub fn datapath(&mut self, worker: usize) -> &mut Datapath {
        &mut self.switch.rim.workers[worker].datapath
    }

    pub fn workers(&self) -> usize {
        self.switch.rim.workers.len()
    }

    // Frames.

    /// Puts a frame on the wire of a port. It is looked at when the switch runs.
    pub fn inject(&mut self, port: &str, bytes: &[u8]) {
        self.inject_frame(port, Frame::from_slice(bytes));
    }

    /// As [`Self::inject`], with offload metadata.
    pub fn inject_frame(&mut self, port: &str, frame: Frame) {
        let dp = self.dp(port);
        self.switch.rim.receive(dp, frame);
    }

    /// A frame that comes in at the moment when `device` is opened as a port, before the switch has published it.
    pub fn inject_on_open(&mut self, device: &str, bytes: &[u8]) {
        self.switch.rim.plug(device);
        if let Some(d) = self.switch.rim.fabric.devices.get_mut(device) {
            d.on_open.push(Frame::from_slice(bytes));
        }
    }

    /// Injects a frame and runs; returns every frame that left, by port.
    pub fn forward(&mut self, port: &str, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        self.inject(port, bytes);
        self.run();
        self.sent_all()
    }

    /// What left through a device since the last call.
    pub fn sent(&mut self, port: &str) -> Vec<Vec<u8>> {
        let frames = self.sent_frames(port);
        frames.iter().map(|f| f.bytes().to_vec()).collect()
    }

    /// As [`Self::sent`], with offload metadata.
    pub fn sent_frames(&mut self, port: &str) -> Vec<Frame> {
        let device = self.switch.rim.fabric.devices.get_mut(port);
        device
            .map(|d| std::mem::take(&mut d.sent))
            .unwrap_or_default()
    }

    /// What left through any device since the last call, in the order of their names.
    pub fn sent_all(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for (name, device) in &mut self.switch.rim.fabric.devices {
            for frame in device.sent.drain(..) {
                all.push((name.clone(), frame.bytes().to_vec()));
            }
        }
        all
    }

    /// Keeps no frames for a failing test: for measurements.
    pub fn stop_capture(&mut self) {
        self.switch.rim.fabric.capture.off = true;
    }

    // Time and turns.

    /// Runs workers and handler until nothing moves any more.
    pub fn run(&mut self) {
        while self.turn() {}
    }

    /// One turn of every worker and of the handler; false when there was nothing to do.
    pub fn turn(&mut self) -> bool {
        let mut busy = false;
        let Wires {
            fabric, workers, ..
        } = &mut self.switch.rim;
        for worker in workers {
            busy |= worker.obey(fabric);
            busy |= worker.forward(fabric, self.batch);
        }
        busy | (!self.stalled && self.handler_turn()) | self.control_turn()
    }

    /// Control takes what the handler has for controllers.
    fn control_turn(&mut self) -> bool {
        let now = self.now();
        let rim = &mut self.switch.rim;
        let (punted, learned) = (
            std::mem::take(&mut rim.punted),
            std::mem::take(&mut rim.learned),
        );
        let due = self.switch.next_spanning().is_some_and(|at| at <= now);
        let busy = due || !punted.is_empty() || !learned.is_empty();
        for p in punted {
            self.switch.punted(now, &p.upcall, &p.note);
        }
        for taught in learned {
            self.switch.learned(now, &taught);
        }
        self.switch.run_spanning(now);
        busy
    }

    /// One turn of the handler, as the daemon's thread does it.
    pub fn handler_turn(&mut self) -> bool {
        let Self {
            switch, upcalls, ..
        } = self;
        let rim = &mut switch.rim;
        let now = rim.fabric.now;
        let more = rim.queues.take(TURN, upcalls);
        let busy = more || !upcalls.is_empty();
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        for i in 0..rim.workers.len() {
            let (id, token) = (rim.workers[i].id, rim.workers[i].acknowledged);
            slow.acknowledged(id, token, rim);
        }
        slow.handle(now, upcalls, rim);
        if slow.next_sweep().is_some_and(|at| at <= now) {
            slow.sweep(now, rim);
        }
        busy
    }

    /// Lets time pass: everything that is due on the way happens when it is due.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now() + by;
        self.run();
        while let Some(at) = self.next_deadline().filter(|at| *at <= end) {
            let at = at.max(self.now());
            self.set_now(at);
            self.run();
            if self.next_deadline().is_some_and(|next| next <= at) {
                // What is due and stays due (a stalled handler) must not stop the clock.
                self.set_now((at + Duration::from_millis(1)).min(end));
                if at == end {
                    break;
                }
            }
        }
        self.set_now(end);
        self.run();
    }

    fn next_deadline(&self) -> Option<Now> {
        let sweep = (!self.stalled).then(|| self.slow().next_sweep()).flatten();
        let workers = self.switch.rim.workers.iter();
        workers
            .filter_map(|w| w.datapath.deadline())
            .chain(sweep)
            .chain(self.switch.next_spanning())
            .min()
    }

    // Devices.

    /// Makes a device that ports may name. [`Self::add_port`] does it by itself.
    pub fn plug(&mut self, device: &str) {
        self.switch.rim.plug(device);
    }

    /// The datapath's number of an open port.
    pub fn dp(&self, port: &str) -> DpPort {
        let device = self.switch.rim.fabric.devices.get(port);
        device
            .and_then(|d| d.port)
            .unwrap_or_else(|| panic!("{port} is not open"))
    }

    /// The OpenFlow number of an open port.
    pub fn of(&self, port: &str) -> OfPort {
        let dp = self.dp(port);
        self.switch.topology().by_dp(dp).unwrap().1.of_port
    }

    /// The name of a port.
    pub fn name(&self, port: DpPort) -> String {
        let names = &self.switch.rim.fabric.names;
        names
            .get(&port)
            .cloned()
            .unwrap_or_else(|| port.to_string())
    }

    /// Sets a device up or down (administrative state and carrier alike).
    pub fn set_link(&mut self, device: &str, up: bool) {
        self.change(device, |i| {
            i.admin_up = up;
            i.link_up = up;
        });
    }

    pub fn set_mtu(&mut self, device: &str, mtu: u32) {
        self.change(device, |i| i.mtu = mtu);
    }

    fn change(&mut self, device: &str, f: impl FnOnce(&mut rvs_switch::platform::LinkInfo)) {
        let d = self.switch.rim.fabric.devices.get_mut(device).unwrap();
        f(&mut d.info);
        let (port, info) = (d.port, d.info.clone());
        if let Some(dp) = port {
            self.switch.port_event(PortEvent::Changed(dp, info));
        }
    }

    /// The device is deleted.
    pub fn vanish(&mut self, device: &str) {
        let d = self.switch.rim.fabric.devices.remove(device).unwrap();
        if let Some(dp) = d.port {
            self.switch.port_event(PortEvent::Gone(dp));
        }
    }

    /// A device of that name is made.
    pub fn appear(&mut self, device: &str) {
        self.switch.rim.plug(device);
        self.switch
            .port_event(PortEvent::Appeared(device.to_owned()));
    }
}

impl Drop for TestSwitch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.switch.rim.fabric.capture.report();
        }
    }
}
