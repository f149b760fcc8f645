//! Bundles: changes that are collected and then made together (OpenFlow 1.4.1 section 7.3.9; ONF's extension for 1.3).
//!
//! A message is decoded when it is added, so that what is wrong with it is said at once, and kept as octets: decoded it would
//! take ten times the room. At the commit it is decoded again, except a flow to add, which is kept [ready](ReadyAdd) too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rvs_openflow::framer::RawHeader;
use rvs_openflow::message::{BundleAdd, BundleCommand, BundleControl, BundleFlags};
use rvs_openflow::{Dialect, ErrorCode, Message, OfError};
use rvs_packet::Now;

use super::agent::{Agent, Call};
use super::connection::Connection;
use super::dispatch::to_mod;
use super::limits::{BUNDLES, BUNDLE_MESSAGES, BUNDLE_OCTETS, TURN_CHANGES, TURN_FORGOTTEN};
use crate::plant::Plant;
use crate::state::{Masks, Mod, Outcome, ReadyAdd, Task, Tasks};
use crate::{Author, ConnId};

/// Octets of a piece of a bundle's store: growing one copies no more than this.
const CHUNK: usize = 64 << 10;

/// Messages, one after the other.
#[derive(Debug, Default)]
pub(super) struct Store {
    chunks: Vec<Vec<u8>>,
    messages: usize,
    octets: usize,
}

/// An add in a longer message is not kept ready: what it is decoded to may take several times the room.
const READY_OCTETS: usize = 512;

/// How a message is kept besides.
#[derive(Debug)]
enum Kept {
    /// As the rule that it adds.
    Ready(ReadyAdd),
    /// Not: it is read again at its turn, from there.
    Octets(Place),
}

impl Store {
    /// Where the message is kept.
    fn push(&mut self, message: &[u8]) -> Place {
        match self.chunks.last_mut() {
            Some(last) if last.len() + message.len() <= CHUNK => last.extend_from_slice(message),
            _ => self.chunks.push(message.to_vec()),
        }
        self.messages += 1;
        self.octets += message.len();
        let last = self.chunks.last().map_or(0, Vec::len);
        Place {
            chunk: self.chunks.len() - 1,
            octet: last - message.len(),
        }
    }

    /// The message at a place, which moves on.
    fn next(&self, at: &mut Place) -> Option<&[u8]> {
        while let Some(chunk) = self.chunks.get(at.chunk) {
            let rest = chunk.get(at.octet..).unwrap_or_default();
            let message = RawHeader::parse(rest).and_then(|h| rest.get(..h.length.into()));
            if let Some(message) = message {
                at.octet += message.len();
                return Some(message);
            }
            *at = Place {
                chunk: at.chunk + 1,
                octet: 0,
            };
        }
        None
    }

    fn nth(&self, n: usize) -> Option<&[u8]> {
        let mut at = Place::default();
        for _ in 0..n {
            self.next(&mut at)?;
        }
        self.next(&mut at)
    }
}

/// Where in a store.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    chunk: usize,
    octet: usize,
}

/// A commit, or another change that is made in slices. Requests of all connections wait for it, but for echoes.
#[derive(Debug)]
pub(super) struct Long {
    conn: ConnId,
    xid: u32,
    /// The start of the request.
    head: Vec<u8>,
    /// What to answer when it succeeds.
    reply: Option<BundleControl>,
    store: Option<Arc<Store>>,
}

#[derive(Debug)]
struct Bundle {
    flags: BundleFlags,
    closed: bool,
    /// Of its messages.
    dialect: Dialect,
    used: Now,
    /// The start of the message that opened it.
    opened_by: Vec<u8>,
    store: Store,
    kept: Vec<Kept>,
    masks: Masks,
}

/// The bundles of a connection.
#[derive(Debug, Default)]
pub(super) struct Bundles(BTreeMap<u32, Bundle>);

/// What the bundles of all connections of an agent hold.
#[derive(Debug, Default)]
pub(super) struct BundleUse {
    pub(super) messages: usize,
    pub(super) octets: usize,
    /// Of bundles that are gone. A million flows take a third of a second to forget, which is done little by little.
    discarded: Vec<std::vec::IntoIter<Kept>>,
    /// Messages in those: they count until they are forgotten.
    waiting: usize,
}

impl BundleUse {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        (self.messages, self.octets) == (0, 0)
    }

    /// Bundles that are not quite forgotten, and their messages.
    #[cfg(test)]
    pub(super) fn left(&self) -> (usize, usize) {
        (self.discarded.len(), self.waiting)
    }

    /// Forgets some of what was discarded. True when there is more.
    pub(super) fn tidy(&mut self) -> bool {
        let mut left = TURN_FORGOTTEN;
        while let Some(last) = self.discarded.last_mut() {
            let gone = last.by_ref().take(left).count();
            self.waiting -= gone;
            left -= gone;
            if left == 0 {
                break;
            }
            self.discarded.pop();
        }
        !self.discarded.is_empty()
    }
}

impl Bundles {
    /// Whether one waits to be committed.
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    fn open(
        &mut self,
        now: Now,
        id: u32,
        flags: BundleFlags,
        dialect: Dialect,
        head: &[u8],
    ) -> Result<(), OfError> {
        if self.0.len() >= BUNDLES {
            return Err(ErrorCode::BfcOutOfBundles.because(format!(
                "a connection has {BUNDLES} bundles at most; commit or discard one"
            )));
        }
        let bundle = Bundle {
            flags,
            closed: false,
            dialect,
            used: now,
            opened_by: head.to_vec(),
            store: Store::default(),
            kept: Vec::new(),
            masks: Masks::default(),
        };
        self.0.insert(id, bundle);
        Ok(())
    }

    /// Takes bundle `id` away.
    fn take(&mut self, id: u32, total: &mut BundleUse) -> Option<Bundle> {
        let bundle = self.0.remove(&id)?;
        total.messages -= bundle.store.messages;
        total.octets -= bundle.store.octets;
        Some(bundle)
    }

    /// Takes bundle `id` away for nothing; the message that opened it.
    fn discard(&mut self, id: u32, total: &mut BundleUse) -> Option<Vec<u8>> {
        let bundle = self.take(id, total)?;
        total.waiting += bundle.kept.len();
        total.discarded.push(bundle.kept.into_iter());
        Some(bundle.opened_by)
    }

    /// Takes all of them away.
    pub(super) fn clear(&mut self, total: &mut BundleUse) {
        while let Some(&id) = self.0.keys().next() {
            self.discard(id, total);
        }
    }

    /// Takes those away that nothing was added to for too long, and gives the messages that opened them.
    pub(super) fn expire(
        &mut self,
        now: Now,
        after: Duration,
        total: &mut BundleUse,
    ) -> Vec<Vec<u8>> {
        let idle = |b: &Bundle| now.since(b.used) >= after;
        let old: Vec<u32> = self
            .0
            .iter()
            .filter(|(_, b)| idle(b))
            .map(|(i, _)| *i)
            .collect();
        old.into_iter()
            .filter_map(|id| self.discard(id, total))
            .collect()
    }

    pub(super) fn next_expiry(&self, after: Duration) -> Option<Now> {
        self.0.values().map(|b| b.used + after).min()
    }
}

fn unknown(id: u32) -> OfError {
    ErrorCode::BfcBadId.because(format!("bundle {id} is not open"))
}

/// What makes a bundle unusable for the message: both are then gone.
fn mismatch(bundle: &Bundle, id: u32, flags: BundleFlags, closing: bool) -> Option<OfError> {
    if bundle.closed && closing {
        let why = format!("bundle {id} is closed; only commit and discard are left");
        return Some(ErrorCode::BfcBundleClosed.because(why));
    }
    (bundle.flags != flags).then(|| {
        ErrorCode::BfcBadFlags.because(format!(
            "flags {:#x} for bundle {id}, which was opened with {:#x}",
            flags.0, bundle.flags.0
        ))
    })
}

impl Agent {
    /// Opens, closes, commits or discards.
    pub(super) fn bundle_control<P: Plant>(
        &mut self,
        conn: &mut Connection,
        call: &mut Call<'_, P>,
        m: BundleControl,
    ) -> Result<(), OfError> {
        let total = &mut self.bundle_use;
        match m.command {
            BundleCommand::OpenRequest => {
                if conn.bundles.discard(m.bundle, total).is_some() {
                    return Err(ErrorCode::BfcBadId.because(format!(
                        "bundle {} was open already and is discarded",
                        m.bundle
                    )));
                }
                let d = conn.dialect;
                conn.bundles
                    .open(call.now, m.bundle, m.flags, d, call.head)?;
            }
            BundleCommand::CloseRequest => {
                let bundle = conn
                    .bundles
                    .0
                    .get_mut(&m.bundle)
                    .ok_or_else(|| unknown(m.bundle))?;
                if let Some(e) = mismatch(bundle, m.bundle, m.flags, true) {
                    conn.bundles.discard(m.bundle, total);
                    return Err(e);
                }
                bundle.closed = true;
                bundle.used = call.now;
            }
            BundleCommand::DiscardRequest => {
                conn.bundles
                    .discard(m.bundle, total)
                    .ok_or_else(|| unknown(m.bundle))?;
            }
            BundleCommand::CommitRequest => {
                let open = conn.bundles.0.get(&m.bundle);
                if let Some(e) = open.and_then(|b| mismatch(b, m.bundle, m.flags, false)) {
                    conn.bundles.discard(m.bundle, total);
                    return Err(e);
                }
                let bundle = conn
                    .bundles
                    .take(m.bundle, total)
                    .ok_or_else(|| unknown(m.bundle))?;
                let reply = reply_to(m);
                self.commit(conn, call, bundle, reply);
                return Ok(());
            }
            _ => {
                return Err(ErrorCode::BfcBadType
                    .because("a reply to a bundle control, which a controller doesn't send"))
            }
        }
        conn.send(call.xid, &Message::BundleControl(reply_to(m)));
        Ok(())
    }

    /// Begins to do all of the bundle or nothing.
    fn commit<P: Plant>(
        &mut self,
        conn: &Connection,
        call: &mut Call<'_, P>,
        bundle: Bundle,
        reply: BundleControl,
    ) {
        let store = Arc::new(bundle.store);
        let (messages, dialect) = (store.clone(), bundle.dialect);
        let tasks = bundle.kept.into_iter().map_while(move |kept| {
            Some(match kept {
                Kept::Ready(ready) => Task::Add(ready),
                Kept::Octets(mut at) => decode_mod(&dialect, messages.next(&mut at)?)
                    .expect("invariant: what a bundle holds was decoded when it was added")
                    .into(),
            })
        });
        self.begin_long(conn, call, Box::new(tasks), Some(reply), Some(store));
    }

    /// Begins a change that is made in slices.
    pub(super) fn begin_long<P: Plant>(
        &mut self,
        conn: &Connection,
        call: &mut Call<'_, P>,
        tasks: Tasks,
        reply: Option<BundleControl>,
        store: Option<Arc<Store>>,
    ) {
        let author = Author {
            conn: Some(conn.id),
            version: conn.version(),
            xid: call.xid,
        };
        self.state.start(call.now, &author, tasks, call.plant);
        self.long = Some(Long {
            conn: conn.id,
            xid: call.xid,
            head: call.head.to_vec(),
            reply,
            store,
        });
    }

    /// Goes on with the change that is under way, if there is one. `current` is the connection that is being served, which is not
    /// among the others.
    pub(super) fn go_on<P: Plant>(
        &mut self,
        now: Now,
        current: Option<&mut Connection>,
        plant: &mut P,
    ) {
        let Some(long) = self.long.take() else {
            // Of a change that is done there may be flows left that nobody teaches any more.
            if self.state.is_busy() {
                self.state.proceed(TURN_CHANGES, plant);
                self.hand_out(now, current);
            }
            return;
        };
        let Some(outcome) = self.state.proceed(TURN_CHANGES, plant) else {
            self.long = Some(long);
            return;
        };
        let conn = match current {
            Some(c) if c.id == long.conn => Some(c),
            _ => None,
        };
        let Some(mut conn) = conn.map_or_else(
            || self.conns.remove(&long.conn).map(Served::Away),
            |c| Some(Served::Here(c)),
        ) else {
            return;
        };
        self.hand_out(now, Some(conn.get()));
        if long.reply.is_some() && outcome.is_ok() {
            plant.completed(self.id, conn.get().is_controller());
        }
        answer_long(now, conn.get(), long, outcome);
        if let Served::Away(c) = conn {
            self.conns.insert(c.id, c);
        }
    }

    /// Adds a message to a bundle, which need not be open yet.
    pub(super) fn bundle_add<P: Plant>(
        &mut self,
        conn: &mut Connection,
        call: &mut Call<'_, P>,
        m: &BundleAdd,
    ) -> Result<(), OfError> {
        let mut dialect = conn.dialect;
        if let Some(bundle) = conn.bundles.0.get(&m.bundle) {
            if let Some(e) = mismatch(bundle, m.bundle, m.flags, true) {
                conn.bundles.discard(m.bundle, &mut self.bundle_use);
                return Err(e);
            }
            dialect = bundle.dialect;
        }
        let mut decoded = decode_mod(&dialect, &m.message)?;
        let total = &mut self.bundle_use;
        if total.messages + total.waiting >= BUNDLE_MESSAGES
            || total.octets + m.message.len() > BUNDLE_OCTETS
        {
            return Err(ErrorCode::BfcMsgTooMany.because(format!(
                "bundles hold {BUNDLE_MESSAGES} messages or {BUNDLE_OCTETS} octets at most, all connections together"
            )));
        }
        if !conn.bundles.0.contains_key(&m.bundle) {
            let (now, head) = (call.now, call.head);
            conn.bundles.open(now, m.bundle, m.flags, dialect, head)?;
        }
        let Some(bundle) = conn.bundles.0.get_mut(&m.bundle) else {
            return Err(unknown(m.bundle));
        };
        let ready = match &mut decoded {
            Mod::Flow(add) if m.message.len() <= READY_OCTETS => {
                ReadyAdd::of(add, &mut bundle.masks)
            }
            _ => None,
        };
        let place = bundle.store.push(&m.message);
        let kept = ready.map_or(Kept::Octets(place), Kept::Ready);
        bundle.kept.push(kept);
        bundle.used = call.now;
        total.messages += 1;
        total.octets += m.message.len();
        Ok(())
    }
}

/// A reply has no flags, as those of the field have none.
fn reply_to(m: BundleControl) -> BundleControl {
    BundleControl {
        command: m.command.reply(),
        flags: BundleFlags::default(),
        ..m
    }
}

/// A connection, in its place or out of it.
enum Served<'a> {
    Here(&'a mut Connection),
    Away(Box<Connection>),
}

impl Served<'_> {
    fn get(&mut self) -> &mut Connection {
        match self {
            Self::Here(c) => c,
            Self::Away(c) => c,
        }
    }
}

/// Tells the connection what became of its change.
fn answer_long(now: Now, conn: &mut Connection, long: Long, outcome: Outcome) {
    let Err((at, error)) = outcome else {
        if let Some(reply) = long.reply {
            conn.send(long.xid, &Message::BundleControl(reply));
        }
        return;
    };
    let Some(store) = long.store else {
        return conn.refuse(now, &error, &long.head);
    };
    if let Some(message) = store.nth(at) {
        conn.refuse(now, &error, message);
    }
    let failed = ErrorCode::BfcMsgFailed.because(format!(
        "message {} of {} of the bundle failed, nothing was changed",
        at + 1,
        store.messages
    ));
    conn.refuse(now, &failed, &long.head);
}

/// The change that a message in a bundle asks for.
fn decode_mod(dialect: &Dialect, bytes: &[u8]) -> Result<Mod, OfError> {
    let (_, message) = dialect.decode(bytes)?;
    to_mod(message)?.ok_or_else(|| ErrorCode::BfcMsgUnsup.because("no change that a bundle takes"))
}
