//! Figures that do not drown in noise: instructions, by callgrind.

use std::process::Command;

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
