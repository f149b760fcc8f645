//! The daemon's life: starts that fail, ends that are clean or not, and what is there afterwards.

use std::time::Duration;

use rvs_tests::daemon::{binary, ctl};
use rvs_tests::lab::within;
use rvs_tests::{eventually, Daemon, Lab};

use crate::hosts::red_and_green;
use crate::vlans::two_vlans;

pub fn configuration_is_back_after_restart_and_kill(lab: &Lab) {
    let mut switch = red_and_green(lab, "br1");
    switch.expects(&["could not open network device"]);
    switch.ctl("add-br br2 -- add-port br2 waits trunks=1,2 vlan_mode=native-tagged tag=1 -- set bridge br2 fail_mode=secure");
    switch.ctl("set port veth-r tag=100 -- set port veth-g tag=100");
    lab.ping("red", "10.0.0.2");
    let configured = switch.configuration();
    let numbers = ["veth-r", "veth-g"].map(|p| switch.interface(p, "ofport"));
    // Killed the moment a command has returned: it counts all the same.
    switch.ctl("add-br br3");
    switch.kill9();
    switch.again();
    lab.ping("red", "10.0.0.2");
    switch.ctl("br-exists br3");
    switch.ctl("del-br br3");
    assert_eq!(switch.terminate(), 0);
    eventually("a device that nobody wants any more", || {
        !lab.devices().contains(&"br3".to_owned())
    });
    switch.again();
    lab.ping("red", "10.0.0.2");
    assert_eq!(switch.configuration(), configured);
    assert_eq!(
        ["veth-r", "veth-g"].map(|p| switch.interface(p, "ofport")),
        numbers
    );
}

pub fn second_daemon_is_refused(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    let ran = lab.try_sh(&format!(
        "{} --rundir {} --db other.db",
        binary("rvswitchd").display(),
        switch.rundir().display()
    ));
    assert_eq!(ran.code, 1);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    for words in [
        "another switch daemon",
        &format!("pid {}", switch.pid()),
        "--rundir",
    ] {
        assert!(ran.err.contains(words), "no \"{words}\" in: {}", ran.err);
    }
    assert!(!lab.path("other.db").exists(), "nothing was made");
    assert_eq!(switch.ctl("list-br"), "br1\n", "the first one is unharmed");
    // Two run directories but one database: refused too.
    let ran = lab.try_sh(&format!(
        "{} --rundir elsewhere --db {}",
        binary("rvswitchd").display(),
        switch.database().display()
    ));
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(
        ran.err.contains(&switch.database().display().to_string()),
        "{}",
        ran.err
    );
}

/// Two switches on one machine, each with its own database, leave each other's devices alone.
pub fn two_daemons_share_a_machine(lab: &Lab) {
    let one = Daemon::named(lab, "one", "--bridge br1");
    let mut two = Daemon::named(lab, "two", "--bridge br2");
    one.expects(&["not one that the switch made"]);
    one.refuses("add-br br2", 1, &["br2"]);
    two.kill9();
    two.again();
    assert_eq!(two.ctl("exit --cleanup"), "");
    assert_eq!(two.wait_end(), 0);
    assert!(
        lab.link("br1").is_some() && lab.link("br2").is_none(),
        "{:?}",
        lab.devices()
    );
    assert_eq!(one.ctl("list-br"), "br1\n");
}

pub fn no_privileges(lab: &Lab) {
    for drop in ["-net_raw,-net_admin", "-net_admin", "-net_raw"] {
        let ran = lab.try_sh(&format!(
            "exec setpriv --bounding-set={drop} --inh-caps={drop} {} --rundir run --db conf.db",
            binary("rvswitchd").display()
        ));
        assert_eq!(ran.code, 1, "{drop}: {}{}", ran.out, ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{drop}: {}", ran.err);
        assert!(
            ran.err.contains("root") && ran.err.contains("CAP_NET_"),
            "{drop}: {}",
            ran.err
        );
    }
    // A user who may not open the socket is told so.
    let switch = Daemon::start(lab, "--bridge br1");
    lab.sh("chmod 755 .; chmod -R o+rX .");
    let ran = lab.try_sh(&format!(
        "exec setpriv --reuid=65534 --regid=65534 --clear-groups {} --rundir {} show",
        copy_for_everybody(lab, "rvs-ctl"),
        switch.rundir().display()
    ));
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(
        ran.err.contains("db.sock") && ran.err.contains("as root"),
        "{}",
        ran.err
    );
}

/// A build directory may be closed to other users.
pub fn copy_for_everybody(lab: &Lab, name: &str) -> String {
    let copy = lab.path(name);
    std::fs::copy(binary(name), &copy).unwrap();
    copy.display().to_string()
}

/// SIGTERM and `exit`: code 0, nothing of the run directory is left but the database, devices stay.
pub fn clean_end(lab: &Lab) {
    let mut switch = Daemon::start(lab, "--bridge br1");
    let log = |switch: &Daemon<'_>| {
        let log = switch.log();
        assert!(!log.contains("panic") && !log.contains("|ERR|"), "{log}");
    };
    let files = |lab: &Lab| std::fs::read_dir(lab.path("switch")).map_or(0, Iterator::count);
    assert_eq!(switch.terminate(), 0);
    log(&switch);
    assert_eq!(files(lab), 0);
    assert!(lab.link("br1").is_some());
    switch.again();
    switch.ctl("exit");
    assert_eq!(switch.wait_end(), 0);
    log(&switch);
    assert_eq!(files(lab), 0);
    assert!(lab.link("br1").is_some());
    // Killed: what it left behind in the run directory does not pile up.
    for _ in 0..3 {
        switch.again();
        switch.kill9();
    }
    switch.again();
    assert_eq!(switch.terminate(), 0);
    assert_eq!(files(lab), 0);
}

pub fn exit_with_cleanup_leaves_nothing(lab: &Lab) {
    let mut switch = two_vlans(lab);
    lab.host("ns1", "veth-r", "eth0-r", "10.0.0.1/24");
    switch.ctl("add-port br1 veth-r");
    lab.ping("ns1", "10.1.0.2");
    let outside = |lab: &Lab| {
        eventually("only what we did not make is left", || {
            lab.devices() == ["lo", "veth-r"]
        });
        for ns in ["ns1", "ns2"] {
            assert!(!lab.sh(&format!("ip -n {ns} -br link")).contains("tap"));
        }
        let hooks = lab.try_sh("tc qdisc show dev veth-r; tc filter show dev veth-r ingress");
        assert!(
            !hooks.out.contains("bpf") && !hooks.out.contains("clsact"),
            "{}",
            hooks.out
        );
        lab.sh("ip addr add 10.0.0.2/24 dev veth-r");
        lab.ping("ns1", "10.0.0.2");
        lab.sh("ip addr flush dev veth-r");
    };
    switch.ctl("exit --cleanup");
    assert_eq!(switch.wait_end(), 0);
    outside(lab);
    // The configuration is another matter: it is back with the next start.
    switch.again();
    assert!(lab.link("tap1a").is_some());
    drop(switch);
    let mut switch = Daemon::start(lab, "--cleanup-on-exit");
    assert_eq!(switch.terminate(), 0);
    outside(lab);
}

pub fn detached(lab: &Lab) {
    let (dir, daemon) = (lab.path("bg"), binary("rvswitchd"));
    let line = format!(
        "{} --detach --rundir {d} --db {d}.db --bridge br1 --pidfile {d}.pid",
        daemon.display(),
        d = dir.display()
    );
    // It must outlive the command; so the test ends it by the pid in the file that it names.
    let ran = lab.try_sh(&format!("{line} >bg.out 2>bg.err < /dev/null; cat bg.out"));
    let pid = std::fs::read_to_string(lab.path("bg.pid"))
        .unwrap_or_default()
        .trim()
        .to_owned();
    struct End(String);
    impl Drop for End {
        fn drop(&mut self) {
            let _ = std::process::Command::new("kill")
                .args(["-9", &self.0])
                .output();
        }
    }
    let end = End(pid);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("ready"), "{}", ran.out);
    assert_eq!(ctl(&dir, "list-br").out, "br1\n", "ready means ready");
    assert_eq!(
        std::fs::read_to_string(dir.join("rvswitchd.pid"))
            .unwrap()
            .trim(),
        end.0
    );
    let again = lab.try_sh(&line);
    assert_eq!(again.code, 1, "{}{}", again.out, again.err);
    assert!(again.err.contains("another switch daemon"), "{}", again.err);
    assert_eq!(ctl(&dir, "exit").code, 0);
    eventually("it ends", || {
        !std::path::Path::new(&format!("/proc/{}", end.0)).exists()
            || !dir.join("rvswitchd.pid").exists()
    });
}

pub fn bad_options(lab: &Lab) {
    let daemon = binary("rvswitchd");
    for (words, code, says) in [
        ("--frob", 2, "--frob"),
        ("--log loudly", 2, "loudly"),
        ("--bridge", 2, "--bridge"),
        ("--workers many", 2, "many"),
        ("--bridge this-name-is-too-long", 1, "this-name-is-too-long"),
        ("--bridge a/b", 1, "a/b"),
        ("--rundir /proc/nothing", 1, "/proc/nothing"),
        ("--db /proc/nothing/conf.db", 1, "/proc/nothing"),
    ] {
        let ran = lab.try_sh(
            &format!(
                "exec timeout 5 {} --rundir run --db conf.db {words}",
                daemon.display()
            )
            .replace(
                if words.contains("--rundir") {
                    "--rundir run "
                } else if words.contains("--db") {
                    "--db conf.db "
                } else {
                    "\0"
                },
                "",
            ),
        );
        assert_eq!(ran.code, code, "{words}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(says), "{words}: {}", ran.err);
        assert!(!ran.err.contains("panicked"), "{words}: {}", ran.err);
    }
}

/// A daemon that is busy, or stopped for a while, is alive: the host is kept away. One that is dead is known at once.
pub fn host_answers_again_after_kill(lab: &Lab) {
    let mut switch = Daemon::start(lab, "--bridge br1");
    switch.expects(&["on which the host no longer answers"]);
    lab.namespaces(&["outside"]);
    lab.host("outside", "up0", "out0", "10.9.0.2/24");
    lab.sh("ip addr add 10.9.0.1/24 dev up0");
    lab.ping("outside", "10.9.0.1");
    let mac = lab.link("up0").unwrap()["address"]
        .as_str()
        .unwrap()
        .to_owned();
    lab.sh(&format!(
        "ip -n outside neigh replace 10.9.0.1 lladdr {mac} dev out0 nud permanent"
    ));
    switch.ctl("add-port br1 up0");
    for cache in ["on", "off"] {
        switch.ctl(&format!("set port up0 other_config:kernel-cache={cache}"));
        lab.no_ping("outside", "10.9.0.1");
        lab.sh(&format!("kill -STOP {}", switch.pid()));
        std::thread::sleep(Duration::from_secs(4));
        lab.no_ping("outside", "10.9.0.1");
        lab.sh(&format!("kill -CONT {}", switch.pid()));
        lab.no_ping("outside", "10.9.0.1");
        switch.kill9();
        let took = within(Duration::from_millis(1500), "the host answers", || {
            let once = "ping -q -n -c 1 -W 0.1 10.9.0.1";
            lab.try_sh_in("outside", once).code == 0
        });
        println!("    kernel cache {cache}: the host answers {took:?} after kill -9");
        switch.again();
        lab.no_ping("outside", "10.9.0.1");
    }
    // Taken out of the bridge it is the host's again at once.
    switch.ctl("del-port up0");
    lab.ping("outside", "10.9.0.1");
}

/// Ticks of processor time (10 ms each) that a process has used.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

pub fn idle_costs_no_cpu(lab: &Lab) {
    let switch = red_and_green(lab, "br1");
    lab.ping("red", "10.0.0.2");
    // With flows in every tier. Hosts that have just come up chatter for a while.
    within(
        Duration::from_secs(60),
        "ten quiet seconds, four ticks at most",
        || {
            let before = ticks(switch.pid());
            std::thread::sleep(Duration::from_secs(10));
            let used = ticks(switch.pid()) - before;
            println!("    {used} ticks in 10 s");
            used <= 4
        },
    );
}

pub fn memory_at_rest(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    for n in 0..20 {
        switch.ctl(&format!(
            "add-port br1 in{n} -- set interface in{n} type=internal"
        ));
    }
    let kib = switch.json("memory")["resident_kib"].as_u64().unwrap();
    let limit = 32 * 1024 + 21 * 4 * 1024;
    println!("    resident with 21 ports: {} MiB", kib / 1024);
    assert!(kib <= limit, "{kib} KiB resident, {limit} are the limit");
}

/// What 200,000 flows took is the system's again when they are gone.
pub fn memory_of_a_burst_goes_back(lab: &Lab) {
    let switch = Daemon::start(lab, "--bridge br1");
    let kib = || switch.json("memory")["resident_kib"].as_u64().unwrap();
    let flow = |n: u32| {
        format!(
            "udp,nw_src=10.{}.{}.{},actions=output:1\n",
            n >> 16,
            n >> 8 & 255,
            n & 255
        )
    };
    std::fs::write(
        lab.path("flows"),
        (0..200_000).map(flow).collect::<String>(),
    )
    .unwrap();
    let before = kib();
    switch.ctl(&format!("add-flows br1 {}", lab.path("flows").display()));
    // The daemon looks every second.
    std::thread::sleep(Duration::from_secs(2));
    let grown = kib() - before;
    assert!(grown > 40 * 1024, "{grown} KiB for 200,000 flows");
    switch.ctl("del-flows br1");
    let mut kept = 0;
    within(Duration::from_secs(20), "most is given back", || {
        kept = kib().saturating_sub(before);
        kept * 5 <= grown
    });
    println!("    of {grown} KiB {kept} are kept");
}

/// `sd_notify`: ready when everything is up, a sign of life about every second, and that it ends.
pub fn systemd_is_told(lab: &Lab) {
    let path = lab.path("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut buffer = [0; 256];
    let mut hear = || {
        let n = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    };
    let mut process = lab.spawn(
        "switch",
        &format!(
            "env NOTIFY_SOCKET={} {} --rundir run --db conf.db",
            path.display(),
            binary("rvswitchd").display()
        ),
    );
    assert_eq!(hear(), "READY=1");
    // It says that it lives also before it has a bridge, and unasked.
    for _ in 0..3 {
        assert_eq!(hear(), "WATCHDOG=1");
    }
    process.signal(nix::sys::signal::Signal::SIGINT);
    while hear() != "STOPPING=1" {}
    assert_eq!(process.wait(), 0);
}
