//! What is installed: every file, a unit that systemd accepts, and a daemon that runs with the unit's privileges.

use std::path::Path;

use rvs_tests::daemon::binary;
use rvs_tests::{eventually, Lab};

const UNIT: &str = include_str!("../../crates/rvswitchd/pkg/rvswitchd.service");
const MANIFEST: &str = include_str!("../../crates/rvswitchd/Cargo.toml");

/// The value of a setting of the unit.
fn setting(name: &str) -> &'static str {
    let line = UNIT
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {name} in the unit"))
}

pub fn installs_everything(lab: &Lab) {
    let (root, made) = (lab.path("root"), lab.path("made"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/rvswitchd/pkg/install");
    let programs = binary("rvswitchd");
    lab.sh(&format!(
        "RVS_BIN={} CARGO_TARGET_DIR={} {} --destdir {}",
        programs.parent().unwrap().display(),
        made.display(),
        script.display(),
        root.display()
    ));
    let installed = |path: &str| root.join(path.trim_start_matches('/'));
    for path in [
        "usr/sbin/rvswitchd",
        "usr/bin/rvs-ctl",
        "lib/systemd/system/rvswitchd.service",
        "usr/share/man/man8/rvswitchd.8",
        "usr/share/man/man8/rvs-ctl.8",
        "usr/share/bash-completion/completions/rvs-ctl",
        "usr/share/zsh/vendor-completions/_rvswitchd",
        "usr/share/fish/vendor_completions.d/rvs-ctl.fish",
    ] {
        let size = installed(path).metadata().map(|m| m.len()).unwrap_or(0);
        assert!(size > 100, "{path}: {size} octets");
    }
    let page = std::fs::read_to_string(installed("usr/share/man/man8/rvswitchd.8")).unwrap();
    assert!(
        page.contains(".TH rvswitchd") && page.contains("metrics"),
        "{page}"
    );
    assert!(
        installed(setting("ExecStart")).exists(),
        "what the unit starts is installed"
    );
    // The package has the same files, and they are where its manifest says.
    for line in MANIFEST
        .lines()
        .filter(|l| l.trim_start().starts_with("[\""))
    {
        let words: Vec<&str> = line.split('"').collect();
        let source = match words[1].strip_prefix("target/pkg/") {
            Some(generated) => made.join("pkg").join(generated),
            None if words[1].starts_with("target/release/") => continue,
            None => script.parent().unwrap().parent().unwrap().join(words[1]),
        };
        assert!(source.exists(), "{line}: no {}", source.display());
    }
}

pub fn is_confined(lab: &Lab) {
    std::fs::write(lab.path("rvswitchd.service"), UNIT).unwrap();
    // Tenths of a point on systemd's scale: the fewer the better.
    lab.sh("systemd-analyze security --offline=true --threshold=29 $PWD/rvswitchd.service");
}

pub fn runs_with_the_privileges_of_its_unit(lab: &Lab) {
    assert_eq!((setting("Type"), setting("WatchdogSec")), ("notify", "5"));
    let capabilities: Vec<String> = setting("CapabilityBoundingSet")
        .split_whitespace()
        .map(|c| format!("+{}", c.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    let mut process = lab.spawn(
        "confined",
        &format!(
            "setpriv --bounding-set=-all,{} --no-new-privs {} --bridge br1 --rundir {} --db {}",
            capabilities.join(","),
            binary("rvswitchd").display(),
            lab.path("confined").display(),
            lab.path("confined.db").display()
        ),
    );
    eventually("it is ready or ends", || {
        process.ended().is_some() || process.out().contains("rvswitchd: ready")
    });
    assert_eq!(process.ended(), None, "{}", process.err());
    let ctl = format!(
        "{} --rundir {}",
        binary("rvs-ctl").display(),
        lab.path("confined").display()
    );
    lab.namespaces(&["red", "green"]);
    lab.host("red", "veth-r", "eth0-r", "10.0.0.1/24");
    lab.host("green", "veth-g", "eth0-g", "10.0.0.2/24");
    lab.sh(&format!(
        "{ctl} add-port br1 veth-r -- add-port br1 veth-g -- add-port br1 in0 -- set interface in0 type=internal"
    ));
    lab.ping("red", "10.0.0.2");
    let log = process.err();
    assert!(!log.contains("ermission"), "{log}");
}
