//! FEATURES and CONFIG.

use crate::error::{ErrorCode, OfError};
use crate::message::port::Port;
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// What a switch can do (`OFPC_*`), as the bits of OpenFlow 1.0 to 1.5 put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(pub u32);

impl Capabilities {
    pub const FLOW_STATS: Self = Self(1 << 0);
    pub const TABLE_STATS: Self = Self(1 << 1);
    pub const PORT_STATS: Self = Self(1 << 2);
    /// 802.1D in 1.0; group statistics from 1.1 on.
    pub const GROUP_STATS: Self = Self(1 << 3);
    pub const IP_REASM: Self = Self(1 << 5);
    pub const QUEUE_STATS: Self = Self(1 << 6);
    /// Addresses in ARP (before 1.3).
    pub const ARP_MATCH_IP: Self = Self(1 << 7);
    pub const PORT_BLOCKED: Self = Self(1 << 8);
    /// Bundles (1.4).
    pub const BUNDLES: Self = Self(1 << 9);
    pub const FLOW_MONITORING: Self = Self(1 << 10);
}

/// `ofp_switch_features`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    pub datapath_id: u64,
    /// Packets that the switch can hold for the controller.
    pub n_buffers: u32,
    pub n_tables: u8,
    /// 0 for a main connection (1.3).
    pub auxiliary_id: u8,
    pub capabilities: Capabilities,
    /// Actions supported, as bits of their types (OpenFlow 1.0); reserved from then on.
    pub actions: u32,
    /// OpenFlow 1.0 to 1.2; empty from then on.
    pub ports: Vec<Port>,
}

impl Features {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let datapath_id = r.u64()?;
        let (n_buffers, n_tables, auxiliary_id) = (r.u32()?, r.u8()?, r.u8()?);
        r.skip(2)?;
        let (capabilities, actions) = (Capabilities(r.u32()?), r.u32()?);
        let mut ports = Vec::new();
        if version <= Version::Of12 {
            while !r.is_empty() {
                ports.push(Port::pull(r, version)?);
            }
        }
        Ok(Self {
            datapath_id,
            n_buffers,
            n_tables,
            auxiliary_id: if version >= Version::Of13 {
                auxiliary_id
            } else {
                0
            },
            capabilities,
            actions,
            ports,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        w.u64(self.datapath_id);
        w.u32(self.n_buffers);
        w.u8(self.n_tables);
        w.u8(if version >= Version::Of13 {
            self.auxiliary_id
        } else {
            0
        });
        w.zeros(2);
        w.u32(self.capabilities.0);
        w.u32(self.actions);
        if version <= Version::Of12 {
            for p in &self.ports {
                p.put(w, version);
            }
        }
    }
}

/// What happens to fragments (`OFPC_FRAG_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fragments {
    #[default]
    Normal,
    Drop,
    Reassemble,
    /// Nicira: fragments can be matched.
    NxMatch,
}

/// `ofp_switch_config`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SwitchConfig {
    pub fragments: Fragments,
    /// Frames whose TTL is used up go to the controller (OpenFlow 1.1 and 1.2; Open vSwitch's clients ask 1.0 for it too).
    pub invalid_ttl_to_controller: bool,
    /// Octets of a frame without a matching flow that go to the controller.
    pub miss_send_len: u16,
}

const INVALID_TTL: u16 = 1 << 2;

impl SwitchConfig {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let flags = r.u16()?;
        let ttl = version <= Version::Of12;
        let known = if ttl { 3 | INVALID_TTL } else { 3 };
        if flags & !known != 0 {
            return Err(ErrorCode::ScfcBadFlags.because(format!("unknown flags {flags:#x}")));
        }
        Ok(Self {
            fragments: match flags & 3 {
                0 => Fragments::Normal,
                1 => Fragments::Drop,
                2 => Fragments::Reassemble,
                _ => Fragments::NxMatch,
            },
            invalid_ttl_to_controller: flags & INVALID_TTL != 0,
            miss_send_len: r.u16()?,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        let mut flags = match self.fragments {
            Fragments::Normal => 0,
            Fragments::Drop => 1,
            Fragments::Reassemble => 2,
            Fragments::NxMatch => 3,
        };
        if self.invalid_ttl_to_controller && version <= Version::Of12 {
            flags |= INVALID_TTL;
        }
        w.u16(flags);
        w.u16(self.miss_send_len);
    }
}
