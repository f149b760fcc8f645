//! What is installed: every file, a unit that systemd accepts, and a daemon that runs with the unit's privileges.

use std::path::{Path, PathBuf};

use rvs_tests::daemon::binary;
use rvs_tests::wire::cargo_deb;
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
        "usr/lib/systemd/system/rvswitchd.service",
        "usr/share/man/man8/rvswitchd.8.gz",
        "usr/share/man/man8/rvs-ctl.8.gz",
        "usr/share/bash-completion/completions/rvs-ctl",
        "usr/share/bash-completion/completions/rvswitchd",
        "usr/share/zsh/vendor-completions/_rvswitchd",
        "usr/share/zsh/vendor-completions/_rvs-ctl",
        "usr/share/fish/vendor_completions.d/rvswitchd.fish",
        "usr/share/fish/vendor_completions.d/rvs-ctl.fish",
    ] {
        let size = installed(path).metadata().map(|m| m.len()).unwrap_or(0);
        assert!(size > 100, "{path}: {size} octets");
    }
    let pages = "usr/share/man/man8";
    let page = lab.sh(&format!(
        "zcat {}",
        installed(pages).join("rvswitchd.8.gz").display()
    ));
    assert!(
        page.contains(".TH RVSWITCHD 8") && page.contains("metrics"),
        "{page}"
    );
    let program = setting("ExecStart").split(' ').next().unwrap();
    assert!(
        installed(program).exists(),
        "what the unit starts is installed"
    );
    // The package has the same files.
    // (The unit by itself: the package's scripts are about it.)
    assert!(MANIFEST.contains("systemd-units") && MANIFEST.contains("unit-name = \"rvswitchd\""));
    let mut packed = vec![PathBuf::from("usr/lib/systemd/system/rvswitchd.service")];
    for line in MANIFEST
        .lines()
        .filter(|l| l.trim_start().starts_with("[\""))
    {
        let words: Vec<&str> = line.split('"').collect();
        let (from, to) = (words[1], words[3]);
        let source = match from.strip_prefix("target/release/pkg/") {
            Some(generated) => made.join("release/pkg").join(generated),
            None if from.starts_with("target/release/") => binary(from.rsplit('/').next().unwrap()),
            None => script.parent().unwrap().parent().unwrap().join(from),
        };
        assert!(source.exists(), "{line}: no {}", source.display());
        packed.push(match to.ends_with('/') {
            true => Path::new(to).join(source.file_name().unwrap()),
            false => PathBuf::from(to),
        });
    }
    let all = lab.sh(&format!(
        "cd {} && find . -type f | sed 's,^./,,'",
        root.display()
    ));
    for path in all.lines() {
        assert!(
            packed.iter().any(|p| p == Path::new(path)),
            "{path} is not in the package"
        );
    }
}

/// The Debian package is built, installed by `dpkg` on a copy of this system, runs from there, and goes without a trace.
pub fn debian_package(lab: &Lab) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/rvswitchd/pkg/install");
    let programs = binary("rvswitchd").parent().unwrap().to_owned();
    lab.sh(&format!(
        "mkdir -p made/release; cp {}/rvswitchd {}/rvs-ctl made/release",
        programs.display(),
        programs.display()
    ));
    lab.sh(&format!(
        "CARGO_TARGET_DIR=$PWD/made RVS_BIN=$PWD/made/release PATH={}:$PATH {} --deb",
        cargo_deb().display(),
        script.display()
    ));
    let depends = lab.sh("dpkg-deb -f made/debian/rvswitch_*.deb Depends");
    assert!(depends.starts_with("libc6 "), "{depends}");
    lab.sh(
        "mkdir up work root; mount -t overlay -o lowerdir=/,upperdir=$PWD/up,workdir=$PWD/work overlay root; \
         mount -t proc proc root/proc; mount --bind /dev root/dev; cp made/debian/rvswitch_*.deb root/rvswitch.deb",
    );
    let dpkg = |words: &str| lab.sh(&format!("chroot root env LC_ALL=C dpkg {words} 2>&1"));
    dpkg("--install /rvswitch.deb");
    let status = dpkg("--status rvswitch");
    assert!(status.contains("Status: install ok installed"), "{status}");
    let files = dpkg("--listfiles rvswitch");
    for path in [
        "usr/lib/systemd/system/rvswitchd.service",
        "usr/share/man/man8/rvs-ctl.8.gz",
        "usr/share/doc/rvswitch/copyright",
        "usr/share/doc/rvswitch/changelog.Debian.gz",
        "usr/share/fish/vendor_completions.d/rvswitchd.fish",
    ] {
        assert!(files.contains(&format!("/{path}\n")), "{path}: {files}");
        assert!(lab.path("root").join(path).exists(), "{path}");
    }
    let process = lab.spawn(
        "packed",
        "root/usr/sbin/rvswitchd --bridge br1 --rundir run --db conf.db",
    );
    eventually("it is ready", || process.out().contains("rvswitchd: ready"));
    assert_eq!(lab.sh("root/usr/bin/rvs-ctl --rundir run list-br"), "br1\n");
    lab.sh("root/usr/bin/rvs-ctl --rundir run exit --cleanup");
    // The same version again is an upgrade.
    dpkg("--install /rvswitch.deb");
    dpkg("--purge rvswitch");
    for path in files.lines().filter(|f| f.contains("rvs")) {
        assert!(!lab.path("root").join(&path[1..]).exists(), "{path} stays");
    }
    lab.sh("umount root/proc root/dev root");
}

pub fn is_confined(lab: &Lab) {
    std::fs::write(lab.path("rvswitchd.service"), UNIT).unwrap();
    // Tenths of a point on systemd's scale: the fewer the better.
    lab.sh("systemd-analyze security --offline=true --threshold=25 $PWD/rvswitchd.service");
}

pub fn runs_with_the_privileges_of_its_unit(lab: &Lab) {
    assert_eq!((setting("Type"), setting("WatchdogSec")), ("notify", "30"));
    let capabilities: Vec<String> = setting("CapabilityBoundingSet")
        .split_whitespace()
        .map(|c| format!("+{}", c.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    // As the unit starts it, but for a bpf file system of its own.
    let (_, arguments) = setting("ExecStart").split_once(' ').unwrap();
    lab.sh("mkdir bpf && mount -t bpf bpf bpf");
    let arguments = arguments.replace("/sys/fs/bpf", &lab.path("bpf").display().to_string());
    assert!(arguments.contains("--bpffs"), "{arguments}");
    let mut process = lab.spawn(
        "confined",
        &format!(
            "setpriv --bounding-set=-all,{} --no-new-privs {} --bridge br1 {arguments} --rundir {} --db {}",
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
    let doctor = lab.sh(&format!("{ctl} doctor"));
    for check in ["survival", "kernel cache"] {
        assert!(doctor.contains(&format!("yes  {check}")), "{doctor}");
    }
    // To time its programs the kernel wants more: said, not taken for no frames.
    let perf = lab.sh(&format!("{ctl} perf"));
    assert!(perf.contains("CAP_SYS_ADMIN"), "{perf}");
    let json = lab.sh(&format!("{ctl} --json perf"));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let kernel = &json["kernel"];
    assert!(
        kernel["timed"] == false && kernel["frames"].is_null(),
        "{json}"
    );
    let log = process.err();
    assert!(!log.contains("ermission"), "{log}");
    assert!(!log.contains("WARN"), "{log}");
    lab.sh(&format!("{ctl} exit --cleanup"));
    eventually("it ends", || process.ended().is_some());
}

/// Without CAP_PERFMON the verifier refuses the kernel's cache: that is the reason that users read.
pub fn says_which_privilege_is_missing(lab: &Lab) {
    let process = lab.spawn(
        "unprivileged",
        &format!(
            "setpriv --bounding-set=-all,+net_raw,+net_admin,+bpf {} --bridge br1 --rundir run --db conf.db",
            binary("rvswitchd").display(),
        ),
    );
    eventually("it is ready", || process.out().contains("rvswitchd: ready"));
    let doctor = lab.sh(&format!(
        "{} --rundir run doctor",
        binary("rvs-ctl").display()
    ));
    assert!(
        doctor.contains("CAP_PERFMON") && !doctor.contains("please report"),
        "{doctor}"
    );
}
