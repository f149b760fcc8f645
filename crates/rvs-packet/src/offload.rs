//! What the kernel left undone on a frame (virtio_net_hdr, as `PACKET_VNET_HDR` gives and takes it).
//!
//! Offsets are counted from the first byte of the Ethernet header. [`crate::Frame::insert`] and
//! [`crate::Frame::remove`] keep them true when a tag is pushed or popped.

/// State of the innermost transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Csum {
    /// Complete in the frame; nobody has verified it.
    #[default]
    Complete,
    /// Complete, and verified by the sender's side of the wire (`VIRTIO_NET_HDR_F_DATA_VALID`).
    Verified,
    /// The field holds the pseudo-header sum; the sum from `start` to the end must be folded into `start + offset`
    /// (`VIRTIO_NET_HDR_F_NEEDS_CSUM`). `start` is counted from the Ethernet header.
    Partial { start: u16, offset: u16 },
}

/// The transport of a super-frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GsoKind {
    TcpV4,
    TcpV6,
    /// UDP segmentation (`VIRTIO_NET_HDR_GSO_UDP_L4`): every segment is a datagram of its own.
    UdpL4,
}

/// A frame that stands for many: to be cut into segments of `size` payload octets each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    pub kind: GsoKind,
    /// Payload octets of each segment but the last; never 0.
    pub size: u16,
    /// Octets of all headers, Ethernet included; a hint, recomputed from the headers where it matters.
    pub hdr_len: u16,
    /// `VIRTIO_NET_HDR_GSO_ECN`: CWR is set in the first segment only.
    pub ecn: bool,
}

/// Everything the kernel left undone on one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    pub csum: Csum,
    pub gso: Option<Gso>,
}

impl Offload {
    pub const NONE: Self = Self {
        csum: Csum::Complete,
        gso: None,
    };

    /// True when the bytes can go out on any wire as they are.
    pub const fn is_plain(&self) -> bool {
        self.gso.is_none() && !matches!(self.csum, Csum::Partial { .. })
    }
}
