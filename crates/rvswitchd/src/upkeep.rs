//! `revalidator/*` and `upcall/*`: how cached flows are kept.
//!
//! Entries are never behind the tables, so there is nothing to wait for but counters; what can be paused is that idle flows
//! go. All of it lasts until it is said otherwise or the daemon ends.

use rvs_slowpath::Upkeep;
use serde_json::json;

use crate::commands::{Answer, Command, Daemon};
use crate::stock::{delete_flows, name_of};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "revalidator/pause",
        usage: "",
        params: (0, 0),
        run: |d, _| set(d, "", |u| u.paused = true),
    },
    Command {
        name: "revalidator/purge",
        usage: "",
        params: (0, 0),
        run: delete_flows,
    },
    Command {
        name: "revalidator/resume",
        usage: "",
        params: (0, 0),
        run: |d, _| set(d, "", |u| u.paused = false),
    },
    Command {
        name: "revalidator/wait",
        usage: "",
        params: (0, 0),
        run: wait,
    },
    Command {
        name: "upcall/disable-megaflows",
        usage: "",
        params: (0, 0),
        run: |d, _| megaflows(d, false),
    },
    Command {
        name: "upcall/disable-ufid",
        usage: "",
        params: (0, 0),
        run: |d, _| ufid(d, false),
    },
    Command {
        name: "upcall/enable-megaflows",
        usage: "",
        params: (0, 0),
        run: |d, _| megaflows(d, true),
    },
    Command {
        name: "upcall/enable-ufid",
        usage: "",
        params: (0, 0),
        run: |d, _| ufid(d, true),
    },
    Command {
        name: "upcall/set-flow-limit",
        usage: "flow-limit-number",
        params: (1, 1),
        run: set_flow_limit,
    },
    Command {
        name: "upcall/show",
        usage: "",
        params: (0, 0),
        run: show,
    },
];

fn set(daemon: &mut Daemon, answer: &str, change: impl FnOnce(&mut Upkeep)) -> Answer {
    change(&mut daemon.switch.slow().upkeep);
    Ok(json!(answer))
}

/// Counters of cached flows are credited.
fn wait(daemon: &mut Daemon, _: &[String]) -> Answer {
    daemon.switch.credit();
    Ok(json!(""))
}

/// Whether a flow stands for all frames that would be treated like its first one. Those that are there go.
fn megaflows(daemon: &mut Daemon, on: bool) -> Answer {
    let answer = set(
        daemon,
        if on {
            "megaflows enabled"
        } else {
            "megaflows disabled"
        },
        |u| u.exact = !on,
    );
    daemon.switch.flush_flows();
    answer
}

/// Flows always have numbers of their own, which cost nothing: the answer is what tools expect.
fn ufid(daemon: &mut Daemon, on: bool) -> Answer {
    daemon.ufid = on;
    Ok(json!(match on {
        true => "Datapath dumping tersely using UFID enabled for supported datapaths",
        false => "Datapath dumping tersely using UFID disabled",
    }))
}

fn set_flow_limit(daemon: &mut Daemon, params: &[String]) -> Answer {
    let flows = params
        .first()
        .and_then(|p| p.parse().ok())
        .ok_or("a number of flows is expected")?;
    daemon.switch.set_flow_limit(flows);
    let limit = daemon.switch.slow().limits().flows;
    Ok(json!(format!("set flow_limit to {limit}")))
}

fn show(daemon: &mut Daemon, _: &[String]) -> Answer {
    let slow = daemon.switch.slow();
    let (flows, limit, upkeep) = (slow.flows().len(), slow.limits().flows, slow.upkeep);
    Ok(json!(format!(
        "{}:\n  flows         : (current {flows}) (avg {}) (max {}) (limit {limit})\n  dump duration : {}ms\n  \
         ufid enabled : {}\n\n  0: (keys {flows})\n",
        name_of(daemon),
        upkeep.average,
        upkeep.most.max(flows),
        upkeep.took.as_millis(),
        daemon.ufid,
    )))
}
