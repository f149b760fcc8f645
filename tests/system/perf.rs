//! `rvs-ctl perf` tells where the time goes, for as long as it is asked to.

use rvs_tests::{eventually, Lab};

use crate::hosts::red_and_green;

pub fn where_time_goes(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    // What the kernel forwards takes none of the workers' time.
    switch.ctl("set bridge br1 other_config:kernel-cache=off");
    lab.ping("red", "10.0.0.2");
    let flood = "ip netns exec red ping -q -f -w 100 10.0.0.2";
    let mut pings = lab.spawn("pings", flood);
    let json = switch.json("perf 1");
    assert_eq!(pings.ended(), None, "{}", pings.err());
    let took = json["seconds"].as_f64().unwrap();
    assert!(took > 0.9, "{json}");
    let workers = json["workers"].as_array().unwrap();
    let sum = |key: &str| -> u64 { workers.iter().map(|w| w[key].as_u64().unwrap()).sum() };
    assert!(sum("frames") > 200 && sum("batches") > 100, "{json}");
    for w in workers.iter().filter(|w| w["frames"].as_u64().unwrap() > 0) {
        let stages = w["stages"].as_object().unwrap();
        let ns = |name: &str| stages[name]["ns"].as_u64().unwrap();
        for name in [
            "receive", "extract", "lookup", "execute", "transmit", "other",
        ] {
            assert!(ns(name) > 0, "{name}: {json}");
        }
        let all: u64 = stages.values().map(|s| s["ns"].as_u64().unwrap()).sum();
        assert_eq!(w["busy_ns"].as_u64().unwrap(), all, "{json}");
        // Sending wakes the receiver: it costs more than a look into the caches.
        assert!(ns("transmit") > ns("lookup"), "{json}");
        assert!(
            w["asleep_ns"].as_u64().unwrap() > 0,
            "pings leave time to sleep: {json}"
        );
        let hits = |i: usize| w["tiers"][i]["hits"].as_u64().unwrap();
        assert!(hits(0) + hits(1) > 100, "{json}");
    }
    // A client that asked and went away is in nobody's way.
    let program = rvs_tests::daemon::binary("rvs-ctl");
    let rundir = switch.rundir();
    let client = lab.spawn(
        "gone",
        &format!(
            "{} --rundir {} perf 60",
            program.display(),
            rundir.display()
        ),
    );
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(client);
    let text = switch.ctl("perf");
    for words in [
        "STAGE",
        "receive",
        "NS/FRAME",
        "TIER",
        "exact-match",
        "BATCHES OF",
        "looking at the clock",
        "kernel (tier 0): answered",
    ] {
        assert!(text.contains(words), "no {words}: {text}");
    }
    // What the kernel forwards is timed there.
    switch.ctl("remove bridge br1 other_config kernel-cache");
    eventually("the kernel's share is seen", || {
        let kernel = switch.json("perf 1")["kernel"].clone();
        let ns = kernel["ns_per_frame"].as_f64().unwrap_or(0.0);
        let hits = kernel["hits"].as_u64().unwrap();
        hits > 100 && ns > 10.0
    });
    // New flows go to the slow path, and come back.
    drop(pings);
    switch.ctl("fdb-flush br1");
    let mut upcalls = 0;
    eventually("upcalls are seen", || {
        let _noise = lab.spawn("noise", "bash -c 'sleep 0.3; for i in 1 2 3 4 5 6; do ip -n red neigh flush all; ip netns exec red ping -q -c 1 -W 1 10.0.0.2; done'");
        let json = switch.json("perf 2");
        upcalls = json["upcall_latency_us"].as_array().unwrap().len();
        upcalls > 0
    });
    for wrong in ["perf 0", "perf 61"] {
        let ran = rvs_tests::daemon::ctl(&rundir, wrong);
        assert!(ran.code == 2 && ran.err.contains("1..=60"), "{}", ran.err);
    }
    for (command, why) in [
        ("perf-stop 7", "no such profile"),
        ("perf-start x", "1 to 60 seconds"),
    ] {
        let ran = lab.try_sh(&format!(
            "OVS_RUNDIR={} ovs-appctl -t rvswitchd rvs/{command}",
            rundir.display()
        ));
        assert!(
            ran.code != 0 && ran.err.contains(why),
            "{}{}",
            ran.out,
            ran.err
        );
    }
}
