//! Cursors over bytes: reading that cannot run past the end, writing that cannot lie about a length.
//!
//! A [`Reader`] knows which error a missing octet is (`OFPBRC_BAD_LEN` in a message, `OFPBAC_BAD_LEN` in an action), so
//! that decoders read straight down with `?`. A [`Writer`] remembers the first thing that did not fit, so that encoders
//! write straight down and the end says whether the bytes are any good.

use crate::error::{ErrorCode, OfError};
use crate::framer::HEADER_LEN;

/// Something that the wire format cannot say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{what} takes {len} octets, more than the 65535 that its length can say")]
    TooLong { what: &'static str, len: usize },
    #[error("{0} cannot be said in this version of OpenFlow")]
    NotInVersion(&'static str),
    #[error("port {0} has no 16-bit number")]
    Port(u32),
}

/// Reads big-endian numbers from the front.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    buf: &'a [u8],
    /// What it is called when octets are missing.
    short: ErrorCode,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(buf: &'a [u8], short: ErrorCode) -> Self {
        Self { buf, short }
    }

    /// Octets left.
    pub(crate) const fn len(&self) -> usize {
        self.buf.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    fn missing(&self, n: usize) -> OfError {
        self.short.because(format!(
            "{n} octets were expected where {} are left",
            self.buf.len()
        ))
    }

    /// The error that this reader gives for a wrong length.
    pub(crate) fn bad_len(&self, why: impl Into<std::borrow::Cow<'static, str>>) -> OfError {
        self.short.because(why)
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Result<&'a [u8], OfError> {
        let (head, tail) = self
            .buf
            .split_at_checked(n)
            .ok_or_else(|| self.missing(n))?;
        self.buf = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], OfError> {
        let (head, tail) = self
            .buf
            .split_first_chunk()
            .ok_or_else(|| self.missing(N))?;
        self.buf = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, OfError> {
        self.array::<1>().map(|[b]| b)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, OfError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, OfError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, OfError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn skip(&mut self, n: usize) -> Result<(), OfError> {
        self.bytes(n).map(|_| ())
    }

    /// `n` octets that must be 0.
    pub(crate) fn zeros(&mut self, n: usize, code: ErrorCode) -> Result<(), OfError> {
        if self.bytes(n)?.iter().any(|b| *b != 0) {
            return Err(code.because("octets that must be zero are not"));
        }
        Ok(())
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.buf)
    }

    /// What is left, without taking it.
    pub(crate) const fn peek(&self) -> &'a [u8] {
        self.buf
    }

    /// The next `n` octets as a reader of its own that calls a missing octet `short`.
    pub(crate) fn sub(&mut self, n: usize, short: ErrorCode) -> Result<Self, OfError> {
        Ok(Self::new(self.bytes(n)?, short))
    }

    /// Takes an element that says its own length at offset `at` of its start: `min` octets at least, and what is left at
    /// most, so that a loop over elements always advances.
    pub(crate) fn element(&mut self, at: usize, min: usize) -> Result<Self, OfError> {
        let len = match self.buf.get(at..at + 2) {
            Some(&[hi, lo]) => usize::from(u16::from_be_bytes([hi, lo])),
            _ => return Err(self.missing(min)),
        };
        if len < min.max(1) || len > self.buf.len() {
            return Err(self.short.because(format!(
                "an element of {len} octets where {min} to {} are possible",
                self.buf.len()
            )));
        }
        self.sub(len, self.short)
    }

    /// As [`Self::element`], whose length must be a multiple of 8.
    pub(crate) fn element8(&mut self, at: usize, min: usize) -> Result<Self, OfError> {
        let e = self.element(at, min)?;
        if e.len() % 8 != 0 {
            return Err(self.short.because(format!(
                "an element of {} octets, no multiple of 8",
                e.len()
            )));
        }
        Ok(e)
    }

    /// Skips the octets that pad `len` octets to a multiple of 8; absent ones are forgiven.
    pub(crate) fn pad8(&mut self, len: usize) {
        let n = (len.next_multiple_of(8) - len).min(self.buf.len());
        self.buf = &self.buf[n..];
    }
}

/// Appends big-endian numbers.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    buf: Vec<u8>,
    fault: Option<EncodeError>,
}

impl Writer {
    /// Starts a message; [`Writer::finish`] fills its length in.
    pub(crate) fn message(version: u8, kind: u8, xid: u32) -> Self {
        let mut w = Self::default();
        w.u8(version);
        w.u8(kind);
        w.u16(0);
        w.u32(xid);
        w
    }

    pub(crate) fn len(&self) -> usize {
        self.buf.len()
    }

    pub(crate) fn u8(&mut self, v: u8) {
        self.buf.push(v);
    }

    pub(crate) fn u16(&mut self, v: u16) {
        self.bytes(&v.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, v: u32) {
        self.bytes(&v.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, v: u64) {
        self.bytes(&v.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, v: &[u8]) {
        self.buf.extend_from_slice(v);
    }

    pub(crate) fn zeros(&mut self, n: usize) {
        self.buf.resize(self.buf.len() + n, 0);
    }

    /// Pads what was written since `start` to a multiple of 8.
    pub(crate) fn pad8(&mut self, start: usize) {
        let len = self.buf.len() - start;
        self.zeros(len.next_multiple_of(8) - len);
    }

    /// A text in `n` octets, cut so that a zero ends it.
    pub(crate) fn text(&mut self, s: &str, n: usize) {
        let mut end = s.len().min(n - 1);
        while !s.is_char_boundary(end) {
            end -= 1;
        }
        self.bytes(&s.as_bytes()[..end]);
        self.zeros(n - end);
    }

    /// Remembers that something could not be said; the first one counts.
    pub(crate) fn fault(&mut self, e: EncodeError) {
        self.fault.get_or_insert(e);
    }

    pub(crate) fn not_in_version(&mut self, what: &'static str) {
        self.fault(EncodeError::NotInVersion(what));
    }

    /// A count as 16 bits.
    pub(crate) fn count16(&mut self, what: &'static str, n: usize) {
        match u16::try_from(n) {
            Ok(n) => self.u16(n),
            Err(_) => {
                self.fault(EncodeError::TooLong { what, len: n });
                self.u16(0);
            }
        }
    }

    /// Writes the distance from `start` to here into the 16 bits at `at`.
    pub(crate) fn set_len(&mut self, at: usize, start: usize, what: &'static str) {
        let len = self.buf.len() - start;
        match u16::try_from(len) {
            Ok(n) => self.set_u16(at, n),
            Err(_) => self.fault(EncodeError::TooLong { what, len }),
        }
    }

    pub(crate) fn set_u16(&mut self, at: usize, v: u16) {
        if let Some(place) = self.buf.get_mut(at..at + 2) {
            place.copy_from_slice(&v.to_be_bytes());
        }
    }

    pub(crate) fn set_u32(&mut self, at: usize, v: u32) {
        if let Some(place) = self.buf.get_mut(at..at + 4) {
            place.copy_from_slice(&v.to_be_bytes());
        }
    }

    /// The message, its length filled in.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, EncodeError> {
        self.set_len(2, 0, "message");
        match self.fault {
            Some(e) => Err(e),
            None => Ok(self.buf),
        }
    }

    /// The message when it is known to be short (errors, echoes of headers).
    pub(crate) fn finish_short(mut self) -> Vec<u8> {
        debug_assert!(self.buf.len() >= HEADER_LEN);
        self.set_len(2, 0, "message");
        self.buf
    }

    /// Bytes that are no whole message.
    pub(crate) fn finish_part(self) -> Result<Vec<u8>, EncodeError> {
        match self.fault {
            Some(e) => Err(e),
            None => Ok(self.buf),
        }
    }

    #[cfg(test)]
    pub(crate) fn finish_body(self) -> Vec<u8> {
        self.buf
    }
}

/// A text in a fixed number of octets, up to the first zero; octets that are no UTF-8 are replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
