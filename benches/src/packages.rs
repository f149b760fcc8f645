//! What the run needs of the machine's packages.

use anyhow::Result;

use crate::lab::sh;

/// A program, and the Debian package that has it.
pub struct Tool {
    pub program: &'static str,
    pub package: &'static str,
}

/// What every run needs.
pub const TOOLS: &[Tool] = &[
    Tool {
        program: "ip",
        package: "iproute2",
    },
    Tool {
        program: "ethtool",
        package: "ethtool",
    },
    Tool {
        program: "iperf3",
        package: "iperf3",
    },
    Tool {
        program: "ping",
        package: "iputils-ping",
    },
    Tool {
        program: "timeout",
        package: "coreutils",
    },
];
/// What Open vSwitch as a contender needs; its clients drive rvswitch as well.
pub const OVS: &[Tool] = &[
    Tool {
        program: "ovs-vswitchd",
        package: "openvswitch-switch",
    },
    Tool {
        program: "ovsdb-server",
        package: "openvswitch-switch",
    },
    Tool {
        program: "ovs-vsctl",
        package: "openvswitch-common",
    },
    Tool {
        program: "ovs-ofctl",
        package: "openvswitch-common",
    },
];

pub fn present(program: &str) -> bool {
    sh(&format!("command -v {program}")).is_ok()
}

/// The first program that is missing, with what to do about it.
pub fn lacking(tools: &[Tool]) -> Option<String> {
    let t = tools.iter().find(|t| !present(t.program))?;
    Some(format!("{} (apt-get install {})", t.program, t.package))
}

/// Installs what apt has of the missing packages. What it can't is reported by those who miss it.
pub fn install() -> Result<()> {
    let mut packages: Vec<&str> = TOOLS
        .iter()
        .chain(OVS)
        .filter(|t| !present(t.program))
        .map(|t| t.package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() || !present("apt-get") {
        return Ok(());
    }
    let names = packages.join(" ");
    eprintln!("installing {names} (--no-install leaves the machine as it is)");
    let line = format!(
        "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -y -qq --no-install-recommends {names}"
    );
    if let Err(e) = sh(&line) {
        eprintln!("not everything could be installed: {e:#}");
    }
    // Its daemons start with the package; the contenders start their own.
    if packages.contains(&"openvswitch-switch") {
        let _ = sh("/etc/init.d/openvswitch-switch stop");
    }
    Ok(())
}
