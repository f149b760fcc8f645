//! The fuzz targets, from a seed and over the corpus. `tests/fuzz/short` runs them for longer.

use std::path::Path;
use std::time::{Duration, Instant};

use rvs_flow::testing::Entropy;
use rvs_testkit::fuzz::{input, TARGETS};
use rvs_testkit::seed;

/// Seconds for all targets together: `RVS_FUZZ_SECONDS`, else enough to see that they run.
fn budget() -> Duration {
    let seconds = std::env::var("RVS_FUZZ_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|s| s.parse().ok()).unwrap_or(2))
}

#[test]
fn targets_from_a_seed() {
    let seed = seed::seed(0xf022_f022);
    let each = budget() / TARGETS.len() as u32;
    for (name, target) in TARGETS {
        let started = Instant::now();
        let mut n = 0u64;
        while started.elapsed() < each {
            let run = seed.wrapping_add(n);
            let bytes = input(name, &mut Entropy::seed(run));
            let result = std::panic::catch_unwind(|| target(&bytes));
            assert!(result.is_ok(), "{name}: repeat with RVS_SEED={run:#x}");
            n += 1;
        }
        println!("{name}: {n} inputs from seed {seed:#x}");
    }
}

#[test]
fn targets_over_the_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut seen = 0;
    for (name, target) in TARGETS {
        let Ok(files) = std::fs::read_dir(corpus.join(name)) else {
            continue;
        };
        for file in files {
            let path = file.unwrap().path();
            println!("{}", path.display());
            target(&std::fs::read(&path).unwrap());
            seen += 1;
        }
    }
    assert!(seen > 0, "the corpus is there");
}

/// A SNAP header that says that a tag follows: none can, and the frame is dropped as one that ends inside its tag is.
#[test]
fn a_tag_behind_a_snap_header_is_none() {
    let (_, target) = TARGETS.iter().find(|(n, _)| *n == "switch_frames").unwrap();
    for port in 0..5 {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 4, 0, 53];
        frame.extend([0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0, 0x45, 0x28]);
        frame.resize(67, 0x5a);
        let mut row = vec![port, 0, 67];
        row.extend(frame);
        target(&row);
    }
}
