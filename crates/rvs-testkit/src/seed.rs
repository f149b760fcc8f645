//! Seeds and sizes of random tests, from the environment.
//!
//! `RVS_SEED` repeats a run, `RVS_CASES` multiplies how much is tried (1 for a commit, more by night).

use rvs_flow::testing::Entropy;

/// The seed of this run: `RVS_SEED`, decimal or `0x` hexadecimal, else the one given.
pub fn seed(default: u64) -> u64 {
    let text = std::env::var("RVS_SEED").unwrap_or_default();
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
    .unwrap_or(default)
}

/// How many cases to try: `base` times `RVS_CASES`.
pub fn cases(base: usize) -> usize {
    let factor = std::env::var("RVS_CASES").ok().and_then(|s| s.parse().ok());
    base * factor.unwrap_or(1).max(1)
}

/// Runs `case` with an entropy of its own for each of `n` cases. A case that panics names the seed that repeats it alone:
/// with `RVS_SEED` set only that case runs.
pub fn for_each_seed(name: &str, n: usize, mut case: impl FnMut(u64, &mut Entropy<'_>)) {
    let fixed = std::env::var_os("RVS_SEED").is_some();
    let first = seed(0x7276_7300_0000_0000);
    let count = if fixed { 1 } else { cases(n) as u64 };
    for s in first..first + count {
        let guard = Failing { name, seed: s };
        case(s, &mut Entropy::seed(s));
        std::mem::forget(guard);
    }
}

/// Says on the way out of a panic how to come back.
struct Failing<'a> {
    name: &'a str,
    seed: u64,
}

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        eprintln!("{}: repeat with RVS_SEED={:#x}", self.name, self.seed);
    }
}
