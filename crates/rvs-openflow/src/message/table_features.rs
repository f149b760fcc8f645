//! Table features (OpenFlow 1.3 and later): what each table can match and do.

use rvs_flow::field::{Field, FieldId};

use super::props;
use super::table_stats::TABLE_NAME_LEN;
use crate::error::{ErrorCode, OfError};
use crate::model::TableId;
use crate::oxm::{pull_header, put_header};
use crate::version::Version;
use crate::wire::{text, Reader, Writer};

/// Properties come in pairs: for frames that match a flow, and for those that don't.
const INSTRUCTIONS: u16 = 0;
const NEXT_TABLES: u16 = 2;
const WRITE_ACTIONS: u16 = 4;
const APPLY_ACTIONS: u16 = 6;
const MATCH: u16 = 8;
const WILDCARDS: u16 = 10;
const WRITE_SETFIELD: u16 = 12;
const APPLY_SETFIELD: u16 = 14;

/// Those that every table must have; in 1.5, every table that has any.
const REQUIRED: u32 = 1 << INSTRUCTIONS
    | 1 << NEXT_TABLES
    | 1 << WRITE_ACTIONS
    | 1 << APPLY_ACTIONS
    | 1 << MATCH
    | 1 << WILDCARDS
    | 1 << WRITE_SETFIELD
    | 1 << APPLY_SETFIELD;

/// One property of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableProperty {
    /// Instruction types. `miss` is for the table-miss flow, here and below.
    Instructions {
        miss: bool,
        types: Vec<u16>,
    },
    NextTables {
        miss: bool,
        tables: Vec<u8>,
    },
    /// Action types.
    WriteActions {
        miss: bool,
        types: Vec<u16>,
    },
    ApplyActions {
        miss: bool,
        types: Vec<u16>,
    },
    /// Fields, and whether each takes a mask.
    Match(Vec<(FieldId, bool)>),
    /// Fields that may be left out.
    Wildcards(Vec<FieldId>),
    WriteSetField {
        miss: bool,
        fields: Vec<FieldId>,
    },
    ApplySetField {
        miss: bool,
        fields: Vec<FieldId>,
    },
}

/// `ofp_table_features`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableFeatures {
    pub table: TableId,
    /// `OFPTFC_*` (OpenFlow 1.5): 0 replace, 1 modify, 2 enable, 3 disable.
    pub command: u8,
    /// 31 octets at most.
    pub name: String,
    /// Bits of metadata that flows can match and write.
    pub metadata_match: u64,
    pub metadata_write: u64,
    /// `OFPTC_*`: 4 eviction, 8 vacancy events (OpenFlow 1.4).
    pub capabilities: u32,
    pub max_entries: u32,
    pub properties: Vec<TableProperty>,
}

fn pull_types(r: &mut Reader<'_>) -> Result<Vec<u16>, OfError> {
    let mut types = Vec::new();
    while !r.is_empty() {
        let mut e = r.element(2, 4)?;
        types.push(e.u16()?);
    }
    Ok(types)
}

fn put_types(w: &mut Writer, types: &[u16]) {
    for t in types {
        w.u16(*t);
        w.u16(4);
    }
}

fn pull_fields(r: &mut Reader<'_>, may_mask: bool) -> Result<Vec<(FieldId, bool)>, OfError> {
    let mut fields = Vec::new();
    while !r.is_empty() {
        let h = pull_header(r)?;
        let f = h.field(ErrorCode::BmcBadField, ErrorCode::BmcBadLen)?;
        if h.has_mask && !may_mask {
            return Err(
                ErrorCode::BmcBadMask.because(format!("{f} with a mask where none belongs"))
            );
        }
        fields.push((f.id, h.has_mask));
    }
    Ok(fields)
}

fn pull_ids(r: &mut Reader<'_>) -> Result<Vec<FieldId>, OfError> {
    Ok(pull_fields(r, false)?
        .into_iter()
        .map(|(id, _)| id)
        .collect())
}

fn put_ids(w: &mut Writer, fields: &[FieldId], version: Version) {
    for id in fields {
        put_header(w, Field::of(*id), Some(version), false);
    }
}

impl TableProperty {
    fn pull(kind: u16, r: &mut Reader<'_>) -> Result<Self, OfError> {
        let miss = kind & 1 != 0;
        Ok(match kind & !1 {
            INSTRUCTIONS => Self::Instructions {
                miss,
                types: pull_types(r)?,
            },
            NEXT_TABLES => Self::NextTables {
                miss,
                tables: r.rest().to_vec(),
            },
            WRITE_ACTIONS => Self::WriteActions {
                miss,
                types: pull_types(r)?,
            },
            APPLY_ACTIONS => Self::ApplyActions {
                miss,
                types: pull_types(r)?,
            },
            MATCH if !miss => Self::Match(pull_fields(r, true)?),
            WILDCARDS if !miss => Self::Wildcards(pull_ids(r)?),
            WRITE_SETFIELD => Self::WriteSetField {
                miss,
                fields: pull_ids(r)?,
            },
            APPLY_SETFIELD => Self::ApplySetField {
                miss,
                fields: pull_ids(r)?,
            },
            _ => return Err(props::unknown(kind, "table features")),
        })
    }

    fn kind(&self) -> u16 {
        match self {
            Self::Instructions { miss, .. } => INSTRUCTIONS | u16::from(*miss),
            Self::NextTables { miss, .. } => NEXT_TABLES | u16::from(*miss),
            Self::WriteActions { miss, .. } => WRITE_ACTIONS | u16::from(*miss),
            Self::ApplyActions { miss, .. } => APPLY_ACTIONS | u16::from(*miss),
            Self::Match(_) => MATCH,
            Self::Wildcards(_) => WILDCARDS,
            Self::WriteSetField { miss, .. } => WRITE_SETFIELD | u16::from(*miss),
            Self::ApplySetField { miss, .. } => APPLY_SETFIELD | u16::from(*miss),
        }
    }

    fn put(&self, w: &mut Writer, version: Version) {
        props::put(w, self.kind(), |w| match self {
            Self::Instructions { types, .. }
            | Self::WriteActions { types, .. }
            | Self::ApplyActions { types, .. } => put_types(w, types),
            Self::NextTables { tables, .. } => w.bytes(tables),
            Self::Match(fields) => {
                for (id, masked) in fields {
                    put_header(w, Field::of(*id), Some(version), *masked);
                }
            }
            Self::Wildcards(fields)
            | Self::WriteSetField { fields, .. }
            | Self::ApplySetField { fields, .. } => put_ids(w, fields, version),
        });
    }
}

impl TableFeatures {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut outer = Reader::new(r.peek(), ErrorCode::BpcBadLen);
        let mut e = outer.element8(0, 64)?;
        r.skip(e.len())?;
        e.skip(2)?;
        let (table, command) = (TableId(e.u8()?), e.u8()?);
        if table == TableId::ALL {
            return Err(ErrorCode::TffcBadTable.because("features of table 255, which is no table"));
        }
        if version >= Version::Of15 && command > 3 {
            return Err(ErrorCode::TffcBadCommand.because(format!(
                "table features command {command}; known are 0 to 3"
            )));
        }
        e.skip(4)?;
        let name = text(e.bytes(TABLE_NAME_LEN)?);
        let (metadata_match, metadata_write) = (e.u64()?, e.u64()?);
        let (capabilities, max_entries) = (e.u32()?, e.u32()?);
        let mut f = Self {
            table,
            command: if version >= Version::Of15 { command } else { 0 },
            name,
            metadata_match,
            metadata_write,
            capabilities: if version >= Version::Of14 {
                capabilities
            } else {
                0
            },
            max_entries,
            properties: Vec::new(),
        };
        let mut seen = 0u32;
        while let Some((kind, mut p)) = props::pull(&mut e)? {
            if kind < 32 {
                if seen >> kind & 1 != 0 {
                    return Err(ErrorCode::TffcBadFeatures
                        .because(format!("table features property {kind} twice")));
                }
                seen |= 1 << kind;
            }
            f.properties.push(TableProperty::pull(kind, &mut p)?);
        }
        let missing = REQUIRED & !seen;
        if missing != 0 && (seen != 0 || version < Version::Of15) {
            return Err(ErrorCode::TffcBadFeatures.because(format!(
                "features of table {} without property {}",
                table.0,
                missing.trailing_zeros()
            )));
        }
        Ok(f)
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        let start = w.len();
        w.zeros(2);
        w.u8(self.table.0);
        w.u8(if version >= Version::Of15 {
            self.command
        } else {
            0
        });
        w.zeros(4);
        w.text(&self.name, TABLE_NAME_LEN);
        w.u64(self.metadata_match);
        w.u64(self.metadata_write);
        w.u32(if version >= Version::Of14 {
            self.capabilities
        } else {
            0
        });
        w.u32(self.max_entries);
        self.properties.iter().for_each(|p| p.put(w, version));
        w.set_len(start, start, "table features");
    }
}
