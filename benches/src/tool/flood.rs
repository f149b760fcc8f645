//! The frame generator: one packet socket, `sendmmsg`, so that the tool is not the bottleneck.

use std::time::{Duration, Instant};

use anyhow::{anyhow, Context, Result};
use clap::Args;
use rvs_netdev::rtnl::Rtnl;
use rvs_netdev::{packet, PacketConfig, Transmit, TxScratch};
use rvs_packet::{FramePool, MacAddr};

use super::{DISCARD, PORTS};

/// Octets of a frame without FCS: a 64-octet frame on the wire.
const LEN: usize = 60;
/// Frames handed over in one system call, unless a rate spreads them.
const BURST: u64 = 64;

/// Frames are UDP from 10.0.0.1 to 10.0.0.2 without checksum; flow n has the source port 10,000 + n % 50,000, and flows from
/// 50,000 on have source addresses of their own.
#[derive(Args, Debug)]
pub struct FloodArgs {
    pub device: String,
    /// MAC address that the frames go to.
    pub to: String,
    pub millis: u64,
    #[arg(long, default_value_t = 1)]
    pub flows: u64,
    /// Frames a second; 0 is as fast as it goes.
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// Tag the frames with as many VLANs, from 1 on.
    #[arg(long, default_value_t = 0)]
    pub vlans: u64,
}

/// What differs from frame to frame.
pub fn flow(n: u64) -> ([u8; 4], u16) {
    let port = 10_000 + (n % PORTS) as u16;
    let [.., a, b, c] = ((n / PORTS) as u32).to_be_bytes();
    match n < PORTS {
        true => ([10, 0, 0, 1], port),
        false => ([10, 64 + a, b, c], port),
    }
}

/// Sends; prints how many frames went in how many microseconds.
pub fn run(args: &FloodArgs) -> Result<()> {
    let to: MacAddr = args.to.parse().map_err(|e| anyhow!("{}: {e}", args.to))?;
    let link = Rtnl::open()?
        .link_by_name(&args.device)?
        .with_context(|| format!("no device {}", args.device))?;
    let config = PacketConfig {
        slots: 32,
        ..PacketConfig::default()
    };
    let (_, tx) = packet::open(&link, 0, &config)?;
    let mut frame = template(to, link.mac.unwrap_or_default());
    let (mut pool, mut scratch) = (FramePool::new(), TxScratch::default());
    let mut frames = Vec::new();
    let (start, time) = (Instant::now(), Duration::from_millis(args.millis));
    let mut sent = 0u64;
    loop {
        let elapsed = start.elapsed();
        if elapsed >= time {
            break;
        }
        let burst = match args.rate {
            0 => BURST,
            rate => (elapsed.as_micros() as u64 * rate / 1_000_000)
                .saturating_sub(sent)
                .min(BURST),
        };
        if burst == 0 {
            std::thread::sleep(Duration::from_micros(50));
            continue;
        }
        for _ in 0..burst {
            write_flow(&mut frame, flow(sent % args.flows.max(1)));
            frames.push(tagged(&mut pool, &frame, args.vlans, sent));
            sent += 1;
        }
        tx.transmit(&mut frames, &mut pool, &mut scratch);
    }
    println!("{} {}", tx.stats().tx_packets, start.elapsed().as_micros());
    Ok(())
}

/// A copy to be sent, with a tag if there are VLANs.
fn tagged(pool: &mut FramePool, frame: &[u8; LEN], vlans: u64, n: u64) -> rvs_packet::Frame {
    if vlans == 0 {
        let mut f = pool.take(LEN);
        f.bytes_mut().copy_from_slice(frame);
        return f;
    }
    let mut f = pool.take(LEN + 4);
    let b = f.bytes_mut();
    b[..12].copy_from_slice(&frame[..12]);
    b[12..14].copy_from_slice(&[0x81, 0x00]);
    b[14..16].copy_from_slice(&(1 + (n % vlans) as u16).to_be_bytes());
    b[16..].copy_from_slice(&frame[12..]);
    f
}

/// UDP to 10.0.0.2, port 9 (discard), checksum 0; what [`write_flow`] writes is still missing.
fn template(to: MacAddr, from: MacAddr) -> [u8; LEN] {
    let mut f = [0; LEN];
    f[..6].copy_from_slice(&to.0);
    f[6..12].copy_from_slice(&from.0);
    f[12..14].copy_from_slice(&[0x08, 0x00]);
    let ip_len = (LEN - 14) as u16;
    f[14..24].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17]);
    f[16..18].copy_from_slice(&ip_len.to_be_bytes());
    f[30..34].copy_from_slice(&[10, 0, 0, 2]);
    f[36..38].copy_from_slice(&DISCARD.to_be_bytes());
    f[38..40].copy_from_slice(&(ip_len - 20).to_be_bytes());
    f
}

fn write_flow(f: &mut [u8; LEN], (address, port): ([u8; 4], u16)) {
    f[34..36].copy_from_slice(&port.to_be_bytes());
    if f[26..30] == address {
        return;
    }
    f[26..30].copy_from_slice(&address);
    f[24..26].fill(0);
    let sum: u32 = f[14..34]
        .chunks(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    f[24..26].copy_from_slice(&(!(folded as u16)).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flow_is_one() {
        let flows: std::collections::HashSet<_> = (0..1_000_000).map(flow).collect();
        assert_eq!(flows.len(), 1_000_000);
    }

    #[test]
    fn header_checksum_is_right() {
        let mut f = template(MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        for n in [0, 1, PORTS, 999_999] {
            write_flow(&mut f, flow(n));
            let sum: u32 = f[14..34]
                .chunks(2)
                .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
                .sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        }
    }
}
