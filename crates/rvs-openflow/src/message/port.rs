//! Ports: descriptions, status changes, port-mods.

use rvs_flow::OfPort;
use rvs_packet::MacAddr;

use crate::error::{ErrorCode, OfError};
use crate::message::props;
use crate::version::Version;
use crate::wire::{text, EncodeError, Reader, Writer};

/// Octets of a port's name with its final zero.
const NAME_LEN: usize = 16;

/// Administrative settings (`OFPPC_*`); all versions agree on the bits, but 1.1 dropped three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortConfig(pub u32);

impl PortConfig {
    pub const PORT_DOWN: Self = Self(1 << 0);
    /// OpenFlow 1.0 alone, as are [`Self::NO_RECV_STP`] and [`Self::NO_FLOOD`].
    pub const NO_STP: Self = Self(1 << 1);
    pub const NO_RECV: Self = Self(1 << 2);
    pub const NO_RECV_STP: Self = Self(1 << 3);
    pub const NO_FLOOD: Self = Self(1 << 4);
    pub const NO_FWD: Self = Self(1 << 5);
    pub const NO_PACKET_IN: Self = Self(1 << 6);

    const OF10: u32 = 0x7f;
    const OF11: u32 = 0x65;

    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// The bits that `version` has.
    pub(crate) const fn known(version: Version) -> u32 {
        if matches!(version, Version::Of10) {
            Self::OF10
        } else {
            Self::OF11
        }
    }
}

/// What a port is up to (`OFPPS_*`). The spanning tree state of OpenFlow 1.0 lies in bits 8 and 9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortState(pub u32);

impl PortState {
    pub const LINK_DOWN: Self = Self(1 << 0);
    /// OpenFlow 1.1 and later, as is [`Self::LIVE`].
    pub const BLOCKED: Self = Self(1 << 1);
    pub const LIVE: Self = Self(1 << 2);
    pub const STP_LISTEN: Self = Self(0 << 8);
    pub const STP_LEARN: Self = Self(1 << 8);
    pub const STP_FORWARD: Self = Self(2 << 8);
    pub const STP_BLOCK: Self = Self(3 << 8);

    const OF10: u32 = 0x301;
    const OF11: u32 = 0x7;

    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    pub(crate) const fn known(version: Version) -> u32 {
        if matches!(version, Version::Of10) {
            Self::OF10
        } else {
            Self::OF11
        }
    }
}

/// Rates and media (`OFPPF_*`) in the bits of OpenFlow 1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortFeatures(pub u32);

impl PortFeatures {
    pub const MB10_HD: Self = Self(1 << 0);
    pub const MB10_FD: Self = Self(1 << 1);
    pub const MB100_HD: Self = Self(1 << 2);
    pub const MB100_FD: Self = Self(1 << 3);
    pub const GB1_HD: Self = Self(1 << 4);
    pub const GB1_FD: Self = Self(1 << 5);
    pub const GB10_FD: Self = Self(1 << 6);
    pub const GB40_FD: Self = Self(1 << 7);
    pub const GB100_FD: Self = Self(1 << 8);
    pub const TB1_FD: Self = Self(1 << 9);
    pub const OTHER: Self = Self(1 << 10);
    pub const COPPER: Self = Self(1 << 11);
    pub const FIBER: Self = Self(1 << 12);
    pub const AUTONEG: Self = Self(1 << 13);
    pub const PAUSE: Self = Self(1 << 14);
    pub const PAUSE_ASYM: Self = Self(1 << 15);

    const RATES: u32 = 0x7f;

    /// OpenFlow 1.0 has the media right after 10 Gb/s, and no higher rates.
    const fn to_of10(self) -> u32 {
        self.0 & Self::RATES | (self.0 >> 11 & 0x1f) << 7
    }

    const fn from_of10(v: u32) -> Self {
        Self(v & Self::RATES | (v >> 7 & 0x1f) << 11)
    }

    const fn to_wire(self, version: Version) -> u32 {
        match version {
            Version::Of10 => self.to_of10(),
            _ => self.0 & 0xffff,
        }
    }

    const fn from_wire(v: u32, version: Version) -> Self {
        match version {
            Version::Of10 => Self::from_of10(v),
            _ => Self(v & 0xffff),
        }
    }
}

/// A port's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub number: OfPort,
    pub mac: MacAddr,
    /// 15 octets at most travel.
    pub name: String,
    pub config: PortConfig,
    pub state: PortState,
    pub current: PortFeatures,
    pub advertised: PortFeatures,
    pub supported: PortFeatures,
    pub peer: PortFeatures,
    /// Kilobits a second (OpenFlow 1.1 and later).
    pub current_speed: u32,
    pub max_speed: u32,
}

/// `OFPPDPT_ETHERNET`, and its namesakes of port-mods.
const PROP_ETHERNET: u16 = 0;

pub(crate) fn pull_port(r: &mut Reader<'_>, version: Version) -> Result<OfPort, OfError> {
    if version == Version::Of10 {
        return r.u16().map(OfPort::from_u16);
    }
    let port = OfPort(r.u32()?);
    if port.to_u16().is_none() {
        return Err(ErrorCode::BrcBadPort.because(format!(
            "port {:#x}; ports are numbered 1 to 0xfeff, reserved ones from 0xffffff00",
            port.0
        )));
    }
    Ok(port)
}

pub(crate) fn put_port(w: &mut Writer, port: OfPort, version: Version) {
    if version > Version::Of10 {
        return w.u32(port.0);
    }
    match port.to_u16() {
        Some(p) => w.u16(p),
        None => {
            w.fault(EncodeError::Port(port.0));
            w.u16(0);
        }
    }
}

impl Port {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut entry = match version {
            Version::Of10 => r.sub(48, ErrorCode::BrcBadLen)?,
            Version::Of11 | Version::Of12 | Version::Of13 => r.sub(64, ErrorCode::BrcBadLen)?,
            _ => r.element(4, 40)?,
        };
        let e = &mut entry;
        let number = pull_port(e, version)?;
        if version > Version::Of10 {
            // Padding, or length and padding.
            e.skip(4)?;
        }
        let mac = MacAddr(e.array()?);
        if version > Version::Of10 {
            e.skip(2)?;
        }
        let name = text(e.bytes(NAME_LEN)?);
        let mut port = Self {
            number,
            mac,
            name,
            config: PortConfig(e.u32()? & PortConfig::known(version)),
            state: PortState(e.u32()? & PortState::known(version)),
            current: PortFeatures(0),
            advertised: PortFeatures(0),
            supported: PortFeatures(0),
            peer: PortFeatures(0),
            current_speed: 0,
            max_speed: 0,
        };
        if version <= Version::Of13 {
            port.pull_features(e, version)?;
            return Ok(port);
        }
        let mut properties = Reader::new(e.rest(), ErrorCode::BpcBadLen);
        while let Some((kind, mut p)) = props::pull(&mut properties)? {
            if kind == PROP_ETHERNET {
                p.skip(4)?;
                port.pull_features(&mut p, version)?;
            }
        }
        Ok(port)
    }

    fn pull_features(&mut self, r: &mut Reader<'_>, version: Version) -> Result<(), OfError> {
        for f in [
            &mut self.current,
            &mut self.advertised,
            &mut self.supported,
            &mut self.peer,
        ] {
            *f = PortFeatures::from_wire(r.u32()?, version);
        }
        if version > Version::Of10 {
            self.current_speed = r.u32()?;
            self.max_speed = r.u32()?;
        }
        Ok(())
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        let start = w.len();
        put_port(w, self.number, version);
        if version > Version::Of10 {
            w.zeros(4);
        }
        w.bytes(&self.mac.0);
        if version > Version::Of10 {
            w.zeros(2);
        }
        w.text(&self.name, NAME_LEN);
        w.u32(self.config.0 & PortConfig::known(version));
        w.u32(self.state.0 & PortState::known(version));
        if version <= Version::Of13 {
            return self.put_features(w, version);
        }
        props::put(w, PROP_ETHERNET, |w| {
            w.zeros(4);
            self.put_features(w, version);
        });
        w.set_len(start + 4, start, "port");
    }

    fn put_features(&self, w: &mut Writer, version: Version) {
        for f in [self.current, self.advertised, self.supported, self.peer] {
            w.u32(f.to_wire(version));
        }
        if version > Version::Of10 {
            w.u32(self.current_speed);
            w.u32(self.max_speed);
        }
    }
}

/// What happened to a port (`OFPPR_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortChange {
    Add,
    Delete,
    Modify,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortStatus {
    pub change: PortChange,
    pub port: Port,
}

impl PortStatus {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let change = match r.u8()? {
            0 => PortChange::Add,
            1 => PortChange::Delete,
            2 => PortChange::Modify,
            n => {
                return Err(ErrorCode::NxbrcBadReason
                    .because(format!("port status reason {n}; known are 0 to 2")))
            }
        };
        r.skip(7)?;
        Ok(Self {
            change,
            port: Port::pull(r, version)?,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        w.u8(match self.change {
            PortChange::Add => 0,
            PortChange::Delete => 1,
            PortChange::Modify => 2,
        });
        w.zeros(7);
        self.port.put(w, version);
    }
}

/// `ofp_port_mod`: sets the bits of `config` that `mask` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMod {
    pub number: OfPort,
    /// Must be the port's own, or it is another port than the controller thinks.
    pub mac: MacAddr,
    pub config: PortConfig,
    pub mask: PortConfig,
    /// 0 for no change.
    pub advertise: PortFeatures,
}

impl PortMod {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let number = pull_port(r, version)?;
        if version > Version::Of10 {
            r.skip(4)?;
        }
        let mac = MacAddr(r.array()?);
        if version > Version::Of10 {
            r.skip(2)?;
        }
        let known = PortConfig::known(version);
        let (config, mask) = (r.u32()? & known, r.u32()?);
        if mask & !known != 0 && version > Version::Of10 {
            return Err(ErrorCode::PmfcBadConfig
                .because(format!("port configuration bits {mask:#x} are not known")));
        }
        let mut advertise = PortFeatures(0);
        if version <= Version::Of13 {
            advertise = PortFeatures::from_wire(r.u32()?, version);
            r.skip(4)?;
        } else {
            let mut properties = Reader::new(r.rest(), ErrorCode::BpcBadLen);
            while let Some((kind, mut p)) = props::pull(&mut properties)? {
                if kind != PROP_ETHERNET {
                    return Err(props::unknown(kind, "port-mod"));
                }
                advertise = PortFeatures::from_wire(p.u32()?, version);
            }
        }
        Ok(Self {
            number,
            mac,
            config: PortConfig(config),
            mask: PortConfig(mask & known),
            advertise,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        put_port(w, self.number, version);
        if version > Version::Of10 {
            w.zeros(4);
        }
        w.bytes(&self.mac.0);
        if version > Version::Of10 {
            w.zeros(2);
        }
        let known = PortConfig::known(version);
        w.u32(self.config.0 & known);
        w.u32(self.mask.0 & known);
        if version <= Version::Of13 {
            w.u32(self.advertise.to_wire(version));
            w.zeros(4);
        } else if self.advertise.0 != 0 {
            props::put(w, PROP_ETHERNET, |w| w.u32(self.advertise.to_wire(version)));
        }
    }
}
