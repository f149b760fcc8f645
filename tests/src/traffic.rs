//! Real traffic between the namespaces of a test, and what is seen of it on a device.

use std::time::Duration;

use serde_json::Value;

use crate::lab::{eventually, Background, Lab};

impl Lab {
    /// Waits until a host answers pings.
    pub fn ping(&self, from: &str, to: &str) {
        eventually(&format!("{to} answers {from}"), || {
            self.try_sh_in(from, &format!("ping -q -n -c 1 -W 1 {to}"))
                .code
                == 0
        });
    }

    /// A host must not answer, not even to several pings.
    pub fn no_ping(&self, from: &str, to: &str) {
        let ran = self.try_sh_in(from, &format!("ping -q -n -c 3 -i 0.2 -W 1 {to}"));
        assert!(
            ran.out.contains(" 0 received"),
            "{to} answers {from}: {}",
            ran.out
        );
    }

    /// Pings of full-size frames, or larger than the MTU.
    pub fn ping_size(&self, from: &str, to: &str, octets: u32) {
        let out = self.sh_in(from, &format!("ping -q -n -c 3 -i 0.2 -s {octets} {to}"));
        assert!(out.contains(" 3 received"), "{out}");
    }

    /// Measures with iperf3 from one namespace to another for some seconds; its JSON report.
    pub fn iperf(&self, from: &str, to: &str, address: &str, arguments: &str) -> Value {
        let _server = self.spawn(
            &format!("iperf-{to}"),
            &format!("ip netns exec {to} iperf3 -s -1"),
        );
        eventually("iperf3 listens", || {
            self.try_sh_in(to, "ss -H -l -t -n sport = 5201")
                .out
                .contains("5201")
        });
        // What iperf3 could not do it tells in its report.
        let text = self.sh_in(from, &format!("iperf3 -J -c {address} {arguments}"));
        let report: Value = serde_json::from_str(&text).unwrap();
        assert!(report["error"].is_null(), "iperf3: {}", report["error"]);
        report
    }

    /// TCP throughput in Mbit/s, as received: the best of three, since others are at work; one that is plenty will do.
    pub fn tcp(&self, from: &str, to: &str, address: &str) -> f64 {
        best_of_three(500.0, || self.tcp_once(from, to, address))
    }

    /// TCP throughput in Mbit/s, as received.
    pub fn tcp_once(&self, from: &str, to: &str, address: &str) -> f64 {
        let report = self.iperf(from, to, address, "-t 1");
        report["end"]["sum_received"]["bits_per_second"]
            .as_f64()
            .unwrap()
            / 1e6
    }

    /// Share of UDP datagrams that arrived, sent at this rate: the best of three.
    pub fn udp(&self, from: &str, to: &str, address: &str, rate: &str) -> f64 {
        best_of_three(0.98, || self.udp_once(from, to, address, rate))
    }

    fn udp_once(&self, from: &str, to: &str, address: &str, rate: &str) -> f64 {
        let report = self.iperf(from, to, address, &format!("-u -b {rate} -t 1"));
        let sum = &report["end"]["sum"];
        let (sent, lost) = (
            sum["packets"].as_f64().unwrap(),
            sum["lost_packets"].as_f64().unwrap(),
        );
        assert!(sent > 0.0);
        1.0 - lost / sent
    }

    /// Captures what a device of a named namespace (or, with an empty name, of the test's own) sends and receives.
    pub fn capture(&self, ns: &str, device: &str, filter: &str) -> Capture {
        let within = if ns.is_empty() {
            String::new()
        } else {
            format!("ip netns exec {ns} ")
        };
        let program = format!("{within}tcpdump -l -e -n --immediate-mode -i {device} {filter}");
        let process = self.spawn(&format!("capture-{ns}-{device}"), &program);
        eventually("tcpdump listens", || process.err().contains("listening on"));
        Capture { process }
    }
}

fn best_of_three(enough: f64, mut measure: impl FnMut() -> f64) -> f64 {
    let mut best = 0.0_f64;
    for _ in 0..3 {
        best = best.max(measure());
        if best > enough {
            break;
        }
    }
    best
}

/// A running tcpdump.
pub struct Capture {
    process: Background,
}

impl Capture {
    /// The frames seen so far, a line each with link-layer headers.
    pub fn lines(&self) -> Vec<String> {
        self.process.out().lines().map(str::to_owned).collect()
    }

    pub fn count(&self, what: &str) -> usize {
        self.lines().iter().filter(|l| l.contains(what)).count()
    }

    /// Waits until no more frames are seen.
    pub fn ends(&self, why: &str) {
        eventually(why, || {
            let before = self.lines().len();
            std::thread::sleep(Duration::from_millis(700));
            self.lines().len() == before
        });
    }

    /// Waits until a frame is seen whose line has all these words.
    pub fn sees(&self, words: &[&str]) {
        eventually(&format!("a frame with {words:?}"), || {
            self.lines()
                .iter()
                .any(|l| words.iter().all(|w| l.contains(w)))
        });
    }
}
