//! Netlink framing: messages made of a header, a fixed part and attributes (`netlink(7)`, `rtnetlink(7)`).
//!
//! Attributes are read one by one and by number. One that is missing, too short or unknown costs itself only: what a
//! newer kernel adds or changes never costs the whole message. All numbers are in the byte order of the host.

/// Octets of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Octets of `struct ifinfomsg`.
pub(crate) const IFINFO: usize = 16;
/// The upper bits of an attribute's type are flags.
const TYPE_MASK: u16 = 0x3fff;

const fn align(n: usize) -> usize {
    (n + 3) & !3
}

/// Builds one request.
pub(crate) struct Request {
    buf: Vec<u8>,
}

/// Where an open nested attribute began.
#[must_use]
pub(crate) struct Nest(usize);

impl Request {
    /// A request of type `kind` (RTM_*); `flags` are NLM_F_* besides REQUEST.
    pub fn new(kind: u16, flags: i32) -> Self {
        let mut buf = vec![0; HEADER];
        buf[4..6].copy_from_slice(&kind.to_ne_bytes());
        buf[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
        Self { buf }
    }

    /// The fixed part of link messages: of the interface's flags, those in `change` become `flags`.
    pub fn ifinfo(&mut self, index: u32, flags: u32, change: u32) {
        self.buf.extend([0; 4]);
        for word in [index, flags, change] {
            self.buf.extend(word.to_ne_bytes());
        }
    }

    /// The fixed part of any other message.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.extend(bytes);
    }

    pub fn attr(&mut self, kind: u16, value: &[u8]) {
        self.buf.extend(((4 + value.len()) as u16).to_ne_bytes());
        self.buf.extend(kind.to_ne_bytes());
        self.buf.extend(value);
        self.buf.resize(align(self.buf.len()), 0);
    }

    pub fn attr_u32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_ne_bytes());
    }

    /// A string attribute, terminated as the kernel wants it.
    pub fn attr_str(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes);
    }

    /// Opens an attribute that contains others; close it with [`Self::end`].
    pub fn nest(&mut self, kind: u16) -> Nest {
        let at = self.buf.len();
        self.attr(kind, &[]);
        Nest(at)
    }

    pub fn end(&mut self, nest: Nest) {
        let len = (self.buf.len() - nest.0) as u16;
        self.buf[nest.0..nest.0 + 2].copy_from_slice(&len.to_ne_bytes());
    }

    /// The finished message.
    pub fn finish(mut self, seq: u32) -> Vec<u8> {
        let len = self.buf.len() as u32;
        self.buf[..4].copy_from_slice(&len.to_ne_bytes());
        self.buf[8..12].copy_from_slice(&seq.to_ne_bytes());
        self.buf
    }
}

/// One message received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub seq: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// The messages of a datagram. What is cut off at the end is left out.
pub(crate) fn messages(mut rest: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let len = u32_at(rest, 0)? as usize;
        let body = rest.get(HEADER..len)?;
        let message = Message {
            kind: u16_at(rest, 4)?,
            flags: u16_at(rest, 6)?,
            seq: u32_at(rest, 8)?,
            body,
        };
        rest = rest.get(align(len)..).unwrap_or_default();
        Some(message)
    })
}

/// Type and value of each attribute in `rest`, up to the first that is cut off.
pub(crate) fn attrs(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(rest, 0)?);
        let value = rest.get(4..len)?;
        let kind = u16_at(rest, 2)? & TYPE_MASK;
        rest = rest.get(align(len)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(crate) fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    b.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

pub(crate) fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    b.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

pub(crate) fn u64_at(b: &[u8], at: usize) -> Option<u64> {
    b.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes)
}

/// A string up to its terminating zero. Interface names need not be UTF-8; what is not is replaced.
pub(crate) fn string(b: &[u8]) -> String {
    let end = b.iter().position(|c| *c == 0).unwrap_or(b.len());
    String::from_utf8_lossy(&b[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_back() {
        let mut r = Request::new(libc::RTM_NEWLINK, libc::NLM_F_ACK);
        r.ifinfo(7, 1, 1);
        r.attr_str(libc::IFLA_IFNAME, "veth-r");
        let nest = r.nest(libc::IFLA_LINKINFO);
        r.attr_str(libc::IFLA_INFO_KIND, "veth");
        r.end(nest);
        r.attr_u32(libc::IFLA_MTU, 1500);
        let bytes = r.finish(42);
        let all: Vec<_> = messages(&bytes).collect();
        assert_eq!(
            (all.len(), all[0].kind, all[0].seq),
            (1, libc::RTM_NEWLINK, 42)
        );
        assert_eq!(u32_at(all[0].body, 4), Some(7));
        let list: Vec<_> = attrs(&all[0].body[IFINFO..]).collect();
        assert_eq!(string(list[0].1), "veth-r");
        let inner: Vec<_> = attrs(list[1].1).collect();
        assert_eq!((inner.len(), string(inner[0].1).as_str()), (1, "veth"));
        assert_eq!(u32_at(list[2].1, 0), Some(1500));
    }

    #[test]
    fn hostile_lengths_end_the_walk() {
        let endless = [0u8; 64];
        assert_eq!(messages(&endless).count(), 0);
        assert_eq!(attrs(&endless).count(), 0);
        // An attribute shorter than its own header, and one longer than what is there.
        assert_eq!(attrs(&[3, 0, 1, 0, 9, 9, 9, 9]).count(), 0);
        assert_eq!(attrs(&[200, 0, 1, 0, 9, 9, 9, 9]).count(), 0);
        for cut in 0..20 {
            let mut r = Request::new(1, 0);
            r.attr_u32(1, 1);
            let b = r.finish(1);
            assert_eq!(
                messages(&b[..cut.min(b.len())]).count(),
                usize::from(cut >= b.len())
            );
        }
    }
}
