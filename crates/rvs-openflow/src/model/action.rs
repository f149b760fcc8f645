//! Actions: what a flow, a bucket or a packet-out says to do. Intent, not mechanism.

use rvs_flow::field::{FieldId, SubField};
use rvs_flow::OfPort;
use rvs_packet::{EtherType, MacAddr, VlanId};

use super::{GroupId, Learn, MeterId, TableId};

/// One action of any version of OpenFlow or of Nicira's extensions.
///
/// Values wider than a word live in boxes: a flow with two actions stays small.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// `output`, also to reserved ports. `max_len` counts for [`OfPort::CONTROLLER`] alone: octets to send, 0xffff for all.
    Output {
        port: OfPort,
        max_len: u16,
    },
    /// `output(port,max_len)`: at most `max_len` octets of the frame.
    OutputTruncated {
        port: OfPort,
        max_len: u16,
    },
    /// `output:reg`: to the port whose number the bits hold.
    OutputReg {
        src: SubField,
        max_len: u16,
    },
    /// `controller(...)`.
    Controller(Box<ControllerAction>),
    /// Output through a queue of the port.
    Enqueue {
        port: OfPort,
        queue: u32,
    },
    SetQueue(u32),
    PopQueue,
    Group(GroupId),
    /// OpenFlow 1.5's action, and the instruction of 1.3 when it stands in a list.
    Meter(MeterId),

    PushVlan(EtherType),
    PopVlan,
    PushMpls(EtherType),
    /// The Ethernet type of what the label uncovers.
    PopMpls(EtherType),
    PushPbb(EtherType),
    PopPbb,

    /// `set_field`: `value` where `mask` is 1, both right-aligned in the field. Canonical: `value & !mask == 0`.
    SetField(Box<FieldValue>),
    /// `load`: the low bits of `value` into the sub-field.
    Load(Box<LoadValue>),
    /// `move` and OpenFlow 1.5's `copy_field`; both have the same number of bits.
    Move {
        src: SubField,
        dst: SubField,
    },

    /// `set_vlan_vid`. Of 1.0 it makes a tag where there is none, of 1.1 it doesn't.
    SetVlanVid {
        vid: VlanId,
        push: bool,
    },
    /// `set_vlan_pcp`, 0..=7; `push` as in [`Self::SetVlanVid`].
    SetVlanPcp {
        pcp: u8,
        push: bool,
    },
    SetEthSrc(MacAddr),
    SetEthDst(MacAddr),
    /// IPv4 alone.
    SetNwSrc([u8; 4]),
    SetNwDst([u8; 4]),
    /// The upper six bits of TOS or traffic class, in place (`mod_nw_tos`).
    SetNwTos(u8),
    /// 0..=3.
    SetNwEcn(u8),
    SetNwTtl(u8),
    /// The source port of TCP, UDP or SCTP, whichever there is.
    SetTpSrc(u16),
    SetTpDst(u16),
    SetTunnel(u64),
    /// 20 bits.
    SetMplsLabel(u32),
    /// 3 bits.
    SetMplsTc(u8),
    SetMplsTtl(u8),
    DecMplsTtl,
    /// On expiry every controller id listed hears of it; empty means controller 0.
    DecNwTtl(Box<[ControllerId]>),
    /// From the next outer header of the frame to the outermost.
    CopyTtlOut,
    CopyTtlIn,

    /// Looks the frame up in `table` (this one if `None`) as if it had come from `port` (where it came from if `None`).
    Resubmit {
        port: Option<OfPort>,
        table: Option<TableId>,
    },
    Note(Box<[u8]>),
    Exit,
    /// Recirculates, for tests of what survives that: the rest of the list runs when the frame comes again.
    DebugRecirc,
    /// Sends the frame through the slow path, for tests; here it changes nothing.
    DebugSlow,
    /// Pushes bits on the stack.
    Push(SubField),
    Pop(SubField),
    /// Runs the list and takes back what it changed.
    Clone(Box<[Action]>),
    /// This flow is clause `clause` (from 0) of the `n_clauses` of conjunction `id`.
    Conjunction {
        id: u32,
        clause: u8,
        n_clauses: u8,
    },
    Learn(Box<Learn>),
    Multipath(Box<Multipath>),
    /// `bundle` and `bundle_load`.
    Bundle(Box<BundleAction>),
    /// Lowers the flow's timeouts (seconds, 0 leaves one alone) when a TCP FIN or RST passes.
    FinTimeout {
        idle: u16,
        hard: u16,
    },
    /// Sets the bit when the frame (a super-frame's segment) is longer than `len` octets.
    CheckPktLarger {
        dst: SubField,
        len: u16,
    },
}

/// See [`Action::SetField`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldValue {
    pub field: FieldId,
    pub value: u128,
    pub mask: u128,
}

/// See [`Action::Load`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoadValue {
    pub dst: SubField,
    pub value: u128,
}

/// A controller's own number; 0 unless it asked for another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ControllerId(pub u16);

/// Why a packet goes to a controller (`OFPR_*`; versions merge some).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PacketInReason {
    /// No flow matched, or the table-miss flow sent it.
    NoMatch,
    #[default]
    Action,
    InvalidTtl,
    ActionSet,
    Group,
    PacketOut,
}

/// `controller(reason=..,max_len=..,id=..,userdata=..,pause,meter_id=..)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ControllerAction {
    /// Octets to send; 0xffff for all.
    pub max_len: u16,
    pub controller: ControllerId,
    pub reason: PacketInReason,
    pub userdata: Box<[u8]>,
    /// Translation stops here and goes on when the controller resumes it.
    pub pause: bool,
    pub meter: Option<MeterId>,
}

/// What a hash of the frame covers (`NX_HASH_FIELDS_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashFields {
    EthSrc,
    SymmetricL4,
    /// Addresses and TCP or SCTP ports.
    SymmetricL3L4,
    /// The same with UDP ports.
    SymmetricL3L4Udp,
    NwSrc,
    NwDst,
    SymmetricL3,
}

/// `NX_MP_ALG_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MultipathAlgorithm {
    ModuloN,
    HashThreshold,
    Hrw,
    IterHash,
}

/// Writes a link number, 0..=`max_link`, chosen by hash, into `dst`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Multipath {
    pub fields: HashFields,
    pub basis: u16,
    pub algorithm: MultipathAlgorithm,
    pub max_link: u16,
    pub arg: u32,
    pub dst: SubField,
}

/// `NX_BD_ALG_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BundleAlgorithm {
    /// The first live port.
    ActiveBackup,
    /// Highest random weight among the live ports.
    Hrw,
}

/// Outputs to one of `members`, or writes its number into `dst`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BundleAction {
    pub algorithm: BundleAlgorithm,
    pub fields: HashFields,
    pub basis: u16,
    pub members: Box<[OfPort]>,
    pub dst: Option<SubField>,
}

impl Action {
    /// Plain output; the whole frame if `port` is the controller.
    pub const fn output(port: OfPort) -> Self {
        Self::Output {
            port,
            max_len: 0xffff,
        }
    }

    /// `set_field` of the whole field.
    pub fn set(field: FieldId, value: u128) -> Self {
        let mask = rvs_flow::field::Field::of(field).match_mask();
        Self::SetField(Box::new(FieldValue {
            field,
            value: value & mask,
            mask,
        }))
    }

    /// `load` of the low bits of `value`.
    pub fn load(dst: SubField, value: u128) -> Self {
        Self::Load(Box::new(LoadValue { dst, value }))
    }
}
