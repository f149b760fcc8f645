//! Bytes to whole messages.
//!
//! A stream of OpenFlow is a row of messages that each say their length in octets 2 and 3. The framer holds at most one
//! incomplete message, so at most 64 KiB however slowly or cleverly the peer dribbles. A length below 8 leaves no way to
//! find the next message: that is an error to answer once, after which the connection is closed.

use crate::error::{ErrorCode, OfError};

/// Octets of the header that every message starts with.
pub const HEADER_LEN: usize = 8;

/// Octets of the longest message.
pub const MAX_LEN: usize = 65535;

/// The header of a message, unchecked but for its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawHeader {
    /// Wire version; may be one that we do not speak.
    pub version: u8,
    pub kind: u8,
    /// Octets of the whole message, [`HEADER_LEN`] at least.
    pub length: u16,
    pub xid: u32,
}

impl RawHeader {
    /// Reads the header at the start of `bytes`; `None` when there are fewer than [`HEADER_LEN`] octets.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let h: &[u8; HEADER_LEN] = bytes.first_chunk()?;
        Some(Self {
            version: h[0],
            kind: h[1],
            length: u16::from_be_bytes([h[2], h[3]]),
            xid: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
        })
    }
}

/// Cuts a stream into messages.
#[derive(Debug, Default)]
pub struct Framer {
    /// Not yet given away: the octets from `start` on.
    buf: Vec<u8>,
    start: usize,
    broken: bool,
}

impl Framer {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds octets as they arrived. What one call brings bounds the buffer together with one message: feed what one
    /// `read` returned, then take the messages out.
    pub fn push(&mut self, bytes: &[u8]) {
        // What waits moves only when it is less than what was given away: each octet moves once at most on average, however
        // many wait, and the buffer is at most twice of what waits.
        if self.start > self.buf.len() / 2 || self.start == self.buf.len() {
            self.buf.drain(..self.start);
            self.start = 0;
        }
        self.buf.extend_from_slice(bytes);
    }

    /// The next whole message, header included; `None` until more octets arrive.
    ///
    /// # Errors
    /// [`ErrorCode::BrcBadLen`] for a length below 8, with the header in [`Framer::pending`]; the stream is then dead and
    /// gives nothing more.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, OfError> {
        if self.broken {
            return Ok(None);
        }
        let rest = &self.buf[self.start..];
        let Some(header) = RawHeader::parse(rest) else {
            return Ok(None);
        };
        let len = usize::from(header.length);
        if len < HEADER_LEN {
            self.broken = true;
            return Err(ErrorCode::BrcBadLen.because(format!(
                "a message that says it has {len} octets; a header alone has {HEADER_LEN}"
            )));
        }
        if rest.len() < len {
            return Ok(None);
        }
        let at = self.start;
        self.start += len;
        Ok(Some(&self.buf[at..at + len]))
    }

    /// Octets that belong to no whole message yet.
    pub fn pending(&self) -> &[u8] {
        &self.buf[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: [u8; 8] = [4, 2, 0, 8, 0, 0, 0, 1];

    #[test]
    fn every_split_gives_the_same_messages() {
        let mut stream = Vec::new();
        stream.extend_from_slice(&ECHO);
        stream.extend_from_slice(&[4, 2, 0, 11, 0, 0, 0, 2, b'a', b'b', b'c']);
        stream.extend_from_slice(&ECHO);
        for cut in 0..=stream.len() {
            let mut framer = Framer::new();
            let mut got = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                framer.push(part);
                while let Some(m) = framer.next_message().unwrap() {
                    got.push(m.to_vec());
                }
            }
            assert_eq!(got.concat(), stream);
            assert_eq!(got.len(), 3);
            assert!(framer.pending().is_empty());
        }
    }

    /// A reader that is always behind: what was given away goes, and what waits is seldom moved.
    #[test]
    fn a_backlog_is_kept_in_twice_its_room() {
        let mut framer = Framer::new();
        let stream = ECHO.repeat(1000);
        let (mut pushed, mut taken) = (0, 0);
        for turn in 0..1000 {
            framer.push(&stream);
            pushed += 1000;
            let n = if turn < 10 { 500 } else { 1000 };
            for _ in 0..n {
                assert_eq!(framer.next_message(), Ok(Some(&ECHO[..])));
                taken += 1;
            }
            let waits = framer.pending().len();
            assert_eq!(waits, 8 * (pushed - taken));
            assert!(framer.buf.len() <= 2 * waits + stream.len(), "{turn}");
        }
    }

    #[test]
    fn a_length_below_eight_is_said_once() {
        for len in 0..8u8 {
            let mut framer = Framer::new();
            framer.push(&[1, 0, 0, len, 0, 0, 0, 9, 1, 2, 3]);
            let err = framer.next_message().unwrap_err();
            assert_eq!(err.code, ErrorCode::BrcBadLen);
            assert_eq!(framer.pending()[..4], [1, 0, 0, len]);
            framer.push(&ECHO);
            assert_eq!(framer.next_message(), Ok(None));
        }
    }

    #[test]
    fn a_dribbling_peer_costs_one_message() {
        let mut framer = Framer::new();
        framer.push(&[1, 2, 0xff, 0xff, 0, 0, 0, 0]);
        for _ in 8..65534 {
            framer.push(&[0]);
            assert_eq!(framer.next_message(), Ok(None));
        }
        assert_eq!(framer.pending().len(), MAX_LEN - 1);
        framer.push(&[0]);
        assert_eq!(framer.next_message().unwrap().unwrap().len(), MAX_LEN);
        assert!(framer.pending().is_empty());
    }
}
