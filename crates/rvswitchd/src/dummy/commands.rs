//! `netdev-dummy/*` and `time/*`: frames and moments by command.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::{Duration, Instant};

use rvs_flow::compose::compose;
use rvs_flow::{odp_text, NoPortNames};
use rvs_packet::Frame;
use serde_json::{json, Value};

use crate::commands::{Command, Daemon};
use crate::dummy::{Dummies, Dummy, ON_ITS_WAY};
use crate::{clock, trace};

type Answer = Result<Value, String>;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "netdev-dummy/conn-state",
        usage: "[NETDEV]",
        params: (0, 1),
        run: connections,
    },
    Command {
        name: "netdev-dummy/ip4addr",
        usage: "NETDEV ADDRESS/PREFIX",
        params: (2, 2),
        run: address::<std::net::Ipv4Addr>,
    },
    Command {
        name: "netdev-dummy/ip6addr",
        usage: "NETDEV ADDRESS/PREFIX",
        params: (2, 2),
        run: address::<std::net::Ipv6Addr>,
    },
    Command {
        name: "netdev-dummy/receive",
        usage: "NETDEV [--qid QUEUE] PACKET|FLOW [--len OCTETS]...",
        params: (2, 512),
        run: receive,
    },
    Command {
        name: "netdev-dummy/set-admin-state",
        usage: "[NETDEV] up|down",
        params: (1, 2),
        run: admin_state,
    },
    Command {
        name: "time/stop",
        usage: "",
        params: (0, 0),
        run: stop,
    },
    Command {
        name: "time/warp",
        usage: "[TOTAL] MILLISECONDS",
        params: (1, 2),
        run: warp,
    },
];

/// Octets of the shortest frame of Ethernet without its checksum (IEEE 802.3 clause 4A.4.2): who asks for a length asks for
/// no less.
const SHORTEST: usize = 60;
/// Steps of one `time/warp`.
const MAX_STEPS: u128 = 100_000;
const LOOK_EVERY: Duration = Duration::from_micros(100);

fn dummies(daemon: &mut Daemon) -> Result<&mut Dummies, String> {
    let dummies = daemon.switch.rim.dummies.as_mut();
    dummies.ok_or_else(|| "the daemon was not started with --enable-dummy".to_owned())
}

fn receive(daemon: &mut Daemon, params: &[String]) -> Answer {
    let name = params.first().map_or("", String::as_str);
    let port = dummies(daemon)?.port(name).cloned();
    let port = port.ok_or("no such dummy netdev")?;
    let mut frames = Vec::new();
    let mut words = params.get(1..).unwrap_or_default().iter().peekable();
    while let Some(word) = words.next() {
        if word == "--qid" {
            // All frames take one way in.
            words.next();
            continue;
        }
        let length = match words.next_if(|w| *w == "--len") {
            Some(_) => {
                let length = words.next().and_then(|n| n.parse().ok());
                Some(length.ok_or("--len takes a number of octets")?)
            }
            None => None,
        };
        frames.push(frame(word, length)?);
    }
    for bytes in frames {
        port.receive(Frame::from_slice(&bytes));
    }
    settle(daemon);
    Ok(json!(""))
}

/// A frame in hexadecimal digits, or one that a flow of the datapath describes.
fn frame(text: &str, length: Option<usize>) -> Result<Vec<u8>, String> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    if digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return trace::octets(&digits).ok_or_else(|| "not an Ethernet frame".to_owned());
    }
    let flow = odp_text::parse(&with_type(text)).map_err(|e| e.to_string())?;
    let (mut key, _) = trace::key_of(&flow.terms, &NoPortNames)?;
    flow.add_tags(&mut key.flow);
    let made = compose(&key.flow, length);
    match length {
        Some(n) if n < SHORTEST || n < made.len() => Err("too small packet len".to_owned()),
        _ => Ok(made),
    }
}

/// A flow that has an IP header and does not say so in front of it is one of IP.
fn with_type(text: &str) -> Cow<'_, str> {
    for (header, kind) in [
        ("ipv4(", "eth_type(0x0800),"),
        ("ipv6(", "eth_type(0x86dd),"),
    ] {
        let Some((before, after)) = text.split_once(header) else {
            continue;
        };
        let around = before
            .rsplit_once("encap(")
            .map_or(before, |(_, inner)| inner);
        if !around.contains("eth_type(") {
            return format!("{before}{kind}{header}{after}").into();
        }
    }
    text.into()
}

fn admin_state(daemon: &mut Daemon, params: &[String]) -> Answer {
    let (name, state) = match params {
        [name, state] => (Some(name.as_str()), state),
        [state] => (None, state),
        _ => return Err("a state is expected".to_owned()),
    };
    let up = match state.as_str() {
        "up" => true,
        "down" => false,
        _ => return Err("Invalid Admin State".to_owned()),
    };
    let found = dummies(daemon)?.set_admin_state(name, up);
    if name.is_some() && !found {
        return Err("Unknown Dummy Interface".to_owned());
    }
    tell_events(daemon);
    Ok(json!("OK"))
}

/// Has the switch follow what has happened to its ports.
pub fn tell_events(daemon: &mut Daemon) {
    let events = daemon.switch.rim.dummies.as_mut().map(Dummies::take_events);
    for event in events.unwrap_or_default() {
        daemon.switch.port_event(event);
    }
}

/// Ports that look for another, and whether they have found it.
fn connections(daemon: &mut Daemon, params: &[String]) -> Answer {
    let open = dummies(daemon)?.open.values();
    let state = |d: &Dummy| match (d.looks_at(), d.port.is_joined()) {
        (None, _) => "unknown",
        (_, true) => "connected",
        (_, false) => "disconnected",
    };
    let text = match params.first() {
        Some(name) => {
            let found = open.into_iter().find(|d| d.name == *name);
            format!("{name}: {}\n", found.map_or("unknown", state))
        }
        None => open
            .filter(|d| d.looks_at().is_some())
            .map(|d| format!("{}: {}\n", d.name, state(d)))
            .collect(),
    };
    Ok(json!(text))
}

/// Addresses of a port in memory: nobody answers for them, but scripts give them.
fn address<A: FromStr>(daemon: &mut Daemon, params: &[String]) -> Answer {
    let [name, address] = params else {
        return Err("a port and an address are expected".to_owned());
    };
    dummies(daemon)?
        .port(name)
        .ok_or("Unknown Dummy Interface")?;
    let (ip, prefix) = address.split_once('/').unwrap_or((address, "0"));
    if ip.parse::<A>().is_err() || prefix.parse::<u8>().is_err() {
        return Err(format!("{address}: not an address and a prefix length"));
    }
    Ok(json!("OK"))
}

fn stop(_: &mut Daemon, _: &[String]) -> Answer {
    clock::stop();
    Ok(json!(""))
}

/// Time moves when the command has been answered: see [`Daemon::warp`].
fn warp(daemon: &mut Daemon, params: &[String]) -> Answer {
    let millis: Option<Vec<u64>> = params.iter().map(|p| p.parse().ok()).collect();
    let (total, step) = match millis.as_deref() {
        Some([step]) => (*step, *step),
        Some([total, step]) => (*total, *step),
        _ => return Err("invalid MSECS".to_owned()),
    };
    let (total, step) = (Duration::from_millis(total), Duration::from_millis(step));
    if step.is_zero() || total.as_millis() / step.as_millis().max(1) > MAX_STEPS {
        return Err(format!(
            "invalid MSECS: 1 to {MAX_STEPS} steps of 1 ms or more"
        ));
    }
    daemon.warp = Some((total, step));
    Ok(json!("warped"))
}

/// Waits until every frame that was received has been forwarded, and what it caused is decided.
pub fn settle(daemon: &Daemon) {
    let Some(dummies) = &daemon.switch.rim.dummies else {
        return;
    };
    let waiting = || {
        daemon
            .workers
            .iter()
            .map(|w| w.counters.waiting.read())
            .sum::<u64>()
    };
    let deadline = Instant::now() + ON_ITS_WAY;
    while Instant::now() < deadline {
        // A turn in which a frame was taken is over when the next order is obeyed; an upcall that was taken is answered when
        // the handler has begun another round.
        if dummies.is_idle() {
            dummies.pass_worker();
            dummies.pass_handler();
            dummies.pass_worker();
            if dummies.is_idle() && dummies.asks_nothing() && waiting() == 0 {
                return;
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
    // Joined ports may send frames round and round.
    tracing::info!("frames are still on their way after {ON_ITS_WAY:?}");
}
