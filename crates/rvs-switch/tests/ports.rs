//! Configuration transactions against devices that are names in a set.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use ahash::RandomState;
use rvs_dpif::{AckToken, DpCommand, Upcall, WorkerId};
use rvs_flow::{DpPort, OfPort};
use rvs_ovsdb::database::Database;
use rvs_ovsdb::schema::Schema;
use rvs_ovsdb::server::{Server, SessionId};
use rvs_ovsdb::UuidGenerator;
use rvs_pipeline::{PortKind, PuntNote};
use rvs_slowpath::{Dispatch, SlowPath, Taught};
use rvs_switch::config::IfaceKind;
use rvs_switch::platform::{LinkInfo, Platform, PortCounters, PortError, PortEvent, PortSpec};
use rvs_switch::prepare::prepare;
use rvs_switch::{Rim, Switch, DATABASE};
use serde_json::{json, Value};

/// Devices that exist, and ports that are open.
#[derive(Default)]
struct Names {
    devices: BTreeSet<String>,
    open: BTreeMap<DpPort, String>,
    /// What was open once, as it is; it outlives a daemon.
    links: BTreeMap<String, LinkInfo>,
}

impl Dispatch for Names {
    fn command(&mut self, _: WorkerId, _: DpCommand) {}
    fn punt(&mut self, _: Upcall, _: Arc<PuntNote>) {}
    fn learn_flow(&mut self, _: Taught) {}
}

impl Platform for Names {
    fn set_up(&mut self, _: DpPort, _: bool) {}

    fn open(&mut self, dp: DpPort, spec: &PortSpec) -> Result<LinkInfo, PortError> {
        if spec.kind != IfaceKind::Internal && !self.devices.contains(&spec.name) {
            return Err(PortError(format!("{} (No such device)", spec.name)));
        }
        self.open.insert(dp, spec.name.clone());
        let given_mtu = (spec.kind == IfaceKind::Internal).then(|| spec.mtu.unwrap_or(1500));
        let new = LinkInfo {
            ifindex: 1,
            mtu: given_mtu.unwrap_or(1500),
            given_mtu,
            ..LinkInfo::default()
        };
        Ok(self.links.entry(spec.name.clone()).or_insert(new).clone())
    }
    fn close(&mut self, dp: DpPort, _: bool) {
        self.open.remove(&dp);
    }
    fn destroy(&mut self, _: &PortSpec) {}
    fn adjust(&mut self, _: DpPort, spec: &PortSpec) -> Result<LinkInfo, PortError> {
        let link = self.links.get_mut(&spec.name).unwrap();
        if let Some(mtu) = spec.mtu {
            (link.mtu, link.given_mtu) = (mtu, Some(mtu));
        }
        Ok(link.clone())
    }
    fn counters(&mut self, _: DpPort) -> PortCounters {
        PortCounters::default()
    }
}

impl Rim for Names {
    fn workers(&self) -> u16 {
        1
    }

    fn now(&self) -> rvs_packet::Now {
        rvs_packet::Now::ZERO
    }

    fn settle(&mut self, _: AckToken, _: &[WorkerId]) {}
}

struct Bench {
    switch: Switch<Names>,
    session: SessionId,
}

impl Bench {
    fn on(server: Server, devices: &[&str]) -> Self {
        let mut rim = Names::default();
        rim.devices.extend(devices.iter().map(|d| d.to_string()));
        Self::with(server, rim)
    }

    fn with(mut server: Server, rim: Names) -> Self {
        let session = server.connect(rvs_ovsdb::Now(0), 0).unwrap();
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let slow = SlowPath::new(Default::default(), hasher.clone());
        let mut switch = Switch::new(server, rim, Arc::new(Mutex::new(slow)), hasher);
        switch.start();
        Self { switch, session }
    }

    /// Bridges br0 and br1, and these devices.
    fn new(devices: &[&str]) -> Self {
        let mut server = Server::new(UuidGenerator::new([7; 16]), Default::default());
        let db = Database::new(Schema::open_vswitch());
        server.add_database(db, Box::new(rvs_ovsdb::log::NoJournal));
        prepare(
            &mut server,
            &["br0".to_owned(), "br1".to_owned()],
            "test",
            false,
        )
        .unwrap();
        Self::on(server, devices)
    }

    fn transact(&mut self, operations: &[Value]) {
        let mut params = vec![json!(DATABASE)];
        params.extend_from_slice(operations);
        let request = json!({"method": "transact", "params": params, "id": 1}).to_string();
        let now = rvs_ovsdb::Now(0);
        let server = &mut self.switch.server;
        server.input(self.session, request.as_bytes(), now);
        self.switch.run();
        let server = &mut self.switch.server;
        let text = String::from_utf8(server.output(self.session).to_vec()).unwrap();
        server.sent(self.session, text.len(), now);
        assert!(!text.contains("\"details\""), "{text}");
    }

    fn add(&mut self, bridge: &str, port: &str, columns: Value) {
        let mut row = json!({"name": port});
        let columns = columns.as_object().unwrap().clone();
        row.as_object_mut().unwrap().extend(columns);
        self.transact(&[
            json!({"op": "insert", "table": "Interface", "uuid-name": "i", "row": row}),
            json!({"op": "insert", "table": "Port", "uuid-name": "p",
                   "row": {"name": port, "interfaces": ["named-uuid", "i"]}}),
            mutate(bridge, "insert", json!(["named-uuid", "p"])),
        ]);
    }

    fn set(&mut self, iface: &str, row: Value) {
        let by_name = [json!(["name", "==", iface])];
        self.transact(&[
            json!({"op": "update", "table": "Interface", "where": by_name, "row": row}),
        ]);
    }

    fn uuid(&self, table: &str, name: &str) -> Value {
        let table = self.switch.database().table(table).unwrap();
        json!(["uuid", table.find("name", name).unwrap().uuid().to_string()])
    }

    /// The daemon ends; devices are as they were, but for those whose MTU somebody sets before the next begins.
    fn restarted(self, set: &[(&str, u32)]) -> Self {
        let (devices, mut links) = (self.switch.rim.devices, self.switch.rim.links);
        for (name, mtu) in set {
            links.get_mut(*name).unwrap().mtu = *mtu;
        }
        let open = BTreeMap::new();
        let rim = Names {
            devices,
            open,
            links,
        };
        Self::with(self.switch.server, rim)
    }

    /// Somebody sets the MTU of a port's device.
    fn set_mtu(&mut self, name: &str, mtu: u32) {
        let rim = &mut self.switch.rim;
        let dp = *rim.open.iter().find(|(_, n)| *n == name).unwrap().0;
        let link = rim.links.get_mut(name).unwrap();
        link.mtu = mtu;
        let event = PortEvent::Changed(dp, link.clone());
        self.switch.port_event(event);
    }

    fn mtu(&self, name: &str) -> u32 {
        self.switch.rim.links[name].mtu
    }

    fn of_port(&self, iface: &str) -> Option<i64> {
        let table = self.switch.database().table("Interface").unwrap();
        table.find("name", iface).unwrap().opt_int("ofport")
    }

    fn error(&self, iface: &str) -> Option<String> {
        let table = self.switch.database().table("Interface").unwrap();
        let row = table.find("name", iface).unwrap();
        row.opt_str("error").map(str::to_owned)
    }

    /// Names of the ports that the slow path knows on the bridge.
    fn published(&self, bridge: &str) -> Vec<String> {
        let slow = self.switch.slow();
        let bridge = slow.world().bridges().find(|b| *b.name == *bridge).unwrap();
        let mut names: Vec<String> = bridge.ports.bundles().map(|b| b.name.to_string()).collect();
        names.sort();
        names
    }
}

fn mutate(bridge: &str, how: &str, port: Value) -> Value {
    json!({"op": "mutate", "table": "Bridge", "where": [["name", "==", bridge]],
           "mutations": [["ports", how, port]]})
}

#[test]
fn a_port_moves_between_bridges_in_one_transaction() {
    let mut b = Bench::new(&["a"]);
    b.add("br0", "a", json!({}));
    let port = b.uuid("Port", "a");
    b.transact(&[
        mutate("br0", "delete", port.clone()),
        mutate("br1", "insert", port),
    ]);
    assert_eq!(b.published("br0"), ["br0"]);
    assert_eq!(b.published("br1"), ["a", "br1"]);
    assert_eq!(b.error("a"), None);
}

#[test]
fn a_waiting_port_is_attached_when_its_device_appears() {
    let mut b = Bench::new(&[]);
    b.add("br0", "late", json!({}));
    assert_eq!(b.error("late").as_deref(), Some("late (No such device)"));
    assert_eq!(b.of_port("late"), Some(-1));
    let version = b.switch.slow().world().version();
    b.switch.retry_ports();
    assert_eq!(b.switch.slow().world().version(), version);
    b.switch.rim.devices.insert("late".to_owned());
    let event = PortEvent::Appeared("late".to_owned());
    b.switch.port_event(event);
    assert_eq!((b.error("late"), b.of_port("late")), (None, Some(1)));
    assert_eq!(b.published("br0"), ["br0", "late"]);
}

#[test]
fn a_type_that_is_set_right_clears_the_error() {
    let mut b = Bench::new(&["a"]);
    b.add("br0", "a", json!({"type": "nonesuch"}));
    assert!(b.error("a").unwrap().contains("nonesuch is not supported"));
    b.set("a", json!({"type": ""}));
    assert_eq!(b.error("a"), None);
    assert_eq!(b.published("br0"), ["a", "br0"]);
}

#[test]
fn an_internal_port_that_its_user_deleted_is_made_again() {
    let mut b = Bench::new(&[]);
    b.add("br0", "tap1", json!({"type": "internal"}));
    let (dp, _) = b
        .switch
        .rim
        .open
        .iter()
        .find(|(_, n)| *n == "tap1")
        .unwrap();
    let dp = *dp;
    b.switch.port_event(PortEvent::Gone(dp));
    assert!(b.error("tap1").is_some());
    assert_eq!(b.published("br0"), ["br0"]);
    b.switch.retry_ports();
    assert_eq!(b.error("tap1"), None);
    assert_eq!(b.published("br0"), ["br0", "tap1"]);
    assert!(
        !b.switch.rim.open.contains_key(&dp),
        "a number is not reused"
    );
}

#[test]
fn an_interface_in_two_ports_belongs_to_the_first() {
    let mut b = Bench::new(&["a"]);
    b.add("br0", "a", json!({}));
    for taken in ["a", "br0"] {
        let iface = b.uuid("Interface", taken);
        b.transact(&[
            json!({"op": "insert", "table": "Port", "uuid-name": "p",
                   "row": {"name": format!("second-{taken}"), "interfaces": iface}}),
            mutate("br0", "insert", json!(["named-uuid", "p"])),
        ]);
    }
    assert_eq!(b.published("br0"), ["a", "br0"]);
}

/// As Open vSwitch numbers them: who keeps flows about a port that has gone does not find another in its place.
#[test]
fn a_number_that_became_free_is_not_the_next_to_be_given() {
    let mut b = Bench::new(&["a", "b", "c"]);
    b.add("br0", "a", json!({}));
    b.add("br0", "b", json!({}));
    let gone = b.uuid("Port", "b");
    b.transact(&[mutate("br0", "delete", gone)]);
    b.add("br0", "c", json!({}));
    assert_eq!((b.of_port("a"), b.of_port("c")), (Some(1), Some(3)));
}

#[test]
fn a_number_asked_for_later_is_given_and_its_holder_moves() {
    let mut b = Bench::new(&["a", "b", "c"]);
    for p in ["a", "b"] {
        b.add("br0", p, json!({}));
    }
    assert_eq!((b.of_port("a"), b.of_port("b")), (Some(1), Some(2)));
    b.set("b", json!({"ofport_request": 7}));
    assert_eq!(b.of_port("b"), Some(7));
    b.add("br0", "c", json!({"ofport_request": 1}));
    assert_eq!((b.of_port("a"), b.of_port("c")), (Some(4), Some(1)));
    b.set("a", json!({"ofport_request": 1}));
    assert_eq!(
        (b.of_port("a"), b.of_port("c")),
        (Some(4), Some(1)),
        "c asked first"
    );
    b.set("a", json!({"ofport_request": 65_279}));
    assert_eq!(b.of_port("a"), Some(65_279), "the last number");
}

#[test]
fn numbers_stay_over_a_restart() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut b = Bench::new(&names);
    for n in names {
        b.add("br0", n, json!({}));
    }
    let before = names.map(|n| b.of_port(n));
    let b = Bench::on(b.switch.server, &names);
    assert_eq!(names.map(|n| b.of_port(n)), before);
}

#[test]
fn a_vlan_that_changes_is_published_before_cur_cfg_moves() {
    let mut b = Bench::new(&["a"]);
    b.add("br0", "a", json!({}));
    let by_name = json!([["name", "==", "a"]]);
    b.transact(&[
        json!({"op": "update", "table": "Port", "where": by_name, "row": {"tag": 200}}),
        json!({"op": "mutate", "table": "Open_vSwitch", "where": [],
               "mutations": [["next_cfg", "+=", 1]]}),
    ]);
    let table = b.switch.database().table("Open_vSwitch").unwrap();
    let root = table.rows().next().unwrap();
    assert_eq!(root.int("cur_cfg"), root.int("next_cfg"));
    let slow = b.switch.slow();
    let bridge = slow.world().bridges().find(|b| &*b.name == "br0").unwrap();
    assert_eq!(bridge.ports.by_name("a").unwrap().of, OfPort(1));
    let bundle = bridge.ports.bundles().find(|b| &*b.name == "a").unwrap();
    let vlan = rvs_packet::VlanId::new(200).unwrap();
    assert_eq!(bundle.vlan, rvs_l2::VlanMode::Access(vlan));
}

/// Where the patch port of that name leads, as the slow path knows it: bridge and number.
fn peer(b: &Bench, name: &str) -> Option<(String, u32)> {
    let slow = b.switch.slow();
    let port = slow.world().bridges().find_map(|b| b.ports.by_name(name));
    match port.expect("it is published").kind {
        PortKind::Patch { peer } => {
            peer.map(|(id, of)| (slow.world().bridge(id).unwrap().name.to_string(), of.0))
        }
        PortKind::Device(_) => panic!("a device"),
    }
}

#[test]
fn patch_ports_meet_when_both_name_each_other() {
    let mut b = Bench::new(&["a"]);
    let patch = |peer: &str| json!({"type": "patch", "options": ["map", [["peer", peer]]]});
    b.add("br0", "p0", patch("p1"));
    assert_eq!((b.of_port("p0"), b.error("p0")), (Some(1), None));
    assert_eq!(peer(&b, "p0"), None);
    b.add("br1", "a", json!({}));
    b.add("br1", "p1", patch("elsewhere"));
    assert_eq!(peer(&b, "p0"), None);
    assert_eq!(peer(&b, "p1"), None);
    b.set("p1", patch("p0"));
    assert_eq!(peer(&b, "p0"), Some(("br1".to_owned(), 2)));
    assert_eq!(peer(&b, "p1"), Some(("br0".to_owned(), 1)));
    // A number that changes at one end is followed at the other.
    b.set("p1", json!({"ofport_request": 77}));
    assert_eq!(peer(&b, "p0"), Some(("br1".to_owned(), 77)));
    let port = b.uuid("Port", "p1");
    b.transact(&[mutate("br1", "delete", port)]);
    assert_eq!(peer(&b, "p0"), None);
    b.set("p0", patch("p0"));
    assert_eq!(
        b.error("p0").as_deref(),
        Some("p0: patch peer must not be self")
    );
    assert_eq!(b.published("br0"), ["br0"]);
    b.set("p0", json!({"options": ["map", []]}));
    assert!(b.error("p0").unwrap().contains("requires valid 'peer'"));
    b.set("p0", patch("p1"));
    assert_eq!((b.of_port("p0"), b.error("p0")), (Some(1), None));
}

#[test]
fn bridges_made_in_one_transaction_are_patched() {
    let mut b = Bench::new(&[]);
    let named = |n: &str| json!(["named-uuid", n]);
    let mut ops = Vec::new();
    for (bridge, port, peer) in [("x", "px", "py"), ("y", "py", "px")] {
        ops.push(
            json!({"op": "insert", "table": "Interface", "uuid-name": format!("i{port}"), "row":
            {"name": port, "type": "patch", "options": ["map", [["peer", peer]]]}}),
        );
        ops.push(
            json!({"op": "insert", "table": "Port", "uuid-name": port, "row":
            {"name": port, "interfaces": named(&format!("i{port}"))}}),
        );
        ops.push(
            json!({"op": "insert", "table": "Bridge", "uuid-name": bridge, "row":
            {"name": bridge, "ports": named(port)}}),
        );
        ops.push(json!({"op": "mutate", "table": "Open_vSwitch", "where": [],
            "mutations": [["bridges", "insert", named(bridge)]]}));
    }
    b.transact(&ops);
    assert_eq!(peer(&b, "px"), Some(("y".to_owned(), 1)));
    assert_eq!(peer(&b, "py"), Some(("x".to_owned(), 1)));
}

/// The last port that fits opens, one more says why not, and gets the place of one that goes.
#[test]
fn the_switch_has_so_many_ports_and_no_more() {
    // Each bridge has a port of its own.
    let most = rvs_switch::ports::MAX_PORTS - 2;
    let names: Vec<String> = (0..=most).map(|n| format!("p{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut b = Bench::new(&names);
    let many = names[..most - 1].iter().enumerate();
    let operations: Vec<_> = many
        .flat_map(|(n, name)| {
            let (i, p) = (format!("i{n}"), format!("p{n}"));
            [
                json!({"op": "insert", "table": "Interface", "uuid-name": i, "row": {"name": name}}),
                json!({"op": "insert", "table": "Port", "uuid-name": p,
                       "row": {"name": name, "interfaces": ["named-uuid", i]}}),
                mutate("br0", "insert", json!(["named-uuid", p])),
            ]
        })
        .collect();
    for part in operations.chunks(3000) {
        b.transact(part);
    }
    let (last, late) = (names[most - 1], names[most]);
    b.add("br0", last, json!({}));
    assert_eq!(b.error(last), None);
    b.add("br0", late, json!({}));
    let why = b.error(late).unwrap();
    assert!(why.contains("4096 ports already"), "{why}");
    assert_eq!(b.of_port(late), Some(-1));
    let first = b.uuid("Port", names[0]);
    b.transact(&[mutate("br0", "delete", first)]);
    b.switch.retry_ports();
    assert_eq!(b.error(late), None);
}

#[test]
fn an_internal_port_follows_what_changed_while_no_daemon_was_there() {
    let mut b = Bench::new(&["up"]);
    b.add("br0", "up", json!({}));
    b.set_mtu("up", 9000);
    assert_eq!(b.mtu("br0"), 9000);
    let mut b = b.restarted(&[("up", 1400)]);
    assert_eq!(b.mtu("br0"), 1400);
    b.set_mtu("up", 1300);
    assert_eq!(b.mtu("br0"), 1300);
}

#[test]
fn an_mtu_set_by_hand_stays_over_a_restart_whatever_it_is() {
    let mut b = Bench::new(&["up"]);
    b.add("br0", "up", json!({}));
    b.set_mtu("up", 9000);
    b.set_mtu("br0", 1500);
    let mut b = b.restarted(&[]);
    assert_eq!(b.mtu("br0"), 1500);
    b.set_mtu("up", 1400);
    b.set_mtu("up", 1500);
    b.set_mtu("up", 9000);
    assert_eq!(
        b.mtu("br0"),
        1500,
        "that another had it for a while changes nothing"
    );
    // And so does one that was set while no daemon was there.
    b.add("br0", "in0", json!({"type": "internal"}));
    assert_eq!(b.mtu("in0"), 9000);
    let b = b.restarted(&[("in0", 1500)]);
    assert_eq!(b.mtu("in0"), 1500);
}

#[test]
fn an_internal_port_without_others_has_1500() {
    let mut b = Bench::new(&["up"]);
    b.add("br0", "up", json!({}));
    b.set_mtu("up", 9000);
    assert_eq!(b.mtu("br0"), 9000);
    let up = b.uuid("Port", "up");
    b.transact(&[mutate("br0", "delete", up)]);
    assert_eq!(b.mtu("br0"), 1500);
}
