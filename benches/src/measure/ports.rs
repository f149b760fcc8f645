//! A thousand ports come and go, by the stock client: all in one transaction, and one more beside nearly as many.

use std::time::Instant;

use anyhow::Result;

use super::{no_openflow, Figure, Test};
use crate::contender::Running;
use crate::lab::sh;

const PORTS: u32 = 1000;
/// Of them, those that come one command each.
const SAMPLE: u32 = 50;
/// Seconds that one command may take.
const PATIENCE: u32 = 60;

pub fn tests() -> Vec<Test> {
    let figures = vec![
        Figure::less(
            "ports_add_ms",
            "1,000 ports added in one transaction of ovs-vsctl",
            "ms",
        ),
        Figure::less(
            "ports_one_ms",
            "one more beside 950 by a command of its own, mean of 50",
            "ms",
        ),
        Figure::less(
            "ports_remove_ms",
            "1,000 ports removed in one transaction",
            "ms",
        ),
    ];
    vec![Test::new("many ports", figures, |r, _| many(r))
        .unless(no_openflow)
        .thorough()]
}

/// Ends of veth pairs, up and without addresses, so that nobody announces any.
struct Devices;

impl Devices {
    fn make() -> Result<Self> {
        let devices = Self;
        sh(&format!(
            "for n in $(seq {PORTS}); do \
               echo link add m$n type veth peer name n$n; \
               echo link set m$n addrgenmode none; echo link set n$n addrgenmode none; \
           echo link set m$n up; echo link set n$n up; \
             done | ip -batch -"
        ))?;
        Ok(devices)
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        // What was not made is no fault.
        let _ = sh(&format!(
            "for n in $(seq {PORTS}); do echo link del m$n; done | ip -force -batch - 2>/dev/null; true"
        ));
    }
}

fn many(r: &mut Running) -> Result<Vec<f64>> {
    let socket = r.dir().join("db.sock");
    let vsctl = format!(
        "ovs-vsctl --timeout={PATIENCE} --db=unix:{}",
        socket.display()
    );
    let _devices = Devices::make()?;
    let all = |command: &str| {
        let each = (1..=PORTS).map(|n| format!(" -- {command} m{n}"));
        each.fold(vsctl.clone(), |line, words| line + &words)
    };
    let took = |line: &str| -> Result<f64> {
        let start = Instant::now();
        sh(line)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    let added = took(&all("add-port br0"))?;
    let sample = PORTS - SAMPLE + 1..=PORTS;
    for n in sample.clone() {
        sh(&format!("{vsctl} del-port m{n}"))?;
    }
    let mut one_by_one = 0.0;
    for n in sample {
        one_by_one += took(&format!("{vsctl} add-port br0 m{n}"))?;
    }
    let removed = took(&all("del-port"))?;
    Ok(vec![added, one_by_one / f64::from(SAMPLE), removed])
}
