//! What a switch tells controllers of each other (OpenFlow 1.5).

use super::props;
use super::role::{role_from, role_number, Role};
use crate::error::{ErrorCode, OfError};
use crate::wire::{Reader, Writer};

/// `OFPCSR_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControllerReason {
    /// Somebody asked.
    Request,
    /// The channel came up or went down.
    Channel,
    Role,
    /// The switch was told to connect to it, or to stop.
    Added,
    Removed,
    ShortId,
    Experimenter,
}

impl ControllerReason {
    const ALL: [Self; 7] = [
        Self::Request,
        Self::Channel,
        Self::Role,
        Self::Added,
        Self::Removed,
        Self::ShortId,
        Self::Experimenter,
    ];
}

/// `ofp_controller_status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerStatus {
    /// What it calls itself; 0 for nothing.
    pub short_id: u16,
    /// Of a channel that is down: its last.
    pub role: Role,
    pub reason: ControllerReason,
    /// The channel is up.
    pub up: bool,
    /// `tcp:192.0.2.1:6653`; empty for none.
    pub uri: String,
}

/// `OFPCSPT_URI`.
const URI: u16 = 0;

impl ControllerStatus {
    pub(crate) fn pull(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut entry = r.element(0, 16)?;
        entry.skip(2)?;
        let short_id = entry.u16()?;
        let role = role_from(entry.u32()?)?;
        let reason = entry.u8()?;
        let reason = ControllerReason::ALL.get(usize::from(reason)).copied();
        let reason = reason.ok_or_else(|| {
            ErrorCode::NxbrcBadReason
                .because("a controller status of unknown reason; known are 0 to 6")
        })?;
        let up = entry.u8()? == 0;
        entry.skip(6)?;
        let mut uri = String::new();
        let mut properties = Reader::new(entry.rest(), ErrorCode::BpcBadLen);
        while let Some((kind, mut p)) = props::pull(&mut properties)? {
            if kind == URI {
                uri = String::from_utf8_lossy(p.rest()).into_owned();
            }
        }
        Ok(Self {
            short_id,
            role,
            reason,
            up,
            uri,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer) {
        let start = w.len();
        w.u16(0);
        w.u16(self.short_id);
        w.u32(role_number(self.role));
        w.u8(self.reason as u8);
        w.u8(u8::from(!self.up));
        w.zeros(6);
        if !self.uri.is_empty() {
            props::put(w, URI, |w| w.bytes(self.uri.as_bytes()));
        }
        w.set_len(start, start, "controller status");
    }
}
