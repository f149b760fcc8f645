//! `flood DEV SECONDS [FLOWS [DST_MAC]]` sends 60-octet UDP frames as fast as one thread can, and prints how many went.
use std::error::Error;
use std::time::{Duration, Instant};

use rvs_netdev::rtnl::Rtnl;
use rvs_netdev::{packet, PacketConfig, Transmit, TxScratch};
use rvs_packet::FramePool;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dev, seconds, rest @ ..] = &args[..] else {
        return Err("usage: flood DEV SECONDS [FLOWS [DST_MAC]]".into());
    };
    let flows: u64 = rest.first().map_or(Ok(1), |s| s.parse())?;
    let mut template = frame();
    if let Some(mac) = rest.get(1) {
        for (to, octet) in template.iter_mut().zip(mac.split(':')) {
            *to = u8::from_str_radix(octet, 16)?;
        }
    }
    let device = Rtnl::open()?.link_by_name(dev)?.ok_or("no such device")?;
    let config = PacketConfig {
        slots: 32,
        ..PacketConfig::default()
    };
    let (_, tx) = packet::open(&device, 0, &config)?;
    let (mut pool, mut scratch, mut frames) = (FramePool::new(), TxScratch::default(), Vec::new());
    let (start, time) = (Instant::now(), Duration::from_secs(seconds.parse()?));
    let mut n = 0u64;
    while start.elapsed() < time {
        for _ in 0..64 {
            let port = (10_000 + n % flows) as u16;
            template[34..36].copy_from_slice(&port.to_be_bytes());
            let mut f = pool.take(template.len());
            f.bytes_mut().copy_from_slice(&template);
            frames.push(f);
            n += 1;
        }
        tx.transmit(&mut frames, &mut pool, &mut scratch);
    }
    let s = tx.stats();
    println!(
        "sent {} k/s, lost {}",
        s.tx_packets / start.elapsed().as_millis() as u64,
        s.tx_lost()
    );
    Ok(())
}

/// UDP from 10.1.0.1:10000 to 10.1.0.99:9, a host that is not there; without UDP checksum.
fn frame() -> [u8; 60] {
    let mut f = [0; 60];
    f[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    f[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    f[12..14].copy_from_slice(&[8, 0]);
    f[14..34].copy_from_slice(&[
        0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 1, 10, 1, 0, 99,
    ]);
    let sum: u32 = f[14..34]
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    f[24..26].copy_from_slice(&sum.to_be_bytes());
    f[36..38].copy_from_slice(&9u16.to_be_bytes());
    f[38..40].copy_from_slice(&26u16.to_be_bytes());
    f
}
