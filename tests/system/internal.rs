//! Internal ports: devices that the switch makes and its users keep.

use rvs_tests::{eventually, Daemon, Lab};

use crate::vlans::two_vlans;

/// Everything about a device in a namespace that its user may have set: index, address, MTU, IP addresses and routes.
fn looks(lab: &Lab, ns: &str) -> String {
    lab.sh(&format!(
        "ip -n {ns} -br link; ip -n {ns} -br addr; ip -n {ns} route"
    ))
}

pub fn survives_kill_and_restart(lab: &Lab) {
    let mut switch = two_vlans(lab);
    lab.sh("ip -n ns1 route add 192.0.2.0/24 via 10.1.0.2 dev tap1a; ip addr add 10.1.0.254/24 dev br1; ip link set br1 up");
    switch.ctl("set port br1 tag=100");
    lab.ping("ns1", "10.1.0.2");
    lab.ping("ns1", "10.1.0.254");
    let (inside, own) = (
        looks(lab, "ns1"),
        lab.sh("ip -br addr show dev br1; ip route"),
    );
    switch.kill9();
    switch.again();
    lab.ping("ns1", "10.1.0.2");
    lab.ping("ns1", "10.1.0.254");
    lab.no_ping("ns1", "10.2.0.99");
    assert_eq!(looks(lab, "ns1"), inside);
    assert_eq!(lab.sh("ip -br addr show dev br1; ip route"), own);
    assert_eq!(switch.terminate(), 0);
    assert_eq!(
        looks(lab, "ns1").lines().count(),
        inside.lines().count(),
        "a clean end leaves the devices"
    );
    switch.again();
    lab.ping("ns1", "10.2.0.2");
    assert_eq!(looks(lab, "ns1"), inside);
    assert_eq!(
        lab.devices().len(),
        1 + 1 + 5 + 2,
        "no second pair was made: {:?}",
        lab.devices()
    );
}

pub fn deleted_by_its_user_is_made_again(lab: &Lab) {
    let switch = two_vlans(lab);
    lab.ping("ns1", "10.1.0.2");
    lab.sh("ip -n ns1 link del tap1a");
    eventually("tap1a is made again", || lab.link("tap1a").is_some());
    let flags = lab.link("tap1a").unwrap()["flags"].to_string();
    assert!(!flags.contains("\"UP\""), "{flags}");
    lab.sh("ip link set tap1a netns ns1; ip -n ns1 addr add 10.1.0.1/24 dev tap1a; ip -n ns1 link set tap1a up");
    lab.ping("ns1", "10.1.0.2");
    assert_eq!(switch.interface("tap1a", "error"), "[]");
    assert!(switch.ctl("show").contains("tag: 100"));
    // The bridge's own interface too.
    lab.sh("ip link del br1");
    eventually("br1 is made again", || lab.link("br1").is_some());
}

pub fn namespace_deleted_is_made_again(lab: &Lab) {
    let switch = two_vlans(lab);
    for _ in 0..2 {
        lab.ping("ns1", "10.1.0.2");
        lab.sh("ip netns del ns1");
        eventually("both ports are back here", || {
            lab.link("tap1a").is_some() && lab.link("tap1b").is_some()
        });
        lab.namespaces(&["ns1"]);
        for (letter, net, tag) in [("a", 1, 100), ("b", 2, 200)] {
            switch.ctl(&format!("--may-exist add-port br1 tap1{letter} tag={tag} -- set interface tap1{letter} type=internal"));
            lab.sh(&format!(
                "ip link set tap1{letter} netns ns1; ip -n ns1 addr add 10.{net}.0.1/24 dev tap1{letter}; ip -n ns1 link set tap1{letter} up"
            ));
        }
    }
    lab.ping("ns1", "10.1.0.2");
    lab.ping("ns1", "10.2.0.2");
}

/// In its namespace the device is its user's: name, MTU and address may change there.
pub fn renamed_and_readdressed_in_its_namespace(lab: &Lab) {
    let mut switch = two_vlans(lab);
    lab.ping("ns1", "10.1.0.2");
    lab.sh(
        "ip -n ns1 link set tap1a down; ip -n ns1 link set tap1a name eth0; ip -n ns1 link set eth0 mtu 1400 address 02:00:00:00:aa:01; \
         ip -n ns1 link set eth0 up",
    );
    lab.ping("ns1", "10.1.0.2");
    eventually("the address is learned", || {
        switch
            .fdb("br1")
            .iter()
            .any(|e| e.1 == "02:00:00:00:aa:01" && e.2 == "tap1a")
    });
    switch.kill9();
    switch.again();
    lab.ping("ns1", "10.1.0.2");
    assert!(lab
        .sh("ip -n ns1 -br link show dev eth0")
        .contains("02:00:00:00:aa:01"));
    assert!(
        lab.link("tap1a").is_none(),
        "the renamed device is the port; no other was made"
    );
    // Removing the port removes the device, wherever it is and whatever it is called.
    switch.ctl("del-port tap1a");
    eventually("the device goes with the port", || {
        lab.try_sh("ip -n ns1 link show dev eth0").code != 0
    });
}

pub fn attributes_at_birth(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    switch.ctl("add-port br1 in0 -- set interface in0 type=internal mac=\"02:00:00:00:00:77\"");
    let link = lab.link("in0").unwrap();
    assert_eq!(link["address"], "02:00:00:00:00:77");
    assert_eq!(link["mtu"], 1500);
    assert!(!link["flags"].to_string().contains("\"UP\""), "{link}");
    // The MTU is the bridge's: that of its smallest device.
    lab.sh("ip link add v0 mtu 1300 type veth peer name v1");
    switch.ctl("add-port br1 v0 -- add-port br1 in1 -- set interface in1 type=internal");
    switch.wait_port("in1");
    switch.ctl("add-port br1 in2 -- set interface in2 type=internal");
    assert_eq!(lab.link("in2").unwrap()["mtu"], 1300);
    // Without a wish the address is stable: the same after the device was deleted and made again.
    let mac = lab.link("br1").unwrap()["address"].clone();
    lab.sh("ip link del br1");
    eventually("br1 is made again", || lab.link("br1").is_some());
    assert_eq!(lab.link("br1").unwrap()["address"], mac);
    switch.ctl("set interface in0 mtu_request=1400");
    eventually("mtu_request is obeyed", || {
        lab.link("in0").unwrap()["mtu"] == 1400
    });
    switch.ctl("set bridge br1 other-config:hwaddr=02:00:00:00:00:88");
    eventually("hwaddr is obeyed", || {
        lab.link("br1").unwrap()["address"] == "02:00:00:00:00:88"
    });
}

pub fn foreign_device_of_that_name_is_refused(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    switch.expects(&["not one that the switch made"]);
    lab.sh("ip link add taken type ifb; ip link add lbr type bridge");
    switch.refuses(
        "add-port br1 taken -- set interface taken type=internal",
        1,
        &["taken", "ifb"],
    );
    switch.refuses("add-br lbr", 1, &["lbr", "bridge"]);
    assert_eq!(lab.link("taken").unwrap()["linkinfo"]["info_kind"], "ifb");
}

/// As with Open vSwitch, but that an MTU which the user has set by hand stays.
pub fn mtu_follows_the_smallest_port(lab: &Lab) {
    let mut switch = Daemon::start(lab, "--bridge br1");
    let mtu = |device: &str, mtu: u32| {
        eventually(&format!("{device} has an MTU of {mtu}"), || {
            lab.link(device).unwrap()["mtu"] == mtu
        });
    };
    lab.sh("ip link add v0 mtu 1300 type veth peer name v0p; ip link add v1 mtu 9000 type veth peer name v1p");
    switch.ctl("add-port br1 in0 -- set interface in0 type=internal");
    mtu("in0", 1500);
    switch.ctl("add-port br1 v0");
    mtu("br1", 1300);
    mtu("in0", 1300);
    eventually("the database says so", || {
        switch.interface("br1", "mtu") == "1300"
    });
    lab.sh("ip link set v0 mtu 1200");
    mtu("br1", 1200);
    switch.ctl("add-port br1 in1 -- set interface in1 type=internal mtu_request=1400");
    lab.sh("ip link set v0 mtu 9000");
    mtu("br1", 1400);
    mtu("in1", 1400);
    switch.ctl("add-port br1 v1 -- del-port in1");
    mtu("br1", 9000);
    mtu("in0", 9000);
    // By hand.
    lab.sh("ip link set in0 mtu 1234");
    lab.sh("ip link set v0 mtu 1450");
    mtu("br1", 1450);
    mtu("in0", 1234);
    switch.kill9();
    lab.sh("ip link set v0 mtu 1400; ip link set in0 mtu 1500");
    switch.again();
    mtu("br1", 1400);
    mtu("in0", 1500);
    lab.sh("ip link set v0 mtu 9000");
    mtu("br1", 9000);
    mtu("in0", 1500);
    switch.ctl("del-port v0 -- del-port v1");
    mtu("br1", 1500);
}
