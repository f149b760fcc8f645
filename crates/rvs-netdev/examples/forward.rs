//! A wire between two devices: the least that a switch over packet sockets can cost.
//!
//! `forward DEV DEV [batch [slots [spins]]]` forwards in both directions, with one thread that sleeps in poll, until it is
//! interrupted, and prints its counters every five seconds. Devices are found in the current network namespace.
use std::error::Error;
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use rvs_netdev::rtnl::Rtnl;
use rvs_netdev::{packet, FrameSource, Liveness, PacketConfig, Transmit, TxScratch};
use rvs_packet::FramePool;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [a, b, rest @ ..] = &args[..] else {
        return Err("usage: forward DEV DEV [batch [slots [spins]]]".into());
    };
    let batch: usize = rest.first().map_or(Ok(64), |s| s.parse())?;
    let mut config = PacketConfig::default();
    if let Some(slots) = rest.get(1) {
        config.slots = slots.parse()?;
    }
    let (mut ports, mut rtnl) = (Vec::new(), Rtnl::open()?);
    for (i, name) in [a, b].into_iter().enumerate() {
        let device = rtnl.link_by_name(name)?.ok_or("no such device")?;
        ports.push(packet::open(&device, i as u32, &config)?);
    }
    let (mut pool, mut scratch) = (FramePool::new(), TxScratch::default());
    let (mut received, mut frames) = (Vec::new(), Vec::new());
    // Empty rounds before the thread goes to sleep.
    let spins: u32 = rest.get(2).map_or(Ok(0), |s| s.parse())?;
    let (mut rounds, mut full, mut shown) = (0u64, 0u64, Instant::now());
    loop {
        let events: Vec<PollFlags> = {
            let mut fds: Vec<PollFd> = ports
                .iter()
                .map(|(rx, _)| PollFd::new(rx.fd(), PollFlags::POLLIN))
                .collect();
            poll(&mut fds, PollTimeout::from(5000u16))?;
            fds.iter()
                .map(|f| f.revents().unwrap_or(PollFlags::empty()))
                .collect()
        };
        for (i, events) in events.into_iter().enumerate() {
            if events.contains(PollFlags::POLLERR) && ports[i].0.liveness() == Liveness::Gone {
                return Err(format!("device {i} is gone").into());
            }
        }
        let mut idle = 0;
        while idle <= spins {
            idle += 1;
            for i in 0..ports.len() {
                let n = ports[i].0.recv_batch(&mut pool, &mut received, batch);
                if n > 0 {
                    idle = 0;
                    rounds += 1;
                    full += u64::from(n == batch);
                    frames.extend(received.drain(..).map(|r| r.frame));
                    ports[1 - i]
                        .1
                        .transmit(&mut frames, &mut pool, &mut scratch);
                }
            }
        }
        if shown.elapsed() > Duration::from_secs(5) {
            shown = Instant::now();
            println!("rounds {rounds}, full {full}");
            for (i, (_, tx)) in ports.iter().enumerate() {
                let counters: Vec<_> = tx.stats().named().filter(|(_, n)| *n > 0).collect();
                println!("port {i}: {counters:?}");
            }
        }
    }
}
