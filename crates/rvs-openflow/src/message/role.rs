//! Roles of controllers, and which asynchronous messages they want.

use super::props;
use crate::error::{ErrorCode, OfError};
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// What a controller may do (`OFPCR_ROLE_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// In requests: just tell.
    NoChange,
    #[default]
    Equal,
    /// `MASTER` up to 1.5.
    Primary,
    /// `SLAVE`: reads, and hears of ports alone.
    Secondary,
}

/// A role request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleMessage {
    pub role: Role,
    /// Orders requests for primary and secondary; `None` (all ones) until the first. Nicira's form has none.
    pub generation_id: Option<u64>,
    /// What the controller calls itself, for others to know it by (OpenFlow 1.5); 0 for nothing.
    pub short_id: u16,
    /// `NXT_ROLE_*`; a reply has the request's form. The only one before 1.2.
    pub nicira: bool,
}

fn bad_role(n: u32) -> OfError {
    ErrorCode::RrfcBadRole.because(format!("role {n} is not known"))
}

pub(super) fn role_from(n: u32) -> Result<Role, OfError> {
    Ok(match n {
        0 => Role::NoChange,
        1 => Role::Equal,
        2 => Role::Primary,
        3 => Role::Secondary,
        _ => return Err(bad_role(n)),
    })
}

pub(super) const fn role_number(r: Role) -> u32 {
    match r {
        Role::NoChange => 0,
        Role::Equal => 1,
        Role::Primary => 2,
        Role::Secondary => 3,
    }
}

fn generation(v: u64) -> Option<u64> {
    (v != u64::MAX).then_some(v)
}

impl RoleMessage {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let role = role_from(r.u32()?)?;
        let id = r.u16()?;
        r.skip(2)?;
        let generation_id = generation(r.u64()?);
        Ok(Self {
            role,
            generation_id,
            short_id: if version >= Version::Of15 { id } else { 0 },
            nicira: false,
        })
    }

    pub(crate) fn pull_nicira(r: &mut Reader<'_>) -> Result<Self, OfError> {
        Ok(Self {
            role: match r.u32()? {
                0 => Role::Equal,
                1 => Role::Primary,
                2 => Role::Secondary,
                n => return Err(bad_role(n)),
            },
            generation_id: None,
            short_id: 0,
            nicira: true,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        if !self.nicira {
            w.u32(role_number(self.role));
            w.u16(if version >= Version::Of15 {
                self.short_id
            } else {
                0
            });
            w.zeros(2);
            return w.u64(self.generation_id.unwrap_or(u64::MAX));
        }
        w.u32(match self.role {
            Role::Equal => 0,
            Role::Primary => 1,
            Role::Secondary => 2,
            Role::NoChange => return w.not_in_version("a role request that changes nothing"),
        });
    }
}

/// `OFPCRR_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleReason {
    /// Another controller became primary.
    PrimaryRequest,
    Config,
    Experimenter,
}

/// `ofp_role_status`: the switch changed the controller's role (OpenFlow 1.4, ONF's extension for 1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleStatus {
    pub role: Role,
    pub reason: RoleReason,
    pub generation_id: Option<u64>,
}

impl RoleStatus {
    pub(crate) fn pull(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let role = role_from(r.u32()?)?;
        let reason = match r.u8()? {
            0 => RoleReason::PrimaryRequest,
            1 => RoleReason::Config,
            2 => RoleReason::Experimenter,
            n => {
                return Err(ErrorCode::NxbrcBadReason
                    .because(format!("role status reason {n}; known are 0 to 2")))
            }
        };
        r.skip(3)?;
        let status = Self {
            role,
            reason,
            generation_id: generation(r.u64()?),
        };
        // Properties are experimenters' alone.
        r.rest();
        Ok(status)
    }

    pub(crate) fn put(&self, w: &mut Writer) {
        w.u32(role_number(self.role));
        w.u8(self.reason as u8);
        w.zeros(3);
        w.u64(self.generation_id.unwrap_or(u64::MAX));
    }
}

/// Kinds of asynchronous messages, in the order of their properties in 1.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AsyncKind {
    /// Bits are packet-in reasons; likewise below.
    PacketIn,
    PortStatus,
    FlowRemoved,
    RoleStatus,
    TableStatus,
    RequestForward,
    /// OpenFlow 1.5: statistics that flows tell (stat_trigger).
    FlowStats,
    /// OpenFlow 1.5.
    ControllerStatus,
}

impl AsyncKind {
    pub const ALL: [Self; 8] = [
        Self::PacketIn,
        Self::PortStatus,
        Self::FlowRemoved,
        Self::RoleStatus,
        Self::TableStatus,
        Self::RequestForward,
        Self::FlowStats,
        Self::ControllerStatus,
    ];

    /// The number of its property for primaries and equals; that for secondaries is one less.
    const fn property(self) -> u16 {
        2 * self as u16 + 1
    }

    /// The reasons that the kind has in `version`.
    pub const fn reasons(self, version: Version) -> u32 {
        match self {
            Self::PacketIn if matches!(version, Version::Of14 | Version::Of15) => 0x3f,
            Self::PacketIn => 0x7,
            Self::PortStatus | Self::RoleStatus => 0x7,
            Self::FlowRemoved => 0x3f,
            Self::TableStatus => 0x18,
            Self::RequestForward => 0x3,
            Self::FlowStats | Self::ControllerStatus if !matches!(version, Version::Of15) => 0,
            Self::FlowStats => 0x3,
            Self::ControllerStatus => 0x7f,
        }
    }
}

/// Which reasons of which messages a connection wants. `None` leaves a mask as it is (properties that a message of 1.4
/// or Nicira's second form leaves out).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsyncConfig {
    /// By [`AsyncKind`]: while primary or equal, and while secondary.
    pub masks: [[Option<u32>; 2]; AsyncKind::ALL.len()],
}

impl AsyncConfig {
    pub fn get(&self, kind: AsyncKind, secondary: bool) -> Option<u32> {
        self.masks[kind as usize][usize::from(secondary)]
    }

    pub fn set(&mut self, kind: AsyncKind, secondary: bool, mask: u32) {
        self.masks[kind as usize][usize::from(secondary)] = Some(mask);
    }

    /// Six masks (OpenFlow 1.3, Nicira's first form). Bits that a version doesn't know are dropped.
    pub(crate) fn pull_masks(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut c = Self::default();
        for kind in &AsyncKind::ALL[..3] {
            for secondary in [false, true] {
                c.set(*kind, secondary, r.u32()?);
            }
        }
        Ok(c)
    }

    /// Absent masks are written as 0.
    pub(crate) fn put_masks(&self, w: &mut Writer) {
        for kind in &AsyncKind::ALL[..3] {
            for secondary in [false, true] {
                w.u32(self.get(*kind, secondary).unwrap_or(0));
            }
        }
    }

    /// Properties (OpenFlow 1.4, Nicira's second form).
    pub(crate) fn pull_props(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut c = Self::default();
        while let Some((kind, mut p)) = props::pull(r)? {
            // The finer reasons of 1.4 are there for Nicira's form too.
            let version = version.max(Version::Of14);
            let mut kinds = AsyncKind::ALL.iter();
            let which = kinds.find(|k| k.property() | 1 == kind | 1);
            let Some(which) = which.filter(|k| k.reasons(version) != 0) else {
                return Err(props::unknown(kind, "asynchronous configuration"));
            };
            let mask = p.u32()?;
            let known = which.reasons(version);
            if mask & !known != 0 {
                return Err(ErrorCode::AcfcInvalid.because(format!(
                    "mask {mask:#x} of {which:?} has reasons beyond {known:#x}"
                )));
            }
            c.set(*which, kind & 1 == 0, mask);
        }
        Ok(c)
    }

    pub(crate) fn put_props(&self, w: &mut Writer) {
        for kind in AsyncKind::ALL {
            for secondary in [true, false] {
                if let Some(mask) = self.get(kind, secondary) {
                    let number = kind.property() - u16::from(secondary);
                    props::put(w, number, |w| w.u32(mask));
                }
            }
        }
    }
}
