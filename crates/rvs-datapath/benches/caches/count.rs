//! Figures that do not drown in noise: allocations, and instructions by callgrind.

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator with the arguments that came in.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `alloc` above, that is from the system's allocator.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this process so far.
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Runs the named cases in valgrind, one process each, and prints the instructions of a frame. `counted` is the function
/// whose instructions count; it handles `frames` frames.
pub fn instructions(cases: &[String], counted: &str, frames: u64) {
    let own = std::env::current_exe().unwrap();
    for case in cases {
        let out = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(format!("--toggle-collect=*{counted}*"))
            .arg(&own)
            .args(["--count", case])
            .output();
        let Ok(out) = out else {
            println!("valgrind is not here (apt-get install valgrind)");
            return;
        };
        let said = String::from_utf8_lossy(&out.stderr);
        let collected = said
            .lines()
            .find_map(|l| l.split_once("Collected : ")?.1.trim().parse::<u64>().ok());
        match collected {
            Some(n) => println!(
                "{case:<40} {:>8.1} instructions/frame",
                n as f64 / frames as f64
            ),
            None => println!(
                "{case:<40} FAILED: {}",
                said.lines().last().unwrap_or_default()
            ),
        }
    }
}
