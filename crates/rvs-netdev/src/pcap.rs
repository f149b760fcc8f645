//! Frames from and to pcap files.
//!
//! Written with nanosecond timestamps; read with either resolution and either byte order. Source: the pcap capture file
//! format (draft-ietf-opsawg-pcap). Offload metadata have no place in the format: a super-frame is written as one record,
//! a partial checksum as it stands.

use std::io::{self, Read, Write};

use rvs_packet::{Frame, FramePool, Now};

use crate::traits::{FrameSink, FrameSource, Liveness, PortNo, Received};

const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
const LINKTYPE_ETHERNET: u32 = 1;
/// Octets of a record that are kept; larger than any frame.
const SNAPLEN: u32 = 262_144;

/// Why a file can't be read.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    #[error("not a pcap file (magic number {0:08x})")]
    Magic(u32),
    #[error("link type {0} is not Ethernet")]
    LinkType(u32),
    #[error("record {record} claims {len} octets, more than any frame has")]
    RecordTooLong { record: u64, len: u32 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Gives the frames of a file as if they came in on one port, as fast as they are asked for.
#[derive(Debug)]
pub struct PcapSource<R> {
    input: R,
    port: PortNo,
    swapped: bool,
    nanos: bool,
    records: u64,
    last: Now,
    end: Option<Result<(), PcapError>>,
}

impl<R: Read> PcapSource<R> {
    /// Reads the file header. `input` should be buffered.
    pub fn new(mut input: R, port: PortNo) -> Result<Self, PcapError> {
        let mut head = [0; 24];
        input.read_exact(&mut head)?;
        let magic = word(&head, 0, false);
        let (swapped, nanos) = match (magic, magic.swap_bytes()) {
            (MAGIC_MICROS, _) => (false, false),
            (MAGIC_NANOS, _) => (false, true),
            (_, MAGIC_MICROS) => (true, false),
            (_, MAGIC_NANOS) => (true, true),
            _ => return Err(PcapError::Magic(magic)),
        };
        // The upper bits tell of a frame check sequence; the type is in the lower 16.
        match word(&head, 20, swapped) & 0xffff {
            LINKTYPE_ETHERNET => {}
            other => return Err(PcapError::LinkType(other)),
        }
        Ok(Self {
            input,
            port,
            swapped,
            nanos,
            records: 0,
            last: Now::ZERO,
            end: None,
        })
    }

    /// When the latest frame was captured.
    pub fn timestamp(&self) -> Now {
        self.last
    }

    /// How the file ended: `None`, not yet. A last record that is cut off is an error.
    pub fn end(&self) -> Option<&Result<(), PcapError>> {
        self.end.as_ref()
    }

    fn next(&mut self, pool: &mut FramePool) -> Result<Option<Frame>, PcapError> {
        let mut head = [0; 16];
        match self.input.read(&mut head)? {
            0 => return Ok(None),
            n => self.input.read_exact(&mut head[n..])?,
        }
        let field = |i| word(&head, i, self.swapped);
        let (secs, fraction, len) = (field(0), field(4), field(8));
        if len > SNAPLEN {
            return Err(PcapError::RecordTooLong {
                record: self.records,
                len,
            });
        }
        let nanos = u64::from(fraction) * if self.nanos { 1 } else { 1000 };
        self.last = Now(u64::from(secs) * 1_000_000_000 + nanos);
        let mut frame = pool.take(len as usize);
        self.input.read_exact(frame.bytes_mut())?;
        self.records += 1;
        Ok(Some(frame))
    }
}

fn word(b: &[u8], at: usize, swapped: bool) -> u32 {
    let v = b
        .get(at..at + 4)
        .map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    if swapped {
        v.swap_bytes()
    } else {
        v
    }
}

impl<R: Read> FrameSource for PcapSource<R> {
    fn recv_batch(&mut self, pool: &mut FramePool, out: &mut Vec<Received>, max: usize) -> usize {
        let before = out.len();
        while self.end.is_none() && out.len() - before < max {
            match self.next(pool) {
                Ok(Some(frame)) => out.push(Received {
                    port: self.port,
                    frame,
                }),
                Ok(None) => self.end = Some(Ok(())),
                Err(e) => self.end = Some(Err(e)),
            }
        }
        out.len() - before
    }

    fn liveness(&mut self) -> Liveness {
        if self.end.is_some() {
            Liveness::Gone
        } else {
            Liveness::Live
        }
    }
}

/// Writes every frame, whatever its port, with the time set last.
#[derive(Debug)]
pub struct PcapSink<W> {
    output: W,
    now: Now,
    failed: Option<io::Error>,
}

impl<W: Write> PcapSink<W> {
    /// Writes the file header. `output` should be buffered.
    pub fn new(mut output: W) -> io::Result<Self> {
        // Magic, version 2.4, time zone and accuracy 0, limit of a record, link type.
        let words = [MAGIC_NANOS, 4 << 16 | 2, 0, 0, SNAPLEN, LINKTYPE_ETHERNET];
        output.write_all(&words.map(u32::to_le_bytes).concat())?;
        Ok(Self {
            output,
            now: Now::ZERO,
            failed: None,
        })
    }

    /// Time of the frames that follow, counted from 1970 if the file is to show dates.
    pub fn set_time(&mut self, now: Now) {
        self.now = now;
    }

    /// Flushes and gives the output back, or the first error that occurred; after one, nothing more was written.
    pub fn finish(mut self) -> io::Result<W> {
        match self.failed.take() {
            Some(e) => Err(e),
            None => self.output.flush().map(|()| self.output),
        }
    }

    fn write(&mut self, frame: &Frame) -> io::Result<()> {
        let kept = frame
            .bytes()
            .get(..SNAPLEN as usize)
            .unwrap_or(frame.bytes());
        let words = [
            (self.now.0 / 1_000_000_000) as u32,
            (self.now.0 % 1_000_000_000) as u32,
            kept.len() as u32,
            frame.len() as u32,
        ];
        self.output
            .write_all(&words.map(u32::to_le_bytes).concat())?;
        self.output.write_all(kept)
    }
}

impl<W: Write> FrameSink for PcapSink<W> {
    fn push(&mut self, _: PortNo, frame: Frame) -> Result<(), Frame> {
        if self.failed.is_none() {
            self.failed = self.write(&frame).err();
        }
        Ok(())
    }

    fn flush(&mut self, _: &mut FramePool) {
        if self.failed.is_none() {
            self.failed = self.output.flush().err();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8]) -> (Vec<Received>, Result<(), PcapError>) {
        let mut source = PcapSource::new(bytes, 7).unwrap();
        let (mut pool, mut out) = (FramePool::new(), Vec::new());
        while source.recv_batch(&mut pool, &mut out, 2) > 0 {}
        assert_eq!(source.liveness(), Liveness::Gone);
        (out, source.end.unwrap())
    }

    fn written() -> Vec<u8> {
        let mut sink = PcapSink::new(Vec::new()).unwrap();
        sink.set_time(Now(1_700_000_000_123_456_789));
        for n in [60, 1514, 65_000] {
            sink.push(3, Frame::from_slice(&vec![n as u8; n])).unwrap();
        }
        sink.flush(&mut FramePool::new());
        sink.finish().unwrap()
    }

    #[test]
    fn what_is_written_is_read_back_with_its_time() {
        let bytes = written();
        let mut source = PcapSource::new(&bytes[..], 7).unwrap();
        let mut out = Vec::new();
        assert_eq!(source.recv_batch(&mut FramePool::new(), &mut out, 9), 3);
        assert_eq!(
            out.iter().map(|r| r.frame.len()).collect::<Vec<_>>(),
            [60, 1514, 65_000]
        );
        assert!(out.iter().all(|r| r.port == 7));
        assert_eq!(source.timestamp(), Now(1_700_000_000_123_456_789));
        assert!(matches!(source.end(), Some(Ok(()))));
    }

    #[test]
    fn microseconds_of_the_other_byte_order_are_read() {
        let mut b = Vec::new();
        for w in [MAGIC_MICROS, 2 << 16 | 4, 0, 0, 65_535, 1, 1, 500_000, 4, 4] {
            b.extend(u32::to_be_bytes(w));
        }
        b.extend([1, 2, 3, 4]);
        let mut source = PcapSource::new(&b[..], 1).unwrap();
        let mut out = Vec::new();
        source.recv_batch(&mut FramePool::new(), &mut out, 1);
        assert_eq!(
            (out[0].frame.bytes(), source.timestamp()),
            (&[1, 2, 3, 4][..], Now(1_500_000_000))
        );
    }

    #[test]
    fn bad_files_are_refused_where_they_are_bad() {
        let good = written();
        assert!(matches!(
            PcapSource::new(&[0u8; 24][..], 1),
            Err(PcapError::Magic(0))
        ));
        assert!(matches!(
            PcapSource::new(&good[..10], 1),
            Err(PcapError::Io(_))
        ));
        let mut bad = good.clone();
        bad[20] = 113;
        assert!(matches!(
            PcapSource::new(&bad[..], 1),
            Err(PcapError::LinkType(113))
        ));
        let (frames, end) = read_all(&good[..good.len() - 1]);
        assert!(frames.len() == 2 && matches!(end, Err(PcapError::Io(_))));
        let (frames, end) = read_all(&good[..24 + 7]);
        assert!(frames.is_empty() && matches!(end, Err(PcapError::Io(_))));
        let mut bad = good;
        bad[24 + 8..24 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
        let (_, end) = read_all(&bad);
        assert!(matches!(
            end,
            Err(PcapError::RecordTooLong { record: 0, .. })
        ));
    }
}
