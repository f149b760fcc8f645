//! Queues: configuration (a message of its own up to 1.3, a multipart from then on) and statistics.

use rvs_flow::OfPort;

use super::port::{pull_port, put_port};
use super::props;
use crate::error::OfError;
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// `OFPQ_ALL`, in requests.
pub const QUEUE_ALL: u32 = u32::MAX;

/// Rates in tenths of a percent; above 1000 means none.
const MIN_RATE: u16 = 1;
const MAX_RATE: u16 = 2;

/// One queue of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    pub port: OfPort,
    pub id: u32,
    /// Tenths of a percent of the port's rate.
    pub min_rate: Option<u16>,
    /// OpenFlow 1.2 and later.
    pub max_rate: Option<u16>,
}

/// `ofp_queue_get_config_reply`: the queues of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    pub port: OfPort,
    pub queues: Vec<Queue>,
}

pub(crate) fn pull_config_request(r: &mut Reader<'_>, version: Version) -> Result<OfPort, OfError> {
    let port = pull_port(r, version)?;
    r.skip(if version == Version::Of10 { 2 } else { 4 })?;
    Ok(port)
}

pub(crate) fn put_config_request(w: &mut Writer, port: OfPort, version: Version) {
    put_port(w, port, version);
    w.zeros(if version == Version::Of10 { 2 } else { 4 });
}

impl QueueConfig {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let port = pull_port(r, version)?;
        r.skip(if version == Version::Of10 { 6 } else { 4 })?;
        let mut queues = Vec::new();
        while !r.is_empty() {
            queues.push(Queue::pull_packet_queue(r, port, version)?);
        }
        Ok(Self { port, queues })
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        put_port(w, self.port, version);
        w.zeros(if version == Version::Of10 { 6 } else { 4 });
        for q in &self.queues {
            q.put_packet_queue(w, version);
        }
    }
}

impl Queue {
    /// `ofp_packet_queue`.
    fn pull_packet_queue(
        r: &mut Reader<'_>,
        port: OfPort,
        version: Version,
    ) -> Result<Self, OfError> {
        let new = version >= Version::Of12;
        let mut e = if new {
            r.element8(8, 16)?
        } else {
            r.element8(4, 8)?
        };
        let mut q = Self {
            port,
            id: e.u32()?,
            ..Self::default()
        };
        if new {
            q.port = pull_port(&mut e, version)?;
        }
        e.skip(if new { 8 } else { 4 })?;
        while !e.is_empty() {
            let mut p = e.element8(2, 8)?;
            let kind = p.u16()?;
            p.skip(6)?;
            match kind {
                MIN_RATE => q.min_rate = Some(p.u16()?),
                MAX_RATE => q.max_rate = Some(p.u16()?),
                _ => {}
            }
        }
        Ok(q)
    }

    fn put_packet_queue(&self, w: &mut Writer, version: Version) {
        let new = version >= Version::Of12;
        let start = w.len();
        w.u32(self.id);
        if new {
            put_port(w, self.port, version);
        }
        let at = w.len();
        w.zeros(if new { 8 } else { 4 });
        let max = self.max_rate.filter(|_| new);
        for (kind, rate) in [(MIN_RATE, self.min_rate), (MAX_RATE, max)] {
            if let Some(rate) = rate {
                w.u16(kind);
                w.u16(16);
                w.zeros(4);
                w.u16(rate);
                w.zeros(6);
            }
        }
        w.set_len(at, start, "queue");
    }

    /// An entry of `OFPMP_QUEUE_DESC`.
    pub(crate) fn pull_desc(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut e = r.element8(8, 16)?;
        let mut q = Self {
            port: pull_port(&mut e, version)?,
            id: e.u32()?,
            ..Self::default()
        };
        e.skip(8)?;
        while let Some((kind, mut p)) = props::pull(&mut e)? {
            match kind {
                MIN_RATE => q.min_rate = Some(p.u16()?),
                MAX_RATE => q.max_rate = Some(p.u16()?),
                _ => {}
            }
        }
        Ok(q)
    }

    pub(crate) fn put_desc(&self, w: &mut Writer) {
        let start = w.len();
        w.u32(self.port.0);
        w.u32(self.id);
        w.zeros(8);
        for (kind, rate) in [(MIN_RATE, self.min_rate), (MAX_RATE, self.max_rate)] {
            if let Some(rate) = rate {
                props::put(w, kind, |w| {
                    w.u16(rate);
                    w.zeros(2);
                });
            }
        }
        w.set_len(start + 8, start, "queue");
    }
}

/// Which queues: one, or all of a port ([`QUEUE_ALL`]), or of all ports ([`OfPort::ANY`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSelector {
    pub port: OfPort,
    pub queue: u32,
}

impl QueueSelector {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut port = pull_port(r, version)?;
        if version == Version::Of10 {
            r.skip(2)?;
            // 1.0 says all ports by `OFPP_ALL`.
            if port == OfPort::ALL {
                port = OfPort::ANY;
            }
        }
        Ok(Self {
            port,
            queue: r.u32()?,
        })
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        if version == Version::Of10 {
            let any = self.port == OfPort::ANY;
            put_port(w, if any { OfPort::ALL } else { self.port }, version);
            w.zeros(2);
        } else {
            w.u32(self.port.0);
        }
        w.u32(self.queue);
    }
}

/// One queue of a queue statistics reply. Counters are `u64::MAX` where they are not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    pub port: OfPort,
    pub queue: u32,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    /// OpenFlow 1.3 and later.
    pub duration_sec: u32,
    pub duration_nsec: u32,
}

impl QueueStats {
    pub(crate) fn pull(r: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut s = Self::default();
        let mut entry;
        let e = if version >= Version::Of14 {
            entry = r.element(0, 48)?;
            entry.skip(8)?;
            &mut entry
        } else {
            r
        };
        s.port = pull_port(e, version)?;
        if version == Version::Of10 {
            e.skip(2)?;
        }
        s.queue = e.u32()?;
        (s.tx_bytes, s.tx_packets, s.tx_errors) = (e.u64()?, e.u64()?, e.u64()?);
        if version >= Version::Of13 {
            (s.duration_sec, s.duration_nsec) = (e.u32()?, e.u32()?);
        }
        Ok(s)
    }

    pub(crate) fn put(&self, w: &mut Writer, version: Version) {
        let start = w.len();
        if version >= Version::Of14 {
            w.zeros(8);
        }
        put_port(w, self.port, version);
        if version == Version::Of10 {
            w.zeros(2);
        }
        w.u32(self.queue);
        w.u64(self.tx_bytes);
        w.u64(self.tx_packets);
        w.u64(self.tx_errors);
        if version >= Version::Of13 {
            w.u32(self.duration_sec);
            w.u32(self.duration_nsec);
        }
        if version >= Version::Of14 {
            w.set_len(start, start, "queue");
        }
    }
}
