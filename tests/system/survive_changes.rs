//! What may happen to the machine while no daemon lives, or to what the daemon leaves: the next one finds its way.

use std::time::Duration;

use rvs_tests::lab::within;
use rvs_tests::wire::client;
use rvs_tests::{eventually, Daemon, Lab};

use crate::survive::{
    know_each_other, lasting, pins, programs, remembered, survival_of, whole, Stream, NAMES,
};

/// Who moved a port away must not be left with a program of ours.
pub fn a_port_that_moved_away_is_let_go(lab: &Lab) {
    let mut switch = lasting(lab, "");
    switch.expects(&["could not open network device"]);
    lab.namespaces(&["blue"]);
    lab.ping("red", "10.0.0.2");
    remembered(&switch, 2);
    let stream = Stream::start(lab, 7101, 60);
    stream.in_the_kernel(&switch);
    let hears = || {
        let asked = lab.try_sh_in("green", "ip neigh flush all; ping -c 1 -W 1 10.0.0.9");
        asked.code == 0
    };
    switch.kill9();
    lab.sh("ip link set veth-g netns blue");
    lab.sh("ip -n blue addr add 10.0.0.9/24 dev veth-g; ip -n blue link set veth-g up");
    assert!(hears(), "the program stayed behind");
    switch.again();
    assert!(switch
        .interface("veth-g", "error")
        .contains("No such device"));
    assert_eq!(programs(lab), 2);
    assert!(hears());
    stream.stop();
}

/// The daemon that comes has another program: nothing is adopted, no frame is seen twice, and soon all is as before.
pub fn another_program_takes_over(lab: &Lab) {
    let mut switch = lasting(lab, "");
    switch.expects(&["on which the host no longer answers"]);
    lab.ping("red", "10.0.0.2");
    remembered(&switch, 2);
    lab.sh("ip addr add 10.0.0.77/24 dev veth-r");
    let stream = Stream::start(lab, 7102, 6);
    stream.in_the_kernel(&switch);
    switch.kill9();
    // Its name tells one program from another.
    lab.sh("cd bpf/rvswitch-*; mv program-* program-0123456789abcdef");
    switch.again();
    assert_eq!(switch.counter("kcache_adopted"), 0);
    assert_ne!(lab.try_sh_in("red", "ping -c 1 -W 1 10.0.0.77").code, 0);
    stream.in_the_kernel(&switch);
    assert_eq!((pins(lab).len(), programs(lab)), (NAMES, 3));
    let came = stream.end();
    assert_eq!(came["twice"], 0, "{came}");
    assert!(came["silence"].as_u64().unwrap() < 5000, "{came}");
}

/// Somebody unmounts the bpf file system of a daemon that lives: it says so, and goes on; mounted again, all is as before.
pub fn its_file_system_is_unmounted(lab: &Lab) {
    let mut switch = lasting(lab, "");
    switch.expects(&["flows in the kernel end with the daemon"]);
    lab.ping("red", "10.0.0.2");
    let stream = Stream::start(lab, 7103, 60);
    stream.in_the_kernel(&switch);
    lab.sh("umount bpf");
    within(Duration::from_secs(10), "it is noticed", || {
        survival_of(&switch).contains("are gone")
    });
    let log = switch.log();
    assert_eq!(log.matches("are gone").count(), 1, "{log}");
    switch.ctl("del-port br1 veth-g");
    switch.ctl("add-port br1 veth-g");
    lab.ping("green", "10.0.0.1");
    lab.sh("mount -t bpf none bpf");
    within(Duration::from_secs(10), "names are given anew", || {
        survival_of(&switch).contains("go on for")
    });
    assert_eq!((pins(lab).len(), programs(lab)), (NAMES, 3));
    stream.in_the_kernel(&switch);
    // Covered up for a while: its own names come back, and nothing that they stand for may be taken off.
    let covered = Stream::start(lab, 7105, 6);
    covered.in_the_kernel(&switch);
    lab.sh("mount -t tmpfs none bpf");
    within(Duration::from_secs(10), "it is noticed", || {
        survival_of(&switch).contains("are gone")
    });
    lab.sh("umount bpf");
    within(Duration::from_secs(10), "names are given anew", || {
        survival_of(&switch).contains("go on for")
    });
    whole(&covered.end(), 2900);
    stream.stop();
    let stream = Stream::start(lab, 7104, 8);
    stream.in_the_kernel(&switch);
    remembered(&switch, 0);
    switch.kill9();
    std::thread::sleep(Duration::from_millis(300));
    switch.again();
    assert!(switch.counter("kcache_adopted") > 0, "{}", switch.log());
    whole(&stream.end(), 3900);
}

/// There is no bpf file system when the daemon starts: all works but survival, which comes with it.
pub fn its_file_system_comes_late(lab: &Lab) {
    lab.sh("mkdir bpf");
    let bpf = lab.path("bpf");
    let arguments = format!("--bridge br1 --bpffs {}", bpf.display());
    let mut switch = Daemon::start(lab, &arguments);
    switch.expects(&["flows in the kernel end with the daemon"]);
    lab.namespaces(&["red", "green"]);
    lab.host("red", "veth-r", "eth0", "10.0.0.1/24");
    lab.host("green", "veth-g", "eth0", "10.0.0.2/24");
    know_each_other(lab, "eth0", "eth0");
    switch.ctl("add-port br1 veth-r");
    switch.ctl("add-port br1 veth-g");
    lab.ping("red", "10.0.0.2");
    assert!(survival_of(&switch).contains("no bpf file system"));
    let said = |what: &str| switch.log().lines().filter(|l| l.contains(what)).count();
    assert_eq!(said("no bpf file system"), 1, "{}", switch.log());
    assert_eq!(switch.counter("kcache_names_lost"), 1);
    lab.sh("mount -t bpf none bpf");
    within(Duration::from_secs(10), "names are given", || {
        survival_of(&switch).contains("go on for")
    });
    assert_eq!(said("flows in the kernel outlive the daemon"), 1);
    let stream = Stream::start(lab, 7106, 8);
    stream.in_the_kernel(&switch);
    remembered(&switch, 0);
    switch.kill9();
    std::thread::sleep(Duration::from_millis(300));
    switch.again();
    assert!(switch.counter("kcache_adopted") > 0, "{}", switch.log());
    whole(&stream.end(), 3900);
}

/// A controller that is dialled again gives the same rules: what the kernel does meanwhile stays.
pub fn a_controller_that_comes_back_finds_no_frame_lost(lab: &Lab) {
    let mut switch = lasting(lab, "");
    let controller = lab.spawn(
        "controller",
        &format!("python3 {} 6654 1,2 2,1", client("giver.py").display()),
    );
    eventually("it listens", || controller.out().contains("listening"));
    switch.ctl("set-fail-mode br1 secure");
    switch.ctl("set-controller br1 tcp:127.0.0.1:6654");
    eventually("it has said its rules", || {
        controller.out().contains("done")
    });
    let stream = Stream::start(lab, 7105, 20);
    stream.in_the_kernel(&switch);
    remembered(&switch, 0);
    for _ in 0..2 {
        switch.kill9();
        std::thread::sleep(Duration::from_millis(700));
        switch.again();
        within(Duration::from_secs(10), "its rules are back", || {
            switch.counter("kcache_adopted") > 0
        });
        remembered(&switch, 0);
    }
    whole(&stream.end(), 9900);
}

/// A tree grows from closed ports: the flows go on until the new daemon comes, then wait for it, and no frame comes twice.
pub fn a_tree_is_grown_anew(lab: &Lab) {
    let mut switch = lasting(lab, "");
    switch.ctl("set bridge br1 rstp_enable=true");
    within(Duration::from_secs(20), "the ports are open", || {
        lab.try_sh_in("red", "ping -q -c 1 -W 1 10.0.0.2").code == 0
    });
    let stream = Stream::start(lab, 7106, 60);
    stream.in_the_kernel(&switch);
    remembered(&switch, 0);
    let capture = lab.capture("green", "eth0", "udp port 7106");
    switch.kill9();
    eventually("it goes on without a daemon", || {
        capture.count("7106") > 100
    });
    switch.again();
    assert_eq!(switch.counter("kcache_adopted"), 0, "{}", switch.log());
    std::thread::sleep(Duration::from_millis(300));
    let closed = capture.count("7106");
    within(Duration::from_secs(40), "the ports are open again", || {
        capture.count("7106") > closed + 100
    });
    stream.in_the_kernel(&switch);
    let came = stream.stop();
    assert_eq!(came["twice"], 0, "{came}");
}
