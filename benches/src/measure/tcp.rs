//! TCP through the switch: bulk by the stock iperf3, and new connections.

use anyhow::{Context, Result};
use serde_json::Value;

use super::rest::busy_seconds;
use super::{Figure, Pace, Test};
use crate::contender::Running;
use crate::lab::{output, own, sh, wait_until, Process, Tagged};
use crate::tool::ANSWER;

/// Every combination of streams, IP version and tag.
pub fn tests() -> Vec<Test> {
    let kinds = [("v4", false), ("v6", false), ("v4", true), ("v6", true)];
    let of = |(family, tagged)| [1, 8].map(|n| test(family, tagged, n));
    kinds.into_iter().flat_map(of).collect()
}

fn test(family: &str, tagged: bool, streams: u32) -> Test {
    let (many, tag, end) = match (streams, tagged) {
        (1, false) => ("", "", ""),
        (1, true) => ("", ", tagged", "_tagged"),
        (_, false) => ("s", "", ""),
        (_, true) => ("s", ", tagged", "_tagged"),
    };
    let name = format!("TCP, {streams} stream{many}, IP{family}{tag}");
    let key = format!("tcp_{streams}_{family}{end}");
    let cpu = format!("{name}: processor time of the machine");
    let figures = vec![
        Figure::more(&format!("{key}_gbps"), &name, "Gbit/s"),
        Figure::less(&format!("{key}_cpu"), &cpu, "s/Gbit"),
    ];
    let v6 = family == "v6";
    let test = Test::new(&name, figures, move |r, p| match (tagged, v6) {
        (true, _) => {
            let vlan = Tagged::hosts(r.dir())?;
            bulk(r, p, &vlan.address(v6, 2), streams)
        }
        (false, false) => bulk(r, p, "10.0.0.2", streams),
        (false, true) => bulk(r, p, "fd00::2", streams),
    });
    // One of each kind is enough for a quick look.
    match (streams, family, tagged) {
        (_, "v4", false) => test,
        _ => test.thorough(),
    }
}

/// Gigabits per second as received, and processor seconds for each gigabit.
fn bulk(r: &mut Running, pace: Pace, to: &str, streams: u32) -> Result<Vec<f64>> {
    r.carries(to)?;
    // Ended with this function, also when the client has failed.
    let _server = Process::line(r.dir(), "iperf3", "ip netns exec green iperf3 -s -1")?;
    wait_until("start of iperf3", || {
        sh("ip netns exec green ss -Hltn 'sport = :5201' | grep -q .").is_ok()
    })?;
    let busy = busy_seconds()?;
    let text = output(&format!(
        "timeout {} ip netns exec red iperf3 -J --connect-timeout 2000 -c {to} -t {} -P {streams}",
        pace.seconds + 4,
        pace.seconds
    ))
    .context("iperf3 did not get through")?;
    let busy = busy_seconds()? - busy;
    let json: Value = serde_json::from_str(&text)?;
    let sum = &json["end"]["sum_received"];
    let rate = sum["bits_per_second"]
        .as_f64()
        .context("iperf3 gave no figure")?;
    let bits = sum["bytes"].as_f64().unwrap_or(0.0) * 8.0;
    Ok(vec![rate / 1e9, busy / (bits / 1e9)])
}

/// One client, one connection after the other.
pub fn connections() -> Test {
    let figures = vec![Figure::more(
        "connections",
        "TCP connections, one after the other",
        "1/s",
    )];
    Test::new("TCP connections", figures, |r, pace| {
        r.carries("10.0.0.2")?;
        let line = own(
            "red",
            &format!("tool connect 10.0.0.2:{ANSWER} {}", pace.millis()),
        )?;
        let text = output(&format!("timeout {} {line}", pace.seconds + 4))?;
        let (rate, failed) = text.trim().split_once(' ').context("no figure")?;
        anyhow::ensure!(failed == "0", "{failed} connections failed");
        Ok(vec![rate.parse()?])
    })
}

/// One stream through a VXLAN between the hosts: super-frames within UDP.
pub fn vxlan() -> Test {
    let figures = vec![
        Figure::more("vxlan_gbps", "TCP in VXLAN between the hosts", "Gbit/s"),
        Figure::less(
            "vxlan_cpu",
            "TCP in VXLAN: processor time of the machine",
            "s/Gbit",
        ),
    ];
    Test::new("TCP in VXLAN", figures, |r, pace| {
        for (host, own, other) in [("red", 1, 2), ("green", 2, 1)] {
            sh(&format!(
                "ip -n {host} link add vx type vxlan id 7 remote 10.0.0.{other} dstport 4789 dev e-{host} \
                 && ip -n {host} addr add 10.9.0.{own}/24 dev vx && ip -n {host} link set vx up"
            ))?;
        }
        bulk(r, pace, "10.9.0.2", 1)
    })
}
