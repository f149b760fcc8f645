//! What flows cost. `cargo test --release -p rvs-ofproto speed -- --ignored --nocapture` prints it.

use std::time::{Duration, Instant};

use rvs_openflow::message::{FlowCommand, FlowMod};
use rvs_openflow::{Action, FlowMatch, Instructions, TableId};

use super::*;
use crate::testing::matching;

/// Resident octets of the process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Time for which this thread has run, to a few milliseconds.
fn on_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// The n-th of many flows under ten masks.
fn flow(n: u32) -> FlowMod {
    let (a, b, c) = (n >> 16 & 0xff, n >> 8 & 0xff, n & 0xff);
    let text = match n % 10 {
        0 => format!("ip,nw_dst=10.{a}.{b}.{c}"),
        1 => format!("ip,nw_src=11.{a}.{b}.{c},nw_dst=10.0.0.0/8"),
        2 => format!("tcp,nw_dst=12.{a}.{b}.{c},tp_dst=80"),
        3 => format!("in_port=1,dl_dst=02:00:00:{a:02x}:{b:02x}:{c:02x}"),
        4 => format!("udp,nw_src=13.{a}.{b}.{c},tp_src=53"),
        5 => format!("dl_vlan=5,dl_src=02:00:01:{a:02x}:{b:02x}:{c:02x}"),
        6 => format!("arp,arp_tpa=14.{a}.{b}.{c}"),
        7 => format!("in_port=2,ip,nw_src=15.{a}.{b}.{c}"),
        8 => format!("ipv6,ipv6_dst=fd00::{a:x}:{b:x}:{c:x}"),
        _ => format!("tcp,nw_src=16.{a}.{b}.{c},nw_dst=17.{a}.{b}.{c},tp_src={c},tp_dst={b}"),
    };
    let mut m = FlowMod::new(FlowCommand::Add, matching(&text));
    m.table = TableId(0);
    m.priority = 100 + (n % 10) as u16;
    m.instructions = Instructions::apply([Action::output(rvs_flow::OfPort(1 + n % 3))]);
    m
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    for n in [100_000u32, 1_000_000] {
        let mut lab = Lab::new(Version::Of13);
        lab.plant.silent = true;
        let author = lab.author();
        let before = resident();
        let (mut took, mut worst) = (Duration::ZERO, Duration::ZERO);
        let mut cpu = Duration::ZERO;
        for chunk in (0..n).collect::<Vec<_>>().chunks(10_000) {
            let mods: Vec<_> = chunk
                .iter()
                .map(|i| Mod::Flow(Box::new(flow(*i))))
                .collect();
            let before = on_cpu();
            for m in mods {
                let one = Instant::now();
                lab.state
                    .apply(lab.now, &author, [m], &mut lab.plant)
                    .unwrap();
                lab.state.tidy(&lab.plant);
                let one = one.elapsed();
                (took, worst) = (took + one, worst.max(one));
            }
            cpu += on_cpu() - before;
        }
        println!(
            "{n} adds: {} ms ({} of them on the CPU), {} ns each, worst {worst:?}, {} octets resident a flow",
            took.as_millis(),
            cpu.as_millis(),
            took.as_nanos() / u128::from(n),
            (resident().saturating_sub(before)) / n as usize
        );
        let start = Instant::now();
        let mut seen = 0;
        let mut dump = lab.state.dump(&mut lab.plant, FlowSelect::all());
        while !lab.state.dump_next(&mut dump, 1000, |_| seen += 1) {}
        lab.state.dump_end(dump);
        println!("dump of {seen}: {:?}", start.elapsed());
        let mut del = FlowMod::new(FlowCommand::Delete, FlowMatch::any());
        del.table = TableId::ALL;
        let start = Instant::now();
        let m = Mod::Flow(Box::new(del));
        lab.state
            .apply(lab.now, &author, [m], &mut lab.plant)
            .unwrap();
        println!("loose delete of all: {:?}", start.elapsed());
        let (start, mut turns, mut worst) = (Instant::now(), 0, Duration::ZERO);
        loop {
            let one = Instant::now();
            let more = lab.state.tidy(&lab.plant);
            worst = worst.max(one.elapsed());
            turns += 1;
            if !more {
                break;
            }
        }
        println!(
            "tidy: {:?} in {turns} turns, worst {worst:?}",
            start.elapsed()
        );
        let mods: Vec<_> = (0..n).map(|i| Mod::Flow(Box::new(flow(i)))).collect();
        let start = Instant::now();
        lab.state
            .apply(lab.now, &author, mods, &mut lab.plant)
            .unwrap();
        println!("one bundle of {n}: {:?}", start.elapsed());
        if n == 1_000_000 {
            // That is the limit.
            let full = lab.run("add arp,actions=drop");
            assert_eq!(full, Err(ErrorCode::FmfcTableFull));
        }
        let start = Instant::now();
        lab.all(&["mod cookie=1/1,actions=drop"]);
        println!("modify by cookie, of none: {:?}", start.elapsed());
    }
}
