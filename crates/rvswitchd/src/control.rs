//! The control thread: one `poll` over everything that is not forwarding.
//!
//! Database clients, control clients, device events, signals. Each gets a bounded turn; whatever a turn changes in the
//! configuration is done, to the end, before the next one.

mod outside;
mod upstream;

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use rvs_netdev::rtnl::Monitor;
use rvs_packet::Now;
use rvs_switch::Switch;

use crate::channel::{Channels, Token};
use crate::clean::Traces;
use crate::clients::{Client, Listener, Service, Talk, Turn, MAX_CONTROL_CLIENTS};
use crate::commands::{self, Daemon, Done};
use crate::dummy::commands::tell_events;
use crate::heart::Heart;
use crate::mailbox::{Letter, Mailbox};
use crate::managers::{self, Managers};
use crate::remote::Remote;
use crate::spin::{look_for, wait_for, Spin};
use crate::survive::Resume;
use crate::worker::Order;
use crate::{clock, notify, trace};

pub use outside::Outside;

/// Device events taken in one turn.
const EVENTS: usize = 256;
/// Letters of the handler taken in one turn.
const LETTERS: usize = 512;
/// How often ports that could not be opened are tried again, and what nobody tells of is looked at.
const BEAT: Duration = Duration::from_secs(1);
/// Counters no older than this are not written anew for a client that connects.
const FRESH: Duration = Duration::from_secs(1);

/// What an earlier daemon left, and by what this one's things are found.
pub struct TheirPast {
    pub resume: Option<Resume>,
    pub traces: Traces,
    pub rundir: PathBuf,
}

/// Everything the control thread owns.
pub struct Control {
    pub daemon: Daemon,
    pub listeners: Vec<Listener>,
    pub monitor: Monitor,
    pub signals: SignalFd,
    pub clients: Vec<Client>,
    mailbox: Mailbox,
    letters: Vec<Letter>,
    pub channels: Channels,
    pub managers: Managers,
    /// The way to the database server whose client the daemon is.
    pub remote: Option<Remote>,
    /// What to say once everything of the database is up.
    pub announcement: Option<String>,
    /// What an earlier daemon left, until the configuration is up.
    pub past: Option<TheirPast>,
    /// To be told that this thread lives.
    pub heart: Option<Heart>,
    spin: Spin,
    next_beat: Now,
    /// Somebody waits for signs of life: they are given also where no bridge needs a beat.
    is_watched: bool,
    last_statistics: Now,
    /// No client is accepted before: there were no file descriptors left.
    deaf_until: Now,
}

/// What a poll found.
struct Ready {
    monitor: bool,
    signals: bool,
    mail: bool,
    listeners: Vec<usize>,
    clients: Vec<usize>,
    remote: PollFlags,
}

impl Control {
    pub fn new(
        daemon: Daemon,
        listeners: Vec<Listener>,
        monitor: Monitor,
        signals: SignalFd,
        mailbox: Mailbox,
        channels: Channels,
        managers: Managers,
    ) -> Self {
        Self {
            daemon,
            listeners,
            monitor,
            signals,
            clients: Vec::new(),
            mailbox,
            letters: Vec::new(),
            channels,
            managers,
            remote: None,
            announcement: None,
            past: None,
            heart: None,
            spin: Spin::new(),
            next_beat: Now::ZERO,
            is_watched: notify::is_heard(),
            last_statistics: Now::ZERO,
            deaf_until: Now::ZERO,
        }
    }

    fn switch(&mut self) -> &mut Switch<Outside> {
        &mut self.daemon.switch
    }

    /// Serves until told to end. Returns whether everything is to be removed.
    pub fn run(&mut self) -> Result<Done> {
        loop {
            let ready = self.wait()?;
            if let Some(heart) = &self.heart {
                heart.saw(clock::now());
            }
            if ready.signals {
                if let Some(done) = self.signal() {
                    return Ok(done);
                }
            }
            if ready.monitor {
                self.device_events();
            }
            for i in ready.listeners {
                self.accept(i);
            }
            if ready.mail {
                self.read_mail();
            }
            if let Some(done) = self.serve(&ready.clients) {
                // The client that asked gets its answer.
                self.flush();
                return Ok(done);
            }
            self.reconnect();
            self.hear_remote(ready.remote);
            self.switch().run();
            self.daemon.name_new();
            self.go_on();
            self.announce();
            self.switch().run_spanning(clock::now());
            self.beat();
            self.serve_waiting_ports();
            self.channels.turn(clock::now(), &mut self.daemon.switch);
            self.managers.turn(clock::now(), &mut self.daemon.switch);
            self.warp();
            tell_events(&mut self.daemon);
            self.close_dropped();
            self.flush();
            self.managers.send(clock::now(), &mut self.daemon.switch);
            self.tell_remote();
        }
    }

    fn wait(&mut self) -> Result<Ready> {
        let timeout = self.timeout();
        let mut fds = vec![
            PollFd::new(self.monitor.fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.mailbox.fd(), PollFlags::POLLIN),
        ];
        let knocks = if self.deaf_until > clock::now() {
            PollFlags::empty()
        } else {
            PollFlags::POLLIN
        };
        fds.extend(self.listeners.iter().map(|l| PollFd::new(l.fd(), knocks)));
        let server = &self.daemon.switch.server;
        fds.extend(self.clients.iter().map(|c| {
            let (wants, has) = match &c.talk {
                Talk::Database(id) => (server.wants_input(*id), !server.output(*id).is_empty()),
                Talk::Control(_) => (true, false),
            };
            PollFd::new(c.fd(), c.interest(wants, has))
        }));
        let interests = self.channels.interests(clock::now());
        fds.extend(interests.iter().map(|i| PollFd::new(i.fd, i.flags)));
        let managers = self.managers.interests(clock::now(), server);
        fds.extend(
            managers
                .iter()
                .map(|(_, fd, flags)| PollFd::new(*fd, *flags)),
        );
        let remote = self.remote.as_ref().zip(self.daemon.switch.remote.as_ref());
        let remote = remote.and_then(|(remote, follower)| remote.interest(follower));
        fds.extend(remote.map(|(fd, flags)| PollFd::new(fd, flags)));
        let mut found = false;
        // With something to do at once there is nothing to wait for.
        let waits = timeout != PollTimeout::ZERO;
        if waits && self.channels.took_messages() && self.spin.is_worth_it() {
            found = look_for(&mut fds)?;
            self.spin.looked(found);
        }
        if !found {
            wait_for(&mut fds, timeout)?;
        }
        let hot = |f: &PollFd<'_>| f.any().unwrap_or(false);
        let (first, rest) = fds.split_at(3);
        let (listeners, rest) = rest.split_at(self.listeners.len());
        let (clients, rest) = rest.split_at(self.clients.len());
        let (channels, rest) = rest.split_at(interests.len());
        let (managing, remote) = rest.split_at(managers.len());
        let knocking: Vec<(managers::Token, PollFlags)> = managers
            .iter()
            .zip(managing)
            .filter_map(|((token, ..), f)| Some((*token, f.revents().filter(|r| !r.is_empty())?)))
            .collect();
        let remote = remote.first().and_then(PollFd::revents);
        let found: Vec<(Token, PollFlags)> = interests
            .iter()
            .zip(channels)
            .filter_map(|(i, f)| Some((i.token, f.revents().filter(|r| !r.is_empty())?)))
            .collect();
        let indexes = |fds: &[PollFd<'_>]| {
            fds.iter()
                .enumerate()
                .filter(|(_, f)| hot(f))
                .map(|(i, _)| i)
                .collect()
        };
        let ready = Ready {
            monitor: first.first().is_some_and(hot),
            signals: first.get(1).is_some_and(hot),
            mail: first.get(2).is_some_and(hot),
            listeners: indexes(listeners),
            clients: indexes(clients),
            remote: remote.unwrap_or(PollFlags::empty()),
        };
        drop(fds);
        for (token, flags) in found {
            self.channels.ready(token, flags);
        }
        for (token, flags) in knocking {
            self.managers.ready(token, flags);
        }
        Ok(ready)
    }

    /// Until the next thing that time alone brings.
    fn timeout(&self) -> PollTimeout {
        let switch = &self.daemon.switch;
        let beats = self.is_watched || switch.topology().bridges().next().is_some();
        let beat = beats.then_some(self.next_beat);
        let statistics = self.has_readers().then(|| self.next_statistics());
        let remote = self.remote.as_ref().zip(switch.remote.as_ref());
        let remote = remote.and_then(|(remote, follower)| remote.deadline(follower));
        let database = switch.server.next_deadline().map(|n| Now(n.0));
        let deaf = (self.deaf_until > clock::now()).then_some(self.deaf_until);
        let channels = self.channels.deadline();
        let look = switch.rim.devices.next_look();
        let waiting = switch.rim.devices.have_waiting().then(clock::now);
        let spanning = switch.next_spanning();
        let managers = self.managers.deadline();
        let next = [
            beat, statistics, database, deaf, channels, remote, look, waiting, spanning, managers,
        ]
        .into_iter()
        .flatten()
        .min();
        match next {
            None => PollTimeout::NONE,
            Some(at) => {
                let wait = match at.since(clock::now()) {
                    Duration::ZERO => Duration::ZERO,
                    // The poll counts whole milliseconds, and must not end before its time.
                    d => d + Duration::from_millis(1),
                };
                PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
            }
        }
    }

    /// A few of the ports that wait for what the kernel refused before.
    fn serve_waiting_ports(&mut self) {
        if !self.switch().rim.devices.have_waiting() {
            return;
        }
        for event in self.daemon.switch.rim.devices.serve_waiting() {
            self.switch().port_event(event);
        }
    }

    fn signal(&mut self) -> Option<Done> {
        let info = self.signals.read_signal().ok().flatten()?;
        let signal = Signal::try_from(info.ssi_signo as i32).ok()?;
        tracing::info!("{signal}: ending");
        Some(Done {
            cleanup: self.daemon.cleanup_on_exit,
        })
    }

    /// What the handler has for controllers.
    fn read_mail(&mut self) {
        self.mailbox.take(LETTERS, &mut self.letters);
        let now = clock::now();
        for letter in std::mem::take(&mut self.letters) {
            match letter {
                Letter::Punt(upcall, note) => self.switch().punted(now, &upcall, &note),
                Letter::Learn(taught) => self.switch().learned(now, &taught),
                Letter::GaveUp(key) => trace::log_failure(&self.daemon, &key),
                Letter::KernelForwards => self.switch().rim.devices.kernel_forwards(now),
            }
        }
    }

    fn device_events(&mut self) {
        let mut events = Vec::new();
        if let Err(e) = self.monitor.read(&mut events, EVENTS) {
            tracing::error!("device events: {e}");
        }
        let mut changes = Vec::new();
        for event in events {
            self.switch().rim.devices.interpret(event, &mut changes);
        }
        self.switch().rim.devices.look_at_changed(&mut changes);
        for change in changes {
            self.switch().port_event(change);
        }
    }

    fn accept(&mut self, index: usize) {
        let Some(listener) = self.listeners.get(index) else {
            return;
        };
        let stream = match listener.accept() {
            Ok(Some(stream)) => stream,
            Ok(None) => return,
            Err(e) => {
                tracing::warn!("no new clients for a second: {e}");
                self.deaf_until = clock::now() + BEAT;
                return;
            }
        };
        let control = self
            .clients
            .iter()
            .filter(|c| matches!(c.talk, Talk::Control(_)))
            .count();
        let talk = match listener.service {
            Service::Database => {
                self.refresh_statistics();
                match self.daemon.switch.server.connect(ovsdb_now(), 0) {
                    Ok(id) => Talk::Database(id),
                    Err(e) => return tracing::warn!("a database client was refused: {e}"),
                }
            }
            Service::Control if control >= MAX_CONTROL_CLIENTS => {
                return tracing::warn!("a control client was refused: {control} are connected");
            }
            Service::Control => Talk::Control(Default::default()),
        };
        self.clients.push(Client::new(stream, talk));
    }

    /// Takes what clients sent. `Some` when one of them asked for the end.
    fn serve(&mut self, ready: &[usize]) -> Option<Done> {
        let mut buffer = Vec::new();
        let mut done = None;
        let mut closed = Vec::new();
        for i in ready {
            let Some(client) = self.clients.get_mut(*i) else {
                continue;
            };
            if client.read(&mut buffer) == Turn::Closed {
                closed.push(*i);
                continue;
            }
            match &mut client.talk {
                Talk::Database(id) => {
                    let id = *id;
                    self.daemon.switch.server.input(id, &buffer, ovsdb_now());
                    self.daemon.switch.run();
                }
                Talk::Control(session) => {
                    session.push(&buffer);
                    loop {
                        match session.next() {
                            Ok(Some(request)) => {
                                let (result, end) = commands::run(&mut self.daemon, &request);
                                session.reply(request.id, result);
                                done = done.or(end);
                            }
                            Ok(None) => break,
                            Err(e) => {
                                tracing::warn!("a control client was dropped: {e}");
                                closed.push(*i);
                                break;
                            }
                        }
                    }
                }
            }
        }
        self.close(closed);
        done
    }

    fn close(&mut self, mut indexes: Vec<usize>) {
        indexes.sort_unstable();
        indexes.dedup();
        for i in indexes.into_iter().rev() {
            let gone = self.clients.swap_remove(i);
            if let Talk::Database(id) = gone.talk {
                self.daemon.switch.server.disconnect(id);
            }
        }
    }

    fn close_dropped(&mut self) {
        for (session, reason) in self.switch().take_closed() {
            tracing::warn!("a database client was dropped: {reason}");
            if self
                .managers
                .dropped(clock::now(), session, &mut self.daemon.switch)
            {
                continue;
            }
            let found = self
                .clients
                .iter()
                .position(|c| matches!(c.talk, Talk::Database(id) if id == session));
            self.close(found.into_iter().collect());
        }
    }

    fn flush(&mut self) {
        let mut closed = Vec::new();
        for (i, client) in self.clients.iter_mut().enumerate() {
            let turn = match &client.talk {
                Talk::Control(_) => client.flush_control(),
                Talk::Database(id) => flush_database(&mut self.daemon.switch, *id, client),
            };
            if turn == Turn::Closed {
                closed.push(i);
            }
        }
        self.close(closed);
    }

    fn beat(&mut self) {
        let now = clock::now();
        let ovsdb = ovsdb_now();
        if self
            .switch()
            .server
            .next_deadline()
            .is_some_and(|at| at <= ovsdb)
        {
            self.switch().server.tick(ovsdb);
            self.switch().run();
        }
        let devices = &mut self.daemon.switch.rim.devices;
        let due = |at: Option<Now>| at.is_some_and(|at| now >= at);
        if due(devices.next_look()) || now >= self.next_beat {
            devices.look_at_direct(now);
        }
        if now >= self.next_beat {
            self.next_beat = now + BEAT;
            notify::notify("WATCHDOG=1");
            if let Some(profile) = &mut self.daemon.profile {
                profile.expire(clock::now());
            }
            self.daemon.count_events(now);
            for worker in &self.daemon.workers {
                worker.send(Order::Tend);
            }
            for event in self.daemon.switch.rim.devices.look_after() {
                self.switch().port_event(event);
            }
            self.switch().retry_ports();
            self.switch().end_waiting_if_due(now);
            self.end_past_if_due();
            self.daemon.keep_names();
            self.daemon.remember();
            self.daemon.hold_no_longer(now);
            self.daemon.be_thrifty(now);
        }
        if now >= self.next_statistics() {
            self.last_statistics = now;
            if self.has_readers() {
                self.switch().write_statistics();
            }
        }
    }
}

fn flush_database(
    switch: &mut Switch<Outside>,
    id: rvs_ovsdb::server::SessionId,
    client: &mut Client,
) -> Turn {
    loop {
        let output = switch.server.output(id);
        if output.is_empty() {
            return Turn::Open;
        }
        match client.write(output) {
            Ok(0) => return Turn::Open,
            Ok(n) => switch.server.sent(id, n, ovsdb_now()),
            Err(()) => return Turn::Closed,
        }
    }
}

fn ovsdb_now() -> rvs_ovsdb::Now {
    ovsdb_time(clock::now())
}

/// The database counts the same nanoseconds.
pub fn ovsdb_time(now: Now) -> rvs_ovsdb::Now {
    rvs_ovsdb::Now(now.0)
}
