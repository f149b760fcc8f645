//! Curves: how figures grow with flows, masks, ports and VLANs.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::Result;
use rvs_flow::OfPort;
use rvs_openflow::message::FlowCommand;
use rvs_openflow::Action;

use crate::contender::{Kind, Running, RED};
use crate::lab::{output, own, sh};
use crate::measure::{frames, Figure, Pace};
use crate::ofclient::{flow_mod, Controller};

/// Flow-mods between two barriers of a load.
const STRIDE: u64 = 10_000;

/// A curve: what grows, through which values, who can take it, and what is measured at each.
pub struct Curve {
    pub name: &'static str,
    /// What the horizontal axis counts.
    pub of: &'static str,
    pub points: &'static [u64],
    pub able: fn(Kind) -> bool,
    pub figures: Vec<Figure>,
    pub run: fn(&mut Running, Pace, u64) -> Result<Vec<f64>>,
}

pub fn curves() -> Vec<Curve> {
    let frames = |key: &str| {
        [
            Figure::more(&format!("{key}_kfps"), "64-octet frames", "thousands/s"),
            Figure::less(
                &format!("{key}_cpu"),
                "processor time of the machine",
                "s/million",
            ),
        ]
    };
    let with = |key: &str, other: Figure| [&frames(key)[..], &[other]].concat();
    vec![
        Curve {
            name: "flows",
            of: "OpenFlow flows, one frame of each in turn",
            points: &[1, 10, 100, 1000, 10_000, 100_000, 1_000_000],
            able: Kind::is_open,
            figures: with(
                "growth_flows",
                Figure::less("growth_flows_mib", "memory", "MiB"),
            ),
            run: flows,
        },
        Curve {
            name: "masks",
            of: "flows that each look at other bits",
            points: &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
            able: Kind::is_open,
            figures: frames("growth_masks").to_vec(),
            run: masks,
        },
        Curve {
            name: "ports",
            of: "ports of the bridge",
            points: &[2, 10, 50, 100, 200, 500],
            able: |k| k != Kind::Veth,
            figures: with(
                "growth_ports",
                Figure::less("growth_ports_ms", "adding one of the last", "ms"),
            ),
            run: ports,
        },
        Curve {
            name: "VLANs",
            of: "VLANs, one frame of each in turn",
            points: &[1, 16, 256, 1024, 4094],
            able: |_| true,
            figures: frames("growth_vlans").to_vec(),
            run: vlans,
        },
    ]
}

/// Frames after a second of the same frames.
fn warm_flood(pace: Pace, options: &str) -> Result<Vec<f64>> {
    sh(&format!(
        "{} > /dev/null",
        frames::flood_line(1000, options)?
    ))?;
    frames::flood(pace, options)
}

/// A table of as many flows under one mask, each hit in turn.
fn flows(r: &mut Running, pace: Pace, n: u64) -> Result<Vec<f64>> {
    let mut c = Controller::connect(&r.openflow())?;
    // Everything, the first NORMAL flow too.
    c.put(&flow_mod(FlowCommand::Delete, 0, "", Vec::new())?)?;
    for i in 0..n {
        let ([a, b, d, e], port) = crate::tool::flow(i);
        let matching = format!("udp,nw_src={a}.{b}.{d}.{e},tp_src={port}");
        let actions = vec![Action::output(OfPort(u32::from(RED) + 1))];
        c.put(&flow_mod(FlowCommand::Add, 100, &matching, actions)?)?;
        if i % STRIDE == STRIDE - 1 {
            c.barrier()?;
        }
    }
    c.barrier()?;
    let mut all = warm_flood(pace, &format!("--flows {n}"))?;
    all.push(r.resident() as f64 / 1_048_576.0);
    Ok(all)
}

/// As many flows, each of which moves other bits of the addresses into registers: the cache has to tell these bits apart.
fn masks(r: &mut Running, pace: Pace, n: u64) -> Result<Vec<f64>> {
    let mut text = String::from("delete udp\n");
    for i in 0..n {
        let (_, port) = crate::tool::flow(i);
        let (src, dst) = (i % 32, i / 32);
        let _ = writeln!(
            text,
            "add priority=100,udp,tp_src={port},actions=move:NXM_OF_IP_SRC[0..{src}]->NXM_NX_REG0[0..{src}],\
             move:NXM_OF_IP_DST[0..{dst}]->NXM_NX_REG1[0..{dst}],output:{}",
            RED + 1
        );
    }
    let file = r.dir().join("masks.txt");
    std::fs::write(&file, text)?;
    sh(&format!(
        "ovs-ofctl --timeout=30 add-flows unix:{} {}",
        r.openflow().display(),
        file.display()
    ))?;
    warm_flood(pace, &format!("--flows {n}"))
}

/// As many ports, all but two of them silent.
fn ports(r: &mut Running, pace: Pace, n: u64) -> Result<Vec<f64>> {
    let there: u64 = output("ip -o link show type veth | grep -c ' p[0-9]*@' || true")?
        .trim()
        .parse()?;
    let new: Vec<u64> = (there + 2..n).collect();
    let mut took = 0.0;
    if !new.is_empty() {
        let mut links = String::new();
        for i in &new {
            let _ = writeln!(
                links,
                "link add p{i} type veth peer name q{i}\nlink set p{i} up\nlink set q{i} up"
            );
        }
        let file = r.dir().join("links.txt");
        std::fs::write(&file, links)?;
        sh(&format!("ip -batch {}", file.display()))?;
        let (last, first) = new.split_last().map_or((0, &[][..]), |(l, f)| (*l, f));
        if !first.is_empty() {
            let add: Vec<String> = first.iter().map(|i| r.add_port(&format!("p{i}"))).collect();
            sh(&add.join(" && "))?;
        }
        let line = r.add_port(&format!("p{last}"));
        let start = Instant::now();
        sh(&line)?;
        took = start.elapsed().as_secs_f64() * 1e3;
    }
    let mut all = warm_flood(pace, "--flows 256")?;
    all.push(took);
    Ok(all)
}

/// Tagged frames of as many VLANs, to a host that is known in each.
fn vlans(_: &mut Running, pace: Pace, n: u64) -> Result<Vec<f64>> {
    let red = output("ip netns exec red cat /sys/class/net/e-red/address")?;
    let known = own(
        "green",
        &format!(
            "tool flood e-green {} 500 --vlans {n} > /dev/null",
            red.trim()
        ),
    )?;
    sh(&known)?;
    warm_flood(pace, &format!("--vlans {n}"))
}
