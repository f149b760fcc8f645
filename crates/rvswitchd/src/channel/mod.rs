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
//! What is bounded, besides what [`means`] bounds: the time of a connection attempt, what is read and written of one link before the others' turn, and the farewell of a link that ends. What waits inside is the
//! agent's to bound: a link whose agent wants no input isn't read.
//!
//! A link that ends gets its last requests handled and answered first: `echo commands | client` closes at once, and means
//! every one of them.

pub(crate) mod door;
mod host;
mod link;
pub(crate) mod means;
#[cfg(test)]
pub(crate) mod pki;
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
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use nix::poll::PollFlags;
use rvs_packet::Now;
use rvs_pipeline::BridgeId;

pub use self::host::Host;

use self::link::{Link, Turn};
use self::means::{Dialled, Knock, Means, Porch, ACCEPTS, MAX_CLIENTS_OF_SOURCE};
use self::post::{Post, PostKey};
use self::report::Desk;
use self::resolve::Resolver;
use self::tls::Credentials;

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
    porch: Porch,
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
            porch: Porch::new("OpenFlow clients", MAX_CLIENTS_OF_SOURCE),
            desk: Desk::default(),
            buffer: Vec::new(),
            took: false,
        }
    }

    /// What to poll for until the next turn.
    pub fn interests(&self, now: Now) -> Vec<Interest<'_>> {
        let mut list = Vec::with_capacity(self.posts.len() + self.links.len());
        if self.porch.hears(now) {
            for (key, post) in &self.posts {
                if let Some(door) = post.means.door() {
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
        let posts = self.posts.values().filter_map(|p| p.means.deadline());
        let links = self.links.values().filter_map(Link::due);
        posts
            .chain(links)
            .chain(self.agents_due)
            .chain(self.desk.due())
            .chain(self.porch.deadline())
            .min()
    }

    /// Whether the last turn brought messages.
    pub fn took_messages(&self) -> bool {
        self.took
    }

    /// Follows the configuration, moves bytes both ways, and serves every agent once.
    pub fn turn(&mut self, now: Now, host: &mut impl Host) {
        self.porch.tick(now);
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
        for bridge in &self.bridges {
            let of_bridge = wanted.iter().filter(|(key, _)| key.0 == *bridge);
            let uris: Vec<String> = of_bridge.filter_map(|(_, s)| s.uri.clone()).collect();
            host.set_controllers(*bridge, &uris);
        }
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
            if let Ok(target) = &post.spec.target {
                post.means.open(now, &post.spec.name, target);
            }
        }
    }

    /// Lets posts that dial begin, or give up.
    fn dial(&mut self, now: Now, host: &mut impl Host) {
        let mut begun = Vec::new();
        let mut late = Vec::new();
        for (key, post) in &mut self.posts {
            let Ok(target) = &post.spec.target else {
                continue;
            };
            let dialled = post
                .means
                .dial(now, target, &mut self.credentials, &self.resolver);
            match dialled {
                Dialled::Nothing => {}
                Dialled::Begun(stream) => begun.push(Link::new(*key, *stream)),
                Dialled::Failed(why) => post.failed(now, &why),
                Dialled::Late => late.push(*key),
            }
        }
        begun.into_iter().for_each(|link| self.add_link(link));
        for key in late {
            let link = self.links.iter().find(|(_, l)| l.post == key);
            if let Some(id) = link.map(|(id, _)| *id) {
                self.drop_link(now, id, "no connection in time", host);
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
                let Some(post) = self.posts.get_mut(&key) else {
                    break;
                };
                let guests = self.links.values().map(|l| l.as_guest(key));
                let (name, means) = (&post.spec.name, &mut post.means);
                match self
                    .porch
                    .knock(now, name, means, &mut self.credentials, guests)
                {
                    Knock::Nobody => break,
                    Knock::TurnedAway => {}
                    Knock::Client(client) => self.add_link(Link::of_client(key, *client)),
                }
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
            let mut turn = link.take(now, host, &mut buffer);
            if matches!(turn, Turn::Opened) {
                let post = self.posts.get(&link.post);
                link.conn = post.and_then(|p| {
                    let uri = p.spec.uri.as_deref();
                    let came_from = link.stream.came_from();
                    let peer = came_from.as_deref().or(p.spec.dialled.as_deref());
                    host.connect(now, link.post.0, &p.spec.manner, uri, peer)
                });
                turn = match link.conn {
                    Some(_) => {
                        // TLS may have the first message already, and no poll would tell of it.
                        link.found(PollFlags::POLLIN);
                        link.take(now, host, &mut buffer)
                    }
                    None => Turn::Gone("the bridge is not up".to_owned()),
                };
            }
            self.took |= !buffer.is_empty();
            if let Turn::Gone(why) = turn {
                gone.push((*id, why));
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

    /// Ends the connections of a bridge, or all; those that are dialled are made anew.
    pub fn reconnect(&mut self, now: Now, bridge: Option<BridgeId>, host: &mut impl Host) {
        let meant = |l: &Link| bridge.is_none_or(|b| l.post.0 == b);
        let of_bridge = self.links.iter().filter(|(_, l)| meant(l));
        let ids: Vec<u64> = of_bridge.map(|(id, _)| *id).collect();
        for id in ids {
            self.drop_link(now, id, "asked to reconnect", host);
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
