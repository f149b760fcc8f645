//! What waits to be sent on a connection.

/// Whole messages, in order; the socket takes them in pieces.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Not yet sent: the octets from `start` on.
    buf: Vec<u8>,
    start: usize,
}

/// A buffer that has grown beyond this is given back when it is empty.
const KEEP: usize = 128 << 10;

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.buf.len() - self.start
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buf[self.start..]
    }

    pub(super) fn push(&mut self, message: &[u8]) {
        self.buf.extend_from_slice(message);
    }

    /// Forgets the first `n` octets. The copying that this takes is no more than what was sent.
    pub(super) fn sent(&mut self, n: usize) {
        self.start += n.min(self.len());
        if self.start == self.buf.len() {
            self.start = 0;
            if self.buf.capacity() > KEEP {
                self.buf = Vec::new();
            } else {
                self.buf.clear();
            }
        } else if self.start > self.buf.len() / 2 {
            self.buf.drain(..self.start);
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_sends_the_same_octets() {
        let all: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        for step in [1, 7, 999, 10_000, 20_000] {
            let mut o = Outbox::default();
            let mut got = Vec::new();
            for part in all.chunks(640) {
                o.push(part);
                let n = step.min(o.len());
                got.extend_from_slice(&o.bytes()[..n]);
                o.sent(n);
            }
            got.extend_from_slice(o.bytes());
            assert_eq!(got, all, "{step}");
            o.sent(usize::MAX);
            assert_eq!(o.len(), 0);
        }
    }
}
