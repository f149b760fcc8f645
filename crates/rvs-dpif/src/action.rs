//! What a datapath does to a frame: mechanism, not intent.

use std::sync::Arc;

use rvs_flow::DpPort;
use rvs_packet::{EtherType, IpProto, MacAddr, VlanTci};

/// Actions of one flow, shared by every tier that holds it. Empty means drop.
pub type Actions = Arc<[DpAction]>;

/// A meter, numbered over the whole daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MeterId(pub u32);

/// Why a frame is handed up although a flow decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PuntReason {
    /// An OpenFlow action sends a copy to a controller; the cookie names the slow path's note about it.
    Controller,
    /// The flow can't be expressed in cached actions: every frame is translated.
    SlowPath,
    /// A protocol of the switch itself (STP, LACP, IGMP).
    Protocol,
}

/// New bits of a field: `value` where `mask` is 1. Canonical: `value & !mask == 0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Masked<T> {
    pub value: T,
    pub mask: T,
}

impl<T> Masked<T> {
    pub const fn new(value: T, mask: T) -> Self {
        Self { value, mask }
    }
}

/// A masked rewrite of one header. On a frame that lacks the header it changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetField {
    EthSrc(Masked<MacAddr>),
    EthDst(Masked<MacAddr>),
    /// The outermost tag's TCI.
    Vlan(Masked<u16>),
    Ipv4Src(Masked<[u8; 4]>),
    Ipv4Dst(Masked<[u8; 4]>),
    Ipv6Src(Masked<[u8; 16]>),
    Ipv6Dst(Masked<[u8; 16]>),
    Ipv6Label(Masked<u32>),
    /// IPv4 TOS or IPv6 traffic class.
    NwTos(Masked<u8>),
    /// IPv4 TTL or IPv6 hop limit.
    NwTtl(u8),
    /// Source port of TCP, UDP or SCTP.
    TpSrc(Masked<u16>),
    TpDst(Masked<u16>),
    IcmpType(Masked<u8>),
    IcmpCode(Masked<u8>),
    ArpOp(u16),
    ArpSpa(Masked<[u8; 4]>),
    ArpTpa(Masked<[u8; 4]>),
    ArpSha(Masked<MacAddr>),
    ArpTha(Masked<MacAddr>),
    NdTarget(Masked<[u8; 16]>),
    NdSll(Masked<MacAddr>),
    NdTll(Masked<MacAddr>),
    /// The outermost label stack entry.
    MplsLse(Masked<u32>),
    /// Service instance (24 bits) and UCA (bit 27) of an 802.1ah I-TAG.
    PbbIsid(Masked<u32>),
}

/// A field that says how the frame is to be read behind it. On a frame that lacks the header it changes nothing; a frame that
/// leaves work to the kernel is finished first, since the kernel reads it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Announce {
    /// The type behind the outermost `tags` VLAN tags; nothing under an 802.3 length without SNAP.
    EthType { tags: u8, value: EtherType },
    /// The upper protocol of IPv4, or of IPv6 where its last extension header names it.
    IpProto(IpProto),
    /// The bottom-of-stack bit of the outermost label.
    MplsBos(bool),
}

/// One step. Steps run in order; an output sends the frame as it is at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DpAction {
    Output(DpPort),
    /// Sends at most `max_len` octets; later outputs see the whole frame again.
    OutputTruncated {
        port: DpPort,
        max_len: u16,
    },
    /// Pushes a tag in front of the others.
    PushVlan {
        tpid: EtherType,
        tci: VlanTci,
    },
    /// Removes the outermost tag; nothing without a tag.
    PopVlan,
    /// Pushes a label stack entry (`lse` whole: label, TC, BOS, TTL) behind the tags.
    PushMpls {
        ethertype: EtherType,
        lse: u32,
    },
    /// Removes the outermost label; what follows is `ethertype`.
    PopMpls {
        ethertype: EtherType,
    },
    /// Writes the TTL of the IP header behind the outermost label into the label; nothing unless the label is the last and a
    /// whole IP packet follows.
    CopyTtlOut,
    /// Writes the TTL of the outermost label into the IP header behind it, under the same conditions.
    CopyTtlIn,
    /// Pushes an 802.1ah header: B-addresses copied from the C-addresses.
    PushPbb {
        isid: u32,
    },
    PopPbb,
    Set(SetField),
    Announce(Announce),
    /// Sorts the frame into a class of the queueing discipline of whatever device it leaves by; 0: into none.
    Priority(u32),
    /// Passes the meter or ends the list.
    Meter(MeterId),
    /// Extracts the key anew and looks it up under `recirc_id`.
    Recirc(u32),
    /// Hands a copy to the slow path.
    Punt {
        reason: PuntReason,
        /// The slow path's note about what to do with the copy.
        cookie: u64,
    },
    /// Runs the list on a copy.
    Clone(Actions),
    /// `larger` when the frame (a super-frame's segment) exceeds `max_len` octets, else `otherwise`.
    CheckPktLen {
        max_len: u16,
        larger: Actions,
        otherwise: Actions,
    },
}
