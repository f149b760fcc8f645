//! The comparison program: it measures what it says, says what it lacks, and leaves nothing behind however it ends.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use rvs_tests::daemon::binary;
use rvs_tests::{eventually, Lab};
use serde_json::Value;

use crate::life::copy_for_everybody;

pub fn comparison(lab: &Lab) {
    let program = binary("rvs-bench");
    // A contender that is not there is named and left out; the others go on.
    let ran = lab.try_sh(&format!(
        "{} compare --no-install --rounds 1 --seconds 1 --only veth,ovs-kernel,rvswitch \
         --measure '1 flow,idle,flow-mods' --json found.json --report report",
        program.display()
    ));
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    if !Path::new("/sys/module/openvswitch").exists() {
        assert!(
            ran.err.contains("LEFT OUT: OVS kernel datapath: "),
            "{}",
            ran.err
        );
    }
    let found: Value =
        serde_json::from_str(&std::fs::read_to_string(lab.path("found.json")).unwrap()).unwrap();
    let all = found["contenders"].as_array().unwrap();
    let figure = |who: &str, key: &str| {
        let c = all.iter().find(|c| c["name"] == who).unwrap();
        let cell = &c["figures"][key];
        cell["median"]
            .as_f64()
            .unwrap_or_else(|| panic!("{who}, {key}: {cell}"))
    };
    let us = "rvswitch, user space";
    for key in [
        "frames_1_kfps",
        "frames_1_cpu",
        "ping_idle_p50_us",
        "ping_idle_p999_us",
    ] {
        assert!(figure("bare veth", key) > 0.0 && figure(us, key) > 0.0);
    }
    assert!(figure(us, "flow_mods") > 0.0);
    assert!(figure(us, "ping_idle_p50_us") <= figure(us, "ping_idle_p999_us"));
    for machine in ["processor", "kernel", "load before", "load after"] {
        assert!(found["machine"][machine].is_string(), "{found}");
    }
    let page = std::fs::read_to_string(lab.path("report/report.md")).unwrap();
    assert!(page.contains("## 64-octet frames, 1 flow\n"), "{page}");
    for image in page.split("](").skip(1) {
        let file = lab.path("report").join(image.split(')').next().unwrap());
        let plot = std::fs::read_to_string(&file).unwrap();
        assert!(
            plot.contains("<svg") && !plot.contains("NaN"),
            "{}",
            file.display()
        );
    }
}

pub fn without_root(lab: &Lab) {
    lab.sh("chmod 755 .");
    let ran = lab.try_sh(&format!(
        "exec setpriv --reuid=65534 --regid=65534 --clear-groups {} compare --quick",
        copy_for_everybody(lab, "rvs-bench")
    ));
    assert_eq!((ran.code, ran.err.lines().count()), (1, 1), "{}", ran.err);
    assert!(
        ran.err.contains("root") && ran.err.contains("CAP_SYS_ADMIN"),
        "{}",
        ran.err
    );
    let ran = lab.try_sh(&format!(
        "exec setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin {} compare --quick --no-install",
        binary("rvs-bench").display()
    ));
    assert_eq!((ran.code, ran.err.lines().count()), (1, 1), "{}", ran.err);
    assert!(ran.err.contains("CAP_SYS_ADMIN"), "{}", ran.err);
}

/// Processes of the namespace that a run makes for itself.
fn inside(namespace: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let process = entry.path();
        if std::fs::read_link(process.join("ns/pid")).is_ok_and(|ns| ns == namespace) {
            names.insert(std::fs::read_to_string(process.join("comm")).unwrap_or_default());
        }
    }
    names
}

pub fn ended_early(lab: &Lab) {
    let seen = |lab: &Lab| {
        (
            lab.devices(),
            lab.sh("ip netns list; ls /run; ls -d /tmp/rv* 2>/dev/null || true"),
        )
    };
    let before = seen(lab);
    for (signal, code) in [
        (Signal::SIGINT, 130),
        (Signal::SIGTERM, 143),
        (Signal::SIGKILL, 137),
    ] {
        let mut run = lab.spawn(
            "bench",
            &format!(
                "{} compare --no-install --only rvswitch --rounds 9 --seconds 60 --measure '1 flow'",
                binary("rvs-bench").display()
            ),
        );
        let own = PathBuf::from(format!("/proc/{}/ns/pid", run.pid()));
        let children = PathBuf::from(format!("/proc/{}/ns/pid_for_children", run.pid()));
        let mut namespace = PathBuf::new();
        eventually("the run is at work", || {
            assert_eq!(run.ended(), None, "{}", run.err());
            namespace = std::fs::read_link(&children).unwrap_or_default();
            let caged = std::fs::read_link(&own).unwrap_or_default() != namespace;
            let names = inside(&namespace);
            caged && names.contains("rvswitchd\n") && names.len() >= 3
        });
        run.signal(signal);
        assert_eq!(run.wait(), code, "{}", run.err());
        eventually("no process of it is left", || inside(&namespace).is_empty());
        assert_eq!(seen(lab), before, "{signal}");
    }
}
