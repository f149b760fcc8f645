//! Port statistics.

use rvs_flow::OfPort;

use super::port::{pull_port, put_port};
use super::props;
use crate::error::{ErrorCode, OfError};
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// One port of a port statistics reply. Counters are `u64::MAX` where they are not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    pub port: OfPort,
    /// OpenFlow 1.3 and later.
    pub duration_sec: u32,
    pub duration_nsec: u32,
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_frame_err: u64,
    pub rx_over_err: u64,
    pub rx_crc_err: u64,
    pub collisions: u64,
}

/// `OFPPSPT_ETHERNET`.
const PROP_ETHERNET: u16 = 0;

impl PortStats {
    fn basic(&self) -> [u64; 8] {
        [
            self.rx_packets,
            self.tx_packets,
            self.rx_bytes,
            self.tx_bytes,
            self.rx_dropped,
            self.tx_dropped,
            self.rx_errors,
            self.tx_errors,
        ]
    }

    fn pull_basic(&mut self, r: &mut Reader<'_>) -> Result<(), OfError> {
        (self.rx_packets, self.tx_packets) = (r.u64()?, r.u64()?);
        (self.rx_bytes, self.tx_bytes) = (r.u64()?, r.u64()?);
        (self.rx_dropped, self.tx_dropped) = (r.u64()?, r.u64()?);
        (self.rx_errors, self.tx_errors) = (r.u64()?, r.u64()?);
        Ok(())
    }

    fn pull_ethernet(&mut self, r: &mut Reader<'_>) -> Result<(), OfError> {
        (self.rx_frame_err, self.rx_over_err) = (r.u64()?, r.u64()?);
        (self.rx_crc_err, self.collisions) = (r.u64()?, r.u64()?);
        Ok(())
    }

    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut s = Self::default();
        if version >= Version::Of14 {
            let mut e = r.element(0, 80)?;
            e.skip(4)?;
            s.port = pull_port(&mut e, version)?;
            (s.duration_sec, s.duration_nsec) = (e.u32()?, e.u32()?);
            s.pull_basic(&mut e)?;
            let mut properties = Reader::new(e.rest(), ErrorCode::BpcBadLen);
            while let Some((kind, mut p)) = props::pull(&mut properties)? {
                if kind == PROP_ETHERNET {
                    p.skip(4)?;
                    s.pull_ethernet(&mut p)?;
                }
            }
            return Ok(s);
        }
        s.port = pull_port(r, version)?;
        r.skip(if version == Version::Of10 { 6 } else { 4 })?;
        s.pull_basic(r)?;
        s.pull_ethernet(r)?;
        if version == Version::Of13 {
            (s.duration_sec, s.duration_nsec) = (r.u32()?, r.u32()?);
        }
        Ok(s)
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        let ethernet = [
            self.rx_frame_err,
            self.rx_over_err,
            self.rx_crc_err,
            self.collisions,
        ];
        if version >= Version::Of14 {
            let start = w.len();
            w.zeros(4);
            w.u32(self.port.0);
            w.u32(self.duration_sec);
            w.u32(self.duration_nsec);
            self.basic().into_iter().for_each(|v| w.u64(v));
            props::put(w, PROP_ETHERNET, |w| {
                w.zeros(4);
                ethernet.into_iter().for_each(|v| w.u64(v));
            });
            return w.set_len(start, start, "port");
        }
        put_port(w, self.port, version);
        w.zeros(if version == Version::Of10 { 6 } else { 4 });
        self.basic()
            .into_iter()
            .chain(ethernet)
            .for_each(|v| w.u64(v));
        if version == Version::Of13 {
            w.u32(self.duration_sec);
            w.u32(self.duration_nsec);
        }
    }
}
