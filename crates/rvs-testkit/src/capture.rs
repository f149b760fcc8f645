//! The last frames that went in and out, for whoever has to find out why a test failed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::PathBuf;

use rvs_netdev::pcap::PcapSink;
use rvs_netdev::FrameSink;
use rvs_packet::{Frame, Now};

/// Frames kept.
const KEPT: usize = 2048;
/// Frames listed in words when a test fails.
const LISTED: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

#[derive(Debug)]
struct Taken {
    at: Now,
    direction: Direction,
    port: String,
    frame: Frame,
}

/// A ring of frames.
#[derive(Debug, Default)]
pub struct Capture {
    frames: VecDeque<Taken>,
    /// Nothing is kept: for measurements.
    pub off: bool,
}

impl Capture {
    pub fn note(&mut self, at: Now, direction: Direction, port: &str, frame: &Frame) {
        if self.off {
            return;
        }
        if self.frames.len() >= KEPT {
            self.frames.pop_front();
        }
        self.frames.push_back(Taken {
            at,
            direction,
            port: port.to_owned(),
            frame: frame.clone(),
        });
    }

    /// Writes everything kept as a pcap file.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write(&self, path: &std::path::Path) -> io::Result<()> {
        let mut sink = PcapSink::new(BufWriter::new(File::create(path)?))?;
        for t in &self.frames {
            sink.set_time(t.at);
            // A pcap file takes every frame.
            let _ = sink.push(0, t.frame.clone());
        }
        sink.finish().map(drop)
    }

    /// Writes the file of a failing test and lists its last frames on standard error.
    pub fn report(&self) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("test").replace("::", "-");
        let path = Self::directory().join(format!("{name}-{}.pcap", std::process::id()));
        let written = std::fs::create_dir_all(Self::directory()).and_then(|()| self.write(&path));
        match written {
            Ok(()) => eprintln!("frames of the failing test: {}", path.display()),
            Err(e) => eprintln!("frames could not be written to {}: {e}", path.display()),
        }
        for t in self
            .frames
            .iter()
            .skip(self.frames.len().saturating_sub(LISTED))
        {
            let way = match t.direction {
                Direction::In => "->",
                Direction::Out => "<-",
            };
            eprintln!(
                "{:>12} ns {way} {:<8} {}",
                t.at.0,
                t.port,
                crate::packet::text(t.frame.bytes())
            );
        }
    }

    fn directory() -> PathBuf {
        std::env::temp_dir().join("rvs-testkit")
    }
}
