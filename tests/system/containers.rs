//! A script that plugs containers into a bridge, as those do that come with Docker: it keeps nothing itself, and finds what it
//! has made by `external_ids`.

use rvs_tests::{eventually, Daemon, Lab};

/// `plug BRIDGE IFACE CONTAINER ADDRESS`, `unplug BRIDGE IFACE CONTAINER`, `unplug_all CONTAINER` and
/// `retag BRIDGE IFACE CONTAINER VLAN`; a container is a namespace here.
const SCRIPT: &str = r#"
vsctl() { ovs-vsctl --timeout=60 "$@"; }
port_of() {
    vsctl --data=bare --no-heading --columns=name find interface external_ids:container_id="$2" external_ids:container_iface="$1"
}
plug() {
    if ! vsctl br-exists "$1"; then vsctl add-br "$1"; fi
    if [ -n "$(port_of "$2" "$3")" ]; then echo "$3 has $2 already" >&2; return 1; fi
    id=$(od -An -N6 -tx1 /dev/urandom | tr -d ' ')
    ip link add "${id}_l" type veth peer name "${id}_c"
    if ! vsctl --may-exist add-port "$1" "${id}_l" -- set interface "${id}_l" external_ids:container_id="$3" external_ids:container_iface="$2"; then
        ip link del "${id}_l"
        return 1
    fi
    ip link set "${id}_l" up
    ip link set "${id}_c" netns "$3"
    ip -n "$3" link set dev "${id}_c" name "$2"
    ip -n "$3" link set "$2" up
    ip -n "$3" addr add "$4" dev "$2"
}
unplug() {
    port=$(port_of "$2" "$3")
    if [ -z "$port" ]; then echo "$3 has no $2" >&2; return 1; fi
    vsctl --if-exists del-port "$1" "$port"
    ip link del "$port"
}
unplug_all() {
    for port in $(vsctl --data=bare --no-heading --columns=name find interface external_ids:container_id="$1"); do
        vsctl --if-exists del-port "$port"
        ip link del "$port"
    done
}
retag() { vsctl set port "$(port_of "$2" "$3")" tag="$4"; }
"#;

pub fn a_script_plugs_them_in(lab: &Lab) {
    let switch = Daemon::start(lab, "");
    std::fs::write(lab.path("script"), SCRIPT).unwrap();
    lab.namespaces(&["c1", "c2", "c3"]);
    let environment = format!(
        "export OVS_RUNDIR={}; . ./script",
        switch.rundir().display()
    );
    let run = |words: &str| lab.sh(&format!("{environment}; {words}"));
    run("vsctl --may-exist add-br br1; vsctl --may-exist add-br br1");
    for n in 1..=3 {
        run(&format!("plug br1 eth0 c{n} 10.0.0.{n}/24"));
    }
    run("plug br2 eth1 c1 10.1.0.1/24; plug br2 eth1 c2 10.1.0.2/24");
    lab.ping("c1", "10.0.0.2");
    lab.ping("c3", "10.0.0.1");
    lab.ping("c1", "10.1.0.2");
    let twice = lab.try_sh(&format!("{environment}; plug br1 eth0 c1 10.0.0.9/24"));
    assert!(
        twice.code == 1 && twice.err.contains("already"),
        "{twice:?}"
    );
    run("retag br1 eth0 c1 100; retag br1 eth0 c2 100; retag br1 eth0 c3 200");
    lab.ping("c1", "10.0.0.2");
    lab.no_ping("c1", "10.0.0.3");
    lab.ping("c1", "10.1.0.2");
    run("unplug br1 eth0 c2");
    lab.no_ping("c1", "10.0.0.2");
    let gone = lab.try_sh(&format!("{environment}; unplug br1 eth0 c2"));
    assert!(
        gone.code == 1 && gone.err.contains("has no eth0"),
        "{gone:?}"
    );
    run("plug br1 eth0 c2 10.0.0.2/24; retag br1 eth0 c2 200");
    lab.ping("c2", "10.0.0.3");
    run("unplug_all c1; unplug_all c2; unplug_all c3");
    assert_eq!(run("vsctl list-ports br1; vsctl list-ports br2"), "");
    run("vsctl del-br br1 -- del-br br2");
    eventually("no device is left", || lab.devices() == ["lo"]);
    let log = switch.log();
    assert!(!log.contains("|WARN|") && !log.contains("|ERR|"), "{log}");
}
