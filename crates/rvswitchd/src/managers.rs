//! Rows of table Manager: database clients that are listened for (`ptcp:`, `pssl:`, `punix:`) or dialled (`tcp:`, `ssl:`,
//! `unix:`).
//!
//! Like [`Channels`](crate::channel::Channels), with sessions of the database server behind the sockets: no thread, never
//! blocking, bounded in clients of a listener and in what is moved in a turn. When the database is another server's, so
//! are its managers, and nothing is opened here.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::PollFlags;
use rvs_ovsdb::server::{Server, SessionId};
use rvs_ovsdb::Uuid;
use rvs_packet::Now;
use rvs_switch::controllers::{ManagerConfig, ManagerStatus};
use rvs_switch::{Rim, Switch};

use crate::channel::means::{Client, Dialled, Guest, Knock, Means, Porch, ACCEPTS, MAX_CLIENTS};
use crate::channel::resolve::Resolver;
use crate::channel::stream::Stream;
use crate::channel::target::Target;
use crate::channel::tls::Credentials;
use crate::control::ovsdb_time;
use crate::source::DATABASE_PORT;

/// How often status is written while nothing changes.
const REPORT: Duration = Duration::from_secs(5);
/// Octets written to one client before the others' turn.
const SEND: usize = 1 << 20;

/// A row.
struct Post {
    /// For logs.
    name: String,
    cfg: ManagerConfig,
    target: Result<Target, String>,
    means: Means,
}

/// A connection.
struct Link {
    post: Uuid,
    stream: Stream,
    /// There once the stream is open.
    session: Option<SessionId>,
    /// Of a client.
    source: Option<IpAddr>,
    /// Until when a client's stream has to be open; an attempt to connect has a deadline of its own.
    deadline: Option<Now>,
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
    porch: Porch,
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
            porch: Porch::new("database clients of managers", MAX_CLIENTS),
            reported: BTreeMap::new(),
            report_at: Now::ZERO,
            buffer: Vec::new(),
        }
    }

    /// What to poll for until the next turn.
    pub fn interests(
        &self,
        now: Now,
        server: &Server,
    ) -> Vec<(Token, std::os::fd::BorrowedFd<'_>, PollFlags)> {
        let mut list = Vec::new();
        for (uuid, post) in self.posts.iter().filter(|_| self.porch.hears(now)) {
            if let Some(door) = post.means.door() {
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
        let posts = self.posts.values().filter_map(|p| p.means.deadline());
        let opening = self.links.values().filter(|l| l.session.is_none());
        let report = (!self.posts.is_empty()).then_some(self.report_at);
        posts
            .chain(opening.filter_map(|l| l.deadline))
            .chain(report)
            .chain(self.porch.deadline())
            .min()
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
        self.porch.tick(now);
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
            if let Ok(target) = &post.target {
                post.means.open(now, &post.name, target);
            }
        }
    }

    /// Lets managers that are dialled begin, or give up.
    fn dial<R: Rim>(&mut self, now: Now, switch: &mut Switch<R>) {
        let mut late = Vec::new();
        for (uuid, post) in &mut self.posts {
            let Ok(target) = &post.target else {
                continue;
            };
            let dialled = post
                .means
                .dial(now, target, &mut self.credentials, &self.resolver);
            match dialled {
                Dialled::Nothing => {}
                Dialled::Begun(stream) => {
                    self.last_link += 1;
                    self.links.insert(self.last_link, Link::new(*uuid, *stream));
                }
                Dialled::Failed(why) => post.failed(now, &why),
                Dialled::Late => late.push(*uuid),
            }
        }
        for uuid in late {
            let link = self.links.iter().find(|(_, l)| l.post == uuid);
            if let Some(id) = link.map(|(id, _)| *id) {
                self.end(now, id, "no connection in time", switch);
            }
        }
    }

    fn accept(&mut self, now: Now) {
        for uuid in std::mem::take(&mut self.knocks) {
            for _ in 0..ACCEPTS {
                let Some(post) = self.posts.get_mut(&uuid) else {
                    break;
                };
                let guests = self.links.values().map(|l| l.as_guest(uuid));
                let (name, means) = (&post.name, &mut post.means);
                match self
                    .porch
                    .knock(now, name, means, &mut self.credentials, guests)
                {
                    Knock::Nobody => break,
                    Knock::TurnedAway => {}
                    Knock::Client(client) => {
                        self.last_link += 1;
                        self.links
                            .insert(self.last_link, Link::of_client(uuid, *client));
                    }
                }
            }
        }
    }

    /// Opens a stream, and reads from it.
    fn take<R: Rim>(&mut self, now: Now, id: u64, switch: &mut Switch<R>) -> Result<(), String> {
        let Some(link) = self.links.get_mut(&id) else {
            return Ok(());
        };
        let mut found = std::mem::replace(&mut link.found, PollFlags::empty());
        let session = match link.session {
            Some(session) => session,
            None if !link.stream.establish()? => {
                return match link.deadline {
                    Some(at) if at <= now => Err("no TLS handshake in time".to_owned()),
                    _ => Ok(()),
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
                // TLS may have the first request already, and no poll would tell of it.
                found.insert(PollFlags::POLLIN);
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
            if link.blocked {
                continue;
            }
            let pumped = link.stream.pump(SEND, &mut |write| {
                let bytes = switch.server.output(session);
                let there = bytes.len();
                let taken = write(bytes);
                switch.server.sent(session, taken, ovsdb_time(now));
                (there, taken)
            });
            match pumped {
                Ok(pumped) => link.blocked = pumped.left,
                Err(why) => failed.push((*id, why)),
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
        if let Some(post) = self.posts.get_mut(&link.post) {
            post.failed(now, why);
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
    fn new(post: Uuid, stream: Stream) -> Self {
        Self {
            post,
            stream,
            session: None,
            source: None,
            deadline: None,
            found: PollFlags::empty(),
            blocked: false,
        }
    }

    fn of_client(post: Uuid, client: Client) -> Self {
        Self {
            source: client.source,
            deadline: Some(client.deadline),
            ..Self::new(post, client.stream)
        }
    }

    /// As it counts against new clients of `post`.
    fn as_guest(&self, post: Uuid) -> Guest {
        Guest {
            is_same_door: self.post == post,
            source: self.source,
            is_opening: self.deadline.is_some() && self.session.is_none(),
        }
    }
}

impl Post {
    fn new(now: Now, cfg: ManagerConfig, rundir: &Path) -> Self {
        let target =
            Target::parse_with(&cfg.target, rundir, DATABASE_PORT).map_err(|e| e.to_string());
        let name = format!("manager {}", cfg.target);
        let seed = RandomState::new().hash_one(cfg.uuid);
        Self {
            means: Means::new(now, &name, &target, cfg.max_backoff, seed),
            name,
            cfg,
            target,
        }
    }

    /// An attempt failed, or a connection ended.
    fn failed(&mut self, now: Now, why: &str) {
        if let Means::Dial { reconnect, .. } = &mut self.means {
            reconnect.failed(now, why);
        }
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
                let error = reconnect.last_error().map(str::to_owned);
                error.into_iter().for_each(|e| say("last_error", e));
            }
            Means::Unusable(why) => {
                say("state", "VOID".to_owned());
                say("last_error", why.clone());
            }
            Means::Listen { door, .. } => {
                if connections > 0 {
                    say("state", "ACTIVE".to_owned());
                }
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
