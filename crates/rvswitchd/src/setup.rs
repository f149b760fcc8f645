//! From the command line to a running daemon, and to its end.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rvs_datapath::Datapath;
use rvs_dpif::WorkerId;
use rvs_flow::ParseLimits;
use rvs_kcache::tier0::Options;
use rvs_kcache::{remove_drops, IngressDrop, KernelCache, Mode};
use rvs_netdev::rtnl::{Change, Monitor, Rtnl};
use rvs_ovsdb::client::Follower;
use rvs_ovsdb::limits::Limits as DatabaseLimits;
use rvs_ovsdb::log::{FileStorage, Log};
use rvs_ovsdb::schema::Schema;
use rvs_ovsdb::server::Server;
use rvs_ovsdb::UuidGenerator;
use rvs_slowpath::{Limits, SlowPath, UpcallQueues, UpcallSenders};
use rvs_switch::prepare::prepare;
use rvs_switch::{Switch, DATABASE};

use crate::acks::AckBoard;
use crate::args::{self, Args};
use crate::background::READY;
use crate::channel::target::Target;
use crate::channel::Channels;
use crate::clean::Traces;
use crate::clients::{Listener, Service};
use crate::commands::Daemon;
use crate::control::{Control, Outside, TheirPast};
use crate::devices::Devices;
use crate::dummy::{self, Dummies};
use crate::handler::{Handler, Latency, Rounds, Wires};
use crate::heart::Heart;
use crate::mailbox::mailbox;
use crate::managers::Managers;
use crate::remote::{self, Remote};
use crate::rundir::{self, RunDir};
use crate::source::{self, Source};
use crate::survive::{Found, Survival};
use crate::tier0::Tier0;
use crate::wanted::Wanted;
use crate::worker::{Nominator, WorkerHandle};
use crate::{clock, metrics, notify, standby, worker};

/// Files that the daemon may have open, where the system allows as many: ports, clients and what they need.
const MAX_FILES: u64 = 65_536;
/// The lock that makes sure that one daemon acts on a configuration.
const LOCK: &str = "ovs_vswitchd";
/// Index of the loopback device of every namespace.
const LOOPBACK: u32 = 1;
/// Forwarding threads when nobody says how many: more than two ports' worth of frames rarely helps on small machines.
const MAX_DEFAULT_WORKERS: usize = 4;

pub fn run(args: &Args) -> Result<()> {
    // Ports in memory need none.
    if args.enable_dummy.is_some() {
        rvs_openflow::action::know_debug_actions();
    }
    if args.enable_dummy.is_none() {
        check_privileges()?;
    }
    raise_file_limit();
    raise_stack_limit();
    if args.mlockall {
        lock_memory();
    }
    let signals = take_signals()?;
    let dir = args::rundir(args);
    if !standby::wait(args, &dir, &signals)? {
        return Ok(());
    }
    let pidfile = args
        .pidfile
        .as_deref()
        .filter(|p| p.as_os_str() != args::USUAL);
    let source = Source::find(args, &dir).map_err(anyhow::Error::msg)?;
    let serves = matches!(source, Source::Own(_));
    let mut rundir = RunDir::take(&dir, pidfile, serves)?;
    let Configuration {
        server,
        identity,
        remote,
    } = configuration(source, args)?;

    let monitor = Monitor::open().context("can't listen for device events")?;
    let rtnl = Rtnl::open().context("can't talk to rtnetlink")?;
    let stop = Arc::new(AtomicBool::new(false));
    let count = match args.enable_dummy {
        Some(_) => 1,
        None => worker_count(args.workers),
    };
    let acks = Arc::new(AckBoard::new(count));
    let queues = UpcallQueues::new();
    let injected = queues.injected();
    let queues = Arc::new(Mutex::new(queues));
    let hasher = ahash::RandomState::new();
    let slow = Arc::new(Mutex::new(SlowPath::new(Limits::default(), hasher.clone())));
    let (doorbell, ring) = {
        let q = queues.lock().unwrap_or_else(PoisonError::into_inner);
        (q.doorbell().clone(), q.ringer())
    };
    let real = args.enable_dummy.is_none();
    let instance = dir.to_string_lossy();
    let bpffs = args.bpffs.as_deref().filter(|_| real);
    let survival = Survival::new(bpffs, &instance, &args::database(args));
    let Found {
        cache,
        past,
        resume,
    } = match real {
        true => survival.find(&instance),
        false => Found::default(),
    };
    let rounds = Rounds::new(ring.clone());
    let (nominator, nominations) = Nominator::new(ring.clone());
    let mut workers = Vec::new();
    let mut threads = Vec::new();
    for id in 0..count {
        let mut config = rvs_datapath::Config::new(WorkerId(id as u16), random()?);
        if !real {
            config.parking.timeout = dummy::ON_ITS_WAY;
        }
        let datapath = Datapath::new(config);
        let (handle, thread) = worker::start(
            WorkerId(id as u16),
            datapath,
            UpcallSenders::new(injected.clone()),
            acks.clone(),
            nominator.clone(),
        )?;
        workers.push(handle);
        threads.push(thread);
    }
    let mut kernel = kernel_cache(instance.to_string(), workers.clone());
    if let Some(cache) = cache {
        kernel = kernel.found(Tier0::start(cache, workers.clone())?);
    }
    let tier0 = kernel.place();
    let (slot, mailbox) = mailbox()?;
    let wires = Wires {
        workers: workers.clone(),
        control: slot,
        tier0: tier0.clone(),
        gave_up: None,
    };
    let latency = Arc::new(Latency::default());
    let handler = Handler {
        slow: slow.clone(),
        queues: queues.clone(),
        doorbell,
        wires: wires.clone(),
        acks: acks.clone(),
        latency: latency.clone(),
        rounds: rounds.clone(),
        nominations,
        stop: stop.clone(),
    };
    let handler = handler.start()?;

    let drop = ingress_drop(instance.to_string());
    if real {
        match remove_drops(&instance) {
            Ok(_) => {}
            Err(e) => tracing::warn!("ingress drop: {e}"),
        }
    }
    let heart = Heart::start(tier0.clone())?;
    let dummies = args
        .enable_dummy
        .as_ref()
        .zip(workers.first())
        .map(|(how, worker)| Dummies::new(how, worker.clone(), queues.clone(), rounds));
    let devices = Devices::new(rtnl, identity, drop, workers.clone(), queues, kernel, past);
    let outside = Outside {
        devices,
        wires,
        acks,
        dummies,
        survive: Duration::ZERO,
    };
    let mut switch = Switch::new(server, outside, slow, hasher);
    let remote = remote.map(|(remote, follower)| {
        switch.remote = Some(follower);
        remote
    });
    if let Some(resume) = &resume {
        switch.reserve_ports(resume.last_port);
    }
    switch.start();

    let listeners = listen(&mut rundir, serves, args.unixctl.as_deref())?;
    if let Some(address) = args.metrics {
        let control = rundir.path(&format!("rvswitchd.{}.ctl", std::process::id()));
        metrics::serve(address, control)?;
    }
    let daemon = Daemon::new(
        switch,
        workers.clone(),
        latency,
        args.cleanup_on_exit,
        survival,
    );
    let channels = Channels::new(&dir);
    let managers = Managers::new(&dir);
    let ready = format!("{READY} (run directory {})", dir.display());
    let mut control = Control::new(
        daemon, listeners, monitor, signals, mailbox, channels, managers,
    );
    control.remote = remote;
    control.heart = Some(heart);
    control.announcement = Some(ready);
    control.past = Some(TheirPast {
        resume,
        traces: Traces::new(&instance, serves, bpffs, control.daemon.survival.file()),
        rundir: dir.clone(),
    });
    control.announce();
    let done = control.run();

    notify::notify("STOPPING=1");
    if !control.daemon.end(done.as_ref().is_ok_and(|d| d.cleanup)) {
        Traces::remove(&dir);
    }
    stop.store(true, Ordering::Relaxed);
    let _ = ring.try_send(());
    if let Some(tier0) = tier0.get() {
        tier0.end();
    }
    for worker in &workers {
        worker.send(worker::Order::Stop);
    }
    for thread in threads {
        let _ = thread.join();
    }
    let _ = handler.join();
    rundir.remove();
    done.map(|_| ())
}

/// Tries what every port needs: a packet socket, and a change to a device (that changes nothing).
fn check_privileges() -> Result<()> {
    use nix::sys::socket::{socket, AddressFamily, SockFlag, SockType};
    const NEEDED: &str =
        "packet sockets need CAP_NET_RAW, and devices CAP_NET_ADMIN: run it as root";
    match socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        None,
    ) {
        Ok(_) => {}
        Err(nix::errno::Errno::EPERM | nix::errno::Errno::EACCES) => bail!(NEEDED),
        Err(e) => return Err(e).context("this kernel has no packet sockets (CONFIG_PACKET)"),
    }
    let mut rtnl = Rtnl::open().context("can't talk to rtnetlink")?;
    match rtnl.change(LOOPBACK, &Change::default()) {
        Err(e) if e.errno() == Some(nix::libc::EPERM) => bail!(NEEDED),
        _ => Ok(()),
    }
}

/// Memory that is swapped out would hold frames up. Without the privilege the switch works all the same.
fn lock_memory() {
    use nix::sys::mman::{mlockall, MlockAllFlags};
    if let Err(e) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE) {
        tracing::warn!("mlockall: {e}");
    }
}

/// This thread, whose stack grows up to the limit, translates too: packet-outs, traces, what changes make of cached flows.
fn raise_stack_limit() {
    use nix::sys::resource::{getrlimit, setrlimit, Resource};
    let raised = getrlimit(Resource::RLIMIT_STACK).and_then(|(soft, hard)| {
        let wanted = hard.min(rvs_pipeline::STACK as u64).max(soft);
        setrlimit(Resource::RLIMIT_STACK, wanted, hard)
    });
    if let Err(e) = raised {
        tracing::warn!("the limit of the stack stays as it is: {e}");
    }
}

/// A port takes a few file descriptors, and the usual limit of 1024 is soon used up.
fn raise_file_limit() {
    use nix::sys::resource::{getrlimit, setrlimit, Resource};
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = hard.min(MAX_FILES).max(soft);
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    });
    if let Err(e) = raised {
        tracing::warn!("the limit of open files stays as it is: {e}");
    }
}

/// The signals that end the daemon, as a file descriptor. Blocked before any thread starts, so that no thread gets them.
fn take_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    set.thread_block().context("signals")?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).context("signals")
}

/// Where the configuration comes from, opened.
struct Configuration {
    server: Server,
    /// Marks what the daemon makes as this database's; not known yet when it is another server's.
    identity: String,
    remote: Option<(Remote, Follower)>,
}

fn configuration(source: Source, args: &Args) -> Result<Configuration> {
    let (name, target) = match source {
        Source::Own(path) => {
            let mut server = open_database(&path)?;
            server.hold(LOCK);
            let root = prepare(
                &mut server,
                &args.bridges,
                env!("CARGO_PKG_VERSION"),
                args.enable_dummy.is_some(),
            )
            .map_err(|e| anyhow::anyhow!("the database can't be prepared: {e}"))?;
            return Ok(Configuration {
                server,
                identity: root.to_string(),
                remote: None,
            });
        }
        Source::Server(name, target) => (name, target),
    };
    let probe = match target {
        Target::DialUnix(_) => 0,
        _ => remote::PROBE.as_nanos() as u64,
    };
    let follower = Follower::new(DATABASE, LOCK, Schema::open_vswitch(), probe);
    let uuids = UuidGenerator::new(random()?);
    Ok(Configuration {
        server: Server::new(uuids, DatabaseLimits::default()),
        identity: String::new(),
        remote: Some((
            Remote::new(&name, target, source::ssl(args), clock::now()),
            follower,
        )),
    })
}

fn open_database(path: &Path) -> Result<Server> {
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).with_context(|| {
            format!(
                "can't make {} for the database (try --db FILE)",
                dir.display()
            )
        })?;
    }
    let mut uuids = UuidGenerator::new(random()?);
    let storage = FileStorage::open(path)
        .with_context(|| format!("can't open the database {}", path.display()))?;
    let opened = Log::open(storage, &Schema::open_vswitch(), &mut uuids).with_context(|| {
        format!(
            "the database {} can't be used; move it away to start with an empty one",
            path.display()
        )
    })?;
    for note in opened.notes {
        tracing::warn!("{}: {note}", path.display());
    }
    let mut server = Server::new(uuids, DatabaseLimits::default());
    server.add_database(opened.db, Box::new(opened.log));
    Ok(server)
}

fn ingress_drop(instance: String) -> Wanted<IngressDrop> {
    let lines = (
        "the host will see the frames of the ports too",
        "the host sees no frames of the ports any more",
    );
    Wanted::new(lines, move || {
        IngressDrop::open(&instance, Mode::Auto).map_err(|e| e.to_string())
    })
}

/// Tier 0.
fn kernel_cache(instance: String, workers: Vec<WorkerHandle>) -> Wanted<Tier0> {
    let lines = (
        "no kernel cache, frames are switched in user space",
        "there is a kernel cache now",
    );
    Wanted::new(lines, move || {
        let secret = random().map_err(|e| e.to_string())?;
        let options = Options::default();
        let cache = KernelCache::open(&instance, &options, secret, clock::now())
            .map_err(|e| e.to_string())?;
        // The workers look behind as many tags.
        cache.set_vlan_limit(ParseLimits::MAX_VLANS);
        Tier0::start(cache, workers.clone()).map_err(|e| e.to_string())
    })
}

/// The sockets of the run directory, those of a database only for who serves it.
fn listen(rundir: &mut RunDir, serves: bool, control: Option<&Path>) -> Result<Vec<Listener>> {
    let pid = std::process::id();
    let control = control.map(|p| (p.to_owned(), Service::Control));
    let named = |name: String, service| (rundir.path(&name), service);
    let mut sockets = vec![
        named(format!("rvswitchd.{pid}.ctl"), Service::Control),
        named(format!("ovs-vswitchd.{pid}.ctl"), Service::Control),
    ];
    if serves {
        sockets.push(named("db.sock".to_owned(), Service::Database));
        sockets.push(named(format!("ovsdb-server.{pid}.ctl"), Service::Control));
    }
    let mut listeners = Vec::new();
    for (path, service) in sockets.into_iter().chain(control) {
        listeners.push(Listener::new(service, rundir::listen(&path)?));
        rundir.made(path);
    }
    Ok(listeners)
}

fn worker_count(asked: usize) -> usize {
    match asked {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_DEFAULT_WORKERS)),
        n => n.min(64),
    }
}

/// Secrets of the hash tables.
fn random<T: Random>() -> Result<T> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut bytes))
        .context("/dev/urandom")?;
    Ok(T::from_bytes(bytes))
}

trait Random {
    fn from_bytes(bytes: [u8; 16]) -> Self;
}

impl Random for [u8; 16] {
    fn from_bytes(bytes: [u8; 16]) -> Self {
        bytes
    }
}

impl Random for [u64; 2] {
    fn from_bytes(bytes: [u8; 16]) -> Self {
        let (a, b) = bytes.split_at(8);
        [
            u64::from_ne_bytes(first_eight(a)),
            u64::from_ne_bytes(first_eight(b)),
        ]
    }
}

fn first_eight(bytes: &[u8]) -> [u8; 8] {
    let mut out = [0; 8];
    for (o, b) in out.iter_mut().zip(bytes) {
        *o = *b;
    }
    out
}
