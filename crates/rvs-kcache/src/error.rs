//! Errors that name cause and cure. Nothing here is fatal to the switch: without this crate's services it forwards in user
//! space, and the caller decides whether to go on without them.

use std::fs;
use std::io;

/// Why the kernel did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `EPERM`/`EACCES`: a capability is missing, or a policy forbids eBPF.
    #[error("{op}: not permitted: {cure}")]
    Denied { op: &'static str, cure: String },
    /// This kernel does not have the feature at all.
    #[error("{op}: {cause}")]
    Unsupported { op: &'static str, cause: String },
    /// There is no such device in the namespace of the calling thread.
    #[error(
        "{op}: no device with index {ifindex} in this network namespace (deleted, or moved away)"
    )]
    NoDevice { op: &'static str, ifindex: u32 },
    /// The same program is attached to this device already: one guard per port.
    #[error("{op}: device {ifindex} has this program already")]
    AlreadyAttached { op: &'static str, ifindex: u32 },
    /// The kernel's verifier refused a program of ours, which is our bug or a kernel too old for it.
    #[error("{program}: the kernel's verifier refused the program; please report this with the kernel's version: {log}")]
    Verifier { program: &'static str, log: String },
    /// The caller passed what no kernel would take.
    #[error("{op}: {cause}")]
    Invalid {
        op: &'static str,
        cause: &'static str,
    },
    /// Anything else, as the kernel put it.
    #[error("{op}: {source}")]
    Os { op: &'static str, source: io::Error },
}

impl Error {
    pub(crate) fn new(op: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Denied {
                op,
                cure: cure_of_denial(),
            },
            Some(libc::ENOSYS) => Self::Unsupported {
                op,
                cause: "this kernel is built without bpf(2)".to_owned(),
            },
            _ => Self::Os { op, source },
        }
    }

    /// The verifier refused a program for what it says in `log`. To whom has no CAP_PERFMON it grants less than the
    /// kernel's cache needs, such as places in maps that are known at run time alone.
    pub(crate) fn refused(op: &'static str, program: &'static str, log: String) -> Self {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        match of_perfmon(&status) {
            Some(cure) => Self::Denied { op, cure },
            None => Self::Verifier { program, log },
        }
    }

    pub(crate) fn on_device(op: &'static str, ifindex: u32, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => Self::NoDevice { op, ifindex },
            Some(libc::EEXIST) => Self::AlreadyAttached { op, ifindex },
            _ => Self::new(op, source),
        }
    }
}

const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Whether a set of capabilities of /proc/PID/status has this one.
fn has(status: &str, cap: u32) -> bool {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    effective >> cap & 1 == 1
}

fn of_perfmon(status: &str) -> Option<String> {
    let missing = !has(status, CAP_PERFMON) && !has(status, CAP_SYS_ADMIN);
    missing.then(|| "run it with CAP_PERFMON (or as root)".to_owned())
}

/// What keeps this thread from using eBPF, from what /proc and securityfs say.
fn cure_of_denial() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    cure_from(
        &read("/proc/thread-self/status"),
        &read("/proc/self/uid_map"),
        &read("/sys/kernel/security/lockdown"),
    )
}

fn cure_from(status: &str, uid_map: &str, lockdown: &str) -> String {
    let has = |cap: u32| has(status, cap);
    let mut missing = Vec::new();
    if !has(CAP_NET_ADMIN) {
        missing.push("CAP_NET_ADMIN");
    }
    if !has(CAP_BPF) && !has(CAP_SYS_ADMIN) {
        missing.push("CAP_BPF");
    }
    if !missing.is_empty() {
        return format!("run it with {} (or as root)", missing.join(" and "));
    }
    let whole = ["0", "0", "4294967295"];
    if !uid_map.is_empty() && !uid_map.split_whitespace().eq(whole) {
        return "its capabilities count only inside a user namespace; start it in the host's user namespace".to_owned();
    }
    if lockdown.contains("[confidentiality]") || lockdown.contains("[integrity]") {
        return "kernel lockdown is on; start the kernel without lockdown=".to_owned();
    }
    "a security policy (seccomp filter, LSM or container profile) forbids bpf(2); allow it"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "         0          0 4294967295\n";

    #[test]
    fn a_denial_names_what_is_missing() {
        let none = "Name:\tx\nCapEff:\t0000000000000000\n";
        assert_eq!(
            cure_from(none, ROOT, ""),
            "run it with CAP_NET_ADMIN and CAP_BPF (or as root)"
        );
        let net = "CapEff:\t0000000000001000\n";
        assert_eq!(cure_from(net, ROOT, ""), "run it with CAP_BPF (or as root)");
        let sys = "CapEff:\t0000000000200000\n";
        assert_eq!(
            cure_from(sys, ROOT, ""),
            "run it with CAP_NET_ADMIN (or as root)"
        );
    }

    #[test]
    fn a_verifier_that_refuses_may_want_a_capability() {
        let bpf = "CapEff:\t0000008000001000\n";
        assert!(of_perfmon(bpf).is_some_and(|cure| cure.contains("CAP_PERFMON")));
        assert_eq!(of_perfmon("CapEff:\t000000c000001000\n"), None);
        assert_eq!(of_perfmon("CapEff:\t0000000000200000\n"), None);
    }

    #[test]
    fn a_denial_despite_capabilities_names_the_policy() {
        let all = "CapEff:\t000001ffffffffff\n";
        assert!(cure_from(all, "0 100000 65536\n", "").contains("user namespace"));
        assert!(cure_from(all, ROOT, "none integrity [confidentiality]\n").contains("lockdown"));
        assert!(cure_from(all, ROOT, "[none] integrity confidentiality\n").contains("seccomp"));
    }

    #[test]
    fn errno_decides_the_kind() {
        let of = |errno| Error::on_device("attach", 9, io::Error::from_raw_os_error(errno));
        assert!(matches!(of(libc::EPERM), Error::Denied { .. }));
        assert!(matches!(of(libc::ENOSYS), Error::Unsupported { .. }));
        assert!(matches!(
            of(libc::ENODEV),
            Error::NoDevice { ifindex: 9, .. }
        ));
        assert!(matches!(
            of(libc::EEXIST),
            Error::AlreadyAttached { ifindex: 9, .. }
        ));
        assert!(matches!(of(libc::EIO), Error::Os { .. }));
    }
}
