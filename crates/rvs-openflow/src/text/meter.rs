//! Meters, printed and read.

use std::fmt;

use super::parse::number;
use super::{ParseError, Words};
use crate::model::{Band, BandKind, Meter, MeterId, MeterUnit};

/// Meters with names.
const NAMED: [MeterId; 3] = [MeterId::SLOWPATH, MeterId::CONTROLLER, MeterId::ALL];

/// A meter as `ovs-ofctl dump-meters` prints it: a line, then a line for each band.
pub struct MeterDisplay<'t>(&'t Meter);

impl<'t> Words<'t> {
    pub fn meter(self, meter: &'t Meter) -> MeterDisplay<'t> {
        MeterDisplay(meter)
    }
}

impl fmt::Display for MeterDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = self.0;
        write!(f, "meter={} ", m.id)?;
        f.write_str(match m.unit {
            MeterUnit::KilobitsPerSecond => "kbps ",
            MeterUnit::PacketsPerSecond => "pktps ",
        })?;
        if m.burst {
            f.write_str("burst ")?;
        }
        if m.stats {
            f.write_str("stats ")?;
        }
        f.write_str("bands=\n")?;
        for b in &m.bands {
            let kind = match b.kind {
                BandKind::Drop => "drop",
                BandKind::DscpRemark { .. } => "dscp_remark",
            };
            write!(f, "type={kind} rate={}", b.rate)?;
            if m.burst {
                write!(f, " burst_size={}", b.burst)?;
            }
            if let BandKind::DscpRemark { levels } = b.kind {
                write!(f, " prec_level={levels}")?;
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

/// Reads a meter as `add-meter` takes it: `meter=1,pktps,burst,bands=type=drop,rate=1000,burst_size=10`. A deletion
/// needs the number alone, and reads `all`.
///
/// # Errors
/// Names the term that is wrong.
pub fn parse_meter(text: &str, delete: bool) -> Result<Meter, ParseError> {
    let (head, bands) = split_bands(text);
    let mut m = Meter {
        id: MeterId(0),
        unit: MeterUnit::KilobitsPerSecond,
        burst: false,
        stats: false,
        bands: Box::new([]),
    };
    let mut unit = None;
    for term in rvs_flow::matching::terms(head) {
        match term? {
            ("meter", Some(v)) => m.id = meter_id(v, delete)?,
            ("kbps", None) => set_unit(&mut unit, MeterUnit::KilobitsPerSecond)?,
            ("pktps", None) => set_unit(&mut unit, MeterUnit::PacketsPerSecond)?,
            ("burst", None) => m.burst = true,
            ("stats", None) => m.stats = true,
            (key, _) => return Err(ParseError(format!("{key} is not a setting of a meter"))),
        }
    }
    if m.id.0 == 0 && !delete {
        return Err(ParseError::new("a meter needs a number: meter=N"));
    }
    if m.id.0 == 0 {
        m.id = MeterId::ALL;
    }
    m.unit = unit.unwrap_or(MeterUnit::KilobitsPerSecond);
    m.bands = parse_bands(bands.unwrap_or(""), m.burst)?.into();
    match (bands, delete) {
        (Some(_), true) => Err(ParseError::new("a meter to delete has no bands")),
        (None, false) => Err(ParseError::new(
            "a meter needs bands: bands=type=drop,rate=N",
        )),
        _ => Ok(m),
    }
}

fn set_unit(unit: &mut Option<MeterUnit>, to: MeterUnit) -> Result<(), ParseError> {
    match unit.replace(to) {
        Some(old) if old != to => Err(ParseError::new("a meter counts kbps or pktps, not both")),
        _ => Ok(()),
    }
}

fn meter_id(text: &str, delete: bool) -> Result<MeterId, ParseError> {
    if let Some(id) = NAMED.into_iter().find(|id| id.to_string() == text) {
        if id == MeterId::ALL && !delete {
            return Err(ParseError::new("meter=all is for deletion and questions"));
        }
        return Ok(id);
    }
    let id = MeterId(number(text, "meter")?);
    if id.0 == 0 || id > MeterId::MAX {
        return Err(ParseError(format!(
            "meter {text} is not 1 to {}",
            MeterId::MAX.0
        )));
    }
    Ok(id)
}

fn split_bands(text: &str) -> (&str, Option<&str>) {
    for word in ["bands=", "band="] {
        if let Some(at) = text.find(word) {
            return (&text[..at], Some(&text[at + word.len()..]));
        }
    }
    (text, None)
}

/// Each `type=` starts a band.
fn parse_bands(text: &str, burst: bool) -> Result<Vec<Band>, ParseError> {
    let mut bands: Vec<Band> = Vec::new();
    for term in rvs_flow::matching::terms(text) {
        let (key, value) = term?;
        let value = value.ok_or_else(|| ParseError(format!("{key} of a band needs a value")))?;
        if key == "type" {
            let kind = match value {
                "drop" => BandKind::Drop,
                "dscp_remark" => BandKind::DscpRemark { levels: 0 },
                _ => {
                    return Err(ParseError(format!(
                        "band type {value} is not drop or dscp_remark"
                    )))
                }
            };
            bands.push(Band {
                kind,
                rate: 0,
                burst: 0,
            });
            continue;
        }
        let Some(band) = bands.last_mut() else {
            return Err(ParseError(format!(
                "{key} before type: a band starts with its type"
            )));
        };
        match (key, &mut band.kind) {
            ("rate", _) => band.rate = number(value, key)?,
            ("burst_size", _) if burst => band.burst = number(value, key)?,
            ("burst_size", _) => {
                return Err(ParseError::new("burst_size counts for a meter with burst"));
            }
            ("prec_level", BandKind::DscpRemark { levels }) => *levels = number(value, key)?,
            _ => return Err(ParseError(format!("{key} is not a setting of the band"))),
        }
    }
    if bands.iter().any(|b| b.rate == 0) {
        return Err(ParseError::new("a band needs a rate above 0"));
    }
    Ok(bands)
}
