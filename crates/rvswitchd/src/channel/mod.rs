//! The OpenFlow sockets of every bridge: controllers that are dialled, listeners and their clients, and the service sockets
//! `<bridge>.mgmt` and `<bridge>.snoop`.
//!
//! [`Channels`] moves bytes between sockets and the agents, and decides nothing about OpenFlow. It has no thread and never
//! blocks: the control thread polls what [`Channels::interests`] names, until [`Channels::deadline`] at most, reports what it
//! found ([`Channels::ready`]), and gives a turn ([`Channels::turn`]).
//!
//! Words: a *post* is a configured channel (a row of table Controller, or a service socket). It dials or has a *door*. A
//! *link* is one connection of a post: a socket, its TLS session, and the agent's connection behind it.
//!
//! What is bounded: clients of a door and of a source, TLS handshakes and their time, the time of a connection attempt, what
//! is read and written of one link before the others' turn, and the farewell of a link that ends. What waits inside is the
//! agent's to bound: a link whose agent wants no input isn't read.
//!
//! A link that ends gets its last requests handled and answered first: `echo commands | client` closes at once, and means
//! every one of them.

pub(crate) mod door;
mod host;
mod link;
#[cfg(test)]
mod pki;
mod post;
pub(crate) mod reconnect;
mod report;
pub(crate) mod resolve;
pub(crate) mod session;
pub(crate) mod stream;
pub(crate) mod target;
#[cfg(test)]
mod tests;
pub(crate) mod tls;

use std::collections::btree_map::Entry;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::PollFlags;
use rvs_packet::Now;
use rvs_pipeline::BridgeId;

pub use self::host::Host;

use self::door::{Door, Visitor};
use self::link::{Link, Turn};
use self::post::{Means, Post, PostKey};
use self::reconnect::Step;
use self::report::Desk;
use self::resolve::Resolver;
use self::session::Session;
use self::stream::Stream;
use self::target::Target;
use self::tls::Credentials;

/// Clients of a listener.
const MAX_CLIENTS: usize = 64;
/// Clients of a listener from one address.
const MAX_CLIENTS_OF_SOURCE: usize = 8;
/// Clients in the TLS handshake, of all listeners together, and how long each may take.
const MAX_HANDSHAKES: usize = 16;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Clients taken from one listener in a turn.
const ACCEPTS: usize = 16;
/// After this long a listener that could not be opened is tried again.
const REOPEN: Duration = Duration::from_secs(2);
/// No clients are accepted for this long when there are no file descriptors left.
const DEAF: Duration = Duration::from_secs(1);
/// A listener says that it turns clients away this often.
const REFUSAL_LOG: Duration = Duration::from_secs(10);

/// A descriptor to poll for.
pub struct Interest<'a> {
    pub token: Token,
    pub fd: BorrowedFd<'a>,
    pub flags: PollFlags,
}

/// Which one it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(Which);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Door(PostKey),
    Link(u64),
}

/// Every OpenFlow socket of the daemon.
pub struct Channels {
    rundir: PathBuf,
    epoch: Option<u64>,
    credentials: Credentials,
    resolver: Resolver,
    bridges: Vec<BridgeId>,
    posts: BTreeMap<PostKey, Post>,
    links: BTreeMap<u64, Link>,
    last_link: u64,
    /// Doors at which somebody knocks.
    knocks: Vec<PostKey>,
    /// An agent has more to do at once.
    more: bool,
    agents_due: Option<Now>,
    deaf_until: Now,
    desk: Desk,
    buffer: Vec<u8>,
    /// Octets came in the last turn.
    took: bool,
}

impl Channels {
    /// Channels whose files are in `rundir`. The first [`Self::turn`] opens them.
    pub fn new(rundir: &Path) -> Self {
        Self {
            rundir: rundir.to_owned(),
            epoch: None,
            credentials: Credentials::default(),
            resolver: Resolver::default(),
            bridges: Vec::new(),
            posts: BTreeMap::new(),
            links: BTreeMap::new(),
            last_link: 0,
            knocks: Vec::new(),
            more: false,
            agents_due: None,
            deaf_until: Now::ZERO,
            desk: Desk::default(),
            buffer: Vec::new(),
            took: false,
        }
    }

    /// What to poll for until the next turn.
    pub fn interests(&self, now: Now) -> Vec<Interest<'_>> {
        let mut list = Vec::with_capacity(self.posts.len() + self.links.len());
        if self.deaf_until <= now {
            for (key, post) in &self.posts {
                if let Means::Listen { door: Ok(door), .. } = &post.means {
                    list.push(Interest {
                        token: Token(Which::Door(*key)),
                        fd: door.fd(),
                        flags: PollFlags::POLLIN,
                    });
                }
            }
        }
        for (id, link) in &self.links {
            let flags = link.interest();
            // A socket that hung up would wake every poll that names it.
            if !flags.is_empty() {
                list.push(Interest {
                    token: Token(Which::Link(*id)),
                    fd: link.stream.fd(),
                    flags,
                });
            }
        }
        list
    }

    /// The poll found something.
    pub fn ready(&mut self, token: Token, found: PollFlags) {
        match token.0 {
            Which::Door(key) => self.knocks.push(key),
            Which::Link(id) => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.found(found);
                }
            }
        }
    }

    /// When the next turn is due if nothing happens; in the past: at once.
    pub fn deadline(&self) -> Option<Now> {
        if self.more {
            return Some(Now::ZERO);
        }
        let posts = self.posts.values().filter_map(Post::deadline);
        let links = self.links.values().filter_map(Link::due);
        let deaf = (self.deaf_until > Now::ZERO).then_some(self.deaf_until);
        posts
            .chain(links)
            .chain(self.agents_due)
            .chain(self.desk.due())
            .chain(deaf)
            .min()
    }

    /// Whether the last turn brought messages.
    pub fn took_messages(&self) -> bool {
        self.took
    }

    /// Follows the configuration, moves bytes both ways, and serves every agent once.
    pub fn turn(&mut self, now: Now, host: &mut impl Host) {
        if self.deaf_until <= now {
            self.deaf_until = Now::ZERO;
        }
        self.configure(now, host);
        self.open_doors(now);
        self.dial(now, host);
        self.accept(now);
        self.take(now, host);
        self.serve(now, host);
        self.send(now, host);
        self.agents_due = host.deadline();
        self.desk.run(now, &mut self.posts, &self.links, host);
    }

    fn configure(&mut self, now: Now, host: &mut impl Host) {
        let epoch = Some(host.openflow_epoch());
        if self.epoch == epoch {
            return;
        }
        self.epoch = epoch;
        self.credentials.set(host.ssl());
        let configs = host.openflow_configs();
        self.bridges = configs.iter().map(|c| c.bridge).collect();
        self.desk.configure(&configs);
        let mut wanted = post::wanted(&configs, &self.rundir);
        let is_kept = |key: &PostKey, post: &Post| {
            wanted
                .get(key)
                .is_some_and(|spec| spec.is_same_channel(&post.spec))
        };
        let old = self.posts.iter().filter(|(k, p)| !is_kept(k, p));
        let old: Vec<PostKey> = old.map(|(k, _)| *k).collect();
        for key in old {
            self.dismiss(now, key, host);
        }
        // Listeners' files go before others of the same name come.
        while let Some((key, spec)) = wanted.pop_first() {
            match self.posts.entry(key) {
                Entry::Vacant(e) => {
                    let seed = RandomState::new().hash_one(key.0 .0);
                    e.insert(Post::new(now, spec, seed));
                }
                Entry::Occupied(mut e) => {
                    let post = e.get_mut();
                    if let Means::Dial { reconnect, .. } = &mut post.means {
                        reconnect.set_max_backoff(now, spec.max_backoff);
                    }
                    if post.spec.manner != spec.manner {
                        let links = self.links.values().filter(|l| l.post == key);
                        for conn in links.filter_map(|l| l.conn) {
                            host.adjust(now, key.0, conn, &spec.manner);
                        }
                    }
                    post.spec = spec;
                }
            }
        }
    }

    /// Ends a post and its connections.
    fn dismiss(&mut self, now: Now, key: PostKey, host: &mut impl Host) {
        let of_post = self.links.iter().filter(|(_, l)| l.post == key);
        let ids: Vec<u64> = of_post.map(|(id, _)| *id).collect();
        for id in ids {
            self.drop_link(now, id, "it is no longer configured", host);
        }
        self.posts.remove(&key);
    }

    fn open_doors(&mut self, now: Now) {
        for post in self.posts.values_mut() {
            let Means::Listen { door, retry_at, .. } = &mut post.means else {
                continue;
            };
            let (Err(last), Ok(target)) = (&door, &post.spec.target) else {
                continue;
            };
            if *retry_at > now {
                continue;
            }
            let opened = Door::open(target);
            match &opened {
                Err(why) if why == last => {}
                Err(why) => tracing::warn!("{}: {why}", post.spec.name),
                Ok(_) => tracing::debug!("{}: listening", post.spec.name),
            }
            *door = opened;
            *retry_at = now + REOPEN;
        }
    }

    /// Lets posts that dial begin, or give up.
    fn dial(&mut self, now: Now, host: &mut impl Host) {
        let keys: Vec<PostKey> = self.posts.keys().copied().collect();
        for key in keys {
            let Some(post) = self.posts.get_mut(&key) else {
                continue;
            };
            let (Means::Dial { reconnect, attempt }, Ok(target)) =
                (&mut post.means, &post.spec.target)
            else {
                continue;
            };
            match reconnect.step(now) {
                Step::Nothing => {}
                Step::GiveUp => {
                    let link = self.links.iter().find(|(_, l)| l.post == key);
                    if let Some(id) = link.map(|(id, _)| *id) {
                        self.drop_link(now, id, "no connection in time", host);
                    }
                }
                Step::Connect => {
                    *attempt += 1;
                    let tls = seal(target, &mut self.credentials);
                    let begun =
                        tls.and_then(|tls| Stream::dial(target, tls, *attempt, &self.resolver));
                    match begun {
                        Ok(stream) => self.add_link(Link::new(key, stream)),
                        Err(why) => post.failed(now, &why),
                    }
                }
            }
        }
    }

    fn add_link(&mut self, link: Link) {
        self.last_link += 1;
        self.links.insert(self.last_link, link);
    }

    fn accept(&mut self, now: Now) {
        for key in std::mem::take(&mut self.knocks) {
            for _ in 0..ACCEPTS {
                let Some(post) = self.posts.get(&key) else {
                    break;
                };
                let Means::Listen { door: Ok(door), .. } = &post.means else {
                    break;
                };
                match door.accept() {
                    Ok(None) => break,
                    Ok(Some(visitor)) => {
                        let sealed = door.is_tls();
                        if let Err(why) = self.admit(now, key, visitor, sealed) {
                            self.refuse(now, key, &why);
                        }
                    }
                    Err(e) => {
                        tracing::warn!("no new OpenFlow clients for a second: {e}");
                        self.deaf_until = now + DEAF;
                        return;
                    }
                }
            }
        }
    }

    /// Makes a visitor a client, if there is room for it.
    fn admit(
        &mut self,
        now: Now,
        key: PostKey,
        visitor: Visitor,
        sealed: bool,
    ) -> Result<(), String> {
        let clients = || self.links.values().filter(|l| l.post == key);
        if clients().count() >= MAX_CLIENTS {
            return Err(format!("it has {MAX_CLIENTS} clients"));
        }
        if let Some(ip) = visitor.source {
            let same = |source: Option<IpAddr>| source == Some(ip);
            if clients().filter(|l| same(l.source)).count() >= MAX_CLIENTS_OF_SOURCE {
                return Err(format!("{ip} has {MAX_CLIENTS_OF_SOURCE} connections"));
            }
        }
        let tls = if sealed {
            let busy = |l: &&Link| l.is_client() && l.conn.is_none();
            if self.links.values().filter(busy).count() >= MAX_HANDSHAKES {
                return Err(format!("{MAX_HANDSHAKES} TLS handshakes are under way"));
            }
            Some(Session::accept(self.credentials.listening()?)?)
        } else {
            None
        };
        let stream = Stream::accepted(visitor.socket, tls).map_err(|e| e.to_string())?;
        let mut link = Link::new(key, stream);
        link.source = visitor.source;
        link.deadline = Some(now + HANDSHAKE);
        self.add_link(link);
        Ok(())
    }

    /// A visitor was turned away; says so now and then.
    fn refuse(&mut self, now: Now, key: PostKey, why: &str) {
        let Some(post) = self.posts.get_mut(&key) else {
            return;
        };
        if let Means::Listen { refused, .. } = &mut post.means {
            refused.0 += 1;
            if refused.1.is_none_or(|t| now.since(t) >= REFUSAL_LOG) {
                refused.1 = Some(now);
                let (name, count) = (&post.spec.name, refused.0);
                tracing::warn!("{name}: a client was turned away ({count} so far): {why}");
            }
        }
    }

    /// Opens streams and reads from them.
    fn take(&mut self, now: Now, host: &mut impl Host) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut gone = Vec::new();
        self.took = false;
        for (id, link) in &mut self.links {
            buffer.clear();
            let turn = link.take(now, host, &mut buffer);
            self.took |= !buffer.is_empty();
            match turn {
                Turn::Open => {}
                Turn::Gone(why) => gone.push((*id, why)),
                Turn::Opened => {
                    let post = self.posts.get(&link.post);
                    let manner = post.map(|p| &p.spec.manner);
                    link.conn = manner.and_then(|m| host.connect(now, link.post.0, m));
                    if link.conn.is_none() {
                        gone.push((*id, "the bridge is not up".to_owned()));
                    }
                }
            }
        }
        self.buffer = buffer;
        for (id, why) in gone {
            self.drop_link(now, id, &why, host);
        }
    }

    /// Gives every agent a turn, and ends what it gave up.
    fn serve(&mut self, now: Now, host: &mut impl Host) {
        self.more = false;
        for bridge in &self.bridges {
            self.more |= host.turn(now, *bridge);
            for (conn, why) in host.closed(*bridge) {
                let mut links = self.links.values_mut();
                let link = links.find(|l| l.post.0 == *bridge && l.conn == Some(conn));
                if let Some(link) = link {
                    link.end(now, why);
                }
            }
        }
    }

    fn send(&mut self, now: Now, host: &mut impl Host) {
        let mut gone = Vec::new();
        let more = self.more;
        for (id, link) in &mut self.links {
            let (turn, room) = link.send(now, host, more);
            self.more |= room;
            if let Turn::Gone(why) = turn {
                gone.push((*id, why));
                continue;
            }
            let Some(post) = self.posts.get_mut(&link.post) else {
                continue;
            };
            if link.ending.is_none() && post.is_dialling() {
                let status = link.conn.and_then(|c| host.status(link.post.0, c));
                if status.is_some_and(|s| s.established) {
                    post.connected(now);
                }
            }
        }
        for (id, why) in gone {
            self.drop_link(now, id, &why, host);
        }
    }

    fn drop_link(&mut self, now: Now, id: u64, why: &str, host: &mut impl Host) {
        let Some(link) = self.links.remove(&id) else {
            return;
        };
        if let Some(conn) = link.conn {
            host.disconnect(link.post.0, conn);
        }
        link.stream.close();
        if let Some(post) = self.posts.get_mut(&link.post) {
            post.failed(now, why);
        }
    }
}

/// The TLS session to begin with, for targets that have one.
pub(crate) fn seal(
    target: &Target,
    credentials: &mut Credentials,
) -> Result<Option<Session>, String> {
    match target {
        Target::Dial {
            host, tls: true, ..
        } => Session::dial(credentials.dialling()?, host).map(Some),
        _ => Ok(None),
    }
}
