//! Two hosts on one bridge: the first story of the guide.

use rvs_tests::{eventually, Daemon, Lab};

/// A bridge with two namespaces, `red` and `green`, 10.0.0.1 and 10.0.0.2.
pub fn red_and_green<'a>(lab: &'a Lab, bridge: &str) -> Daemon<'a> {
    let switch = Daemon::start(lab, &format!("--bridge {bridge}"));
    lab.namespaces(&["red", "green"]);
    lab.host("red", "veth-r", "eth0-r", "10.0.0.1/24");
    lab.host("green", "veth-g", "eth0-g", "10.0.0.2/24");
    switch.ctl(&format!("add-port {bridge} veth-r"));
    switch.ctl(&format!("add-port {bridge} veth-g"));
    switch
}

pub fn two_namespaces_talk(lab: &Lab) {
    let switch = red_and_green(lab, "OVS1");
    let show = switch.ctl("show");
    for line in [
        "Bridge OVS1",
        "Port OVS1",
        "type: internal",
        "Port veth-r",
        "Port veth-g",
    ] {
        assert!(show.contains(line), "no \"{line}\" in\n{show}");
    }
    assert!(!show.contains("error"), "{show}");

    lab.ping("red", "10.0.0.2");
    lab.ping_size("green", "10.0.0.1", 1472);
    lab.ping_size("green", "10.0.0.1", 9000);
    lab.sh("ip -n red addr add fd00::1/64 dev eth0-r; ip -n green addr add fd00::2/64 dev eth0-g");
    lab.ping("red", "fd00::2");

    // With the veths' default offloads: frames of 64 KiB without checksums.
    let mbits = lab.tcp("red", "green", "10.0.0.2");
    assert!(mbits > 500.0, "TCP at {mbits} Mbit/s");
    let mbits = lab.tcp("green", "red", "fd00::1");
    assert!(mbits > 500.0, "TCP over IPv6 at {mbits} Mbit/s");
    let arrived = lab.udp("red", "green", "10.0.0.2", "20M");
    assert!(arrived > 0.95, "{arrived} of the datagrams arrived");

    let packets = |json: &serde_json::Value| -> u64 {
        let flows = json["flows"].as_array().unwrap();
        let carries = |f: &&serde_json::Value| {
            f["in_port"] == "veth-r"
                && f["actions"] == "veth-g"
                && f["match"].as_str().unwrap().contains("0x0800")
        };
        flows
            .iter()
            .filter(carries)
            .map(|f| f["packets"].as_u64().unwrap())
            .sum()
    };
    let before = packets(&switch.json("dump-cache"));
    assert!(before > 0, "{}", switch.ctl("dump-cache"));
    lab.ping_size("red", "10.0.0.2", 56);
    eventually("the flow's counter grows", || {
        packets(&switch.json("dump-cache")) >= before + 3
    });

    let known = switch.fdb("OVS1");
    for (ns, device, port) in [("red", "eth0-r", "veth-r"), ("green", "eth0-g", "veth-g")] {
        let entry = (0, lab.mac(ns, device), port.to_owned());
        assert!(known.contains(&entry), "{entry:?} not in {known:?}");
    }
    assert_eq!(known.len(), 2, "{known:?}");
}

pub fn capture_sees_both_directions(lab: &Lab) {
    let _switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    let capture = lab.capture("", "veth-r", "icmp");
    lab.ping_size("red", "10.0.0.2", 56);
    capture.sees(&["10.0.0.1 > 10.0.0.2", "echo request"]);
    capture.sees(&["10.0.0.2 > 10.0.0.1", "echo reply"]);
    eventually("all six frames, each once", || {
        capture.count("ICMP echo") >= 6
    });
    assert_eq!(capture.count("ICMP echo"), 6, "{:#?}", capture.lines());
}

/// A port may be added before its device is up, before it exists, or before its peer has moved.
pub fn ports_come_alive_in_any_order(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    switch.expects(&["could not open network device"]);
    lab.namespaces(&["red", "green", "blue"]);
    // Added while down and before the peer moves.
    lab.sh("ip link add eth0-r type veth peer name veth-r");
    switch.ctl("add-port br1 veth-r");
    lab.sh("ip link set eth0-r netns red; ip -n red addr add 10.0.0.1/24 dev eth0-r");
    lab.sh("ip -n red link set eth0-r up; ip link set veth-r up");
    // Added while it does not exist.
    assert_eq!(switch.try_ctl("add-port br1 veth-g").code, 0);
    lab.host("green", "veth-g", "eth0-g", "10.0.0.2/24");
    // Added when everything is up.
    lab.host("blue", "veth-b", "eth0-b", "10.0.0.3/24");
    switch.ctl("add-port br1 veth-b");
    lab.ping("red", "10.0.0.2");
    lab.ping("green", "10.0.0.3");
    // Down and up again.
    lab.sh("ip link set veth-g down");
    eventually("the port is down", || {
        switch.interface("veth-g", "admin_state") == "down"
    });
    lab.no_ping("red", "10.0.0.2");
    lab.sh("ip link set veth-g up");
    lab.ping("red", "10.0.0.2");
    lab.sh("ip -n green link set eth0-g down; ip -n green link set eth0-g up");
    lab.ping("red", "10.0.0.2");
}

/// An address that turns up behind another port is sent there with the next frame, cached flows or not.
/// Green falls silent and blue has its MAC and IP addresses from here on. Returns the MAC.
pub fn move_green_to_blue(lab: &Lab) -> String {
    let mac = lab.mac("green", "eth0-g");
    lab.sh("ip -n green link set eth0-g down");
    lab.sh(&format!(
        "ip -n blue link set eth0-b down; ip -n blue addr flush dev eth0-b; ip -n blue link set eth0-b address {mac}; \
         ip -n blue addr add 10.0.0.2/24 dev eth0-b; ip -n blue link set eth0-b up"
    ));
    mac
}

pub fn mac_that_moves_takes_effect_at_once(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.namespaces(&["blue"]);
    lab.host("blue", "veth-b", "eth0-b", "10.0.0.9/24");
    switch.ctl("add-port br1 veth-b");
    lab.ping("red", "10.0.0.2");
    lab.ping("red", "10.0.0.9");
    let mac = move_green_to_blue(lab);
    // Whatever the host says first teaches the switch; the very next ping must come through.
    lab.ping("blue", "10.0.0.1");
    lab.ping_size("red", "10.0.0.2", 56);
    assert!(
        switch.fdb("br1").contains(&(0, mac, "veth-b".to_owned())),
        "{:?}",
        switch.fdb("br1")
    );
}

pub fn uplink_with_an_address_is_explained(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    switch.expects(&["on which the host no longer answers"]);
    lab.namespaces(&["outside"]);
    lab.host("outside", "up0", "out0", "10.9.0.2/24");
    lab.sh("ip addr add 10.9.0.1/24 dev up0");
    lab.ping("outside", "10.9.0.1");
    let ran = switch.try_ctl("add-port br1 up0");
    assert_eq!(ran.code, 0, "{}", ran.err);
    for words in [
        "no longer answers",
        "ip addr del 10.9.0.1/24 dev up0",
        "ip addr add 10.9.0.1/24 dev br1",
        "ip link set br1 up",
    ] {
        assert!(ran.err.contains(words), "no \"{words}\" in: {}", ran.err);
    }
    lab.no_ping("outside", "10.9.0.1");
    // The commands that were printed do what they say.
    let start = ran.err.find("ip addr del").unwrap();
    lab.sh(ran.err[start..].trim());
    // Neighbours go on sending to the uplink's MAC address until they ask again.
    lab.sh("ip -n outside neigh flush dev out0");
    lab.ping("outside", "10.9.0.1");
}

/// `ip link` shows bridges' interfaces, internal ports and their hidden ends, the punt device, and nothing else of ours.
pub fn nothing_but_ours_is_visible(lab: &Lab) {
    let before = lab.devices();
    let switch = Daemon::start(lab, "--bridge br1");
    switch.ctl("add-port br1 tap1a -- set interface tap1a type=internal");
    let mut ours: Vec<String> = lab
        .devices()
        .into_iter()
        .filter(|d| !before.contains(d))
        .collect();
    ours.sort();
    let (hidden, named): (Vec<_>, Vec<_>) = ours.into_iter().partition(|d| d.starts_with("rv-"));
    assert_eq!(named, ["br1", "tap1a"]);
    assert_eq!(hidden.len(), 2 + 2, "{hidden:?}");
    for device in hidden {
        let link = lab.link(&device).unwrap();
        assert_eq!(link["mtu"], 65_535, "{link}");
        assert_eq!(link["inet6_addr_gen_mode"], "none", "{link}");
        assert!(
            link["flags"].as_array().unwrap().contains(&"NOARP".into()),
            "{link}"
        );
    }
    switch.ctl("del-port tap1a");
    switch.ctl("del-br br1");
    eventually("nothing is left", || lab.devices() == before);
}

/// Two bridges of one daemon are two switches: what one knows and carries is nothing to the other.
pub fn bridges_are_apart(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    switch.ctl("add-br br2");
    lab.namespaces(&["blue"]);
    lab.host("blue", "veth-b", "eth0-b", "10.0.0.3/24");
    switch.ctl("add-port br2 veth-b");
    lab.ping("red", "10.0.0.2");
    let capture = lab.capture("blue", "eth0-b", "");
    lab.no_ping("red", "10.0.0.3");
    assert_eq!(capture.count("10.0.0.1"), 0, "{:#?}", capture.lines());
    // From one bridge to the other in one transaction: out of the old one at once, into the new one too.
    switch.ctl("del-port br2 veth-b -- add-port br1 veth-b");
    lab.ping("red", "10.0.0.3");
    assert!(switch.fdb("br2").is_empty(), "{:?}", switch.fdb("br2"));
    switch.ctl("del-br br2");
    lab.ping("red", "10.0.0.3");
}
