//! A connection: a stream, and the agent's side of it.

use std::net::IpAddr;
use std::time::Duration;

use nix::poll::PollFlags;
use rvs_ofproto::ConnId;
use rvs_packet::Now;

use super::host::Host;
use super::means::{Client, Guest};
use super::post::PostKey;
use super::stream::Stream;

/// Octets sent on one connection before the others' turn.
const SEND: usize = 256 << 10;
/// With as much to send, the agent may have waited for room.
const LONG: usize = 64 << 10;
/// How long a connection that ends is kept for what it still has to say.
const FAREWELL: Duration = Duration::from_secs(1);

/// One connection.
pub struct Link {
    pub post: PostKey,
    pub stream: Stream,
    /// Once the stream is open.
    pub conn: Option<ConnId>,
    /// Of a client.
    pub source: Option<IpAddr>,
    /// Until when a client's stream must be open.
    pub deadline: Option<Now>,
    /// Why it ends, and until when what was said before is handled and answered.
    pub ending: Option<(String, Now)>,
    wants_input: bool,
    /// The socket took less than there was.
    blocked: bool,
    /// What the last poll found.
    found: PollFlags,
    /// The peer takes nothing more, and until when what it said before that is still read.
    mute: Option<(String, Now)>,
}

/// What came of a turn with a link.
pub enum Turn {
    Open,
    /// The stream has just opened: the agent is to be told.
    Opened,
    /// It is over.
    Gone(String),
}

impl Link {
    pub fn new(post: PostKey, stream: Stream) -> Self {
        Self {
            post,
            stream,
            conn: None,
            source: None,
            deadline: None,
            ending: None,
            wants_input: true,
            blocked: false,
            // It may be open already.
            found: PollFlags::POLLIN | PollFlags::POLLOUT,
            mute: None,
        }
    }

    pub fn of_client(post: PostKey, client: Client) -> Self {
        let mut link = Self::new(post, client.stream);
        link.source = client.source;
        link.deadline = Some(client.deadline);
        link
    }

    /// As it counts against new clients of `post`.
    pub fn as_guest(&self, post: PostKey) -> Guest {
        Guest {
            is_same_door: self.post == post,
            source: self.source,
            is_opening: self.deadline.is_some() && self.conn.is_none(),
        }
    }

    /// What to poll for; nothing: not to be polled.
    pub fn interest(&self) -> PollFlags {
        let input = self.wants_input && self.ending.is_none();
        self.stream.interest(input, self.blocked)
    }

    pub fn found(&mut self, flags: PollFlags) {
        self.found |= flags;
    }

    /// When time alone brings something to do.
    pub fn due(&self) -> Option<Now> {
        match self.ending.as_ref().or(self.mute.as_ref()) {
            Some((_, until)) => Some(*until),
            None if self.conn.is_none() => self.deadline,
            None => None,
        }
    }

    /// It ends when the agent has done what it was asked, and what it says to that is sent, or soon.
    pub fn end(&mut self, now: Now, why: String) {
        if self.ending.is_none() {
            self.ending = Some((why, now + FAREWELL));
        }
    }

    /// Opens the stream, or reads from it; what came is left in `buffer`, which comes empty.
    pub fn take(&mut self, now: Now, host: &mut impl Host, buffer: &mut Vec<u8>) -> Turn {
        let found = std::mem::replace(&mut self.found, PollFlags::empty());
        let Some(conn) = self.conn else {
            if !found.is_empty() {
                match self.stream.establish() {
                    Ok(true) => return Turn::Opened,
                    Ok(false) => {}
                    Err(why) => return Turn::Gone(why),
                }
            }
            return match self.deadline {
                Some(at) if at <= now => Turn::Gone("no TLS handshake in time".to_owned()),
                _ => Turn::Open,
            };
        };
        if found.intersects(PollFlags::POLLOUT | PollFlags::POLLERR | PollFlags::POLLHUP) {
            self.blocked = false;
        }
        let readable = PollFlags::POLLIN | PollFlags::POLLERR | PollFlags::POLLHUP;
        if found.intersects(readable) && self.wants_input && self.ending.is_none() {
            let read = self.stream.read(buffer);
            if !buffer.is_empty() {
                host.input(self.post.0, conn, buffer);
            }
            if let Err(why) = read {
                self.end(now, why);
            }
        }
        Turn::Open
    }

    /// Sends what waits, and looks what the agent wants. `more`: the agent isn't done with what it has. Returns what became
    /// of the link, and whether the agent may go on now that there is room.
    pub fn send(&mut self, now: Now, host: &mut impl Host, more: bool) -> (Turn, bool) {
        let Some(conn) = self.conn else {
            return (Turn::Open, false);
        };
        let mut room = false;
        if !self.blocked {
            match self.push(host, conn) {
                Ok(long) => room = long,
                Err(why) => {
                    // It may have asked for much before it went.
                    self.mute = Some((why, now + FAREWELL));
                    room = true;
                }
            }
        }
        if let Some((why, until)) = &self.mute {
            if *until <= now {
                return (Turn::Gone(why.clone()), false);
            }
        }
        let waits = self.blocked;
        self.wants_input = host.wants_input(self.post.0, conn);
        match &self.ending {
            Some((why, until)) if *until <= now || !(waits || more || room) => {
                (Turn::Gone(why.clone()), false)
            }
            _ => (Turn::Open, room),
        }
    }

    /// Writes until nothing is left or the socket is full. Whether the agent had so much that it may have waited for room.
    fn push(&mut self, host: &mut impl Host, conn: ConnId) -> Result<bool, String> {
        let bridge = self.post.0;
        let mut offer = |write: &mut dyn FnMut(&[u8]) -> usize| host.send(bridge, conn, write);
        if self.mute.is_some() {
            // Nobody takes it, and the agent is to go on.
            let (there, _) = offer(&mut |bytes| bytes.len());
            self.blocked = false;
            return Ok(there >= LONG);
        }
        let pumped = self.stream.pump(SEND, &mut offer)?;
        self.blocked = pumped.left;
        Ok(pumped.most >= LONG)
    }
}
