//! Table-mods, table descriptions and table status.

use super::props;
use crate::error::{ErrorCode, OfError};
use crate::model::TableId;
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// What happens to a frame that no flow of the table matches (`OFPTC_TABLE_MISS_*`, OpenFlow 1.1 and 1.2; deprecated in
/// 1.3, where a flow of priority 0 says it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TableMiss {
    #[default]
    Controller,
    Continue,
    Drop,
}

/// When a table says that it fills up (OpenFlow 1.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vacancy {
    /// Percent of room at which the events go out, falling and rising.
    pub down: u8,
    pub up: u8,
    /// Percent of room now; 0 in a table-mod.
    pub current: u8,
}

/// `ofp_table_mod`, and a table of a table description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableConfig {
    /// [`TableId::ALL`] in a table-mod.
    pub table: TableId,
    pub miss: TableMiss,
    /// Flows may be evicted when the table is full (OpenFlow 1.4).
    pub eviction: bool,
    pub vacancy_events: bool,
    /// `OFPTMPEF_*`: 1 other, 2 importance, 4 lifetime.
    pub eviction_flags: Option<u32>,
    pub vacancy: Option<Vacancy>,
}

const MISS_MASK: u32 = 3;
const EVICTION: u32 = 1 << 2;
const VACANCY_EVENTS: u32 = 1 << 3;

const PROP_EVICTION: u16 = 2;
const PROP_VACANCY: u16 = 3;

impl TableConfig {
    fn set_config(&mut self, v: u32, version: Version) -> Result<(), OfError> {
        let known = if version >= Version::Of14 {
            EVICTION | VACANCY_EVENTS
        } else {
            MISS_MASK
        };
        if v & !known != 0 {
            return Err(ErrorCode::TmfcBadConfig.because(format!(
                "table configuration {v:#x}; known bits are {known:#x}"
            )));
        }
        self.miss = match v & MISS_MASK {
            0 => TableMiss::Controller,
            1 => TableMiss::Continue,
            2 => TableMiss::Drop,
            _ => return Err(ErrorCode::TmfcBadConfig.because("table miss 3; known are 0 to 2")),
        };
        self.eviction = v & EVICTION != 0;
        self.vacancy_events = v & VACANCY_EVENTS != 0;
        Ok(())
    }

    fn config(&self, version: Version) -> u32 {
        if version < Version::Of14 {
            return self.miss as u32;
        }
        let bit = |on: bool, b: u32| if on { b } else { 0 };
        bit(self.eviction, EVICTION) | bit(self.vacancy_events, VACANCY_EVENTS)
    }

    fn pull_props(&mut self, r: &mut Reader<'_>) -> Result<(), OfError> {
        while let Some((kind, mut p)) = props::pull(r)? {
            match kind {
                PROP_EVICTION => {
                    let flags = p.u32()?;
                    if flags & !7 != 0 {
                        return Err(ErrorCode::BpcBadValue
                            .because(format!("eviction flags {flags:#x}; known are 1, 2, 4")));
                    }
                    self.eviction_flags = Some(flags);
                }
                PROP_VACANCY => {
                    let v = Vacancy {
                        down: p.u8()?,
                        up: p.u8()?,
                        current: p.u8()?,
                    };
                    if v.up < v.down || v.up > 100 {
                        return Err(ErrorCode::BpcBadValue.because(format!(
                            "vacancy events at {} down and {} up; percentages, up not below down",
                            v.down, v.up
                        )));
                    }
                    self.vacancy = Some(v);
                }
                _ => return Err(props::unknown(kind, "table")),
            }
        }
        Ok(())
    }

    fn put_props(&self, w: &mut Writer, version: Version) {
        if version < Version::Of14 {
            return;
        }
        if let Some(f) = self.eviction_flags {
            props::put(w, PROP_EVICTION, |w| w.u32(f));
        }
        if let Some(v) = self.vacancy {
            props::put(w, PROP_VACANCY, |w| {
                w.u8(v.down);
                w.u8(v.up);
                w.u8(v.current);
                w.zeros(1);
            });
        }
    }

    /// `OFPT_TABLE_MOD`.
    pub(crate) fn pull_mod(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut t = Self {
            table: TableId(r.u8()?),
            ..Self::default()
        };
        r.skip(3)?;
        t.set_config(r.u32()?, version)?;
        if version >= Version::Of14 {
            t.pull_props(r)?;
        }
        if t.vacancy.is_some_and(|v| v.current != 0) {
            return Err(ErrorCode::BpcBadValue
                .because("a table-mod that says how much room there is; it must say 0"));
        }
        Ok(t)
    }

    pub(crate) fn put_mod(&self, w: &mut Writer, version: Version) {
        w.u8(self.table.0);
        w.zeros(3);
        w.u32(self.config(version));
        self.put_props(w, version);
    }

    /// An entry of `OFPMP_TABLE_DESC`.
    pub(crate) fn pull_desc(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut e = r.element(0, 8)?;
        e.skip(2)?;
        let mut t = Self {
            table: TableId(e.u8()?),
            ..Self::default()
        };
        e.skip(1)?;
        t.set_config(e.u32()?, version)?;
        t.pull_props(&mut e)?;
        Ok(t)
    }

    pub(crate) fn put_desc(&self, w: &mut Writer, version: Version) {
        let start = w.len();
        w.zeros(2);
        w.u8(self.table.0);
        w.zeros(1);
        w.u32(self.config(version));
        self.put_props(w, version);
        w.set_len(start, start, "table");
    }
}

/// `OFPTR_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableReason {
    VacancyDown,
    VacancyUp,
}

/// `ofp_table_status` (OpenFlow 1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableStatus {
    pub reason: TableReason,
    pub table: TableConfig,
}

impl TableStatus {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let reason = match r.u8()? {
            3 => TableReason::VacancyDown,
            4 => TableReason::VacancyUp,
            n => {
                return Err(ErrorCode::NxbrcBadReason
                    .because(format!("table status reason {n}; known are 3 and 4")))
            }
        };
        r.skip(7)?;
        Ok(Self {
            reason,
            table: TableConfig::pull_desc(r, version)?,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        w.u8(match self.reason {
            TableReason::VacancyDown => 3,
            TableReason::VacancyUp => 4,
        });
        w.zeros(7);
        self.table.put_desc(w, version);
    }
}
