//! Small TCP conversations: connections per second, and whether TCP gets through at all.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use super::ANSWER;

/// A connection or an answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(1);
/// Octets of a probe: more than a window, so that whole super-frames have to get through.
const BULK: usize = 256 << 10;
const PROBE: Duration = Duration::from_secs(2);
const REQUEST: u8 = b'r';
const CARRY: u8 = b'c';

/// Serves one connection after the other.
pub fn answer() -> Result<()> {
    let listener = TcpListener::bind(("::", ANSWER)).context("TCP port 5300")?;
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PROBE))?;
        // A client that failed is its own affair.
        let _ = serve(&mut stream);
    }
}

fn serve(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    if kind[0] == CARRY {
        stream.read_exact(&mut vec![0; BULK])?;
    }
    stream.write_all(&kind)?;
    // The client ends it, by a reset.
    let _ = stream.read(&mut kind);
    Ok(())
}

/// Sequential connections, one octet there and back each. They end by a reset, so that no port waits for its reuse.
pub fn connect(to: SocketAddr, millis: u64) -> Result<()> {
    let (start, time) = (Instant::now(), Duration::from_millis(millis));
    let (mut done, mut failed) = (0u64, 0u64);
    while start.elapsed() < time {
        match one(to) {
            Ok(()) => done += 1,
            Err(_) => failed += 1,
        }
    }
    println!("{} {failed}", done as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

fn one(to: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let reset = linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&stream, sockopt::Linger, &reset)?;
    stream.write_all(&[REQUEST])?;
    stream.read_exact(&mut [0])?;
    Ok(())
}

/// Fails unless a bulk of octets gets through in time.
pub fn probe(to: SocketAddr) -> Result<()> {
    let start = Instant::now();
    let carried = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&to, PROBE)?;
        stream.set_read_timeout(Some(PROBE))?;
        stream.set_write_timeout(Some(PROBE))?;
        stream.write_all(&[CARRY])?;
        stream.write_all(&vec![0; BULK])?;
        stream.read_exact(&mut [0])?;
        stream.shutdown(Shutdown::Both)
    };
    if carried().is_err() || start.elapsed() > PROBE {
        bail!("no TCP gets through (256 KiB not within 2 s)");
    }
    Ok(())
}
