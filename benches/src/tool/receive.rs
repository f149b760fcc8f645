//! Counts what arrives of a flood at a UDP socket, finds the longest pause, and what was overtaken.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{DISCARD, PORTS};
use crate::clock::micros;

/// Listens for so long; prints `COUNT PAUSE_FROM PAUSE_TO LATE` (microseconds of the monotonic clock; 0 0 if fewer than two
/// came). Late are those whose flow's number is less than that of one before, going around after [`PORTS`]: it means something
/// of a flood of that many flows.
pub fn run(millis: u64) -> Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", DISCARD)).context("UDP port 9")?;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(16 << 20))?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let end = micros() + millis * 1000;
    let (mut count, mut last, mut pause) = (0u64, None::<u64>, (0, 0));
    let (mut newest, mut late) = (0, 0u64);
    let mut octets = [0; 64];
    loop {
        let got = socket.recv_from(&mut octets);
        let now = micros();
        match got {
            Ok((_, from)) => {
                let ahead = (u64::from(from.port()) + PORTS - newest) % PORTS;
                if count > 0 && ahead > PORTS / 2 {
                    late += 1;
                } else {
                    newest = u64::from(from.port()) % PORTS;
                }
                if let Some(before) = last.filter(|b| now - b > pause.1 - pause.0) {
                    pause = (before, now);
                }
                last = Some(now);
                count += 1;
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(e) => return Err(e.into()),
        }
        if now >= end {
            break;
        }
    }
    println!("{count} {} {} {late}", pause.0, pause.1);
    Ok(())
}
