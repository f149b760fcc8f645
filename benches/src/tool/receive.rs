//! Counts what arrives of a flood at a UDP socket, and finds the longest pause.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result};

use super::DISCARD;
use crate::clock::micros;

/// Listens for so long; prints `COUNT PAUSE_FROM PAUSE_TO` (microseconds of the monotonic clock; 0 0 if fewer than two came).
pub fn run(millis: u64) -> Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", DISCARD)).context("UDP port 9")?;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(16 << 20))?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let end = micros() + millis * 1000;
    let (mut count, mut last, mut pause) = (0u64, None::<u64>, (0, 0));
    let mut octets = [0; 64];
    loop {
        let got = socket.recv(&mut octets);
        let now = micros();
        match got {
            Ok(_) => {
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
    println!("{count} {} {}", pause.0, pause.1);
    Ok(())
}
