//! Rows of table Manager: database clients that are listened for (`ptcp:`, `pssl:`, `punix:`) or dialled (`tcp:`, `ssl:`,
//! `unix:`).
//!
//! Like [`Channels`](crate::channel::Channels), with sessions of the database server behind the sockets: no thread, never
//! blocking, bounded in clients of a listener and in what is moved in a turn. When the database is another server's, so
//! are its managers, and nothing is opened here.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::PollFlags;
use rvs_ovsdb::server::{Server, SessionId};
use rvs_ovsdb::Uuid;
use rvs_packet::Now;
use rvs_switch::controllers::{ManagerConfig, ManagerStatus};
use rvs_switch::{Rim, Switch};

use crate::channel::door::Door;
use crate::channel::reconnect::{Reconnect, Step};
use crate::channel::resolve::Resolver;
use crate::channel::seal;
use crate::channel::session::Session;
use crate::channel::stream::Stream;
use crate::channel::target::Target;
use crate::channel::tls::Credentials;
use crate::control::ovsdb_time;
use crate::source::DATABASE_PORT;

/// Clients of a listener.
const MAX_CLIENTS: usize = 64;
/// Time for a client's TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After this long a listener that could not be opened is tried again.
const REOPEN: Duration = Duration::from_secs(2);
/// How often status is written while nothing changes.
const REPORT: Duration = Duration::from_secs(5);
/// Octets written to one client before the others' turn.
const SEND: usize = 1 << 20;

/// A row.
struct Post {
    cfg: ManagerConfig,
    target: Result<Target, String>,
    means: Means,
}

enum Means {
    Dial {
        reconnect: Box<Reconnect>,
        attempt: usize,
    },
    Listen {
        door: Result<Door, String>,
        retry_at: Now,
    },
}

/// A connection.
struct Link {
    post: Uuid,
    stream: Stream,
    /// There once the stream is open.
    session: Option<SessionId>,
    /// Until when it has to be open.
    deadline: Now,
    found: PollFlags,
    blocked: bool,
}

/// What a descriptor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Door(Uuid),
    Link(u64),
}

/// All managers.
pub struct Managers {
    rundir: PathBuf,
    epoch: Option<u64>,
    credentials: Credentials,
    resolver: Resolver,
    posts: BTreeMap<Uuid, Post>,
    links: BTreeMap<u64, Link>,
    last_link: u64,
    knocks: Vec<Uuid>,
    /// What was written last: connected, and how many.
    reported: BTreeMap<Uuid, (bool, usize)>,
    report_at: Now,
    buffer: Vec<u8>,
}

impl Managers {
    /// Managers whose sockets, if they are files, are in `rundir`. The first [`Self::turn`] opens them.
    pub fn new(rundir: &Path) -> Self {
        Self {
            rundir: rundir.to_owned(),
            epoch: None,
            credentials: Credentials::default(),
            resolver: Resolver::default(),
            posts: BTreeMap::new(),
            links: BTreeMap::new(),
            last_link: 0,
            knocks: Vec::new(),
            reported: BTreeMap::new(),
            report_at: Now::ZERO,
            buffer: Vec::new(),
        }
    }

    /// What to poll for until the next turn.
    pub fn interests(
        &self,
        server: &Server,
    ) -> Vec<(Token, std::os::fd::BorrowedFd<'_>, PollFlags)> {
        let mut list = Vec::new();
        for (uuid, post) in &self.posts {
            if let Means::Listen { door: Ok(door), .. } = &post.means {
                list.push((Token::Door(*uuid), door.fd(), PollFlags::POLLIN));
            }
        }
        for (id, link) in &self.links {
            let (input, output) = match link.session {
                Some(s) => (server.wants_input(s), !server.output(s).is_empty()),
                None => (true, false),
            };
            list.push((
                Token::Link(*id),
                link.stream.fd(),
                link.stream.interest(input, output),
            ));
        }
        list
    }

    /// The poll found something.
    pub fn ready(&mut self, token: Token, found: PollFlags) {
        match token {
            Token::Door(uuid) => self.knocks.push(uuid),
            Token::Link(id) => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.found = found;
                }
            }
        }
    }

    /// When the next turn is due if nothing happens.
    pub fn deadline(&self) -> Option<Now> {
        let posts = self.posts.values().filter_map(|p| match &p.means {
            Means::Dial { reconnect, .. } => reconnect.deadline(),
            Means::Listen {
                door: Err(_),
                retry_at,
            } => Some(*retry_at),
            Means::Listen { .. } => None,
        });
        let opening = self.links.values().filter(|l| l.session.is_none());
        let report = (!self.posts.is_empty()).then_some(self.report_at);
        posts.chain(opening.map(|l| l.deadline)).chain(report).min()
    }

    /// The server has dropped a session; true if it was one of these.
    pub fn dropped<R: Rim>(
        &mut self,
        now: Now,
        session: SessionId,
        switch: &mut Switch<R>,
    ) -> bool {
        let of = |l: &Link| l.session == Some(session);
        let found = self.links.iter().find(|(_, l)| of(l)).map(|(id, _)| *id);
        if let Some(id) = found {
            self.end(now, id, "it was given up", switch);
        }
        found.is_some()
    }

    /// Follows the configuration, opens what is to be opened, and takes what clients sent.
    pub fn turn<R: Rim>(&mut self, now: Now, switch: &mut Switch<R>) {
        if switch.remote.is_some() {
            return;
        }
        self.configure(now, switch);
        self.open_doors(now);
        self.dial(now, switch);
        self.accept(now);
        let ids: Vec<u64> = self.links.keys().copied().collect();
        for id in ids {
            if let Err(why) = self.take(now, id, switch) {
                self.end(now, id, &why, switch);
            }
        }
        self.report(now, switch);
    }

    fn configure<R: Rim>(&mut self, now: Now, switch: &mut Switch<R>) {
        let epoch = Some(switch.openflow_epoch());
        if self.epoch == epoch {
            return;
        }
        self.epoch = epoch;
        self.credentials.set(switch.ssl());
        let mut wanted: BTreeMap<Uuid, ManagerConfig> =
            switch.managers().into_iter().map(|m| (m.uuid, m)).collect();
        let is_kept = |uuid: &Uuid, post: &Post| {
            wanted
                .get(uuid)
                .is_some_and(|w| w.target == post.cfg.target)
        };
        let old = self.posts.iter().filter(|(u, p)| !is_kept(u, p));
        let old: Vec<Uuid> = old.map(|(u, _)| *u).collect();
        for uuid in old {
            let of_post = self.links.iter().filter(|(_, l)| l.post == uuid);
            let ids: Vec<u64> = of_post.map(|(id, _)| *id).collect();
            for id in ids {
                self.end(now, id, "it is no longer configured", switch);
            }
            self.posts.remove(&uuid);
            self.reported.remove(&uuid);
        }
        while let Some((uuid, cfg)) = wanted.pop_first() {
            match self.posts.get_mut(&uuid) {
                Some(post) => {
                    if let Means::Dial { reconnect, .. } = &mut post.means {
                        reconnect.set_max_backoff(now, cfg.max_backoff);
                    }
                    post.cfg = cfg;
                }
                None => {
                    self.posts.insert(uuid, Post::new(now, cfg, &self.rundir));
                }
            }
        }
    }

    fn open_doors(&mut self, now: Now) {
        for post in self.posts.values_mut() {
            let (Means::Listen { door, retry_at }, Ok(target)) = (&mut post.means, &post.target)
            else {
                continue;
            };
            let Err(last) = &door else { continue };
            if *retry_at > now {
                continue;
            }
            let opened = Door::open(target);
            if let Some(why) = opened.as_ref().err().filter(|why| *why != last) {
                tracing::warn!("manager {}: {why}", post.cfg.target);
            }
            *door = opened;
            *retry_at = now + REOPEN;
        }
    }

    /// Lets managers that are dialled begin, or give up.
    fn dial<R: Rim>(&mut self, now: Now, switch: &mut Switch<R>) {
        let mut late = Vec::new();
        for (uuid, post) in &mut self.posts {
            let (Means::Dial { reconnect, attempt }, Ok(target)) = (&mut post.means, &post.target)
            else {
                continue;
            };
            match reconnect.step(now) {
                Step::Nothing => {}
                Step::GiveUp => {
                    late.extend(
                        self.links
                            .iter()
                            .filter(|(_, l)| l.post == *uuid)
                            .map(|(id, _)| *id),
                    );
                }
                Step::Connect => {
                    *attempt += 1;
                    let begun = seal(target, &mut self.credentials)
                        .and_then(|tls| Stream::dial(target, tls, *attempt, &self.resolver));
                    match begun {
                        Ok(stream) => {
                            self.last_link += 1;
                            // The attempt has a deadline of its own.
                            let link = Link::new(*uuid, stream, now + Duration::from_secs(3600));
                            self.links.insert(self.last_link, link);
                        }
                        Err(why) => reconnect.failed(now, why),
                    }
                }
            }
        }
        for id in late {
            self.end(now, id, "no connection in time", switch);
        }
    }

    fn accept(&mut self, now: Now) {
        for uuid in std::mem::take(&mut self.knocks) {
            let Some(Post {
                means: Means::Listen { door: Ok(door), .. },
                cfg,
                ..
            }) = self.posts.get(&uuid)
            else {
                continue;
            };
            let Ok(Some(visitor)) = door.accept() else {
                continue;
            };
            if self.links.values().filter(|l| l.post == uuid).count() >= MAX_CLIENTS {
                tracing::warn!(
                    "manager {}: a client was turned away: it has {MAX_CLIENTS}",
                    cfg.target
                );
                continue;
            }
            let tls = match door.is_tls() {
                true => self
                    .credentials
                    .listening()
                    .and_then(Session::accept)
                    .map(Some),
                false => Ok(None),
            };
            let begun = tls
                .and_then(|tls| Stream::accepted(visitor.socket, tls).map_err(|e| e.to_string()));
            match begun {
                Ok(stream) => {
                    self.last_link += 1;
                    self.links
                        .insert(self.last_link, Link::new(uuid, stream, now + HANDSHAKE));
                }
                Err(why) => tracing::warn!("manager {}: {why}", cfg.target),
            }
        }
    }

    /// Opens a stream, and reads from it.
    fn take<R: Rim>(&mut self, now: Now, id: u64, switch: &mut Switch<R>) -> Result<(), String> {
        let Some(link) = self.links.get_mut(&id) else {
            return Ok(());
        };
        let found = std::mem::replace(&mut link.found, PollFlags::empty());
        let session = match link.session {
            Some(session) => session,
            None if !link.stream.establish()? => {
                return match link.deadline <= now {
                    true => Err("no connection in time".to_owned()),
                    false => Ok(()),
                };
            }
            None => {
                let post = self
                    .posts
                    .get_mut(&link.post)
                    .ok_or("it is no longer configured")?;
                if let Means::Dial { reconnect, .. } = &mut post.means {
                    reconnect.connected(now);
                }
                let probe = post.cfg.inactivity_probe.map_or(0, |p| p.as_nanos() as u64);
                let session = switch.server.connect(ovsdb_time(now), probe);
                *link.session.insert(session.map_err(|e| e.to_string())?)
            }
        };
        if found.intersects(PollFlags::POLLOUT) {
            link.blocked = false;
        }
        if found.intersects(PollFlags::POLLIN | PollFlags::POLLERR | PollFlags::POLLHUP) {
            self.buffer.clear();
            let read = link.stream.read(&mut self.buffer);
            switch.server.input(session, &self.buffer, ovsdb_time(now));
            switch.run();
            read?;
        }
        Ok(())
    }

    /// Sends what waits.
    pub fn send<R: Rim>(&mut self, now: Now, switch: &mut Switch<R>) {
        let mut failed = Vec::new();
        for (id, link) in &mut self.links {
            let Some(session) = link.session else {
                continue;
            };
            let mut sent = 0;
            while !link.blocked && sent < SEND {
                let bytes = switch.server.output(session);
                if bytes.is_empty() && !link.stream.holds_back() {
                    break;
                }
                match link.stream.write(bytes) {
                    Ok(n) => {
                        link.blocked = n < bytes.len() || n == 0;
                        sent += n;
                        switch.server.sent(session, n, ovsdb_time(now));
                    }
                    Err(why) => {
                        failed.push((*id, why));
                        break;
                    }
                }
            }
        }
        for (id, why) in failed {
            self.end(now, id, &why, switch);
        }
    }

    fn end<R: Rim>(&mut self, now: Now, id: u64, why: &str, switch: &mut Switch<R>) {
        let Some(link) = self.links.remove(&id) else {
            return;
        };
        if let Some(session) = link.session {
            switch.server.disconnect(session);
        }
        link.stream.close();
        if let Some(Post {
            means: Means::Dial { reconnect, .. },
            ..
        }) = self.posts.get_mut(&link.post)
        {
            reconnect.failed(now, why);
        }
    }

    /// Writes how managers are: at once when a connection comes or goes, and now and then.
    fn report<R: Rim>(&mut self, now: Now, switch: &mut Switch<R>) {
        let open = |uuid: &Uuid| {
            self.links
                .values()
                .filter(|l| l.post == *uuid && l.session.is_some())
                .count()
        };
        let counts: BTreeMap<Uuid, (bool, usize)> = self
            .posts
            .keys()
            .map(|u| (*u, (open(u) > 0, open(u))))
            .collect();
        if counts == self.reported && self.report_at > now {
            return;
        }
        self.report_at = now + REPORT;
        let rows = self.posts.iter().map(|(uuid, post)| {
            let (connected, count) = counts.get(uuid).copied().unwrap_or_default();
            ManagerStatus {
                uuid: *uuid,
                connected,
                status: post.status(now, count),
            }
        });
        switch.manager_status(rows.collect());
        self.reported = counts;
    }
}

impl Link {
    fn new(post: Uuid, stream: Stream, deadline: Now) -> Self {
        Self {
            post,
            stream,
            session: None,
            deadline,
            found: PollFlags::empty(),
            blocked: false,
        }
    }
}

impl Post {
    fn new(now: Now, cfg: ManagerConfig, rundir: &Path) -> Self {
        let target =
            Target::parse_with(&cfg.target, rundir, DATABASE_PORT).map_err(|e| e.to_string());
        if let Err(why) = &target {
            tracing::warn!("manager {why}");
        }
        let means = match &target {
            Ok(t) if t.is_passive() => Means::Listen {
                door: Err(String::new()),
                retry_at: now,
            },
            _ => Means::Dial {
                reconnect: Box::new(Reconnect::new(
                    now,
                    cfg.max_backoff,
                    RandomState::new().hash_one(cfg.uuid),
                )),
                attempt: 0,
            },
        };
        Self { cfg, target, means }
    }

    /// Column `status`.
    fn status(&self, now: Now, connections: usize) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        let mut say = |key: &str, value: String| pairs.push((key.to_owned(), value));
        match &self.means {
            Means::Dial { reconnect, .. } => {
                say("state", reconnect.word().to_owned());
                let since = [
                    ("sec_since_connect", reconnect.sec_since_connect(now)),
                    ("sec_since_disconnect", reconnect.sec_since_disconnect(now)),
                ];
                for (key, seconds) in since {
                    seconds.into_iter().for_each(|s| say(key, s.to_string()));
                }
                let error =
                    reconnect
                        .last_error()
                        .or(self.target.as_ref().err().map(String::as_str));
                error
                    .into_iter()
                    .for_each(|e| say("last_error", e.to_owned()));
            }
            Means::Listen { door, .. } => {
                say(
                    "state",
                    if connections > 0 { "ACTIVE" } else { "IDLE" }.to_owned(),
                );
                if connections > 1 {
                    say("n_connections", connections.to_string());
                }
                match door {
                    Ok(door) => door
                        .port()
                        .into_iter()
                        .for_each(|p| say("bound_port", p.to_string())),
                    Err(why) => say("last_error", why.clone()),
                }
            }
        }
        pairs
    }
}
