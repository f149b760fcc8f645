//! The frame generator: one packet socket, `sendmmsg`, so that the tool is not the bottleneck.

use std::time::{Duration, Instant};

use anyhow::{anyhow, Context, Result};
use rvs_netdev::rtnl::Rtnl;
use rvs_netdev::{packet, PacketConfig, Transmit, TxScratch};
use rvs_packet::{FramePool, MacAddr};

/// Octets of a frame without FCS: a 64-octet frame on the wire.
const LEN: usize = 60;
/// Where the UDP source port lies.
const SOURCE_PORT: usize = 34;

/// Sends UDP frames of `flows` source ports from `device` to `to`; prints how many.
pub fn run(device: &str, to: &str, seconds: u64, flows: u16) -> Result<()> {
    let to: MacAddr = to.parse().map_err(|e| anyhow!("{to}: {e}"))?;
    let link = Rtnl::open()?
        .link_by_name(device)?
        .with_context(|| format!("no device {device}"))?;
    let config = PacketConfig {
        slots: 32,
        ..PacketConfig::default()
    };
    let (_, tx) = packet::open(&link, 0, &config)?;
    let template = template(to, link.mac.unwrap_or_default());
    let (mut pool, mut scratch) = (FramePool::new(), TxScratch::default());
    let mut frames = Vec::new();
    let (start, time) = (Instant::now(), Duration::from_secs(seconds));
    let mut sent = 0u64;
    while start.elapsed() < time {
        for _ in 0..64 {
            let mut frame = pool.take(LEN);
            frame.bytes_mut().copy_from_slice(&template);
            let port = 10_000 + (sent % u64::from(flows.max(1))) as u16;
            frame.bytes_mut()[SOURCE_PORT..SOURCE_PORT + 2].copy_from_slice(&port.to_be_bytes());
            frames.push(frame);
            sent += 1;
        }
        tx.transmit(&mut frames, &mut pool, &mut scratch);
    }
    println!("{sent}");
    Ok(())
}

/// UDP 10.0.0.1 to 10.0.0.2, port 9 (discard), checksum 0.
fn template(to: MacAddr, from: MacAddr) -> [u8; LEN] {
    let mut f = [0; LEN];
    f[..6].copy_from_slice(&to.0);
    f[6..12].copy_from_slice(&from.0);
    f[12..14].copy_from_slice(&[0x08, 0x00]);
    let ip_len = (LEN - 14) as u16;
    f[14..24].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17]);
    f[16..18].copy_from_slice(&ip_len.to_be_bytes());
    f[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    let sum: u32 = f[14..34]
        .chunks(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    f[24..26].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    f[36..38].copy_from_slice(&9u16.to_be_bytes());
    f[38..40].copy_from_slice(&(ip_len - 20).to_be_bytes());
    f
}
