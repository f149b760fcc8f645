//! The connection to the database server whose client the daemon is: bytes between a socket and the switch's follower.
//!
//! It is dialled for ever, with the waits of [`Reconnect`]; meanwhile the switch goes on with what it knows.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::poll::PollFlags;
use rvs_ovsdb::client::Follower;
use rvs_packet::Now;
use rvs_switch::controllers::SslConfig;

use crate::channel::means::{step, Dialled};
use crate::channel::reconnect::Reconnect;
use crate::channel::resolve::Resolver;
use crate::channel::stream::Stream;
use crate::channel::target::Target;
use crate::channel::tls::Credentials;
use crate::control::ovsdb_time;

/// Longest wait between attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(8);
/// Silence after which a server elsewhere is probed.
pub const PROBE: Duration = Duration::from_secs(5);
/// Octets written before the others' turn.
const SEND: usize = 1 << 20;

pub struct Remote {
    /// As people wrote it.
    name: String,
    target: Target,
    credentials: Credentials,
    resolver: Resolver,
    reconnect: Reconnect,
    attempt: usize,
    stream: Option<Stream>,
    /// The socket took less than there was.
    blocked: bool,
    found: PollFlags,
    buffer: Vec<u8>,
}

impl Remote {
    pub fn new(name: &str, target: Target, ssl: Option<SslConfig>, now: Now) -> Self {
        let mut credentials = Credentials::default();
        credentials.set(ssl);
        Self {
            name: name.to_owned(),
            target,
            credentials,
            resolver: Resolver::default(),
            reconnect: Reconnect::new(now, MAX_BACKOFF, RandomState::new().hash_one(name)),
            attempt: 0,
            stream: None,
            blocked: false,
            found: PollFlags::empty(),
            buffer: Vec::new(),
        }
    }

    /// What to poll for.
    pub fn interest(&self, follower: &Follower) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let stream = self.stream.as_ref()?;
        let flags = stream.interest(true, !follower.output().is_empty());
        Some((stream.fd(), flags))
    }

    /// The poll found something.
    pub fn ready(&mut self, found: PollFlags) {
        self.found = found;
    }

    /// When there is something to do if nothing happens.
    pub fn deadline(&self, follower: &Follower) -> Option<Now> {
        let probe = follower.next_deadline().map(|n| Now(n.0));
        self.reconnect.deadline().into_iter().chain(probe).min()
    }

    /// Dials, gives up, and takes what has come.
    pub fn take(&mut self, now: Now, follower: &mut Follower) {
        let (reconnect, attempt) = (&mut self.reconnect, &mut self.attempt);
        let (credentials, resolver) = (&mut self.credentials, &self.resolver);
        match step(now, reconnect, attempt, &self.target, credentials, resolver) {
            Dialled::Nothing => {}
            Dialled::Begun(stream) => self.stream = Some(*stream),
            Dialled::Failed(why) => self.failed(now, &why, follower),
            Dialled::Late => self.failed(now, "no connection in time", follower),
        }
        let found = std::mem::replace(&mut self.found, PollFlags::empty());
        if let Err(why) = self.read(now, found, follower) {
            self.failed(now, &why, follower);
        } else if !follower.tick(ovsdb_time(now)) {
            self.failed(now, "the server did not answer a probe", follower);
        }
    }

    fn read(
        &mut self,
        now: Now,
        mut found: PollFlags,
        follower: &mut Follower,
    ) -> Result<(), String> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        if !self.reconnect.is_connected() {
            if !stream.establish()? {
                return Ok(());
            }
            self.reconnect.connected(now);
            self.blocked = false;
            follower.connected(ovsdb_time(now));
            tracing::info!("{}: connected", self.name);
            // TLS may have the first message already, and no poll would tell of it.
            found.insert(PollFlags::POLLIN);
        }
        if found.intersects(PollFlags::POLLOUT) {
            self.blocked = false;
        }
        if found.intersects(PollFlags::POLLIN | PollFlags::POLLERR | PollFlags::POLLHUP) {
            self.buffer.clear();
            let read = stream.read(&mut self.buffer);
            let heard = follower.input(&self.buffer, ovsdb_time(now));
            heard.map_err(|e| e.to_string())?;
            read?;
        }
        Ok(())
    }

    /// Sends what waits.
    pub fn send(&mut self, now: Now, follower: &mut Follower) {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.blocked) else {
            return;
        };
        let pumped = stream.pump(SEND, &mut |write| {
            let there = follower.output().len();
            let taken = write(follower.output());
            follower.sent(taken);
            (there, taken)
        });
        match pumped {
            Ok(pumped) => self.blocked = pumped.left,
            Err(why) => self.failed(now, &why, follower),
        }
    }

    fn failed(&mut self, now: Now, why: &str, follower: &mut Follower) {
        if self.reconnect.is_connected() {
            tracing::info!("{}: connection dropped ({why})", self.name);
        } else if self.reconnect.last_error() != Some(why) {
            tracing::info!("{}: no connection ({why}), trying again", self.name);
        }
        if let Some(stream) = self.stream.take() {
            stream.close();
        }
        follower.disconnected();
        self.reconnect.failed(now, why);
    }
}
