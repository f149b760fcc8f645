//! What a switch is called.

use crate::error::OfError;
use crate::wire::{text, Reader, Writer};

/// `ofp_desc`. Texts are cut to 255 octets, the serial number to 31.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desc {
    pub manufacturer: String,
    pub hardware: String,
    pub software: String,
    pub serial: String,
    pub datapath: String,
}

const DESC_LEN: usize = 256;
const SERIAL_LEN: usize = 32;

impl Desc {
    pub(crate) fn pull(r: &mut Reader<'_>) -> Result<Self, OfError> {
        Ok(Self {
            manufacturer: text(r.bytes(DESC_LEN)?),
            hardware: text(r.bytes(DESC_LEN)?),
            software: text(r.bytes(DESC_LEN)?),
            serial: text(r.bytes(SERIAL_LEN)?),
            datapath: text(r.bytes(DESC_LEN)?),
        })
    }

    pub(crate) fn put(&self, w: &mut Writer) {
        w.text(&self.manufacturer, DESC_LEN);
        w.text(&self.hardware, DESC_LEN);
        w.text(&self.software, DESC_LEN);
        w.text(&self.serial, SERIAL_LEN);
        w.text(&self.datapath, DESC_LEN);
    }
}
