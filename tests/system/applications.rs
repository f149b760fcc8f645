//! A stock OS-Ken application sets groups and meters, as its REST interface does, and frames judge what they do.

use std::time::Duration;

use rvs_tests::lab::within;
use rvs_tests::wire::{client, python};
use rvs_tests::{eventually, Lab, Peer, Wires};
use serde_json::{json, Value};

const FRAME: &str = "I4/UDP(sport=7,dport=9)/'data'";
const CHANGED: &str =
    "Ether(src='02:00:00:00:00:01',dst='02:00:00:00:00:aa')/I4[IP]/UDP(sport=7,dport=9)/'data'";

/// Gives the application its orders.
struct Orders<'a> {
    lab: &'a Lab,
    given: u32,
}

impl Orders<'_> {
    fn give(&mut self, order: &Value) -> Value {
        let at = |end: &str| self.lab.path(&format!("orders/{}.{end}", self.given));
        std::fs::write(at("part"), order.to_string()).unwrap();
        std::fs::rename(at("part"), at("json")).unwrap();
        let answer = at("answer");
        within(
            Duration::from_secs(15),
            &format!("{order} is obeyed"),
            || answer.exists(),
        );
        let text = std::fs::read_to_string(answer).unwrap();
        self.given += 1;
        serde_json::from_str(&text).unwrap()
    }

    /// Sets something, and the switch must not object.
    fn set(&mut self, kind: &str, command: &str, body: &Value) {
        let order = json!({"set": kind, "command": command, "body": body});
        let answer = self.give(&order);
        assert_eq!(answer, json!({"done": true, "errors": []}), "{order}");
    }

    /// Sets something that the switch must refuse with this type and code.
    fn refused(&mut self, kind: &str, command: &str, body: &Value, error: [u16; 2]) {
        let answer = self.give(&json!({"set": kind, "command": command, "body": body}));
        assert_eq!(answer["errors"], json!([error]), "{kind} {command} {body}");
    }

    fn get(&mut self, what: &str) -> Value {
        self.give(&json!({"get": what}))["177"].take()
    }

    fn flow_to_group(&mut self, group: u32) {
        let actions = json!([{"type": "GROUP", "group_id": group}]);
        self.flow(None, &actions);
    }

    /// The one flow. The library takes actions in 1.3 and instructions in 1.4.
    fn flow(&mut self, meter: Option<u32>, actions: &Value) {
        let mut lists = [
            actions.clone(),
            json!([{"type": "APPLY_ACTIONS", "actions": actions}]),
        ];
        if let Some(meter) = meter {
            for list in lists.iter_mut().filter_map(Value::as_array_mut) {
                list.insert(0, json!({"type": "METER", "meter_id": meter}));
            }
        }
        let [actions, instructions] = lists;
        let body = json!({"priority": 9, "match": {"eth_type": 2048}, "actions": actions, "instructions": instructions});
        self.set("flow", "ADD", &body);
    }
}

fn bucket(port: u32) -> Value {
    json!({"actions": [{"type": "OUTPUT", "port": port}]})
}

/// All four types of groups, changed and deleted; a group that is there already is refused.
fn groups(orders: &mut Orders<'_>, wires: &mut Wires) {
    let rewriting = json!({"actions": [
        {"type": "SET_FIELD", "field": "eth_dst", "value": "02:00:00:00:00:aa"}, {"type": "OUTPUT", "port": 3}]});
    let all = json!({"type": "ALL", "group_id": 1, "buckets": [bucket(2), rewriting]});
    orders.set("group", "ADD", &all);
    orders.refused("group", "ADD", &all, [6, 0]);
    orders.flow_to_group(1);
    wires.sees("all", &[(1, FRAME)], &[(2, FRAME), (3, CHANGED)]);
    let one = json!({"type": "ALL", "group_id": 1, "buckets": [bucket(4)]});
    orders.set("group", "MODIFY", &one);
    wires.sees("all, modified", &[(1, FRAME)], &[(4, FRAME)]);

    let indirect = json!({"type": "INDIRECT", "group_id": 2, "buckets": [bucket(3)]});
    orders.set("group", "ADD", &indirect);
    orders.flow_to_group(2);
    wires.sees("indirect", &[(1, FRAME)], &[(3, FRAME)]);

    let mut weighted = [bucket(2), bucket(3)];
    (weighted[0]["weight"], weighted[1]["weight"]) = (json!(0), json!(5));
    let select = json!({"type": "SELECT", "group_id": 3, "buckets": weighted});
    orders.set("group", "ADD", &select);
    orders.flow_to_group(3);
    wires.sees("select", &[(1, FRAME); 3], &[(3, FRAME); 3]);

    let mut watching = [bucket(2), bucket(4)];
    (watching[0]["watch_port"], watching[1]["watch_port"]) = (json!(2), json!(4));
    let failover = json!({"type": "FF", "group_id": 4, "buckets": watching});
    orders.set("group", "ADD", &failover);
    orders.flow_to_group(4);
    wires.sees("fast failover", &[(1, FRAME)], &[(2, FRAME)]);
    orders.lab.sh("ip -n wire link set h2 down");
    eventually("the group fails over", || {
        wires.exchange(&[(1, FRAME)], &[(4, FRAME)]).is_ok()
    });
    orders.lab.sh("ip -n wire link set h2 up");
    eventually("the group comes back", || {
        wires.exchange(&[(1, FRAME)], &[(2, FRAME)]).is_ok()
    });

    let described = orders.get("group_desc");
    let types: Vec<_> = described
        .as_array()
        .unwrap()
        .iter()
        .map(|g| g["type"].clone())
        .collect();
    assert_eq!(types, ["ALL", "INDIRECT", "SELECT", "FF"], "{described}");
    let stats = orders.get("group_stats");
    let third = &stats[2];
    assert_eq!(
        (&third["group_id"], &third["packet_count"]),
        (&json!(3), &json!(3)),
        "{stats}"
    );
    assert_eq!(third["bucket_stats"][1]["packet_count"], 3, "{stats}");
    let features = orders.get("group_features");
    assert_eq!(
        features[0]["types"].as_array().map(Vec::len),
        Some(4),
        "{features}"
    );
    // The flow goes with its group.
    orders.set("group", "DELETE", &json!({"group_id": 4}));
    wires.sees("no group", &[(1, FRAME)], &[]);
    assert_eq!(orders.get("flow_stats"), json!([]));
}

/// Meters that drop, by frames and by octets.
fn meters(orders: &mut Orders<'_>, wires: &mut Wires) {
    let band = json!({"type": "DROP", "rate": 50, "burst_size": 10});
    let body = json!({"meter_id": 1, "flags": ["PKTPS", "BURST", "STATS"], "bands": [band]});
    orders.set("meter", "ADD", &body);
    orders.refused("meter", "ADD", &body, [12, 1]);
    orders.flow(Some(1), &json!([{"type": "OUTPUT", "port": 2}]));
    let mut judge = |orders: &mut Orders<'_>, frames: u64, burst: u64| {
        let flood = wires.flood(1, 400, 1.0, &[FRAME]);
        let most = (flood.took() * frames as f64) as u64 + burst;
        let passed = flood.frames(2);
        assert!(
            passed <= most + 1 && passed + 3 >= most,
            "{passed} of at most {most}"
        );
        let stats = orders.get("meter_stats");
        assert_eq!(stats[0]["packet_in_count"], flood.sent(), "{stats}");
        let dropped = &stats[0]["band_stats"][0]["packet_band_count"];
        assert_eq!(*dropped, flood.sent() - passed, "{stats}");
    };
    judge(orders, 50, 10);
    // Frames of 60 octets: 36 kbit/s are 75 of them a second, 7 kbit are 14 at once.
    let band = json!({"type": "DROP", "rate": 36, "burst_size": 7});
    let body = json!({"meter_id": 1, "flags": ["KBPS", "BURST"], "bands": [band]});
    orders.set("meter", "MODIFY", &body);
    let config = orders.get("meter_config");
    assert_eq!(config[0]["bands"][0]["rate"], 36, "{config}");
    judge(orders, 75, 14);
    let features = orders.get("meter_features");
    let bands = features[0]["band_types"].as_array().cloned();
    assert_eq!(bands, Some(vec![json!("DROP"), json!("DSCP_REMARK")]));
    orders.set("meter", "DELETE", &json!({"meter_id": 1}));
    assert_eq!(
        orders.get("flow_stats"),
        json!([]),
        "it goes with its meter"
    );
}

fn os_ken(lab: &Lab, version: &str) {
    let peer = Peer::start(lab);
    peer.wires(4);
    let mut wires = Wires::open(4);
    lab.sh("mkdir orders");
    let controller = lab.spawn(
        "os-ken",
        &format!(
            "env PYTHONDONTWRITEBYTECODE=1 ORDERS={} {} -W ignore -m os_ken.cmd.manager --ofp-tcp-listen-port 6653 {}",
            lab.path("orders").display(),
            python().display(),
            client("rest.py").display()
        ),
    );
    peer.vsctl(&format!(
        "set bridge br1 protocols=OpenFlow{version} -- set-controller br1 tcp:127.0.0.1:6653 -- set controller br1 max_backoff=1000"
    ));
    within(
        Duration::from_secs(20),
        "the application is connected",
        || controller.out().contains("connected"),
    );
    let mut orders = Orders { lab, given: 0 };
    groups(&mut orders, &mut wires);
    meters(&mut orders, &mut wires);
}

pub fn groups_and_meters_of_os_ken_1_3(lab: &Lab) {
    os_ken(lab, "13");
}

pub fn groups_and_meters_of_os_ken_1_4(lab: &Lab) {
    os_ken(lab, "14");
}
