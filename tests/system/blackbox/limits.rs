//! What depends on time: meters and timeouts.

use std::time::Duration;

use rvs_tests::{Lab, Under};

use super::{switch_tests, Bench};

const FRAME: &str = "I4/UDP(sport=7,dport=9)/(b'x'*958)";
/// Octets of that frame.
const OCTETS: f64 = 1000.0;

/// What a meter lets through of a flood, against its rate and burst.
fn metered(
    bench: &mut Bench<'_>,
    meter: &str,
    rate: u32,
    seconds: f64,
    allowed: impl Fn(f64) -> (f64, f64),
) {
    bench.peer.ofctl("13", "del-meters BR");
    bench.peer.ofctl("13", &format!("add-meter BR '{meter}'"));
    bench
        .install("13", &["priority=7,ip,actions=meter:1,output:2".to_owned()])
        .unwrap();
    let flood = bench.wires.flood(1, rate, seconds, &[FRAME]);
    let (low, high) = allowed(flood.took());
    let got = flood.frames(2) as f64;
    if got < low || got > high {
        bench.fail(format!(
            "{meter}: {got} of {} frames in {:.2} s, {low:.0} to {high:.0} expected",
            flood.sent(),
            flood.took()
        ));
    }
    let dropped = flood.sent() - flood.frames(2);
    let stats = || bench.peer.ofctl("13", "meter-stats BR meter=1");
    let counted = |text: &str| {
        text.contains(&format!("packet_in_count:{} ", flood.sent()))
            && text.contains(&format!("0: packet_count:{dropped} "))
    };
    let started = std::time::Instant::now();
    while !counted(&stats()) {
        if started.elapsed() > Duration::from_secs(10) {
            let text = stats();
            bench.fail(format!(
                "{meter}: {} sent, {dropped} dropped, counted {text}",
                flood.sent()
            ));
            return;
        }
    }
}

/// Drop by packets and by octets, within 5 % over three seconds; what is remarked passes whole.
pub fn meters(lab: &Lab) {
    let mut bench = Bench::new(lab);
    metered(
        &mut bench,
        "meter=1 pktps burst band=type=drop rate=200 burst_size=20",
        600,
        3.0,
        |t| (0.95 * 200.0 * t, 1.05 * (200.0 * t + 20.0)),
    );
    metered(
        &mut bench,
        "meter=1 kbps burst band=type=drop rate=1600 burst_size=80",
        600,
        3.0,
        |t| {
            (
                0.95 * 200.0 * t,
                1.05 * (200.0 * t + 80.0 * 1000.0 / 8.0 / OCTETS),
            )
        },
    );
    if bench.peer.under == Under::Rvswitch {
        remark(&mut bench);
    }
    bench.verdict();
}

/// DSCP remarking lowers the class of what is above the rate: AF11 (drop precedence 1) becomes AF12. (Open vSwitch lacks it.)
fn remark(bench: &mut Bench<'_>) {
    bench.peer.ofctl("13", "del-meters BR");
    bench.peer.ofctl(
        "13",
        "add-meter BR 'meter=1 pktps burst band=type=dscp_remark rate=200 burst_size=20 prec_level=1'",
    );
    bench
        .install("13", &["priority=7,ip,actions=meter:1,output:2".to_owned()])
        .unwrap();
    let flood = bench.wires.flood(
        1,
        600,
        2.0,
        &["E/IP(src='10.0.0.1',dst='10.0.0.2',tos=0x28)/UDP()/(b'x'*20)"],
    );
    let tos = |kind: &str| u8::from_str_radix(&kind[30..32], 16).unwrap();
    let mut by_tos = std::collections::BTreeMap::new();
    for (kind, count) in flood.kinds(2) {
        *by_tos.entry(tos(&kind)).or_insert(0u64) += count;
    }
    let kept = by_tos.get(&0x28).copied().unwrap_or(0) as f64;
    let remarked = by_tos.get(&0x30).copied().unwrap_or(0);
    let allowed = 200.0 * flood.took();
    if flood.frames(2) != flood.sent()
        || kept < 0.95 * allowed
        || kept > 1.05 * (allowed + 20.0)
        || kept as u64 + remarked != flood.sent()
    {
        bench.fail(format!(
            "dscp_remark: {} sent, by type of service {by_tos:x?}",
            flood.sent()
        ));
    }
}

/// Those of OS-Ken's meter tests that fit into the time: drop, at rates that Python can send; 2 seconds each after one that is not
/// counted. (Remarking and groups are judged by tests of their own.)
pub fn meters_of_os_ken(lab: &Lab) {
    switch_tests(
        lab,
        "of13",
        "--meters 2 --only 01_DROP_01_PKTPS_01 --only 01_DROP_00_KBPS_00",
    );
}

/// Idle and hard timeouts, with and without traffic in the cache, and the messages that tell of them.
pub fn timeouts(lab: &Lab) {
    let mut bench = Bench::new(lab);
    let line = bench.peer.ofctl_line("13", "monitor BR 65535");
    let monitor = lab.spawn("monitor", &line.replace("--timeout=15", "--timeout=60"));
    let reads = || monitor.err() + &monitor.out();
    std::thread::sleep(Duration::from_millis(300));
    let flows = [
        "priority=1,udp,tp_dst=1,idle_timeout=1,send_flow_rem,cookie=0x11,actions=output:2".to_owned(),
        "priority=2,udp,tp_dst=2,hard_timeout=2,send_flow_rem,cookie=0x22,actions=output:2".to_owned(),
        "priority=3,udp,tp_dst=3,idle_timeout=2,hard_timeout=4,send_flow_rem,cookie=0x33,actions=output:2".to_owned(),
        "priority=4,udp,tp_dst=4,idle_timeout=1,cookie=0x44,actions=output:2".to_owned(),
    ];
    let started = std::time::Instant::now();
    bench.install("13", &flows).unwrap();
    // Three packets a second for 3 s keep the third flow alive by cached traffic; its hard timeout ends it.
    let keeps = bench
        .wires
        .flood(1, 10, 3.0, &["I4/UDP(sport=7,dport=3)/'data'"]);
    assert_eq!(
        keeps.frames(2),
        30,
        "the flow with an idle timeout of 2 s is gone"
    );
    let dump = bench.peer.ofctl("13", "dump-flows BR");
    assert!(dump.contains("cookie=0x33"), "{dump}");
    for gone in ["cookie=0x11", "cookie=0x22", "cookie=0x44"] {
        assert!(!dump.contains(gone), "{gone} after 3 s:\n{dump}");
    }
    rvs_tests::eventually("three flows are said to be removed", || {
        reads().matches("OFPT_FLOW_REMOVED").count() >= 3
    });
    let took = started.elapsed().as_secs_f64();
    assert!(
        (4.0..6.0).contains(&took),
        "the hard timeout of 4 s after {took} s"
    );
    let text = reads();
    let line = |cookie: &str| {
        text.lines()
            .find(|l| l.contains(cookie))
            .unwrap_or_default()
            .to_owned()
    };
    for (cookie, says) in [
        (
            "cookie:0x11",
            ["priority=1,udp,tp_dst=1", "reason=idle", "idle1", "pkts0"],
        ),
        (
            "cookie:0x22",
            ["priority=2,udp,tp_dst=2", "reason=hard", "hard2", "pkts0"],
        ),
        (
            "cookie:0x33",
            ["priority=3,udp,tp_dst=3", "reason=hard", "hard4", "pkts30"],
        ),
    ] {
        for word in says {
            assert!(
                line(cookie).contains(word),
                "no {word} in what is told of {cookie}:\n{text}"
            );
        }
    }
    assert!(!text.contains("cookie:0x44"), "{text}");
    // Deleted by a command: told too.
    bench
        .install(
            "13",
            &["udp,send_flow_rem,cookie=0x55,actions=drop".to_owned()],
        )
        .unwrap();
    bench.peer.ofctl("13", "del-flows BR");
    rvs_tests::eventually("a deleted flow is told of", || {
        reads()
            .lines()
            .any(|l| l.contains("cookie:0x55") && l.contains("reason=delete"))
    });
    bench.verdict();
}
