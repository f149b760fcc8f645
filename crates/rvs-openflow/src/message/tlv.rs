//! Nicira's TLV table: which tunnel options `tun_metadata<n>` stands for.

use crate::error::{ErrorCode, OfError};
use crate::wire::{Reader, Writer};

/// Octets of the longest option of Geneve (RFC 8926), and fields `tun_metadata<n>`.
const MAX_OPTION: u8 = 124;
const FIELDS: u16 = 64;

/// An option and the field that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TlvMap {
    pub class: u16,
    pub kind: u8,
    /// Octets, a multiple of 4.
    pub len: u8,
    /// n of `tun_metadata<n>`.
    pub index: u16,
}

/// `NXTTMC_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlvCommand {
    Add,
    Delete,
    Clear,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlvTableMod {
    pub command: TlvCommand,
    pub maps: Vec<TlvMap>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlvTableReply {
    /// Octets of options in all, and fields, that the switch has room for.
    pub max_option_space: u32,
    pub max_fields: u16,
    pub maps: Vec<TlvMap>,
}

fn pull_maps(r: &mut Reader<'_>) -> Result<Vec<TlvMap>, OfError> {
    let mut maps = Vec::new();
    while !r.is_empty() {
        maps.push(TlvMap {
            class: r.u16()?,
            kind: r.u8()?,
            len: r.u8()?,
            index: r.u16()?,
        });
        r.skip(2)?;
    }
    Ok(maps)
}

fn put_maps(w: &mut Writer, maps: &[TlvMap]) {
    for m in maps {
        w.u16(m.class);
        w.u8(m.kind);
        w.u8(m.len);
        w.u16(m.index);
        w.zeros(2);
    }
}

impl TlvTableMod {
    pub(crate) fn pull(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let command = match r.u16()? {
            0 => TlvCommand::Add,
            1 => TlvCommand::Delete,
            2 => TlvCommand::Clear,
            n => {
                return Err(ErrorCode::NxttmfcBadCommand
                    .because(format!("TLV table command {n}; known are 0 to 2")))
            }
        };
        r.skip(6)?;
        let maps = pull_maps(r)?;
        for m in &maps {
            let empty = m.len == 0 && command == TlvCommand::Add;
            if m.len % 4 != 0 || m.len > MAX_OPTION || empty {
                return Err(ErrorCode::NxttmfcBadOptLen.because(format!(
                    "an option of {} octets; a multiple of 4 up to {MAX_OPTION}",
                    m.len
                )));
            }
            if m.index >= FIELDS {
                return Err(ErrorCode::NxttmfcBadFieldIdx
                    .because(format!("tun_metadata{}; there are {FIELDS}", m.index)));
            }
        }
        Ok(Self { command, maps })
    }

    pub(crate) fn put(&self, w: &mut Writer) {
        w.u16(self.command as u16);
        w.zeros(6);
        put_maps(w, &self.maps);
    }
}

impl TlvTableReply {
    pub(crate) fn pull(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let (max_option_space, max_fields) = (r.u32()?, r.u16()?);
        r.skip(10)?;
        Ok(Self {
            max_option_space,
            max_fields,
            maps: pull_maps(r)?,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer) {
        w.u32(self.max_option_space);
        w.u16(self.max_fields);
        w.zeros(10);
        put_maps(w, &self.maps);
    }
}
