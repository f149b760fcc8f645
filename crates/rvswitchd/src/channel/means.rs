//! How a configured channel gets its connections: it dials, or has a door. The same for OpenFlow, for rows of table Manager,
//! and, as far as dialling goes, for another server's database.
//!
//! What is bounded: clients of a door and of a source, TLS handshakes and their time. When the process has no file
//! descriptors left, nobody is let in for a second: whoever knocks goes on knocking, and would wake every poll.

use std::net::IpAddr;
use std::time::Duration;

use rvs_packet::Now;

use super::door::{Door, Visitor};
use super::reconnect::{Reconnect, Step};
use super::resolve::Resolver;
use super::session::Session;
use super::stream::Stream;
use super::target::Target;
use super::tls::Credentials;

/// Clients of a listener.
pub const MAX_CLIENTS: usize = 64;
/// Clients of an OpenFlow listener from one address. (Those of a database may all be on one host.)
pub const MAX_CLIENTS_OF_SOURCE: usize = 8;
/// Clients in the TLS handshake, of all listeners of a kind together, and how long each may take.
pub const MAX_HANDSHAKES: usize = 16;
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// Clients taken from one listener in a turn.
pub const ACCEPTS: usize = 16;
/// After this long a listener that could not be opened is tried again.
const REOPEN: Duration = Duration::from_secs(2);
/// No clients are accepted for this long when there are no file descriptors left.
const DEAF: Duration = Duration::from_secs(1);
/// A listener says that it turns clients away this often.
const REFUSAL_LOG: Duration = Duration::from_secs(10);

/// How a channel gets its connections.
pub enum Means {
    Dial {
        reconnect: Box<Reconnect>,
        /// Attempts so far.
        attempt: usize,
    },
    Listen {
        door: Result<Door, String>,
        /// When to try again if there is none.
        retry_at: Now,
        /// Clients that were turned away, and when that was last said.
        refused: (u64, Option<Now>),
    },
    Unusable(String),
}

/// What came of [`Means::dial`].
pub enum Dialled {
    Nothing,
    /// There is a stream now, which is yet to be established.
    Begun(Box<Stream>),
    /// It could not even begin.
    Failed(String),
    /// The attempt under way has taken too long.
    Late,
}

impl Means {
    /// What `target` asks for, said once in the log under `name` if it can't be had.
    pub fn new(
        now: Now,
        name: &str,
        target: &Result<Target, String>,
        max_backoff: Duration,
        seed: u64,
    ) -> Self {
        match target {
            Err(why) => {
                // An error, where scripts look for one.
                match name.contains(": punix:") {
                    true => {
                        tracing::error!("Not adding Unix domain socket controller {name}: {why}")
                    }
                    false => tracing::warn!("{name}: {why}"),
                }
                Self::Unusable(why.clone())
            }
            Ok(target) if target.is_passive() => Self::Listen {
                door: Err(String::new()),
                retry_at: now,
                refused: (0, None),
            },
            Ok(_) => Self::Dial {
                reconnect: Box::new(Reconnect::new(now, max_backoff, seed)),
                attempt: 0,
            },
        }
    }

    /// When time alone brings something to do.
    pub fn deadline(&self) -> Option<Now> {
        match self {
            Self::Dial { reconnect, .. } => reconnect.deadline(),
            Self::Listen {
                door: Err(_),
                retry_at,
                ..
            } => Some(*retry_at),
            Self::Listen { .. } | Self::Unusable(_) => None,
        }
    }

    pub fn door(&self) -> Option<&Door> {
        match self {
            Self::Listen { door, .. } => door.as_ref().ok(),
            _ => None,
        }
    }

    /// Opens the door, if it is one and its time has come.
    pub fn open(&mut self, now: Now, name: &str, target: &Target) {
        let Self::Listen { door, retry_at, .. } = self else {
            return;
        };
        let Err(last) = &door else { return };
        if *retry_at > now {
            return;
        }
        let opened = Door::open(target);
        match &opened {
            Err(why) if why == last => {}
            Err(why) => tracing::warn!("{name}: {why}"),
            Ok(_) => tracing::debug!("{name}: listening"),
        }
        *door = opened;
        *retry_at = now + REOPEN;
    }

    /// Begins to connect, or gives up, if it dials and its time has come.
    pub fn dial(
        &mut self,
        now: Now,
        target: &Target,
        credentials: &mut Credentials,
        resolver: &Resolver,
    ) -> Dialled {
        let Self::Dial { reconnect, attempt } = self else {
            return Dialled::Nothing;
        };
        step(now, reconnect, attempt, target, credentials, resolver)
    }

    /// Counts a visitor that was turned away, and says so now and then.
    fn refuse(&mut self, now: Now, name: &str, why: &str) {
        if let Self::Listen { refused, .. } = self {
            refused.0 += 1;
            if refused.1.is_none_or(|t| now.since(t) >= REFUSAL_LOG) {
                refused.1 = Some(now);
                let count = refused.0;
                tracing::warn!("{name}: a client was turned away ({count} so far): {why}");
            }
        }
    }
}

/// What [`Means::dial`] does, for whoever does nothing but dial.
pub fn step(
    now: Now,
    reconnect: &mut Reconnect,
    attempt: &mut usize,
    target: &Target,
    credentials: &mut Credentials,
    resolver: &Resolver,
) -> Dialled {
    match reconnect.step(now) {
        Step::Nothing => Dialled::Nothing,
        Step::GiveUp => Dialled::Late,
        Step::Connect => {
            *attempt += 1;
            let begun = seal(target, credentials)
                .and_then(|tls| Stream::dial(target, tls, *attempt, resolver));
            match begun {
                Ok(stream) => Dialled::Begun(Box::new(stream)),
                Err(why) => Dialled::Failed(why),
            }
        }
    }
}

/// The TLS session to begin with, for targets that have one.
fn seal(target: &Target, credentials: &mut Credentials) -> Result<Option<Session>, String> {
    match target {
        Target::Dial {
            host, tls: true, ..
        } => Session::dial(credentials.dialling()?, host).map(Some),
        _ => Ok(None),
    }
}

/// A connection that exists, as far as it counts against new ones.
pub struct Guest {
    /// It came by the same door.
    pub is_same_door: bool,
    pub source: Option<IpAddr>,
    /// Its TLS handshake is under way.
    pub is_opening: bool,
}

/// A client that was let in.
pub struct Client {
    pub stream: Stream,
    pub source: Option<IpAddr>,
    /// Until when its stream must be open.
    pub deadline: Now,
}

/// What came of [`Porch::knock`].
pub enum Knock {
    Nobody,
    TurnedAway,
    Client(Box<Client>),
}

/// Where clients are let in.
pub struct Porch {
    deaf_until: Now,
    /// Who they are, for logs.
    whose: &'static str,
    /// Clients of a listener from one address, at most.
    of_source: usize,
}

impl Porch {
    pub fn new(whose: &'static str, of_source: usize) -> Self {
        Self {
            deaf_until: Now::ZERO,
            whose,
            of_source,
        }
    }

    /// Whether doors are worth a poll.
    pub fn hears(&self, now: Now) -> bool {
        self.deaf_until <= now
    }

    /// When doors are worth a poll again.
    pub fn deadline(&self) -> Option<Now> {
        (self.deaf_until > Now::ZERO).then_some(self.deaf_until)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now) {
        if self.hears(now) {
            self.deaf_until = Now::ZERO;
        }
    }

    /// Lets the next one in that knocks at the door of `means`, if there is room for it beside `guests`.
    pub fn knock(
        &mut self,
        now: Now,
        name: &str,
        means: &mut Means,
        credentials: &mut Credentials,
        guests: impl Iterator<Item = Guest>,
    ) -> Knock {
        let Some(door) = means.door().filter(|_| self.hears(now)) else {
            return Knock::Nobody;
        };
        let sealed = door.is_tls();
        match door.accept() {
            Ok(None) => Knock::Nobody,
            Ok(Some(visitor)) => {
                match admit(now, visitor, sealed, self.of_source, credentials, guests) {
                    Ok(client) => Knock::Client(Box::new(client)),
                    Err(why) => {
                        means.refuse(now, name, &why);
                        Knock::TurnedAway
                    }
                }
            }
            Err(e) => {
                tracing::warn!("no new {} for a second: {e}", self.whose);
                self.deaf_until = now + DEAF;
                Knock::Nobody
            }
        }
    }
}

/// Makes a visitor a client, if there is room for it.
fn admit(
    now: Now,
    visitor: Visitor,
    sealed: bool,
    most_of_source: usize,
    credentials: &mut Credentials,
    guests: impl Iterator<Item = Guest>,
) -> Result<Client, String> {
    let (mut clients, mut of_source, mut opening) = (0, 0, 0);
    for guest in guests {
        clients += usize::from(guest.is_same_door);
        of_source += usize::from(guest.is_same_door && guest.source == visitor.source);
        opening += usize::from(guest.is_opening);
    }
    if clients >= MAX_CLIENTS {
        return Err(format!("it has {MAX_CLIENTS} clients"));
    }
    if let Some(ip) = visitor.source.filter(|_| of_source >= most_of_source) {
        return Err(format!("{ip} has {most_of_source} connections"));
    }
    let tls = if sealed {
        if opening >= MAX_HANDSHAKES {
            return Err(format!("{MAX_HANDSHAKES} TLS handshakes are under way"));
        }
        Some(Session::accept(credentials.listening()?)?)
    } else {
        None
    };
    Ok(Client {
        stream: Stream::accepted(visitor.socket, tls).map_err(|e| e.to_string())?,
        source: visitor.source,
        deadline: now + HANDSHAKE,
    })
}
