//! Replies of any length as messages of 64 KiB.

use super::{put_envelope, reply_number, Reply};
use crate::framer::MAX_LEN;
use crate::message::Dialect;
use crate::wire::{EncodeError, Writer};

/// Writes a reply of any length as messages of 64 KiB at most, each but the last marked "more".
///
/// Feed it entries as they come out of a snapshot ([`Parts::push`]) and send what it gives back; memory stays at one
/// message. An entry that its version cannot say is left out and counted: one odd flow must not hide the others.
#[derive(Debug)]
pub struct Parts {
    dialect: Dialect,
    xid: u32,
    open: Vec<u8>,
    /// Octets before the first entry; 0 before the first push.
    header: usize,
    skipped: usize,
    oversized: usize,
}

impl Parts {
    pub const fn new(dialect: Dialect, xid: u32) -> Self {
        Self {
            dialect,
            xid,
            open: Vec::new(),
            header: 0,
            skipped: 0,
            oversized: 0,
        }
    }

    /// Entries that were left out.
    pub const fn skipped(&self) -> usize {
        self.skipped
    }

    /// How many of these no message has room for.
    pub const fn oversized(&self) -> usize {
        self.oversized
    }

    /// Adds the entries of `reply`, which is of the same kind in all calls, and hands full messages to `full`.
    pub fn push(&mut self, reply: &Reply, mut full: impl FnMut(Vec<u8>)) {
        if self.header == 0 {
            self.open = self.start(reply);
            self.header = self.open.len();
        }
        for i in 0..reply.len() {
            let mut w = Writer::default();
            reply.put(i, &mut w, self.dialect.version);
            let entry = match w.finish_part() {
                Ok(entry) if self.header + entry.len() <= MAX_LEN => entry,
                left_out => {
                    let unsaid = left_out.is_err_and(|e| !matches!(e, EncodeError::TooLong { .. }));
                    self.skipped += 1;
                    self.oversized += usize::from(!unsaid);
                    continue;
                }
            };
            if self.open.len() + entry.len() > MAX_LEN {
                let next = self.open[..self.header].to_vec();
                let done = std::mem::replace(&mut self.open, next);
                full(close(done, true));
            }
            self.open.extend_from_slice(&entry);
        }
    }

    fn start(&self, reply: &Reply) -> Vec<u8> {
        let v = self.dialect.version;
        let mut w = Writer::message(v.wire(), reply_number(v), self.xid);
        put_envelope(&mut w, v, reply.kind(), false);
        w.finish_short()
    }

    /// The last message. Push at least once before, if only an empty reply, so that the kind is known.
    pub fn finish(self) -> Vec<u8> {
        close(self.open, false)
    }
}

/// Fills in length and flags.
fn close(mut message: Vec<u8>, more: bool) -> Vec<u8> {
    let len = (message.len() as u16).to_be_bytes();
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&len);
    }
    if let Some(flag) = message.get_mut(11) {
        *flag = u8::from(more);
    }
    message
}

impl Dialect {
    /// `reply` as one message or several.
    ///
    /// # Errors
    /// An entry that cannot be said; use [`Parts`] to leave such entries out.
    pub fn encode_reply(&self, xid: u32, reply: &Reply) -> Result<Vec<Vec<u8>>, EncodeError> {
        let mut parts = Parts::new(*self, xid);
        let mut all = Vec::new();
        parts.push(reply, |m| all.push(m));
        if parts.skipped() > 0 {
            return Err(EncodeError::NotInVersion("an entry of a multipart reply"));
        }
        all.push(parts.finish());
        Ok(all)
    }
}
