//! Random and hostile frames through the whole switch, each held against the naive interpreter.

use rvs_flow::testing::{mutated_frame, Entropy};
use rvs_testkit::fuzz::switch_of_all_modes;
use rvs_testkit::seed;

/// A hundred thousand frames; a million with `RVS_CASES=10`.
#[test]
fn hostile_frames_go_where_the_interpreter_says() {
    let seed = seed::seed(0x5eed_f00d);
    let mut e = Entropy::seed(seed);
    let mut s = switch_of_all_modes();
    let n = seed::cases(100_000);
    for i in 0..n {
        let port = format!("p{}", 1 + e.below(5));
        let frame = mutated_frame(&mut e);
        s.judge(&port, &frame);
        if i % 5000 == 0 {
            s.assert_converged();
            s.advance(std::time::Duration::from_millis(300));
            s.sent_all();
        }
    }
    s.assert_converged();
    let c = s.counters();
    assert_eq!(c.get("rx_packets"), n as u64, "seed {seed:#x}");
    assert_eq!(c.get("drop_poison"), 0);
    assert_eq!(c.get("waiting"), 0);
    // The frames are hostile enough to matter, and alike enough that the caches answer.
    for name in [
        "malformed_l2",
        "malformed_l3",
        "malformed_l4",
        "malformed_vlan",
        "emc_hits",
        "megaflow_hits",
    ] {
        assert!(c.get(name) > 0, "{name}");
    }
}
