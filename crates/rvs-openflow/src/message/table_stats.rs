//! Table statistics, laid out anew by every version up to 1.3.

use crate::error::OfError;
use crate::model::TableId;
use crate::version::Version;
use crate::wire::{text, Reader, Writer};

/// One table of a table statistics reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    pub table: TableId,
    /// 31 octets at most; OpenFlow 1.0 to 1.2, as are `max_entries` and, from 1.1, `config`.
    pub name: String,
    pub max_entries: u32,
    pub config: u32,
    pub active: u32,
    pub lookups: u64,
    pub matched: u64,
}

pub(super) const TABLE_NAME_LEN: usize = 32;

/// Every field (bit 10 would be the type of the match), instruction and action type of 1.1; every OXM, instruction and action
/// type of 1.2.
const OF10_WILDCARDS: u32 = 0x3f_ffff;
const OF11_FIELDS: u32 = 0xfbff;
const OF11_INSTRUCTIONS: u32 = 0x3e;
const OF11_ACTIONS: u32 = 0x1ff_ffff;
const OF12_FIELDS: u64 = 0xf_ffff_ffff;
const OF12_ACTIONS: u32 = 0x3ff_9801;
const GOTO_TABLE: u32 = 1 << 1;

impl TableStats {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut t = Self {
            table: TableId(r.u8()?),
            ..Self::default()
        };
        match version {
            Version::Of10 => {
                r.skip(3)?;
                t.name = text(r.bytes(TABLE_NAME_LEN)?);
                r.skip(4)?;
                t.max_entries = r.u32()?;
            }
            Version::Of11 => {
                r.skip(7)?;
                t.name = text(r.bytes(TABLE_NAME_LEN)?);
                r.skip(20)?;
                t.config = r.u32()?;
                t.max_entries = r.u32()?;
            }
            Version::Of12 => {
                r.skip(7)?;
                t.name = text(r.bytes(TABLE_NAME_LEN)?);
                r.skip(60)?;
                t.config = r.u32()?;
                t.max_entries = r.u32()?;
            }
            _ => r.skip(3)?,
        }
        t.active = r.u32()?;
        (t.lookups, t.matched) = (r.u64()?, r.u64()?);
        Ok(t)
    }

    /// The last table leads nowhere.
    fn instructions(&self) -> u32 {
        if self.table < TableId::MAX {
            OF11_INSTRUCTIONS
        } else {
            OF11_INSTRUCTIONS & !GOTO_TABLE
        }
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        w.u8(self.table.0);
        match version {
            Version::Of10 => {
                w.zeros(3);
                w.text(&self.name, TABLE_NAME_LEN);
                w.u32(OF10_WILDCARDS);
                w.u32(self.max_entries);
            }
            Version::Of11 => {
                w.zeros(7);
                w.text(&self.name, TABLE_NAME_LEN);
                for v in [
                    OF11_FIELDS,
                    OF11_FIELDS,
                    self.instructions(),
                    OF11_ACTIONS,
                    OF11_ACTIONS,
                ] {
                    w.u32(v);
                }
                w.u32(self.config);
                w.u32(self.max_entries);
            }
            Version::Of12 => {
                w.zeros(7);
                w.text(&self.name, TABLE_NAME_LEN);
                w.u64(OF12_FIELDS);
                w.u64(OF12_FIELDS);
                w.u32(OF12_ACTIONS);
                w.u32(OF12_ACTIONS);
                w.u64(OF12_FIELDS);
                w.u64(OF12_FIELDS);
                w.u64(u64::MAX);
                w.u64(u64::MAX);
                w.u32(self.instructions());
                w.u32(self.config);
                w.u32(self.max_entries);
            }
            _ => w.zeros(3),
        }
        w.u32(self.active);
        w.u64(self.lookups);
        w.u64(self.matched);
    }
}
