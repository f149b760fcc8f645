//! The applications that OS-Ken was released with, unchanged, drive the switch between real hosts: learning switches of every
//! version, discovery of links by LLDP, and the router, firewall and QoS manager with their REST interfaces.

use std::time::Duration;

use rvs_tests::lab::{within, Background};
use rvs_tests::wire::{applications, client, python};
use rvs_tests::{eventually, Lab, Peer};
use serde_json::Value;

use crate::controllers::{connect, hosts};

fn start(lab: &Lab, apps: &str) -> Background {
    let line = format!(
        "env PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={} {} -W ignore {} --ofp-tcp-listen-port 6653 {apps}",
        applications().display(),
        python().display(),
        client("stock_apps.py").display()
    );
    lab.spawn("os-ken", &line)
}

/// What an application's REST interface answers.
fn ask(lab: &Lab, method: &str, path: &str, body: &str) -> Value {
    let body = match body {
        "" => String::new(),
        b => format!("'{b}'"),
    };
    let line = format!(
        "{} {} {method} http://127.0.0.1:8080/{path} {body}",
        python().display(),
        client("ask.py").display()
    );
    let mut text = String::new();
    eventually(&format!("{method} {path} is answered"), || {
        let ran = lab.try_sh(&line);
        text = ran.out;
        ran.code == 0
    });
    serde_json::from_str(text.trim()).unwrap_or(Value::Null)
}

fn accepted(answer: &Value) {
    let text = answer.to_string();
    assert!(
        text.contains("success") && !text.contains("failure"),
        "{text}"
    );
}

fn pings(lab: &Lab, ns: &str, to: &str) -> bool {
    lab.try_sh_in(ns, &format!("ping -q -n -c 2 -i 0.2 -W 1 {to}"))
        .code
        == 0
}

/// One learning switch for each version. (That of 1.1 was never written.)
pub fn learning_switches(lab: &Lab) {
    let peer = Peer::start(lab);
    hosts(&peer, &["10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24"]);
    for (version, app, flows) in [
        ("10", "simple_switch", 6),
        ("12", "simple_switch_12", 6),
        ("13", "simple_switch_13", 7),
        ("14", "simple_switch_14", 7),
        ("15", "simple_switch_15", 7),
    ] {
        peer.vsctl(&format!("set bridge br1 protocols=OpenFlow{version}"));
        let _controller = start(lab, &format!("os_ken.app.{app}"));
        connect(&peer);
        for (from, to) in [("n1", "10.0.0.2"), ("n2", "10.0.0.3"), ("n3", "10.0.0.1")] {
            eventually(&format!("{version}: {from} reaches {to}"), || {
                pings(lab, from, to)
            });
        }
        let dump = peer.ofctl(version, "dump-flows BR");
        assert!(dump.matches("actions=").count() >= flows, "{app}: {dump}");
        // What is learned is forwarded without the controller.
        let out = lab.sh_in("n1", "ping -q -n -c 10 -i 0.05 -W 1 10.0.0.2");
        assert!(out.contains(" 10 received"), "{out}");
        // (The first primary controller clears the tables: each starts from nothing.)
        peer.vsctl("del-controller br1");
    }
}

/// Links between switches are found by frames that controllers send and hear, and lost when they go.
pub fn links_are_discovered(lab: &Lab) {
    let peer = Peer::start(lab);
    lab.sh("ip link add wa type veth peer name wb; ip link set wa up; ip link set wb up");
    peer.vsctl(
        "add-port br1 wa -- add-br br2 -- set bridge br2 datapath_type=netdev fail_mode=secure other_config:datapath-id=00000000000000b2 \
         -- add-port br2 wb -- set bridge br1 protocols=OpenFlow13 -- set bridge br2 protocols=OpenFlow13",
    );
    let _controller = start(
        lab,
        "--observe-links os_ken.app.rest_topology os_ken.app.simple_switch_13",
    );
    peer.vsctl("set-controller br1 tcp:127.0.0.1:6653 -- set-controller br2 tcp:127.0.0.1:6653");
    let links = || {
        let answer = ask(lab, "GET", "v1.0/topology/links", "");
        answer.as_array().map_or(0, Vec::len)
    };
    eventually("both switches are known", || {
        let answer = ask(lab, "GET", "v1.0/topology/switches", "");
        answer.as_array().map_or(0, Vec::len) == 2
    });
    within(
        Duration::from_secs(20),
        "the link is found both ways",
        || links() == 2,
    );
    lab.sh("ip link set wb down");
    within(Duration::from_secs(20), "the link is lost", || links() == 0);
}

/// A router between two networks.
pub fn router(lab: &Lab) {
    let peer = Peer::start(lab);
    hosts(&peer, &["10.1.0.1/24", "10.2.0.1/24", "10.1.0.2/24"]);
    lab.gateways(&[
        ("n1", "10.1.0.254"),
        ("n2", "10.2.0.254"),
        ("n3", "10.1.0.254"),
    ]);
    peer.vsctl("set bridge br1 protocols=OpenFlow13");
    let _controller = start(lab, "os_ken.app.rest_router");
    connect(&peer);
    assert!(!pings(lab, "n1", "10.2.0.1"), "nobody routes yet");
    for address in ["10.1.0.254/24", "10.2.0.254/24"] {
        let body = format!("{{\"address\": \"{address}\"}}");
        accepted(&ask(lab, "POST", "router/00000000000000b1", &body));
    }
    for (from, to) in [
        ("n1", "10.1.0.254"),
        ("n1", "10.2.0.1"),
        ("n2", "10.1.0.2"),
        ("n1", "10.1.0.2"),
    ] {
        eventually(&format!("{from} reaches {to}"), || pings(lab, from, to));
    }
    assert!(!pings(lab, "n1", "10.2.0.99"), "nobody lives there");
    let out = lab.sh_in("n2", "ping -n -c 1 -W 1 10.1.0.1");
    assert!(out.contains("ttl=63"), "a hop is counted: {out}");
}

/// A firewall that lets nothing pass but what it is told.
pub fn firewall(lab: &Lab) {
    let peer = Peer::start(lab);
    hosts(&peer, &["10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24"]);
    peer.vsctl("set bridge br1 protocols=OpenFlow13");
    let _controller = start(lab, "os_ken.app.rest_firewall");
    connect(&peer);
    let enabled = ask(lab, "PUT", "firewall/module/enable/00000000000000b1", "");
    accepted(&enabled);
    assert!(!pings(lab, "n1", "10.0.0.2"), "nothing is allowed yet");
    let rules = "firewall/rules/00000000000000b1";
    for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")] {
        let body = format!(
            "{{\"nw_src\": \"{src}/32\", \"nw_dst\": \"{dst}/32\", \"nw_proto\": \"ICMP\"}}"
        );
        accepted(&ask(lab, "POST", rules, &body));
    }
    eventually("what is allowed passes", || pings(lab, "n1", "10.0.0.2"));
    assert!(
        !pings(lab, "n3", "10.0.0.2"),
        "a third party is not allowed"
    );
    let body = "{\"rule_id\": \"1\"}";
    accepted(&ask(lab, "DELETE", rules, body));
    eventually("what is no longer allowed is stopped", || {
        !pings(lab, "n1", "10.0.0.2")
    });
}

/// Queues by the database, flows into queues and through meters by OpenFlow.
pub fn qos_manager(lab: &Lab) {
    let peer = Peer::start(lab);
    hosts(&peer, &["10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24"]);
    peer.vsctl("set-manager ptcp:6632 -- set bridge br1 protocols=OpenFlow13");
    // As its book says: the learning switch moves to table 1.
    let learning = applications().join("os_ken/app/simple_switch_13.py");
    lab.sh(&format!(
        "sed '/OFPFlowMod(/,/)/s/)/, table_id=1)/' {} >learning_1.py",
        learning.display()
    ));
    let _controller = start(
        lab,
        &format!(
            "os_ken.app.rest_qos os_ken.app.rest_conf_switch {}",
            lab.path("learning_1.py").display()
        ),
    );
    connect(&peer);
    let switch = "00000000000000b1";
    let address = format!("v1.0/conf/switches/{switch}/ovsdb_addr");
    let queues = "{\"port_name\": \"p2\", \"type\": \"linux-htb\", \"max_rate\": \"1000000\", \
                  \"queues\": [{\"max_rate\": \"500000\"}, {\"min_rate\": \"800000\"}]}";
    // It goes to the database in its own time, and says that there is none until then.
    eventually("the manager has the database", || {
        ask(lab, "PUT", &address, "\"tcp:127.0.0.1:6632\"");
        let answer = ask(lab, "POST", &format!("qos/queue/{switch}"), queues);
        answer.to_string().contains("success")
    });
    let meter = "{\"meter_id\": \"1\", \"flags\": \"KBPS\", \"bands\": [{\"type\": \"DROP\", \"rate\": \"1000\"}]}";
    accepted(&ask(lab, "POST", &format!("qos/meter/{switch}"), meter));
    for rule in [
        "{\"match\": {\"nw_dst\": \"10.0.0.2\", \"nw_proto\": \"UDP\", \"tp_dst\": \"5002\"}, \"actions\": {\"queue\": \"1\"}}",
        "{\"match\": {\"ip_dscp\": \"26\"}, \"actions\": {\"meter\": \"1\"}}",
    ] {
        accepted(&ask(lab, "POST", &format!("qos/rules/{switch}"), rule));
    }
    eventually("hosts talk", || pings(lab, "n1", "10.0.0.2"));
    let flows = peer.ofctl("13", "dump-flows BR");
    for actions in ["set_queue:1,goto_table:1", "meter:1,goto_table:1"] {
        assert!(flows.contains(actions), "{flows}");
    }
    lab.sh_in(
        "n1",
        "bash -c 'for i in 1 2 3; do echo x >/dev/udp/10.0.0.2/5002; done'",
    );
    eventually("the queue counts its frames", || {
        let answer = ask(lab, "GET", &format!("qos/queue/status/{switch}"), "");
        let all = answer[0]["command_result"].clone();
        let of_ports = all.as_object().into_iter().flat_map(|o| o.values());
        of_ports
            .flat_map(|rows| rows.as_array().cloned().unwrap_or_default())
            .any(|q| q["queue_id"] == 1 && q["tx_packets"] == 3)
    });
    let classes = lab.sh("tc class show dev p2");
    assert!(
        classes.contains("ceil 500Kbit") && classes.contains("rate 800Kbit"),
        "{classes}"
    );
}
