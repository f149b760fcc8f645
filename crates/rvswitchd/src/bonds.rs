//! `bond/*` and `lacp/*`, in the layout of the field.

use std::fmt::Write as _;

use rvs_ovsdb::Uuid;
use rvs_switch::bonds::{Bond, Member};
use serde_json::json;

use crate::commands::{Answer, Command, Daemon};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "bond/list",
        usage: "",
        params: (0, 0),
        run: list,
    },
    Command {
        name: "bond/show",
        usage: "[PORT]",
        params: (0, 1),
        run: show,
    },
    Command {
        name: "lacp/show",
        usage: "[PORT]",
        params: (0, 1),
        run: lacp,
    },
    Command {
        name: "lacp/show-stats",
        usage: "[PORT]",
        params: (0, 1),
        run: lacp,
    },
];

fn all(daemon: &Daemon) -> Vec<Bond> {
    let bridges: Vec<Uuid> = daemon
        .switch
        .topology()
        .bridges()
        .map(|b| b.cfg.uuid)
        .collect();
    let bonds = bridges.into_iter().flat_map(|b| daemon.switch.bonds(b));
    let mut bonds: Vec<Bond> = bonds.collect();
    bonds.sort_by(|a, b| a.name.cmp(&b.name));
    bonds
}

fn list(daemon: &mut Daemon, _: &[String]) -> Answer {
    let mut text = String::from("bond\ttype\trecircID\tmembers\n");
    for bond in all(daemon) {
        let names: Vec<&str> = bond.members.iter().map(|m| m.name.as_str()).collect();
        let _ = writeln!(
            text,
            "{}\tactive-backup\t0\t{}",
            bond.name,
            names.join(", ")
        );
    }
    Ok(json!(text))
}

fn show(daemon: &mut Daemon, params: &[String]) -> Answer {
    let mut bonds = all(daemon);
    if let Some(name) = params.first() {
        bonds.retain(|b| b.name == *name);
        if bonds.is_empty() {
            return Err("no such bond".to_owned());
        }
    }
    let texts: Vec<String> = bonds.iter().map(one).collect();
    Ok(json!(texts.concat()))
}

fn one(bond: &Bond) -> String {
    let active = match bond.active() {
        Some(Member { mac, name, .. }) => format!("{mac}({name})"),
        None => "00:00:00:00:00:00(none)".to_owned(),
    };
    let is_member = |name: &str| bond.members.iter().any(|m| m.name == name);
    let primary = match bond.primary.as_deref() {
        None => "<none>".to_owned(),
        Some(name) if is_member(name) => name.to_owned(),
        Some(name) => format!("{name} (no such member)"),
    };
    // Whatever mode was asked for, this is how it is used.
    let mut text = format!(
        "---- {} ----\nbond_mode: active-backup\nbond may use recirculation: no, Recirc-ID : -1\nbond-hash-basis: 0\n\
         lb_output action: disabled, bond-id: -1\nupdelay: 0 ms\ndowndelay: 0 ms\nlacp_status: off\n\
         lacp_fallback_ab: false\nactive-backup primary: {primary}\nactive member mac: {active}\n",
        bond.name
    );
    for m in &bond.members {
        let is = if m.live { "enabled" } else { "disabled" };
        let used = if m.active { "  active member\n" } else { "" };
        let _ = write!(
            text,
            "\nmember {}: {is}\n{used}  may_enable: {}\n",
            m.name, m.live
        );
    }
    text.push('\n');
    text
}

/// No port speaks LACP.
fn lacp(_: &mut Daemon, params: &[String]) -> Answer {
    match params.first() {
        Some(_) => Err("no such lacp object".to_owned()),
        None => Ok(json!("")),
    }
}

#[cfg(test)]
mod tests {
    use rvs_packet::MacAddr;

    use super::*;

    #[test]
    fn the_preferred_member_is_shown_and_that_it_is_none() {
        let member = Member {
            name: "p1".to_owned(),
            mac: MacAddr::ZERO,
            live: true,
            active: true,
        };
        let mut bond = Bond {
            row: Uuid::default(),
            name: "bond0".to_owned(),
            primary: None,
            members: vec![member],
        };
        for (primary, shown) in [
            (None, "<none>"),
            (Some("p1"), "p1"),
            (Some("p9"), "p9 (no such member)"),
        ] {
            bond.primary = primary.map(str::to_owned);
            let text = one(&bond);
            let line = format!("\nactive-backup primary: {shown}\n");
            assert!(text.contains(&line), "{text}");
        }
    }
}
