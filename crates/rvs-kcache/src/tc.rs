//! Traffic control on the ingress side: the clsact qdisc and its bpf filters in direct-action mode.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::netlink::{attr, put_attr, text, u32_at, Netlink};

/// `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)`; serves the older `ingress` qdisc too.
pub(crate) const INGRESS: u32 = 0xffff_fff2;
pub(crate) const EGRESS: u32 = 0xffff_fff3;
const TC_H_CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
const ETH_P_ALL: u16 = 3;
const TCMSG: usize = 20;

/// A filter as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub kind: String,
    pub handle: u32,
    pub preference: u16,
    /// Of a bpf filter: the program's id and the name that its owner gave.
    pub prog_id: Option<u32>,
    pub name: Option<String>,
}

fn tcmsg(ifindex: u32, handle: u32, parent: u32, preference: u16) -> Vec<u8> {
    let info = u32::from(preference) << 16 | u32::from(ETH_P_ALL.to_be());
    let mut body = vec![0; 4];
    for word in [ifindex, handle, parent, info] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    body
}

/// Adds clsact to a device. `false`: a clsact or ingress qdisc is there already.
pub(crate) fn add_clsact(nl: &Netlink, ifindex: u32) -> io::Result<bool> {
    let body = tcmsg(ifindex, CLSACT_HANDLE, TC_H_CLSACT, 0);
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    match nl.change(libc::RTM_NEWQDISC, flags, &body, &[(TCA_KIND, b"clsact\0")]) {
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        other => other.map(|()| true),
    }
}

/// Removes clsact unless a filter is left on it.
pub(crate) fn remove_unused_clsact(nl: &Netlink, ifindex: u32) -> io::Result<()> {
    if !filters(nl, ifindex, INGRESS)?.is_empty() || !filters(nl, ifindex, EGRESS)?.is_empty() {
        return Ok(());
    }
    let body = tcmsg(ifindex, CLSACT_HANDLE, TC_H_CLSACT, 0);
    match nl.change(libc::RTM_DELQDISC, 0, &body, &[(TCA_KIND, b"clsact\0")]) {
        Err(e)
            if matches!(
                e.raw_os_error(),
                Some(libc::ENOENT | libc::ENODEV | libc::EINVAL)
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Adds a direct-action bpf filter on ingress, or replaces the one of this preference and handle in one step.
pub(crate) fn put_bpf_filter(
    nl: &Netlink,
    ifindex: u32,
    preference: u16,
    handle: u32,
    prog: BorrowedFd<'_>,
    name: &str,
) -> io::Result<()> {
    let mut options = Vec::new();
    put_attr(&mut options, TCA_BPF_FD, &prog.as_raw_fd().to_ne_bytes());
    put_attr(
        &mut options,
        TCA_BPF_NAME,
        &[name.as_bytes(), b"\0"].concat(),
    );
    put_attr(
        &mut options,
        TCA_BPF_FLAGS,
        &TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes(),
    );
    let body = tcmsg(ifindex, handle, INGRESS, preference);
    let nested = TCA_OPTIONS | libc::NLA_F_NESTED as u16;
    let attrs: [(u16, &[u8]); 2] = [(TCA_KIND, b"bpf\0"), (nested, &options)];
    nl.change(libc::RTM_NEWTFILTER, libc::NLM_F_CREATE, &body, &attrs)
}

/// Removes one filter; one that is gone already is fine, also when its qdisc or device went with it.
pub(crate) fn remove_filter(
    nl: &Netlink,
    ifindex: u32,
    preference: u16,
    handle: u32,
) -> io::Result<()> {
    let body = tcmsg(ifindex, handle, INGRESS, preference);
    let removed = nl.change(libc::RTM_DELTFILTER, 0, &body, &[(TCA_KIND, b"bpf\0")]);
    // The kernel has several errors for "not there" and uses them for other faults too: look instead of guessing.
    let ours = |f: &Filter| f.preference == preference && f.handle == handle;
    match removed {
        Err(_) if !filters(nl, ifindex, INGRESS)?.iter().any(ours) => Ok(()),
        other => other,
    }
}

/// The filters under `parent`; none when there is no such qdisc or device.
pub(crate) fn filters(nl: &Netlink, ifindex: u32, parent: u32) -> io::Result<Vec<Filter>> {
    let mut body = tcmsg(ifindex, 0, parent, 0);
    // Protocol 0: filters of every protocol.
    body[16..].fill(0);
    let replies = nl.dump(libc::RTM_GETTFILTER, &body)?;
    Ok(replies
        .iter()
        .filter_map(|reply| parse_filter(reply))
        .collect())
}

fn parse_filter(reply: &[u8]) -> Option<Filter> {
    let rest = reply.get(TCMSG..)?;
    // A message without options announces a chain of filters, it is not one.
    let options = attr(rest, TCA_OPTIONS)?;
    let kind = text(attr(rest, TCA_KIND)?);
    let is_bpf = kind == "bpf";
    let option = |kind| if is_bpf { attr(options, kind) } else { None };
    Some(Filter {
        handle: u32_at(reply, 8)?,
        preference: (u32_at(reply, 16)? >> 16) as u16,
        prog_id: option(TCA_BPF_ID).and_then(|id| u32_at(id, 0)),
        name: option(TCA_BPF_NAME).map(text),
        kind,
    })
}

/// The devices of this namespace that have a clsact or ingress qdisc.
pub(crate) fn devices_with_ingress(nl: &Netlink) -> io::Result<Vec<u32>> {
    let replies = nl.dump(libc::RTM_GETQDISC, &tcmsg(0, 0, 0, 0))?;
    let mut found: Vec<u32> = replies
        .iter()
        .filter(|reply| u32_at(reply, 12) == Some(TC_H_CLSACT))
        .filter_map(|reply| u32_at(reply, 4))
        .collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}
