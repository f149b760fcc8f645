//! How long a thread waits that frees what another has allocated, while that memory is given back to the system: prints the
//! longest wait of one free, with and without. `cargo run --release -p rvs-netdev --example giving_back -- MIB`

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// About what a flow takes; and more than a thread keeps for itself when it is freed.
const SMALL: usize = 600;
const LARGE: usize = 2100;

fn main() {
    let mib = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let pieces = mib.unwrap_or(32_usize) * 1024 * 1024 / SMALL;
    for gives in [false, true] {
        // Of what is left each piece keeps its page.
        let mut left: Vec<Vec<u8>> = (0..pieces).map(|_| vec![1; SMALL]).collect();
        let shared: Vec<Vec<u8>> = (0..50_000).map(|_| vec![1; LARGE]).collect();
        let mut at = 0;
        left.retain(|_| {
            at += 1;
            at % 97 == 0
        });
        let over = AtomicBool::new(false);
        let (took, longest) = std::thread::scope(|scope| {
            let worker = scope.spawn(|| frees(shared, &over));
            std::thread::sleep(Duration::from_millis(20));
            let start = Instant::now();
            match gives {
                true => rvs_netdev::give_back_memory(),
                false => std::thread::sleep(Duration::from_millis(100)),
            }
            let took = start.elapsed();
            over.store(true, Ordering::Relaxed);
            (took, worker.join().unwrap_or_default())
        });
        println!("given back: {gives}; took {took:?}, the longest free {longest:?}");
    }
}

/// Frees one about every ten microseconds until told; the longest time of one.
fn frees(mut all: Vec<Vec<u8>>, over: &AtomicBool) -> Duration {
    let mut longest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        let start = Instant::now();
        if all.pop().is_none() {
            break;
        }
        longest = longest.max(start.elapsed());
        while start.elapsed() < Duration::from_micros(10) {
            std::hint::spin_loop();
        }
    }
    longest
}
