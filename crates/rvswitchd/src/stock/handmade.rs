//! Datapaths made by hand (`dpctl/add-dp`), for who learns or tests the commands: no bridge uses them and nothing is forwarded
//! there. They are kept beside dummies alone; where ports are devices, a datapath is what bridges make of them. Ports of the
//! datapath that bridges use come and go with its bridges; of those commands it knows `dpctl/del-if` alone, of dummies.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use super::Answer;
use crate::commands::Daemon;
use crate::dummy::commands::tell_events;

/// Datapaths, and ports and flows of one, at most.
const MOST: usize = 64;

/// Types that a port here may have.
const TYPES: [&str; 5] = ["dummy", "dummy-internal", "internal", "system", "tap"];

#[derive(Debug)]
struct Port {
    name: String,
    kind: String,
}

/// Ports by number.
type Ports = BTreeMap<u32, Port>;

/// A datapath: its ports, and its flows with their actions as people wrote them. No frame asks for any.
#[derive(Debug, Default)]
struct Datapath {
    ports: Ports,
    flows: BTreeMap<String, String>,
}

/// Datapaths by name, `TYPE@NAME`.
#[derive(Debug, Default)]
pub struct Handmade(BTreeMap<String, Datapath>);

/// A port as a command names it: `NAME[,type=TYPE][,port_no=N]`.
#[derive(Debug, PartialEq, Eq)]
struct Wish<'t> {
    name: &'t str,
    kind: Option<&'t str>,
    number: Option<u32>,
}

impl<'t> Wish<'t> {
    fn parse(text: &'t str) -> Result<Self, String> {
        let mut words = text.split(',');
        let name = words.next().unwrap_or_default();
        let mut wish = Self {
            name,
            kind: None,
            number: None,
        };
        for word in words {
            match word.split_once('=') {
                Some(("type", kind)) => wish.kind = Some(kind),
                Some(("port_no", n)) => {
                    let bad = || said(&format!("{name}: bad port number"));
                    wish.number = Some(n.parse().map_err(|_| bad())?);
                }
                // Other options belong to devices, which these ports are not.
                _ => {}
            }
        }
        Ok(wish)
    }
}

fn said(what: &str) -> String {
    format!("ovs-vswitchd: {what}")
}

impl Handmade {
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn open(&mut self, name: &str) -> Result<&mut Ports, String> {
        let found = self.0.get_mut(name);
        let found = found.ok_or_else(|| said("opening datapath (No such device)"))?;
        Ok(&mut found.ports)
    }

    fn make(&mut self, name: &str) -> Result<(), String> {
        let Some(("dummy", short)) = name.split_once('@') else {
            return Err(said("add_dp (Address family not supported by protocol)"));
        };
        if self.0.contains_key(name) {
            return Err(said("add_dp (File exists)"));
        }
        if self.0.len() == MOST {
            return Err(said("add_dp (No space left on device)"));
        }
        let own = Port {
            name: short.to_owned(),
            kind: "dummy-internal".to_owned(),
        };
        let made = Datapath {
            ports: Ports::from([(0, own)]),
            ..Datapath::default()
        };
        self.0.insert(name.to_owned(), made);
        Ok(())
    }

    fn add(&mut self, datapath: &str, wish: &Wish<'_>) -> Result<(), String> {
        let ports = self.open(datapath)?;
        let name = wish.name;
        let kind = wish.kind.unwrap_or("system");
        if !TYPES.contains(&kind) {
            return Err(said(&format!(
                "{name}: failed to open network device (Address family not supported by protocol)"
            )));
        }
        let failed = |why| Err(said(&format!("adding {name} to {datapath} failed ({why})")));
        if ports.values().any(|p| p.name == name) {
            return failed("File exists");
        }
        if ports.len() == MOST {
            return failed("File too large");
        }
        let number = match wish.number {
            Some(n) if ports.contains_key(&n) => return failed("Device or resource busy"),
            Some(n) => n,
            None => first_free(name, ports),
        };
        let port = Port {
            name: name.to_owned(),
            kind: kind.to_owned(),
        };
        ports.insert(number, port);
        Ok(())
    }

    /// By name or number.
    fn remove(&mut self, datapath: &str, port: &str) -> Result<(), String> {
        let ports = self.open(datapath)?;
        let named = || ports.iter().find(|(_, p)| p.name == port).map(|(n, _)| *n);
        let number = port.parse().ok().or_else(named);
        let failed = |why| {
            Err(said(&format!(
                "deleting port {port} from {datapath} failed ({why})"
            )))
        };
        match number {
            None => Err(said(&format!("no port named {port}"))),
            Some(0) => failed("Invalid argument"),
            Some(n) if ports.remove(&n).is_none() => failed("No such device"),
            Some(_) => Ok(()),
        }
    }

    /// Nothing of a port can be changed here: what is asked for has to be so already.
    fn check(&mut self, datapath: &str, wish: &Wish<'_>) -> Result<(), String> {
        let ports = self.open(datapath)?;
        let name = wish.name;
        let Some((number, port)) = ports.iter().find(|(_, p)| p.name == name) else {
            return Err(said(&format!(
                "{name}: failed to query port in {datapath} (No such device)"
            )));
        };
        if let Some(kind) = wish.kind.filter(|k| *k != port.kind) {
            let old = &port.kind;
            return Err(said(&format!(
                "{name}: can't change type from {old} to {kind}"
            )));
        }
        match wish.number.filter(|n| n != number) {
            None => Ok(()),
            Some(n) => Err(said(&format!(
                "{name}: can't change port number from {number} to {n}"
            ))),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn flows(&mut self, name: &str) -> Result<&mut BTreeMap<String, String>, String> {
        let found = self.0.get_mut(name).map(|d| &mut d.flows);
        found.ok_or_else(|| said("opening datapath (No such device)"))
    }

    /// A new flow, or other actions of one that is there.
    pub(super) fn put_flow(
        &mut self,
        datapath: &str,
        flow: &str,
        actions: &str,
        replaces: bool,
    ) -> Result<(), String> {
        let flows = self.flows(datapath)?;
        let why = match flows.contains_key(flow) {
            true if !replaces => "File exists",
            false if replaces => "No such file or directory",
            false if flows.len() == MOST => "No space left on device",
            _ => {
                flows.insert(flow.to_owned(), actions.to_owned());
                return Ok(());
            }
        };
        Err(said(&format!("updating flow table ({why})")))
    }

    pub(super) fn delete_flow(&mut self, datapath: &str, flow: &str) -> Result<(), String> {
        let gone = self.flows(datapath)?.remove(flow);
        let none = || said("deleting flow (No such file or directory)");
        gone.map(drop).ok_or_else(none)
    }

    /// False when there is no such datapath.
    pub(super) fn clear_flows(&mut self, datapath: &str) -> bool {
        self.flows(datapath).map(BTreeMap::clear).is_ok()
    }

    /// `dpctl/dump-flows` of one of them.
    pub(super) fn flows_text(&self, name: &str) -> Option<String> {
        let flows = &self.0.get(name)?.flows;
        let mut text = String::new();
        for (flow, actions) in flows {
            if text.is_empty() {
                text.push_str("flow-dump from the main thread:\n");
            }
            let _ = writeln!(
                text,
                "recirc_id(0),{flow}, packets:0, bytes:0, used:never, actions:{actions}"
            );
        }
        Some(text)
    }

    /// `dpctl/show` of one of them.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let Datapath { ports, flows } = self.0.get(name)?;
        let mut text = format!(
            "{name}:\n  lookups: hit:0 missed:0 lost:0\n  flows: {}\n",
            flows.len()
        );
        for (n, port) in ports {
            let _ = match port.kind.as_str() {
                "system" => writeln!(text, "  port {n}: {}", port.name),
                kind => writeln!(text, "  port {n}: {} ({kind})", port.name),
            };
        }
        Some(text)
    }
}

/// A port without a wish has the number that its name ends with, if it is free.
fn first_free(name: &str, ports: &Ports) -> u32 {
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let named = digits.parse().ok().filter(|n| !ports.contains_key(n));
    let free = || (1..).find(|n| !ports.contains_key(n)).unwrap_or(u32::MAX);
    named.unwrap_or_else(free)
}

/// Where they are kept; an error where ports are devices, or the datapath is the bridges'.
fn kept<'d>(daemon: &'d mut Daemon, name: &str) -> Result<&'d mut Handmade, String> {
    if daemon.switch.rim.dummies.is_none() || name == super::name_of(daemon) {
        return Err(said(
            "ports and datapaths come and go with bridges: use ovs-vsctl (Operation not supported)",
        ));
    }
    Ok(&mut daemon.handmade)
}

pub(super) fn add(daemon: &mut Daemon, params: &[String]) -> Answer {
    let (name, ports) = params.split_first().ok_or("a datapath is expected")?;
    kept(daemon, name)?.make(name)?;
    each(daemon, name, ports, |all, port| {
        all.add(name, &Wish::parse(port)?)
    })
}

pub(super) fn delete(daemon: &mut Daemon, params: &[String]) -> Answer {
    let all = kept(daemon, &params[0])?;
    all.open(&params[0])?;
    all.0.remove(&params[0]);
    Ok(json!(""))
}

pub(super) fn add_ports(daemon: &mut Daemon, params: &[String]) -> Answer {
    each(daemon, &params[0], &params[1..], |all, port| {
        all.add(&params[0], &Wish::parse(port)?)
    })
}

pub(super) fn set_ports(daemon: &mut Daemon, params: &[String]) -> Answer {
    each(daemon, &params[0], &params[1..], |all, port| {
        all.check(&params[0], &Wish::parse(port)?)
    })
}

pub(super) fn delete_ports(daemon: &mut Daemon, params: &[String]) -> Answer {
    let used = params[0] == super::name_of(daemon);
    if let (true, Some(dummies)) = (used, &mut daemon.switch.rim.dummies) {
        let gone = params[1..].iter().map(|port| (port, dummies.unplug(port)));
        let missing: Vec<String> = gone
            .filter(|(_, was_there)| !was_there)
            .map(|(port, _)| said(&format!("no port named {port}")))
            .collect();
        tell_events(daemon);
        return match missing.is_empty() {
            true => Ok(json!("")),
            false => Err(missing.join("\n")),
        };
    }
    each(daemon, &params[0], &params[1..], |all, port| {
        all.remove(&params[0], port)
    })
}

/// Does the same to every port, those behind one that fails too; ends with all that failed.
fn each(
    daemon: &mut Daemon,
    datapath: &str,
    ports: &[String],
    mut what: impl FnMut(&mut Handmade, &str) -> Result<(), String>,
) -> Answer {
    let all = kept(daemon, datapath)?;
    all.open(datapath)?;
    let done = ports.iter().map(|port| what(all, port));
    let failed: Vec<String> = done.filter_map(Result::err).collect();
    match failed.is_empty() {
        true => Ok(json!("")),
        false => Err(failed.join("\n")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DP: &str = "dummy@br0";

    #[test]
    fn ports_come_by_name_and_go_by_number_too() {
        let mut all = Handmade::default();
        assert!(all.make("nonsense").is_err());
        all.make(DP).unwrap();
        assert_eq!(all.make(DP), Err(said("add_dp (File exists)")));
        let tap = Wish::parse("vif1.0,type=tap,port_no=5").unwrap();
        all.add(DP, &tap).unwrap();
        assert_eq!(
            all.add(DP, &Wish::parse("vif1.0,type=tap").unwrap()),
            Err(said("adding vif1.0 to dummy@br0 failed (File exists)"))
        );
        all.add(DP, &Wish::parse("vif2,type=dummy").unwrap())
            .unwrap();
        assert_eq!(
            all.text(DP).unwrap(),
            "dummy@br0:\n  lookups: hit:0 missed:0 lost:0\n  flows: 0\n  port 0: br0 (dummy-internal)\n  \
             port 2: vif2 (dummy)\n  port 5: vif1.0 (tap)\n"
        );
        assert_eq!(all.check(DP, &tap), Ok(()));
        assert_eq!(
            all.check(DP, &Wish::parse("vif1.0,type=system").unwrap()),
            Err(said("vif1.0: can't change type from tap to system"))
        );
        assert_eq!(
            all.check(DP, &Wish::parse("vif1.0,port_no=7").unwrap()),
            Err(said("vif1.0: can't change port number from 5 to 7"))
        );
        all.remove(DP, "vif1.0").unwrap();
        assert_eq!(all.remove(DP, "vif1.0"), Err(said("no port named vif1.0")));
        assert!(all.remove(DP, "br0").is_err() && all.remove(DP, "0").is_err());
        assert_eq!(all.remove(DP, "2"), Ok(()));
        assert_eq!(
            all.remove(DP, "2"),
            Err(said(
                "deleting port 2 from dummy@br0 failed (No such device)"
            ))
        );
    }

    #[test]
    fn there_is_an_end_to_both() {
        let mut all = Handmade::default();
        for n in 0..MOST {
            all.make(&format!("dummy@dp{n}")).unwrap();
        }
        assert!(all.make("dummy@more").is_err());
        for n in 1..MOST {
            all.add("dummy@dp0", &Wish::parse(&format!("x{n}")).unwrap())
                .unwrap();
        }
        assert!(all.add("dummy@dp0", &Wish::parse("y").unwrap()).is_err());
    }
}
