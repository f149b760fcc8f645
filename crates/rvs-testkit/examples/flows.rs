//! What many flows cost, and how long one turn of the agent takes at most meanwhile, measured on the simulated switch: from the
//! octets of the requests to the octets of the replies. Echoes and packets wait for one turn, so its worst is their worst.
//!
//! `cargo run --release -p rvs-testkit --example flows [FLOWS]...` (100,000 and 1,000,000 unless it is said). Flows of ten masks.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use rvs_flow::{NoPortNames, OfPort};
use rvs_ofproto::agent::ConnKind;
use rvs_openflow::message::{
    BundleAdd, BundleCommand, BundleControl, BundleFlags, FlowCommand, FlowMod, FlowStatsForm,
    FlowStatsRequest, MultipartRequest, Request,
};
use rvs_openflow::{Action, CookieMask, FlowMatch, Instructions, Message, TableId, Version};
use rvs_testkit::openflow::Controller;
use rvs_testkit::{Setup, TestSwitch};
use serde_json::json;

/// Octets that the agent is given at once, as a socket would.
const READ: usize = 64 << 10;
const BUNDLE: u32 = 1;

/// Resident octets of the process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// The n-th of many flows under ten masks.
fn flow(n: u32, timeout: u16) -> FlowMod {
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
    let matching = FlowMatch::parse(&text, &NoPortNames).unwrap();
    let mut m = FlowMod::new(FlowCommand::Add, matching);
    m.priority = 100 + (n % 10) as u16;
    (m.idle_timeout, m.hard_timeout) = (timeout, timeout);
    m.instructions = Instructions::apply([Action::output(OfPort(1 + n % 3))]);
    m
}

/// All requests in a row.
fn octets(c: &Controller, messages: impl Iterator<Item = Message>) -> Vec<u8> {
    let mut all = Vec::new();
    for (xid, m) in messages.enumerate() {
        all.extend(c.dialect.encode(&m, xid as u32).unwrap());
    }
    all
}

fn delete() -> FlowMod {
    let mut m = FlowMod::new(FlowCommand::Delete, FlowMatch::any());
    m.table = TableId::ALL;
    m
}

fn bundle(command: BundleCommand) -> Message {
    let flags = BundleFlags::ATOMIC;
    Message::BundleControl(BundleControl {
        bundle: BUNDLE,
        command,
        flags,
    })
}

struct Bench {
    s: TestSwitch,
    c: Controller,
    n: u32,
}

impl Bench {
    fn new(n: u32) -> Self {
        let mut s = Setup::default().build();
        s.add_bridge("br");
        s.add_port("br", "p1", json!({}));
        s.stop_capture();
        let c = Controller::connect(&mut s, "br", ConnKind::Service, Version::Of14);
        Self { s, c, n }
    }

    /// Hands all of the requests over and has the agent work until nothing is left to do.
    fn measure(&mut self, what: &str, requests: &[u8]) {
        let (start, mut worst, mut turns) = (Instant::now(), Duration::ZERO, 0u32);
        let mut replies = 0;
        for part in requests.chunks(READ) {
            self.c.give(&mut self.s, part);
            loop {
                let one = Instant::now();
                let more = self.c.turn(&mut self.s);
                let said = self.c.take(&mut self.s);
                worst = worst.max(one.elapsed());
                replies += said;
                turns += 1;
                // What was taken may have made room.
                if !more && said == 0 {
                    break;
                }
            }
        }
        let took = start.elapsed();
        println!(
            "  {what:<34} {:>8.1} ms {:>6.0} ns a flow, {turns:>6} turns, worst {:>6.2} ms, {replies} octets of replies",
            took.as_secs_f64() * 1e3,
            took.as_nanos() as f64 / f64::from(self.n),
            worst.as_secs_f64() * 1e3,
        );
    }

    fn one(&mut self, what: &str, m: Message) {
        let requests = octets(&self.c, [m].into_iter());
        self.measure(what, &requests);
    }

    fn bundle(&mut self, what: &str, timeout: u16) {
        let flags = BundleFlags::ATOMIC;
        let add = |n: u32| {
            let m = Message::FlowMod(Box::new(flow(n, timeout)));
            Message::BundleAdd(BundleAdd {
                bundle: BUNDLE,
                flags,
                message: self.c.dialect.encode(&m, n).unwrap(),
            })
        };
        let adds = octets(&self.c, (0..self.n).map(add));
        self.one("open a bundle", bundle(BundleCommand::OpenRequest));
        let before = resident();
        self.measure(&format!("collect {what}"), &adds);
        self.one(
            &format!("commit {what}"),
            bundle(BundleCommand::CommitRequest),
        );
        let grown = resident().saturating_sub(before);
        println!("  {} octets resident a flow", grown / self.n as usize);
    }

    fn run(&mut self) {
        println!("{} flows", self.n);
        self.bundle("a bundle", 0);
        let all = FlowStatsRequest::all(FlowStatsForm::Standard);
        let dump = MultipartRequest::new(Request::Flow(Box::new(all)));
        self.one("dump", Message::MultipartRequest(dump));
        let mut none = FlowMod::new(FlowCommand::Modify, FlowMatch::any());
        none.cookie = CookieMask { value: 1, mask: 1 };
        self.one(
            "modify by cookie, of none",
            Message::FlowMod(Box::new(none)),
        );
        self.one("delete all", Message::FlowMod(Box::new(delete())));
        let flows = (0..self.n).map(|n| Message::FlowMod(Box::new(flow(n, 0))));
        let requests = octets(&self.c, flows);
        self.measure("add one by one", &requests);
        self.one("delete all", Message::FlowMod(Box::new(delete())));
        self.bundle("a bundle with timeouts", 3600);
        self.one("delete all", Message::FlowMod(Box::new(delete())));
    }
}

fn main() {
    let asked: Vec<u32> = std::env::args()
        .skip(1)
        .filter_map(|a| a.parse().ok())
        .collect();
    let sizes = if asked.is_empty() {
        vec![100_000, 1_000_000]
    } else {
        asked
    };
    for n in sizes {
        Bench::new(n).run();
    }
}
